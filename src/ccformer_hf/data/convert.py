"""Converts AVSBench, or a folder of clips, to Parquet shards with everything embedded.

The plan is written first, then the shards in several processes, the dataset card last. Every file appears whole or not
at all, and every shard remembers what it was made from; so a second run goes on where a killed one stopped. Processes
of a launcher, on one machine or several, share the shards out.
"""

import hashlib
import io
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from ..atomic import atomic_file
from ..model.pictures_ccformer import read_picture
from ..shared_work import SharedWork
from .avsbench import ALL_SETTINGS, FOLDER, SPLITS, ClipFiles, find_settings
from .dataset_card import dataset_card
from .features import LabelMaps, PictureSize, VideoFrames, shard_features
from .folder import CLASSES_FILE
from .listing import entries
from .loading import clips_and_class_names, refuse_unfit
from .reading import read_log_mel, read_sound
from .shards import CARD_FILE, PLAN_FILE, is_converted, planned_files, read_plan, remove_leftovers

SHARD_BYTES = 200_000_000  # of source files
ROW_GROUP_BYTES = 32_000_000  # what a reader holds at once; about 40 clips of S4
_SOURCE = "ccformer_source"  # where a shard keeps the fingerprint of the files it was made from
_FLOATS = ["sound.waveform.list.element", "log_mel.list.element.list.element.list.element.list.element"]
# Real sound takes 0.40 of its size so, 0.52 under Parquet's defaults (snappy, dictionary), at the same speed.
_COMPRESSION = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,
    "use_byte_stream_split": _FLOATS,
}


@dataclass(frozen=True)
class _Shard:
    path: str
    clips: tuple[ClipFiles, ...]
    class_names: tuple[str, ...]
    source: str  # fingerprint of the clips and the sizes of their files


def convert(
    root: str | os.PathLike,
    out: str | os.PathLike,
    settings: Sequence[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> list[str] | None:
    """Writes Parquet shards that `load_avsbench` and `datasets.load_dataset(out, setting)` read, and a dataset card.

    A second run skips the shards that are whole. A further setting may be converted into the same folder later.

    Args:
        root: folder with the official download, or with clips of your own (see `ccformer_hf.data.folder`).
        out: folder to write; it must not exist yet, be empty, or come from an earlier run.
        settings: some of `"s4"`, `"ms3"`, `"avss"`, `"folder"`; by default all that `root` holds.
        workers: processes, by default one per core.
        progress: show a progress bar.

    Returns:
        The settings converted; None in all but the main one of several processes (`accelerate launch`, `torchrun`).

    Raises:
        OSError: where files are missing (nothing is written then), or `out` is in other use or made from other files.
        ValueError: for an unknown setting, a broken table, or a file that cannot be decoded. Shards that are whole
            stay.
    """
    root, out = Path(root), Path(out)
    workers = workers if workers is not None else os.cpu_count() or 1
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")
    if is_converted(root):
        raise FileExistsError(f"{root}: is converted already; name the folder that was downloaded")
    if out.exists() and not (out.is_dir() and (is_converted(out) or not entries(out))):
        raise FileExistsError(f"{out}: is in other use; name a new folder, or one that an earlier run wrote")
    settings = list(settings) if settings else _settings_there(root)
    work = SharedWork()
    with work.main_first():
        plan, shards = _planned(root, out, settings)
        if work.is_main:
            _prepare(out, settings, plan, whole=all(map(_is_whole, shards)))
    # Any of them may have been written by an earlier run.
    mine = (shards[number] for number in work.take(len(shards)) if not _is_whole(shards[number]))
    try:
        _write_shards(mine, shards, workers, progress and work.is_main)
    finally:
        if work.processes == 1:  # others may be writing still
            _remove_all_leftovers(out, settings)
    if work.gather([]) is None:
        return None
    _remove_all_leftovers(out, settings)
    with atomic_file(out / CARD_FILE) as path:
        path.write_text(dataset_card(out), encoding="utf-8")
    return settings


def _planned(root: Path, out: Path, settings: Sequence[str]) -> tuple[dict, list[_Shard]]:
    """The plan of the folder with these settings, and all shards of theirs, also those that are there."""
    plan = read_plan(out) if is_converted(out) else {}
    shards = []
    for setting in settings:
        if setting not in ALL_SETTINGS:
            raise ValueError(f"setting is {setting!r}; expected one of {', '.join(map(repr, ALL_SETTINGS))}")
        clips, names = clips_and_class_names(setting, root)
        splits = {split: [clip for clip in clips if clip.split == split] for split in SPLITS}
        splits = {split: clips for split, clips in splits.items() if clips}
        if not splits:
            raise FileNotFoundError(f"{root}: holds no clip of {setting}; name another folder, or complete it")
        for split, clips in splits.items():
            refuse_unfit(clips, root, split)
        clips_per_shard = _layout(splits, plan.get(setting))
        plan[setting] = {"class_names": names, "clips_per_shard": clips_per_shard}
        shards += _shards(out, setting, splits, names, clips_per_shard)
    return plan, shards


def _prepare(out: Path, settings: Sequence[str], plan: dict, whole: bool) -> None:
    """The folders and the plan, before the first shard."""
    out.mkdir(parents=True, exist_ok=True)
    for setting in settings:
        (out / setting).mkdir(exist_ok=True)
    _remove_all_leftovers(out, settings)
    if not whole:
        (out / CARD_FILE).unlink(missing_ok=True)  # with it, `load_dataset` would take half a setting for the whole
    with atomic_file(out / PLAN_FILE) as path:  # by it a second run knows the folder
        path.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")


def _remove_all_leftovers(out: Path, settings: Sequence[str]) -> None:
    remove_leftovers(out)
    for setting in settings:
        remove_leftovers(out / setting)


def _settings_there(root: Path) -> list[str]:
    return [FOLDER] if (root / CLASSES_FILE).is_file() else list(find_settings(root))


def _layout(splits: dict[str, list[ClipFiles]], earlier: dict | None) -> dict[str, list[int]]:
    """How many clips each shard of a split holds; as planned earlier, though a file fixed since may differ in size."""
    counts = {split: len(clips) for split, clips in splits.items()}
    if earlier and {split: sum(clips) for split, clips in earlier["clips_per_shard"].items()} == counts:
        return earlier["clips_per_shard"]
    return {split: _pack([sum(_file_sizes(clip).values()) for clip in clips]) for split, clips in splits.items()}


def _pack(sizes: list[int]) -> list[int]:
    """How many of the clips of these sizes go into each shard, in their order."""
    counts: list[int] = []
    filled = 0
    for size in sizes:
        if not counts or filled + size > SHARD_BYTES:
            counts.append(0)
            filled = 0
        counts[-1] += 1
        filled += size
    return counts


def _file_sizes(clip: ClipFiles) -> dict[str, int]:
    paths = {path for path in (*clip.frames, *clip.labels, clip.sound, clip.log_mel) if path is not None}
    return {path: os.path.getsize(path) for path in sorted(paths)}


def _shards(
    out: Path,
    setting: str,
    splits: dict[str, list[ClipFiles]],
    names: tuple[str, ...],
    clips_per_shard: dict[str, list[int]],
) -> list[_Shard]:
    """The shards of a setting; those that are there already were made from the same files."""
    files = planned_files(out, setting, clips_per_shard)
    there = {str(path) for path in entries(out / setting) if path.suffix == ".parquet"}
    others = there - {path for paths in files.values() for path in paths}
    shards = []
    for split, clips in splits.items():
        start = 0
        for path, count in zip(files[split], clips_per_shard[split], strict=True):
            part = tuple(clips[start : start + count])
            start += count
            shard = _Shard(path, part, names, _fingerprint(part, names))
            shards.append(shard)
            if _source_of(path) not in (None, shard.source):
                others.add(path)
    if others:
        raise FileExistsError(
            f"{out}: holds {setting} made from other files ({len(others)} shards, the first is {min(others)}); name "
            "another "
            f"folder, or delete {out / setting} and run the same command again"
        )
    return shards


def _fingerprint(clips: tuple[ClipFiles, ...], names: tuple[str, ...]) -> str:
    """Changes with the clips, their classes, and names and sizes of their files; not with the folder they lie in."""
    facts = [
        [clip.id, clip.classes, [(os.path.basename(path), size) for path, size in _file_sizes(clip).items()]]
        for clip in clips
    ]
    return hashlib.sha256(json.dumps([names, facts]).encode()).hexdigest()


def _source_of(path: str) -> str | None:
    """The fingerprint in a shard; None where there is no shard, or a broken one."""
    try:
        return (pq.read_metadata(path).metadata or {}).get(_SOURCE.encode(), b"").decode()
    except (FileNotFoundError, pa.ArrowInvalid):
        return None


def _is_whole(shard: _Shard) -> bool:
    return _source_of(shard.path) == shard.source


def _write_shards(mine: Iterator[_Shard], shards: list[_Shard], workers: int, progress: bool) -> None:
    """Writes the shards of `mine`, the next whenever a worker is free, of all the `shards` that there are."""
    missing = [shard for shard in shards if not _is_whole(shard)]
    workers = min(workers, len(missing))
    total = sum(len(shard.clips) for shard in missing)
    with tqdm(total=total, desc="converting", unit="clip", disable=not (progress and missing)) as bar:
        if workers <= 1:
            for shard in mine:
                _write_shard(shard, bar.update)
            return
        context = get_context("spawn")
        done = context.Value("q", 0)
        with ProcessPoolExecutor(workers, context, _start_worker, (done,)) as pool:
            waiting = {pool.submit(_write_shard_and_count, shard) for shard in islice(mine, workers)}
            try:
                while waiting:
                    finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                    more = islice(mine, workers - len(waiting))
                    waiting |= {pool.submit(_write_shard_and_count, shard) for shard in more}
                    bar.update(done.value - bar.n)
                    for future in finished:
                        future.result()
            except BrokenProcessPool:
                raise OSError(
                    "a process that converts was killed, most likely for want of memory; run the same command again "
                    "with "
                    "fewer --workers, it goes on where it stopped"
                ) from None
            finally:
                pool.shutdown(cancel_futures=True)


def _start_worker(done: Synchronized) -> None:
    global _done
    _done = done
    # Ctrl-C ends it without a word; the main process reports and cleans up.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without it, the workers of a killed process would wait for work for ever."""
    parent_process().join()
    os._exit(1)


def _write_shard_and_count(shard: _Shard) -> None:
    def count(clips: int) -> None:
        with _done.get_lock():
            _done.value += clips

    _write_shard(shard, count)


def _write_shard(shard: _Shard, advance: Callable[[int], object]) -> None:
    schema = shard_features().arrow_schema
    with atomic_file(shard.path) as path, pq.ParquetWriter(path, schema, **_COMPRESSION) as writer:
        writer.add_key_value_metadata({_SOURCE: shard.source})
        for group in _row_groups(shard, schema, advance):
            writer.write_table(group)


def _row_groups(shard: _Shard, schema: pa.Schema, advance: Callable[[int], object]) -> Iterator[pa.Table]:
    rows: list[pa.Table] = []
    held = 0
    for clip in shard.clips:
        rows.append(pa.Table.from_pylist([_row(clip, shard.class_names)], schema))
        held += rows[-1].nbytes
        if held >= ROW_GROUP_BYTES:
            yield pa.concat_tables(rows).combine_chunks()
            rows, held = [], 0
        advance(1)
    if rows:
        yield pa.concat_tables(rows).combine_chunks()


def _row(clip: ClipFiles, names: tuple[str, ...]) -> dict:
    """What a shard holds of a clip. Everything is decoded once, so that a broken file is found now."""
    labels = LabelMaps(list(names), clip.has_binary_labels)
    ids = labels.decode_example(labels.encode_example(clip.labels))
    waveform, sampling_rate = read_sound(clip.sound) if clip.sound else (None, None)
    return {
        "id": clip.id,
        "setting": clip.setting,
        "classes": clip.classes,
        "annotated": [path is not None for path in clip.labels],
        "frames": _video_pictures(clip.frames[0]) if clip.has_video else [_picture(path) for path in clip.frames],
        "labels": [
            None if path is None else {"bytes": _png(Image.fromarray(frame)), "path": os.path.basename(path)}
            for path, frame in zip(clip.labels, ids, strict=True)
        ],
        "sound": {"waveform": waveform, "sampling_rate": sampling_rate} if clip.sound else None,
        "log_mel": _nested(read_log_mel(clip.log_mel)) if clip.log_mel else None,
        "size": PictureSize().decode_example(clip.frames[0]),
    }


def _nested(examples: np.ndarray) -> list[list[list[np.ndarray]]]:
    """`(T, 1, 96, 64)` as lists of rows, which Arrow takes; rows as arrays are several times faster than of floats."""
    return [[list(channel) for channel in example] for example in examples]


def _picture(path: str) -> dict:
    read_picture(path)
    return {"bytes": Path(path).read_bytes(), "path": os.path.basename(path)}


def _video_pictures(path: str) -> list[dict]:
    """The frames of a video as PNG, which loses nothing."""
    return [
        {"bytes": _png(frame), "path": f"{second:06d}.png"}
        for second, frame in enumerate(VideoFrames().decode_example([path]))
    ]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
