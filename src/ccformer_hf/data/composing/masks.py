"""Masks in COCO's and LVIS' JSON: polygons, and run lengths, plain or compressed (lineage: COCO's maskApi).

Letters: `H W` picture.
"""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

MOST_POINTS = 100_000  # of one polygon; COCO's largest has some thousands
FINER = (
    5  # polygons are drawn so many times finer, since Pillow knows whole pixels only; odd, so that there is a middle
)


def check_segmentation(segmentation: Any, height: int, width: int) -> list[np.ndarray] | np.ndarray:
    """Polygons as float32 arrays `(points, 2)`, or run lengths as an int64 array, of what an annotation holds.

    Raises:
        ValueError: for anything else, or run lengths of another size than the picture.
    """
    if isinstance(segmentation, list) and segmentation:
        return [_polygon(numbers) for numbers in segmentation]
    if isinstance(segmentation, dict) and {"size", "counts"} <= set(segmentation):
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(
                f"its mask is {segmentation['size']} in size, its picture {[height, width]} (height, width)"
            )
        counts = segmentation["counts"]
        runs = _uncompressed(counts) if isinstance(counts, str) else np.asarray(counts)
        if runs.ndim != 1 or runs.dtype.kind not in "iu" or (runs < 0).any() or runs.sum() != height * width:
            raise ValueError(f"its run lengths do not add up to {height} x {width} pixels")
        return runs.astype(np.int64)
    raise ValueError("its segmentation is neither a list of polygons nor {size, counts}")


def draw_segmentation(
    segmentation: list[np.ndarray] | np.ndarray, height: int, width: int, size: tuple[int, int]
) -> np.ndarray:
    """The mask of a picture `(height, width)`, bool `(h, w)` at `size`; a pixel is in a polygon if its centre is."""
    if isinstance(segmentation, np.ndarray):
        columns = np.repeat(np.arange(len(segmentation)) % 2 == 1, segmentation).reshape(width, height)
        image = Image.fromarray(columns.T.astype(np.uint8))
        return np.asarray(image.resize(size[::-1], Image.Resampling.NEAREST)) > 0
    image = Image.new("L", (FINER * size[1], FINER * size[0]))
    scale = FINER * np.array([size[1] / width, size[0] / height])
    for polygon in segmentation:
        ImageDraw.Draw(image).polygon([tuple(point) for point in (polygon * scale).tolist()], fill=1)
    return np.asarray(image)[FINER // 2 :: FINER, FINER // 2 :: FINER] > 0


def _polygon(numbers: Any) -> np.ndarray:
    if not isinstance(numbers, list) or len(numbers) < 6 or len(numbers) % 2 or len(numbers) > 2 * MOST_POINTS:
        raise ValueError("one of its polygons is not a list of x, y, x, y, ... with three points or more")
    try:
        points = np.asarray(numbers, dtype=np.float32).reshape(-1, 2)
    except (TypeError, ValueError):
        raise ValueError("one of its polygons holds what is not a number") from None
    if not np.isfinite(points).all():
        raise ValueError("one of its polygons holds what is not a finite number")
    return points


def _uncompressed(text: str) -> np.ndarray:
    """COCO's own coding: 5 bits per letter, low ones first, a sixth for "goes on".

    From the third run on it is the change since the last but one.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError("its compressed run lengths are broken")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("its compressed run lengths are cut short")
    return np.array(runs, dtype=np.int64)
