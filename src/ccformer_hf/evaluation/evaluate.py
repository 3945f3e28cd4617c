"""Scores a model on AVSBench or a folder of clips, in one process or several, with AVSBench-Robust's sounds.

Each process takes every n-th clip. What is kept are sums of whole numbers, so no score depends on the number of
processes.

Letters: `B` clips, `T` frames, `K` classes with background first, `S` side of the scored maps.
"""

import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from tqdm import tqdm

from ..data.avsbench import V2_FRAMES
from ..data.reading import IGNORE_LABEL
from ..data.sounding import NOT_TOLD, UNKNOWN
from ..metrics.binary import BinarySegmentation
from ..metrics.dataset_level import DatasetLevelSegmentation
from ..metrics.robust import FalsePositiveRate, ceiling, robust_scores
from ..metrics.semantic import SemanticSegmentation
from ..model.argument_names_ccformer import unknown_names
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation, CCFormerOutput
from ..model.processing_ccformer import AudioVisualProcessor
from .clips import Batch, ClipFeed, ClipTruth
from .robustness import SOUNDS

DEFAULT_SIZE = 224


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_avsbench` found; all scores in 0..1.

    Attributes:
        setting: `"s4"`, `"ms3"`, `"avss"` or `"folder"`.
        split: of the data set.
        clips: that were scored; those without any annotated frame are not.
        frames: that were scored, the annotated ones; padded ones (avss) not counted.
        scores: of the AVSBench protocol: `miou`, `f_score`; with several classes also `..._no_last_class` (the
            published "no background", which drops the last class by mistake), `..._no_background`, and `..._seen` over
            the classes seen.
        dataset_level: `miou` (J), `f_score` (F) and `j_and_f` of another protocol, see `DatasetLevelSegmentation`.
        classes: with several classes one entry each: `id`, `name`, `miou`, `f_score` (None: never seen).
        robust: AVSBench-Robust, as `ccformer_hf.metrics.robust` defines it; None where it was not asked for.
            `sounds`: per sound `miou`, `f_score`, `fpr`;
            `g_miou`, `g_f_score`, `g_fpr`, `negative_miou`, `negative_f_score`: the authors' figures;
            `ceiling`: `g_miou`, `g_f_score` of a perfect model;
            `seen`: with several classes the same over the `classes` (how many) that the label maps hold: `g_miou`,
            `g_f_score`, `ceiling`; None with one class;
            `off_screen_rules`: how many off-screen sounds were chosen by which rule of `choose_off_screen`;
            `classes_told_by`: how it is known what sounds in a clip, see `SoundingClasses.told_by`.
        per_clip: one entry per clip in the order of the data set: `number` in it, `id`, `frames`, its `audio`, `miou`,
            `f_score` (with several classes their mean over those seen in the clip), and under `sounds` the scores with
            `fpr` for every sound, where robustness was asked for.
        fingerprint: of ids, label maps, frames and sounds; the same in any order and form of storage.
        sounds: how many clips were heard as a `waveform`, as official `log_mel`, or have `none`.
        protocol: every rule that decides a score.
        device: it ran on.
        processes: that shared the clips.
        seconds: it took.
    """

    setting: str
    split: str
    clips: int
    frames: int
    scores: dict[str, float | None]
    dataset_level: dict[str, float | None]
    classes: list[dict[str, Any]]
    robust: dict[str, Any] | None
    per_clip: list[dict[str, Any]]
    fingerprint: str
    sounds: dict[str, int]
    protocol: dict[str, Any]
    device: str
    processes: int
    seconds: float


def process_device(device: str = "auto") -> str:
    """The device to load the model to: of several processes, each has a GPU of its own. Call it before all else.

    Args:
        device: `"auto"` (a GPU where there is one), `"cuda"`, or one by its name: `"cpu"`, `"cuda:1"`, `"mps"`.
    """
    if device == "cpu" or not torch.cuda.is_available():
        PartialState(cpu=True)  # otherwise processes on CPUs do not find each other
        return device
    own = str(PartialState().device)
    return own if device in ("auto", "cuda") else device


def evaluate_avsbench(
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    clips: Dataset,
    size: int = DEFAULT_SIZE,
    group_size: int = 1,
    batch_size: int = 1,
    workers: int = 2,
    robust: bool = False,
) -> Evaluation | None:
    """Scores a model on the annotated frames of a data set.

    One class beside background (s4, ms3): AVSBench's binary protocol; what the model's labels are called does not
    matter, a pixel sounds as far as it is not background. Several (avss): the semantic protocol; the model's labels
    are matched by name.

    Args:
        model: used where it is, on CPU or GPU; it is set to `eval()`.
        processor: of that model.
        clips: one split as `load_avsbench` loads it.
        size: side of the square at which predictions (bilinear, of probabilities) and label maps (nearest) are
            compared.
        group_size: see `BinarySegmentation`; 1 where there are several classes.
        batch_size: clips the model sees at a time.
        workers: processes that read clips ahead, for each process; 0: read in between.
        robust: score under AVSBench-Robust's negative sounds too; takes four times as long.

    Returns:
        The scores; None in all but the main one of several processes (`accelerate launch`, `torchrun`).

    Raises:
        ValueError: for a model whose labels do not fit, groups where there are several classes, clips without an
            annotated frame, or a clip that cannot be used.
        OSError: for a clip that cannot be read.
    """
    state = PartialState(cpu=model.device.type == "cpu")
    start = time.perf_counter()
    model.eval()
    feed = ClipFeed(clips, size, robust)
    rules = _Rules.of(model, processor, feed, size, group_size)
    if robust and feed.classes_told_by == UNKNOWN and state.is_main_process:
        warnings.warn(f"off-screen sound is that of any other clip, also of the same class: {NOT_TOLD}", stacklevel=2)
    tallies = {sound: _Tally(rules) for sound in feed.sounds}
    # What a perfect model scores, with sound and without: the ceiling of G.
    perfect = {masks: _Tally(rules) for masks in ("truth", "empty")} if robust else {}
    rows: list[dict[str, Any]] = []
    digest = 0  # a sum, so that neither order nor number of processes matters
    share, counted = even_share(len(feed), state.process_index, state.num_processes)
    with tqdm(total=counted, desc="evaluating", unit="clip", disable=not state.is_main_process) as bar:
        for batch in feed.batches(processor, share, batch_size, workers):
            new = batch.clips[: counted - len(rows)]  # without those that another process counts
            scores: list[dict[str, Any]] = [{} for _ in new]
            for sound in feed.sounds:
                predictions = predict(model, processor, batch, sound, size)
                # The predictions come first: the model runs when the first one is asked for, also where none counts.
                for probabilities, clip, clip_scores in zip(predictions, new, scores, strict=False):
                    clip_scores[sound] = tallies[sound].add(probabilities, clip)
            for clip, clip_scores in zip(new, scores, strict=True):
                for masks, tally in perfect.items():
                    tally.add_perfect(clip, masks == "empty")
                rows.append(feed.describe(clip) | _clip_row(clip_scores))
                digest += clip.digest
            bar.update(len(new))

    # Sums of whole numbers from every process: adding them up gives what one process alone would have.
    gathered = gather_object([(tallies | perfect, rows, digest)])
    if not state.is_main_process:
        return None
    for other, _, _ in gathered[1:]:
        for name, tally in (tallies | perfect).items():
            tally.merge(other[name])
    rows = sorted((row for _, some, _ in gathered for row in some), key=lambda row: row["number"])
    digest = sum(some for _, _, some in gathered)
    original = tallies["original"]
    scores, classes = original.compute()
    level = original.dataset_level.compute()
    return Evaluation(
        setting=feed.setting,
        split=str(clips.split),
        clips=len(rows),
        frames=sum(row["frames"] for row in rows),
        scores=scores,
        dataset_level={name: level[name] for name in ("miou", "f_score", "j_and_f")},
        classes=classes,
        robust=_robust(tallies, perfect, feed, rows) if robust else None,
        per_clip=rows,
        fingerprint=f"{digest % 2**64:016x}",
        sounds=dict(Counter(row["audio"] for row in rows)),
        protocol=rules.protocol(),
        device=_device_name(model.device),
        processes=state.num_processes,
        seconds=time.perf_counter() - start,
    )


def even_share(clips: int, process: int, processes: int) -> tuple[list[int], int]:
    """The clips of one of several processes, and how many of them count.

    Each gets the same number, as a model that is sharded over the processes (FSDP) needs all of them at every step:
    where the clips do not come out even, the last one of a share is one that another process counts.
    """
    counted = range(process, clips, processes)
    steps = -(-clips // processes)
    return [place % clips for place in range(process, steps * processes, processes)], len(counted)


@torch.inference_mode()
def predict(
    model: CCFormerForAudioVisualSegmentation, processor: AudioVisualProcessor, batch: Batch, sound: str, size: int
) -> Iterator[torch.Tensor]:
    """Probabilities `(T, K, S, S)` in the annotated frames of each clip of a batch under one of its sounds."""
    inputs = batch.inputs | batch.audio[sound]
    logits = model(**{name: tensor.to(model.device) for name, tensor in inputs.items()}).logits  # (B, T, K, h, w)
    for i, clip in enumerate(batch.clips):
        # Clip by clip: 71 probabilities a pixel take 140 MB for ten frames.
        annotated = CCFormerOutput(logits=logits[i, : clip.length][torch.from_numpy(clip.annotated)][None])
        yield processor.post_process_scores(annotated, [(size, size)])[0]


@dataclass(frozen=True)
class _Rules:
    """Everything that decides a score; `label_ids`: the data set's id of each label of the model, None for binary."""

    setting: str
    names: tuple[str, ...]
    label_ids: np.ndarray | None
    ignore_label: int | None
    size: int
    group_size: int
    alignment: str
    silence_threshold: float
    sound_shifts: tuple[float, ...]

    @classmethod
    def of(
        cls,
        model: CCFormerForAudioVisualSegmentation,
        processor: AudioVisualProcessor,
        feed: ClipFeed,
        size: int,
        group_size: int,
    ) -> "_Rules":
        binary = len(feed.names) == 2
        if not binary and group_size != 1:
            raise ValueError(
                f"group_size is {group_size}, but {feed.setting} has several classes, whose F knows no groups; leave "
                "it at 1"
            )
        ids = None if binary else match_labels(model.config.id2label, feed.names, feed.setting)
        extractor = processor.feature_extractor
        return cls(
            setting=feed.setting,
            names=feed.names,
            label_ids=ids,
            ignore_label=feed.ignore_label,
            size=size,
            group_size=group_size,
            alignment=extractor.alignment,
            silence_threshold=extractor.silence_threshold,
            sound_shifts=tuple(extractor.sound_shifts),
        )

    @property
    def binary(self) -> bool:
        return self.label_ids is None

    @property
    def padded_to(self) -> int:
        """Frames that shorter clips are filled up to with background, predicted and true."""
        return V2_FRAMES if self.setting == "avss" else 0

    def metric(self) -> BinarySegmentation | SemanticSegmentation:
        if self.binary:
            return BinarySegmentation(group_size=self.group_size)
        return SemanticSegmentation(len(self.names), ignore_label=self.ignore_label)

    def dataset_level(self) -> DatasetLevelSegmentation:
        return DatasetLevelSegmentation(len(self.names), ignore_label=self.ignore_label)

    def protocol(self) -> dict[str, Any]:
        return {
            "metric": "avs_binary" if self.binary else "avs_semantic",
            "options": self.metric().options,
            "dataset_level_options": self.dataset_level().options,
            "size": self.size,
            "scores": "1 - P(background), foreground where > 0.5" if self.binary else "argmax of the probabilities",
            "resize": "probabilities bilinear, label maps nearest",
            "scored_frames": "annotated",
            "padded_to_frames": self.padded_to or None,
            "alignment": self.alignment,
            "silence_threshold": self.silence_threshold,
            "sound_shifts": list(self.sound_shifts),
        }


def match_labels(id2label: dict[int, str], names: Sequence[str], setting: str) -> np.ndarray:
    """The data set's id of each of the model's labels, `(K,)`, by name; the model's first label is its background.

    Raises:
        ValueError: where a label is not a class of the data set.
    """
    labels = [id2label[number] for number in range(1, len(id2label))]
    unknown = [label for label in labels if label not in names]
    if unknown:
        raise ValueError(
            f"the model's label {unknown_names(unknown[:1], names)} (one of {len(unknown)} such) is not a class of "
            f"{setting}; expected {', '.join(names[1:4])}, ...: give the labels these names in id2label of the "
            "model's config.json, or choose s4 or ms3, where names do not matter"
        )
    return np.array([0, *(names.index(label) for label in labels)], dtype=np.uint8)


class _Tally:
    """What the clips add up to under one sound."""

    def __init__(self, rules: _Rules):
        self.rules = rules
        self.metric = rules.metric()
        self.dataset_level = rules.dataset_level()
        self.marked = FalsePositiveRate()

    def add(self, probabilities: torch.Tensor, clip: ClipTruth) -> dict[str, float | None]:
        """Adds a clip, and gives its own `miou`, `f_score` and `fpr`."""
        foreground = (1 - probabilities[:, 0]).clamp(0, 1).cpu().numpy()  # (T, S, S), of any class
        predicted = (foreground > 0.5) if self.rules.binary else class_maps(probabilities, self.rules.label_ids)
        alone = self._alone(foreground, predicted, clip)
        self.merge(alone)
        scores = alone.metric.compute()
        if not self.rules.binary:
            scores = {name: _mean_of_seen(scores[f"{name}_per_class"]) for name in ("miou", "f_score")}
        return {"miou": scores["miou"], "f_score": scores["f_score"], "fpr": alone.marked.compute()["fpr"]}

    def add_perfect(self, clip: ClipTruth, empty: bool) -> None:
        """Adds a clip as a perfect model predicts it: its label maps, or, where it is to mark nothing, empty ones."""
        predicted = np.where(empty | (clip.labels == IGNORE_LABEL), 0, clip.labels).astype(np.uint8)
        self.merge(self._alone((predicted > 0).astype(np.float32), predicted, clip))

    def _alone(self, foreground: np.ndarray, predicted: np.ndarray, clip: ClipTruth) -> "_Tally":
        """One clip: probability of foreground float32 `(T, S, S)`, and the ids predicted `(T, S, S)`."""
        alone = _Tally(self.rules)
        alone.marked.add(foreground)
        alone.dataset_level.add(predicted, clip.labels)
        if self.rules.binary:
            alone.metric.add(foreground, clip.labels, clip=clip.place)
        else:
            # The model never sees a padded frame: it is background by definition.
            padding = [(0, max(0, self.rules.padded_to - clip.length)), (0, 0), (0, 0)]
            real = np.ones(len(clip.labels), dtype=bool)
            alone.metric.add(np.pad(predicted, padding), np.pad(clip.labels, padding), np.pad(real, padding[0]))
        return alone

    def merge(self, other: "_Tally") -> None:
        self.metric.merge(other.metric)
        self.dataset_level.merge(other.dataset_level)
        self.marked.merge(other.marked)

    def compute(self) -> tuple[dict[str, float | None], list[dict[str, Any]]]:
        """The scores, and those of each class."""
        found = self.metric.compute()
        scores = {"miou": found["miou"], "f_score": found["f_score"]}
        if self.rules.binary:
            return scores, []
        # The published "no background" drops the last class instead; both are reported, each under its own name.
        corrected = SemanticSegmentation(**self.metric.options | {"no_background_drops": "background"})
        corrected.add_state(self.metric.state())
        per_class = {name: found[f"{name}_per_class"] for name in scores}
        for name in tuple(scores):
            scores[f"{name}_no_last_class"] = found[f"{name}_no_background"]
            scores[f"{name}_no_background"] = corrected.compute()[f"{name}_no_background"]
            scores[f"{name}_seen"] = _mean_of_seen(per_class[name])
        classes = [
            {"id": number, "name": name, "miou": per_class["miou"][number], "f_score": per_class["f_score"][number]}
            for number, name in enumerate(self.rules.names)
        ]
        return scores, classes


def class_maps(probabilities: torch.Tensor, label_ids: np.ndarray | None) -> np.ndarray:
    """Probabilities `(T, K, S, S)` -> uint8 `(T, S, S)` ids of the data set; 0 or 1 where `label_ids` is None."""
    if label_ids is None:
        return (1 - probabilities[:, 0] > 0.5).cpu().numpy().astype(np.uint8)
    return label_ids[probabilities.argmax(1).cpu().numpy()]


def _mean_of_seen(values: list[float | None]) -> float | None:
    seen = [value for value in values if value is not None]
    return sum(seen) / len(seen) if seen else None


def _clip_row(scores: dict[str, dict[str, float | None]]) -> dict[str, Any]:
    """Scores per sound -> the part of a clip's row that tells them."""
    own = {"miou": scores["original"]["miou"], "f_score": scores["original"]["f_score"]}
    return own | ({"sounds": scores} if len(scores) > 1 else {})


def _robust(
    tallies: dict[str, _Tally], perfect: dict[str, _Tally], feed: ClipFeed, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    rules = Counter(feed.off_screen[row["number"]].rule for row in rows)
    seen = None
    if not perfect["truth"].rules.binary:
        # Of the label maps against themselves, a class that they do not hold has no score.
        of_truth = perfect["truth"].metric.compute()["miou_per_class"]
        classes = [number for number, score in enumerate(of_truth) if score is not None]
        found = _global(tallies, perfect, classes)
        seen = {"classes": len(classes)} | {name: found[name] for name in ("g_miou", "g_f_score", "ceiling")}
    return {
        "sounds": {sound: _scores(tally) for sound, tally in tallies.items()},
        **_global(tallies, perfect),
        "seen": seen,
        "off_screen_rules": dict(rules),
        "classes_told_by": feed.classes_told_by,
    }


def _global(
    tallies: dict[str, _Tally], perfect: dict[str, _Tally], classes: list[int] | None = None
) -> dict[str, Any]:
    """AVSBench-Robust's figures and their ceiling, over all classes as AVSBench's protocol has it, or over these."""
    sounds = {sound: _scores(tally, classes) for sound, tally in tallies.items()}
    ideal = {masks: _scores(tally, classes) for masks, tally in perfect.items()}
    negatives = {sound: sounds[sound] for sound in SOUNDS[1:]}
    return robust_scores(sounds["original"], negatives) | {"ceiling": ceiling(ideal["truth"], ideal["empty"])}


def _scores(tally: _Tally, classes: list[int] | None = None) -> dict[str, float]:
    found = tally.metric.compute()
    if classes is not None:
        found = {
            score: float(np.mean([found[f"{score}_per_class"][number] for number in classes]))
            for score in ("miou", "f_score")
        }
    return {"miou": found["miou"], "f_score": found["f_score"], "fpr": tally.marked.compute()["fpr"]}


def _device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
