"""A mask for every frame of a video, at the price of a few looks: runs of the model, `fps` of them per second.

    looks, and every frame small           `contained_media.iter_watched_frames`
    what the model says at each look       `predict`                              -> FrameProbabilities
    carried to the frames between          `motion.in_between`
    edges of the picture, specks dropped   `edges`                                -> FollowedFrame, one per frame

An iterator throughout. Memory is that of the small pictures of one window of looks, whatever the duration.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np

from ..model.media_ccformer import SampledFrames
from ..model.sliding_window_ccformer import FrameProbabilities, FrameSegmentation
from .edges import class_map, guided
from .motion import carried, in_between

WatchedFrame = tuple[float, np.ndarray, int, np.ndarray | None]


@dataclass(frozen=True)
class FollowedFrame:
    """What sounds in one frame of the video.

    Attributes:
        time: (s) from which on it is shown.
        class_map: `(H, W)` uint8 at the size of the picture, 0 = background.
        looks: what the model said of this very frame, once for each time it was asked; mostly empty. Where it was
            asked, `class_map` is that of the first.
    """

    time: float
    class_map: np.ndarray
    looks: Sequence[FrameSegmentation]


@dataclass(frozen=True)
class _Frame:
    """A frame of the video: its time (s), its small picture `(h, w, 3)`, and how many looks were taken at it."""

    time: float
    small: np.ndarray
    looks: int


def follow(
    watched: Iterator[WatchedFrame],
    predict: Callable[[Iterator[np.ndarray]], Iterator[FrameProbabilities]],
    samples: SampledFrames,
    threshold: float,
) -> Iterator[FollowedFrame]:
    """What sounds where in each of the frames that are watched.

    Args:
        watched: of the video, as `iter_watched_frames` gives it.
        predict: the pictures of the looks -> what the model says about each.
        samples: times of the looks.
        threshold: see `InferenceSettings`.
    """
    held: deque[_Frame] = deque()  # watched, and not yet given out

    def pictures() -> Iterator[np.ndarray]:
        for time, small, looks, picture in watched:
            held.append(_Frame(time, small, looks))
            for _ in range(looks):
                yield picture

    predicted = predict(pictures())
    times = zip(samples.times.tolist(), samples.starts.tolist(), samples.ends.tolist(), strict=True)
    spans = enumerate(times)
    before, since = None, []  # the look before, and the frames from its own on
    for look in predicted:
        while not held[0].looks:
            since.append(held.popleft())
        frame = held.popleft()
        yield from _between(before, look, [*since, frame], threshold)
        looks = []
        for said in (look, *islice(predicted, frame.looks - 1)):
            index, (time, start, end) = next(spans)
            found, scores = _segmented(said, frame.small, threshold)
            looks.append(FrameSegmentation(index, time, start, end, found, scores, said.has_audio))
            before = said
        yield FollowedFrame(frame.time, looks[0].class_map, looks)
        since = [frame]
    since += [*held, *(_Frame(time, small, looks) for time, small, looks, _ in watched)]
    yield from _between(before, None, since, threshold)


def _segmented(look: FrameProbabilities, small: np.ndarray, threshold: float) -> tuple[np.ndarray, dict[int, float]]:
    """The class map and the scores of a look."""
    probabilities = _array(look)
    ids = _candidates([probabilities], threshold)
    return _class_map(carried(probabilities[ids], _still(small)), ids, small, look.size, threshold)


def _between(
    before: FrameProbabilities | None, after: FrameProbabilities | None, frames: Sequence[_Frame], threshold: float
) -> Iterator[FollowedFrame]:
    """The frames between two looks. Those at which the looks were taken are the first and the last of `frames`."""
    inner = slice(0 if before is None else 1, len(frames) - (after is not None))
    size = (before or after).size
    said = [None if look is None else _array(look) for look in (before, after)]
    ids = _candidates([look for look in said if look is not None], threshold)
    if not frames[inner] or len(ids) == 1:  # only background
        yield from (FollowedFrame(frame.time, np.zeros(size, np.uint8), ()) for frame in frames[inner])
        return
    said = [None if look is None else look[ids] for look in said]
    greys = [cv2.cvtColor(frame.small, cv2.COLOR_RGB2GRAY) for frame in frames]
    maps = in_between(*said, greys, [frame.time for frame in frames])
    for frame, carried_here in zip(frames[inner], maps[inner], strict=True):
        if carried_here is None:
            found = np.zeros(size, np.uint8)
        else:
            found, _ = _class_map(carried_here, ids, frame.small, size, threshold)
        yield FollowedFrame(frame.time, found, ())


def _array(look: FrameProbabilities) -> np.ndarray:
    return look.probabilities.cpu().numpy()  # (K, h, w)


def _still(small: np.ndarray) -> np.ndarray:
    return np.zeros((*small.shape[:2], 2), np.float32)


def _candidates(looks: Iterable[np.ndarray], threshold: float) -> list[int]:
    """The classes that may be marked after any of these looks, background first; only that where nothing may."""
    highest = np.max([look.max(axis=(1, 2)) for look in looks], axis=0)  # (K,)
    if max(float(1 - look[0].min()) for look in looks) <= threshold:
        return [0]
    # Where the others together exceed the threshold, the likeliest of them exceeds its K-th part.
    return [0, *(number for number in range(1, len(highest)) if highest[number] > threshold / len(highest))]


def _class_map(
    maps: np.ndarray, ids: Sequence[int], small: np.ndarray, size: tuple[int, int], threshold: float
) -> tuple[np.ndarray, dict[int, float]]:
    if len(ids) == 1:
        return np.zeros(size, np.uint8), {}
    return class_map(guided(maps, small), ids, size, threshold)
