"""Writes down what was found in a video: masks, `segments.json`, overlay video and contact sheet.

The masks come first, as PNGs; the overlay and the sheet are drawn from them, so that memory does not depend on the
duration.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..model.media_ccformer import MediaInfo
from ..model.sliding_window_ccformer import FrameSegmentation
from .contained_media import iter_yuv_frames, loudness
from .segments_json import FrameRecord, Segments, frame_record, names_by_id
from .video_writer import VideoWriter
from .visualize import PALETTE, Bar, Tile, YuvOverlay, clock, contact_sheet, distinct_names, timeline_picture

# What can be written, and the name of each in the folder of a video.
FORMATS = {"video": "overlay.mp4", "masks": "masks", "json": "segments.json", "sheet": "contact_sheet.png"}
SHEET_FRAMES = 12
THUMBNAIL = 480  # longest side in pixels
LOUDNESS_PARTS = 1200


def write_masks(
    folder: Path,
    frames: Iterable[FrameSegmentation],
    segments: Segments,
    on_progress: Callable[[int], object] = lambda frames: None,
) -> None:
    """Writes the mask of each frame as it comes, and adds its record to `segments`; what follows is made from both.

    Args:
        folder: to write into; here and below the names are those of `FORMATS`.
        frames: what was found, one per sampled frame.
        segments: of the video, as `empty_segments` gives it.
        on_progress: called with a number of frames that are ready.
    """
    masks = folder / FORMATS["masks"]
    masks.mkdir()
    names = names_by_id(segments)
    for frame in frames:
        _save_mask(masks / f"{frame.index:06d}.png", frame.class_map)
        segments["frames"].append(frame_record(frame, names))
        on_progress(1)


def write_overlay(
    folder: Path,
    info: MediaInfo,
    segments: Segments,
    sound_from: str | os.PathLike | None,
    opacity: float = 0.5,
    on_progress: Callable[[int], object] = lambda frames: None,
) -> None:
    """Writes the video with the masks laid over it.

    Args:
        folder: in which `write_masks` wrote the masks.
        info: of the video.
        segments: with the frames that `write_masks` added.
        sound_from: file whose sound goes with it; None: it has none.
        opacity: 0..1 of the masks.
        on_progress: called with a number of sampled frames that are in the video.
    """
    records, names = segments["frames"], distinct_names(names_by_id(segments))
    # Rounded for the JSON: a frame at this very time comes after it.
    starts = np.array([record["start"] for record in records]) - 2e-6
    shown, layer = -1, None
    colours, frames = iter_yuv_frames(info.path)
    with VideoWriter(folder / FORMATS["video"], info.width, info.height, info.fps, sound_from, colours) as video:
        for time, frame in frames:
            index = max(0, int(np.searchsorted(starts, time, side="right")) - 1)
            if index != shown:
                legend = {entry["id"]: names[entry["id"]] for entry in records[index]["sounding"]}
                layer = YuvOverlay(_read_mask(folder / FORMATS["masks"], index), colours, opacity, legend)
                on_progress(index - max(shown, 0))
                shown = index
            layer.draw_on(frame)
            video.write_yuv(frame, time)
        on_progress(len(records) - max(shown, 0))


def write_json(folder: Path, segments: Segments) -> None:
    """Writes `segments` as JSON."""
    text = json.dumps(segments, indent=1, ensure_ascii=False)
    (folder / FORMATS["json"]).write_text(text + "\n", encoding="utf-8")


def write_sheet(folder: Path, info: MediaInfo, segments: Segments, thumbnails: Mapping[int, np.ndarray]) -> None:
    """Writes the contact sheet.

    Args:
        folder: in which `write_masks` wrote the masks.
        info: of the video.
        segments: with the frames that `write_masks` added.
        thumbnails: index of a frame -> `thumbnail` of it, for the frames that the sheet shows.
    """
    shown = distinct_names(names_by_id(segments))
    masks = folder / FORMATS["masks"]
    tiles = [_tile(small, masks, segments["frames"][index], shown) for index, small in thumbnails.items()]
    _sheet(info, segments, tiles, shown).save(folder / FORMATS["sheet"], compress_level=3)


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """A frame `(H, W, 3)` uint8 at the size that the contact sheet has room for."""
    image = Image.fromarray(frame)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(image)


def _save_mask(path: Path, class_map: np.ndarray) -> None:
    image = Image.fromarray(class_map)
    image.putpalette(PALETTE.tobytes())
    image.save(path, compress_level=3)


def _read_mask(masks: Path, index: int) -> np.ndarray:
    with Image.open(masks / f"{index:06d}.png") as image:
        return np.array(image)


def _tile(thumbnail: np.ndarray, masks: Path, record: FrameRecord, names: Mapping[int, str]) -> Tile:
    height, width = thumbnail.shape[:2]
    class_map = Image.fromarray(_read_mask(masks, record["index"])).resize((width, height), Image.Resampling.NEAREST)
    sounding = {entry["id"]: names[entry["id"]] for entry in record["sounding"]}
    return Tile(record["time"], thumbnail, np.asarray(class_map), sounding)


def _sheet(info: MediaInfo, segments: Segments, tiles: Sequence[Tile], names: Mapping[int, str]) -> Image.Image:
    bars = [
        Bar(entry["id"], record["start"], record["end"], entry["score"])
        for record in segments["frames"]
        for entry in record["sounding"]
    ]
    facts = (
        clock(info.duration, 1),
        f"{info.width} x {info.height}",
        f"sampled every {1 / segments['fps']:g} s",
        f"threshold {segments['threshold']:g}",
        segments["model"]["name"],
    )
    loud = loudness(info.path, LOUDNESS_PARTS, info.duration / LOUDNESS_PARTS) if info.has_audio else None
    timeline = timeline_picture(bars, names, info.duration, loud)
    return contact_sheet(segments["source"]["file"], "  \u00b7  ".join(facts), tiles, timeline)
