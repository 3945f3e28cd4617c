"""The model that training starts with: new, partly from published weights, or a whole one with other labels."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import ASTFeatureExtractor, ClapAudioConfig, ClapFeatureExtractor, PreTrainedConfig
from transformers.models.auto import CONFIG_MAPPING

from ..inference.loading import load
from ..model.argument_names_ccformer import unknown_names
from ..model.configuration_ccformer import AUDIO_CONFIGS, CLAP_COLUMNS, CCFormerConfig, CCFormerMobileNetConfig
from ..model.feature_extraction_ccformer import (
    CCFormerFeatureExtractor,
    encoder_extractor_of,
    encoder_settings,
    spectrogram_shape,
)
from ..model.image_processing_ccformer import CCFormerImageProcessor
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from .pretrained_weights import (
    differences,
    load_audio_encoder,
    load_pretrained_weights,
    read_json,
    read_tensors,
)
from .recipe import Recipe

# EfficientAT takes (x + 4.5) / 5 of a log-mel, AST's extractor (x - mean) / (2 * std).
MOBILENET_LEVELS = {"mean": -4.5, "std": 2.5}
LABEL_LAYERS = ("model.mtm.head.label.", "model.audio_classifier.4.")  # all that know the labels


def initial_model(
    recipe: Recipe, class_names: Sequence[str]
) -> tuple[CCFormerForAudioVisualSegmentation, AudioVisualProcessor]:
    """The model and the processor that a recipe describes, with the labels of the data. Set the seed before.

    Raises:
        OSError: for weights that are not there.
        ValueError: for weights that do not fit, the text names the first that does not; for a `model` that cannot be.
    """
    labels = dict(enumerate(class_names))
    if recipe.start_from:
        model, before = _with_labels(recipe.start_from, labels)
        mean, std = before.image_processor.image_mean, before.image_processor.image_std
        encoder_extractor, shifts = before.feature_extractor.encoder_extractor, before.feature_extractor.sound_shifts
    else:
        mean, std, shifts = recipe.image_mean, recipe.image_std, recipe.sound_shifts
        model = CCFormerForAudioVisualSegmentation(_config(recipe.model, labels))
        if recipe.backbone_weights:
            load_backbone_weights(model, recipe.backbone_weights)
        if recipe.audio_weights:
            load_audio_weights(model, recipe.audio_weights)
        encoder_extractor = None
        if model.config.audio_config is not None:
            encoder_extractor = audio_front_end(model.config, recipe.audio_weights)
    size = {"height": recipe.size, "width": recipe.size}
    images = CCFormerImageProcessor(size=size, image_mean=list(mean), image_std=list(std))
    sounds = CCFormerFeatureExtractor(
        alignment=recipe.alignment, encoder_extractor=encoder_extractor, sound_shifts=shifts
    )
    return model, AudioVisualProcessor(images, sounds)


def load_backbone_weights(model: CCFormerForAudioVisualSegmentation, weights: str | os.PathLike) -> None:
    """Loads ImageNet weights into the visual backbone.

    From a Hub id, a folder or a file, of transformers, timm, torchvision (ResNet) or the authors of PVT-v2.

    Raises:
        OSError: where there are no such weights.
        ValueError: for weights of another backbone; the text lists what is missing, left over or of another shape.
    """
    load_pretrained_weights(model.model.backbone, weights)


def load_audio_weights(model: CCFormerForAudioVisualSegmentation, path: str | os.PathLike) -> None:
    """Loads weights of VGGish, such as the public `vggish-10086976.pth`, into the audio backbone, key for key; for
    another audio encoder its own weights, see `load_audio_encoder`.

    Raises:
        OSError: where there is no such file.
        ValueError: for a file of other weights.
    """
    if model.config.audio_config is not None:
        load_audio_encoder(model.model.audio_backbone.encoder, path)
        return
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: there is no such file; audio_weights expects one such as the public vggish-10086976.pth; a Hub "
            "id or folder of another audio encoder goes with an audio_config under model"
        )
    expected = "expected vggish-10086976.pth, at the default widths of CCFormerConfig, or a VGGish of the recipe's"
    try:
        weights = read_tensors(Path(path))
    except ValueError as error:
        raise ValueError(f"{error}; {expected}") from None
    backbone = model.model.audio_backbone
    given, known = ({name: tensor.shape for name, tensor in of.items()} for of in (weights, backbone.state_dict()))
    wrong = differences(given, known)
    if wrong:
        raise ValueError(f"{path}: does not fit the audio backbone: {wrong}; {expected}")
    backbone.load_state_dict(weights)


def audio_front_end(
    config: CCFormerConfig, weights: str | os.PathLike | None
) -> ASTFeatureExtractor | ClapFeatureExtractor:
    """The feature extractor of a model's audio encoder: as the one beside its weights, where there is one, but of the
    columns and bands that the model takes.

    Raises:
        OSError: where there are no such weights.
        ValueError: for one that cannot be, or that makes another size.
    """
    columns, bands = config.audio_example
    published = {} if weights is None else read_json(weights, "preprocessor_config.json")
    if config.audio_config.model_type != ClapAudioConfig.model_type:
        kind, sizes = ASTFeatureExtractor, {"max_length": columns, "num_mel_bins": bands}
        if config.audio_config.model_type == CCFormerMobileNetConfig.model_type:
            published = MOBILENET_LEVELS | published
    else:
        sizes = {"max_length_s": columns // CLAP_COLUMNS, "feature_size": bands}
        kind = ClapFeatureExtractor
        published = {"truncation": "rand_trunc"} | published  # the front end of a CLAP that is not fused
    known = encoder_settings(kind)
    settings = {name: value for name, value in published.items() if name in known} | sizes
    extractor = encoder_extractor_of({"feature_extractor_type": kind.__name__, **settings})
    if spectrogram_shape(extractor) != config.audio_example:
        raise ValueError(
            f"{weights}: its preprocessor_config.json makes sounds of {spectrogram_shape(extractor)} columns and "
            f"bands, the model takes {config.audio_example}; expected 100 columns a second, as published"
        )
    return extractor


def _config(values: dict[str, Any], labels: dict[int, str]) -> CCFormerConfig:
    """The configuration of a recipe; transformers itself takes names that nobody knows for attributes."""
    common = {entry.name for entry in fields(PreTrainedConfig)}
    _refuse_unknown("model", values, {entry.name for entry in fields(CCFormerConfig)} - common)
    for name in ("backbone_config", "audio_config"):
        backbone = values.get(name)
        of = backbone.get("model_type") if isinstance(backbone, dict) else None
        if of in AUDIO_CONFIGS or of in CONFIG_MAPPING:
            kind = AUDIO_CONFIGS[of] if of in AUDIO_CONFIGS else CONFIG_MAPPING[of]
            known = {entry.name for entry in fields(kind)} | set(kind.attribute_map)
            known = known - common | {"model_type", "out_features", "out_indices"}
            _refuse_unknown(f"model.{name}", backbone, known)
    try:
        return CCFormerConfig(**values, id2label=labels)
    except StrictDataclassError as error:
        raise ValueError(f"model of the recipe: {' '.join(str(error).split())}") from None


def _refuse_unknown(where: str, names: Iterable[str], known: set[str]) -> None:
    unknown = unknown_names(names, known)
    if unknown:
        raise ValueError(f"{where} of the recipe has no field {unknown}; expected one of {', '.join(sorted(known))}")


def _with_labels(name: str, labels: dict[int, str]) -> tuple[CCFormerForAudioVisualSegmentation, AudioVisualProcessor]:
    """The model `name` with other labels: what depends on their number is made anew, all else is kept. And its own
    processor."""
    old, processor = load(name, "cpu")
    if old.config.id2label == labels:
        return old, processor
    config = type(old.config).from_dict(old.config.to_dict() | {"id2label": labels, "label2id": None})
    model = CCFormerForAudioVisualSegmentation(config)
    kept = {key: value for key, value in old.state_dict().items() if not key.startswith(LABEL_LAYERS)}
    fresh = {key: value for key, value in model.state_dict().items() if key.startswith(LABEL_LAYERS)}
    model.load_state_dict(kept | fresh)
    return model, processor
