"""Objects: what sounds of one class taken apart, and numbers that hold from frame to frame (*ours*).

The model learns classes: in training a query is matched with all that sounds of a class, and marks two dogs that bark
as one. So what lies apart is taken apart here; two that touch stay two where they were two in the frame before. The
video queries have neither labels nor masks of their own; through them a class keeps its query over the frames of a
window, which tells no more than the class does. So an object is followed by where it is: `ObjectNumbers`.

Letters: `Q` queries, `K` labels, `H W` picture, `h w` the model's map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

try:
    from scipy import ndimage
except ImportError:  # other inference from the Hub needs no scipy
    ndimage = None

SPECK = 0.0005  # share of the picture below which a region is no object of its own
MOST_REGIONS = 20  # of a class in a frame
MASK = 0.5  # probability from which on a pixel belongs to the mask of a query
KEPT = 0.8  # share of its mask that has to be left to a query by surer ones, as in Mask2Former
WITHIN = 0.6  # share of an object that a region has to cover to hold it
PART = 0.25  # share of an object below which a region of its class near it is a part of it
NEAR = 1.0  # gap between two that are near each other, in square roots of the area of the larger
SAME = 0.1  # IoU from which on a region may be an object that was there before
REMEMBERED = 50  # objects, those seen last


@dataclass(frozen=True)
class Instance:
    """An object in a frame: its label, its score 0..1, and its mask, bool `(H, W)`."""

    label_id: int
    score: float
    mask: np.ndarray


def regions(mask: np.ndarray) -> list[np.ndarray]:
    """The connected regions of a mask `(H, W)` bool, each as a mask, the largest first.

    Regions below `SPECK` are left out, unless there is no other: the largest is always there.
    """
    if ndimage is None:
        raise ImportError("taking objects apart needs scipy: pip install scipy")
    numbers, _ = ndimage.label(mask)
    sizes = np.bincount(numbers.ravel())[1:]
    largest = np.argsort(-sizes, kind="stable")[:MOST_REGIONS]
    return [
        numbers == 1 + place for rank, place in enumerate(largest) if rank == 0 or sizes[place] >= SPECK * mask.size
    ]


def frame_instances(
    class_logits: torch.Tensor, mask_logits: torch.Tensor, size: tuple[int, int], threshold: float
) -> list[Instance]:
    """The objects of a frame, the surest first.

    As Mask2Former does it, a query's score is the probability of its label times the mean probability within its mask.
    The surest queries take their pixels first; one that is left less than `KEPT` of its mask says again what others
    say, and goes.

    Args:
        class_logits: `(Q, K)`, label 0 is none.
        mask_logits: `(Q, h, w)`.
        size: height and width of the picture.
        threshold: of the scores, 0..1.
    """
    sure, labels = class_logits.float().softmax(-1)[:, 1:].max(-1)  # (Q,)
    found = []
    for query in (sure > threshold).nonzero()[:, 0].tolist():
        logits = mask_logits[None, None, query].float()
        mask = torch.nn.functional.interpolate(logits, size=size, mode="bilinear")[0, 0].sigmoid()  # (H, W)
        inside = mask > MASK
        if inside.any() and (score := float(sure[query] * mask[inside].mean())) > threshold:
            found.append((score, 1 + int(labels[query]), float(sure[query]), mask.cpu().numpy()))
    free = np.ones(size, dtype=bool)
    instances = []
    for _, label_id, probability, mask in sorted(found, key=lambda one: -one[0]):
        inside = mask > MASK
        left = inside & free
        if left.sum() >= KEPT * inside.sum():
            free &= ~left
            instances += [Instance(label_id, float(probability * mask[part].mean()), part) for part in regions(left)]
    return sorted(instances, key=lambda instance: -instance.score)


def joined(found: Sequence[tuple[int, np.ndarray]]) -> list[tuple[int, np.ndarray]]:
    """The regions of a frame, given as label and mask `(H, W)` bool, where small ones are parts of a larger one.

    Such a one is smaller than `PART` of one of its label, and near it. The largest come first.
    """
    objects: list[tuple[int, np.ndarray]] = []
    for label, mask in sorted(found, key=lambda one: -np.count_nonzero(one[1])):
        wholes = [
            (_nearness(mask, whole), place)
            for place, (other, whole) in enumerate(objects)
            if other == label and np.count_nonzero(mask) < PART * np.count_nonzero(whole)
        ]
        nearness, place = max(wholes, default=(-np.inf, 0))
        if nearness >= -NEAR:
            objects[place] = label, objects[place][1] | mask
        else:
            objects.append((label, mask))
    return objects


class ObjectNumbers:
    """Numbers for the objects of a clip, frame after frame, from 1 on.

    An object has the number of the one of its class that it overlaps most, by IoU of at least `SAME`; else of one that
    lies within it, or that it lies within; else of the nearest one that is near; else a new one. Objects that fall
    silent are remembered where they were.
    """

    def __init__(self):
        self._known: dict[int, tuple[int, np.ndarray]] = {}  # number -> label and mask; the one seen last is last
        self._next = 1
        self._seen: set[int] = set()  # in the frame before

    @property
    def known(self) -> bool:
        """Whether any object is remembered."""
        return bool(self._known)

    def move(self, carried: Callable[[np.ndarray], np.ndarray]) -> None:
        """Takes all objects along: `carried` gives a mask as it lies in the next frame."""
        self._known = {number: (label, carried(mask)) for number, (label, mask) in self._known.items()}

    def forget(self) -> None:
        """At a cut of the film: no object is the same as one before."""
        self._known = {}

    def apart(self, found: Sequence[tuple[int, np.ndarray]]) -> list[tuple[int, np.ndarray]]:
        """The regions of a frame, where one that holds several objects of the frame before is divided among them.

        Each of its pixels goes to the nearest. It holds an object if it covers `WITHIN` of it, which is so for objects
        that are taken along by `move`.
        """
        parts = []
        for label, mask in found:
            inside = [
                known
                for number, (known_label, known) in self._known.items()
                if number in self._seen and known_label == label and (known & mask).sum() > WITHIN * known.sum()
            ]
            if len(inside) < 2:
                parts.append((label, mask))
                continue
            nearest = np.argmin([ndimage.distance_transform_edt(~known) for known in inside], axis=0)
            parts += [(label, mask & (nearest == place)) for place in range(len(inside))]
        return [(label, mask) for label, mask in parts if mask.any()]

    def number(self, found: Sequence[tuple[int, np.ndarray]]) -> list[int]:
        """The number of each object of a frame, given as label and mask `(H, W)` bool of one size."""
        numbers: dict[int, int] = {}  # of each place
        for likeness, least in ((_iou, SAME), (_within, WITHIN), (_nearness, -NEAR)):
            alike = [
                (likeness(mask, known), number, place)
                for place, (label, mask) in enumerate(found)
                for number, (known_label, known) in self._known.items()
                if label == known_label and place not in numbers and number not in numbers.values()
            ]
            for value, number, place in sorted(alike, key=lambda one: -one[0]):
                if value >= least and place not in numbers and number not in numbers.values():
                    numbers[place] = number
        for place, region in enumerate(found):
            if place not in numbers:
                numbers[place] = self._next
                self._next += 1
            self._known.pop(numbers[place], None)
            self._known[numbers[place]] = region
        self._seen = set(numbers.values())
        for number in list(self._known)[:-REMEMBERED]:
            del self._known[number]
        return [numbers[place] for place in range(len(found))]


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    either = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / either if either else 0.0


def _within(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the smaller mask that the larger one covers."""
    smaller = min(np.count_nonzero(one), np.count_nonzero(other))
    return np.count_nonzero(one & other) / smaller if smaller else 0.0


def _nearness(one: np.ndarray, other: np.ndarray) -> float:
    """0 where the boxes around two masks meet, and the further below the wider the gap between, see `NEAR`."""
    larger = max(np.count_nonzero(one), np.count_nonzero(other))
    if not (one.any() and other.any()):
        return -np.inf
    gaps = []
    for axis in (0, 1):
        here, there = (np.flatnonzero(mask.any(axis=axis)) for mask in (one, other))
        gaps.append(max(0, here[0] - there[-1], there[0] - here[-1]))
    return -float(np.hypot(*gaps)) / larger**0.5
