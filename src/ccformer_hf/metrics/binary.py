"""Binary scores of AVSBench (S4 and MS3): mean Jaccard index M_J and the F curve's maximum M_F."""

from typing import Any, Literal

import numpy as np
import torch

from .sums import (
    ONE,
    SummedMetric,
    check_choice,
    check_frame_mask,
    check_labels,
    check_same_shape,
    check_scores,
    f_beta,
    share,
    to_fixed,
)

# The reference asks torch, whose float32 steps differ from NumPy's in the last bit.
THRESHOLDS = torch.linspace(0, 1 - 1e-10, 255).numpy()
CURVE = len(THRESHOLDS)


def binary_iou(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """IoU of each frame (*lineage*, AVSBench); where nothing sounds, the share of pixels left unmarked.

    Args:
        predicted, target: bool `(T, H, W)`.

    Returns:
        float64 `(T,)`, each in 0..1.
    """
    predicted, target = predicted.reshape(len(predicted), -1), target.reshape(len(target), -1)
    inter = (predicted & target).sum(1)
    union = (predicted | target).sum(1)
    return np.where(target.any(1), inter / (union + 1e-7), 1 - predicted.mean(1))


def threshold_counts(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Pixels at or above each of the 255 thresholds, by one histogram (*ours*; the counts of 255 comparisons).

    Args:
        scores: float32 `(T, H, W)` in 0..1.
        target: 0 or 1, `(T, H, W)`.

    Returns:
        int64 `(T, 2, 255)`: of the pixels with target 0 and with target 1, those with `score >= threshold`.
    """
    frames = len(scores)
    # The last threshold not above the score. Thresholds lie 1/254 apart to 1e-7, so this guess is right or one too
    # high.
    bucket = (scores * np.float32(254) + np.float32(0.001)).astype(np.int16)
    bucket -= scores < THRESHOLDS.take(bucket)
    cell = bucket + target.astype(np.int16) * CURVE + np.arange(frames, dtype=np.int32)[:, None, None] * (2 * CURVE)
    counts = np.bincount(cell.ravel(), minlength=frames * 2 * CURVE).reshape(frames, 2, CURVE)
    return counts[:, :, ::-1].cumsum(2)[:, :, ::-1]


def f_curves(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """F of each frame at each of the 255 thresholds (*lineage*, AVSBench), float64 `(T, 255)`; arguments as above."""
    counts = threshold_counts(scores, target)
    hits, marked, present = counts[:, 1], counts.sum(1), counts[:, 1, :1]
    return f_beta(share(hits, marked), share(hits, np.broadcast_to(present, hits.shape)))


class BinarySegmentation(SummedMetric):
    """M_J and M_F of AVSBench's S4 and MS3 protocol (*lineage*, the public AVSBench code).

    Frames are averaged within a group of clips, the groups with equal weight. The reference's groups are its test
    batches, of one clip each, and so is the default here: the scores then depend on no batch size. Code that tests in
    batches of N reports a lower F, because each group's curve has only one maximum: `group_size=N` gives that figure.

    Args:
        group_size: clips in a group; the clips `n * group_size` up to `(n + 1) * group_size - 1` form group n.
        empty_frames: IoU of a frame in which nothing sounds: "unmarked", the share of pixels left unmarked (the
            reference: 1 minus the false positive rate); or "skip", the frame is left out of M_J.
        empty_groups: F of a group in whose frames nothing sounds: "zero" (the reference), or "skip", left out of M_F
            (EASE). A single empty frame never counts in F.
        f_from: "scores", the best of 255 thresholds (the reference); or "masks", the same curve of the mask
            `score > 0.5` (EASE's hard predictions).

    Raises:
        ValueError: for an option with another value.
    """

    # The sums: clips, frames, clips without a number, groups in M_J and the sum of their IoU, the same for F. A group
    # that lacks clips waits in `open_groups`: clips, frames, frames in M_J and the sum of their IoU, frames in F,
    # curve.
    def __init__(
        self,
        group_size: int = 1,
        empty_frames: Literal["unmarked", "skip"] = "unmarked",
        empty_groups: Literal["zero", "skip"] = "zero",
        f_from: Literal["scores", "masks"] = "scores",
    ):
        if not isinstance(group_size, int) or group_size < 1:
            raise ValueError(f"group_size is {group_size!r}, expected a whole number, 1 or more")
        check_choice("empty_frames", empty_frames, ("unmarked", "skip"))
        check_choice("empty_groups", empty_groups, ("zero", "skip"))
        check_choice("f_from", f_from, ("scores", "masks"))
        super().__init__(7, group_size=group_size, empty_frames=empty_frames, empty_groups=empty_groups, f_from=f_from)
        self.open_groups: dict[int, np.ndarray] = {}

    def add(
        self,
        scores: np.ndarray,
        target: np.ndarray,
        clip: int | None = None,
        frame_mask: np.ndarray | None = None,
    ) -> None:
        """Adds one clip.

        Args:
            scores: probability of foreground, float `(T, H, W)` in 0..1; compared as float32, like the reference's.
            target: 0 or 1, integer or bool `(T, H, W)`.
            clip: the clip's number from 0, which sets its group; None numbers the clips as they come.
            frame_mask: bool `(T,)`, True for the frames that count; None for all.

        Raises:
            ValueError: for input of another shape, type or range.
        """
        scores, target = check_scores(scores), check_labels("target", target, 2)
        check_same_shape("scores", scores, "target", target)
        frame_mask = check_frame_mask(frame_mask, len(scores))
        if clip is not None and clip < 0:
            raise ValueError(f"clip is {clip}, clips are numbered from 0")
        scores, target = scores[frame_mask], target[frame_mask]
        masks, truth = scores > 0.5, target.astype(bool)
        sounding = truth.any((1, 2))
        in_j = sounding if self.options["empty_frames"] == "skip" else np.ones_like(sounding)
        curves = f_curves(scores if self.options["f_from"] == "scores" else masks.astype(np.float32), target)
        number = int(self.sums[0]) if clip is None else int(clip)
        row = np.concatenate(
            [
                [1, len(scores), in_j.sum(), to_fixed(binary_iou(masks, truth))[in_j].sum(), sounding.sum()],
                to_fixed(curves[sounding]).sum(0),
            ]
        )
        self._add_to_group(number // self.options["group_size"], row)
        self.sums[:3] += 1, len(scores), clip is None

    def _add_to_group(self, group: int, row: np.ndarray) -> None:
        row = row + self.open_groups.get(group, 0)
        if row[0] > self.options["group_size"]:
            raise ValueError(
                f"group {group} got {row[0]} clips, group_size is {self.options['group_size']}: "
                "give each clip its own number, once"
            )
        if row[0] == self.options["group_size"]:
            self.sums[3:] += self._group_sums(row)
            self.open_groups.pop(group, None)
        else:
            self.open_groups[group] = row

    def _group_sums(self, row: np.ndarray) -> np.ndarray:
        """What a group adds to the last four sums."""
        j_frames, j_sum, f_frames = row[2:5]
        in_f = f_frames > 0 or self.options["empty_groups"] == "zero"
        means = np.rint([j_sum / max(j_frames, 1), row[5:].max() / max(f_frames, 1)]).astype(np.int64)
        return np.array([j_frames > 0, means[0], in_f, means[1]], dtype=np.int64)

    def state(self) -> np.ndarray:
        """All that was counted, int64 `(n,)`; with `group_size=1`, n is always 7."""
        rows = [np.concatenate([[group], row]) for group, row in sorted(self.open_groups.items())]
        return np.concatenate([self.sums, *rows])

    def add_state(self, state: np.ndarray) -> None:
        """Adds what another object of the same options counted.

        Raises:
            ValueError: for the state of another metric; for groups of more than one clip where clips got no number.
        """
        sums, rows = np.split(np.asarray(state, dtype=np.int64), [len(self.sums)])
        if len(sums) != len(self.sums) or len(rows) % (6 + CURVE):
            raise ValueError(f"a state of {len(state)} numbers is not one of BinarySegmentation")
        unnumbered = self.sums[2] + sums[2]
        if self.options["group_size"] > 1 and unnumbered and self.sums[0] and sums[0]:
            raise ValueError(
                f"{unnumbered} of the clips have no number, so their groups of {self.options['group_size']} cannot be "
                "put together: pass add(..., clip=number in the whole set)"
            )
        self.sums += sums
        for row in rows.reshape(-1, 6 + CURVE):
            self._add_to_group(int(row[0]), row[1:])

    def scores(self) -> dict[str, Any]:
        """`miou` (M_J) and `f_score` (M_F), in 0..1; None where no group counts."""
        j_groups, j_sum, f_groups, f_sum = (
            self.sums[3:] + sum(self._group_sums(row) for row in self.open_groups.values())
        ).tolist()
        return {
            "miou": j_sum / j_groups / ONE if j_groups else None,
            "f_score": f_sum / f_groups / ONE if f_groups else None,
        }
