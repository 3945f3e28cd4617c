import numpy as np
import pytest

from ccformer_hf.metrics.semantic import SemanticSegmentation


def plain_reference(frames, num_labels: int) -> tuple[list[float], list[float], list[int]]:
    """avsbench.md 7.3 class by class, of `[(predicted, target), ...]`: IoU, F and frames of each class; 0 for NaN."""
    iou, f_score, counts = [0.0] * num_labels, [0.0] * num_labels, [0] * num_labels
    for predicted, target in frames:
        for label in range(num_labels):
            p, g = predicted == label, target == label
            inter, union = int((p & g).sum()), int((p | g).sum())
            iou[label] += inter / (union + 2.2e-16)
            counts[label] += union > 0
            with np.errstate(invalid="ignore"):
                precision, recall = np.float64(inter) / p.sum(), np.float64(inter) / g.sum()
                f_score[label] += np.nan_to_num(1.3 * precision * recall / (0.3 * precision + recall), nan=0.0)
    return (
        [total / n if n else 0.0 for total, n in zip(iou, counts, strict=True)],
        [total / n if n else 0.0 for total, n in zip(f_score, counts, strict=True)],
        counts,
    )


def random_clips(number: int, frames: int = 3, seed: int = 2) -> list[tuple[np.ndarray, np.ndarray]]:
    """Maps of 6 labels; 4 is never seen, 5 is predicted only."""
    random = np.random.default_rng(seed)
    clips = []
    for _ in range(number):
        target = random.integers(0, 4, (frames, 5, 7)).astype(np.uint8)
        predicted = np.where(random.random(target.shape) < 0.6, target, random.integers(0, 6, target.shape))
        predicted[predicted == 4] = 0
        predicted[target == random.integers(0, 4)] = 0
        clips.append((predicted, target))
    return clips


def scored(clips, order=None, **options) -> SemanticSegmentation:
    metric = SemanticSegmentation(6, **options)
    for clip in range(len(clips)) if order is None else order:
        metric.add(*clips[clip])
    return metric


def by_hand(**options) -> dict:
    """Class 2 is predicted but never present, class 3 never seen."""
    metric = SemanticSegmentation(4, **options)
    metric.add(np.array([[[0, 0, 1, 1]]]), np.array([[[0, 1, 1, 1]]]))
    metric.add(np.array([[[0, 0, 0, 2]]]), np.array([[[0, 0, 0, 0]]]))
    return metric.compute()


# IoU and F of the background: 1/2 and 3/4; P, R = 1/2, 1 and 1, 3/4. Of class 1: 2/3; P, R = 1, 2/3.
IOU = [(1 / 2 + 3 / 4) / 2, 2 / 3, 0.0, 0.0]
F = [(0.65 / 1.15 + 0.975 / 1.05) / 2, (1.3 * 2 / 3) / (0.3 + 2 / 3), 0.0, 0.0]


def test_by_hand():
    scores = by_hand()
    assert scores["miou_per_class"] == [pytest.approx(IOU[0]), pytest.approx(IOU[1]), 0.0, None]
    assert scores["f_score_per_class"] == [pytest.approx(F[0]), pytest.approx(F[1]), 0.0, None]
    assert scores["miou"] == pytest.approx(sum(IOU) / 4)  # the class never seen stays in the denominator
    assert scores["f_score"] == pytest.approx(sum(F) / 4)
    assert scores["miou_no_background"] == pytest.approx(sum(IOU[:3]) / 3)  # drops the last class, like the reference
    assert (scores["clips"], scores["frames"]) == (2, 2)


def test_options_by_hand():
    assert by_hand(absent_classes="skip")["miou"] == pytest.approx(sum(IOU) / 3)
    assert by_hand(no_background_drops="background")["miou_no_background"] == pytest.approx(sum(IOU[1:]) / 3)
    both = by_hand(no_background_drops="background", absent_classes="skip")
    assert both["f_score_no_background"] == pytest.approx(sum(F[1:]) / 2)


def test_per_frame_not_per_pixel():
    """A small object weighs as much as a large one."""
    large, small = np.zeros((2, 1, 10, 10), dtype=np.uint8)
    large[:, :9], small[:, 0, 0] = 1, 1
    metric = SemanticSegmentation(2)
    metric.add(large, large)
    metric.add(np.zeros_like(small), small)
    assert metric.compute()["miou_per_class"][1] == pytest.approx(0.5)


def test_padded_frames_move_only_the_background():
    predicted, target = random_clips(1, frames=4)[0]
    padded = [np.concatenate([maps, np.zeros((2, 5, 7), dtype=maps.dtype)]) for maps in (predicted, target)]
    mask = np.arange(6) < 4
    real = scored([(predicted, target)]).compute()
    counted = scored([(*padded, mask)]).compute()
    assert counted["miou_per_class"][1:] == real["miou_per_class"][1:]
    assert counted["miou_per_class"][0] == pytest.approx((4 * real["miou_per_class"][0] + 2) / 6)
    assert counted["frames"] == 6
    assert scored([(*padded, mask)], padded_frames="skip").compute() == real


def test_ignored_pixels_are_in_no_area():
    predicted, target = np.array([[[0, 1, 1, 1]]]), np.array([[[0, 1, 255, 255]]])
    metric = SemanticSegmentation(2, ignore_label=255)
    metric.add(predicted, target)
    assert metric.compute()["miou_per_class"] == [1.0, 1.0]
    nothing = SemanticSegmentation(2, ignore_label=255, absent_classes="skip")
    nothing.add(predicted, np.full_like(target, 255))
    assert nothing.compute()["miou"] is None and nothing.compute()["miou_per_class"] == [None, None]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint64, np.int64])
def test_types_of_maps(dtype):
    maps = np.array([[[0, 1, 1]]])
    metric = SemanticSegmentation(2)
    metric.add(maps.astype(dtype), maps.astype(dtype)[:, :, ::-1])
    assert metric.compute()["miou_per_class"] == [pytest.approx(0), pytest.approx(1 / 3)]


def test_equals_the_plain_reference():
    clips = random_clips(9)
    iou, f_score, counts = plain_reference(
        [frame for clip in clips for frame in zip(*clip, strict=True)], num_labels=6
    )
    assert counts[4] == 0 and counts[5] > 0 and iou[5] == 0 and min(iou[:4]) > 0.1
    scores = scored(clips).compute()
    assert [value or 0.0 for value in scores["miou_per_class"]] == pytest.approx(iou, abs=1e-9)
    assert [value or 0.0 for value in scores["f_score_per_class"]] == pytest.approx(f_score, abs=1e-9)
    assert abs(scores["miou"] - sum(iou) / 6) <= 1e-9 and abs(scores["f_score"] - sum(f_score) / 6) <= 1e-9


def test_order_batches_and_processes_change_nothing():
    clips = random_clips(11)
    wanted = scored(clips).compute()
    order = np.random.default_rng(0).permutation(11).tolist()
    first, second = scored(clips, order[:4]), scored(clips, order[4:])
    first.merge(second)
    assert first.compute() == scored(clips, order).compute() == wanted
    assert first.state().shape == (2 + 3 * 6,)


@pytest.mark.parametrize(
    ("predicted", "target", "message"),
    [
        (np.full((1, 2, 2), 6), np.zeros((1, 2, 2), int), r"predicted holds the ids \[6\], they must lie in 0..5"),
        (np.zeros((1, 2, 2), int), np.full((1, 2, 2), 254), r"target holds the ids \[254\].*or be 255 \(ignored\)"),
        (np.full((1, 2, 2), 255), np.zeros((1, 2, 2), int), r"predicted holds the ids \[255\]"),
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 2), int), "predicted is float64"),
        (np.zeros((1, 2, 2), int), np.zeros((1, 2, 3), int), "resize"),
    ],
)
def test_bad_input(predicted, target, message):
    with pytest.raises(ValueError, match=message):
        SemanticSegmentation(6, ignore_label=255).add(predicted, target)


@pytest.mark.parametrize(
    "options",
    [{"num_labels": 1}, {"padded_frames": "no"}, {"absent_classes": "nan"}, {"no_background_drops": "first"}],
)
def test_bad_options(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name} is {value!r}"):
        SemanticSegmentation(**{"num_labels": 6, **options})


def test_the_state_of_another_metric():
    with pytest.raises(ValueError, match=r"shape \(11,\).*wants \(20,\)"):
        SemanticSegmentation(6).add_state(SemanticSegmentation(3).state())
