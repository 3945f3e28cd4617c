"""Segments a video and writes the result down: overlay video, masks, JSON, contact sheet (ours).

One way through, twice over the file: first `inference` looks at `fps` frames per second, and their class maps are kept as PNGs;
then these are laid over every frame. Memory does not depend on the duration.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from .inference import BUILT_IN_MODEL, FrameSegmentation, load, segment_frames, trained_on
from .media import VideoWriter
from .media_ccformer import MediaInfo, SoundReader, iter_frames, looks_at_all, probe
from .modeling_ccformer import CCFormerForAudioVisualSegmentation
from .processing_ccformer import AudioVisualProcessor
from .visualize import PALETTE, Bar, Overlay, Tile, clock, contact_sheet, timeline_picture
from .whole_files import replace_folder
from .windows_ccformer import check_numbers, frame_times, frames_looked_at

# What `segment_video` can write, and the name of each in the folder of a video.
FORMATS = {"video": "overlay.mp4", "masks": "masks", "json": "segments.json", "sheet": "contact_sheet.png"}

# Regions smaller than this share of the picture get no box in the JSON, and no class gets more boxes than this.
SPECK = 0.0005
MOST_BOXES = 20
SHEET_FRAMES = 12
THUMBNAIL = 480  # longest side in pixels
LOUDNESS_PARTS = 1200

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
    """Segments a video and writes the result to `output_dir/<name of the video without its ending>/`.

    * `overlay.mp4` ("video"): every frame with the masks laid over it and the names of what sounds, own sound kept. The
      masks of a frame looked at are shown from its `start` to its `end`.
    * `masks/000000.png` ... ("masks"): one per frame looked at, at the size of the video; pixels are class ids, the colours are
      in the palette.
    * `segments.json` ("json"): see below.
    * `contact_sheet.png` ("sheet"): up to 12 frames, and a timeline of what sounds when.

    The folder appears at the end, whole, and then replaces one that an earlier run wrote; an error leaves everything as it was.

    `segments.json` (seconds; pixels of the upright picture with square pixels, origin top left):

        model       name; trained_on: what its folder says in checkpoint.json, null where it says nothing
        source      file, duration, width, height, fps, has_audio
        fps         frames looked at per second; on average, where each frame of the video is
        threshold   of 1 - P(background)
        has_sound   false: the video has no sound track, the model was told so
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
    target = Path(output_dir) / Path(path).stem
    _check_target(target, Path(path))
    model, processor = model if isinstance(model, tuple) else load(model, device)

    with _AppearsWhole(target) as folder:
        segments = _write_all(folder, info, model, processor, fps, threshold, window, overlap, formats, progress)
    paths = {name: target / file if name in formats else None for name, file in FORMATS.items()}
    return Segmentation(folder=target, **paths, segments=segments)


class _AppearsWhole:
    """A folder to write into that takes the name `target` when its `with` block ends well, and is gone when it does not."""

    def __init__(self, target: Path):
        self._target = target

    def __enter__(self) -> Path:
        parent = self._target.parent
        self._made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        try:
            parent.mkdir(parents=True, exist_ok=True)
            self._folder = parent / f".{self._target.name}.{os.getpid()}.part"
            self._folder.mkdir()
        except OSError as error:
            self._remove_parents()
            raise OSError(
                f"{parent}: cannot be written to ({error.strerror}); name another folder for the output"
            ) from None
        return self._folder

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            replace_folder(self._folder, self._target)
        else:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._remove_parents()

    def _remove_parents(self) -> None:
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return  # someone else has put something there


def _check_target(target: Path, source: Path) -> None:
    """An earlier result may be replaced, nothing else."""
    if not target.exists():
        return
    if not target.is_dir() or {item.name for item in target.iterdir()} - set(FORMATS.values()):
        raise FileExistsError(
            f"{target}: is there already and is no earlier result; name another folder for the output"
        )
    if target.resolve() in source.resolve().parents:
        raise FileExistsError(
            f"{source}: lies in {target}, which the result would replace; name another output folder"
        )


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
        total=steps, desc=Path(info.path).name, unit="frame", leave=False, disable=None if progress else True
    ) as bar:
        frames = _keeping_thumbnails(frames_looked_at(info, fps), on_sheet, thumbnails)
        found = segment_frames(info, frames, model, processor, fps, threshold, window, overlap)
        segments = write_segments(folder, info, found, about, names, fps, threshold, bar.update, formats, info.path)
    masks = folder / FORMATS["masks"]
    if "sheet" in formats:
        tiles = [_tile(thumbnails[index], masks, segments["frames"][index]) for index in on_sheet]
        _sheet(info, segments, tiles, names).save(folder / FORMATS["sheet"])
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
    ids = {name: class_id for class_id, name in names.items()}
    masks = folder / FORMATS["masks"]
    masks.mkdir()
    segments = {
        "model": dict(about),
        "source": {
            "file": Path(info.path).name,
            "duration": round(info.duration, 6),
            "width": info.width,
            "height": info.height,
            "fps": round(info.fps, 6),
            "has_audio": info.has_audio,
        },
        "fps": info.fps if looks_at_all(info, fps) else fps,
        "threshold": threshold,
        "has_sound": info.has_audio,
        "classes": {str(class_id): name for class_id, name in names.items()},
        "frames": [],
    }
    for frame in frames:
        _save_mask(masks / f"{frame.index:06d}.png", frame.class_map)
        segments["frames"].append(_record(frame, ids))
        done(1)
    if "video" in formats:
        _write_video(folder / FORMATS["video"], info, segments, masks, done, sound_from, opacity)
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


def _record(frame: FrameSegmentation, ids: dict[str, int]) -> dict:
    """One entry of `frames` in `segments.json`."""
    sounding = []
    for name, score in frame.scores.items():
        mask = frame.class_map == ids[name]
        sounding.append(
            {
                "class": name,
                "id": ids[name],
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
                legend = {entry["id"]: entry["class"] for entry in records[index]["sounding"]}
                layer = Overlay(_read_mask(masks, index), opacity, legend)
                done(index - max(shown, 0))
                shown = index
            layer.draw_on(frame)
            video.write(frame, time)
        done(len(records) - max(shown, 0))


def _tile(thumbnail: np.ndarray, masks: Path, record: dict) -> Tile:
    height, width = thumbnail.shape[:2]
    class_map = Image.fromarray(_read_mask(masks, record["index"])).resize((width, height), Image.Resampling.NEAREST)
    sounding = {entry["id"]: entry["class"] for entry in record["sounding"]}
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
    return contact_sheet(Path(info.path).name, "  \u00b7  ".join(facts), tiles, timeline)


def loudness(path: str | os.PathLike, parts: int, seconds: float) -> np.ndarray:
    """Root mean square of the sound of a file in so many parts of so many seconds each, `(parts,)`, 0..1; 0 beyond its end."""
    with SoundReader(path) as sound:
        num_samples = max(1, round(seconds * sound.rate))
        sounds = (sound.read(part * seconds, num_samples) for part in range(parts))
        return np.array([np.sqrt(np.mean(np.square(samples), dtype=np.float64)) for samples in sounds])
