import numpy as np
import pytest

from ccformer_hf.benchmarking.benchmark import BATCHES, FRAMES, Table
from ccformer_hf.benchmarking.measuring import Row
from ccformer_hf.benchmarking.pictures import BAR, GAP, GUTTER, MARGIN, NOTE, TITLE, WIDTH, benchmark_picture
from ccformer_hf.inference.visualize import PALETTE

TITLES = {BATCHES: "clips", FRAMES: "frames"}


def coloured(picture, number: int) -> np.ndarray:
    """Where the number-th name's colour is, `(H, W)`."""
    return (np.asarray(picture) == PALETTE[number]).all(axis=2)


def test_bars_are_as_long_as_their_times():
    rows = [Row("both backbones", 1, 5, 64, [1.0]), Row("whole model", 1, 5, 64, [4.0])]
    picture = benchmark_picture([Table(BATCHES, rows)], TITLES, "on a CPU")
    assert picture.size == (WIDTH, 90 + TITLE + 2 * (BAR + GAP) + MARGIN)
    lengths = [coloured(picture, number).any(axis=0).sum() for number in (1, 2)]
    assert lengths[1] == pytest.approx(WIDTH - 2 * MARGIN - NOTE - GUTTER, abs=2)
    assert lengths[0] == pytest.approx(lengths[1] / 4, abs=2)


def test_lines_go_through_the_origin():
    rows = [Row("both backbones", 1, frames, 64, [0.1 * frames]) for frames in (10, 20)]
    picture = benchmark_picture([Table(FRAMES, rows)], TITLES, "on a CPU")
    rows, columns = np.nonzero(coloured(picture, 1))
    left, right = MARGIN + 90, WIDTH - MARGIN - NOTE
    assert columns.min() == pytest.approx((left + right) / 2, abs=5) and columns.max() == pytest.approx(right, abs=5)
    assert rows.max() - rows.min() == pytest.approx(150, abs=10), "twice as many frames, twice as high"
