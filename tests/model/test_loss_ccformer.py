import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from processes import in_two_processes

from ccformer_hf.model import loss_ccformer
from ccformer_hf.model.loss_ccformer import (
    FramePairs,
    contrastive_loss,
    count_items,
    dense_loss,
    frame_pairs,
    frame_targets,
    heard_loss,
    mask_pool,
    match,
    matched_losses,
    random_points,
    sample,
    segmentation_losses,
    uncertain_points,
)


def loss_config(**changes):
    values = {
        "num_labels": 4,
        "num_loss_points": 256,
        "class_weight": 2.0,
        "mask_weight": 5.0,
        "dice_weight": 5.0,
        "no_object_weight": 0.1,
    }
    return SimpleNamespace(**{**values, **changes})


def squares(*frames: dict[int, tuple[slice, slice]], size: int = 16) -> torch.Tensor:
    """Label maps `(F, size, size)`: per frame, label -> rows and columns."""
    labels = torch.zeros(len(frames), size, size, dtype=torch.long)
    for number, frame in enumerate(frames):
        for label, (rows, columns) in frame.items():
            labels[number, rows, columns] = label
    return labels


def targets(labels: torch.Tensor, num_labels: int = 4):
    ids, masks = frame_targets(labels, num_labels)
    return ids, masks, (labels != 255)[:, None].float()


def same_points_for_all(one, points, two, generator=None, device=None):
    """Stands in for torch.rand: the points do not depend on what was drawn before."""
    return torch.from_numpy(np.random.default_rng(points).random((one, points, two), dtype=np.float32))


@pytest.fixture
def fixed_points(monkeypatch):
    monkeypatch.setattr(loss_ccformer.torch, "rand", same_points_for_all)


# ------------------------------------------------------------------------------------------------------------- targets
def test_frame_targets_by_hand():
    labels = torch.tensor([[[0, 2], [2, 255]], [[3, 1], [0, 0]], [[0, 0], [0, 255]]])
    ids, masks = frame_targets(labels, num_labels=4)
    assert ids.tolist() == [[2, 0], [1, 3], [0, 0]]
    assert masks.tolist() == [
        [[[0, 1], [1, 0]], [[0, 0], [0, 0]]],
        [[[0, 1], [0, 0]], [[1, 0], [0, 0]]],
        [[[0, 0], [0, 0]], [[0, 0], [0, 0]]],
    ]


def test_frame_targets_of_nothing():
    ids, masks = frame_targets(torch.zeros(2, 4, 4, dtype=torch.long), 3)
    assert ids.shape == (2, 0) and masks.shape == (2, 0, 4, 4)
    ids, masks = frame_targets(torch.zeros(0, 4, 4, dtype=torch.long), 3)
    assert ids.shape == (0, 0) and masks.shape == (0, 0, 4, 4)


def test_wrong_label_ids_are_named():
    with pytest.raises(
        ValueError, match=r"labels hold the ids \[4, 7\], but the model has 4 labels \(0..3, 255 = ignored\)"
    ):
        frame_targets(torch.tensor([[[0, 4], [7, 255]]]), num_labels=4)
    with pytest.raises(ValueError, match="labels hold ids from -1 to 1; expected 0.."):
        frame_targets(torch.tensor([[[-1, 1]]]), num_labels=4)
    with pytest.raises(ValueError, match="from 0 to 256"):
        frame_targets(torch.tensor([[[0, 256]]]), num_labels=4)


def test_sample_reads_x_then_y():
    maps = torch.arange(6.0).view(1, 1, 2, 3)  # rows 0 1 2 / 3 4 5
    points = torch.tensor([[[0.5, 0.25], [5 / 6, 0.75], [0.5, 0.5], [0.0, 0.0]]])
    assert sample(maps, points).flatten().tolist() == pytest.approx([1.0, 5.0, 2.5, 0.0], abs=1e-6)
    assert sample(maps, points[:, :2], "nearest").flatten().tolist() == [1.0, 5.0]


# ------------------------------------------------------------------------------------------------------------ matching
def slow_cost(class_queries_logits, masks_queries_logits, label, mask, valid, points, config) -> float:
    """Cost of one query for one target, written out point by point."""
    weight = sample(valid[None], points)[0, 0].round()
    logits = sample(masks_queries_logits[None, None], points)[0, 0].tolist()
    truth = sample(mask[None, None], points, "nearest")[0, 0].tolist()
    cross_entropy = overlap = total = count = 0.0
    for x, y, w in zip(logits, truth, weight.tolist(), strict=True):
        if w == 0:
            continue
        p = 1 / (1 + math.exp(-x))
        count += 1
        cross_entropy -= math.log(p if y else 1 - p)
        overlap += p * y
        total += p + y
    dice = 1 - (2 * overlap + 1) / (total + 1)
    probability = class_queries_logits.softmax(0)[label]
    return float(
        -config.class_weight * probability + config.mask_weight * cross_entropy / count + config.dice_weight * dice
    )


@pytest.mark.parametrize("seed", range(5))
def test_match_is_the_cheapest_of_all_assignments(seed, fixed_points):
    torch.manual_seed(seed)
    config = loss_config(num_loss_points=50)
    labels = squares(
        {1: (slice(0, 5), slice(2, 9)), 3: (slice(9, 14), slice(0, 7))},
        {},
        {1: (slice(0, 9), slice(0, 3)), 2: (slice(5, 9), slice(6, 12)), 3: (slice(12, 16), slice(0, 16))},
    )
    ids, masks, valid = targets(labels)
    class_queries_logits, masks_queries_logits = torch.randn(3, 4, 4), 2 * torch.randn(3, 4, 8, 8)
    found = list(
        zip(
            *(
                index.tolist()
                for index in match(class_queries_logits, masks_queries_logits, ids, masks, valid, config)
            ),
            strict=True,
        )
    )
    assert len(found) == 2 + 0 + 3
    points = same_points_for_all(1, 50, 2)
    for frame, number in ((0, 2), (2, 3)):
        cost = [
            [
                slow_cost(
                    class_queries_logits[frame, q],
                    masks_queries_logits[frame, q],
                    ids[frame, t],
                    masks[frame, t],
                    valid[frame],
                    points,
                    config,
                )
                for t in range(number)
            ]
            for q in range(4)
        ]
        cheapest = min(
            itertools.permutations(range(4), number), key=lambda rows: sum(cost[q][t] for t, q in enumerate(rows))
        )
        assert sorted((q, t) for f, q, t in found if f == frame) == sorted((q, t) for t, q in enumerate(cheapest))


def test_more_targets_than_queries():
    labels = squares({1: (slice(0, 4), slice(0, 4)), 2: (slice(8, 12), slice(0, 4)), 3: (slice(8, 12), slice(8, 16))})
    frames, queries, chosen = match(torch.randn(1, 2, 4), torch.randn(1, 2, 8, 8), *targets(labels), loss_config())
    assert frames.tolist() == [0, 0] and sorted(queries.tolist()) == [0, 1] and len(set(chosen.tolist())) == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_no_numbers_do_not_stop_the_matcher(bad):
    labels = squares({1: (slice(0, 8), slice(0, 8)), 2: (slice(8, 16), slice(0, 8))})
    class_queries_logits, masks_queries_logits = torch.zeros(1, 3, 4), torch.zeros(1, 3, 8, 8)
    class_queries_logits[0, 0] = bad
    masks_queries_logits[0, 0] = bad
    frames, queries, _ = match(class_queries_logits, masks_queries_logits, *targets(labels), loss_config())
    assert len(frames) == 2
    if math.isnan(bad):
        assert sorted(queries.tolist()) == [1, 2]  # the broken one is the dearest


def test_without_scipy_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setattr(loss_ccformer, "linear_sum_assignment", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        match(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4, 4), *targets(squares({})), loss_config())


# -------------------------------------------------------------------------------------------------------------- losses
def perfect(labels: torch.Tensor, num_labels: int = 4, queries: int = 5, sure: float = 20.0):
    """Logits that say exactly `labels`, query q the label q."""
    class_queries_logits = torch.zeros(len(labels), queries, num_labels)
    masks_queries_logits = torch.full((len(labels), queries, *labels.shape[1:]), -sure)
    for frame, target in enumerate(labels):
        for query in range(queries):
            here = (target == query) & (query > 0)
            class_queries_logits[frame, query, query if here.any() else 0] = sure
            masks_queries_logits[frame, query][here] = sure
    return class_queries_logits, masks_queries_logits


def test_losses_by_hand(fixed_points):
    """One frame, two queries, one target that covers the whole picture."""
    labels = torch.ones(1, 8, 8, dtype=torch.long)
    class_queries_logits = torch.tensor([[[0.0, 2.0], [0.0, 0.0]]])
    masks_queries_logits = torch.tensor([3.0, -1.0])[None, :, None, None].expand(1, 2, 4, 4)
    losses = matched_losses(
        class_queries_logits, masks_queries_logits, *targets(labels, 2), loss_config(num_labels=2, num_loss_points=100)
    )
    # Query 0 is matched: -log p(1); query 1 is not: 0.1 * -log p(0); over the sum of the weights.
    label = (math.log(1 + math.exp(-2)) + 0.1 * math.log(2)) / 1.1
    p = 1 / (1 + math.exp(-3))
    assert float(losses["class"]) == pytest.approx(label, rel=1e-5)
    assert float(losses["mask"]) == pytest.approx(-math.log(p), rel=1e-5)
    assert float(losses["dice"]) == pytest.approx(1 - (2 * 100 * p + 1) / (100 * p + 100 + 1), rel=1e-5)


def test_a_better_prediction_costs_less():
    torch.manual_seed(0)
    labels = squares(
        {1: (slice(0, 8), slice(4, 12))}, {2: (slice(8, 16), slice(0, 8)), 3: (slice(0, 4), slice(0, 16))}
    )
    best = perfect(labels)
    worst = torch.randn(2, 5, 4), torch.randn(2, 5, 16, 16)
    totals = []
    for share in (0.0, 0.2, 0.5, 1.0):
        mixed = (share * good + (1 - share) * bad for good, bad in zip(best, worst, strict=True))
        losses = matched_losses(*mixed, *targets(labels), loss_config())
        totals.append([float(losses[name]) for name in ("class", "mask", "dice")])
    for better, worse in zip(totals[1:], totals[:-1], strict=True):
        assert all(b < w for b, w in zip(better, worse, strict=True))
    # What is left is the bilinear ramp between a sure cell inside and one outside.
    assert totals[-1][0] < 1e-6 and totals[-1][1] < 0.3 and totals[-1][2] < 0.1


def test_uncertain_points_lie_where_the_mask_is_unsure():
    torch.manual_seed(0)
    masks_queries_logits = torch.full((1, 32, 32), 10.0)
    masks_queries_logits[:, :, :16] = 0.0
    candidates = random_points(1200, None, "cpu")
    points = uncertain_points(masks_queries_logits, torch.ones(1, 1, 32, 32), candidates, 300)
    assert points.shape == (1, 300, 2) and points.min() >= 0 and points.max() <= 1
    assert (points[0, :, 0] < 0.52).all()
    assert 0.3 < (candidates[0, :, 0] < 0.5).float().mean() < 0.7


def test_ignored_pixels_count_nowhere():
    """Neither what the masks say there nor what the joined map says there changes a match or a loss."""
    labels = squares({1: (slice(0, 8), slice(0, 4))}, {2: (slice(4, 16), slice(2, 6)), 3: (slice(0, 3), slice(0, 7))})
    labels[:, :, 8:] = 255
    torch.manual_seed(0)
    class_queries_logits, masks_queries_logits = torch.randn(2, 5, 4), torch.randn(2, 5, 16, 16)
    joined = torch.randn(2, 4, 16, 16).log_softmax(1)
    other_masks, other_joined = masks_queries_logits.clone(), joined.clone()
    # From one cell beyond the border on, which bilinear reading does not reach.
    other_masks[..., 9:] = 50 * torch.randn(2, 5, 16, 7)
    other_joined[..., 9:] = torch.randn(2, 4, 16, 7).log_softmax(1)
    results = []
    for masks, logits in ((masks_queries_logits, joined), (other_masks, other_joined)):
        torch.manual_seed(1)
        losses = matched_losses(class_queries_logits, masks, *targets(labels), loss_config())
        losses["dense"] = dense_loss(logits, labels, 256)
        torch.manual_seed(1)
        matching = torch.stack(match(class_queries_logits, masks, *targets(labels), loss_config()))
        results.append((matching.tolist(), {name: float(value) for name, value in losses.items()}))
    assert results[0][0] == results[1][0]
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-6)


def test_a_frame_ignored_altogether_is_no_target_and_no_loss():
    labels = torch.full((1, 8, 8), 255)
    masks_queries_logits = torch.randn(1, 3, 8, 8, requires_grad=True)
    losses = matched_losses(torch.zeros(1, 3, 4), masks_queries_logits, *targets(labels), loss_config())
    assert float(losses["mask"].detach()) == float(losses["dice"].detach()) == 0.0
    assert float(dense_loss(torch.randn(1, 4, 8, 8).log_softmax(1), labels, 16)) == 0.0


@pytest.mark.parametrize("frames", [0, 2])
def test_frames_without_a_sounding_object_are_legal(frames):
    labels = torch.zeros(frames, 8, 8, dtype=torch.long)
    class_queries_logits = torch.zeros(frames, 3, 4, requires_grad=True)
    masks_queries_logits = torch.randn(frames, 3, 8, 8, requires_grad=True)
    losses = matched_losses(class_queries_logits, masks_queries_logits, *targets(labels), loss_config())
    assert float(losses["mask"].detach()) == float(losses["dice"].detach()) == 0.0
    assert float(losses["class"].detach()) == pytest.approx(math.log(4) if frames else 0.0)
    sum(losses.values()).backward()
    assert masks_queries_logits.grad is not None and masks_queries_logits.grad.abs().sum() == 0
    assert class_queries_logits.grad.isfinite().all() and (class_queries_logits.grad[..., 0] < 0).all()


def test_dense_loss_of_constant_maps():
    logits = torch.tensor([0.1, 0.2, 0.7]).log()[None, :, None, None].expand(2, 3, 4, 4)
    assert float(dense_loss(logits, torch.full((2, 8, 8), 2), 16)) == pytest.approx(-math.log(0.7), rel=1e-5)
    half = torch.full((2, 8, 8), 2)
    half[1] = 255
    # A frame of which nothing is known adds nothing to the mean over frames.
    assert float(dense_loss(logits, half, 16)) == pytest.approx(-math.log(0.7) / 2, rel=1e-5)
    half[1] = 2
    half[1, :, :4] = 255
    assert float(dense_loss(logits, half, 16)) == pytest.approx(-math.log(0.7), rel=1e-5)


def test_every_prediction_is_supervised_and_only_used_frames_count(fixed_points):
    torch.manual_seed(0)
    labels = squares({1: (slice(0, 8), slice(0, 4))}, {2: (slice(4, 16), slice(2, 6))}, {}).view(1, 3, 16, 16)
    used = torch.tensor([[True, True, False]])
    class_queries_logits, masks_queries_logits = torch.randn(1, 3, 5, 4), torch.randn(1, 3, 5, 8, 8)
    logits = torch.randn(1, 3, 4, 8, 8).log_softmax(2)
    once = segmentation_losses((class_queries_logits,), (masks_queries_logits,), logits, labels, used, loss_config())
    twice = segmentation_losses(
        (class_queries_logits,) * 2, (masks_queries_logits,) * 2, logits, labels, used, loss_config()
    )
    for name, factor in {"class": 2, "mask": 2, "dice": 2, "dense": 1}.items():
        assert float(twice[name]) == pytest.approx(factor * float(once[name]), rel=1e-5)
    for unused in (class_queries_logits, masks_queries_logits, labels):
        unused[:, 2] = 9
    logits[:, 2] = float("nan")
    again = segmentation_losses((class_queries_logits,), (masks_queries_logits,), logits, labels, used, loss_config())
    assert {name: float(v) for name, v in again.items()} == {name: float(v) for name, v in once.items()}


def test_heard_loss_by_hand():
    """Label 1 sounds in the first frame and nothing in the second; the third has no sound, the fourth is not used.

    In the fifth label 1 sounds, and who can tell what else.
    """
    labels = squares(
        {1: (slice(0, 2), slice(0, 2))}, {}, {2: (slice(0, 9), slice(0, 9))}, {}, {1: (slice(0, 2), slice(0, 2))}
    ).view(1, 5, 16, 16)
    labels[0, 4, 5] = 255
    used, audible = torch.tensor([[1, 1, 1, 0, 1]]).bool(), torch.tensor([[1, 1, 0, 0, 1]]).bool()
    logits = torch.tensor([[[0.0, math.log(3)], [-math.log(3), 0.0], [math.nan, 7.0], [8.0, 9.0], [0.0, 5.0]]])
    wanted = (math.log(2) + math.log(4) + math.log(4 / 3) + math.log(2) + math.log(2)) / 2  # the mean of two classes
    assert float(heard_loss(logits, labels, used, audible)) == pytest.approx(wanted / 4, rel=1e-6)
    counts = torch.tensor([8.0, 1.0, 1.0])  # of a whole step, twice as large
    assert float(heard_loss(logits, labels, used, audible, counts)) == pytest.approx(wanted / 8, rel=1e-6)
    logits.requires_grad_()
    nothing = heard_loss(logits, labels, used, torch.zeros_like(audible))
    nothing.backward()  # distributed training expects a gradient
    assert float(nothing.detach()) == 0 == float(logits.grad.abs().sum())


# ----------------------------------------------------------------------------------------------------------------- BCL
def slow_contrastive_loss(audio, picture, clips, temperature) -> float:
    total = 0.0
    for first, second in ((audio, picture), (picture, audio)):
        for i in range(len(clips)):
            scores = {}
            for j in range(len(clips)):
                if j == i or clips[j] != clips[i]:
                    cosine = float(first[i] @ second[j] / first[i].norm() / second[j].norm())
                    scores[j] = math.exp(cosine / temperature)
            total -= math.log(scores[i] / sum(scores.values())) / len(clips) / 2
    return total


def test_contrastive_loss_is_infonce_with_negatives_from_other_clips_only():
    torch.manual_seed(0)
    audio, picture = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    clips = torch.tensor([0, 0, 1, 2, 2, 2, 1])
    wanted = slow_contrastive_loss(audio, picture, clips.tolist(), 0.2)
    assert float(contrastive_loss(frame_pairs(audio, picture, clips), 0.2)) == pytest.approx(wanted, rel=1e-5)
    everything = slow_contrastive_loss(audio, picture, list(range(7)), 0.2)
    assert abs(wanted - everything) > 0.1  # the restriction to other clips matters here


def test_contrastive_loss_by_hand():
    audio = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    picture = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    wanted = math.log(1 + math.exp(-1 / 0.5))
    assert float(contrastive_loss(frame_pairs(audio, picture, torch.tensor([0, 1])), 0.5)) == pytest.approx(
        wanted, rel=1e-5
    )
    wanted = math.log(1 + math.exp(1 / 0.5))  # the pictures swapped
    assert float(contrastive_loss(frame_pairs(audio, picture.flip(0), torch.tensor([0, 1])), 0.5)) == pytest.approx(
        wanted, rel=1e-5
    )


@pytest.mark.parametrize("rows", [0, 3])
def test_without_negatives_there_is_nothing_to_learn(rows):
    audio = torch.randn(rows, 5, requires_grad=True)
    picture = torch.randn(rows, 5, requires_grad=True)
    loss = contrastive_loss(frame_pairs(audio, picture, torch.zeros(rows, dtype=torch.long)), 0.07)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    assert audio.grad is not None and audio.grad.abs().sum() < 1e-6
    assert picture.grad is not None and picture.grad.abs().sum() < 1e-6


def test_mask_pool_by_hand():
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 1, 2, 2).repeat(1, 4, 1, 1, 1)
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    labels[0, 0, :2, :2] = 1  # the whole first cell
    labels[0, 0, 0, 2] = 3  # a quarter of the second
    labels[0, 1, :, :] = 255  # nothing known
    labels[0, 3] = 1  # not used
    pooled, chosen = mask_pool(features, labels, torch.tensor([[True, True, True, False]]))
    assert chosen.tolist() == [[True, False, False, False]]
    assert pooled.tolist() == [[pytest.approx((1 * 1.0 + 0.25 * 2.0) / 1.25)]]


# ------------------------------------------------------------------------------------------------------- two processes
def batch_of_two_processes():
    """Four frames with targets of 2, 1, 0 and 0 objects: three for the first process, one for the second."""
    torch.manual_seed(0)
    labels = squares(
        {1: (slice(0, 5), slice(2, 9)), 3: (slice(9, 14), slice(0, 7))}, {2: (slice(0, 9), slice(0, 9))}, {}, {}
    )
    labels[1, 10:] = 255
    rows = {
        "labels": labels,
        "class_queries_logits": torch.randn(4, 5, 4),
        "masks_queries_logits": torch.randn(4, 5, 8, 8),
        "joined": torch.randn(4, 4, 8, 8),
        "heard": torch.randn(4, 1, 3),
        "audio": torch.randn(4, 6),
        "picture": torch.randn(4, 6),
        "clips": torch.tensor([0, 0, 1, 2]),
    }
    return {name: (value[:3], value[3:]) for name, value in rows.items()}, rows


def losses_and_gradients(rows) -> dict[str, torch.Tensor]:
    """All losses of `rows` and their gradients in weights that every process shares."""
    torch.manual_seed(1)
    weights = {
        "class_queries_logits": torch.randn(5, 4, requires_grad=True),
        "masks_queries_logits": torch.randn(8, 8, requires_grad=True),
        "joined": torch.randn(4, 1, 1, requires_grad=True),
        "heard": torch.randn(3, requires_grad=True),
        "audio": torch.randn(6, requires_grad=True),
        "picture": torch.randn(6, requires_grad=True),
    }
    weighted = {name: rows[name] * weight for name, weight in weights.items()}
    losses = matched_losses(
        weighted["class_queries_logits"], weighted["masks_queries_logits"], *targets(rows["labels"]), loss_config()
    )
    losses["dense"] = dense_loss(weighted["joined"].log_softmax(1), rows["labels"], 64)
    used = torch.ones(len(rows["labels"]), 1, dtype=torch.bool)
    losses["heard"] = heard_loss(weighted["heard"], rows["labels"][:, None], used, used)
    losses["contrastive"] = contrastive_loss(frame_pairs(weighted["audio"], weighted["picture"], rows["clips"]), 0.2)
    sum(losses.values()).backward()
    results = {name: value.detach() for name, value in losses.items()}
    return results | {f"gradient of {name}": weight.grad for name, weight in weights.items()}


def with_sounding(rows, number: int):
    """Only the first `number` frames have sounding pixels."""
    return {name: value[:number] if name in ("audio", "picture", "clips") else value for name, value in rows.items()}


def one_of_two_processes(folder) -> None:
    loss_ccformer.torch.rand = same_points_for_all
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    rows = {name: parts[rank] for name, parts in batch_of_two_processes()[0].items()}
    rows["clips"] = torch.tensor([[0, 0, 1], [0]][rank])  # each process counts its own clips from 0
    results = [losses_and_gradients(with_sounding(rows, number[rank])) for number in ((3, 1), (3, 0), (0, 0))]
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_train_like_one_with_the_whole_batch(tmp_path, fixed_points):
    in_two_processes(one_of_two_processes, tmp_path, folder=tmp_path)
    halves = zip(*(torch.load(tmp_path / f"{rank}.pt") for rank in range(2)), strict=True)
    rows = batch_of_two_processes()[1]
    for sounding, (first, second) in zip((4, 3, 0), halves, strict=True):
        whole = losses_and_gradients(with_sounding(rows, sounding))
        assert set(whole) == set(first)
        for name, value in whole.items():
            assert value.abs().sum() > 0 or (sounding == 0 and name.split()[-1] in ("contrastive", "audio", "picture"))
            torch.testing.assert_close((first[name] + second[name]) / 2, value, rtol=1e-4, atol=1e-6, msg=name)


def test_masks_are_read_in_float32():
    """The bfloat16 logits of a model trained in half precision give float32 losses."""
    labels = squares({1: (slice(0, 8), slice(0, 4))})
    losses = matched_losses(
        torch.zeros(1, 3, 4).bfloat16(), torch.zeros(1, 3, 8, 8).bfloat16(), *targets(labels), loss_config()
    )
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert float(losses["mask"]) == pytest.approx(F.softplus(torch.zeros(())).item())


# --------------------------------------------------------------------------------------------------- parts of one step
def test_parts_of_a_step_add_up_to_the_whole():
    """With the counts of the whole step and one seed, the losses of its parts add up, also of one without a target."""
    torch.manual_seed(0)
    labels = squares(
        {1: (slice(0, 8), slice(0, 4))}, {}, {2: (slice(4, 16), slice(2, 6)), 3: (slice(0, 3), slice(0, 7))}
    ).view(3, 1, 16, 16)
    used = torch.ones(3, 1, dtype=torch.bool)
    class_queries_logits, masks_queries_logits = torch.randn(3, 1, 5, 4), torch.randn(3, 1, 5, 8, 8)
    logits = torch.randn(3, 1, 4, 8, 8).log_softmax(2)
    config = loss_config(num_queries=5)
    counts = sum(count_items(labels[[i]], used[[i]], used[[i]], config) for i in range(3))
    assert counts.tolist() == [3, 3, 2] == count_items(labels, used, used, config).tolist()

    def losses(clips, counts):
        predictions = ((class_queries_logits[clips],), (masks_queries_logits[clips],), logits[clips])
        return segmentation_losses(*predictions, labels[clips], used[clips], config, counts, seed=7)

    whole = losses(slice(0, 3), None)
    parts = [losses(slice(i, i + 1), counts) for i in range(3)]
    for name, value in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), value, rtol=1e-5, atol=1e-6)
    assert losses(slice(0, 3), counts) == whole


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (3, 0, 2), (4, 1)], ids=str)
def test_the_contrastive_loss_sees_all_parts_of_a_step(sizes):
    """Parts of one row each would have no negatives by themselves; the clips of each part are counted from 0."""
    torch.manual_seed(0)
    audio, picture = torch.randn(5, 4), torch.randn(5, 4)
    parts = [tuple(side.split(sizes)) for side in (audio, picture)]
    clips = [torch.arange(size) for size in sizes]

    def weights():
        return torch.ones(4, requires_grad=True), torch.full((4,), 0.5, requires_grad=True)

    first, second = weights()
    whole = contrastive_loss(frame_pairs(audio * first, picture * second, torch.arange(5)), 0.2)
    whole.backward()

    first_of_parts, second_of_parts = weights()

    def pairs(number: int) -> FramePairs:
        return frame_pairs(parts[0][number] * first_of_parts, parts[1][number] * second_of_parts, clips[number])

    with torch.no_grad():
        known = [pairs(number) for number in range(len(sizes))]
    losses = []
    for number in range(len(sizes)):
        others = known[:number] + known[number + 1 :]
        losses.append(contrastive_loss(pairs(number), 0.2, torch.tensor(5), others))
        losses[-1].backward()
    torch.testing.assert_close(sum(losses).detach(), whole.detach())
    assert first.grad.abs().min() > 1e-3
    torch.testing.assert_close(first_of_parts.grad, first.grad)
    torch.testing.assert_close(second_of_parts.grad, second.grad)
