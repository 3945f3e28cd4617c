"""Carries maps from the frames that a model looked at to the frames between them, along the motion of the picture.

The motion is dense optical flow between neighbouring frames (DIS, Kroeger et al. 2016, of OpenCV), chained from each
frame to the look before it and to the look after it; the two carried maps are blended by their distance in time. At a
cut of the film nothing is carried across. *Ours*; pure functions of arrays.

Letters: `N` frames, `C` maps, `h w` a map, `H W` a small picture, and a displacement `(H, W, 2)` says for each of its
pixels how far right and down the same thing lies in another picture, in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np

SMALLEST = (8, 12)  # pixels of the shorter and of the longer side, below which OpenCV refuses to look for motion
# The flow does not explain a picture where it misses by this share of the picture's own contrast, and by this many
# grey levels: the film was cut. In eleven real films it misses by a share of 0.32 at most, and by 0.44 at least where
# one is spliced to another. A dissolve is no cut.
CUT_SHARE, CUT_LEVELS = 0.4, 8.0


def motion(picture: np.ndarray, other: np.ndarray) -> np.ndarray | None:
    """The displacement `(H, W, 2)` float32 from one frame to its neighbour, or None where the film was cut between.

    Args:
        picture, other: `(H, W)` uint8, grey.
    """
    if min(picture.shape) < SMALLEST[0] or max(picture.shape) < SMALLEST[1]:
        return np.zeros((*picture.shape, 2), np.float32)
    displacement = _flow_of().calc(picture, other, None)
    missed = cv2.absdiff(picture, _sampled(other, displacement)).mean()
    contrast = min(float(picture.std()), float(other.std()))
    return None if missed > max(CUT_LEVELS, CUT_SHARE * contrast) else displacement


def chained(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The displacement from picture 1 to picture 3, of those from 1 to 2 and from 2 to 3."""
    return first + _sampled(then, first)


def displacements(pictures: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """The displacement from each of N neighbouring pictures to the first one; None from behind a cut."""
    found = [np.zeros((*pictures[0].shape, 2), np.float32)]
    for before, picture in zip(pictures[:-1], pictures[1:], strict=True):
        step = None if found[-1] is None else motion(picture, before)
        found.append(None if step is None else chained(step, found[-1]))
    return found


def carried(maps: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Maps `(C, h, w)` float32 of one picture as they lie in another, `(C, H, W)`, bilinear.

    Args:
        maps: of the whole picture, at any size.
        displacement: from each pixel of the other picture to the picture of the maps.
    """
    height, width = displacement.shape[:2]
    scale = np.array([maps.shape[2] / width, maps.shape[1] / height], np.float32)
    return np.stack([_sampled(one, displacement, scale) for one in maps])


@dataclass(frozen=True)
class Ways:
    """How things move over N neighbouring frames; found out when it is asked for.

    Attributes:
        pictures: grey, `(H, W)` uint8 each.
    """

    pictures: Sequence[np.ndarray]

    @cached_property
    def back(self) -> list[np.ndarray | None]:
        """The displacement from each frame to the first one; None from behind a cut."""
        return displacements(self.pictures)

    @cached_property
    def forth(self) -> list[np.ndarray | None]:
        """The displacement from each frame to the last one; None from before a cut."""
        return displacements(self.pictures[::-1])[::-1]


def in_between(
    before: np.ndarray | None, after: np.ndarray | None, ways: Ways, times: Sequence[float]
) -> list[np.ndarray | None]:
    """The maps of the frames between two looks.

    Args:
        before, after: maps `(C, h, w)` float32 of the look at the first frame, and of that at the last one; None:
            there is no such look.
        ways: of N frames, those of the looks among them.
        times: (s) of the frames.

    Returns:
        For each frame `(C, H, W)` float32; None for one that cuts separate from both looks.
    """
    nothing = [None] * len(times)
    back = nothing if before is None else ways.back
    forth = nothing if after is None else ways.forth
    found: list[np.ndarray | None] = []
    for time, to_before, to_after in zip(times, back, forth, strict=True):
        old = None if to_before is None else carried(before, to_before)
        new = None if to_after is None else carried(after, to_after)
        if old is None or new is None:
            found.append(new if old is None else old)
        else:
            share = (time - times[0]) / (times[-1] - times[0])
            found.append((1 - share) * old + share * new)
    return found


def _sampled(image: np.ndarray, displacement: np.ndarray, scale: np.ndarray | float = 1.0) -> np.ndarray:
    """`image` at each pixel of a grid, moved by the displacement; what lies outside is as its edge."""
    height, width = displacement.shape[:2]
    places = (_grid(height, width) + displacement + 0.5) * np.float32(scale) - 0.5  # (H, W, 2)
    return cv2.remap(image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@cache
def _grid(height: int, width: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).astype(np.float32)


@cache
def _flow_of() -> "cv2.DISOpticalFlow":
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    # At the size of the pictures, not a quarter as the preset has it, where a patch is wider than a small object; and
    # without the refinement at the end, which doubles the price and hardly changes the masks.
    flow.setFinestScale(0)
    flow.setVariationalRefinementIterations(0)
    return flow
