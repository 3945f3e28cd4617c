"""COCO's run lengths: masks as short text in JSON, as pycocotools reads it (`pycocotools.mask.decode`).

Down the columns, the first column first, a mask is a number of zeros, then of ones, then of zeros, ... Every number
from the fourth on is written as its difference to the one two before; each as 5 bits per character, the lowest first,
with a sixth that says whether more follow; `0` is the first character. Written anew after pycocotools' `maskApi.c`.
"""

from typing import TypedDict

import numpy as np

from ..model.media_ccformer import MAX_PIXELS

FIRST_CHARACTER = 48
BITS, MORE, SIGN = 5, 0x20, 0x10
MOST_BITS = 35  # of a number: more than any picture has pixels


class Rle(TypedDict):
    """A mask: `size` is `[height, width]`, `counts` the text."""

    size: list[int]
    counts: str


def encoded(mask: np.ndarray) -> Rle:
    """A mask `(H, W)` bool as run lengths."""
    down = np.ascontiguousarray(mask.T, dtype=bool).ravel()  # (W * H,)
    changes = np.flatnonzero(down[1:] != down[:-1]) + 1
    runs = np.diff(changes, prepend=0, append=down.size).tolist()
    if down.size and down[0]:
        runs.insert(0, 0)
    differences = [run - runs[place - 2] if place > 2 else run for place, run in enumerate(runs)]
    return {"size": list(mask.shape), "counts": "".join(map(_text, differences))}


def decoded(rle: Rle) -> np.ndarray:
    """Run lengths as a mask `(H, W)` bool.

    Raises:
        ValueError: for text that is none, or whose lengths do not make up the size; nothing is allocated before.
    """
    height, width = rle["size"]
    if not 0 <= height * width <= MAX_PIXELS:
        raise ValueError(f"the size is {height} x {width}; expected a picture of at most {MAX_PIXELS} pixels")
    runs: list[int] = []
    for difference in _numbers(rle["counts"]):
        runs.append(difference + runs[-2] if len(runs) > 2 else difference)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"the run lengths make up {sum(runs)} pixels; expected {height} x {width}, none below 0")
    ones = np.arange(len(runs)) % 2 == 1
    return np.repeat(ones, runs).reshape(width, height).T


def _text(number: int) -> str:
    characters = []
    while True:
        part, number = number & (2**BITS - 1), number >> BITS
        done = number == (-1 if part & SIGN else 0)
        characters.append(chr(FIRST_CHARACTER + (part if done else part | MORE)))
        if done:
            return "".join(characters)


def _numbers(text: str) -> list[int]:
    found, number, shift = [], 0, 0
    for character in text:
        part = ord(character) - FIRST_CHARACTER
        if not 0 <= part < 2 * MORE or shift >= MOST_BITS:
            raise ValueError(f"{character!r} does not belong there; expected run lengths as COCO writes them")
        number |= (part & (2**BITS - 1)) << shift
        shift += BITS
        if not part & MORE:
            found.append(number - (1 << shift) if part & SIGN else number)
            number, shift = 0, 0
    if shift:
        raise ValueError("the run lengths end within a number; expected run lengths as COCO writes them")
    return found
