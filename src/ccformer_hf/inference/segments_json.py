"""What `segments.json` holds: what sounds when and where; its keys are those of the pipeline's records.

Times are in seconds; pixels are those of the upright picture with square pixels, origin top left.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

import cv2
import numpy as np

from ..model.inference_settings_ccformer import InferenceSettings
from ..model.instances_ccformer import MOST_REGIONS, SPECK
from ..model.media_ccformer import MediaInfo, samples_every_frame, shown_path
from ..model.sliding_window_ccformer import FrameSegmentation
from .objects import Look
from .rle import Rle, encoded


class SeenRecord(TypedDict):
    """An object in a look.

    Attributes:
        id: number of the object, from 1, one for the whole video; that of its entry in `Segments.objects`.
        score: how sure it is, 0..1, see `AudioVisualProcessor.confidence`.
        box: `[x0, y0, x1, y1]` around it, x1 and y1 one beyond the last pixel.
        rle: its mask at the size of the picture, as pycocotools reads it, see `rle`.
    """

    id: int
    score: float
    box: list[int]
    rle: Rle


class ObjectRecord(TypedDict):
    """An object of the video.

    Attributes:
        id: its number, from 1.
        label, class_id: name and number of its class.
        score: mean of its scores over the time in which it sounds, 0..1.
        spans: `[start, end]` (s) of each stretch of time in which it sounds.
    """

    id: int
    label: str
    class_id: int
    score: float
    spans: list[list[float]]


class SoundingRecord(TypedDict):
    """One class that sounds in a frame.

    Attributes:
        label: name of the class.
        id: its number, that of its pixels in the mask.
        score: how sure it is, 0..1, see `AudioVisualProcessor.confidence`.
        area: share of the picture's pixels, 0..1.
        boxes: `[x0, y0, x1, y1]` of its connected regions, x1 and y1 one beyond the last pixel: the largest first, at
            most 20, none smaller than 0.05 % of the picture.
        objects: what of this class lies apart, or did before it touched; together they are its mask. A stream has
            none.
    """

    label: str
    id: int
    score: float
    area: float
    boxes: list[list[int]]
    objects: NotRequired[list[SeenRecord]]


class FrameRecord(TypedDict):
    """One sampled frame, as in `FrameSegmentation`; `sounding` best score first."""

    index: int
    time: float
    start: float
    end: float
    has_audio: bool
    unseen: float | None
    sounding: list[SoundingRecord]


class SourceRecord(TypedDict):
    """The video.

    Attributes:
        file: its name; bytes that are not UTF-8, as `\\xe9`.
        duration: in seconds.
        width, height: of its picture.
        fps: average frames per second.
        has_audio: whether it has a sound track that can be used; without one it counts as silent.
    """

    file: str
    duration: float
    width: int
    height: int
    fps: float
    has_audio: bool


class ModelInfo(TypedDict):
    """The model: its `name`, and what it was `trained_on` by its folder's `checkpoint.json`, None where unknown."""

    name: str
    trained_on: str | None


class Segments(TypedDict):
    """The whole file.

    Attributes:
        model: which model said so.
        source: which video.
        fps: frames sampled per second; on average, where each frame of the video is.
        threshold: of 1 - P(background).
        classes: class id (as text, as JSON has it) -> name, all that the model knows.
        objects: what sounds in the whole video, in the order in which it is heard; `add_objects` fills it in.
        frames: one entry per sampled frame.
    """

    model: ModelInfo
    source: SourceRecord
    fps: float
    threshold: float
    classes: dict[str, str]
    objects: list[ObjectRecord]
    frames: list[FrameRecord]


def empty_segments(
    info: MediaInfo, model: ModelInfo, names: Mapping[int, str], settings: InferenceSettings
) -> Segments:
    """The file before its first frame.

    Args:
        info: of the video; `has_audio` says whether the model was given sound.
        model: which model segments it.
        names: class id -> name, all that the model knows.
        settings: of the frames to come.
    """
    return {
        "model": model,
        "source": {
            "file": readable_name(info.path),
            "duration": round(info.duration, 6),
            "width": info.width,
            "height": info.height,
            "fps": round(info.fps, 6),
            "has_audio": info.has_audio,
        },
        "fps": info.fps if samples_every_frame(info, settings.fps) else settings.fps,
        "threshold": settings.threshold,
        "classes": {str(class_id): name for class_id, name in names.items()},
        "objects": [],
        "frames": [],
    }


def names_by_id(segments: Segments) -> dict[int, str]:
    """Class id -> name, all that the model knows."""
    return {int(class_id): name for class_id, name in segments["classes"].items()}


def unseen_seconds(segments: Segments) -> float:
    """How long something sounds that is not in view, or unknown: the looks at which that is likelier than not."""
    return sum(frame["end"] - frame["start"] for frame in segments["frames"] if (frame["unseen"] or 0) > 0.5)


def readable_name(path: str | os.PathLike) -> str:
    """The name of a file as printable text: bytes that are not UTF-8 as `\\xe9`, line breaks as `\\n`."""
    return shown_path(Path(path).name)


def frame_record(frame: FrameSegmentation, names: Mapping[int, str]) -> FrameRecord:
    """One entry of `frames`: the frame's record, rounded, with boxes in place of the masks."""
    record = frame.record(names)
    times = {name: round(record[name], 6) for name in ("time", "start", "end")}
    unseen = None if record["unseen"] is None else round(record["unseen"], 4)
    sounding = [
        {
            "label": entry["label"],
            "id": entry["id"],
            "score": round(entry["score"], 4),
            "area": round(entry["area"], 6),
            "boxes": boxes_of(entry["mask"]),
        }
        for entry in record["sounding"]
    ]
    return {**record, **times, "unseen": unseen, "sounding": sounding}


def look_record(look: Look, names: Mapping[int, str]) -> FrameRecord:
    """`frame_record`, with the objects of each class."""
    record = frame_record(look, names)
    for entry in record["sounding"]:
        entry["objects"] = []
        for one in (one for one in look.objects if one.class_id == entry["id"]):
            mask = look.object_map == one.number  # (H, W)
            if mask.any():
                box = _box(*cv2.boundingRect(mask.view(np.uint8)))
                entry["objects"].append(
                    {"id": one.number, "score": round(one.score, 4), "box": box, "rle": encoded(mask)}
                )
    return record


def add_objects(segments: Segments) -> None:
    """Fills in `objects`, from all frames."""
    found: dict[int, ObjectRecord] = {}
    seconds: dict[int, float] = {}
    for frame in segments["frames"]:
        length = frame["end"] - frame["start"]
        for entry in frame["sounding"]:
            for seen in entry["objects"]:
                number = seen["id"]
                new = {
                    "id": number,
                    "label": entry["label"],
                    "class_id": entry["id"],
                    "score": seen["score"],
                    "spans": [],
                }
                one = found.setdefault(number, new)
                seconds[number] = seconds.get(number, 0.0) + length
                if length > 0:
                    one["score"] += (seen["score"] - one["score"]) * length / seconds[number]  # a running mean
                if one["spans"] and one["spans"][-1][1] == frame["start"]:
                    one["spans"][-1][1] = frame["end"]
                else:
                    one["spans"].append([frame["start"], frame["end"]])
    for one in found.values():
        one["score"] = round(one["score"], 4)
    segments["objects"] = list(found.values())


def boxes_of(mask: np.ndarray) -> list[list[int]]:
    """The boxes of a mask `(H, W)`, see `SoundingRecord`."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    part = mask[top : top + height, left : left + width].view(np.uint8)  # to look no further than need be
    if not part.size:
        return []
    _, _, facts, _ = cv2.connectedComponentsWithStats(part, connectivity=4)
    x, y, across, down, sizes = facts[1:].T  # (N,) each; the first is what is not marked
    largest = [place for place in np.argsort(-sizes, kind="stable") if sizes[place] >= SPECK * mask.size]
    return [
        _box(left + int(x[place]), top + int(y[place]), int(across[place]), int(down[place]))
        for place in largest[:MOST_REGIONS]
    ]


def _box(left: int, top: int, width: int, height: int) -> list[int]:
    return [left, top, left + width, top + height]
