"""What every metric here shares: sums of whole numbers, so that order, batches and processes cannot change a score."""

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

ONE = 2**40  # fixed point: a share of 1.0; steps of 1e-12, room for eight million of them in an int64


def to_fixed(shares: np.ndarray) -> np.ndarray:
    """Shares as whole multiples of 1 / `ONE`: unlike floats, they add up to the same sum in every order (*ours*)."""
    return np.rint(np.asarray(shares) * ONE).astype(np.int64)


def f_beta(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """F of AVSBench (*lineage*), beta² = 0.3: 1.3PR / (0.3P + R), 0 where both are 0."""
    below = 0.3 * precision + recall
    return np.divide(1.3 * precision * recall, below, out=np.zeros_like(below), where=below > 0)


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part / whole` of counts, 0 where `whole` is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


class SummedMetric(ABC):
    """A metric that keeps nothing but int64 sums.

    Adding the same clips in another order, in other batches, or in several processes whose sums are added up, gives
    the same sums to the last bit. Objects may be pickled, sent and merged.

    Args:
        size: of the sums; the first two are the clips and the frames counted.
        options: what sets this metric's rules.
    """

    def __init__(self, size: int, **options: Any):
        self.options = options
        self.sums = np.zeros(size, dtype=np.int64)

    def state(self) -> np.ndarray:
        """All that was counted, int64 `(n,)`: to be sent to another process and added there with `add_state`."""
        return self.sums.copy()

    def add_state(self, state: np.ndarray) -> None:
        """Adds what another object of the same options counted.

        Raises:
            ValueError: for the state of another metric.
        """
        state = np.asarray(state, dtype=np.int64)
        if state.shape != self.sums.shape:
            raise ValueError(
                f"the state has the shape {state.shape}, {type(self).__name__} with {self.options} wants "
                f"{self.sums.shape}: add the state of a metric of the same options"
            )
        self.sums += state

    def merge(self, other: Self) -> None:
        """Adds what `other` counted; `other` stays as it is.

        Raises:
            ValueError: for another metric or other options.
        """
        if type(other) is not type(self) or other.options != self.options:
            raise ValueError(
                f"cannot merge {type(other).__name__} with {getattr(other, 'options', None)} into "
                f"{type(self).__name__} with {self.options}: expected the same options in both"
            )
        self.add_state(other.state())

    @abstractmethod
    def scores(self) -> dict[str, Any]:
        """The scores of what was counted so far."""

    def compute(self) -> dict[str, Any]:
        """The scores of all clips added so far; more may be added afterwards.

        Returns:
            Plain numbers, lists of them, and None where a score is not defined; with `clips` and `frames` counted.

        Raises:
            ValueError: where no clip was added.
        """
        clips, frames = self.sums[:2].tolist()
        if clips == 0:
            raise ValueError("no clip was added: call add(...) for each clip, then compute()")
        return {**self.scores(), "clips": clips, "frames": frames}


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}")


def check_num_labels(num_labels: int) -> None:
    """Raises ValueError unless there is a background and at least one class."""
    if num_labels < 2:
        raise ValueError(f"num_labels is {num_labels}, expected 2 or more (it counts the background too)")


def check_maps(name: str, maps: np.ndarray) -> np.ndarray:
    """`maps` as an array `(T, H, W)`; ValueError for another shape or one without pixels."""
    maps = np.asarray(maps)
    if maps.ndim != 3 or maps.size == 0:
        raise ValueError(f"{name} has the shape {maps.shape}, expected one clip (T, H, W) with at least one pixel")
    return maps


def check_same_shape(first: str, a: np.ndarray, second: str, b: np.ndarray) -> None:
    """Raises ValueError unless the maps `a` and `b`, called `first` and `second`, have one shape."""
    if a.shape != b.shape:
        raise ValueError(
            f"{first} has the shape {a.shape} and {second} {b.shape}: expected the same frames and size, "
            "resize the prediction to the masks"
        )


def check_scores(scores: np.ndarray) -> np.ndarray:
    """Probabilities as float32 `(T, H, W)`; ValueError for another type or shape, or values outside 0..1."""
    scores = check_maps("scores", scores)
    if scores.dtype.kind != "f":
        raise ValueError(f"scores are {scores.dtype}, expected floats: probabilities of foreground in 0..1")
    scores = scores.astype(np.float32, copy=False)
    lowest, highest = scores.min(), scores.max()
    if not (lowest >= 0 and highest <= 1):  # also where one is NaN
        raise ValueError(
            f"scores reach from {lowest} to {highest}, expected probabilities in 0..1: pass sigmoid(logits)"
        )
    return scores


def check_labels(name: str, maps: np.ndarray, num_labels: int, ignore_label: int | None = None) -> np.ndarray:
    """Label maps `(T, H, W)` of integers; ValueError for another type, or ids that are neither a label nor ignored."""
    maps = check_maps(name, maps)
    if maps.dtype.kind not in "biu":
        raise ValueError(
            f"{name} is {maps.dtype}, it must hold whole numbers (or bool): label ids in 0..{num_labels - 1}"
        )
    if 0 <= int(maps.min()) and int(maps.max()) < num_labels:
        return maps
    wrong = maps[(maps < 0) | (maps >= num_labels)]
    wrong = wrong if ignore_label is None else wrong[wrong != ignore_label]
    if wrong.size:
        ignored = "" if ignore_label is None else f" or be {ignore_label} (ignored)"
        raise ValueError(
            f"{name} holds the ids {np.unique(wrong)[:5].tolist()}, they must lie in 0..{num_labels - 1}{ignored}"
        )
    return maps


def check_frame_mask(frame_mask: np.ndarray | None, frames: int) -> np.ndarray:
    """Which of `frames` frames count, bool `(T,)`, None: all; ValueError for another shape or type, or none."""
    if frame_mask is None:
        return np.ones(frames, dtype=bool)
    frame_mask = np.asarray(frame_mask)
    if frame_mask.shape != (frames,) or frame_mask.dtype != bool:
        raise ValueError(
            f"frame_mask is {frame_mask.dtype} of shape {frame_mask.shape}, expected bool ({frames},): True where "
            "the frame is real"
        )
    if not frame_mask.any():
        raise ValueError("frame_mask is False everywhere: leave out a clip of which no frame counts")
    return frame_mask
