"""Losses: Hungarian matching, mask losses at sampled points, the joined map, Bi-modal Contrastive Learning (BCL).

Letters in the shapes: B clips, T frames, F frames of all clips, Q queries, K labels, M targets of a frame, P points,
n matched queries or pairs, D and C widths, H W label map, h w feature map.

Matching and mask losses are Mask2Former's (*lineage*), with what people stumble over there put right: everything in
float32 with finite costs, ignored pixels (255) that count nowhere, frames in which nothing sounds as a legal target.

One big batch and many small ones train alike (*ours*): what a sum is divided by is counted over everything that makes
up a step (`count_items`), the random points at which masks are read are the same for all frames of a step, and the
contrastive loss sees the frames of all of it (`FramePairs`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from .configuration_ccformer import CCFormerConfig
from .pictures_ccformer import IGNORE_LABEL

try:
    from scipy.optimize import linear_sum_assignment
except ImportError:  # inference from the Hub needs no scipy
    linear_sum_assignment = None


def num_processes() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def over_processes(counts: Tensor) -> Tensor:
    """Sum of `counts` over all processes."""
    if num_processes() == 1:
        return counts
    counts = counts.clone()
    dist.all_reduce(counts)
    return counts


def random_points(number: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Points `(1, number, 2)` in 0..1, for all frames alike."""
    return torch.rand(1, number, 2, generator=generator, device=device)


@torch.no_grad()
def count_items(labels: Tensor, used: Tensor, audible: Tensor, config: CCFormerConfig) -> Tensor:
    """What the losses of this batch are divided by; the counts of all parts of a step add up.

    Args:
        labels: `(B, T, H, W)`.
        used: `(B, T)` bool, the annotated frames.
        audible: `(B, T)` bool, those of them with sound.

    Returns:
        `(3,)` float: annotated frames, targets that get a query, frames with sound and sounding pixels.
    """
    ids = present_ids(labels[used], config.num_labels)  # (F, M)
    targets = (ids > 0).sum(1).clamp(max=config.num_queries).sum()
    sounding = sounding_pixels(labels[audible]).flatten(1).any(1).sum()
    return torch.stack([used.sum(), targets, sounding]).float()


def sounding_pixels(labels: Tensor) -> Tensor:
    """Where something sounds, bool: neither background nor ignored."""
    return (labels > 0) & (labels != IGNORE_LABEL)


def present_ids(labels: Tensor, num_labels: int) -> Tensor:
    """Label maps `(F, H, W)` -> ids of the labels present `(F, M)`, 0 = none.

    Raises:
        ValueError: for a label id that the model does not have.
    """
    present = torch.zeros(len(labels), IGNORE_LABEL + 1, dtype=torch.bool, device=labels.device)  # (F, 256)
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) <= IGNORE_LABEL:
        raise ValueError(
            f"labels hold ids from {int(labels.min())} to {int(labels.max())}; expected 0..{num_labels - 1}, or "
            f"{IGNORE_LABEL} for ignored pixels"
        )
    present.scatter_(1, labels.flatten(1), True)
    if present[:, num_labels:IGNORE_LABEL].any():
        wrong = present[:, num_labels:IGNORE_LABEL].any(0).nonzero().flatten() + num_labels
        raise ValueError(
            f"labels hold the ids {wrong.tolist()}, but the model has {num_labels} labels "
            f"(0..{num_labels - 1}, {IGNORE_LABEL} = ignored): map the ids, or load the model with an id2label that "
            "has them"
        )
    present[:, 0] = present[:, IGNORE_LABEL] = False
    most = int(present.sum(1).max()) if len(labels) else 0
    # Stable, so that the ids present come first and in rising order.
    order = present.int().argsort(dim=1, descending=True, stable=True)[:, :most]  # (F, M)
    return torch.where(present.gather(1, order), order, 0)  # (F, M)


def frame_targets(labels: Tensor, num_labels: int) -> tuple[Tensor, Tensor]:
    """Label maps `(F, H, W)` -> ids of the labels present `(F, M)`, 0 = none, and their masks `(F, M, H, W)` float."""
    ids = present_ids(labels, num_labels)
    masks = (labels[:, None] == ids[:, :, None, None]) & (ids > 0)[:, :, None, None]  # (F, M, H, W)
    return ids, masks.float()


def sample(maps: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    """Reads maps `(F, C, h, w)` at points `(F or 1, P, 2)` given as x, y in 0..1 -> `(F, C, P)`."""
    grid = 2 * points.expand(len(maps), -1, -1)[:, :, None] - 1  # (F, P, 1, 2), in -1..1
    values = F.grid_sample(maps, grid, mode=mode, align_corners=False, padding_mode="border")  # (F, C, P, 1)
    return values.squeeze(3)  # (F, C, P)


@torch.no_grad()
def match(
    class_queries_logits: Tensor,
    masks_queries_logits: Tensor,
    ids: Tensor,
    masks: Tensor,
    valid: Tensor,
    config: CCFormerConfig,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cheapest assignment of queries to targets, frame by frame.

    Args:
        class_queries_logits: `(F, Q, K)`. masks_queries_logits: `(F, Q, h, w)`. ids, masks: as from `frame_targets`.
            valid: `(F, 1, H, W)`.
        generator: draws the points; None: torch's own.

    Returns:
        Three index vectors of equal length: frame, query, target.
    """
    if linear_sum_assignment is None:
        raise ImportError("training needs scipy for the matching of queries and targets: pip install scipy")
    points = random_points(config.num_loss_points, generator, ids.device)
    logits = sample(masks_queries_logits.float(), points)  # (F, Q, P)
    truth = sample(masks, points, "nearest")  # (F, M, P)
    weight = sample(valid, points, "nearest")  # (F, 1, P)
    counted = weight.sum(-1, keepdim=True).clamp(min=1)  # (F, 1, 1)
    # Binary cross-entropy of every query with every target: softplus(-x) where the target is 1, softplus(x) where it
    # is 0. As two products, so that no (F, Q, M, P) is in memory.
    on, off = F.softplus(-logits) * weight, F.softplus(logits) * weight  # (F, Q, P)
    cross_entropy = (on @ truth.transpose(1, 2) + off @ (1 - truth).transpose(1, 2)) / counted  # (F, Q, M)
    probability = logits.sigmoid() * weight  # (F, Q, P)
    overlap = probability @ truth.transpose(1, 2)  # (F, Q, M)
    size = probability.sum(-1)[:, :, None] + (truth * weight).sum(-1)[:, None]  # (F, Q, M)
    dice = 1 - (2 * overlap + 1) / (size + 1)
    label = (
        -class_queries_logits.float().softmax(-1).gather(2, ids[:, None].expand(-1, class_queries_logits.shape[1], -1))
    )
    cost = config.class_weight * label + config.mask_weight * cross_entropy + config.dice_weight * dice
    # A model that diverges shall not stop the run here: SciPy refuses costs that are not finite.
    cost = torch.nan_to_num(cost, nan=1e6, posinf=1e6, neginf=-1e6).clamp(-1e6, 1e6).cpu().numpy()
    frames, queries, targets = [], [], []
    for frame, number in enumerate((ids > 0).sum(1).tolist()):
        rows, columns = linear_sum_assignment(cost[frame, :, :number])  # targets that are there come first
        frames += [frame] * len(rows)
        queries += rows.tolist()
        targets += columns.tolist()
    return tuple(torch.tensor(index, dtype=torch.long, device=ids.device) for index in (frames, queries, targets))


@torch.no_grad()
def uncertain_points(masks_queries_logits: Tensor, valid: Tensor, candidates: Tensor, number: int) -> Tensor:
    """PointRend's choice `(n, number, 2)`: of `candidates` `(1, C, 2)` those where a mask `(n, h, w)` is least sure.

    Ignored pixels (`valid`, `(n, 1, H, W)`, is 0 there) come last, so that what the mask says of them moves no point.
    """
    doubt = -sample(masks_queries_logits[:, None], candidates)[
        :, 0
    ].abs()  # (n, C); a logit of 0 is a probability of 1/2
    doubt = doubt.masked_fill(sample(valid, candidates, "nearest")[:, 0] == 0, float("-inf"))
    chosen = doubt.topk(number, dim=1).indices  # (n, number)
    return candidates.expand(len(chosen), -1, -1).gather(1, chosen[:, :, None].expand(-1, -1, 2))


def matched_losses(
    class_queries_logits: Tensor,
    masks_queries_logits: Tensor,
    ids: Tensor,
    masks: Tensor,
    valid: Tensor,
    config: CCFormerConfig,
    counts: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Label, mask and Dice loss of one prediction on F frames; arguments as in `match`.

    Args:
        counts: of all that makes up the step, see `count_items`; None: the frames and targets given here, of all
            processes.
    """
    if counts is None:
        matched = (ids > 0).sum(1).clamp(max=class_queries_logits.shape[1]).sum()
        counts = over_processes(torch.stack([matched.new_tensor(len(ids)), matched]).float())
    share = counts / num_processes()  # gradients are averaged over processes
    frames, queries, targets = match(class_queries_logits, masks_queries_logits, ids, masks, valid, config, generator)
    expected = ids.new_zeros(class_queries_logits.shape[:2])  # (F, Q), 0 = no object
    expected[frames, queries] = ids[frames, targets]
    weights = torch.ones(class_queries_logits.shape[-1], device=ids.device)
    weights[0] = config.no_object_weight
    label = F.cross_entropy(class_queries_logits.float().flatten(0, 1), expected.flatten(), weights, reduction="sum")
    # The sum of the weights: one for each target, the smaller one for each query without.
    unmatched = share[0] * class_queries_logits.shape[1] - share[1]
    label = label / (share[1] + config.no_object_weight * unmatched).clamp(min=1e-6)

    # Three quarters of the points lie where the mask is least sure among three times as many, the rest anywhere. They
    # are drawn with or without targets, so that all parts of a step draw alike.
    num_points = config.num_loss_points
    num_unsure = num_points * 3 // 4
    candidates = random_points(3 * num_points, generator, ids.device)  # (1, 3P, 2)
    anywhere = random_points(num_points - num_unsure, generator, ids.device)  # (1, P/4, 2)
    chosen = masks_queries_logits[frames, queries].float()  # (n, h, w)
    if len(frames) == 0:
        # Not a plain 0: distributed training expects a gradient of every parameter.
        nothing = masks_queries_logits.sum() * 0.0
        return {"class": label, "mask": nothing, "dice": nothing}
    unsure = uncertain_points(chosen, valid[frames], candidates, num_unsure)  # (n, 3P/4, 2)
    points = torch.cat([unsure, anywhere.expand(len(chosen), -1, -1)], dim=1)  # (n, P, 2)
    logits = sample(chosen[:, None], points)[:, 0]  # (n, P)
    truth = sample(masks[frames, targets][:, None], points, "nearest")[:, 0]  # (n, P)
    weight = sample(valid[frames], points, "nearest")[:, 0]  # (n, P)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, weight, reduction="none").sum(1)  # (n,)
    cross_entropy = cross_entropy / weight.sum(1).clamp(min=1)
    probability, truth = logits.sigmoid() * weight, truth * weight
    dice = 1 - (2 * (probability * truth).sum(1) + 1) / (probability.sum(1) + truth.sum(1) + 1)  # (n,)
    count = share[1].clamp(min=1e-6)
    return {"class": label, "mask": cross_entropy.sum() / count, "dice": dice.sum() / count}


def dense_loss(
    logits: Tensor,
    labels: Tensor,
    num_points: int,
    counts: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Cross-entropy of the joined map at random points (*ours*): it is this map, resized, that is measured in the end.

    The mean over the points of each frame that are not ignored, then over frames. Arguments as in `matched_losses`.
    """
    if counts is None:
        counts = over_processes(torch.tensor([float(len(labels))], device=labels.device))
    points = random_points(4 * num_points, generator, labels.device)
    probability = sample(logits.exp(), points)  # (F, K, P)
    truth = sample(labels[:, None].float(), points, "nearest")[:, 0].long()  # (F, P)
    counted = truth != IGNORE_LABEL
    chosen = probability.gather(1, torch.where(counted, truth, 0)[:, None])[:, 0]  # (F, P), of the true label
    loss = -(chosen.clamp(min=1e-7).log() * counted).sum(1) / counted.sum(1).clamp(min=1)
    return loss.sum() / (counts[0] / num_processes()).clamp(min=1e-6)


def segmentation_losses(
    class_queries_logits: tuple[Tensor, ...],
    masks_queries_logits: tuple[Tensor, ...],
    logits: Tensor,
    labels: Tensor,
    used: Tensor,
    config: CCFormerConfig,
    counts: Tensor | None = None,
    seed: int | None = None,
) -> dict[str, Tensor]:
    """All losses but the contrastive one and that of the audio classifier.

    Args:
        class_queries_logits, masks_queries_logits: per prediction `(B, T, Q, K)` and `(B, T, Q, h, w)`; all are
            supervised alike.
        logits: joined map `(B, T, K, h, w)`, log-probabilities.
        labels: `(B, T, H, W)` int64, 255 = ignored.
        used: `(B, T)` bool, the real and annotated frames.
        counts: `(3,)` of all that makes up the step, see `count_items`; None: this batch, of all processes.
        seed: of the points; None: drawn from torch's own generator.

    Returns:
        `class`, `mask` and `dice`, each summed over the predictions, and `dense`; unweighted scalars.
    """
    labels = labels[used]  # (F, H, W): from here on frames count, not clips
    ids, masks = frame_targets(labels, config.num_labels)  # (F, M), (F, M, H, W)
    valid = (labels != IGNORE_LABEL)[:, None].float()  # (F, 1, H, W)
    generator = None if seed is None else torch.Generator(labels.device).manual_seed(seed)
    losses = {"class": 0.0, "mask": 0.0, "dice": 0.0}
    for label, mask in zip(class_queries_logits, masks_queries_logits, strict=True):
        parts = matched_losses(label[used], mask[used], ids, masks, valid, config, counts, generator)
        for name, value in parts.items():
            losses[name] = losses[name] + value
    losses["dense"] = dense_loss(logits[used], labels, config.num_loss_points, counts, generator)
    return losses


def heard_loss(
    heard_logits: Tensor, labels: Tensor, used: Tensor, audible: Tensor, counts: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the audio classifier (*ours*): which classes the labels of a frame show, told by its sound.

    The mean over the classes, then over the annotated frames, of which those without sound count 0. Where pixels are
    ignored, any class may be in them: there only those count that the labels show. Labels do not say what sounds off
    screen, so that a class is learned as the less probable the more often it does.

    Args:
        heard_logits: `(B, T, K - 1)`.
        labels: `(B, T, H, W)`. used: `(B, T)` bool, the annotated frames. audible: `(B, T)` bool, those of them with
            sound.
        counts: `(3,)`, as in `segmentation_losses`.
    """
    if counts is None:
        counts = over_processes(used.sum()[None].float())
    logits = heard_logits[audible].float()  # (n, K - 1)
    maps, num_labels = labels[audible], heard_logits.shape[-1] + 1  # (n, H, W)
    ids = present_ids(maps, num_labels)  # (n, M), 0 = none
    sounds = logits.new_zeros(len(logits), num_labels).scatter(1, ids, 1.0)[:, 1:]  # (n, K - 1)
    unknown = (maps == IGNORE_LABEL).flatten(1).any(1)[:, None] & (sounds == 0)  # (n, K - 1)
    loss = F.binary_cross_entropy_with_logits(logits, sounds, reduction="none").masked_fill(unknown, 0).mean(1)  # (n,)
    return loss.sum() / (counts[0] / num_processes()).clamp(min=1e-6)


# ----------------------------------------------------------------------------------------------------------------- BCL
def mask_pool(features: Tensor, labels: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """Mean picture feature of the sounding pixels of each frame that has any.

    Args:
        features: `(B, T, D, h, w)`. labels: `(B, T, H, W)`. used: `(B, T)`.

    Returns:
        `(n, D)`, and which frames they are, `(B, T)` bool.
    """
    sounding = sounding_pixels(labels).float()  # (B, T, H, W)
    # The share of each cell that sounds, so that a small object still counts where no cell is all its own.
    share = F.adaptive_avg_pool2d(sounding, features.shape[-2:]).to(features.dtype)  # (B, T, h, w)
    area = share.sum((-2, -1))  # (B, T)
    chosen = used & (area > 0)
    pooled = (features[chosen] * share[chosen][:, None]).sum((-2, -1)) / area[chosen][:, None]  # (n, D)
    return pooled, chosen


def gather_rows(rows: Tensor) -> Tensor:
    """Rows `(n, D)` of all processes in one tensor, n may differ; gradients flow back to each process."""
    world = num_processes()
    if world == 1:
        return rows
    sizes = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(world)]
    dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    sizes = [int(size) for size in sizes]
    # `all_gather` takes one size from all processes.
    padded = torch.cat([rows, rows.new_zeros(max(sizes) - len(rows), *rows.shape[1:])])  # (max n, D)
    still = padded.detach()
    gathered = [torch.empty_like(still) for _ in sizes]
    dist.all_gather(gathered, still)
    if rows.is_floating_point():
        # Each process computes the loss of all rows, but only its own carry a gradient. Gradients are averaged over
        # the processes afterwards, so it counts as many times as there are processes.
        gathered[dist.get_rank()] = still + world * (padded - still)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])  # (sum of n, D)


class FramePairs(NamedTuple):
    """Sound and picture of the frames with sound and sounding pixels, as the contrastive loss compares them.

    Attributes:
        audio, visual: `(n, C)` of unit length, row i of both is the same frame; n may be 0.
        clips: `(n,)` int64, the same number for frames of the same clip.
    """

    audio: Tensor
    visual: Tensor
    clips: Tensor


def frame_pairs(audio: Tensor, visual: Tensor, clips: Tensor) -> FramePairs:
    """The pairs of all processes; gradients flow back to each process.

    Args:
        audio, visual: `(n, C)` of this process.
        clips: `(n,)` int64, number of the clip within the batch of this process.
    """
    if num_processes() > 1:
        clips = clips + dist.get_rank() * 2**32  # tells apart the clips of different processes
    audio, visual = (gather_rows(F.normalize(side.float(), dim=1)) for side in (audio, visual))
    return FramePairs(audio, visual, gather_rows(clips))


def contrastive_loss(
    pairs: FramePairs, temperature: float, rows: Tensor | None = None, others: Sequence[FramePairs] = ()
) -> Tensor:
    """Bi-modal Contrastive Learning (*paper*): symmetric InfoNCE between the sound and the sounding pixels of a frame.

    *Lineage*: temperature, projectors, L2 norm; the positive is the same frame, negatives are frames of other clips
    only. *Ours*: the frames of all processes and accumulated parts are seen together, so that small batches have
    negatives; the picture is pooled before any fusion, so that the loss cannot be met by copying the sound into the
    picture.

    Args:
        pairs: of this part of the step, of all processes, see `frame_pairs`.
        rows: how many there are in all that makes up the step; None: those given here.
        others: of each other part of the step, computed before without a gradient (*lineage*: GradCache). The losses
            of all parts then add up to that of the whole step, and so do their gradients.
    """
    parts = 1 + len(others)
    # Every part computes the loss of all rows, a share of which is its own. Only its own rows carry a gradient, and
    # the loss is divided by the number of parts below, so that gradient counts as many times as there are parts.
    own = (side.detach() + parts * (side - side.detach()) for side in pairs[:2])
    sides = zip(own, *(pair[:2] for pair in others), strict=True)  # of each side, the (n, C) of every part
    audio, visual = (torch.cat(side_parts) for side_parts in sides)  # (N, C), the rows of all parts
    clips = torch.cat([pairs.clips, *(other.clips + number * 2**48 for number, other in enumerate(others, 1))])  # (N,)
    if len(clips) == 0:
        return (audio.sum() + visual.sum()) * 0.0  # not a plain 0, see `matched_losses`
    similarity = audio @ visual.T / temperature  # (N, N)
    # Other frames of the same clip are neither: what sounds in them is mostly the same.
    same_clip = clips[:, None] == clips[None]  # (N, N)
    itself = torch.eye(len(clips), dtype=torch.bool, device=clips.device)
    similarity = similarity.masked_fill(same_clip & ~itself, float("-inf"))
    target = torch.arange(len(clips), device=clips.device)  # row i belongs to column i
    both = (similarity, similarity.T)  # the picture of a sound, and the sound of a picture
    loss = sum(F.cross_entropy(rows_of, target, reduction="sum") for rows_of in both) / 2
    return loss / (len(clips) if rows is None else rows) / parts
