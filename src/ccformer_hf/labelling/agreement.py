"""What is kept of what a tagger hears and a segmenter draws: where they agree, and stay so over time (ours, after
OpenAVS and its self-training).

1. A class is **heard** in a second where the tagger's score is at least `heard` there and in a second beside it, or at
   least `heard_alone` there; of more than `most_classes`, the surest. It is **silent** where the score is below
   `silent`. Else nobody can tell.
2. A class is **drawn** in a frame where the segmenter's score is at least `drawn` and, where it is drawn in a frame
   beside it too, the two overlap (intersection over union at least `overlap` with one of them). From `doubtful` on,
   nobody can tell.
3. Heard and drawn: its id. Heard or perhaps heard, and drawn or perhaps drawn, but not surely both: 255, its pixels
   are ignored. Silent: background, whatever can be seen of it.
4. Heard, but nowhere drawn, not even perhaps: the whole picture is ignored, since who knows where it is.
5. Where two overlap, the surer one has the pixel: the higher product of both scores.

NumPy alone. Letters: `T` seconds and their frames, `C` classes, `H W` picture.
"""

from dataclasses import dataclass

import numpy as np

from ..model.pictures_ccformer import IGNORE_LABEL

OVERLAP = 0.3  # intersection over union


@dataclass(frozen=True)
class Thresholds:
    """From which scores on something is believed.

    Attributes:
        heard: 0..1, of the tagger.
        drawn: 0..1, of the segmenter.
        most_classes: that can be heard in one second.

    Raises:
        ValueError: for numbers outside.
    """

    heard: float = 0.3
    drawn: float = 0.5
    most_classes: int = 3

    def __post_init__(self):
        if not (0 < self.heard <= 1 and 0 < self.drawn <= 1 and self.most_classes >= 1):
            raise ValueError(
                f"heard is {self.heard}, drawn {self.drawn} and most_classes {self.most_classes}; "
                "expected above 0 to 1, above 0 to 1, and at least 1"
            )

    @property
    def heard_alone(self) -> float:
        """Of the tagger, where the seconds beside do not agree: twice as much."""
        return min(1.0, 2 * self.heard)

    @property
    def silent(self) -> float:
        """Of the tagger, below which a class does not sound: a third."""
        return self.heard / 3

    @property
    def doubtful(self) -> float:
        """Of the segmenter, from which on there may be something: two thirds."""
        return self.drawn * 2 / 3


def heard_classes(scores: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    """Which classes are heard in which seconds, bool `(T, C)`, by a tagger's `scores` `(T, C)` (rule 1)."""
    there = scores >= thresholds.heard
    heard = (there & _beside(there)) | (scores >= thresholds.heard_alone)
    ranks = np.argsort(np.argsort(-np.where(heard, scores, -1), axis=1, kind="stable"), axis=1)
    return heard & (ranks < thresholds.most_classes)


def silent_classes(scores: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    """Which classes surely do not sound in which seconds, bool `(T, C)` (rule 1)."""
    return scores < thresholds.silent


def steady_drawings(drawn: np.ndarray) -> np.ndarray:
    """Which drawings stay over time, bool `(T, C)`, of masks `drawn` bool `(T, C, H, W)` (rule 2)."""
    there = drawn.any(axis=(2, 3))  # (T, C)
    shared = (drawn[1:] & drawn[:-1]).sum(axis=(2, 3))  # (T - 1, C)
    together = (drawn[1:] | drawn[:-1]).sum(axis=(2, 3))
    alike = shared >= OVERLAP * np.maximum(together, 1)
    with_one = np.zeros_like(there)
    with_one[1:] |= alike
    with_one[:-1] |= alike
    return there & (with_one | ~_beside(there))


def agreed_labels(scores: np.ndarray, drawings: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    """The labels of a clip (all rules).

    Args:
        scores: of the tagger, float `(T, C)`, 0..1.
        drawings: of the segmenter, float `(T, C, H, W)`, 0..1; what is asked for where the class is silent does not
            matter.
        thresholds: see there.

    Returns:
        uint8 `(T, H, W)`: class c has the id c + 1, 0 is background, 255 is to be ignored.
    """
    heard, silent = heard_classes(scores, thresholds), silent_classes(scores, thresholds)
    drawn = drawings >= thresholds.drawn
    perhaps = drawings >= thresholds.doubtful
    steady = steady_drawings(drawn & ~silent[:, :, None, None])
    labels = np.zeros(drawings.shape[:1] + drawings.shape[2:], np.uint8)  # (T, H, W)
    for second, label in enumerate(labels):
        surest = np.zeros(label.shape)
        for number in np.flatnonzero(~silent[second]):
            sureness = scores[second, number] * drawings[second, number]
            told = heard[second, number] & steady[second, number] & drawn[second, number]
            wins = perhaps[second, number] & (sureness > surest)
            label[wins] = np.where(told, number + 1, IGNORE_LABEL)[wins]
            surest[wins] = sureness[wins]
        if (heard[second] & ~perhaps[second].any(axis=(1, 2))).any():
            label[:] = IGNORE_LABEL
    return labels


def _beside(there: np.ndarray) -> np.ndarray:
    """Whether it is so in the second before or after, bool `(T, C)`."""
    beside = np.zeros_like(there)
    beside[1:] |= there[:-1]
    beside[:-1] |= there[1:]
    return beside
