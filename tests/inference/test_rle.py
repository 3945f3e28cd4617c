import numpy as np
import pytest

from ccformer_hf.inference.rle import decoded, encoded


def test_run_lengths_by_hand():
    """Down the columns: the zeros of the first, then a column of ones, ..."""
    mask = np.zeros((4, 3), dtype=bool)
    mask[1:3, 1] = True
    assert encoded(mask) == {"size": [4, 3], "counts": "525"}  # 5 zeros, 2 ones, 5 zeros
    mask[:, :] = True
    assert encoded(mask)["counts"] == "0<"  # 0 zeros, 12 ones: chr(48 + 12)
    assert encoded(np.zeros((4, 3), dtype=bool))["counts"] == "<"


def test_long_runs_and_differences_by_hand():
    """40 = 8 + 32 * 1: `X` (48 + 8 + 32, more follows) and `1`. The fourth run is told by its difference to the
    second: 3 - 40 = -37 = 27 - 2 * 32: `k` (48 + 27 + 32) and `N` (48 + 30: -2 in five bits)."""
    mask = np.zeros((100, 1), dtype=bool)
    mask[5:45] = mask[50:53] = True
    assert encoded(mask)["counts"] == "5X15kNZ1"  # 5, 40, 5, 3 - 40 = -37, 47 - 5 = 42 = 10 + 32: `Z1`


def test_what_was_encoded_is_decoded():
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (7, 50), (64, 3), (90, 120)):
        for share in (0.0, 0.1, 0.5, 1.0):
            mask = np.kron(rng.random((height, width)) < share, np.ones((3, 2))) > 0
            assert (decoded(encoded(mask)) == mask).all()


@pytest.mark.parametrize(
    "size, counts, fault",
    [
        ([4, 3], "525 ", "' ' does not belong there"),
        ([4, 3], "52U", "end within a number"),
        ([4, 3], "524", "make up 11 pixels"),
        ([4, 3], "5O9", "make up 13 pixels"),  # -1 ones
        ([4, 3], "oooooooo0", "does not belong there"),
        ([10**6, 10**6], "P" * 7 + "1", "the size is"),
    ],
)
def test_faulty_run_lengths_are_refused(size, counts, fault):
    with pytest.raises(ValueError, match=fault):
        decoded({"size": size, "counts": counts})
