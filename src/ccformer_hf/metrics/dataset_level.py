"""J&F of CAVP, DDESeg and BYOAVP: areas summed over the whole set. Not comparable with AVSBench's own figures."""

from typing import Any, Literal

import numpy as np

from .semantic import class_areas, known
from .sums import (
    SummedMetric,
    check_choice,
    check_frame_mask,
    check_labels,
    check_num_labels,
    check_same_shape,
    f_beta,
    share,
)


class DatasetLevelSegmentation(SummedMetric):
    """Dataset-level J, F (beta² = 0.3) and their mean J&F (*lineage*, the public code of CAVP and DDESeg).

    Intersections, unions, precision and recall of a class come from its pixels in all frames of all clips; the mean is
    over the classes, background included. There is no rule for frames in which nothing sounds, and padded frames are
    not scored. Unknown: that S4 and MS3 are scored as two classes is read off one binary configuration of CAVP's, and
    that J&F is (J + F) / 2 is the usual reading of the name; no public code read here says either.

    Args:
        num_labels: K, background (id 0) included; 2 for S4 and MS3.
        ignore_label: pixels with this target are left out (CAVP: 255); None, none are.
        absent_classes: a class without a pixel in predictions and targets: "skip", it is left out (DDESeg), or
            "zero_in_j", it counts as 0 in J and is left out of F (CAVP).

    Raises:
        ValueError: for an option with another value.
    """

    # The sums: clips, frames, then for each class the pixels predicted and present, predicted, present.
    def __init__(
        self,
        num_labels: int,
        ignore_label: int | None = None,
        absent_classes: Literal["skip", "zero_in_j"] = "skip",
    ):
        check_num_labels(num_labels)
        check_choice("absent_classes", absent_classes, ("skip", "zero_in_j"))
        super().__init__(
            2 + 3 * num_labels, num_labels=num_labels, ignore_label=ignore_label, absent_classes=absent_classes
        )

    def add(self, predicted: np.ndarray, target: np.ndarray, frame_mask: np.ndarray | None = None) -> None:
        """Adds one clip.

        Args:
            predicted, target: label ids, integer or bool `(T, H, W)` in 0..K-1; `target` may hold `ignore_label`.
            frame_mask: bool `(T,)`, True for the frames that count; None for all.

        Raises:
            ValueError: for input of another shape, type or range.
        """
        labels, ignored = self.options["num_labels"], self.options["ignore_label"]
        predicted = check_labels("predicted", predicted, labels)
        target = check_labels("target", target, labels, ignored)
        check_same_shape("predicted", predicted, "target", target)
        frame_mask = check_frame_mask(frame_mask, len(predicted))
        areas = class_areas(predicted[frame_mask], target[frame_mask], labels, ignored)
        self.sums[:2] += 1, frame_mask.sum()
        self.sums[2:] += np.concatenate([area.sum(0) for area in areas])

    def scores(self) -> dict[str, Any]:
        """`miou` (J), `f_score` (F), `j_and_f`, and `..._per_class` (None: never seen), in 0..1."""
        inter, marked, present = self.sums[2:].reshape(3, -1)
        union = marked + present - inter
        seen = union > 0
        iou, f_scores = share(inter, union), f_beta(share(inter, marked), share(inter, present))
        scores: dict[str, Any] = {"miou": None, "f_score": None, "j_and_f": None}
        if seen.any():
            j = float((iou if self.options["absent_classes"] == "zero_in_j" else iou[seen]).mean())
            f = float(f_scores[seen].mean())
            scores = {"miou": j, "f_score": f, "j_and_f": (j + f) / 2}
        return {**scores, "miou_per_class": known(iou, seen), "f_score_per_class": known(f_scores, seen)}
