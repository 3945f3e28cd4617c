"""A folder of the user's own clips, laid out so that nothing but files needs to be written (ours).

    ROOT/classes.txt                      one class per line; the first line is id 1 (0 is background, 255 is ignore)
    ROOT/train/<clip>/frames/*.jpg|*.png  one picture per second, in the order of their names
                     /masks/<frame>.png   class ids of the frame of the same name; left out where it is not annotated
                     /audio.wav           its sound; left out for a clip without
    ROOT/validation/..., ROOT/test/...

Instead of `frames/` a clip may have `video.mp4` (or .mkv, .mov, .webm, .avi), whose sound is taken then; its masks are called
`000000.png`, `000001.png`, ... by the second they show, as `ccformer segment` writes them.
"""

import os
from pathlib import Path

from ..media_ccformer import MediaError, probe
from ..timeline_ccformer import Timeline
from .avsbench import SPLITS, VIDEOS, ClipFiles

CLASSES_FILE = "classes.txt"
FRAMES = (".jpg", ".jpeg", ".png")


def read_own_class_names(root: str | os.PathLike) -> tuple[str, ...]:
    """Background and the lines of `classes.txt`.

    Raises:
        FileNotFoundError: where there is no `classes.txt`.
        ValueError: for no class, the same class twice, or more than 254.
    """
    path = Path(root) / CLASSES_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; write one class name per line, the first is id 1")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    names = ("background", *(line.strip() for line in lines if line.strip()))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not 2 <= len(names) <= 255:
        what = f"names {twice[0]!r} twice (background needs no line)" if twice else f"names {len(names) - 1} classes"
        raise ValueError(f"{path}: {what}; wanted are 1 to 254 different names, one per line")
    return names


def list_own_clips(root: str | os.PathLike) -> list[ClipFiles]:
    """All clips of the three splits in the order of their names, whole or not (see `ClipFiles.missing`).

    Raises:
        FileNotFoundError: where no split has a clip.
    """
    root = Path(root)
    clips = []
    for split in SPLITS:
        folders = sorted((root / split).iterdir()) if (root / split).is_dir() else []
        clips += [_clip(folder, split) for folder in folders if folder.is_dir() and not folder.name.startswith(".")]
    if not clips:
        raise FileNotFoundError(
            f"{root}: holds no clips; wanted are folders {root}/train/<clip>/ with frames/ or video.mp4, and masks/"
        )
    return clips


def _clip(folder: Path, split: str) -> ClipFiles:
    video = next((folder / f"video{suffix}" for suffix in VIDEOS if (folder / f"video{suffix}").is_file()), None)
    sound = folder / "audio.wav" if (folder / "audio.wav").is_file() else None
    missing: list[str] = []
    if video is not None:
        frames = (str(video),)
        stems, video_sounds = _video_frames(video, missing)
        if sound is None and video_sounds:
            sound = video
    else:
        frames = tuple(str(path) for path in _pictures(folder / "frames", FRAMES))
        stems = [Path(path).stem for path in frames]
        if not frames:
            missing.append(f"{split}/{folder.name}/frames/ or video.mp4")
    masks = {path.stem: str(path) for path in _pictures(folder / "masks", (".png",))}
    labels = tuple(masks.pop(stem, None) for stem in stems)
    if stems and masks:
        missing.append(f"the frame of {split}/{folder.name}/masks/{sorted(masks)[0]}.png")
    return ClipFiles(
        folder.name, "own", split, (), frames, labels, str(sound) if sound else None, None, tuple(missing)
    )


def _video_frames(video: Path, missing: list[str]) -> tuple[list[str], bool]:
    """Names of the frames looked at in a video, and whether it has sound."""
    try:
        info = probe(video)
    except MediaError as error:
        missing.append(str(error))
        return [], False
    return [f"{index:06d}" for index in range(Timeline().num_frames(info.duration))], info.has_audio


def _pictures(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in paths if path.suffix.lower() in suffixes)
