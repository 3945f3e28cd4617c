"""How well a model does on clips composed of pictures and sounds it was not trained on, and whether it is the sound
that decides."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ..data.composing.composed import ComposedClip, compose_clip
from ..data.composing.material import Material, read_material
from ..data.composing.pairing import draw_sound, may_be_off_screen
from ..data.composing.sources import OTHER
from ..data.noises import at_some_loudness
from ..data.reading import IGNORE_LABEL
from ..metrics.binary import binary_iou
from ..metrics.semantic import SemanticSegmentation
from ..model.argument_names_ccformer import unknown_names
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.timing_ccformer import SAMPLING_RATE
from .synthetic import predict_maps, silence_and_noises

LARGE_ENOUGH = 0.01  # share of the picture, in every frame, of an object that takes part in a swap


@dataclass
class ComposedScores:
    """Scores on composed clips, each a share in 0..1; None where no clip allowed to measure it.

    Attributes:
        binary_miou: sounding or not, mean over frames (AVSBench's M_J); pixels that nobody can tell are left out.
        class_miou: mean over background and all classes (AVSBench's AVSS protocol).
        class_miou_seen: mean over background and the classes that the clips hold.
        silence_marked: share of pixels marked in the same pictures without any sound track.
        marked_zeros, marked_white_noise, marked_pink_noise, marked_hum: the same under digital zeros and noises of
            `ccformer_hf.data.noises`.
        marked_unknown_sounds: under sounds of no class.
        marked_off_screen: under a sound of a class that is not in view.
        swap_iou_new: IoU with the visible object whose sound was put under the pictures.
        swap_iou_old: IoU with another visible object.
    """

    binary_miou: float | None
    class_miou: float | None
    class_miou_seen: float | None
    silence_marked: float | None
    marked_zeros: float | None
    marked_white_noise: float | None
    marked_pink_noise: float | None
    marked_hum: float | None
    marked_unknown_sounds: float | None
    marked_off_screen: float | None
    swap_iou_new: float | None
    swap_iou_old: float | None


def evaluate_composed(
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    sources: str | os.PathLike,
    clips: int = 200,
    seed: int = 1_000_000,
    split: str = "test",
    off_screen: Sequence[str] = (),
) -> ComposedScores:
    """Scores `model` on clips of a split.

    Args:
        sources: a sources file, see `ccformer data compose --help`.
        clips: how many.
        seed: of the clips.
        off_screen: classes of which `marked_off_screen` is to tell; none: of all alike.

    Raises:
        OSError: where files of the sources are not there.
        ValueError: for sources that cannot be used, a split without material, a model with other classes, or a class
            in `off_screen` that it has not.
    """
    found = read_material(sources)
    if split not in found:
        raise ValueError(f"{sources}: has no material for {split}; expected one of {', '.join(found)}")
    material = found[split]
    labels = tuple(model.config.id2label[i] for i in range(model.config.num_labels))
    if labels != tuple(material.sources.class_names):
        raise ValueError(
            f"the model's labels are {labels}; expected those of {sources}: {material.sources.class_names}"
        )
    unknown = unknown_names(off_screen, material.sources.classes)
    if unknown:
        raise ValueError(f"off_screen has {unknown}; expected some of {', '.join(material.sources.classes)}")
    model.eval()
    figures: dict[str, list[float]] = defaultdict(list)
    semantic = SemanticSegmentation(len(labels), IGNORE_LABEL, absent_classes="zero")
    seen = SemanticSegmentation(len(labels), IGNORE_LABEL, absent_classes="skip")
    for index in tqdm(range(clips), desc="evaluating", unit="clip"):
        clip, rng = compose_clip(material, seed, index), np.random.default_rng([seed, index])
        found_map = predict_maps(model, processor, clip, clip.waveform)
        known = clip.labels != IGNORE_LABEL
        figures["binary_miou"] += list(binary_iou((found_map > 0) & known, (clip.labels > 0) & known))
        for scores in (semantic, seen):
            scores.add(found_map, clip.labels)
        for figure, sound in _sounds_of_nothing_visible(material, clip, off_screen, rng).items():
            figures[figure].append(float((predict_maps(model, processor, clip, sound) > 0).mean()))
        pair = _pair(material, clip, rng)
        if pair is not None:
            new, old = pair
            sound = _played(material, clip.class_ids[new], len(clip.frames), rng)
            swapped = predict_maps(model, processor, clip, sound) > 0
            figures["swap_iou_new"] += list(binary_iou(swapped, clip.masks[new]))
            figures["swap_iou_old"] += list(binary_iou(swapped, clip.masks[old]))
    means = {figure: float(np.mean(values)) for figure, values in figures.items()}
    means |= {"class_miou": semantic.compute()["miou"], "class_miou_seen": seen.compute()["miou"]}
    return ComposedScores(**{figure: means.get(figure) for figure in ComposedScores.__dataclass_fields__})


def _sounds_of_nothing_visible(
    material: Material, clip: ComposedClip, off_screen: Sequence[str], rng: np.random.Generator
) -> dict[str, np.ndarray | None]:
    """Sounds under which nothing is to be marked, by the figure they belong to; None for no sound track."""
    seconds = len(clip.frames)
    sounds = silence_and_noises(rng, seconds)
    if material.sounds[OTHER]:
        sounds["marked_unknown_sounds"] = _played(material, OTHER, seconds, rng)
    away = may_be_off_screen(material, clip.view)
    if off_screen:
        away = [number for number in away if material.sources.class_names[number] in off_screen]
    if away:
        sounds["marked_off_screen"] = _played(material, int(rng.choice(away)), seconds, rng)
    return sounds


def _pair(material: Material, clip: ComposedClip, rng: np.random.Generator) -> tuple[int, int] | None:
    """Two objects with sounds of their own that are large enough in every frame, in any order; None where there are
    fewer."""
    able = [
        number
        for number, class_id in enumerate(clip.class_ids)
        if material.sounds[class_id] and clip.masks[number].mean(axis=(1, 2)).min() >= LARGE_ENOUGH
    ]
    return tuple(rng.permutation(able)[:2].tolist()) if len(able) >= 2 else None


def _played(material: Material, of: int | str, seconds: int, rng: np.random.Generator) -> np.ndarray:
    """A sound again and again, float32 `(16000 * seconds,)`."""
    samples = material.recording(draw_sound(material, of, rng)).samples.astype(np.float32) / 32768
    return at_some_loudness(np.resize(samples, seconds * SAMPLING_RATE), rng)
