"""Writes down what was found in a video: masks, `segments.json`, overlay video and contact sheet.

Frame by frame as they are found, into all files at once: memory does not depend on the duration.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..model.media_ccformer import Colours, MediaInfo
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
    ids_in,
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
# Those that the pictures of the video are drawn on for.
DRAWN = frozenset({"video", "matte"})
# Those that are written unless others are asked for.
USUAL_FORMATS = ("video", "masks", "json", "sheet")
# Which masks are written as PNGs: those of the looks, which `segments.json` describes, or those of all frames.
MASKS = ("looks", "every-frame")
SHEET_FRAMES = 12
THUMBNAIL = 480  # longest side in pixels
LOUDNESS_PARTS = 1200


def write_frames(
    folder: Path,
    frames: Iterable[FollowedFrame],
    info: MediaInfo,
    segments: Segments,
    formats: Sequence[str],
    masks: str = "looks",
    sound_from: str | os.PathLike | None = None,
    opacity: float = 0.5,
    on_progress: Callable[[int], object] = lambda looks: None,
) -> None:
    """Adds looks and objects to `segments`, and writes "masks", "video" and "matte", where they are among `formats`.

    Args:
        folder: to write into; here and below the names are those of `FORMATS`.
        frames: what was found in each frame; only in those of the looks where nothing else is asked for.
        info: of the video.
        segments: of the video, as `empty_segments` gives it.
        formats: of `FORMATS`.
        masks: which ones, of `MASKS`.
        sound_from: file whose sound goes with the overlay; None: it has none.
        opacity: 0..1 of the masks in the overlay.
        on_progress: called with a number of looks that are ready.
    """
    names = names_by_id(segments)
    overlay = matte = None
    pictures: Iterator[tuple[float, np.ndarray]] = iter(())
    if "masks" in formats:
        (folder / FORMATS["masks"]).mkdir()
    with ExitStack() as opened:
        if DRAWN & set(formats):
            colours, pictures = iter_yuv_frames(info.path)
            size = info.width, info.height, info.fps
        if "video" in formats:
            video = opened.enter_context(VideoWriter(folder / FORMATS["video"], *size, sound_from, colours))
            overlay = _Overlay(video, colours, opacity, distinct_names(names))
        if "matte" in formats:
            matte = opened.enter_context(VideoWriter(folder / FORMATS["matte"], *size, colours=colours))

        def draw(frame: FollowedFrame, time: float, picture: np.ndarray) -> None:
            if matte is not None:
                matte.write_yuv(picture, time, _opaque(frame.class_map))
            if overlay is not None:
                overlay.add(frame, time, picture)  # which draws on it

        for number, frame in enumerate(frames):
            if "masks" in formats and masks == "every-frame":
                _save_mask(folder, number, frame.class_map)
            for look in frame.looks:
                if "masks" in formats and masks == "looks":
                    _save_mask(folder, look.index, look.class_map)
                segments["frames"].append(look_record(look, names))
                on_progress(1)
            for time, picture in islice(pictures, 1):
                draw(frame, time, picture)
        for time, picture in pictures:  # the file has become longer meanwhile: the last mask stays
            draw(frame, time, picture)
    add_objects(segments)


class _Overlay:
    """The video with the masks laid over it, on its way into a file."""

    def __init__(self, video: VideoWriter, colours: Colours, opacity: float, names: Mapping[int, str]):
        self._video, self._colours, self._opacity, self._names = video, colours, opacity, names
        self._places: dict[int, int] = {}  # number of an object -> its place among those of its class
        self._counts: Counter[int] = Counter()  # of objects, by class

    def add(self, frame: FollowedFrame, time: float, picture: np.ndarray) -> None:
        """Draws on the picture, as `yuv_planes` takes it, and writes it."""
        for number, class_id in sorted(frame.objects.items()):
            if number not in self._places:
                self._places[number] = self._counts[class_id]
                self._counts[class_id] += 1
        if frame.object_map is not None:
            told = objects_apart(frame.class_map, frame.object_map, frame.objects, self._places, self._names)
            YuvOverlay(told.ids, self._colours, self._opacity, told.names, told.palette).draw_on(picture)
        elif ids := ids_in(frame.class_map):
            legend = {class_id: self._names[class_id] for class_id in ids}
            YuvOverlay(frame.class_map, self._colours, self._opacity, legend).draw_on(picture)
        self._video.write_yuv(picture, time)


def _opaque(class_map: np.ndarray) -> np.ndarray:
    """How opaque each pixel of a matte is, `(H, W)` uint8 of the even size of the video."""
    alpha = np.where(class_map > 0, np.uint8(255), np.uint8(0))
    return np.pad(alpha, [(0, length % 2) for length in alpha.shape], mode="edge")


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


def write_sheet(
    folder: Path,
    info: MediaInfo,
    segments: Segments,
    thumbnails: Mapping[int, np.ndarray],
    masks: Mapping[int, np.ndarray],
) -> None:
    """Writes the contact sheet.

    Args:
        folder: to write into.
        info: of the video.
        segments: with the frames that `write_frames` added.
        thumbnails: index of a look -> `thumbnail` of its frame, for those that the sheet shows.
        masks: and its class map, uint8 of the same size.
    """
    shown = distinct_names(names_by_id(segments))
    tiles = [_tile(small, masks[index], segments["frames"][index], shown) for index, small in thumbnails.items()]
    _sheet(info, segments, tiles, shown).save(folder / FORMATS["sheet"], compress_level=3)


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """A frame `(H, W, 3)` uint8 at the size that the contact sheet has room for."""
    scale = min(1.0, THUMBNAIL / max(frame.shape[:2]))
    height, width = (max(1, round(scale * side)) for side in frame.shape[:2])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def thumbnail_map(class_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A class map `(H, W)` uint8 at the `size` (height, width) of the thumbnail of its frame."""
    return cv2.resize(class_map, size[::-1], interpolation=cv2.INTER_NEAREST)


def _save_mask(folder: Path, number: int, class_map: np.ndarray) -> None:
    image = Image.fromarray(class_map)
    image.putpalette(PALETTE.tobytes())
    image.save(folder / FORMATS["masks"] / f"{number:06d}.png", compress_level=1)


def _tile(thumbnail: np.ndarray, class_map: np.ndarray, record: FrameRecord, names: Mapping[int, str]) -> Tile:
    sounding = {entry["id"]: names[entry["id"]] for entry in record["sounding"]}
    return Tile(record["time"], thumbnail, class_map, sounding)


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
