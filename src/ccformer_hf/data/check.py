"""Says what of a data set is missing, unreadable or odd, within a minute for whole sets.

Every file is opened, but only its head and tail are read: they hold a picture's size and kind, a sound's length, and
betray a download that was cut short. What they cannot vouch for is read in full, by what the loader would use. A file
whose damage lies in its middle passes. Of label pictures one clip per split is decoded, to see whether its class ids
make sense.
"""

import os
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..model.media_ccformer import MediaError, probe
from ..model.pictures_ccformer import ID_MODES, open_picture, picture_size, picture_size_and_mode
from .avsbench import ALL_SETTINGS, FOLDER, OFFICIAL_COUNTS, SPLITS, ClipFiles, class_names, find_settings, list_clips
from .folder import CLASSES_FILE, list_folder_clips, read_folder_class_names
from .listing import entries
from .reading import IGNORE_LABEL, read_label_map, read_log_mel, read_sound
from .shards import CARD_FILE, is_converted, planned_files, read_plan

FEW = 3  # a finding names so many
THREADS = 8  # they wait for a network drive most of the time
HEAD = 16  # bytes read from the front of a file, which say what kind it is

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
UNKNOWN_LENGTH = 0x7FFF0000  # a wav written into a pipe states a length from here on

COLOUR_MODES = ("RGB", "RGBA", "P")


@dataclass(frozen=True)
class Kind:
    """A kind of finding: `group` (`"missing"`, `"unreadable"`, `"odd"`, `"note"`), what it is, and how to fix it."""

    group: str
    what: str
    fix: str


_AGAIN = "copy or unpack them again"
_CONVERT = "run the same `ccformer data convert` again, it goes on where it stopped"
MISSING = Kind("missing", "files that are not there", f"{_AGAIN}, or take their clips out")
NOT_CONVERTED = Kind("missing", "files of the conversion that are not there", _CONVERT)
BAD_PICTURE = Kind("unreadable", "pictures that cannot be read", _AGAIN)
BAD_SOUND = Kind("unreadable", "sounds that cannot be read", _AGAIN)
BAD_SHARD = Kind("unreadable", "shards that cannot be read", f"delete them, then {_CONVERT}")
OTHER_ROWS = Kind("odd", "shards with another number of clips than planned", BAD_SHARD.fix)
OTHER_SIZE = Kind("odd", "clips with pictures of different sizes", "bring their frames and labels to one size")
UNCLEAR = Kind(
    "odd", "files that could be read in two ways, or not at all", "do what it says at each, then check again"
)
DEEP = Kind("odd", "frames with more than 8 bits per colour", "save them with 8 bits")
LOSSY = Kind("odd", "label pictures that are JPEG, which blurs labels", "save them as PNG")
NOT_IDS = Kind(
    "odd", "label pictures that do not hold ids", "save greyscale or palette PNG, a pixel's value is its class id"
)
NOT_COLOURS = Kind(
    "odd", "label pictures that do not hold colours", "take the official labels_rgb, or labels_semantic"
)
WRONG_IDS = Kind("odd", "label pictures of no use", "save the ids of the classes, 0 for background")
ONLY_IGNORED = Kind(
    "odd",
    f"clips labelled with 0 and {IGNORE_LABEL} only, and {IGNORE_LABEL} is ignored",
    f"save class ids: 1 for the first line of {CLASSES_FILE}",
)
MIXED = Kind("odd", "clips in another form than the split's first", "give all a video, or all frames/")
OTHER_COUNT = Kind("note", "another number of clips than in AVSBench's table", "nothing to fix in a smaller set")
SHORT_SOUND = Kind("note", "clips whose sound ends over a second too soon", "nothing to fix, the rest is silent")
NO_WAVEFORM = Kind(
    "note", "clips without a sound file", "nothing to fix if they are silent, or log-mel files are used"
)
NOT_ANNOTATED = Kind("note", "clips without any label", "add labels, or expect no score for them")
FEWER_COLOURS = Kind("note", "clips with too few pictures in labels_rgb", "nothing to fix, labels_semantic is used")


@dataclass
class Finding:
    """All that was found of one kind in a split: how many, and the first `FEW` by name."""

    kind: Kind
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class SplitReport:
    """What was found in one split of one setting.

    Attributes:
        setting: `"s4"`, `"ms3"`, `"avss"` or `"folder"`.
        split: `"train"`, `"validation"` or `"test"`.
        clips: how many the table, the folders or the plan of the shards promise.
        whole: how many of them nothing but notes was found about.
        findings: by kind.
    """

    setting: str
    split: str
    clips: int = 0
    whole: int = 0
    findings: dict[Kind, Finding] = field(default_factory=dict)

    def add(self, kind: Kind, example: str) -> None:
        """Counts one more of a kind."""
        finding = self.findings.setdefault(kind, Finding(kind))
        finding.count += 1
        if len(finding.examples) < FEW:
            finding.examples.append(example)

    def count(self, group: str) -> int:
        """How many findings there are in a group of kinds."""
        return sum(finding.count for finding in self.findings.values() if finding.kind.group == group)

    @property
    def fine(self) -> bool:
        """Whether there is nothing but notes."""
        return all(kind.group == "note" for kind in self.findings)


def check_data(root: str | os.PathLike, setting: str | None = None, progress: bool = True) -> list[SplitReport]:
    """Looks into every file of a data set without decoding it.

    Args:
        root: folder with AVSBench's official download, clips of your own, or what `ccformer data convert` wrote.
        setting: `"s4"`, `"ms3"`, `"avss"` or `"folder"`; None: all that are there.
        progress: show progress bars on stderr.

    Returns:
        One report per setting and split.

    Raises:
        OSError: where `root` is not a folder, holds no such setting, or a table cannot be read.
        ValueError: for an unknown setting, or a table that is broken.
    """
    root = Path(root)
    if setting not in (None, *ALL_SETTINGS):
        raise ValueError(f"setting is {setting!r}; expected one of {', '.join(map(repr, ALL_SETTINGS))}")
    if is_converted(root):
        return _check_shards(root, setting)
    reports = []
    for name, folder in _folders(root, setting).items():
        reports += _check_setting(name, folder, root, progress)
    return reports


def _folders(root: Path, setting: str | None) -> dict[str, Path]:
    if setting == FOLDER or (setting is None and (root / CLASSES_FILE).is_file()):
        return {FOLDER: root}
    found = find_settings(root)
    if setting is None:
        return found
    if setting not in found:
        raise FileNotFoundError(f"{root}: holds no {setting}, but {', '.join(found)}; name another folder or setting")
    return {setting: found[setting]}


def _check_setting(setting: str, folder: Path, root: Path, progress: bool) -> list[SplitReport]:
    if setting == FOLDER:
        names, clips = read_folder_class_names(folder), list_folder_clips(folder)
    else:
        names, clips = class_names(setting), list_clips(setting, folder)
    reports = {split: SplitReport(setting, split) for split in SPLITS}
    decoded: set[str] = set()  # splits of which one clip was decoded
    forms: dict[str, bool] = {}  # of each split's first clip: whether it is a video
    pool = ThreadPoolExecutor(THREADS)
    try:
        found = pool.map(partial(_check_clip, root=root, folder=folder), clips)
        bar = {"total": len(clips), "desc": f"checking {setting}", "unit": "clip", "disable": not progress}
        for clip, findings in tqdm(zip(clips, found, strict=True), **bar):
            if clip.split not in decoded and any(clip.labels) and _only_notes(findings):
                decoded.add(clip.split)
                findings += _check_ids(clip, names, root)
            if clip.frames and forms.setdefault(clip.split, clip.has_video) != clip.has_video:
                findings.append((MIXED, clip.id))
            report = reports[clip.split]
            report.clips += 1
            report.whole += _only_notes(findings)
            for kind, example in findings:
                report.add(kind, example)
    finally:
        pool.shutdown(cancel_futures=True)
    if setting == FOLDER:
        return [report for report in reports.values() if report.clips]
    for report, official in zip(reports.values(), OFFICIAL_COUNTS[setting], strict=True):
        if report.clips != official:
            report.add(OTHER_COUNT, f"{report.clips} instead of {official}")
    return list(reports.values())


def _only_notes(findings: list[tuple[Kind, str]]) -> bool:
    return all(kind.group == "note" for kind, _ in findings)


# One clip ------------------------------------------------------------------------------------------------------------


def _check_clip(clip: ClipFiles, root: Path, folder: Path) -> list[tuple[Kind, str]]:
    """What its files show without being decoded, each with the name of the file or clip."""
    # An own clip tells what it lacks in words, the others by names as seen from their table.
    findings = [
        (MISSING, name if clip.setting == FOLDER else os.path.relpath(folder / name, root)) for name in clip.missing
    ]
    findings += [(UNCLEAR, what) for what in clip.unclear]
    labels = [path for path in clip.labels if path is not None]
    sizes = set()
    if clip.frames and clip.has_video:
        if not clip.missing:  # else it could not be opened
            info = probe(clip.frames[0])
            sizes.add((info.width, info.height))
        pictures = labels
    else:
        pictures = [*clip.frames, *labels]
    for path in pictures:
        try:
            picture = _look_at_picture(path)
        except _UnreadableError as error:
            findings.append((BAD_PICTURE, f"{os.path.relpath(path, root)} ({error})"))
            continue
        sizes.add((picture.width, picture.height))
        kind = _label_fault(clip.setting, path, picture.mode) if path in labels else _frame_fault(picture.mode)
        if kind:
            findings.append((kind, f"{os.path.relpath(path, root)} ({picture.mode})"))
    if len(sizes) > 1:
        findings.append(
            (OTHER_SIZE, f"{clip.id} ({', '.join(f'{width}x{height}' for width, height in sorted(sizes))})")
        )
    findings += _check_sound(clip, root)
    if not labels and not clip.missing:
        findings.append((NOT_ANNOTATED, clip.id))
    if clip.setting == "avss" and labels and _kind_of_label(labels[0]) == "labels_semantic":
        colours = Path(labels[0]).parents[1] / "labels_rgb"
        there = {path.name for path in entries(colours)}
        if there and not {os.path.basename(path) for path in labels} <= there:
            findings.append((FEWER_COLOURS, clip.id))
    return findings


def _kind_of_label(path: str) -> str:
    return os.path.basename(os.path.dirname(path))


def _frame_fault(mode: str) -> Kind | None:
    return DEEP if mode.startswith(("I", "F")) else None


def _label_fault(setting: str, path: str, mode: str) -> Kind | None:
    if mode == "JPEG":
        return LOSSY
    if setting in ("s4", "ms3"):
        return None  # whatever is not 0 sounds
    if setting == "avss" and _kind_of_label(path) == "labels_rgb":
        return None if mode in COLOUR_MODES else NOT_COLOURS
    return None if mode in ID_MODES else NOT_IDS


def _check_sound(clip: ClipFiles, root: Path) -> Iterator[tuple[Kind, str]]:
    if clip.log_mel is not None:
        try:
            _look_at_log_mel(clip.log_mel)
        except _UnreadableError as error:
            yield BAD_SOUND, f"{os.path.relpath(clip.log_mel, root)} ({error})"
    if clip.sound is None:
        if clip.log_mel is not None or clip.setting == FOLDER:
            yield NO_WAVEFORM, clip.id
    elif clip.sound not in clip.frames:  # the sound of a video is as long as the video says
        try:
            seconds = _look_at_sound(clip.sound)
        except _UnreadableError as error:
            yield BAD_SOUND, f"{os.path.relpath(clip.sound, root)} ({error})"
        else:
            if seconds < len(clip.labels) - 1:
                yield SHORT_SOUND, f"{clip.id} ({seconds:.1f} s for {len(clip.labels)} frames)"


def _check_ids(clip: ClipFiles, names: tuple[str, ...], root: Path) -> Iterator[tuple[Kind, str]]:
    """Decodes the label pictures of a clip."""
    values = set()
    for path in filter(None, clip.labels):
        try:
            ids = read_label_map(path, len(names), clip.setting in ("s4", "ms3"), os.path.relpath(path, root))
        except ValueError as error:
            yield WRONG_IDS, str(error)
            return
        values |= set(np.unique(ids).tolist())
    if IGNORE_LABEL in values and values <= {0, IGNORE_LABEL}:
        yield ONLY_IGNORED, clip.id


# One file ------------------------------------------------------------------------------------------------------------


class _UnreadableError(Exception):
    """Says in a few words why a file cannot be used."""


@dataclass(frozen=True)
class _Picture:
    width: int
    height: int
    mode: str  # as Pillow names it; "JPEG" for JPEG files


def _ends(path: str) -> tuple[bytes, bytes, int]:
    """The first `HEAD` bytes of a file, its last 12, and how many it has."""
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(HEAD)
            size = file.seek(0, os.SEEK_END)
            if size <= HEAD:
                return head, head[-12:], size
            file.seek(-12, os.SEEK_END)
            return head, file.read(12), size
    except OSError as error:
        raise _UnreadableError(error.strerror) from None


def _look_at_picture(path: str) -> _Picture:
    head, tail, size = _ends(path)
    if size == 0:
        raise _UnreadableError("it is empty")
    try:
        # Pillow reads no more than the head of a file whose end is there.
        if head.startswith(JPEG_START) and tail.endswith(JPEG_END):
            return _Picture(*picture_size(path), "JPEG")
        if head.startswith(PNG_START) and tail == PNG_END:
            size, mode = picture_size_and_mode(path)
            return _Picture(*size, mode)
        image = open_picture(path)
    except ValueError as error:
        raise _UnreadableError(str(error).removeprefix(f"{path}: ")) from None
    return _Picture(*image.size, "JPEG" if image.format in ("JPEG", "MPO") else image.mode)


def _look_at_sound(path: str) -> float:
    """Seconds of sound in a file."""
    size = _ends(path)[2]
    if size == 0:
        raise _UnreadableError("it is empty")
    seconds = _wav_seconds(path, size)
    if seconds is None:
        try:
            waveform, rate = read_sound(path)
        except MediaError as error:
            raise _UnreadableError(str(error)) from None
        seconds = len(waveform) / rate
    if seconds == 0:
        raise _UnreadableError("it holds no sound")
    return seconds


def _wav_seconds(path: str, size: int) -> float | None:
    """Length of a wav file by its header; None where that does not tell.

    By hand, as `wave` does not say where the samples start, which it takes to see that a file was cut short.
    """
    with open(path, "rb") as file:
        riff = file.read(12)
        if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            return None
        bytes_per_second = 0
        while len(chunk := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            if name == b"data":
                there = size - file.tell()
                if length < UNKNOWN_LENGTH and there < length:
                    raise _UnreadableError(f"it is cut short: {there} of {length} bytes of sound are there")
                return min(length, there) / bytes_per_second if bytes_per_second else None
            start = file.tell()
            if name == b"fmt ":
                bytes_per_second = int.from_bytes(file.read(12)[8:], "little")
            file.seek(start + length + length % 2)  # chunks start at even places
    return None


def _look_at_log_mel(path: str) -> None:
    head, tail, size = _ends(path)
    if size == 0:
        raise _UnreadableError("it is empty")
    if head.startswith(b"\x80") and tail.endswith(b"."):  # first and last command of a pickle
        return
    try:
        read_log_mel(path)
    except ValueError as error:
        raise _UnreadableError(str(error)) from None


# Shards --------------------------------------------------------------------------------------------------------------


def _check_shards(root: Path, setting: str | None) -> list[SplitReport]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ValueError(f"{root}: checking its shards needs `pip install 'ccformer-hf[train]'` first") from None
    plan = read_plan(root)
    if setting is not None and setting not in plan:
        raise FileNotFoundError(f"{root}: holds no {setting}, but {', '.join(plan)}; convert it into this folder too")
    reports = []
    for name in plan if setting is None else (setting,):
        clips_per_shard = plan[name]["clips_per_shard"]
        for split, paths in planned_files(root, name, clips_per_shard).items():
            report = SplitReport(name, split, clips=sum(clips_per_shard[split]))
            for path, count in zip(paths, clips_per_shard[split], strict=True):
                shard = os.path.relpath(path, root)
                try:
                    rows = pq.read_metadata(path).num_rows
                except FileNotFoundError:
                    report.add(NOT_CONVERTED, shard)
                except (OSError, pa.ArrowException) as error:
                    report.add(BAD_SHARD, f"{shard} ({error})")
                else:
                    if rows == count:
                        report.whole += count
                    else:
                        report.add(OTHER_ROWS, f"{shard} ({rows} instead of {count})")
            reports.append(report)
    if not (root / CARD_FILE).is_file():  # it is written last
        reports[0].add(NOT_CONVERTED, CARD_FILE)
    return reports
