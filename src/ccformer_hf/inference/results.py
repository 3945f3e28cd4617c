"""Segments a video and writes the result down: overlay video, masks, JSON, contact sheet (ours).

One way through, twice over the file: first `inference` looks at `fps` frames per second, and their class maps are kept as PNGs;
then these are laid over every frame. Memory does not depend on the duration.
"""

import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from ..atomic import AtomicFolder, cut_name
from ..model.media_ccformer import MediaInfo, looks_at_all, shown_path
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.sliding_window_ccformer import check_numbers
from .contained_media import frame_times, iter_frames, iter_sounds, probe
from .loading import BUILT_IN_MODEL, load, trained_on
from .segmenting import FrameSegmentation, frames_looked_at, segment_frames
from .video_writer import VideoWriter
from .visualize import PALETTE, Bar, Overlay, Tile, clock, contact_sheet, distinct_names, timeline_picture

# What `segment_video` can write, and the name of each in the folder of a video.
FORMATS = {"video": "overlay.mp4", "masks": "masks", "json": "segments.json", "sheet": "contact_sheet.png"}
# In the folder of a result: a checksum of its video's path, by which a later run of the same video knows the result as its own.
SOURCE_FILE = ".source"
LONGEST_NAME = 255  # bytes of a name, on most file systems
# Names that Windows keeps for devices, with any ending.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)

# Regions smaller than this share of the picture get no box in the JSON, and no class gets more boxes than this.
SPECK = 0.0005
MOST_BOXES = 20
SHEET_FRAMES = 12
THUMBNAIL = 480  # longest side in pixels
LOUDNESS_PARTS = 1200
LOUDNESS_RATE = 16000

Model = str | os.PathLike | tuple[CCFormerForAudioVisualSegmentation, AudioVisualProcessor]


@dataclass(frozen=True)
class Segmentation:
    """What `segment_video` made.

    Attributes:
        folder: that holds all of it.
        video: the video with the masks laid over it; None where it was not asked for, like the next three.
        masks: folder of one PNG per frame looked at, pixels = class ids.
        json: file with the content of `segments`.
        sheet: the contact sheet, a PNG.
        segments: see `segment_video`.
    """

    folder: Path
    video: Path | None
    masks: Path | None
    json: Path | None
    sheet: Path | None
    segments: dict


def segment_video(
    path: str | os.PathLike,
    output_dir: str | os.PathLike,
    model: Model = BUILT_IN_MODEL,
    fps: float | str = 1.0,
    threshold: float = 0.5,
    window: int = 10,
    overlap: int = 2,
    device: str = "auto",
    formats: Sequence[str] = tuple(FORMATS),
    progress: bool = True,
) -> Segmentation:
    """Segments a video and writes the result to a folder in `output_dir` that is called like the video, without its ending.

    Where a result of another video, or anything else, has that name already, the folder is called like the video with its ending, and
    else with a number: `clip`, `clip.mp4`, `clip.mp4 (2)`, ... A result of the same video (by its path) is replaced.

    * `overlay.mp4` ("video"): every frame with the masks laid over it and the names of what sounds, own sound kept. The
      masks of a frame looked at are shown from its `start` to its `end`.
    * `masks/000000.png` ... ("masks"): one per frame looked at, at the size of the video; pixels are class ids, the colours are
      in the palette.
    * `segments.json` ("json"): see below.
    * `contact_sheet.png` ("sheet"): up to 12 frames, and a timeline of what sounds when.

    The folder appears at the end, whole, and then replaces what an earlier run wrote; an error leaves everything as it was. The video is
    read in a child process: see `contained_media`. Sound that is broken is left out, with a `MediaWarning`.

    `segments.json` (seconds; pixels of the upright picture with square pixels, origin top left):

        model       name; trained_on: what its folder says in checkpoint.json, null where it says nothing
        source      file (what is not UTF-8 in its name: as \\xe9), duration, width, height, fps, has_audio
        fps         frames looked at per second; on average, where each frame of the video is
        threshold   of 1 - P(background)
        has_sound   false: the video has no sound that could be read, the model was told so
        classes     class id (as text) -> name, all the model knows
        frames      one entry per frame looked at:
            index, time, start, end     as in `FrameSegmentation`
            sounding                    best score first, one entry per class in the mask:
                class, id
                score   mean probability within its mask, 0..1
                area    share of the picture's pixels, 0..1
                boxes   [[x0, y0, x1, y1], ...], x1 and y1 one beyond the last pixel: its connected regions, the
                        largest first, at most 20, none smaller than 0.05 % of the picture

    Args:
        path: the video.
        output_dir: made where it does not exist.
        model: what `load` takes, or what it returned.
        fps, threshold, window, overlap: see `iter_segments`.
        device: see `load`; not used where `model` is loaded already.
        formats: which of "video", "masks", "json", "sheet" to write.
        progress: whether to show a progress bar, on a terminal.

    Raises:
        MediaError: where the video cannot be read.
        OSError: where the model is missing, or the output cannot be written.
        ValueError: for arguments that cannot be used.
    """
    check_numbers(fps, threshold, window, overlap)
    formats = tuple(formats)
    if not formats or not set(formats) <= set(FORMATS):
        raise ValueError(f"formats is {formats}; choose from {', '.join(FORMATS)}")
    info = probe(path)
    output_dir, source = Path(output_dir), Path(path)
    model, processor = model if isinstance(model, tuple) else load(model, device)

    whole = AtomicFolder(result_folder(output_dir, source))
    with whole as folder:
        segments = _write_all(folder, info, model, processor, fps, threshold, window, overlap, formats, progress)
        (folder / SOURCE_FILE).write_text(_checksum(source))
        whole.target = result_folder(output_dir, source)  # another run may have taken the name meanwhile
    paths = {name: whole.target / file if name in formats else None for name, file in FORMATS.items()}
    return Segmentation(folder=whole.target, **paths, segments=segments)


def result_folder(output_dir: Path, source: Path) -> Path:
    """The folder for the result of a video: that of its earlier result, or else the first of its names that is free.

    See `segment_video`. A name that cannot be one everywhere is changed: `_con` for `con`, no dots or blanks at either end.
    """
    names = dict.fromkeys((_usable(source.stem), _usable(source.name)))
    numbered = (f"{cut_name(_usable(source.name), LONGEST_NAME - 12)} ({number})" for number in itertools.count(2))
    for name in itertools.chain(names, numbered):
        folder = output_dir / name
        if not os.path.lexists(folder) or _is_result_of(folder, source):
            return folder
    raise AssertionError("numbers do not end")


def _usable(name: str) -> str:
    name = name.strip(". ") or "video"
    return f"_{name}" if DEVICES.match(name) else name


def _is_result_of(folder: Path, source: Path) -> bool:
    """Whether a folder holds a result of this video, and nothing else that would be lost with it."""
    try:
        if {item.name for item in folder.iterdir()} - {SOURCE_FILE, *FORMATS.values()}:
            return False
        made_from = (folder / SOURCE_FILE).read_text(errors="replace")
    except OSError:
        return False
    return made_from == _checksum(source) and folder.resolve() not in source.resolve().parents


def _checksum(source: Path) -> str:
    """Of the path and not of the content, which may be large; and not the path itself: results are given away."""
    return hashlib.sha256(os.fsencode(source.resolve())).hexdigest()


def readable_name(path: str | os.PathLike) -> str:
    """The name of a file as text that can be printed and written: what is not UTF-8 in it, as `\\xe9`; line breaks, as `\\n`."""
    return shown_path(Path(path).name)


def _write_all(
    folder: Path,
    info: MediaInfo,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float | str,
    threshold: float,
    window: int,
    overlap: int,
    formats: Sequence[str],
    progress: bool,
) -> dict:
    """Writes everything into `folder` and returns the content of `segments.json`."""
    num_frames = len(frame_times(info, fps))
    on_sheet = np.unique(np.linspace(0, num_frames - 1, min(SHEET_FRAMES, num_frames)).round().astype(int)).tolist()
    thumbnails: dict[int, np.ndarray] = {}
    names = model.config.id2label
    about = {"name": _model_name(model), "trained_on": trained_on(model)}
    steps = num_frames * (1 + ("video" in formats))
    # disable=None: shown on a terminal only.
    with tqdm(
        total=steps, desc=readable_name(info.path), unit="frame", leave=False, disable=None if progress else True
    ) as bar:
        frames = _keeping_thumbnails(frames_looked_at(info, fps), on_sheet, thumbnails)
        found = segment_frames(info, frames, model, processor, fps, threshold, window, overlap)
        sound = info.path if info.has_audio else None
        segments = write_segments(folder, info, found, about, names, fps, threshold, bar.update, formats, sound)
    masks = folder / FORMATS["masks"]
    if "sheet" in formats:
        shown = distinct_names(names)
        tiles = [_tile(thumbnails[index], masks, segments["frames"][index], shown) for index in on_sheet]
        _sheet(info, segments, tiles, shown).save(folder / FORMATS["sheet"])
    if "masks" not in formats:
        shutil.rmtree(masks)
    return segments


def write_segments(
    folder: Path,
    info: MediaInfo,
    frames: Iterable[FrameSegmentation],
    about: Mapping[str, str | None],
    names: Mapping[int, str],
    fps: float | str,
    threshold: float,
    done: Callable[[int], object],
    formats: Sequence[str],
    sound_from: str | os.PathLike | None,
    opacity: float = 0.5,
) -> dict:
    """Writes the masks, and of the other `formats` the overlay video and the JSON, and returns the content of `segments.json`.

    Args:
        folder: to write into; the names are those of `FORMATS`.
        info: of the video; `has_audio` tells whether the model was given sound.
        frames: what was found, one per frame looked at.
        about: `name` of the model, and `trained_on`.
        names: class id -> name, all that the model knows.
        fps, threshold: with which `frames` were found.
        done: is told of frames that are ready: one each when its mask is written, and once more when it is in the video.
        formats: see `segment_video`.
        sound_from: file whose sound goes with the overlay video; None: it has none.
        opacity: 0..1 of the masks in the overlay video.
    """
    masks = folder / FORMATS["masks"]
    masks.mkdir()
    segments = {
        "model": dict(about),
        "source": {
            "file": readable_name(info.path),
            "duration": round(info.duration, 6),
            "width": info.width,
            "height": info.height,
            "fps": round(info.fps, 6),
            "has_audio": info.has_audio,
        },
        "fps": info.fps if looks_at_all(info, fps) else fps,
        "threshold": threshold,
        "has_sound": False,
        "classes": {str(class_id): name for class_id, name in names.items()},
        "frames": [],
    }
    for frame in frames:
        _save_mask(masks / f"{frame.index:06d}.png", frame.class_map)
        segments["frames"].append(_record(frame, names))
        segments["has_sound"] |= frame.has_sound
        done(1)
    if "video" in formats:
        shown = distinct_names(names)
        _write_video(folder / FORMATS["video"], info, segments, shown, masks, done, sound_from, opacity)
    if "json" in formats:
        text = json.dumps(segments, indent=1, ensure_ascii=False)
        (folder / FORMATS["json"]).write_text(text + "\n", encoding="utf-8")
    return segments


def _model_name(model: CCFormerForAudioVisualSegmentation) -> str:
    """The Hub id, or the name of the folder it came from."""
    name = model.name_or_path
    return Path(name).name if Path(name).is_dir() else name


def _keeping_thumbnails(
    frames: Iterable[np.ndarray], wanted: Sequence[int], kept: dict[int, np.ndarray]
) -> Iterator[np.ndarray]:
    for index, frame in enumerate(frames):
        if index in wanted:
            image = Image.fromarray(frame)
            image.thumbnail((THUMBNAIL, THUMBNAIL))
            kept[index] = np.asarray(image)
        yield frame


def _save_mask(path: Path, class_map: np.ndarray) -> None:
    image = Image.fromarray(class_map)
    image.putpalette(PALETTE.tobytes())
    image.save(path, compress_level=3)


def _read_mask(masks: Path, index: int) -> np.ndarray:
    with Image.open(masks / f"{index:06d}.png") as image:
        return np.array(image)


def _record(frame: FrameSegmentation, names: Mapping[int, str]) -> dict:
    """One entry of `frames` in `segments.json`."""
    sounding = []
    for class_id, score in frame.scores.items():
        mask = frame.class_map == class_id
        sounding.append(
            {
                "class": names[class_id],
                "id": class_id,
                "score": round(score, 4),
                "area": round(float(mask.mean()), 6),
                "boxes": _boxes(mask),
            }
        )
    times = {key: round(getattr(frame, key), 6) for key in ("time", "start", "end")}
    return {"index": frame.index, **times, "sounding": sounding}


def _boxes(mask: np.ndarray) -> list[list[int]]:
    regions, _ = ndimage.label(mask)
    sizes = np.bincount(regions.ravel())[1:]
    boxes = ndimage.find_objects(regions)
    largest = [place for place in np.argsort(-sizes, kind="stable") if sizes[place] >= SPECK * mask.size][:MOST_BOXES]
    return [[columns.start, rows.start, columns.stop, rows.stop] for rows, columns in (boxes[i] for i in largest)]


def _write_video(
    path: Path,
    info: MediaInfo,
    segments: dict,
    names: Mapping[int, str],
    masks: Path,
    done: Callable[[int], object],
    sound_from: str | os.PathLike | None,
    opacity: float,
) -> None:
    records = segments["frames"]
    # Rounded for the JSON: a frame at this very time comes after it.
    starts = np.array([record["start"] for record in records]) - 2e-6
    shown, layer = -1, None
    with VideoWriter(path, info.width, info.height, info.fps, sound_from) as video:
        for time, frame in iter_frames(info.path):
            index = max(0, int(np.searchsorted(starts, time, side="right")) - 1)
            if index != shown:
                legend = {entry["id"]: names[entry["id"]] for entry in records[index]["sounding"]}
                layer = Overlay(_read_mask(masks, index), opacity, legend)
                done(index - max(shown, 0))
                shown = index
            layer.draw_on(frame)
            video.write(frame, time)
        done(len(records) - max(shown, 0))


def _tile(thumbnail: np.ndarray, masks: Path, record: dict, names: Mapping[int, str]) -> Tile:
    height, width = thumbnail.shape[:2]
    class_map = Image.fromarray(_read_mask(masks, record["index"])).resize((width, height), Image.Resampling.NEAREST)
    sounding = {entry["id"]: names[entry["id"]] for entry in record["sounding"]}
    return Tile(record["time"], thumbnail, np.asarray(class_map), sounding)


def _sheet(info: MediaInfo, segments: dict, tiles: Sequence[Tile], names: dict[int, str]) -> Image.Image:
    bars = [
        Bar(entry["id"], record["start"], record["end"], entry["score"])
        for record in segments["frames"]
        for entry in record["sounding"]
    ]
    facts = (
        clock(info.duration, 1),
        f"{info.width} x {info.height}",
        f"looked at every {1 / segments['fps']:g} s",
        f"threshold {segments['threshold']:g}",
        segments["model"]["name"],
    )
    loud = loudness(info.path, LOUDNESS_PARTS, info.duration / LOUDNESS_PARTS) if info.has_audio else None
    timeline = timeline_picture(bars, names, info.duration, loud)
    return contact_sheet(readable_name(info.path), "  \u00b7  ".join(facts), tiles, timeline)


def loudness(path: str | os.PathLike, parts: int, seconds: float) -> np.ndarray:
    """Root mean square of the sound of a file in so many parts of so many seconds each, `(parts,)`, 0..1; 0 where there is none."""
    starts = np.arange(parts) * seconds
    sounds = iter_sounds(path, starts, max(1, round(seconds * LOUDNESS_RATE)), LOUDNESS_RATE)
    return np.array([0.0 if part is None else np.sqrt(np.mean(np.square(part), dtype=np.float64)) for part in sounds])
