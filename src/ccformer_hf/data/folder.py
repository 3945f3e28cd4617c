"""A folder of clips for `load_folder`: nothing but files, no table to write.

    ROOT/classes.txt                      one class per line; the first line is id 1 (0 is background, 255 is ignore)
    ROOT/train/<clip>/frames/*.jpg|*.png  one picture per second, in the order of the numbers in their names: 1, 2, 10
                     /masks/<frame>.png   class ids of the frame of the same name; left out where it is not annotated
                     /audio.wav           its sound; left out for a clip without
    ROOT/validation/..., ROOT/test/...

Leading zeros do not matter: `masks/01.png` belongs to `frames/1.jpg`. Frames may also be .bmp, .webp or .tif, masks
.bmp or .tif, the sound .mp3, .flac, ...; hidden files and what systems leave in folders are passed over. What could be
read in two ways is refused.

Instead of `frames/` a clip may have `video.mp4` (or .mkv, .mov, .webm, .avi), whose sound is taken then; its masks are
called `000000.png`, `000001.png`, ... by the second they show, as `ccformer segment` writes them.
"""

import os
import unicodedata
from pathlib import Path

from ..model.media_ccformer import MediaError, probe
from ..model.pictures_ccformer import SUFFIXES
from ..model.timing_ccformer import FrameTiming
from .avsbench import CLASSES_FILE, FOLDER, SPLITS, VIDEOS, ClipFiles, settings_in
from .listing import entries, natural_key
from .text_files import read_lines

MASKS = (".png", ".bmp", ".tif", ".tiff")  # the others may blur class ids
SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus")
# Not read; passing over a frame in silence would shift all that follow it.
OTHER_PICTURES = (".gif", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".jxl", ".tga", ".ppm", ".pgm", ".exr", ".dng")

Key = tuple[str | int, ...]


def read_folder_class_names(root: str | os.PathLike) -> tuple[str, ...]:
    """Background and the lines of `classes.txt`.

    Raises:
        FileNotFoundError: where there is no `classes.txt`.
        ValueError: for no class, the same class twice, or more than 254; for a file that is not text in UTF-8.
    """
    path = Path(root) / CLASSES_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; write one class name per line, the first is id 1")
    # In one Unicode form, so that names which read the same are the same: an accent can be written in two ways.
    names = ("background", *(unicodedata.normalize("NFC", line) for line in read_lines(path)))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not 2 <= len(names) <= 255:
        what = f"names {twice[0]!r} twice (background needs no line)" if twice else f"names {len(names) - 1} classes"
        raise ValueError(f"{path}: {what}; expected 1 to 254 different names, one per line")
    return names


def list_folder_clips(root: str | os.PathLike) -> list[ClipFiles]:
    """All clips of the three splits by name in natural order; not all are usable (`ClipFiles.missing`, `.unclear`).

    Raises:
        FileNotFoundError: where no split has a clip.
        ValueError: for a split by another name, which would be passed over.
    """
    root = Path(root)
    for other in ("val", "valid"):
        if (root / other).is_dir():
            raise ValueError(f"{root / other}: expected the name {root / 'validation'}; rename it")
    clips = [_clip(folder, split) for split in SPLITS for folder in entries(root / split) if folder.is_dir()]
    if not clips:
        expected = f"expected folders {root}/train/<clip>/ with frames/ or video.mp4, and masks/"
        official = settings_in(root)
        if official:
            expected = f"it is AVSBench's, whose setting is {' or '.join(map(repr, official))}"
        raise FileNotFoundError(f"{root}: holds no clips; {expected}")
    return clips


def _clip(folder: Path, split: str) -> ClipFiles:
    where = f"{split}/{folder.name}"
    missing: list[str] = []
    unclear: list[str] = []
    videos, sounds = (_files_called(folder, *choice) for choice in (("video", VIDEOS), ("audio", SOUNDS)))
    pictures = _pictures(folder / "frames", SUFFIXES, where, unclear)
    sound = str(sounds[0]) if sounds else None
    forms = [path.name for path in videos] + ["frames/"] * bool(pictures)
    for choices in (forms, [path.name for path in sounds]):
        if len(choices) > 1:
            unclear.append(f"{where} has {' and '.join(choices)}; leave one of them")
    if videos:
        frames = (str(videos[0]),)
        keys, video_sounds = _video_frames(videos[0], missing)
        if sound is None and video_sounds:
            sound = frames[0]
    else:
        frames = tuple(map(str, pictures.values()))
        keys = list(pictures)
        if not frames:
            missing.append(f"{where}/frames/ or video.mp4")
    masks = _pictures(folder / "masks", MASKS, where, unclear)
    labels = tuple(str(masks.pop(key)) if key in masks else None for key in keys)
    if keys and masks:
        missing.append(f"the frame of {where}/masks/{next(iter(masks.values())).name}")
    return ClipFiles(folder.name, FOLDER, split, (), frames, labels, sound, None, tuple(missing), tuple(unclear))


def _files_called(folder: Path, stem: str, suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in entries(folder) if path.stem == stem and path.suffix.lower() in suffixes]


def _video_frames(video: Path, missing: list[str]) -> tuple[list[Key], bool]:
    """Keys of the frames sampled in a video, and whether it has sound."""
    try:
        info = probe(video)
    except MediaError as error:
        missing.append(str(error))
        return [], False
    return [natural_key(str(index)) for index in range(FrameTiming().num_frames(info.duration))], info.has_audio


def _pictures(folder: Path, suffixes: tuple[str, ...], where: str, unclear: list[str]) -> dict[Key, Path]:
    """The pictures in a folder in natural order, by what has to be the same in the name of a frame and of its mask."""
    pictures: dict[Key, Path] = {}
    for path in entries(folder):
        if path.suffix.lower() in suffixes:
            first = pictures.setdefault(natural_key(path.stem), path)
            if first != path:
                unclear.append(
                    f"{where}/{folder.name} has {first.name} and {path.name}, one name but for the zeros; rename one"
                )
        elif path.suffix.lower() in (*SUFFIXES, *OTHER_PICTURES):
            unclear.append(
                f"{where}/{folder.name}/{path.name}: expected {', '.join(suffixes)}; save it as one of these"
            )
    return pictures
