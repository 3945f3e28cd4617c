import numpy as np
import pytest

from ccformer_hf.metrics.dataset_level import DatasetLevelSegmentation


def plain_reference(frames, num_labels: int) -> tuple[list[float | None], list[float | None]]:
    """IoU and F of each class from hits, false alarms and misses in the whole set, pixel by pixel."""
    hits, alarms, misses = ([0] * num_labels for _ in range(3))
    for predicted, target in frames:
        for p, g in zip(predicted.ravel().tolist(), target.ravel().tolist(), strict=True):
            if p == g:
                hits[p] += 1
            else:
                alarms[p] += 1
                misses[g] += 1
    iou, f_score = [], []
    for tp, fp, fn in zip(hits, alarms, misses, strict=True):
        seen = tp + fp + fn > 0
        iou.append(tp / (tp + fp + fn) if seen else None)
        f_score.append(1.3 * tp / (1.3 * tp + 0.3 * fn + fp) if seen else None)
    return iou, f_score


def random_clips(number: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Maps of 6 labels; 4 is never seen, 5 is predicted only."""
    random = np.random.default_rng(3)
    clips = []
    for _ in range(number):
        target = random.integers(0, 4, (3, 5, 7))
        predicted = np.where(random.random(target.shape) < 0.6, target, random.choice([0, 1, 2, 3, 5]))
        clips.append((predicted, target))
    return clips


def scored(clips, num_labels=6, **options) -> DatasetLevelSegmentation:
    metric = DatasetLevelSegmentation(num_labels, **options)
    for clip in clips:
        metric.add(*clip)
    return metric


def test_by_hand():
    """Areas are summed over the set; an empty frame has no rule of its own."""
    truth = np.array([[[0, 1, 1, 1]], [[0, 0, 0, 0]]])
    found = np.array([[[0, 1, 1, 0]], [[0, 0, 1, 1]]])
    scores = scored([(found, truth)], 2).compute()
    assert scores["miou_per_class"] == [pytest.approx(3 / 6), pytest.approx(2 / 5)]  # hits over all marked or present
    assert scores["f_score_per_class"] == [
        pytest.approx(1.3 * (3 / 4) * (3 / 5) / (0.3 * 3 / 4 + 3 / 5)),
        pytest.approx(1.3 * (2 / 4) * (2 / 3) / (0.3 * 2 / 4 + 2 / 3)),
    ]
    assert scores["j_and_f"] == pytest.approx((scores["miou"] + scores["f_score"]) / 2)
    assert scores["miou"] == pytest.approx(0.45)


@pytest.mark.parametrize(("absent_classes", "classes_in_j"), [("skip", 5), ("zero_in_j", 6)])
def test_equals_the_plain_reference(absent_classes, classes_in_j):
    clips = random_clips(7)
    iou, f_score = plain_reference([frame for clip in clips for frame in zip(*clip, strict=True)], 6)
    scores = scored(clips, absent_classes=absent_classes).compute()
    assert iou[4] is None and iou[5] == 0
    assert scores["miou_per_class"] == [None if v is None else pytest.approx(v, abs=1e-9) for v in iou]
    assert scores["f_score_per_class"] == [None if v is None else pytest.approx(v, abs=1e-9) for v in f_score]
    assert scores["miou"] == pytest.approx(sum(v or 0 for v in iou) / classes_in_j, abs=1e-9)
    assert scores["f_score"] == pytest.approx(sum(v or 0 for v in f_score) / 5, abs=1e-9)


def test_padded_frames_and_ignored_pixels_are_left_out():
    predicted, target = random_clips(1)[0]
    mask = np.array([True, False, True])
    assert scored([(predicted, target, mask)]).compute() == scored([(predicted[mask], target[mask])]).compute()
    marked = target.copy()
    marked[1] = 255
    ignoring = scored([(predicted, marked)], ignore_label=255).compute()
    assert {**ignoring, "frames": 2} == scored([(predicted, target, mask)]).compute()


def test_order_and_processes_change_nothing():
    clips = random_clips(7)
    first, second = scored(clips[4:]), scored(clips[:4][::-1])
    first.merge(second)
    assert first.compute() == scored(clips).compute()


def test_bad_options():
    with pytest.raises(ValueError, match="absent_classes is 'zero'"):
        DatasetLevelSegmentation(2, absent_classes="zero")
    with pytest.raises(ValueError, match="num_labels is 1"):
        DatasetLevelSegmentation(1)
    with pytest.raises(ValueError, match="no clip was added"):
        DatasetLevelSegmentation(2).compute()
