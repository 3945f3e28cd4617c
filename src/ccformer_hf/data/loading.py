"""`load_avsbench` and `load_folder`: one row, one clip, from a folder of files or from converted Parquet shards."""

import os
from pathlib import Path

from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetsError

from .avsbench import FOLDER, SETTINGS, SPLITS, ClipFiles, class_names, find_settings, list_clips
from .composing.rows import load_composed
from .features import decoded_shard_features, folder_features
from .folder import list_folder_clips, read_folder_class_names
from .shards import is_converted, shard_files

Loaded = Dataset | DatasetDict | IterableDataset | IterableDatasetDict

STREAM_SHARDS = 64  # a stream is split among at most so many workers and processes


def load_avsbench(setting: str, root: str | os.PathLike, split: str | None = None, streaming: bool = False) -> Loaded:
    """Loads a setting of AVSBench. Nothing is decoded before a row's column is asked for.

    Columns of a row (`T` frames, `H W` picture):
        id: name of the clip.
        setting: `"s4"`, `"ms3"`, `"avss"`, or `"folder"` for what `load_folder` gives.
        classes: names of what sounds, where the official tables tell: s4 its category, avss and ms3 of avss' 70
            classes (ms3: where `metadata.csv` is below `root` too); else empty.
        frames: list of `T` RGB pictures (PIL).
        labels: uint8 `(T, H, W)` class ids: 0 background; s4, ms3: 1 sounding; avss: 1..70; 255 ignore, and in all
            of a frame that is not annotated.
        annotated: list of `T` bools; in s4's training split (and avss' v1s) only the first is True.
        sound: `{"waveform": float32 (samples,) mono in -1..1, "sampling_rate": int}`, or None.
        log_mel: float32 `(T', 1, 96, 64)` of an official `audio_log_mel/*.pkl`, or None.
        size: `[height, width]` of the first frame.

    `processor(row)`, or `processor(clips[:8])`, gives a model's inputs with labels, at one frame per second as in
    every set; `AudioVisualCollator(processor)` does the same in a `DataLoader` or the `Trainer` of transformers.

    Args:
        setting: `"s4"`, `"ms3"` or `"avss"`.
        root: folder with the official download, or what `ccformer data convert` wrote; of that, `datasets` makes a
            copy in its cache, unless it is streamed.
        split: `"train"`, `"validation"` (or `"val"`), `"test"`; None: all that are there, in a dict.
        streaming: give an `IterableDataset`.

    Raises:
        ValueError: for an unknown setting or split, or a broken table.
        OSError: where `root` or files of a clip are missing; the text names the first.
    """
    if setting not in SETTINGS:
        raise ValueError(
            f"setting is {setting!r}; expected {', '.join(map(repr, SETTINGS))}. A folder of clips: use load_folder"
        )
    return _load(setting, root, split, streaming)


def load_folder(root: str | os.PathLike, split: str | None = None, streaming: bool = False) -> Loaded:
    """Loads clips from a folder of your own, with the columns of `load_avsbench`.

    Args:
        root: folder as described in `ccformer_hf.data.folder`, or what `ccformer data convert` made of one. Or a
            sources file (`.yaml`), whose clips are composed as they are asked for, see
            `ccformer_hf.data.composing.sources`.
        split: `"train"`, `"validation"` (or `"val"`), `"test"`; None: all that are there, in a dict.
        streaming: give an `IterableDataset`.

    Raises:
        ValueError: for an unknown split, or files that could be read in two ways.
        OSError: where `root` or files of a clip are missing; the text names the first.
    """
    return _load(FOLDER, root, split, streaming)


def load_setting(setting: str, root: str | os.PathLike, split: str | None = None, streaming: bool = False) -> Loaded:
    """`load_folder` where `setting` is `"folder"`, else `load_avsbench`: for commands and recipes that name either."""
    if setting == FOLDER:
        return load_folder(root, split, streaming)
    return load_avsbench(setting, root, split, streaming)


def _load(setting: str, root: str | os.PathLike, split: str | None, streaming: bool) -> Loaded:
    split = "validation" if split == "val" else split
    if split not in (None, *SPLITS):
        raise ValueError(f"split is {split!r}; expected one of {', '.join(map(repr, SPLITS))}, or None for all")
    if setting == FOLDER and Path(root).suffix in (".yaml", ".yml"):
        composed = load_composed(root, split)
        if not streaming:
            return composed
        if split:
            return _stream(composed)
        return IterableDatasetDict({name: _stream(rows) for name, rows in composed.items()})
    if not Path(root).is_dir():
        raise NotADirectoryError(f"{root}: is not a folder; name the one the data set was unpacked in")
    if is_converted(root):
        return _load_shards(setting, Path(root), split, streaming)
    clips, names = clips_and_class_names(setting, root)
    loaded = {}
    for name in (split,) if split else SPLITS:
        rows = [clip for clip in clips if clip.split == name]
        if rows or split:
            loaded[name] = _dataset(rows, names, Path(root), name, streaming)
    if split:
        return loaded[split]
    return IterableDatasetDict(loaded) if streaming else DatasetDict(loaded)


def clips_and_class_names(setting: str, root: str | os.PathLike) -> tuple[list[ClipFiles], tuple[str, ...]]:
    """The files of all clips of a setting below `root`, and the names of its class ids.

    Raises:
        FileNotFoundError: where the setting is not there.
    """
    if setting == FOLDER:
        return list_folder_clips(root), read_folder_class_names(root)
    found = find_settings(root)
    if setting not in found:
        raise FileNotFoundError(f"{root}: holds no {setting}, but {', '.join(found)}; name another folder or setting")
    return list_clips(setting, found[setting], found.get("avss")), class_names(setting)


def refuse_unfit(clips: list[ClipFiles], root: Path, split: str) -> None:
    """Refuses a split without a clip, with files missing or unclear, or with frames in two forms.

    Raises:
        FileNotFoundError: for no clip, or missing files; the text names the first.
        ValueError: where some clips have pictures and some a video; for files that could be read in two ways.
    """
    if not clips:
        raise FileNotFoundError(f"{root}: has no clip in the split {split}")
    incomplete = [clip for clip in clips if clip.missing]
    if incomplete:
        raise FileNotFoundError(
            f"{root}: {len(incomplete)} of {len(clips)} clips in {split} lack files, the first is {incomplete[0].id}: "
            f"{incomplete[0].missing[0]}. `ccformer data check` names them all; complete the download"
        )
    unclear = [clip for clip in clips if clip.unclear]
    if unclear:
        raise ValueError(
            f"{root}: {len(unclear)} of {len(clips)} clips in {split} are not clear, the first: "
            f"{unclear[0].unclear[0]}. "
            "`ccformer data check` names them all"
        )
    if len({clip.has_video for clip in clips}) == 2:
        raise ValueError(
            f"{root}: {split} mixes clips with frames/ and with a video; give all clips of a split one form"
        )


def _dataset(
    clips: list[ClipFiles], names: tuple[str, ...], root: Path, split: str, streaming: bool
) -> Dataset | IterableDataset:
    refuse_unfit(clips, root, split)
    rows = [
        {
            "id": clip.id,
            "setting": clip.setting,
            "classes": list(clip.classes),
            "annotated": [path is not None for path in clip.labels],
            "frames": list(clip.frames),
            "labels": list(clip.labels),
            "sound": clip.sound,
            "log_mel": clip.log_mel,
            "size": clip.frames[0],
        }
        for clip in clips
    ]
    features = folder_features(names, clips[0].has_binary_labels, clips[0].has_video)
    dataset = Dataset.from_list(rows, features=features, split=split)
    return _stream(dataset) if streaming else dataset


def _stream(dataset: Dataset) -> IterableDataset:
    return dataset.to_iterable_dataset(min(STREAM_SHARDS, len(dataset)))


def _load_shards(setting: str, root: Path, split: str | None, streaming: bool) -> Loaded:
    files, names = shard_files(root, setting)
    if split and split not in files:
        raise FileNotFoundError(f"{root}: {setting} has no split {split}, but {', '.join(files)}")
    # Given here rather than by `cast`, which would write all of the set a second time.
    features = decoded_shard_features(names, str(root))
    try:
        return load_dataset("parquet", data_files=files, split=split, streaming=streaming, features=features)
    except (DatasetGenerationError, DatasetsError) as error:
        cause = " ".join(str(error.__cause__ or error).split())
        raise OSError(
            f"{root}: shards of {setting} cannot be read ({cause}); `ccformer data check` may tell which. Copy them "
            "or convert again"
        ) from error
