"""Jaccard index (IoU) of AVSBench's reference protocol, frame by frame: sums, not pictures, so memory stays constant."""

from dataclasses import dataclass, field

import numpy as np


def binary_iou(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """IoU of each frame (*lineage*, AVSBench): a frame in which nothing sounds scores the share of pixels left unmarked.

    Args:
        predicted, target: bool `(T, H, W)`.

    Returns:
        float64 `(T,)`, each in 0..1.
    """
    predicted, target = predicted.reshape(len(predicted), -1), target.reshape(len(target), -1)
    inter = (predicted & target).sum(1)
    union = (predicted | target).sum(1)
    return np.where(target.any(1), inter / (union + 1e-7), 1 - predicted.mean(1))


@dataclass
class SemanticJaccard:
    """Mean IoU per class over the frames in which the class is predicted or present (*lineage*, AVSBench's AVSS protocol).

    Args:
        num_labels: K, background (id 0) included.
    """

    num_labels: int
    iou_sum: np.ndarray = field(init=False)
    frames: np.ndarray = field(init=False)

    def __post_init__(self):
        self.iou_sum = np.zeros(self.num_labels)
        self.frames = np.zeros(self.num_labels, dtype=np.int64)

    def add(self, predicted: np.ndarray, target: np.ndarray) -> None:
        """Adds the frames of `predicted` and `target`, both integer label maps `(T, H, W)`.

        Raises:
            ValueError: for a label id outside 0..K-1; the protocol knows no ignored pixels.
        """
        for name, maps in (("predicted", predicted), ("target", target)):
            if maps.size and not 0 <= int(maps.min()) <= int(maps.max()) < self.num_labels:
                raise ValueError(
                    f"{name} holds ids from {maps.min()} to {maps.max()}, they must lie in 0..{self.num_labels - 1}"
                )
        for ours, truth in zip(predicted, target, strict=True):
            pairs = np.bincount(
                ours.ravel().astype(np.int64) * self.num_labels + truth.ravel(), minlength=self.num_labels**2
            ).reshape(self.num_labels, self.num_labels)
            inter = np.diag(pairs)
            union = pairs.sum(0) + pairs.sum(1) - inter
            self.iou_sum += inter / np.maximum(union, 1)
            self.frames += union > 0

    def per_class(self) -> np.ndarray:
        """IoU of each class `(K,)`; NaN for a class that was neither predicted nor present."""
        return np.divide(self.iou_sum, self.frames, out=np.full(self.num_labels, np.nan), where=self.frames > 0)

    def mean(self) -> float:
        """Mean over the classes seen, background included."""
        return float(np.nanmean(self.per_class()))
