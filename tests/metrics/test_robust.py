import numpy as np
import pytest

from ccformer_hf.metrics.binary import BinarySegmentation
from ccformer_hf.metrics.robust import FalsePositiveRate, ceiling, global_score, robust_scores


def test_global_score():
    assert global_score(0.5, 0.5) == 0.5
    assert global_score(0.8, 0.0) == pytest.approx(1.6 / 1.8)
    assert global_score(1.0, 1.0) == 0.0
    assert global_score(0.0, 1.0) == 0.0  # the denominator is 0
    # avsbench.md 5.2: TPAVI on S4, P 78.7 and G 35.03, so N is about 77.5.
    assert global_score(0.787, 0.775) == pytest.approx(0.3503, abs=5e-4)


@pytest.mark.parametrize("scores", [(78.7, 0.5), (0.5, -0.1), (float("nan"), 0.5)])
def test_percentages_are_refused(scores):
    with pytest.raises(ValueError, match=r"a share in 0\.\.1"):
        global_score(*scores)


def test_false_positive_rate():
    rate, other = FalsePositiveRate(), FalsePositiveRate()
    rate.add(np.array([[[0.5, 0.6]], [[0.9, 1.0]]], dtype=np.float32))
    other.add(np.zeros((3, 1, 2), dtype=np.float32), frame_mask=np.array([True, False, True]))
    rate.merge(other)
    assert rate.compute() == {"fpr": 3 / 8, "clips": 2, "frames": 4}
    with pytest.raises(ValueError, match="sigmoid"):
        rate.add(np.full((1, 1, 1), 2.0))


def test_robust_scores():
    scores = robust_scores(
        {"miou": 0.8, "f_score": 0.9},
        {
            "silence": {"miou": 0.1, "f_score": 0.0, "fpr": 0.0},
            "noise": {"miou": 0.3, "f_score": 0.2, "fpr": 0.5},
        },
    )
    assert scores["negative_miou"] == pytest.approx(0.2) and scores["negative_f_score"] == pytest.approx(0.1)
    assert scores["g_miou"] == pytest.approx(0.8)
    assert scores["g_f_score"] == pytest.approx(0.9)
    assert scores["g_fpr"] == 0.25
    with pytest.raises(ValueError, match="negatives is empty"):
        robust_scores({"miou": 0.8, "f_score": 0.9}, {})


def test_the_ceiling_is_what_a_perfect_model_reaches():
    """18 of 100 frames in which nothing sounds: there an empty mask has an IoU of 1."""
    truth, empty = BinarySegmentation(), BinarySegmentation()
    for frame in range(100):
        labels = np.zeros((1, 8, 8), dtype=np.uint8)
        labels[:, :4] = frame >= 18
        truth.add(labels.astype(np.float32), labels, clip=frame)
        empty.add(np.zeros((1, 8, 8), dtype=np.float32), labels, clip=frame)
    assert empty.compute()["miou"] == pytest.approx(0.18)
    found = ceiling(truth.compute(), empty.compute())
    assert found["g_miou"] == pytest.approx(0.90, abs=0.002) and 0 < found["g_f_score"] < 1
