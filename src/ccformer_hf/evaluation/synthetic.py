"""How well a model does on synthetic clips it never saw, and whether it is the sound that decides."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from ..data.noises import at_some_loudness, make_noise
from ..data.synthetic.clips import CLASS_NAMES, SyntheticClip, make_clip
from ..data.synthetic.sounds import TIMBRES, make_room, make_stem
from ..metrics.binary import binary_iou
from ..metrics.semantic import SemanticSegmentation
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.timing_ccformer import SAMPLING_RATE

UNKNOWN_CLASSES = tuple(name for name in TIMBRES if name not in CLASS_NAMES)


@dataclass
class SyntheticScores:
    """Scores on synthetic clips, each a share in 0..1.

    Attributes:
        binary_miou: AVSBench's M_J on ms3 clips: sounding or not, mean over frames.
        class_miou: mean over background and classes on avss clips, AVSBench's AVSS protocol.
        silence_marked: share of pixels marked in the same ms3 pictures without any sound track.
        marked_zeros, marked_white_noise, marked_pink_noise, marked_hum, marked_unknown_sounds: the same under digital
            zeros, under noises of `ccformer_hf.data.noises`, and under `UNKNOWN_CLASSES`, which are synthesised like
            the others.
        swap_iou_new: IoU with the visible object whose sound was put under the pictures.
        swap_iou_old: IoU with the object whose sound was replaced by it.
    """

    binary_miou: float
    class_miou: float
    silence_marked: float
    marked_zeros: float
    marked_white_noise: float
    marked_pink_noise: float
    marked_hum: float
    marked_unknown_sounds: float
    swap_iou_new: float
    swap_iou_old: float


def sounds_of_nothing_visible(seed: int, index: int, seconds: int) -> dict[str, np.ndarray | None]:
    """Sounds under which nothing is to be marked, by figure: waveforms at 16 kHz, None for no sound track.

    Args:
        seed, index: of the clip they are laid under; the same give the same sounds.
        seconds: length.
    """
    rng = np.random.default_rng([seed, index])
    unknown = make_stem(UNKNOWN_CLASSES[index % len(UNKNOWN_CLASSES)], rng, seconds, make_room(rng)).reshape(-1)
    return silence_and_noises(rng, seconds) | {"marked_unknown_sounds": at_some_loudness(unknown, rng)}


def silence_and_noises(rng: np.random.Generator, seconds: int) -> dict[str, np.ndarray | None]:
    """Those of `sounds_of_nothing_visible` that are the same for every kind of clips."""
    return {
        "silence_marked": None,
        "marked_zeros": np.zeros(seconds * SAMPLING_RATE, dtype=np.float32),
        "marked_white_noise": make_noise("white", rng, seconds),
        "marked_pink_noise": make_noise("pink", rng, seconds),
        "marked_hum": make_noise("hum", rng, seconds),
    }


@torch.inference_mode()
def predict_maps(
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    clip: SyntheticClip,
    sound: np.ndarray | None,
) -> np.ndarray:
    """Class maps `(T, H, W)` of a clip's pictures under the waveform `sound` (16 kHz), None for no sound."""
    inputs = processor(clip.frames, audio=sound, sampling_rate=None if sound is None else SAMPLING_RATE)
    outputs = model(**inputs.to(model.device))
    maps = processor.post_process_semantic_segmentation(outputs, target_sizes=[clip.frames.shape[1:3]])
    return np.asarray(maps[0].cpu())


def evaluate_synthetic(
    model: CCFormerForAudioVisualSegmentation, processor: AudioVisualProcessor, clips: int = 200, seed: int = 1_000_000
) -> SyntheticScores:
    """Scores `model` on `clips` synthetic clips of each kind.

    Args:
        clips: clips of the ms3 and of the avss setting, each.
        seed: of the clips; no seed that was trained on.

    Raises:
        ValueError: for a model whose labels are not those of the synthetic set.
    """
    labels = tuple(model.config.id2label[i] for i in range(model.config.num_labels))
    if labels != CLASS_NAMES:
        raise ValueError(f"the model's labels are {labels}, expected those of the synthetic set: {CLASS_NAMES}")
    model.eval()
    binary, new, old = [], [], []
    marked: dict[str, list[float]] = defaultdict(list)
    semantic = SemanticSegmentation(len(CLASS_NAMES), absent_classes="skip")
    for index in tqdm(range(clips), desc="evaluating", unit="clip"):
        clip = make_clip("ms3", seed, index)
        binary.append(binary_iou(predict_maps(model, processor, clip, clip.waveform) > 0, clip.labels > 0))
        for figure, sound in sounds_of_nothing_visible(seed, index, len(clip.frames)).items():
            marked[figure].append((predict_maps(model, processor, clip, sound) > 0).mean())
        first, second = clip.object_masks[0], clip.object_masks[1]
        swapped = predict_maps(model, processor, clip, clip.object_sounds[1]) > 0
        new.append(binary_iou(swapped, second))
        old.append(binary_iou(swapped, first))
        clip = make_clip("avss", seed, index)
        semantic.add(predict_maps(model, processor, clip, clip.waveform), clip.labels)
    return SyntheticScores(
        binary_miou=float(np.mean(np.concatenate(binary))),
        class_miou=semantic.compute()["miou"],
        **{figure: float(np.mean(shares)) for figure, shares in marked.items()},
        swap_iou_new=float(np.mean(np.concatenate(new))),
        swap_iou_old=float(np.mean(np.concatenate(old))),
    )
