"""AVSBench's official folders: which files make a clip, and what their names and colours mean (lineage).

    ROOT/Single-source/s4_meta_data.csv, s4_data/     s4: one source, 5 frames; training clips with one mask only
    ROOT/Multi-sources/ms3_meta_data.csv, ms3_data/   ms3: several sources, 5 frames, all with masks
    ROOT/metadata.csv, v1s/, v1m/, v2/                avss: 71 classes, 5 or 10 frames

`ROOT` may also be the folder that holds the csv itself, or avss may lie one folder deeper. This module lists files and
opens none but the csv, so it stays fast for whole sets; `features.py` decodes, `check.py` checks the files.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..model.argument_names_ccformer import unknown_names
from .listing import entries, is_leftover
from .text_files import read_csv

SETTINGS = ("s4", "ms3", "avss")
FOLDER = "folder"  # the setting of clips that are no part of AVSBench, see `folder`
CLASSES_FILE = "classes.txt"  # of such a folder
ALL_SETTINGS = (*SETTINGS, FOLDER)
SPLITS = ("train", "validation", "test")
TABLES = {"s4": "s4_meta_data.csv", "ms3": "ms3_meta_data.csv", "avss": "metadata.csv"}
COLUMNS = {
    "s4": ("name", "start", "category", "split"),
    "ms3": ("video_id", "split"),
    "avss": ("vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"),
}
# Columns whose text becomes a part of a path.
NAMES_OF_FILES = ("name", "category", "video_id", "uid")
# Clips in train, validation, test as AVSBench's real tables count them.
OFFICIAL_COUNTS = {"s4": (3452, 740, 740), "ms3": (296, 64, 64), "avss": (8498, 1304, 1554)}

BINARY_CLASS_NAMES = ("background", "sounding")
# A name's place is its id in the label maps. Do not take the ids of other repositories' label2idx.json, some count
# from 1.
AVSS_CLASS_NAMES: tuple[str, ...] = tuple(
    """background accordion airplane axe baby bassoon bell bird boat boy bus car cat cello clarinet clipper clock dog
    donkey drum duck elephant emergency-car erhu flute frying-food girl goose guitar gun guzheng hair-dryer
    handpan harmonica harp helicopter hen horse keyboard leopard lion man marimba missile-rocket motorcycle
    mower parrot piano pig pipa saw saxophone sheep sitar sorna squirrel tabla tank tiger tractor train
    trombone truck trumpet tuba ukulele utv vacuum-cleaner violin wolf woman""".split()
)

S4_SECONDS = 10  # AVSBench cut its clips from videos of 10 s; 14 start at second 6, where 4 s are left
V2_FRAMES, V1_FRAMES = 10, 5
PICTURES = (".jpg", ".png")  # AVSS frames are .jpg; copies recovered from elsewhere may be .png
VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi")  # a clip of one's own may be one
NOT_VISIBLE = ("off-the-screen", "background")  # in `a_obj`: nothing that sounds can be seen


@dataclass(frozen=True)
class ClipFiles:
    """Where the parts of one clip lie.

    Attributes:
        id: unique in its setting and split.
        setting: `"s4"`, `"ms3"`, `"avss"`, or `"folder"` for a folder of the user's own.
        split: `"train"`, `"validation"` or `"test"`.
        classes: what sounds, as the table says: the category (s4), names of `AVSS_CLASS_NAMES` (avss; ms3 where the
            table of avss is there too), nothing (folder).
        frames: one picture per second; or a single video (folder).
        labels: one label picture per frame, None where the frame is not annotated.
        sound: wav file (folder: any file with sound), or None.
        log_mel: official `.pkl` of log-mel examples, or None.
        missing: what the table promises and the folders do not hold; nothing for a whole clip.
        unclear: what of its files could be read in two ways, or not at all (folder); nothing for a clip that can be
            used.
    """

    id: str
    setting: str
    split: str
    classes: tuple[str, ...]
    frames: tuple[str, ...]
    labels: tuple[str | None, ...]
    sound: str | None
    log_mel: str | None = None
    missing: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()

    @property
    def has_video(self) -> bool:
        """Whether the frames lie in one video."""
        return self.frames[0].lower().endswith(VIDEOS)

    @property
    def has_binary_labels(self) -> bool:
        """Whether the label pictures tell only 0 from the rest."""
        return self.setting in ("s4", "ms3")


def class_names(setting: str) -> tuple[str, ...]:
    """Names of the label ids of an official setting, background first."""
    return AVSS_CLASS_NAMES if setting == "avss" else BINARY_CLASS_NAMES


def avss_palette() -> np.ndarray:
    """The colour `(256, 3)` uint8 of every class id in `labels_rgb`, by the rule of PASCAL VOC (lineage)."""
    ids = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for place in range(8):
        for channel in range(3):
            palette[:, channel] |= ((ids >> (3 * place + channel) & 1) << (7 - place)).astype(np.uint8)
    return palette


def find_settings(root: str | os.PathLike) -> dict[str, Path]:
    """The settings whose table lies in `root` or in a folder directly below it, with the folder of each table.

    Raises:
        NotADirectoryError: where `root` is not a folder.
        FileNotFoundError: where no table is found.
    """
    root = Path(root)
    if not root.is_dir():
        raise NotADirectoryError(
            f"{root}: is not a folder; name the one that holds Single-source/, Multi-sources/ or metadata.csv of "
            "AVSBench"
        )
    found = settings_in(root)
    if not found:
        expected = "name the folder that holds Single-source/, Multi-sources/ or metadata.csv of AVSBench"
        if (root / CLASSES_FILE).is_file():
            expected = f"it has a {CLASSES_FILE}, as a folder of your own clips, whose setting is {FOLDER!r}"
        raise FileNotFoundError(f"{root}: holds no {', '.join(TABLES.values())}, nor do the folders in it; {expected}")
    return found


def settings_in(root: Path) -> dict[str, Path]:
    """As `find_settings`; empty where no table is found."""
    folders = [root, *(path for path in entries(root) if path.is_dir())]
    found = {}
    for setting, table in TABLES.items():
        for folder in folders:
            if (folder / table).is_file():
                found[setting] = folder
                break
    return found


def list_clips(
    setting: str, folder: str | os.PathLike, avss_folder: str | os.PathLike | None = None
) -> list[ClipFiles]:
    """The clips of one setting in the order of its table, whole or not (see `ClipFiles.missing`).

    Args:
        folder: the one that holds the table, as `find_settings` gives it.
        avss_folder: that of the table of avss, which tells what sounds in the clips of ms3; its own table does not.
            None: not there.

    Raises:
        OSError: where the table cannot be read.
        ValueError: for a table with other columns, an unknown split or class, or the same clip twice.
    """
    folder = Path(folder)
    lister = {"s4": _list_s4, "ms3": _list_ms3, "avss": _list_avss}[setting]
    clips = list(lister(folder, _read_table(setting, folder / TABLES[setting])))
    if setting == "ms3" and avss_folder is not None:
        classes = _ms3_classes(Path(avss_folder) / TABLES["avss"])
        clips = [replace(clip, classes=classes.get(clip.id, ())) for clip in clips]
    seen = set()
    for clip in clips:
        if clip.id in seen:
            raise ValueError(f"{folder / TABLES[setting]}: has the clip {clip.id} twice; take the official table")
        seen.add(clip.id)
    return clips


def _read_table(setting: str, path: Path) -> list[dict[str, str]]:
    names = COLUMNS[setting]
    rows = [row for _, row in read_csv(path)][1:]  # read by position: the header's names vary
    if not rows:
        raise ValueError(f"{path}: names no clip below its header; take the official table")
    for number, row in enumerate(rows, 2):
        if len(row) < len(names):
            raise ValueError(f"{path}: row {number} has {len(row)} columns; expected {len(names)}: {', '.join(names)}")
    for number, row in enumerate(rows, 2):
        for name, text in zip(names, row, strict=False):
            if name in NAMES_OF_FILES and (text in ("", ".", "..") or any(mark in text for mark in "/\\\0")):
                raise ValueError(
                    f"{path}: row {number} has the {name} {text!r}; expected the name of a file or folder of the data "
                    "set, without / and \\, so that nothing outside it is read. Take the official table"
                )
    return [
        dict(zip(names, row, strict=False)) | {"split": _split(row[names.index("split")], path, number)}
        for number, row in enumerate(rows, 2)
    ]


def _split(text: str, path: Path, number: int) -> str:
    split = "validation" if text == "val" else text
    if split not in SPLITS:
        raise ValueError(f"{path}: row {number} has the split {text!r}; expected train, val or test")
    return split


class _Folders:
    """Names in folders, each folder listed once: asking for every file by itself is slow on network drives."""

    def __init__(self):
        self._names: dict[str, frozenset[str]] = {}

    def names(self, folder: str) -> frozenset[str]:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(name for name in os.listdir(folder) if not is_leftover(name))
            except (FileNotFoundError, NotADirectoryError):
                self._names[folder] = frozenset()
        return self._names[folder]

    def find(self, folder: str, *names: str) -> str | None:
        """The first of `names` that `folder` holds, as a path."""
        there = self.names(folder)
        return next((os.path.join(folder, name) for name in names if name in there), None)


@dataclass
class _Finder:
    """Collects the files of one clip and what of them is missing."""

    folders: _Folders
    root: Path

    def __post_init__(self):
        self.missing: list[str] = []

    def need(self, folder: str, *names: str) -> str | None:
        path = self.folders.find(folder, *names)
        if path is None:
            self.missing.append(os.path.relpath(os.path.join(folder, names[0]), self.root))
        return path

    def pictures(self, folder: str, names: list[tuple[str, ...]], at_least: int) -> list[str]:
        """Those of `names` that are there; the first `at_least` have to be."""
        found = []
        for number, choices in enumerate(names):
            path = self.folders.find(folder, *choices) if number >= at_least else self.need(folder, *choices)
            if path is not None:
                found.append(path)
        return found


def _list_s4(folder: Path, rows: list[dict[str, str]]) -> Iterator[ClipFiles]:
    data, folders = str(folder / "s4_data"), _Folders()
    for row in rows:
        name, category, split = row["name"], row["category"], row["split"]
        finder = _Finder(folders, folder)
        place = os.path.join(_official(split), category)
        names = [(f"{name}_{number}.png",) for number in range(1, V1_FRAMES + 1)]
        start = int(row["start"]) if row["start"].isdigit() else 0
        at_least = min(V1_FRAMES, max(1, S4_SECONDS - start))
        frames = finder.pictures(os.path.join(data, "visual_frames", place, name), names, at_least)
        # Training knows the mask of the first frame only.
        annotated = 1 if split == "train" else len(frames)
        masks = finder.pictures(os.path.join(data, "gt_masks", place, name), names[:annotated], annotated)
        sound, log_mel = _official_sound(finder, data, place, name)
        yield ClipFiles(
            id=name,
            setting="s4",
            split=split,
            classes=(category,),
            frames=tuple(frames),
            labels=(*masks, *[None] * (len(frames) - len(masks))),
            sound=sound,
            log_mel=log_mel,
            missing=tuple(finder.missing),
        )


def _list_ms3(folder: Path, rows: list[dict[str, str]]) -> Iterator[ClipFiles]:
    data, folders = str(folder / "ms3_data"), _Folders()
    for row in rows:
        name, split = row["video_id"], row["split"]
        finder = _Finder(folders, folder)
        numbers = range(1, V1_FRAMES + 1)
        frames = [
            finder.need(os.path.join(data, "visual_frames", name), f"{name}.mp4_{number}.png") for number in numbers
        ]
        mask_folder = os.path.join(data, "gt_masks", _official(split), name)
        masks = [finder.need(mask_folder, f"{name}_{number}.png") for number in numbers]
        sound, log_mel = _official_sound(finder, data, _official(split), name)
        yield ClipFiles(
            id=name,
            setting="ms3",
            split=split,
            classes=(),
            frames=tuple(path for path in frames if path is not None),
            labels=tuple(masks),
            sound=sound,
            log_mel=log_mel,
            missing=tuple(finder.missing),
        )


def _list_avss(folder: Path, rows: list[dict[str, str]]) -> Iterator[ClipFiles]:
    for number, row in enumerate(rows, 2):
        clip, folders = os.path.join(folder, row["label"], row["uid"]), _Folders()
        finder = _Finder(folders, folder)
        if row["label"] not in ("v1s", "v1m", "v2"):
            raise ValueError(
                f"{folder / TABLES['avss']}: row {number} has the label {row['label']!r}; expected v1s, v1m or v2"
            )
        length = V2_FRAMES if row["label"] == "v2" else V1_FRAMES
        frames = [
            finder.need(os.path.join(clip, "frames"), *(f"{index}{suffix}" for suffix in PICTURES))
            for index in range(length)
        ]
        annotated = 1 if (row["label"], row["split"]) == ("v1s", "train") else length
        # Ids and colours say the same; ids need no colour table.
        kind = "labels_semantic" if folders.names(os.path.join(clip, "labels_semantic")) else "labels_rgb"
        masks = [finder.need(os.path.join(clip, kind), f"{index}.png") for index in range(annotated)]
        yield ClipFiles(
            id=row["uid"],
            setting="avss",
            split=row["split"],
            classes=_avss_classes(row["a_obj"], folder / TABLES["avss"], number),
            frames=tuple(path for path in frames if path is not None),
            labels=(*masks, *[None] * (length - annotated)),
            sound=finder.need(clip, "audio.wav"),
            missing=tuple(finder.missing),
        )


def _ms3_classes(path: Path) -> dict[str, tuple[str, ...]]:
    """What sounds in each clip of ms3: by its name in avss, there labelled v1m (as AVSBench-Robust joins them)."""
    rows = enumerate(_read_table("avss", path), 2)
    return {row["vid"]: _avss_classes(row["a_obj"], path, number) for number, row in rows if row["label"] == "v1m"}


def _official(split: str) -> str:
    return "val" if split == "validation" else split


def _official_sound(finder: _Finder, data: str, place: str, name: str) -> tuple[str | None, str | None]:
    """The wav and the log-mel file of a clip; one of the two is enough."""
    log_mel = finder.folders.find(os.path.join(data, "audio_log_mel", place), f"{name}.pkl")
    wav_folder = os.path.join(data, "audio_wav", place)
    if log_mel is not None:
        return finder.folders.find(wav_folder, f"{name}.wav"), log_mel
    return finder.need(wav_folder, f"{name}.wav"), None


def _avss_classes(text: str, path: Path, number: int) -> tuple[str, ...]:
    """`dog_off-the-screen` -> `("dog",)`. One real row says `h orse`, so blanks are dropped."""
    names = [name for name in text.replace(" ", "").split("_") if name not in NOT_VISIBLE]
    unknown = unknown_names(names, AVSS_CLASS_NAMES)
    if unknown:
        raise ValueError(
            f"{path}: row {number} names the class {unknown}, which is not one of AVSBench's 70; take the official "
            "table"
        )
    return tuple(names)
