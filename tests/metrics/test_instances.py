"""By hand; on random clips mAP, HOTA, DetA and AssA were equal to those of AVISeg's own code to 1e-15."""

import numpy as np
import pytest

from ccformer_hf.metrics.instances import InstanceSegmentation, SoundingObject


def thing(class_id, *lefts, score=1.0, width=4):
    """A bar of 4 x 10 pixels with its left edge there in each frame; None: it is silent."""
    masks = np.zeros((len(lefts), 10, 40), dtype=bool)
    for frame, left in zip(masks, lefts, strict=True):
        if left is not None:
            frame[:, left : left + width] = True
    return SoundingObject(class_id, masks, score)


def scores(*clips):
    metric = InstanceSegmentation()
    for predicted, truth, length in clips:
        metric.add(predicted, truth, length)
    return metric.compute()


def test_a_perfect_answer():
    truth = [thing(1, 0, 1, None), thing(1, 20, 20, 20), thing(2, None, 30, None)]
    found = scores((truth[::-1], truth, 3), ([], [], 5))
    assert found["fsla_none"] == 1 and all(value == 1 for value in found.values())


def test_numbers_that_swap_cost_association_and_whole_objects_only():
    """Two objects over four frames; the numbers swap in the middle."""
    truth = [thing(1, 0, 0, 0, 0), thing(1, 20, 20, 20, 20)]
    found = scores(([thing(1, 0, 0, 20, 20, score=0.9), thing(1, 20, 20, 0, 0, score=0.8)], truth, 4))
    # Of each pair 2 frames are matched, of 4 + 4 - 2.
    assert (found["deta"], found["assa"]) == (1.0, pytest.approx(2 / 6))
    assert found["hota"] == pytest.approx((2 / 6) ** 0.5)
    assert found["map"] == 0  # each overlaps each by half of its pixels: IoU 1/3
    # In half of the frames each is at the place of its partner.
    assert found["fsla"] == found["fsla_several"] == pytest.approx(0.5)


def test_one_mask_over_two_objects():
    """Both lie next to each other, and are marked as one of twice their size: IoU 1/2 with either."""
    truth = [thing(1, 10), thing(1, 14)]
    found = scores(([thing(1, 10, width=8)], truth, 1))
    # Matched up to an IoU of 0.5 (10 of 19): a hit and a miss; then a miss more and one that is wrong.
    assert found["deta"] == pytest.approx(10 / 19 * 1 / 2)
    assert found["assa"] == pytest.approx(10 / 19)
    assert found["fsla"] == 0 and found["fsla_one"] is None
    # One of two found, at IoU 0.5 only: precision 1 at 51 of 101 recalls, at one of 10 levels.
    assert (found["ap50"], found["map"]) == (pytest.approx(51 / 101), pytest.approx(5.1 / 101))


def test_a_source_that_is_marked_too_long_costs_frames():
    found = scores(([thing(1, 0, 1, 2, 2)], [thing(1, 0, 1, 2, None)], 4))
    assert (found["fsla_one"], found["fsla_none"], found["fsla"]) == (1.0, 0.0, 0.75)
    assert found["deta"] == pytest.approx(3 / 4) and found["assa"] == pytest.approx(3 / 4)
    assert found["ap50"] == 1.0 and found["map"] == pytest.approx(0.6)  # IoU 3/4: at 0.50 ... 0.75


def test_another_class_is_not_right_and_the_surest_come_first():
    truth = [thing(1, 0)]
    found = scores(([thing(2, 0)], truth, 1))
    assert found["map"] == found["hota"] == found["fsla"] == 0
    found = scores(([thing(1, 20, score=0.9), thing(1, 0, score=0.6)], truth, 1))
    assert found["map"] == pytest.approx(0.5)  # one wrong one before it
    found = scores(([thing(1, 20, score=0.3), thing(1, 0, score=0.6)], truth, 1))
    assert found["map"] == 1.0


def test_nothing_to_measure_and_other_shapes():
    assert set(scores().values()) == {None}
    with pytest.raises(ValueError, match=r"masks have the shapes .*; expected one, \(2, height, width\)"):
        scores(([thing(1, 0)], [thing(1, 0, 0)], 2))
