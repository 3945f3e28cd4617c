"""AVSBench's scores as `compute_metrics` of the `Trainer` of transformers.

Letters: `N` clips, `T` frames, `K` classes with background first, `S` side of the label maps, `h w` the model's map.
"""

import numpy as np
import torch
from transformers import EvalPrediction

from ..metrics.binary import BinarySegmentation
from ..metrics.semantic import SemanticSegmentation
from ..model.pictures_ccformer import IGNORE_LABEL


def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """AVSBench's scores of an evaluation by the `Trainer`: `Trainer(..., compute_metrics=compute_metrics)`.

    One class beside background: the binary protocol; several: the semantic one, in the ids of the model. The figures
    are those of `ccformer evaluate --size S`, S the size of the processor, but for avss, whose shorter clips that
    fills up to ten frames. In memory are the logits of all clips, 2 MB each for ten frames of 224 x 224 and 15
    classes: `TrainingArguments(eval_accumulation_steps=...)` moves them off the GPU.

    Args:
        prediction: logits `(N, T, K, h, w)` and labels `(N, T, S, S)`; frames whose labels are all 255 or padding do
            not count.

    Returns:
        `miou` and `f_score`, 0..1; with several classes also `miou_seen` and `f_score_seen`, over the classes that
        are predicted or present.

    Raises:
        ValueError: where no frame is annotated, or label maps hold pixels to ignore in the binary protocol.
    """
    logits = _first(prediction.predictions)  # (N, T, K, h, w)
    labels = _first(prediction.label_ids)  # (N, T, S, S); the Trainer fills shorter clips up with -100
    counted = ((labels >= 0) & (labels != IGNORE_LABEL)).any(axis=(2, 3))  # (N, T)
    if not counted.any():
        raise ValueError("no frame of the evaluation is annotated; give it clips with labels")
    num_labels = logits.shape[2]
    metric = BinarySegmentation() if num_labels == 2 else SemanticSegmentation(num_labels, ignore_label=IGNORE_LABEL)
    for clip_logits, clip_labels, real in zip(logits, labels, counted, strict=True):
        if not real.any():
            continue
        probabilities = torch.from_numpy(clip_logits[real]).float().softmax(dim=1)  # (T, K, h, w)
        probabilities = torch.nn.functional.interpolate(probabilities, size=labels.shape[-2:], mode="bilinear")
        if num_labels == 2:
            metric.add((1 - probabilities[:, 0]).clamp(0, 1).numpy(), clip_labels[real])
        else:
            metric.add(probabilities.argmax(dim=1).numpy(), clip_labels[real])
    scores = metric.compute()
    found = {name: scores[name] for name in ("miou", "f_score")}
    if num_labels > 2:
        for name in tuple(found):
            found[f"{name}_seen"] = float(np.mean([v for v in scores[f"{name}_per_class"] if v is not None]))
    return found


def _first(arrays: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
    """Of several outputs or labels that the Trainer has gathered, the logits or the label maps."""
    return arrays[0] if isinstance(arrays, tuple) else arrays
