import numpy as np
import pytest

from ccformer_hf.labelling.agreement import (
    Thresholds,
    agreed_labels,
    heard_classes,
    silent_classes,
    steady_drawings,
)

LIMITS = Thresholds(heard=0.3, drawn=0.6, most_classes=2)  # alone 0.6, silent below 0.1, doubtful from 0.4


def labels_of(scores, drawings, thresholds=LIMITS):
    """Labels of a clip of pictures of one row: `scores` [second][class], `drawings` [second][class][pixel]."""
    found = agreed_labels(np.array(scores), np.array(drawings, np.float32)[:, :, None], thresholds)
    assert found.dtype == np.uint8
    return found[:, 0].tolist()


def test_the_other_thresholds_follow():
    assert (LIMITS.heard_alone, LIMITS.silent, LIMITS.doubtful) == pytest.approx((0.6, 0.1, 0.4))
    assert Thresholds(heard=0.9).heard_alone == 1


@pytest.mark.parametrize("wrong", [{"heard": 0}, {"heard": 1.1}, {"drawn": 0}, {"most_classes": 0}])
def test_thresholds_that_decide_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="expected above 0 to 1"):
        Thresholds(**wrong)


def test_heard_in_a_neighbouring_second_too_or_very_surely():
    scores = np.array([[0.3], [0.4], [0.0], [0.5], [0.0], [0.6], [0.2]])
    assert heard_classes(scores, LIMITS)[:, 0].tolist() == [True, True, False, False, False, True, False]
    assert silent_classes(scores, LIMITS)[:, 0].tolist() == [False, False, True, False, True, False, False]
    assert heard_classes(np.array([[0.5]]), LIMITS).tolist() == [[False]]  # a clip of one second


def test_only_the_surest_classes_are_heard_at_once():
    scores = np.array([[0.7, 0.9, 0.8], [0.9, 0.0, 0.7]])
    assert heard_classes(scores, LIMITS).tolist() == [[False, True, True], [True, False, True]]


def test_a_drawing_overlaps_with_one_beside_it():
    drawn = np.zeros((5, 1, 1, 10), bool)
    drawn[0, 0, 0, :3] = drawn[1, 0, 0, 2:5] = True  # 1 of 5 shared
    drawn[2, 0, 0, 2:6] = True  # 3 of 4 with the one before
    drawn[4, 0, 0, :1] = True  # nothing beside it
    assert steady_drawings(drawn)[:, 0].tolist() == [False, True, True, False, True]
    drawn[0, 0, 0, :4] = True  # 2 of 5
    assert steady_drawings(drawn)[:, 0].tolist() == [True, True, True, False, True]


def test_heard_and_drawn_is_marked_with_its_id():
    assert labels_of([[0.5], [0.5]], [[[0.6, 0.0, 0.9]], [[0.7, 0.0, 0.7]]]) == [[1, 0, 1], [1, 0, 1]]


def test_heard_and_doubtfully_drawn_is_ignored_where_it_is_drawn():
    assert labels_of([[0.5], [0.5]], [[[0.5, 0.0]], [[0.6, 0.4]]]) == [[255, 0], [1, 255]]


def test_perhaps_heard_and_drawn_is_ignored():
    assert labels_of([[0.5], [0.0]], [[[0.9, 0.0]], [[0.9, 0.0]]]) == [[255, 0], [0, 0]]
    assert labels_of([[0.2], [0.2]], [[[0.9, 0.3]], [[0.0, 0.0]]]) == [[255, 0], [0, 0]]


def test_drawn_but_surely_silent_is_background():
    assert labels_of([[0.05], [0.0]], [[[0.9, 0.9]], [[0.9, 0.0]]]) == [[0, 0], [0, 0]]


def test_heard_and_nowhere_drawn_ignores_the_whole_picture():
    scores, seen = [[0.7, 0.7], [0.7, 0.0]], [[[0.9, 0.0], [0.3, 0.3]], [[0.9, 0.0], [0.0, 0.0]]]
    assert labels_of(scores, seen) == [[255, 255], [1, 0]]


def test_a_drawing_that_jumps_is_ignored():
    assert labels_of([[0.5]] * 2, [[[0.9, 0.0, 0.0]], [[0.0, 0.0, 0.9]]]) == [[255, 0, 0], [0, 0, 255]]
    # A drawing in a second in which the class is silent says nothing about the one beside it.
    assert labels_of([[0.6], [0.0]], [[[0.9, 0.0, 0.0]], [[0.0, 0.0, 0.9]]]) == [[1, 0, 0], [0, 0, 0]]


def test_the_surer_has_the_pixel():
    # 0.7 x 0.6 = 0.42, 0.6 x 0.8 = 0.48; where both are drawn the second class wins
    assert labels_of([[0.7, 0.6]], [[[0.6, 0.6, 0.0], [0.0, 0.8, 0.8]]]) == [[1, 2, 2]]
    # perhaps heard, 0.2 x 0.9 = 0.18, takes nothing from 0.7 x 0.6, nor the other way round
    assert labels_of([[0.7, 0.2]], [[[0.6, 0.6, 0.0], [0.0, 0.9, 0.9]]]) == [[1, 1, 255]]
    # doubtfully drawn, 0.9 x 0.5 = 0.45, hides 0.7 x 0.6 = 0.42
    assert labels_of([[0.7, 0.9]], [[[0.6, 0.6, 0.0], [0.0, 0.5, 0.5]]]) == [[1, 255, 255]]


def test_a_class_too_many_is_ignored_where_it_is():
    seen = [[[0.9, 0, 0, 0], [0, 0.9, 0, 0], [0, 0, 0.9, 0]]]
    assert labels_of([[0.7, 0.9, 0.8]], seen) == [[255, 2, 3, 0]]
    assert labels_of([[0.7, 0.9, 0.8]], seen, Thresholds(0.3, 0.6, 3)) == [[1, 2, 3, 0]]
