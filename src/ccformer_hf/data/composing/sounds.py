"""Class-labelled sounds of a source: which there are, and their samples.

Formats:

* `csv`: columns `file`, `class` and, if wanted, `split`.
* `folders`: `path/CLASS/` with files of any kind that FFmpeg reads.
* `esc50`: `path` holds `meta/esc50.csv` and `audio/`; fold 4 is validation, fold 5 test.
* `vggsound`: `path` is `vggsound.csv` (video, start, label, split, without a head); the clips lie below `root`, each
  as `VIDEO_SSSSSS.wav` (or `.mp4`, ...) with six digits of the start. Clips that are not there are left out, since
  many are gone.
* `fsd`: `path` is a table of FSD50K or FSDKaggle2018 with `fname` and `labels` or `label`; `root` is the folder with
  the wav files. A sound whose labels are of more than one of our classes is left out.

Letters: `S` samples at 16 kHz.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...model.media_ccformer import MediaError, SoundReader
from ...model.timing_ccformer import SAMPLING_RATE
from ..text_files import open_text, read_csv
from .pictures import read_table, split_in
from .sources import Source, Sources

MOST_SECONDS = 10.0  # of a file that are read
GATE = 1e-3  # power, as a share of the loudest 20 ms, below which a moment does not count for the loudness
SOUNDS = (".wav", ".ogg", ".flac", ".mp3", ".m4a", ".opus", ".aac", ".mp4", ".mkv", ".webm")
ESC50_SPLITS = {"4": "validation", "5": "test"}
FSD_SPLITS = {"train": "train", "val": "validation"}


@dataclass(frozen=True, slots=True)
class SoundFile:
    """A file, its split, and our class, `"other"` or `"bed"`."""

    file: str
    split: str
    name: str


def list_sounds(sources: Sources) -> list[SoundFile]:
    """All sounds of the sources, in an order that depends on nothing but the files.

    Raises:
        FileNotFoundError: where a source has no files.
        ValueError: for a table that cannot be read, or a sound in two splits.
    """
    sounds = [sound for source in sources.sounds for sound in _READERS[source.format](source)]
    split_of: dict[str, str] = {}
    for sound in sounds:
        if split_of.setdefault(sound.file, sound.split) != sound.split:
            raise ValueError(
                f"{sources.file}: {sound.file} is in {split_of[sound.file]} and in {sound.split}; name it once, or "
                "set `split` "
                "of its sources to the same"
            )
    return sounds


def _csv(source: Source) -> Iterator[SoundFile]:
    rows = list(read_table(source, ("file", "class")))
    source.check_names(row["class"] for _, row in rows)
    for where, row in rows:
        name = source.class_of(row["class"])
        if name:
            yield SoundFile(str(source.inside(row["file"])), source.split_of(row["file"], split_in(row, where)), name)


def _folders(source: Source) -> Iterator[SoundFile]:
    folders = sorted(path for path in source.path.iterdir() if path.is_dir()) if source.path.is_dir() else []
    source.check_names(folder.name for folder in folders)
    for folder in folders:
        name = source.class_of(folder.name)
        for file in sorted(path for path in folder.iterdir() if path.suffix.lower() in SOUNDS) if name else ():
            yield SoundFile(str(file), source.split_of(f"{folder.name}/{file.name}"), name)


def _esc50(source: Source) -> Iterator[SoundFile]:
    table = replace(source, path=source.path / "meta" / "esc50.csv")
    if not table.path.is_file():
        raise FileNotFoundError(
            f"{source.where}: {table.path} is not there; name the folder that ESC-50 was unpacked in"
        )
    rows = list(read_table(table, ("filename", "fold", "category", "src_file")))
    table.check_names(row["category"] for _, row in rows)
    for _, row in rows:
        name = source.class_of(row["category"])
        if name:
            file = source.inside(f"audio/{row['filename']}")
            # Folds keep apart what was cut from one recording; so does `src_file` where splits are drawn.
            yield SoundFile(str(file), source.split_of(row["src_file"], ESC50_SPLITS.get(row["fold"], "train")), name)


def _vggsound(source: Source) -> Iterator[SoundFile]:
    there = {path.stem: path for path in sorted(source.root.rglob("*")) if path.suffix.lower() in SOUNDS}
    table = list(read_csv(source.path))
    broken = [line for line, row in table if len(row) != 4 or not row[1].isdigit()]
    if broken or not table:
        line = broken[0] if broken else 1
        raise ValueError(f"{source.path}, line {line}: expected video, start in seconds, label and split")
    rows = [row for _, row in table]
    source.check_names(row[2] for row in rows)
    found = False
    for video, start, label, split in rows:
        path, name = there.get(f"{video}_{int(start):06d}"), source.class_of(label)
        if path is not None and name:
            found = True
            yield SoundFile(str(path), source.split_of(video, _vggsound_split(video, split)), name)
    if not found:
        raise FileNotFoundError(
            f"{source.where}: {source.root} holds no clip that {source.path} names; name their folder as root, and "
            "the clips "
            "VIDEO_SSSSSS.wav or .mp4 with the start in seconds"
        )


def _vggsound_split(video: str, split: str) -> str:
    """VGGSound has no validation split: one in twenty of its training videos."""
    if split == "test":
        return "test"
    return "validation" if sum(video.encode()) % 20 == 0 else "train"


def _fsd(source: Source) -> Iterator[SoundFile]:
    with open_text(source.path) as file:
        column = "labels" if "labels" in file.readline() else "label"
    rows = list(read_table(source, ("fname", column)))
    source.check_names(label for _, row in rows for label in row[column].split(","))
    for _, row in rows:
        names = {source.class_of(label) for label in row[column].split(",")} - {None}
        if len(names) == 1:
            name = row["fname"] if row["fname"].endswith(".wav") else f"{row['fname']}.wav"
            split = FSD_SPLITS.get(row.get("split") or "")
            yield SoundFile(str(source.inside(name)), source.split_of(name, split), names.pop())


_READERS = {"csv": _csv, "folders": _folders, "esc50": _esc50, "vggsound": _vggsound, "fsd": _fsd}


@dataclass(frozen=True)
class Recording:
    """A sound in memory: `samples` int16 `(S,)`, mono, 16 kHz; `loudness` (see `gated_loudness`), of full scale."""

    samples: np.ndarray
    loudness: float

    @property
    def nbytes(self) -> int:
        return self.samples.nbytes


def load_recording(file: str) -> Recording:
    """The first seconds of a file, without the silence that follows them.

    Raises:
        OSError: where the file is not there.
        ValueError: for what cannot be read, or holds nothing but silence.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"{file}: is not there; copy it there, or take it out of its table")
    with SoundReader(file, SAMPLING_RATE) as reader:
        samples = reader.read(0.0, round(MOST_SECONDS * SAMPLING_RATE))
    samples = (np.clip(samples, -1, 1) * 32767).round().astype(np.int16)
    heard = np.flatnonzero(samples)
    if not len(heard):
        raise MediaError(f"{file}: is silent; take it out")
    samples = samples[: heard[-1] + 1]
    return Recording(samples, gated_loudness(samples.astype(np.float32) / 32768))


def gated_loudness(samples: np.ndarray) -> float:
    """Root mean square of a sound `(S,)` over the moments (20 ms) in which it is there at all."""
    moment = SAMPLING_RATE // 50
    whole = np.pad(samples, (0, -len(samples) % moment)).reshape(-1, moment)
    powers = np.square(whole, dtype=np.float32).mean(axis=1)
    loud = powers[powers >= GATE * powers.max()]
    return float(np.sqrt(loud.mean()))
