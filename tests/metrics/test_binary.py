import pickle

import numpy as np
import pytest
import torch

from ccformer_hf.metrics.binary import THRESHOLDS, BinarySegmentation, binary_iou, threshold_counts
from ccformer_hf.metrics.sums import SummedMetric


def row(*marked: int, size: int = 8) -> np.ndarray:
    """A frame of one row with the given pixels marked, bool `(1, 1, size)`."""
    frame = np.zeros((1, 1, size), dtype=bool)
    frame[0, 0, list(marked)] = True
    return frame


def plain_reference(batches, empty_groups="zero") -> tuple[float, float]:
    """M_J and M_F of `[(scores, target), ...]`, one pair of tensors per batch, as avsbench.md 7.1 and 7.2 say."""
    ious, f_maxima = [], []
    for y, g in batches:
        frame_ious, curves = [], []
        for score, truth in zip(y, g, strict=True):
            p, truth = (score > 0.5).double(), truth.double()
            if truth.sum() > 0:
                frame_ious.append(float((p * truth).sum() / (torch.maximum(p, truth).sum() + 1e-7)))
            else:
                frame_ious.append(float((p == 0).sum() / truth.numel()))
            if truth.mean() == 0:
                continue
            curve = torch.zeros(255, dtype=torch.float64)
            for i, th in enumerate(torch.linspace(0, 1 - 1e-10, 255)):
                marked = (score >= th).double()
                hits = (marked * truth).sum()
                precision, recall = hits / (marked.sum() + 1e-20), hits / (truth.sum() + 1e-20)
                curve[i] = 1.3 * precision * recall / (0.3 * precision + recall)
            curves.append(torch.nan_to_num(curve, nan=0.0))
        ious.append(sum(frame_ious) / len(frame_ious))
        if curves:
            f_maxima.append(float((sum(curves) / len(curves)).max()))
        elif empty_groups == "zero":
            f_maxima.append(0.0)
    return sum(ious) / len(ious), sum(f_maxima) / len(f_maxima)


def random_clips(number: int, frames: int = 5, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores that know something of the target; some frames, and all of clip 3, are empty."""
    random = np.random.default_rng(seed)
    clips = []
    for clip in range(number):
        target = (random.random((frames, 9, 11)) < random.random((frames, 1, 1)) * 0.6).astype(np.uint8)
        target[random.random(frames) < 0.2] = 0
        target *= clip != 3
        scores = np.clip(0.35 * target + random.random(target.shape) * 0.7, 0, 1).astype(np.float32)
        scores[random.random(target.shape) < 0.1] = random.choice([0.0, 0.5, 1.0])
        clips.append((scores, target))
    return clips


def as_batches(clips, size):
    return [
        tuple(torch.from_numpy(np.concatenate(maps)) for maps in zip(*clips[i : i + size], strict=True))
        for i in range(0, len(clips), size)
    ]


def scored(clips, order=None, **options) -> BinarySegmentation:
    metric = BinarySegmentation(**options)
    for clip in range(len(clips)) if order is None else order:
        metric.add(*clips[clip], clip=clip)
    return metric


def one(scores, target, **options) -> dict:
    metric = BinarySegmentation(**options)
    metric.add(scores.astype(np.float32), target)
    return metric.compute()


HAND_MADE = [
    (row(), row(), 1.0),  # nothing sounds, nothing marked
    (row(*range(8)), row(), 0.0),  # nothing sounds, all marked
    (row(0, 1), row(), 0.75),  # nothing sounds, a quarter marked
    (row(3), row(3), 1.0),  # a single pixel, found
    (row(4), row(3), 0.0),  # and missed
    (row(), row(3), 0.0),
    (row(0, 1, 2), row(1, 2, 3), 0.5),
    (row(*range(8)), row(0, 1), 0.25),
]


@pytest.mark.parametrize(("predicted", "target", "wanted"), HAND_MADE)
def test_iou_by_hand(predicted, target, wanted):
    assert binary_iou(predicted, target).tolist() == pytest.approx([wanted], abs=2e-7)
    assert one(predicted, target)["miou"] == pytest.approx(wanted, abs=2e-7)


def test_f_by_hand():
    assert one(row(3), row(3))["f_score"] == pytest.approx(1.0)
    # Missed: only the threshold 0 marks the pixel, with all 8: P = 1/8, R = 1.
    assert one(row(4), row(3))["f_score"] == pytest.approx(1.3 / 8 / (0.3 / 8 + 1))
    # P = R = 2/3 at every threshold above 0, which is better than P = 3/8, R = 1.
    assert one(row(0, 1, 2), row(1, 2, 3))["f_score"] == pytest.approx(2 / 3)


def test_a_score_of_half_is_unmarked_but_at_its_threshold():
    half = np.full((1, 1, 4), 0.5, dtype=np.float32)
    assert one(half, row(0, size=4))["miou"] == 0.0
    assert THRESHOLDS[127] == np.float32(0.5)
    assert threshold_counts(half, row(0, size=4))[0, 1].tolist() == [1] * 128 + [0] * 127


def test_an_empty_clip_scores_zero_in_f_unless_skipped():
    clips = [(row(3).astype(np.float32), row(3)), (row(0).astype(np.float32), row())]
    assert scored(clips).compute() == {"miou": pytest.approx(15 / 16), "f_score": 0.5, "clips": 2, "frames": 2}
    assert scored(clips, empty_groups="skip").compute()["f_score"] == 1.0
    assert scored(clips, empty_frames="skip").compute()["miou"] == pytest.approx(1.0)
    nothing = scored(clips[1:] * 2, empty_groups="skip", empty_frames="skip").compute()
    assert (nothing["miou"], nothing["f_score"]) == (None, None)


def test_an_empty_frame_does_not_count_in_f():
    target = np.concatenate([row(3), row()])
    assert one(target, target)["f_score"] == pytest.approx(1.0)


def test_counts_at_and_beside_every_threshold():
    beside = [np.nextafter(THRESHOLDS, np.float32(toward)) for toward in (-1, 2)]
    scores = np.concatenate([THRESHOLDS, *beside, np.random.default_rng(0).random(5000, dtype=np.float32)])
    scores = scores[(scores >= 0) & (scores <= 1)].reshape(1, 1, -1)
    target = np.arange(scores.size).reshape(scores.shape) % 3 == 0
    wanted = [[((scores >= th) & (target == truth)).sum() for th in THRESHOLDS] for truth in (False, True)]
    assert threshold_counts(scores, target)[0].tolist() == wanted
    assert THRESHOLDS.dtype == np.float32 and THRESHOLDS[0] == 0 and THRESHOLDS[-1] == 1


@pytest.mark.parametrize("group_size", [1, 2, 8])
def test_equals_the_plain_reference(group_size):
    """With 11 clips the last group of 2 and of 8 is smaller and yet weighs the same."""
    clips = random_clips(11)
    for empty_groups in ("zero", "skip"):
        wanted = plain_reference(as_batches(clips, group_size), empty_groups)
        ours = scored(clips, group_size=group_size, empty_groups=empty_groups).compute()
        assert abs(ours["miou"] - wanted[0]) <= 1e-6
        assert abs(ours["f_score"] - wanted[1]) <= 1e-6


def test_larger_groups_lower_f_only():
    clips = random_clips(16)[4:]
    single, grouped = scored(clips).compute(), scored(clips, group_size=4).compute()
    assert grouped["f_score"] < single["f_score"] - 1e-4
    assert grouped["miou"] == pytest.approx(single["miou"], abs=1e-9)


def test_hard_masks():
    clips = random_clips(6)
    hard = [((scores > 0.5).astype(np.float32), target) for scores, target in clips]
    wanted = plain_reference(as_batches(hard, 1))
    ours = scored(clips, f_from="masks").compute()
    assert abs(ours["f_score"] - wanted[1]) <= 1e-6
    assert ours["f_score"] != scored(clips).compute()["f_score"]


def test_frames_that_do_not_count():
    (scores, target), mask = random_clips(1)[0], np.array([True, False, True, True, False])
    ours, wanted = BinarySegmentation(), BinarySegmentation()
    ours.add(scores, target, frame_mask=mask)
    wanted.add(scores[mask], target[mask])
    assert ours.compute() == wanted.compute()
    assert ours.compute()["frames"] == 3


@pytest.mark.parametrize("group_size", [1, 3])
@pytest.mark.parametrize("cut", [1, 6, 11])
def test_order_and_processes_change_nothing(group_size, cut):
    clips = random_clips(11)
    wanted = scored(clips, group_size=group_size)
    order = np.random.default_rng(cut).permutation(11).tolist()
    assert scored(clips, order, group_size=group_size).compute() == wanted.compute()
    first = scored(clips, order[:cut], group_size=group_size)
    second = scored(clips, order[cut:], group_size=group_size)
    first.merge(pickle.loads(pickle.dumps(second)))
    assert first.compute() == wanted.compute()
    assert first.state().tolist() == wanted.state().tolist()


def test_memory_is_constant():
    metric = scored(random_clips(11) * 3, group_size=1)
    assert metric.open_groups == {} and metric.state().shape == (7,)
    assert len(scored(random_clips(11), group_size=4).open_groups) == 1


def test_groups_need_numbered_clips_to_be_merged():
    clip = random_clips(1)[0]
    parts = [BinarySegmentation(group_size=2) for _ in range(2)]
    for part in parts:
        part.add(*clip)
    with pytest.raises(ValueError, match="2 of the clips have no number.*clip="):
        parts[0].merge(parts[1])


def test_a_clip_given_twice_to_an_open_group():
    clip = random_clips(1)[0]
    metric, twice = BinarySegmentation(group_size=3), BinarySegmentation(group_size=3)
    for number in (0, 1):
        metric.add(*clip, clip=number)
        twice.add(*clip, clip=number)
    with pytest.raises(ValueError, match="group 0 got 4 clips"):
        metric.merge(twice)


GOOD = np.zeros((2, 3, 4), dtype=np.float32)
MASK = np.zeros((2, 3, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": GOOD + np.float32(1.5)}, "reach from 1.5 to 1.5.*sigmoid"),
        ({"scores": GOOD - np.float32(0.1)}, "sigmoid"),
        ({"scores": GOOD * np.float32("nan")}, "reach from nan"),
        ({"scores": MASK}, "scores are uint8"),
        ({"scores": GOOD[0]}, r"shape \(3, 4\)"),
        ({"scores": GOOD[:0]}, "at least one pixel"),
        ({"scores": GOOD[:, :2]}, r"\(2, 2, 4\) and target \(2, 3, 4\)"),
        ({"target": GOOD}, "target is float32"),
        ({"target": MASK + np.uint8(255)}, r"holds the ids \[255\].*0..1"),
        ({"target": MASK.astype(int) - 1}, r"holds the ids \[-1\]"),
        ({"clip": -1}, "clip is -1"),
        ({"frame_mask": np.ones(3, dtype=bool)}, r"shape \(3,\)"),
        ({"frame_mask": np.ones(2)}, "float64"),
        ({"frame_mask": np.zeros(2, dtype=bool)}, "False everywhere"),
    ],
)
def test_bad_input(arguments, message):
    metric = BinarySegmentation()
    with pytest.raises(ValueError, match=message):
        metric.add(**{"scores": GOOD, "target": MASK, **arguments})
    with pytest.raises(ValueError, match="no clip was added"):
        metric.compute()


@pytest.mark.parametrize(
    "options",
    [{"group_size": 0}, {"group_size": 1.5}, {"empty_frames": "zero"}, {"empty_groups": "one"}, {"f_from": "logits"}],
)
def test_bad_options(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name} is {value!r}"):
        BinarySegmentation(**options)


def test_only_like_is_merged():
    metric: SummedMetric = BinarySegmentation()
    with pytest.raises(ValueError, match="same options"):
        metric.merge(BinarySegmentation(f_from="masks"))
    with pytest.raises(ValueError, match="a state of 5 numbers"):
        metric.add_state(np.zeros(5, dtype=np.int64))
