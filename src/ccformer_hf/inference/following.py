"""A mask for every frame of a video, at the price of a few looks: runs of the model, `fps` of them per second.

    looks, and every frame small           `contained_media.iter_watched_frames`
    what the model says at each look       `predict`                              -> FrameProbabilities
    objects, with numbers that hold        `ObjectNumbers`, `objects`             -> Look
    carried to the frames between          `motion.in_between`
    edges of the picture, specks dropped   `edges`                                -> FollowedFrame, one per frame

An iterator throughout. Memory is that of the small pictures of two windows of looks, whatever the duration. Maps and
masks of objects are carried at `half_size` of the small picture.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import cv2
import numpy as np

from ..model.instances_ccformer import ObjectNumbers, joined
from ..model.media_ccformer import SampledFrames
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.sliding_window_ccformer import FrameProbabilities, unseen_sound
from .edges import class_map, guided, half_size
from .motion import Ways, carried, in_between
from .objects import Look, SeenObject, object_map, several_of_a_class, small_regions

WatchedFrame = tuple[float, np.ndarray, int, np.ndarray | None]


@dataclass(frozen=True)
class FollowedFrame:
    """What sounds in one frame of the video.

    Attributes:
        time: (s) from which on it is shown.
        class_map: `(H, W)` uint8 at the size of the picture, 0 = background.
        object_map: `(H, W)` int32 numbers of objects where several of a class are marked; None: there is one of each.
        objects: number -> class id of those in `object_map`; empty where that is None.
        looks: what the model said of this very frame, once for each time it was asked; mostly empty. Where it was
            asked, `class_map` is that of the first.
    """

    time: float
    class_map: np.ndarray
    object_map: np.ndarray | None
    objects: Mapping[int, int]
    looks: Sequence[Look]


@dataclass(frozen=True)
class _Frame:
    """A frame of the video: its time (s), its small picture `(h, w, 3)`, and how many looks were taken at it."""

    time: float
    small: np.ndarray
    looks: int

    @cached_property
    def grey(self) -> np.ndarray:
        """`half_size` of it, uint8."""
        height, width = half_size(self.small)
        grey = cv2.cvtColor(self.small, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class _Said:
    """What the model said at a look, and the objects found in it."""

    probabilities: np.ndarray  # (K, h, w)
    objects: Sequence[SeenObject]
    size: tuple[int, int]


def follow(
    watched: Iterator[WatchedFrame],
    predict: Callable[[Iterator[np.ndarray]], Iterator[FrameProbabilities]],
    samples: SampledFrames,
    threshold: float,
    processor: AudioVisualProcessor,
) -> Iterator[FollowedFrame]:
    """What sounds where in each of the frames that are watched.

    Args:
        watched: of the video, as `iter_watched_frames` gives it.
        predict: the pictures of the looks -> what the model says about each.
        samples: times of the looks.
        threshold: see `InferenceSettings`.
        processor: of the model; it says how sure that is.
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
    numbers = ObjectNumbers()
    before, since = None, []  # the look before, and the frames from its own on
    for said in predicted:
        while not held[0].looks:
            since.append(held.popleft())
        frame = held.popleft()
        since.append(frame)
        ways = Ways([one.grey for one in since])
        if numbers.known:
            _take_along(numbers, ways.back[-1])
        looks, answers = [], []
        for answer in (said, *islice(predicted, frame.looks - 1)):
            index, (time, start, end) = next(spans)
            probabilities = processor.sure_probabilities(answer.probabilities, threshold).cpu().numpy()  # (K, h, w)
            found, scores, objects = _segmented(probabilities, answer.size, frame.small, numbers, threshold, processor)
            owners = object_map(found, [(one.number, one.class_id, one.mask) for one in objects])
            heard = answer.has_audio, unseen_sound(answer.probabilities, answer.has_audio, processor)
            looks.append(Look(index, time, start, end, found, scores, *heard, objects, owners))
            answers.append(_Said(probabilities, objects, answer.size))
        yield from _between(before, answers[0], since, ways, threshold)
        several = several_of_a_class(looks[0].objects)
        owners = looks[0].object_map if several else None
        classes = {one.number: one.class_id for one in looks[0].objects} if several else {}
        yield FollowedFrame(frame.time, looks[0].class_map, owners, classes, looks)
        before, since = answers[-1], [frame]
    since += [*held, *(_Frame(time, small, looks) for time, small, looks, _ in watched)]
    yield from _between(before, None, since, Ways([one.grey for one in since]), threshold)


def _take_along(numbers: ObjectNumbers, way: np.ndarray | None) -> None:
    """All objects that are known, over a displacement to the frame that they were in; None: the film was cut."""
    if way is None:
        numbers.forget()
    else:
        numbers.move(lambda mask: _carried_mask(mask, way))


def _carried_mask(mask: np.ndarray, way: np.ndarray) -> np.ndarray:
    return carried(mask[None].astype(np.float32), way)[0] > 0.5  # (h, w)


def _segmented(
    probabilities: np.ndarray,
    size: tuple[int, int],
    small: np.ndarray,
    numbers: ObjectNumbers,
    threshold: float,
    processor: AudioVisualProcessor,
) -> tuple[np.ndarray, dict[int, float], list[SeenObject]]:
    """The class map `size`, the scores and the objects of a look that gave `(K, h, w)`."""
    ids = _candidates([probabilities], threshold)
    if len(ids) == 1:
        return np.zeros(size, np.uint8), {}, []
    height, width = half = half_size(small)
    maps = guided(carried(probabilities[ids], np.zeros((*half, 2), np.float32)), small)
    found, scores = class_map(maps, ids, size, threshold)
    halved = {one: cv2.resize(maps[ids.index(one)], (width, height), interpolation=cv2.INTER_AREA) for one in scores}
    parts = numbers.apart(joined(small_regions(found, half)))
    objects = [
        SeenObject(number, class_id, processor.confidence(float(halved[class_id][mask].mean())), mask)
        for number, (class_id, mask) in zip(numbers.number(parts), parts, strict=True)
    ]
    return found, {class_id: processor.confidence(score) for class_id, score in scores.items()}, objects


def _between(
    before: _Said | None, after: _Said | None, frames: Sequence[_Frame], ways: Ways, threshold: float
) -> Iterator[FollowedFrame]:
    """The frames between two looks. Those at which the looks were taken are the first and the last of `frames`."""
    inner = slice(0 if before is None else 1, len(frames) - (after is not None))
    size = (before or after).size
    said = [None if look is None else look.probabilities for look in (before, after)]
    ids = _candidates([look for look in said if look is not None], threshold)
    if not frames[inner] or len(ids) == 1:  # only background
        yield from (FollowedFrame(frame.time, np.zeros(size, np.uint8), None, {}, ()) for frame in frames[inner])
        return
    said = [None if look is None else look[ids] for look in said]
    maps = in_between(*said, ways, [frame.time for frame in frames])
    for number in range(len(frames))[inner]:
        frame, carried_here = frames[number], maps[number]
        if carried_here is None:
            found = np.zeros(size, np.uint8)
        else:
            found, _ = class_map(guided(carried_here, frame.small), ids, size, threshold)
        owners, classes = _owners(found, before, after, number, frames, ways)
        yield FollowedFrame(frame.time, found, owners, classes, ())


def _owners(
    found: np.ndarray, before: _Said | None, after: _Said | None, number: int, frames: Sequence[_Frame], ways: Ways
) -> tuple[np.ndarray | None, dict[int, int]]:
    """The object map of a frame between two looks, and the class of each object in it.

    Of each class they are the objects of the nearer look that has some.
    """
    looks = [(look, back) for look, back in ((before, True), (after, False)) if look is not None]
    if not any(several_of_a_class(look.objects) for look, _ in looks):
        return None, {}
    time = frames[number].time
    looks.sort(key=lambda look: abs(time - frames[0 if look[1] else -1].time))
    objects: dict[int, list[tuple[int, int, np.ndarray]]] = {}  # class id -> number, class id, mask
    for look, back in looks:
        way = (ways.back if back else ways.forth)[number]
        for class_id in {one.class_id for one in look.objects} - set(objects) if way is not None else ():
            own = [one for one in look.objects if one.class_id == class_id]
            objects[class_id] = [(one.number, class_id, _carried_mask(one.mask, way)) for one in own]
    shown = [one for own in objects.values() for one in own]
    return object_map(found, shown), {one: class_id for one, class_id, _ in shown}


def _candidates(looks: Sequence[np.ndarray], threshold: float) -> list[int]:
    """The classes that may be marked after any of these looks, background first; only that where nothing may.

    A class may be where it is the likeliest of a cell that may be marked once it has the edges of the picture.
    """
    if max(float(1 - look[0].min()) for look in looks) <= threshold:
        return [0]
    likeliest = [(1 + look[1:].argmax(axis=0))[1 - look[0] > threshold / 2] for look in looks]
    return [0, *np.unique(np.concatenate(likeliest)).tolist()]
