"""Scores of AVSBench-Robust (arXiv 2502.00358): how far a model's masks follow the sound, and not the pictures alone.

P is a score of the masks under the clips' own sounds, N the mean of the same score under each negative sound, both
against the ORIGINAL masks; G = 2P(1 - N) / (P + 1 - N). Three figures, for mIoU and F alike:

* G, the authors': P and N as AVSBench's protocol gives them. With several classes that is the mean over all of them,
those never seen
  counted as 0, so that both P and N shrink with the share of the classes that the split holds.
* G over the classes seen (ours): P and N are means over the classes that the split's label maps hold, background
included, the same
  ones under every sound. With one class it is the same as G.
* the ceiling of each (ours): G of a perfect model, whose masks are the label maps under the clips' own sounds, and
empty under every
  negative one. It is below 1, because an empty mask is right, and scores, where the label map is empty too: in a frame
      in which nothing
  sounds it has an IoU of 1, so that N = 0.18 and G = 0.90 on a set of one class with 18 % of such frames.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .sums import SummedMetric, check_frame_mask, check_scores, share

NEGATIVE_SCORES = ("miou", "f_score", "fpr")


class FalsePositiveRate(SummedMetric):
    """Share of pixels marked, probability > 0.5, where none should be (*lineage*, AVSBench-Robust); less is better."""

    # The sums: clips, frames, marked pixels, pixels.
    def __init__(self):
        super().__init__(4)

    def add(self, scores: np.ndarray, frame_mask: np.ndarray | None = None) -> None:
        """Adds one clip.

        Args:
            scores: probability of foreground under a negative sound, float `(T, H, W)` in 0..1.
            frame_mask: bool `(T,)`, True for the frames that count; None for all.

        Raises:
            ValueError: for input of another shape, type or range.
        """
        scores = check_scores(scores)
        scores = scores[check_frame_mask(frame_mask, len(scores))]
        self.sums += 1, len(scores), np.count_nonzero(scores > 0.5), scores.size

    def scores(self) -> dict[str, Any]:
        """`fpr`, in 0..1."""
        return {"fpr": float(share(self.sums[2], self.sums[3]))}


def global_score(positive: float, negative: float) -> float:
    """2P(1 - N) / (P + 1 - N), the harmonic mean of being right when heard and quiet when not (AVSBench-Robust).

    Args:
        positive: P in 0..1, the score under the clip's own sound.
        negative: N in 0..1, the score of masks under wrong sounds against the ORIGINAL masks; lower is better.

    Returns:
        In 0..1; 0 where P is 0 and N is 1.

    Raises:
        ValueError: for a score outside 0..1, such as a percentage.
    """
    for name, value in (("positive", positive), ("negative", negative)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, expected a share in 0..1")
    below = positive + 1 - negative
    return 2 * positive * (1 - negative) / below if below > 0 else 0.0


def ceiling(truth: Mapping[str, float], empty: Mapping[str, float]) -> dict[str, float]:
    """G of a perfect model, see the docstring of this module.

    Args:
        truth: `miou` and `f_score` of the label maps themselves.
        empty: those of masks in which nothing is marked.

    Returns:
        `g_miou`, `g_f_score` in 0..1.
    """
    return {f"g_{name}": global_score(truth[name], empty[name]) for name in ("miou", "f_score")}


def robust_scores(positive: Mapping[str, float], negatives: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """AVSBench-Robust's three figures from the scores under each sound.

    Args:
        positive: `miou` and `f_score` under the clips' own sounds.
        negatives: for each negative sound ("silence", "noise", "off-screen", ...) its `miou` and `f_score` against the
            original masks, and its `fpr`; the sounds weigh the same.

    Returns:
        `g_miou`, `g_f_score`, `g_fpr`, and the negatives' means `negative_miou`, `negative_f_score`; all in 0..1.

    Raises:
        ValueError: without a negative sound; for scores outside 0..1.
    """
    if not negatives:
        raise ValueError("negatives is empty: pass the scores of at least one negative sound")
    mean = {name: sum(scores[name] for scores in negatives.values()) / len(negatives) for name in NEGATIVE_SCORES}
    return {
        "g_miou": global_score(positive["miou"], mean["miou"]),
        "g_f_score": global_score(positive["f_score"], mean["f_score"]),
        "g_fpr": mean["fpr"],
        "negative_miou": mean["miou"],
        "negative_f_score": mean["f_score"],
    }
