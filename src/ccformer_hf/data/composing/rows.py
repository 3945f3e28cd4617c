"""Composed clips as rows of `load_avsbench`, each made when it is asked for, and as a folder of clips."""

import os
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from datasets import Dataset, DatasetDict, DatasetInfo, Features, List, Value
from datasets.features.features import register_feature
from PIL import Image
from tqdm import tqdm

from ...atomic import AtomicFolder, refuse_filled_folder
from ..avsbench import FOLDER, SPLITS
from ..folder import CLASSES_FILE
from ..synthetic.clips import write_folder_clip
from .composed import ComposedClip, clip_name, compose_clip
from .material import Material, read_material
from .sounds import SAMPLING_RATE

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}  # of the clips that are written

# Processes that read clips ahead get it from the one that forks them.
_read_once = lru_cache(maxsize=1)(read_material)


@lru_cache(maxsize=2)
def _composed(path: str, split: str, digest: str, seed: int, index: int) -> ComposedClip:
    """A clip, kept since frames, labels and sound of a row are asked for one after the other."""
    material = _read_once(path)[split]
    if material.digest != digest:
        raise ValueError(f"{path}: it, or a file it names, has changed since its clips were loaded; load them again")
    return compose_clip(material, seed, index)


@dataclass
class Composed:
    """Number of a clip -> its frames, its labels, or its sound.

    Frames are a list of PIL pictures, labels uint8 `(T, S, S)`, sound is as `features.py` gives it.

    Args:
        part: `"frames"`, `"labels"` or `"sound"`.
        sources: path of the sources file.
        split, digest, seed: of the material, and of the clips.
        names: of the class ids, background first.
    """

    part: str
    sources: str
    split: str
    digest: str
    seed: int
    names: list[str]
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "int64"
    pa_type: ClassVar[pa.DataType] = pa.int64()
    _type: str = field(default="Composed", init=False, repr=False)

    def __call__(self) -> pa.DataType:
        return self.pa_type

    def encode_example(self, value: int) -> int:
        return value

    def cast_storage(self, storage: pa.Array) -> pa.Array:
        return storage.cast(self.pa_type)

    def decode_example(self, value: int, token_per_repo_id: dict | None = None) -> Any:
        clip = _composed(self.sources, self.split, self.digest, self.seed, value)
        if self.part == "frames":
            return [Image.fromarray(frame) for frame in clip.frames]
        if self.part == "labels":
            return clip.labels.copy()
        return {"waveform": clip.waveform.copy(), "sampling_rate": SAMPLING_RATE}


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # `datasets` calls its registration experimental, on every call
    register_feature(Composed, Composed.__name__)


def load_composed(path: str | os.PathLike, split: str | None = None) -> Dataset | DatasetDict:
    """The clips of a sources file, with the columns of `load_avsbench`; each is made when a column is asked for.

    Args:
        path: of the sources file; its `clips` and `seed` say which ones.
        split: `"train"`, `"validation"` or `"test"`; None: all that there is material for, in a dict.

    Raises:
        OSError: where files are not there.
        ValueError: for a sources file or a table in it that cannot be used, or a split without material.
    """
    path = str(Path(path).resolve())
    _read_once.cache_clear()
    found = _read_once(path)
    if split and (split not in found or not found[split].sources.clips[split]):
        raise ValueError(
            f"{path}: has no clips for {split}; name pictures and sounds of that split, and how many `clips`"
        )
    loaded = {name: _rows(path, material) for name, material in found.items() if material.sources.clips[name]}
    return loaded[split] if split else DatasetDict(loaded)


def _rows(path: str, material: Material) -> Dataset:
    sources, split = material.sources, material.split
    count = sources.clips[split]
    parts = {
        part: Composed(part, path, split, material.digest, sources.seed, list(sources.class_names))
        for part in ("frames", "labels", "sound")
    }
    features = Features(
        {
            "id": Value("string"),
            "setting": Value("string"),
            "classes": List(Value("string")),
            "annotated": List(Value("bool")),
            "frames": parts["frames"],
            "labels": parts["labels"],
            "sound": parts["sound"],
            "log_mel": Value("null"),
            "size": List(Value("int32")),
        }
    )
    columns = {
        "id": [clip_name(material, sources.seed, index) for index in range(count)],
        "setting": [FOLDER] * count,
        "classes": [[]] * count,
        "annotated": [[True] * sources.seconds] * count,
        "frames": range(count),
        "labels": range(count),
        "sound": range(count),
        "log_mel": [None] * count,
        "size": [[sources.size] * 2] * count,
    }
    schema = features.arrow_schema
    table = pa.table({name: pa.array(values, schema.field(name).type) for name, values in columns.items()})
    return Dataset(table, info=DatasetInfo(features=features), split=split)


def write_composed_set(
    path: str | os.PathLike,
    out: str | os.PathLike,
    clips: int,
    seed: int,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, int]:
    """Writes clips in the layout of `ccformer_hf.data.folder`. The folder appears whole or not at all.

    Args:
        path: of the sources file.
        out: folder to make; it must not exist yet, or be empty.
        clips: how many; 80 % are train, 10 % validation, 10 % test, at least one each; a split without material is
            left out.
        seed: the same seed writes the same clips.
        workers: processes, by default one per core.
        progress: show a progress bar.

    Returns:
        How many clips each split has.

    Raises:
        ValueError: for sources that cannot be used, or fewer than 3 clips.
        FileExistsError: where `out` is a file, or a folder with something in it.
        OSError: where files are not there, or `out` cannot be made.
    """
    out = Path(out)
    if clips < 3:
        raise ValueError(f"clips is {clips}; expected at least 3, one for each split")
    refuse_filled_folder(out)
    material = read_material(path)
    counts = {split: max(1, round(SHARES[split] * clips)) for split in SPLITS if split in material}
    jobs = [(split, seed, index) for split, count in counts.items() for index in range(count)]
    bar = {"total": len(jobs), "desc": "composing clips", "unit": "clip", "disable": not progress}
    with AtomicFolder(out.resolve(), new=True) as folder:
        names = material["train"].sources.classes
        (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        workers = min(workers or os.cpu_count() or 1, len(jobs))
        if workers == 1:
            _keep(material, folder)
            for _ in tqdm(map(_write, jobs), **bar):
                pass
        else:
            with get_context("spawn").Pool(workers, _keep, (material, folder)) as pool:
                for _ in tqdm(pool.imap_unordered(_write, jobs, chunksize=4), **bar):
                    pass
    return counts


_kept: dict[str, Any] = {}  # of a process that writes clips


def _keep(material: dict[str, Material], folder: Path) -> None:
    _kept.update(material=material, folder=folder)


def _write(job: tuple[str, int, int]) -> None:
    split, seed, index = job
    write_folder_clip(compose_clip(_kept["material"][split], seed, index), split, _kept["folder"])
