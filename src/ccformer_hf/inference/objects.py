"""Which object each pixel of a class map belongs to. What is an object: `instances_ccformer`. Pure functions.

Letters: `h w` a small picture, `H W` the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..model.instances_ccformer import regions
from ..model.sliding_window_ccformer import FrameSegmentation


@dataclass(frozen=True)
class SeenObject:
    """An object in a frame.

    Attributes:
        number: from 1, one for the clip.
        class_id: of its class.
        score: how sure it is, 0..1: `AudioVisualProcessor.confidence` of the mean probability within its mask.
        mask: bool `(h, w)`.
    """

    number: int
    class_id: int
    score: float
    mask: np.ndarray


@dataclass(frozen=True)
class Look(FrameSegmentation):
    """What the model said of a frame.

    Attributes:
        objects: that it marks.
        object_map: `(H, W)` int32 numbers of objects, 0 = nothing sounds here.
    """

    objects: Sequence[SeenObject]
    object_map: np.ndarray


def small_regions(class_map: np.ndarray, size: tuple[int, int]) -> list[tuple[int, np.ndarray]]:
    """The regions of a class map `(H, W)` uint8: class ids and masks, bool `(h, w)` of a small `size`."""
    small = cv2.resize(class_map, size[::-1], interpolation=cv2.INTER_NEAREST)  # (h, w)
    ids = [class_id for class_id in np.unique(small).tolist() if class_id]
    return [(class_id, region) for class_id in ids for region in regions(small == class_id)]


def object_map(class_map: np.ndarray, objects: Sequence[tuple[int, int, np.ndarray]]) -> np.ndarray:
    """Each pixel's object: of those of its class the nearest.

    Args:
        class_map: `(H, W)` uint8.
        objects: number, class id and mask, bool `(h, w)`, of each.

    Returns:
        `(H, W)` int32 numbers; 0 for the background, and for a class without an object.
    """
    found = np.zeros(class_map.shape, np.int32)
    for class_id in {class_id for _, class_id, _ in objects}:
        of_class = [(number, mask) for number, own_class, mask in objects if own_class == class_id]
        numbers = np.array([number for number, _ in of_class], np.int32)
        if len(numbers) == 1:
            found[class_map == class_id] = numbers[0]
            continue
        far = [cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3) for _, mask in of_class]
        nearest = numbers[np.argmin(far, axis=0)]  # (h, w)
        large = cv2.resize(nearest, class_map.shape[::-1], interpolation=cv2.INTER_NEAREST)
        here = class_map == class_id
        found[here] = large[here]
    return found


def several_of_a_class(objects: Sequence[SeenObject]) -> bool:
    """Whether any class has more than one."""
    return len({one.class_id for one in objects}) < len(objects)
