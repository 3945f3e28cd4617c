import numpy as np
import pytest

from ccformer_hf.metrics.jaccard import SemanticJaccard, binary_iou


def frame(*marked: int, size: int = 8) -> np.ndarray:
    """A frame of one row with the given pixels marked, `(1, 1, size)`."""
    row = np.zeros((1, 1, size), dtype=bool)
    row[0, 0, list(marked)] = True
    return row


def slow_binary_iou(predicted, target) -> float:
    """avsbench.md 7.1, pixel by pixel."""
    inter = union = missed = pixels = 0
    for p, g in zip(predicted.ravel().tolist(), target.ravel().tolist(), strict=True):
        inter += p and g
        union += p or g
        missed += not p
        pixels += 1
    return inter / (union + 1e-7) if target.any() else missed / pixels


def slow_semantic(frames, num_labels) -> list[float]:
    """avsbench.md 7.3, class by class and pixel by pixel; NaN for a class never seen."""
    sums, counts = [0.0] * num_labels, [0] * num_labels
    for predicted, target in frames:
        pairs = list(zip(predicted.ravel().tolist(), target.ravel().tolist(), strict=True))
        for label in range(num_labels):
            inter = sum(p == label and g == label for p, g in pairs)
            union = sum(p == label or g == label for p, g in pairs)
            sums[label] += inter / (union + 2.2e-16)
            counts[label] += union > 0
    return [s / c if c else float("nan") for s, c in zip(sums, counts, strict=True)]


@pytest.mark.parametrize(
    ("predicted", "target", "wanted"),
    [
        (frame(), frame(), 1.0),  # nothing sounds, nothing marked
        (frame(*range(8)), frame(), 0.0),  # nothing sounds, all marked
        (frame(0, 1), frame(), 0.75),  # nothing sounds, a quarter marked
        (frame(3), frame(3), 1.0),  # a single pixel, found
        (frame(4), frame(3), 0.0),  # and missed
        (frame(), frame(3), 0.0),
        (frame(0, 1, 2), frame(1, 2, 3), 0.5),
        (frame(*range(8)), frame(0, 1), 0.25),
    ],
)
def test_binary_iou_by_hand(predicted, target, wanted):
    assert binary_iou(predicted, target).tolist() == pytest.approx([wanted], abs=2e-7)


def test_a_clip_in_which_nothing_sounds():
    predicted = np.concatenate([frame(), frame(0), frame(0, 1, 2, 3)])
    assert binary_iou(predicted, np.zeros_like(predicted)).tolist() == [1.0, 0.875, 0.5]


def test_binary_iou_of_random_maps():
    random = np.random.default_rng(0)
    predicted, target = random.random((12, 7, 9)) < 0.4, random.random((12, 7, 9)) < 0.3
    target[[2, 5]] = predicted[[5, 7]] = False
    wanted = [slow_binary_iou(p, g) for p, g in zip(predicted, target, strict=True)]
    assert np.abs(binary_iou(predicted, target) - wanted).max() <= 1e-9


def test_semantic_by_hand():
    """Class 2 is predicted but never present: it counts as 0. Class 3 is never seen: it is left out, not 0."""
    jaccard = SemanticJaccard(4)
    jaccard.add(np.array([[[0, 0, 1, 1]]]), np.array([[[0, 1, 1, 1]]]))
    jaccard.add(np.array([[[0, 0, 0, 2]]]), np.array([[[0, 0, 0, 0]]]))
    per_class = jaccard.per_class()
    assert per_class[:3] == pytest.approx([(1 / 2 + 3 / 4) / 2, 2 / 3, 0.0])
    assert np.isnan(per_class[3])
    assert jaccard.mean() == pytest.approx((5 / 8 + 2 / 3 + 0) / 3)
    assert jaccard.frames.tolist() == [2, 1, 1, 0]


def test_semantic_is_per_frame_not_per_pixel():
    """A small object weighs as much as a large one."""
    jaccard = SemanticJaccard(2)
    large, small = np.zeros((1, 10, 10), dtype=np.uint8), np.zeros((1, 10, 10), dtype=np.uint8)
    large[:, :9], small[:, 0, 0] = 1, 1
    jaccard.add(large, large)
    jaccard.add(np.zeros_like(small), small)
    assert jaccard.per_class()[1] == pytest.approx(0.5)


def test_semantic_padded_frames_move_only_the_background():
    random = np.random.default_rng(1)
    predicted, target = random.integers(0, 3, (2, 4, 6, 6))
    real, padded = SemanticJaccard(3), SemanticJaccard(3)
    real.add(predicted, target)
    padded.add(*(np.concatenate([maps, np.zeros((2, 6, 6), dtype=maps.dtype)]) for maps in (predicted, target)))
    assert padded.per_class()[1:].tolist() == real.per_class()[1:].tolist()
    assert padded.per_class()[0] == pytest.approx((4 * real.per_class()[0] + 2) / 6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_semantic_of_random_maps(dtype):
    random = np.random.default_rng(2)
    predicted, target = random.integers(0, 6, (2, 9, 5, 7)).astype(dtype)
    predicted[predicted == 4] = 0
    target[target >= 4] = 1  # 4 is never seen, 5 is predicted only
    jaccard = SemanticJaccard(6)
    for first, last in ((0, 2), (2, 3), (3, 9)):  # the grouping must not matter
        jaccard.add(predicted[first:last], target[first:last])
    wanted = np.array(slow_semantic(zip(predicted, target, strict=True), 6))
    assert np.isnan(wanted[4]) and wanted[5] == 0
    np.testing.assert_allclose(jaccard.per_class(), wanted, rtol=0, atol=1e-9)
    assert jaccard.mean() == pytest.approx(np.nanmean(wanted), abs=1e-9)
