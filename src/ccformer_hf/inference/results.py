"""Writes down what was found in a video: masks, `segments.json`, overlay video and contact sheet.

The masks come first, as PNGs, one of every frame where there is an overlay; the overlay and the sheet are drawn from
them, so that memory does not depend on the duration.
"""

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from PIL import Image

from ..model.media_ccformer import MediaInfo
from .captions import csv_text, srt_text, vtt_text
from .contained_media import iter_yuv_frames, loudness
from .following import FollowedFrame
from .segments_json import FrameRecord, Segments, add_objects, look_record, names_by_id
from .video_writer import VideoWriter
from .visualize import (
    PALETTE,
    Bar,
    Tile,
    YuvOverlay,
    clock,
    contact_sheet,
    distinct_names,
    objects_apart,
    timeline_picture,
)

# What can be written, and the name of each in the folder of a video.
FORMATS = {
    "video": "overlay.mp4",
    "masks": "masks",
    "json": "segments.json",
    "sheet": "contact_sheet.png",
    "matte": "matte.webm",
    "csv": "sounds.csv",
    "srt": "sounds.srt",
    "vtt": "sounds.vtt",
}
# Those that are written unless others are asked for.
USUAL_FORMATS = ("video", "masks", "json", "sheet")
# Which masks are written as PNGs: those of the looks, which `segments.json` describes, or those of all frames.
MASKS = ("looks", "every-frame")
EVERY_FRAME = ".every-frame"  # folder of the masks of all frames, while the overlay is drawn from them
OBJECTS = ".objects"  # and of their objects, numbers in 16 bits, where several of a class are marked
LARGEST_NUMBER = 65535
SHEET_FRAMES = 12
THUMBNAIL = 480  # longest side in pixels
LOUDNESS_PARTS = 1200


def write_masks(
    folder: Path,
    frames: Iterable[FollowedFrame],
    segments: Segments,
    every: bool,
    on_progress: Callable[[int], object] = lambda looks: None,
) -> None:
    """Writes masks as they come, and adds looks and objects to `segments`; what follows is made from both.

    Args:
        folder: to write into; here and below the names are those of `FORMATS`.
        frames: what was found. The mask of each look goes to the folder of the masks.
        segments: of the video, as `empty_segments` gives it.
        every: whether the masks of all frames go to `EVERY_FRAME` too.
        on_progress: called with a number of looks that are ready.
    """
    masks, moving, objects = folder / FORMATS["masks"], folder / EVERY_FRAME, folder / OBJECTS
    masks.mkdir()
    if every:
        moving.mkdir()
        objects.mkdir()
    names = names_by_id(segments)
    for number, frame in enumerate(frames):
        if every:
            _save_mask(moving / f"{number:06d}.png", frame.class_map)
            if frame.object_map is not None:
                # A PNG has 16 bits: after hours of film later objects are drawn as their class.
                drawn = np.where(frame.object_map > LARGEST_NUMBER, 0, frame.object_map).astype(np.uint16)
                Image.fromarray(drawn).save(objects / f"{number:06d}.png", compress_level=1)
        for look in frame.looks:
            _save_mask(masks / f"{look.index:06d}.png", look.class_map)
            segments["frames"].append(look_record(look, names))
            on_progress(1)
    add_objects(segments)


def keep_masks(folder: Path, which: str | None) -> None:
    """Leaves in the folder of the masks those of `which` of `MASKS`; None: there is no such folder any more."""
    masks, moving = folder / FORMATS["masks"], folder / EVERY_FRAME
    if which != "looks":
        shutil.rmtree(masks)
    if which == "every-frame":
        moving.rename(masks)
    for temporary in (moving, folder / OBJECTS):
        if temporary.exists():
            shutil.rmtree(temporary)


def write_overlay(
    folder: Path,
    info: MediaInfo,
    segments: Segments,
    sound_from: str | os.PathLike | None,
    opacity: float = 0.5,
    on_progress: Callable[[int], object] = lambda looks: None,
) -> None:
    """Writes the video with the masks laid over it.

    Args:
        folder: in which `write_masks` wrote the masks of every frame.
        info: of the video.
        segments: with the records that `write_masks` added.
        sound_from: file whose sound goes with it; None: it has none.
        opacity: 0..1 of the masks.
        on_progress: called with a number of looks whose time is in the video.
    """
    names = distinct_names(names_by_id(segments))
    colours, frames = iter_yuv_frames(info.path)
    with VideoWriter(folder / FORMATS["video"], info.width, info.height, info.fps, sound_from, colours) as video:
        for time, frame, mask in _with_masks(folder, frames, segments, on_progress):
            class_map, ids = _read_mask(mask)
            objects = folder / OBJECTS / mask.name
            if objects.exists():
                with Image.open(objects) as image:
                    told_apart = objects_apart(class_map, np.array(image), segments["objects"], names)
                YuvOverlay(told_apart.ids, colours, opacity, told_apart.names, told_apart.palette).draw_on(frame)
            elif ids:
                legend = {class_id: names[class_id] for class_id in ids}
                YuvOverlay(class_map, colours, opacity, legend).draw_on(frame)
            video.write_yuv(frame, time)


def write_matte(
    folder: Path, info: MediaInfo, segments: Segments, on_progress: Callable[[int], object] = lambda looks: None
) -> None:
    """Writes the video cut out: opaque where something sounds, transparent elsewhere; without sound.

    Args:
        folder, info, segments, on_progress: as in `write_overlay`.
    """
    colours, frames = iter_yuv_frames(info.path)
    with VideoWriter(folder / FORMATS["matte"], info.width, info.height, info.fps, colours=colours) as video:
        for time, frame, mask in _with_masks(folder, frames, segments, on_progress):
            class_map, _ = _read_mask(mask)
            alpha = np.where(class_map > 0, np.uint8(255), np.uint8(0))
            alpha = np.pad(alpha, [(0, length % 2) for length in alpha.shape], mode="edge")  # even, like the frame
            video.write_yuv(frame, time, alpha)


def _with_masks(
    folder: Path,
    frames: Iterator[tuple[float, np.ndarray]],
    segments: Segments,
    on_progress: Callable[[int], object],
) -> Iterator[tuple[float, np.ndarray, Path]]:
    """Each frame of a video, with its time (s) and the file of its mask."""
    times = deque(record["time"] for record in segments["frames"])
    masks = sorted((folder / EVERY_FRAME).iterdir())
    # A file that changed meanwhile may have more frames: the last mask stays.
    for mask, (time, frame) in zip(chain(masks, repeat(masks[-1])), frames, strict=False):
        yield time, frame, mask
        while times and times[0] <= time:
            times.popleft()
            on_progress(1)
    on_progress(len(times))


def write_json(folder: Path, segments: Segments) -> None:
    """Writes `segments` as JSON."""
    _write_text(folder / FORMATS["json"], json.dumps(segments, indent=1, ensure_ascii=False) + "\n")


def write_captions(folder: Path, segments: Segments, formats: Sequence[str]) -> None:
    """Writes what sounds when, as those of "csv", "srt" and "vtt" that are among `formats`."""
    for name, text_of in (("csv", csv_text), ("srt", srt_text), ("vtt", vtt_text)):
        if name in formats:
            _write_text(folder / FORMATS[name], text_of(segments))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


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
    image.save(path, compress_level=1)


def _read_mask(path: Path) -> tuple[np.ndarray, list[int]]:
    """`(H, W)` uint8, and the ids of the classes in it, rising."""
    with Image.open(path) as image:
        return np.array(image), sorted(class_id for _, class_id in image.getcolors() if class_id)


def _tile(thumbnail: np.ndarray, masks: Path, record: FrameRecord, names: Mapping[int, str]) -> Tile:
    height, width = thumbnail.shape[:2]
    class_map, _ = _read_mask(masks / f"{record['index']:06d}.png")
    class_map = Image.fromarray(class_map).resize((width, height), Image.Resampling.NEAREST)
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
