"""Semantic scores of AVSBench (AVSS): IoU and F of each class, averaged over the frames in which it is seen."""

from typing import Any, Literal

import numpy as np

from .sums import (
    ONE,
    SummedMetric,
    check_choice,
    check_frame_mask,
    check_labels,
    check_num_labels,
    check_same_shape,
    f_beta,
    share,
    to_fixed,
)


def class_areas(
    predicted: np.ndarray, target: np.ndarray, num_labels: int, ignore_label: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of each class in each frame; pixels whose target is `ignore_label` are in none.

    Args:
        predicted, target: label ids `(T, H, W)`.

    Returns:
        Three int64 `(T, K)`: predicted and present, predicted, present.
    """
    frames = len(predicted)
    cell = predicted.astype(np.int64) * num_labels + target.astype(np.int64)
    cell += np.arange(frames)[:, None, None] * num_labels**2
    cell = cell.ravel() if ignore_label is None else cell[target != ignore_label]
    pairs = np.bincount(cell, minlength=frames * num_labels**2).reshape(frames, num_labels, num_labels)
    return pairs.diagonal(axis1=1, axis2=2), pairs.sum(2), pairs.sum(1)


def known(values: np.ndarray, seen: np.ndarray) -> list[float | None]:
    """Values of the classes as plain numbers, None for a class that was never seen."""
    return [value if ok else None for value, ok in zip(values.tolist(), seen.tolist(), strict=True)]


class SemanticSegmentation(SummedMetric):
    """Class-wise IoU and F of AVSBench's AVSS protocol (*lineage*, the public AVSBench code).

    A class is averaged over the frames in which it is predicted or present, the classes with equal weight, background
    included: a small object weighs as much as a large one, and a class predicted but absent costs a frame of 0.

    Args:
        num_labels: K, background (id 0) included.
        ignore_label: pixels with this target are left out of every area; None, none are (the reference).
        padded_frames: frames with `frame_mask` False: "count" (the reference, which pads clips to 10 frames and scores
            the padding too: it moves the background only), or "skip".
        absent_classes: a class seen in no frame: "zero", it counts as 0 (the reference), or "skip", it is left out.
        no_background_drops: the class left out of the figures "without background": "last" (the reference, by
            mistake) or "background" (Stepping Stones).

    Raises:
        ValueError: for an option with another value.
    """

    # The sums: clips, frames, then for each class the frames it is seen in, and its sums of IoU and of F.
    def __init__(
        self,
        num_labels: int,
        ignore_label: int | None = None,
        padded_frames: Literal["count", "skip"] = "count",
        absent_classes: Literal["zero", "skip"] = "zero",
        no_background_drops: Literal["last", "background"] = "last",
    ):
        check_num_labels(num_labels)
        check_choice("padded_frames", padded_frames, ("count", "skip"))
        check_choice("absent_classes", absent_classes, ("zero", "skip"))
        check_choice("no_background_drops", no_background_drops, ("last", "background"))
        super().__init__(
            2 + 3 * num_labels,
            num_labels=num_labels,
            ignore_label=ignore_label,
            padded_frames=padded_frames,
            absent_classes=absent_classes,
            no_background_drops=no_background_drops,
        )

    def add(self, predicted: np.ndarray, target: np.ndarray, frame_mask: np.ndarray | None = None) -> None:
        """Adds one clip.

        Args:
            predicted, target: label ids, integer `(T, H, W)` in 0..K-1; `target` may hold `ignore_label`.
            frame_mask: bool `(T,)`, False for padded frames; None for a clip without.

        Raises:
            ValueError: for input of another shape, type or range.
        """
        labels, ignored = self.options["num_labels"], self.options["ignore_label"]
        predicted = check_labels("predicted", predicted, labels)
        target = check_labels("target", target, labels, ignored)
        check_same_shape("predicted", predicted, "target", target)
        frame_mask = check_frame_mask(frame_mask, len(predicted))
        if self.options["padded_frames"] == "skip":
            predicted, target = predicted[frame_mask], target[frame_mask]
        inter, marked, present = class_areas(predicted, target, labels, ignored)
        union = marked + present - inter
        f_scores = f_beta(share(inter, marked), share(inter, present))
        self.sums[:2] += 1, len(predicted)
        self.sums[2:] += np.concatenate(
            [(union > 0).sum(0), to_fixed(share(inter, union)).sum(0), to_fixed(f_scores).sum(0)]
        )

    def scores(self) -> dict[str, Any]:
        """`miou` and `f_score`, `..._no_background` and `..._per_class` (None: never seen), in 0..1."""
        frames, *sums = self.sums[2:].reshape(3, -1)
        seen = frames > 0
        counted = seen if self.options["absent_classes"] == "skip" else np.ones_like(seen)
        foreground = counted.copy()
        foreground[0 if self.options["no_background_drops"] == "background" else -1] = False
        scores = {}
        for name, total in zip(("miou", "f_score"), sums, strict=True):
            per_class = share(total, frames) / ONE
            scores[name] = float(per_class[counted].mean()) if counted.any() else None
            scores[f"{name}_no_background"] = float(per_class[foreground].mean()) if foreground.any() else None
            scores[f"{name}_per_class"] = known(per_class, seen)
        return scores
