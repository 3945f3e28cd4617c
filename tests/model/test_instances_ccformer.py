import numpy as np
import pytest
import torch

from ccformer_hf.model import instances_ccformer as module
from ccformer_hf.model.instances_ccformer import ObjectNumbers, frame_instances, joined, regions


def square(left: int, top: int = 2, side: int = 6) -> np.ndarray:
    mask = np.zeros((16, 32), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def logits_of(*masks: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.where(np.stack(masks), 6.0, -6.0)).float()


def labels_of(*shares: list[float]) -> torch.Tensor:
    return torch.tensor(shares).log()


def test_regions_the_largest_first_without_specks():
    mask = np.zeros((100, 100), dtype=bool)
    mask[:10, :10] = mask[50:90, 50:90] = mask[99, 99] = True
    assert [region.sum() for region in regions(mask)] == [1600, 100]
    speck = np.zeros((100, 100), dtype=bool)
    speck[0, :2] = True
    assert [region.sum() for region in regions(speck)] == [2]  # there is no other
    assert regions(np.zeros((4, 4), dtype=bool)) == []


def test_what_one_query_marks_in_two_places_are_two_objects():
    labels = labels_of([0.1, 0.1, 0.8], [0.9, 0.05, 0.05])
    found = frame_instances(labels, logits_of(square(2) | square(20, side=4), square(12)), (16, 32), 0.5)
    assert [(one.label_id, one.mask.sum()) for one in found] == [(2, 36), (2, 16)]
    sure = torch.tensor(6.0).sigmoid().item()
    assert [one.score for one in found] == pytest.approx([0.8 * sure] * 2, abs=1e-5)
    assert frame_instances(labels, logits_of(square(2), square(12)), (16, 32), 0.85) == []


def test_the_surer_query_takes_its_pixels_and_one_that_says_the_same_again_goes():
    labels = labels_of([0.1, 0.9, 0.0001], [0.2, 0.79, 0.01], [0.3, 0.0001, 0.7])
    below = square(2, top=7)  # shares 6 of its 36 pixels with the first
    found = frame_instances(labels, logits_of(square(2), square(3), below), (16, 32), 0.3)
    assert [(one.label_id, one.mask.sum()) for one in found] == [(1, 36), (2, 30)]
    assert not (found[0].mask & found[1].mask).any()


def test_masks_have_the_size_of_the_picture():
    (one,) = frame_instances(labels_of([0.1, 0.9]), logits_of(square(2)), (64, 128), 0.5)
    assert one.mask.shape == (64, 128) and one.mask[12:28, 12:28].all() and one.mask.mean() < 0.09


def test_numbers_hold_by_overlap_within_a_class():
    numbers = ObjectNumbers()
    assert not numbers.known
    assert numbers.number([(1, square(2)), (1, square(20))]) == [1, 2]
    assert numbers.number([(1, square(22)), (1, square(4))]) == [2, 1]
    assert numbers.number([(2, square(4))]) == [3]  # another class
    assert numbers.number([(1, square(5)), (1, square(24, side=4))]) == [1, 2]  # fell silent, and was not gone
    assert numbers.number([(1, square(21)), (1, square(24))]) == [4, 2]  # one number for the nearer one


def test_an_object_that_is_whole_again_or_comes_back_near_by_is_the_same():
    numbers = ObjectNumbers()
    assert numbers.number([(1, square(8, side=8))]) == [1]
    assert numbers.number([(1, square(8, side=2))]) == [1]  # an IoU of 1/16
    assert numbers.number([(1, square(8, side=8))]) == [1]
    assert numbers.number([]) == []
    assert numbers.number([(1, square(22, side=8))]) == [1]  # 7 pixels beside it
    assert numbers.number([(1, square(4, side=6))]) == [2]  # 13 pixels
    assert numbers.number([(2, square(4, side=6))]) == [3]


def test_a_small_region_beside_a_larger_one_of_its_class_is_a_part_of_it():
    whole, part = square(2, side=8), square(14, side=3)
    ((label, mask),) = joined([(1, part), (1, whole)])
    assert label == 1 and (mask == whole | part).all()
    assert len(joined([(1, whole), (2, part)])) == 2  # another class
    assert len(joined([(1, whole), (1, square(20, side=3))])) == 2  # far away: 11 pixels
    assert len(joined([(1, whole), (1, square(12, side=4))])) == 2  # not small: a quarter
    assert joined([]) == []


def test_objects_are_taken_along_and_forgotten_at_a_cut():
    numbers = ObjectNumbers()
    numbers.number([(1, square(2))])
    numbers.move(lambda mask: np.roll(mask, 12, axis=1))
    assert numbers.number([(1, square(14))]) == [1]
    numbers.forget()
    assert numbers.number([(1, square(14))]) == [2]


def test_objects_that_come_to_touch_are_still_two():
    numbers = ObjectNumbers()
    assert numbers.number(numbers.apart([(1, square(2)), (1, square(12))])) == [1, 2]
    both = square(2) | square(8) | square(12)
    first, second = numbers.apart([(1, both)])
    assert numbers.number([first, second]) == [1, 2]
    assert (first[1] | second[1] == both).all() and not (first[1] & second[1]).any()
    assert first[1][:, :10].sum() == first[1].sum()  # halfway between 7 and 12
    assert len(numbers.apart([(2, both)])) == 1  # another class
    assert numbers.number([(1, square(12))]) == [2]
    assert len(numbers.apart([(1, both)])) == 1  # one of them was silent just now


def test_those_seen_last_are_remembered(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 2)
    numbers = ObjectNumbers()
    for left in (0, 9, 18):
        numbers.number([(1, square(left, side=3))])
    assert numbers.number([(1, square(18, side=3)), (1, square(0, side=3))]) == [3, 4]


def test_without_scipy_it_is_told(monkeypatch):
    monkeypatch.setattr(module, "ndimage", None)
    with pytest.raises(ImportError, match="taking objects apart needs scipy: pip install scipy"):
        regions(square(2))
