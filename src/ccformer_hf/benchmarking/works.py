"""What is measured: the parts of a model, whole networks, and their training steps, as calls on random clips.

Letters in the shapes: B clips, T frames, S side of the pictures.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

from ..model.audio_classifier_ccformer import log_heard
from ..model.configuration_ccformer import CCFormerConfig
from ..model.layers_ccformer import time_embedding
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..training.recipe import read_recipe
from .measuring import Work

WHOLE, FLOOR, MASK2FORMER, REST = "whole model", "both backbones", "Mask2Former", "the rest"
VISUAL, AUDIO, EIM, PIXEL_DECODER, MTM = "visual backbone", "audio backbone", "EIM", "pixel decoder", "MTM"
PART_NAMES = (VISUAL, AUDIO, EIM, PIXEL_DECODER, MTM, REST)


@dataclass(frozen=True)
class Network:
    """Something that takes clips.

    Attributes:
        name: of it.
        run: takes pictures `(B, T, 3, S, S)` and log-mel `(B, T, 1, 96, 64)`.
        modules, counted: as of `Work`.
    """

    name: str
    run: Callable[[Tensor, Tensor], object]
    modules: Sequence[nn.Module] = ()
    counted: bool = True


@dataclass(frozen=True)
class Clips:
    """How many random clips of what size: `clips` of `frames` pictures, each `size` pixels square."""

    clips: int
    frames: int
    size: int

    def random(self, model: CCFormerForAudioVisualSegmentation) -> tuple[Tensor, Tensor]:
        """Pictures `(B, T, 3, S, S)` and log-mel `(B, T, 1, columns, bands)`, where the model is and of its dtype.

        One example of sound per frame, also for a model whose processor gives it several (`sound_shifts`).
        """
        place = {"device": model.device, "dtype": model.dtype}
        pixels = torch.randn(self.clips, self.frames, 3, self.size, self.size, **place)
        return pixels, torch.randn(self.clips, self.frames, 1, *model.config.audio_example, **place)


def random_model(backbone: str) -> CCFormerForAudioVisualSegmentation:
    """A model of random weights, which are as fast as trained ones, on the backbones of a recipe."""
    model = read_recipe(backbone).model
    config = CCFormerConfig(backbone_config=model["backbone_config"], audio_config=model.get("audio_config"))
    return CCFormerForAudioVisualSegmentation(config).eval()


def mask2former(model: CCFormerForAudioVisualSegmentation) -> Mask2FormerForUniversalSegmentation | None:
    """The Mask2Former of transformers on the same visual backbone, of random weights: it sees each frame by itself.

    All its own sizes are its defaults. None on a plain vision transformer, which has not the four maps that it takes.
    """
    if model.model.pyramid is not None:
        return None
    backbone, labels = deepcopy(model.config.backbone_config), model.config.num_labels - 1
    other = Mask2FormerForUniversalSegmentation(Mask2FormerConfig(backbone_config=backbone, num_labels=labels))
    return other.to(model.device, model.dtype).eval()


def visual_modules(model: CCFormerForAudioVisualSegmentation) -> list[nn.Module]:
    """The visual backbone, and the feature pyramid that a plain one has."""
    return [module for module in (model.model.backbone, model.model.pyramid) if module is not None]


def networks(
    model: CCFormerForAudioVisualSegmentation, other: Mask2FormerForUniversalSegmentation | None, compiled: bool
) -> list[Network]:
    """Both backbones alone, the whole model, Mask2Former; the first two also as `torch.compile` makes them."""
    inner = model.model
    backbones = (*visual_modules(model), inner.audio_backbone)

    def run_backbones(pixels: Tensor, log_mel: Tensor) -> object:
        return inner.backbone_features(pixels.flatten(0, 1)), inner.audio_backbone(log_mel.flatten(0, 1))

    found = [Network(FLOOR, run_backbones, backbones), Network(WHOLE, model, [model])]
    if other is not None:
        found.append(Network(MASK2FORMER, lambda pixels, _: other(pixels.flatten(0, 1)), [other]))
    if compiled:
        for name, run, modules in ((FLOOR, run_backbones, backbones), (WHOLE, model, [model])):
            fast = torch.compile(run, fullgraph=True, dynamic=False)
            found.append(Network(f"{name}, compiled", fast, modules, counted=False))
    return found


def network_works(
    found: Sequence[Network], model: CCFormerForAudioVisualSegmentation, sizes: Sequence[Clips]
) -> list[Work]:
    """Each network on clips of each size."""
    works = []
    for size in sizes:
        pixels, log_mel = size.random(model)
        for network in found:

            def call(network=network, pixels=pixels, log_mel=log_mel) -> object:
                return network.run(pixels, log_mel)

            works.append(
                Work(network.name, call, size.clips, size.frames, size.size, network.modules, network.counted)
            )
    return works


def part_works(model: CCFormerForAudioVisualSegmentation, size: Clips) -> list[Work]:
    """Each part alone, on inputs that were made by the parts before it."""
    pixels, log_mel = size.random(model)
    inner = model.model
    audible = torch.ones(size.clips, size.frames, dtype=torch.bool, device=model.device)
    maps = inner.encode_frames(pixels, None)
    audio, embedding = inner.encode_audio(log_mel, audible)
    heard = None if inner.audio_classifier is None else log_heard(inner.audio_classifier(embedding[:, :, 0]), audible)
    time_embed = time_embedding(audio)
    fused, fused_audio = inner.eim(maps, audio, time_embed, None) if inner.eim is not None else (maps, [])
    audio_tokens = torch.stack([audio, *fused_audio], dim=2)
    multi_scale_features, mask_features = inner.pixel_decoder(fused)
    calls = {
        VISUAL: (visual_modules(model), lambda: inner.backbone_features(pixels.flatten(0, 1))),
        AUDIO: ([inner.audio_backbone], lambda: inner.audio_backbone(log_mel.flatten(0, 1))),
        EIM: ([inner.eim], lambda: inner.eim(maps, audio, time_embed, None)),
        PIXEL_DECODER: ([inner.pixel_decoder], lambda: inner.pixel_decoder(fused)),
        MTM: (
            [inner.mtm],
            lambda: inner.mtm(multi_scale_features, mask_features, audio_tokens, time_embed, None, heard),
        ),
    }
    return [
        Work(name, call, size.clips, size.frames, size.size, modules)
        for name, (modules, call) in calls.items()
        if modules[0] is not None  # a model may have no EIM
    ]


def training_works(
    model: CCFormerForAudioVisualSegmentation,
    other: Mask2FormerForUniversalSegmentation | None,
    size: Clips,
    dtype: torch.dtype,
) -> list[Work]:
    """A training step without its optimizer, forward, losses and backward: of the backbones, the model, Mask2Former.

    The backbones have no losses of their own and take the sum of what they give. One object sounds in each frame.

    Args:
        model, other: in float32, in training mode; their gradients are gone after each step.
        dtype: of the computations (`torch.autocast`), as in training with mixed precision.
    """
    pixels, log_mel = size.random(model)
    labels = torch.zeros(size.clips, size.frames, size.size, size.size, dtype=torch.long, device=model.device)
    labels[:, :, size.size // 4 : size.size // 2, size.size // 4 : size.size // 2] = 1
    inner = model.model

    def backbones_loss() -> Tensor:
        maps = inner.backbone_features(pixels.flatten(0, 1))
        return sum(m.float().sum() for m in maps) + inner.audio_backbone(log_mel.flatten(0, 1)).float().sum()

    masks = list((labels.flatten(0, 1) == 1)[:, None].float())  # per frame (1, S, S)
    ids = [torch.zeros(1, dtype=torch.long, device=model.device) for _ in masks]  # Mask2Former has no background label

    def mask2former_loss() -> Tensor:
        return other(pixels.flatten(0, 1), mask_labels=masks, class_labels=ids).loss

    losses = {
        FLOOR: ([*visual_modules(model), inner.audio_backbone], backbones_loss),
        WHOLE: ([model], lambda: model(pixels, log_mel, labels=labels).loss),
    }
    if other is not None:
        losses[MASK2FORMER] = ([other], mask2former_loss)

    def step(modules: Sequence[nn.Module], loss: Callable[[], Tensor]) -> None:
        with torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
            value = loss()
        value.backward()
        for module in modules:
            module.zero_grad(set_to_none=True)

    return [
        Work(name, lambda given=given: step(*given), size.clips, size.frames, size.size, given[0])
        for name, given in losses.items()
    ]
