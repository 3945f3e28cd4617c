"""Audio-visual instance segmentation (AVIS): mAP, HOTA and FSLA, as AVISeg is scored (Guo et al. 2025, arXiv
2412.03069); written anew after their public code and TrackEval's, on which it builds.

An *object* is one thing that sounds in a clip, with a mask in each frame; it is empty where it is silent.

* mAP: of the objects as wholes, by the IoU of all their pixels of all frames (YouTube-VIS), at 0.50, 0.55, ... 0.95;
  per class, and the mean over the classes that the truth has.
* HOTA (Luiten et al. 2021): of each frame's masks and of how well the numbers hold, at IoU 0.05, 0.10, ... 0.95; per
  class, and the mean over the classes that truth or prediction have. `deta` and `assa` are its two halves.
* FSLA, the accuracy of locating sources frame by frame: the share of frames in which exactly the classes and as many
  objects are marked as sound, each above an IoU of 0.05, 0.10, ... 0.95 with its partner. Partners are chosen once for
  a clip, as in HOTA. In `fsla_none`, `fsla_one` and `fsla_several` the frames are those with so many sources.

Two deviations (*ours*): their code averages HOTA over classes of which there is nothing too, as 0; and compares the
one source of a frame with the track at its place in the list, here with its partner.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

TRACK_IOUS = np.linspace(0.5, 0.95, 10)
FRAME_IOUS = np.arange(0.05, 0.99, 0.05)
RECALLS = np.linspace(0, 1, 101)
EPSILON = np.finfo(float).eps


@dataclass(frozen=True)
class SoundingObject:
    """One object of a clip.

    Attributes:
        class_id: from 1.
        masks: bool `(T, H, W)`, its pixels in each frame while it sounds.
        score: how sure it is, of a predicted one.
    """

    class_id: int
    masks: np.ndarray
    score: float = 1.0


class InstanceSegmentation:
    """Scores of audio-visual instance segmentation over any number of clips; memory grows by a few numbers a clip."""

    def __init__(self):
        self._tracks: dict[int, list[tuple[float, np.ndarray]]] = defaultdict(
            list
        )  # class -> score, right at each IoU
        self._objects: dict[int, int] = defaultdict(int)  # class -> objects of the truth
        self._counts = defaultdict(lambda: np.zeros((4, len(FRAME_IOUS))))  # class -> TP, FN, FP, TP * association
        self._frames, self._right = np.zeros(3), np.zeros((3, len(FRAME_IOUS)))  # none, one, several sources

    def add(self, predicted: Sequence[SoundingObject], truth: Sequence[SoundingObject], length: int) -> None:
        """Adds a clip of `length` frames.

        Raises:
            ValueError: for masks of different shapes.
        """
        shapes = {one.masks.shape for one in (*predicted, *truth)}
        if len(shapes) > 1 or any(len(shape) != 3 or shape[0] != length for shape in shapes):
            raise ValueError(f"masks have the shapes {sorted(shapes)}; expected one, ({length}, height, width)")
        for class_id in {one.class_id for one in (*predicted, *truth)}:
            found = [one for one in predicted if one.class_id == class_id]
            wanted = [one for one in truth if one.class_id == class_id]
            overlaps = [_overlaps(one, found) for one in wanted]
            self._add_tracks(class_id, found, overlaps)
            ious = _frame_ious(overlaps, len(found), length)
            self._add_associations(class_id, ious, _present(wanted, length), _present(found, length))
        self._add_frames(predicted, truth, length)

    def compute(self) -> dict[str, float | None]:
        """`map`, `ap50`, `ap75`, `hota`, `deta`, `assa`, `fsla`, `fsla_none`, `fsla_one`, `fsla_several`: 0..1, None
        where there is nothing to measure it by."""
        precisions = np.array([self._precision(class_id) for class_id in self._objects if self._objects[class_id]])
        counts = np.array(list(self._counts.values())).reshape(-1, 4, len(FRAME_IOUS))  # (classes, 4, IoUs)
        hit, missed, wrong, associated = counts.swapaxes(0, 1)
        detection = hit / np.maximum(1, hit + missed + wrong)  # (classes, IoUs)
        association = associated / np.maximum(1, hit)
        right = self._right / np.maximum(1, self._frames)[:, None]  # (3, IoUs)
        shares = [float(row.mean()) if count else None for row, count in zip(right, self._frames, strict=True)]
        some = len(precisions) > 0
        return {
            "map": float(precisions.mean()) if some else None,
            "ap50": float(precisions[:, 0].mean()) if some else None,
            "ap75": float(precisions[:, 5].mean()) if some else None,
            "hota": float(np.sqrt(detection * association).mean()) if detection.size else None,
            "deta": float(detection.mean()) if detection.size else None,
            "assa": float(association.mean()) if detection.size else None,
            "fsla": float(self._right.sum(axis=0).mean() / self._frames.sum()) if self._frames.sum() else None,
            **dict(zip(("fsla_none", "fsla_one", "fsla_several"), shares, strict=True)),
        }

    def _add_tracks(self, class_id: int, found: Sequence[SoundingObject], overlaps: Sequence[tuple]) -> None:
        """Which predicted objects are right: the surest first takes the free true one that it overlaps most."""
        self._objects[class_id] += len(overlaps)
        ious = np.array([both.sum(1) / np.maximum(1, either.sum(1)) for both, either in overlaps])  # (true, found)
        taken = np.zeros((len(TRACK_IOUS), len(overlaps)), dtype=bool)
        for place in np.argsort([-one.score for one in found], kind="stable"):
            right = np.zeros(len(TRACK_IOUS), dtype=bool)
            for level, least in enumerate(TRACK_IOUS):
                free = [number for number in range(len(overlaps)) if not taken[level, number]]
                best = max(free, key=lambda number: ious[number, place], default=None)
                if best is not None and ious[best, place] >= least:
                    taken[level, best] = right[level] = True
            self._tracks[class_id].append((found[place].score, right))

    def _precision(self, class_id: int) -> np.ndarray:
        """Mean precision of a class at each of `TRACK_IOUS`, over `RECALLS`."""
        tracks = sorted(self._tracks[class_id], key=lambda track: -track[0])
        right = np.array([track[1] for track in tracks]).reshape(-1, len(TRACK_IOUS)).cumsum(axis=0)  # (tracks, IoUs)
        recall = right / self._objects[class_id]
        precision = right / np.arange(1, len(right) + 1)[:, None]
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        found = np.zeros(len(TRACK_IOUS))
        for level in range(len(TRACK_IOUS)):
            places = np.searchsorted(recall[:, level], RECALLS, side="left")
            found[level] = np.append(precision[:, level], 0.0)[places].mean()
        return found

    def _add_associations(self, class_id: int, ious: np.ndarray, wanted: np.ndarray, found: np.ndarray) -> None:
        """HOTA's counts. ious `(true, found, T)`; wanted `(true, T)` and found `(found, T)`: whether it is there."""
        aligned = _alignment(ious, wanted, found)  # (true, found)
        matched = np.zeros((len(FRAME_IOUS), *aligned.shape))  # frames in which a pair is matched
        counts = self._counts[class_id]
        for time in range(wanted.shape[1]):
            rows, columns = np.flatnonzero(wanted[:, time]), np.flatnonzero(found[:, time])
            here = ious[np.ix_(rows, columns)][:, :, time]
            pairs = linear_sum_assignment(-aligned[np.ix_(rows, columns)] * here)
            for level, least in enumerate(FRAME_IOUS):
                good = here[pairs] >= least - EPSILON
                matched[level][rows[pairs[0][good]], columns[pairs[1][good]]] += 1
                counts[:3, level] += (good.sum(), len(rows) - good.sum(), len(columns) - good.sum())
        lengths = wanted.sum(1)[:, None] + found.sum(1)[None]  # (true, found)
        counts[3] += (matched * matched / np.maximum(1, lengths - matched)).sum(axis=(1, 2))

    def _add_frames(self, predicted: Sequence[SoundingObject], truth: Sequence[SoundingObject], length: int) -> None:
        ious = _frame_ious([_overlaps(one, predicted) for one in truth], len(predicted), length)
        wanted, found = _present(truth, length), _present(predicted, length)
        rows, columns = linear_sum_assignment(-_alignment(ious, wanted, found))
        partner = dict(zip(rows.tolist(), columns.tolist(), strict=True))
        for time in range(length):
            there, marked = np.flatnonzero(wanted[:, time]).tolist(), np.flatnonzero(found[:, time]).tolist()
            kind = min(2, len(there))
            self._frames[kind] += 1
            classes = [
                sorted(objects[n].class_id for n in own) for objects, own in ((truth, there), (predicted, marked))
            ]
            if len(there) != len(marked) or set(classes[0]) != set(classes[1]):
                continue
            pairs = [(number, partner.get(number)) for number in there]
            if all(other in marked and truth[n].class_id == predicted[other].class_id for n, other in pairs):
                lowest = min((ious[n, other, time] for n, other in pairs), default=1.0)
                self._right[kind] += lowest > FRAME_IOUS


def _overlaps(one: SoundingObject, others: Sequence[SoundingObject]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of both, and of either, `(others, T)` each."""
    shape = len(others), len(one.masks)
    both = [(one.masks & other.masks).sum((1, 2)) for other in others]
    either = [(one.masks | other.masks).sum((1, 2)) for other in others]
    return np.array(both, dtype=float).reshape(shape), np.array(either, dtype=float).reshape(shape)


def _frame_ious(overlaps: Sequence[tuple[np.ndarray, np.ndarray]], found: int, length: int) -> np.ndarray:
    """IoU `(true, found, T)`."""
    ious = [both / np.maximum(1, either) for both, either in overlaps]
    return np.array(ious).reshape(len(overlaps), found, length)


def _present(objects: Sequence[SoundingObject], length: int) -> np.ndarray:
    """Whether each object is there in each frame, bool `(N, T)`."""
    return np.array([one.masks.any((1, 2)) for one in objects], dtype=bool).reshape(len(objects), length)


def _alignment(ious: np.ndarray, wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How well the objects of the truth and the predicted ones go together over the clip, `(true, found)`."""
    all_overlaps = ious.sum(axis=0, keepdims=True) + ious.sum(axis=1, keepdims=True) - ious
    shares = np.divide(ious, all_overlaps, out=np.zeros_like(ious), where=all_overlaps > EPSILON).sum(axis=2)
    return shares / np.maximum(EPSILON, wanted.sum(1)[:, None] + found.sum(1)[None] - shares)
