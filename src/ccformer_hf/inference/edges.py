"""Masks that follow the edges of the picture, and have no specks.

The model's map is a quarter as fine as what it sees. A guided filter (He et al. 2013) fits its probabilities to a
small picture of the frame, at most `SMALL` pixels on its longer side; regions too small to mean anything are dropped.
*Ours*; pure functions of arrays. It is for what `segment_video` and the demo write: `iter_segments`, the pipeline and
every score give what the model itself says.

Letters: `C` classes, `h w` the small picture, `H W` the picture.
"""

from collections.abc import Sequence

import cv2
import numpy as np

SMALL = 256
# Regions smaller than this share of the picture are dropped.
SPECK = 0.005
# Of the guided filter: how far (shares of the longer side) and how weak an edge (of a contrast of 1) may hold a mask.
REACH, WEAKEST = 1 / 26, 0.01


def half_size(picture: np.ndarray) -> tuple[int, int]:
    """Height and width of a picture at half the size, which is as fine as the model's maps are."""
    height, width = picture.shape[:2]
    return max(1, height // 2), max(1, width // 2)


def guided(maps: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Maps with their edges on those of the picture.

    Within reach of each pixel a map is fitted as a linear function of the three colours; the fits are made at half the
    size (He and Sun 2015), as they vary slowly.

    Args:
        maps: `(C, h', w')` float32, 0..1, of the whole picture; best of `half_size`.
        picture: `(h, w, 3)` uint8.

    Returns:
        `(C, h, w)` float32, 0..1.
    """
    height, width = picture.shape[:2]
    half = half_size(picture)[::-1]
    side = 2 * max(1, round(REACH * max(half))) + 1

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (side, side))

    def at_half(values: np.ndarray) -> np.ndarray:
        return cv2.resize(values, half, interpolation=cv2.INTER_AREA)

    colours = [np.ascontiguousarray(colour) for colour in np.moveaxis(picture.astype(np.float32) / 255, 2, 0)]
    r, g, b = (at_half(colour) for colour in colours)
    middle = [mean(colour) for colour in (r, g, b)]
    # The inverse of the colours' covariance (3, 3) around each pixel, by its adjugate.
    rr, gg, bb = (mean(c * c) - m * m + WEAKEST**2 for c, m in zip((r, g, b), middle, strict=True))
    rg, rb, gb = (mean(c * d) - middle[i] * middle[j] for c, d, i, j in ((r, g, 0, 1), (r, b, 0, 2), (g, b, 1, 2)))
    first, second, third = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    adjugate = (
        (first, second, third),
        (second, rr * bb - rb * rb, rg * rb - rr * gb),
        (third, rg * rb - rr * gb, rr * gg - rg * rg),
    )
    determinant = rr * first + rg * second + rb * third
    found = np.empty((len(maps), height, width), np.float32)
    for number, one in enumerate(map(at_half, maps)):
        level = mean(one)
        shared = [mean(c * one) - m * level for c, m in zip((r, g, b), middle, strict=True)]
        slopes = [sum(part * value for part, value in zip(row, shared, strict=True)) / determinant for row in adjugate]
        level -= sum(slope * m for slope, m in zip(slopes, middle, strict=True))
        fits = [cv2.resize(mean(fit), (width, height)) for fit in (*slopes, level)]
        found[number] = sum(fit * colour for fit, colour in zip(fits, colours, strict=False)) + fits[3]
    return found.clip(0, 1)


def without_specks(class_map: np.ndarray) -> np.ndarray:
    """A class map `(h, w)` uint8 in which regions of one class below `SPECK` of the picture are background."""
    kept = class_map.copy()
    for class_id in set(np.unique(class_map).tolist()) - {0}:
        mask = (class_map == class_id).astype(np.uint8)
        # Not by corners: enlarged, such parts come apart.
        _, regions, facts, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        small = facts[:, cv2.CC_STAT_AREA] < SPECK * class_map.size
        small[0] = False  # what is not of this class
        if small.any():
            kept[small[regions]] = 0
    return kept


def class_map(
    maps: np.ndarray, ids: Sequence[int], size: tuple[int, int], threshold: float
) -> tuple[np.ndarray, dict[int, float]]:
    """What sounds at each pixel of the picture.

    A pixel is not background where 1 - P(background) > threshold; there the likeliest of the other classes wins.

    Args:
        maps: probabilities `(C, h, w)` float32, background first; C is at least 2.
        ids: class id of each map.
        size: height and width of the picture.
        threshold: 0..1.

    Returns:
        `(H, W)` uint8 class ids, 0 = background, and class id -> mean probability within its mask, best first.
    """
    sounding = 1 - maps[0]
    best = np.asarray(ids, np.uint8)[1 + maps[1:].argmax(axis=0)]  # (h, w)
    small = without_specks(np.where(sounding > threshold, best, 0).astype(np.uint8))  # (h, w)
    there = [number for number in range(1, len(ids)) if (small == ids[number]).any()]
    scores = {int(ids[number]): float(maps[number][small == ids[number]].mean()) for number in there}
    if not there:
        return np.zeros(size, np.uint8), {}
    kept = np.where((small == 0) & (sounding > threshold), 0, sounding)
    marked = cv2.compare(_resized(kept, size), threshold, cv2.CMP_GT)  # (H, W), 255 or 0
    found = np.full(size, ids[there[0]], np.uint8)
    if len(there) > 1:
        # Where a class is not marked, nor beside that, it takes no edge of another's: that would be slivers.
        around = np.ones((3, 3), np.uint8)
        near = {number: cv2.dilate((small == ids[number]).astype(np.uint8), around) for number in there}
        planes = (_resized(np.where(near[number], maps[number], 0), size) for number in there)
        highest = next(planes)
        for number, plane in zip(there[1:], planes, strict=True):
            cv2.copyTo(np.full(size, ids[number], np.uint8), cv2.compare(plane, highest, cv2.CMP_GT), found)
            highest = cv2.max(highest, plane)
    return cv2.bitwise_and(found, marked), dict(sorted(scores.items(), key=lambda item: -item[1]))


def _resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR)
