import numpy as np
import pytest

from ccformer_hf.data.levels import factor, root_mean_square


def test_the_root_of_the_mean_square():
    assert root_mean_square(np.array([3, -4, 0, 0], np.float32)) == 2.5
    assert root_mean_square(np.full(4, 200, np.uint8)) == 200, "squares do not overflow"
    assert root_mean_square(np.zeros(0)) == 0


def test_decibels_multiply():
    assert (factor(0), factor(20), factor(-40)) == (1, 10, 0.01)
    np.testing.assert_allclose(factor(np.array([6.0, -6.0])), [1.9953, 0.5012], atol=1e-4)
    assert factor(3.0) * factor(4.0) == pytest.approx(factor(7.0))
