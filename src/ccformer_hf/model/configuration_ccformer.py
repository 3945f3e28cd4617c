"""CCFormerConfig: what decides what a CCFormer computes travels in `config.json`, so no run flag can change it."""

import re
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import fields
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from packaging import version
from transformers import ASTConfig, AutoConfig, ClapAudioConfig, PreTrainedConfig, __version__
from transformers.backbone_utils import BackboneConfigMixin
from transformers.models.auto import CONFIG_MAPPING
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import logging

from .argument_names_ccformer import unknown_names
from .pictures_ccformer import IGNORE_LABEL

logger = logging.get_logger(__name__)

# What transformers, and scripts that train any model of it, set beside the attributes of `PreTrainedConfig`.
TRANSFORMERS_FIELDS = {
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "experts_implementation",
    "per_layer_config",
    "quantization_config",
    "tie_last_hidden_states",
    "tie_word_embeddings",
    "use_cache",
}
STAGES = ["stage1", "stage2", "stage3", "stage4"]
LAST_FOUR = [-4, -3, -2, -1]
PLAIN = (
    "dinov2",
    "dinov2_with_registers",
    "dinov3_vit",
)  # of one width and stride throughout: their last map is taken
VGGISH_EXAMPLE = (96, 64)  # columns of 10 ms, mel bands
CLAP_COLUMNS = 100  # a second
LARGEST_EXAMPLE = (4096, 256)  # columns, bands
TIMM = "timm_backbone"
TIMM_NAME = re.compile(r"[\w.-]+")  # others, such as "hf-hub:owner/name", are places that timm fetches settings from
TASK = "audio-visual-segmentation"

# The code that travels with the weights, as config.json names it to a process without this package.
AUTO_MAP = {
    "AutoConfig": "configuration_ccformer.CCFormerConfig",
    "AutoModel": "modeling_ccformer.CCFormerModel",
    "AutoModelForSemanticSegmentation": "modeling_ccformer.CCFormerForAudioVisualSegmentation",
}
CUSTOM_PIPELINES = {
    TASK: {
        "impl": "pipeline_ccformer.AudioVisualSegmentationPipeline",
        "pt": ["AutoModelForSemanticSegmentation"],
        "type": "multimodal",
    }
}


@strict
class CCFormerMobileNetConfig(PreTrainedConfig):
    """Configuration of `CCFormerMobileNet`, EfficientAT's MobileNetV3 for sound (*lineage*).

    Args:
        width_multiplier: what the channels of MobileNetV3-Large are multiplied by; EfficientAT has 0.1
            (`mn01_as`) to 4 (`mn40_as`).
        max_length: columns of 10 ms of a frame's sound.
        num_mel_bins: mel bands.
    """

    model_type = "ccformer_mobilenet"

    width_multiplier: float | int = 0.4
    max_length: int = 96
    num_mel_bins: int = 104

    def validate_architecture(self):
        """Raises ValueError for a width that cannot be."""
        if not 0.05 <= self.width_multiplier <= 4:
            raise ValueError(f"width_multiplier is {self.width_multiplier}, expected a number from 0.05 to 4")


AUDIO_CONFIGS = {kind.model_type: kind for kind in (ASTConfig, ClapAudioConfig, CCFormerMobileNetConfig)}


def unknown_audio_encoder(kind: object) -> str:
    """What is said of an audio encoder that is not offered."""
    return (
        f"audio_config has model_type {kind!r}, expected {' or '.join(map(repr, AUDIO_CONFIGS))}; without it, VGGish "
        "hears"
    )


@strict
class CCFormerConfig(PreTrainedConfig):
    """Configuration of a CCFormer model.

    The default is the ResNet-50 model for two labels (background, sounding). The classes come from `id2label`; id 0 is
    always the background. Sizes and weights below are *ours* (the paper's are unknown) unless said otherwise.

    Args:
        backbone_config: any `AutoBackbone` configuration (or its dict with `model_type`) with feature maps at strides
            4, 8, 16 and 32; `{"model_type": "timm_backbone", "backbone": NAME}` is that of timm's NAME and needs timm.
            Or a plain vision transformer, of whose last map a feature pyramid makes four: `dinov2`,
            `dinov2_with_registers`, `dinov3_vit`, or one of timm such as `vit_base_patch16_siglip_224`.
        audio_config: what hears, in place of VGGish (*ours*): an `ASTConfig` or `ClapAudioConfig` of transformers, or
            a `CCFormerMobileNetConfig`, or its dict with `model_type`. None: VGGish, of the three sizes that follow.
        audio_hidden_sizes: channels of the four convolution groups of the VGGish audio backbone (*lineage*: 64, 128,
            256, 512).
        audio_fc_size: width of VGGish's two hidden linear layers (*lineage*: 4096).
        audio_embed_size: width of VGGish's output (*lineage*: 128).
        hidden_size: width D of everything between the backbones and the heads.
        num_heads: attention heads, in all attentions.
        feed_forward_size: width of the hidden layer of all feed-forward networks.
        use_eim: whether sound and picture are fused early, at all four scales (*paper*: Early Integration Module).
        pixel_decoder_layers: self-attention layers over strides 16 and 32.
        decoder_layers: layers of the Multi-query Transformer Module; they read strides 32, 16, 8, 32, ... in turn.
        num_queries: frame queries Q, each may become one mask in a frame.
        use_video_queries: whether video queries exchange between the frames of a clip (*paper*: MTM).
        num_video_queries: video queries V.
        use_audio_classifier: whether the class probabilities of every query are weighted by how probable each class
            is from the frame's sound alone, as a small network on the audio backbone's embedding tells (*ours*);
            frames without sound are left as they are.
        dropout: dropout of attention outputs and feed-forward networks in the MTM.
        no_object_weight: weight of the "no object" class in the classification loss (*lineage*, Mask2Former).
        class_weight, mask_weight, dice_weight: weights of the matched losses and matching costs (*lineage*,
            Mask2Former).
        dense_weight: weight of the cross-entropy of the joined class map.
        heard_weight: weight of the audio classifier's cross-entropy (`heard_loss`); nothing else teaches it.
        contrastive_weight: weight of Bi-modal Contrastive Learning (*paper*); 0 switches it off.
        contrastive_size: width of the joint space of sound and picture.
        contrastive_temperature: temperature of the InfoNCE loss (*lineage*).
        num_loss_points: points per mask at which the mask losses are taken (*lineage*, PointRend).
        initializer_range: standard deviation of the initial linear weights.
    """

    model_type = "ccformer"
    # What the `Trainer` of transformers does not gather for `compute_metrics`: all but `logits`.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "loss_dict", "class_queries_logits", "masks_queries_logits", "hidden_states", "attentions", "frame_pairs",
    ]  # fmt: skip
    sub_configs = {"backbone_config": AutoConfig, "audio_config": AutoConfig}
    attribute_map = {"num_attention_heads": "num_heads", "num_hidden_layers": "decoder_layers"}

    backbone_config: dict | PreTrainedConfig | None = None
    audio_config: dict | PreTrainedConfig | None = None
    audio_hidden_sizes: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    audio_fc_size: int = 4096
    audio_embed_size: int = 128
    hidden_size: int = 256
    num_heads: int = 8
    feed_forward_size: int = 1024
    use_eim: bool = True
    pixel_decoder_layers: int = 2
    decoder_layers: int = 6
    num_queries: int = 32
    use_video_queries: bool = True
    num_video_queries: int = 8
    use_audio_classifier: bool = False
    dropout: float | int = 0.0
    no_object_weight: float | int = 0.1
    class_weight: float | int = 2.0
    mask_weight: float | int = 5.0
    dice_weight: float | int = 5.0
    dense_weight: float | int = 2.0
    heard_weight: float | int = 1.0
    contrastive_weight: float | int = 0.1
    contrastive_size: int = 128
    contrastive_temperature: float = 0.07
    num_loss_points: int = 1024
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        self.check_fields(kwargs)
        if TASK in PIPELINE_REGISTRY.supported_tasks:
            # The package is there and has registered its own: `pipeline` shall not ask for leave to run the code of a
            # folder.
            kwargs.pop("custom_pipelines", None)
        if self.backbone_config is None:
            self.backbone_config = {"model_type": "resnet", "out_features": STAGES}
        if isinstance(self.backbone_config, dict):
            backbone = dict(self.backbone_config)
            if backbone.get("model_type") not in CONFIG_MAPPING:
                raise ValueError(
                    f"backbone_config has model_type {backbone.get('model_type')!r}, it must name a backbone that "
                    "transformers knows, such as 'resnet', 'pvt_v2' or 'swin'"
                )
            kind = backbone.pop("model_type")
            # timm has no names of stages that all its networks share, but lets their last four be counted from the
            # end.
            maps = {"out_indices": LAST_FOUR} if kind == TIMM else {} if kind in PLAIN else {"out_features": STAGES}
            self.backbone_config = CONFIG_MAPPING[kind](**{**maps, **backbone})
        if isinstance(self.audio_config, dict):
            audio = dict(self.audio_config)
            kind = audio.pop("model_type", None)
            if kind not in AUDIO_CONFIGS:
                raise ValueError(unknown_audio_encoder(kind))
            self.audio_config = AUDIO_CONFIGS[kind](**audio)
        super().__post_init__(**kwargs)
        if self.label2id is None:  # transformers makes one for its own LABEL_0, LABEL_1, ... alone
            self.label2id = {name: number for number, name in self.id2label.items()}

    @property
    def audio_example(self) -> tuple[int, int]:
        """Columns and bands of an example of a frame's sound; `input_features` are `(B, T, E, columns, bands)`.

        CLAP's are of the whole seconds that its square picture of the sound has room for: 1001 of 1024.
        """
        audio = self.audio_config
        if audio is None:
            return VGGISH_EXAMPLE
        if audio.model_type != ClapAudioConfig.model_type:
            return audio.max_length, audio.num_mel_bins
        room = audio.spec_size * (audio.spec_size // audio.num_mel_bins)  # columns
        return room // CLAP_COLUMNS * CLAP_COLUMNS + 1, audio.num_mel_bins

    def to_dict(self) -> dict[str, Any]:
        """As in transformers; where `save_pretrained` writes the code too, with the classes to load from it."""
        code = {"auto_map": dict(AUTO_MAP), "custom_pipelines": deepcopy(CUSTOM_PIPELINES)} if self._auto_class else {}
        return super().to_dict() | code

    def check_fields(self, others: Iterable[str]):
        """Refuses names that are neither a field of ours nor known to transformers, which takes any in silence.

        A `config.json` that a newer transformers wrote may hold fields which the one that runs does not know: then a
        warning.

        Raises:
            ValueError: names the fields, those most like them, and what to do.
        """
        known = {*self.attribute_map, *TRANSFORMERS_FIELDS, *dir(PreTrainedConfig())}
        ours = [field.name for field in fields(self) if field.name not in known]
        others = [name for name in others if name not in known and not name.startswith("_")]
        if not others:
            return
        message = f"CCFormerConfig has no field {unknown_names(others, ours)}"
        if version.parse(self.transformers_version or "0") <= version.parse(__version__):
            raise ValueError(
                f"{message}. Fix the name or remove it from config.json; expected one of {', '.join(ours)}"
            )
        logger.warning(
            f"{message}. It was written by transformers {self.transformers_version}, {__version__} ignores it."
        )

    def check_audio_encoder(self, audio: PreTrainedConfig):
        """Raises ValueError for an audio encoder that is not offered, or of impossible sizes."""
        if audio.model_type not in AUDIO_CONFIGS:
            raise ValueError(unknown_audio_encoder(audio.model_type))
        if audio.model_type == ClapAudioConfig.model_type:
            if audio.enable_fusion:
                raise ValueError(
                    "audio_config has enable_fusion, which is for sounds longer than CLAP's window of ten seconds; a "
                    "frame has one second: leave it out, weights of a fused CLAP load without it"
                )
            if audio.num_mel_bins < 1 or audio.spec_size % audio.num_mel_bins:
                raise ValueError(
                    f"audio_config has spec_size {audio.spec_size} and num_mel_bins {audio.num_mel_bins}, expected a "
                    "multiple of it"
                )
        if audio.model_type == ASTConfig.model_type:
            smallest = (audio.patch_size, audio.patch_size)
        else:
            smallest = (CLAP_COLUMNS, 1) if audio.model_type == ClapAudioConfig.model_type else (1, 1)
        bounds = zip(smallest, self.audio_example, LARGEST_EXAMPLE, strict=True)
        if not all(least <= value <= most for least, value, most in bounds):
            raise ValueError(
                f"audio_config makes a frame's sound {self.audio_example[0]} columns by {self.audio_example[1]} "
                f"bands, expected from {smallest[0]} by {smallest[1]} to {LARGEST_EXAMPLE[0]} by {LARGEST_EXAMPLE[1]}"
            )

    def validate_architecture(self):
        """Raises ValueError for sizes that cannot work together; runs at construction and at `save_pretrained`."""
        backbone = self.backbone_config
        if backbone.model_type == TIMM and not TIMM_NAME.fullmatch(str(backbone.backbone)):
            raise ValueError(
                f"backbone is {backbone.backbone!r}, expected the plain name of a network of timm, such as "
                "'resnet50'; what is not in timm itself is not fetched from elsewhere"
            )
        maps = 1 if backbone.model_type in PLAIN else 4
        if not isinstance(backbone, BackboneConfigMixin) or len(backbone.out_indices) != maps:
            four_maps = f"out_indices={LAST_FOUR}" if backbone.model_type == TIMM else f"out_features={STAGES}"
            wanted = (
                f"with four, at strides 4, 8, 16 and 32; most do with {four_maps}" if maps == 4 else "with its last"
            )
            raise ValueError(
                f"backbone_config is a {backbone.model_type} without {'four maps' if maps == 4 else 'one map'}, "
                f"expected a backbone {wanted}"
            )
        if self.audio_config is not None:
            self.check_audio_encoder(self.audio_config)
        positive = (
            "hidden_size", "num_heads", "feed_forward_size", "audio_fc_size", "audio_embed_size",
            "pixel_decoder_layers", "decoder_layers", "num_queries", "num_video_queries",
            "contrastive_size", "contrastive_temperature", "num_loss_points",
        )  # fmt: skip
        for name in positive:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number above 0")
        for name in ("no_object", "class", "mask", "dice", "dense", "heard", "contrastive"):
            if getattr(self, f"{name}_weight") < 0:
                raise ValueError(f"{name}_weight is {getattr(self, f'{name}_weight')}, expected at least 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, expected a number from 0 to below 1")
        if self.hidden_size % self.num_heads or self.hidden_size % 4:
            raise ValueError(
                f"hidden_size is {self.hidden_size}, expected a multiple of num_heads ({self.num_heads}) and of 4"
            )
        if len(self.audio_hidden_sizes) != 4:
            raise ValueError(
                f"audio_hidden_sizes is {self.audio_hidden_sizes}, it must hold 4 widths, e.g. (64, 128, 256, 512)"
            )
        if not 2 <= self.num_labels <= IGNORE_LABEL or sorted(self.id2label) != list(range(self.num_labels)):
            raise ValueError(
                f"id2label has the ids {sorted(self.id2label)}, expected 0 (background), 1, 2, ... with at least "
                f"one class and at most {IGNORE_LABEL - 1} ({IGNORE_LABEL} marks ignored pixels)"
            )
        names = list(self.id2label.values())
        twice = [name for number, name in enumerate(names) if name in names[:number]]
        if twice:
            raise ValueError(
                f"id2label has the name {twice[0]!r} for several ids; expected a different name for each, as results "
                "are given by name"
            )
