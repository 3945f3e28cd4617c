"""CCFormer: audio-visual segmentation, from frames and sound to a class map per frame.

What differs from Mask2Former, the well-known baseline: the queries are made from the sound of their second; sound and
picture are fused at all four scales before the pixel decoder (Early Integration Module, EIM); every decoder layer
works on the frame and on the clip at the same time (Multi-query Transformer Module, MTM); and both modalities are
trained into one space (BCL, in the loss). Each docstring says where a part comes from: *paper* (its abstract),
*lineage* (public sister code), *ours*.

Its parts, in the order in which a clip goes through them: a backbone of transformers, after a plain one
`feature_pyramid_ccformer`, and `vggish_ccformer`, or another audio encoder by `audio_encoder_ccformer`, and on it
`audio_classifier_ccformer`, where the model has one;
`early_integration_ccformer` (EIM), `pixel_decoder_ccformer`, `multi_query_transformer_ccformer` (MTM), and in training
`loss_ccformer`; all are built from `layers_ccformer`. Here they become the models; the public class,
`CCFormerForAudioVisualSegmentation`, comes last.

Letters in the shapes: B clips, T frames, Q frame queries, D width, K labels, H W picture, h w feature map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers import initialization as init
from transformers.backbone_utils import load_backbone
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .audio_classifier_ccformer import CCFormerAudioClassifier, ever_longer, log_heard
from .audio_encoder_ccformer import CCFormerAudioEncoder
from .configuration_ccformer import PLAIN, TIMM, CCFormerConfig
from .early_integration_ccformer import CCFormerEarlyIntegration
from .feature_pyramid_ccformer import CCFormerFeaturePyramid, seen_picture
from .layers_ccformer import (
    STRIDES,
    CCFormerAttention,
    CCFormerFeedForward,
    CCFormerMLP,
    CCFormerProjection,
    channels_first,
    time_embedding,
)
from .loss_ccformer import (
    FramePairs,
    contrastive_loss,
    count_items,
    frame_pairs,
    heard_loss,
    mask_pool,
    segmentation_losses,
)
from .multi_query_transformer_ccformer import (
    CCFormerDecoderLayer,
    CCFormerMultiQueryTransformer,
    join_queries,
)
from .pixel_decoder_ccformer import CCFormerPixelDecoder
from .vggish_ccformer import CCFormerVGGish

if TYPE_CHECKING:
    # Not needed here: `save_pretrained` and the Hub follow such lines, so that the pipeline's code stays with the
    # weights.
    from .pipeline_ccformer import AudioVisualSegmentationPipeline  # noqa: F401


HEARD_AT_FIRST = 2.0  # logit of every class of a new audio classifier: 0.88
EVALUATION_SEED = 0  # of the points at which masks are read for a loss that nothing is trained by


@dataclass
class CCFormerModelOutput(ModelOutput):
    """What `CCFormerModel` returns.

    Args:
        last_hidden_state: frame queries after the last layer, `(B, T, Q, D)`.
        class_queries_logits: per prediction, `(B, T, Q, K)`; label 0 means "no object". In training, and where every
            prediction is asked for, one per decoder layer and one before the first; otherwise the last only.
        masks_queries_logits: per prediction, `(B, T, Q, H/4, W/4)`, as many as `class_queries_logits`.
        audio_embedding: sound of each frame before any fusion, `(B, T, D)`.
        visual_embedding: picture at stride 8 before any fusion, `(B, T, D, H/8, W/8)`.
        heard_logits: of the audio classifier, that each class but the background sounds, `(B, T, K - 1)`, the mean
            over sounds that are `ever_longer`; anything in frames without sound. None without one.
        hidden_states: frame queries before the first decoder layer and after each, `(B, T, Q, D)`, on request.
        attentions: attention of the frame queries to the pixels, on request (`attn_implementation="eager"`).
    """

    last_hidden_state: torch.FloatTensor | None = None
    class_queries_logits: tuple[torch.FloatTensor, ...] | None = None
    masks_queries_logits: tuple[torch.FloatTensor, ...] | None = None
    audio_embedding: torch.FloatTensor | None = None
    visual_embedding: torch.FloatTensor | None = None
    heard_logits: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class CCFormerOutput(ModelOutput):
    """What `CCFormerForAudioVisualSegmentation` returns.

    Args:
        loss: weighted sum of all losses, with `labels` only.
        loss_dict: each loss by name, detached and unweighted.
        logits: log-probability of each label at each cell of stride 4, `(B, T, K, H/4, W/4)`; label 0 is the
            background and the probabilities of a cell sum to 1.
        class_queries_logits: label of each query, `(B, T, Q, K)`; 0 means "no object".
        masks_queries_logits: mask of each query, `(B, T, Q, H/4, W/4)`.
        hidden_states: see `CCFormerModelOutput`.
        attentions: see `CCFormerModelOutput`.
        frame_pairs: what the contrastive loss compares, on request and then alone.
    """

    loss: torch.FloatTensor | None = None
    loss_dict: dict[str, torch.FloatTensor] | None = None
    logits: torch.FloatTensor | None = None
    class_queries_logits: torch.FloatTensor | None = None
    masks_queries_logits: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    frame_pairs: FramePairs | None = None


def check_mask(name: str, mask: Tensor | None, frames: Tensor) -> None:
    """Raises ValueError unless `mask` is None or bool with one entry per frame of `frames`, `(B, T, ...)`."""
    if mask is not None and (mask.dtype != torch.bool or mask.shape != frames.shape[:2]):
        raise ValueError(
            f"{name} is {mask.dtype} of shape {tuple(mask.shape)}, expected torch.bool of shape "
            f"{tuple(frames.shape[:2])}: one entry per frame"
        )


def plain_patch_size(backbone_config: PreTrainedConfig, of_timm: nn.Module | None) -> int | None:
    """The patch size of a plain vision transformer; None for a backbone with maps at several strides."""
    if backbone_config.model_type in PLAIN:
        return backbone_config.patch_size
    strides = set() if of_timm is None else set(of_timm.feature_info.reduction())
    return strides.pop() if len(strides) == 1 else None


class CCFormerPreTrainedModel(PreTrainedModel):
    """What both models share: initial weights, and what transformers needs to load, record and checkpoint them."""

    config_class = CCFormerConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("video", "audio")
    supports_gradient_checkpointing = True
    # The loss is a mean over this batch, whatever else makes up a step: the `Trainer` of transformers shall divide it
    # by the number of accumulated batches. The keyword arguments of `forward` it would take for a sign not to.
    accepts_loss_kwargs = False
    _no_split_modules = ["CCFormerPixelDecoderLayer", "CCFormerDecoderLayer"]
    _supports_sdpa = True
    _can_record_outputs = {
        "hidden_states": CCFormerDecoderLayer,
        "attentions": OutputRecorder(CCFormerAttention, index=1, layer_name="cross_attn"),
    }

    def get_input_embeddings(self) -> nn.Module:
        """The layer by which the sound enters all that fuses: adapters (PEFT) make its output require a gradient."""
        return self.base_model.audio_projection[0]

    def set_input_embeddings(self, value: nn.Module):
        """Replaces the layer that `get_input_embeddings` gives."""
        self.base_model.audio_projection[0] = value

    def set_attn_implementation(self, attn_implementation: str | dict, **kwargs):
        """As in transformers; but "sdpa" passes over backbones that have none, such as ResNet, PVT-v2 and CLAP."""
        if attn_implementation == "sdpa":
            parts = {"backbone_config": self.base_model.backbone}
            if self.config.audio_config is not None:
                parts["audio_config"] = self.base_model.audio_backbone.encoder
            attn_implementation = {n: "sdpa" if part._supports_sdpa else "eager" for n, part in parts.items()}
            attn_implementation[""] = "sdpa"
        super().set_attn_implementation(attn_implementation, **kwargs)

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False):
        # For code outside the library, transformers passes over modules without parameters of their own, so that most
        # branches of `_init_weights` would never run. Its reason, overwriting loaded weights, is none here: `init`
        # leaves those alone.
        super()._initialize_weights(module)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, CCFormerVGGish):
            # Nine layers without a norm: with the small default the sound would vanish on its way through.
            for layer in (*module.features, *module.embeddings):
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    init.kaiming_normal_(layer.weight, nonlinearity="relu")
                    init.zeros_(layer.bias)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, CCFormerAttention | CCFormerMLP | CCFormerFeedForward | CCFormerAudioClassifier):
            for layer in module.modules():
                if isinstance(layer, nn.Linear):
                    init.xavier_uniform_(layer.weight)
            if isinstance(module, CCFormerAudioClassifier):
                # All classes are heard at first, so that the queries learn.
                init.constant_(module[-1].bias, HEARD_AT_FIRST)
        elif isinstance(module, CCFormerModel):
            init.normal_(module.no_sound)


class CCFormerModel(CCFormerPreTrainedModel):
    """The network up to the queries' logits; `CCFormerForAudioVisualSegmentation` joins and trains them."""

    def __init__(self, config: CCFormerConfig):
        super().__init__(config)
        width = config.hidden_size
        # "sdpa" asked of the whole model reaches the backbones too, and ResNet, PVT-v2 and CLAP have none: None lets
        # them choose.
        for of_backbone in (config.backbone_config, config.audio_config):
            if of_backbone is not None and of_backbone._attn_implementation == "sdpa":
                of_backbone._attn_implementation = None
        self.backbone = load_backbone(config)
        # Those of timm that give (F, h, w, C), Swin and its like, say so; some of the others say nothing.
        of_timm = self.backbone._backbone if config.backbone_config.model_type == TIMM else None
        self.backbone_turns_maps = getattr(of_timm, "output_fmt", "NCHW") == "NHWC"
        channels, self.pyramid = self.backbone.channels, None
        self.patch_size = plain_patch_size(config.backbone_config, of_timm)
        if self.patch_size is not None:
            self.pyramid = CCFormerFeaturePyramid(channels[-1])
            channels = self.pyramid.channels
        self.projections = nn.ModuleList([CCFormerProjection(c, width) for c in channels])
        if config.audio_config is None:
            self.audio_backbone, audio_width = CCFormerVGGish(config), config.audio_embed_size
        else:
            self.audio_backbone = CCFormerAudioEncoder(config.audio_config)
            audio_width = self.audio_backbone.width
        self.audio_projection = nn.Sequential(nn.Linear(audio_width, width), nn.LayerNorm(width))
        self.no_sound = nn.Parameter(torch.empty(width))
        self.audio_classifier = CCFormerAudioClassifier(config, audio_width) if config.use_audio_classifier else None
        self.eim = CCFormerEarlyIntegration(config) if config.use_eim else None
        self.pixel_decoder = CCFormerPixelDecoder(config)
        self.mtm = CCFormerMultiQueryTransformer(config)
        self.post_init()

    def check_inputs(self, pixel_values: Tensor, input_features: Tensor, **masks: Tensor | None):
        if pixel_values.ndim != 5 or pixel_values.shape[2] != 3:
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}, expected (clips, frames, 3, height, width)"
            )
        height, width = pixel_values.shape[-2:]
        if height % 32 or width % 32:
            raise ValueError(
                f"pixel_values is {height}x{width}, expected multiples of 32: resize to "
                f"{max(1, round(height / 32)) * 32}x{max(1, round(width / 32)) * 32} "
                "(AudioVisualProcessor resizes for you)"
            )
        columns, bands = self.config.audio_example
        if input_features.ndim != 5 or not input_features.shape[2] or input_features.shape[3:] != (columns, bands):
            raise ValueError(
                f"input_features has shape {tuple(input_features.shape)}, expected (clips, frames, 1, {columns}, "
                f"{bands}): one log-mel example per frame (or several, of which the first is its own), as the "
                "AudioVisualProcessor of this model makes it"
            )
        if input_features.shape[:2] != pixel_values.shape[:2]:
            raise ValueError(
                f"pixel_values has {tuple(pixel_values.shape[:2])} clips and frames, input_features "
                f"{tuple(input_features.shape[:2])}: both need one entry per frame"
            )
        for name, mask in masks.items():
            check_mask(name, mask, pixel_values)

    def backbone_features(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Frames `(F, 3, H, W)` -> the backbone's feature maps `(F, C, h, w)` at strides 4, 8, 16, 32; C differs."""
        pictures = frames if self.pyramid is None else seen_picture(frames, self.patch_size)
        # Channels-last in memory, as all that follows: convolutions run faster so, and no map need be copied.
        features = self.backbone(pictures.contiguous(memory_format=torch.channels_last)).feature_maps
        if self.backbone_turns_maps:
            features = tuple(channels_first(f) for f in features)
        if self.pyramid is not None:
            features = self.pyramid(features[-1])
        strides = tuple(frames.shape[-1] // f.shape[-1] for f in features)
        if strides != STRIDES:
            raise ValueError(
                f"the backbone gives maps at strides {strides}; expected {STRIDES}, choose another backbone_config"
            )
        return features

    def encode_frames(self, pixel_values: Tensor, frame_mask: Tensor | None) -> list[Tensor]:
        """Frames `(B, T, 3, H, W)` -> feature maps `(B*T, h, w, D)` at strides 4, 8, 16, 32; zero for padding frames.

        Padding frames are not computed. A compiled model has shapes that no mask may decide and computes them, from
        zeros; but not in training, where a BatchNorm would count them.
        """
        # The processor gives float32, whatever the weights are.
        frames = pixel_values.flatten(0, 1).to(self.no_sound.dtype)  # (B*T, 3, H, W)
        compiled = torch.compiler.is_compiling() and not self.training
        if frame_mask is None or (not compiled and bool(frame_mask.all())):
            real, chosen = None, frames
        else:
            real = frame_mask.flatten()[:, None, None, None]  # (B*T, 1, 1, 1)
            # (real frames, 3, H, W); compiled, (B*T, 3, H, W)
            chosen = frames.masked_fill(~real, 0) if compiled else frames[frame_mask.flatten()]
        features = self.backbone_features(chosen)
        maps = [projection(f) for projection, f in zip(self.projections, features, strict=True)]
        if real is None:
            return maps
        if compiled:
            return [m.masked_fill(~real, 0) for m in maps]
        # Each real frame back to its place among the padding: (real frames, h, w, D) -> (B*T, h, w, D)
        return [m.new_zeros(len(frames), *m.shape[1:]).masked_scatter(real, m) for m in maps]

    def encode_audio(self, input_features: Tensor, audio_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel `(B, T, E, columns, bands)` -> the sound of each frame `(B, T, D)`, without sound a learned "no
        sound" token (*ours*), and what the audio backbone makes of every example, `(B, T, E, W)`."""
        # Zeros first: what lies there may be anything, and NaN would come through the gradient even if not chosen.
        input_features = input_features.masked_fill(~audio_mask[:, :, None, None, None], 0).to(self.no_sound.dtype)
        examples = input_features.flatten(0, 2)[:, None]  # (B*T*E, 1, columns, bands)
        embedding = self.audio_backbone(examples).unflatten(0, input_features.shape[:3])  # (B, T, E, W)
        audio = self.audio_projection(embedding[:, :, 0])  # (B, T, D), of the frame's own example
        return torch.where(audio_mask[..., None], audio, self.no_sound.to(audio.dtype)), embedding

    @staticmethod
    def visual_embedding(feature_maps: list[Tensor], clips_frames: torch.Size) -> Tensor:
        """The feature map of stride 8, before any fusion, `(B, T, D, H/8, W/8)`."""
        return channels_first(feature_maps[1]).unflatten(0, clips_frames)

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        pixel_values: Tensor,
        input_features: Tensor,
        frame_mask: Tensor | None = None,
        audio_mask: Tensor | None = None,
        every_prediction: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CCFormerModelOutput:
        """Arguments as in `CCFormerForAudioVisualSegmentation.forward`.

        Args:
            every_prediction: whether to give those of all layers, as in training, where the loss is to be taken.
        """
        if "labels" in kwargs:
            raise TypeError(
                "CCFormerModel is the network without its head and takes no labels; load "
                "CCFormerForAudioVisualSegmentation (AutoModelForSemanticSegmentation) instead"
            )
        self.check_inputs(pixel_values, input_features, frame_mask=frame_mask, audio_mask=audio_mask)
        batch, frames = pixel_values.shape[:2]
        # A mask always, so that the "no sound" token is part of every step: distributed training wants no idle
        # parameter.
        audio_mask = pixel_values.new_ones((batch, frames), dtype=torch.bool) if audio_mask is None else audio_mask
        audio_mask = audio_mask if frame_mask is None else audio_mask & frame_mask
        feature_maps = self.encode_frames(pixel_values, frame_mask)  # four of (B*T, h, w, D)
        if self.audio_classifier is None:
            audio, _ = self.encode_audio(input_features[:, :, :1], audio_mask)  # (B, T, D)
            heard_logits = None
        else:
            audio, embedding = self.encode_audio(input_features, audio_mask)  # (B, T, D), (B, T, E, W)
            heard_logits = self.audio_classifier(ever_longer(embedding)).mean(dim=2)  # (B, T, K - 1)
        visual_embedding = self.visual_embedding(feature_maps, pixel_values.shape[:2])
        time_embed = time_embedding(audio)  # (T, D)
        audio_levels = [audio]
        if self.eim is not None:
            feature_maps, fused_audio = self.eim(feature_maps, audio, time_embed, frame_mask)
            audio_levels += fused_audio
        audio_tokens = torch.stack(audio_levels, dim=2)  # (B, T, L, D); L = 5 with EIM, 1 without
        multi_scale_features, mask_features = self.pixel_decoder(feature_maps)
        queries, class_queries_logits, masks_queries_logits = self.mtm(
            multi_scale_features,
            mask_features,
            audio_tokens,
            time_embed,
            frame_mask,
            None if heard_logits is None else log_heard(heard_logits, audio_mask),
            self.training or every_prediction,
        )
        return CCFormerModelOutput(
            last_hidden_state=queries,
            class_queries_logits=tuple(class_queries_logits),
            masks_queries_logits=tuple(masks_queries_logits),
            audio_embedding=audio,
            visual_embedding=visual_embedding,
            heard_logits=heard_logits,
        )


class CCFormerForAudioVisualSegmentation(CCFormerPreTrainedModel):
    """CCFormer for audio-visual segmentation: which pixels of each frame are making the sound, and as what.

    Example:
        >>> processor = AudioVisualProcessor.from_pretrained(path)
        >>> model = CCFormerForAudioVisualSegmentation.from_pretrained(path)
        >>> inputs = processor("clip.mp4")
        >>> maps = processor.post_process_semantic_segmentation(model(**inputs), target_sizes=[(480, 640)])
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__(config)
        self.model = CCFormerModel(config)
        if config.contrastive_weight > 0:
            width, size = config.hidden_size, config.contrastive_size
            self.audio_projector = CCFormerMLP(width, width, size)
            self.visual_projector = CCFormerMLP(width, width, size)
        self.post_init()

    def used_frames(
        self, labels: Tensor, frame_mask: Tensor | None, audio_mask: Tensor | None, label_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The real and annotated frames `(B, T)`, and those of them that have sound."""
        used = torch.ones(labels.shape[:2], dtype=torch.bool, device=labels.device)
        for mask in (frame_mask, label_mask):
            used = used if mask is None else used & mask
        return used, used if audio_mask is None else used & audio_mask

    def count_loss_items(
        self,
        labels: Tensor,
        frame_mask: Tensor | None = None,
        audio_mask: Tensor | None = None,
        label_mask: Tensor | None = None,
    ) -> Tensor:
        """What the losses of a batch are divided by, `(3,)` float; summed over the parts of a step: `loss_counts`."""
        used, audible = self.used_frames(labels, frame_mask, audio_mask, label_mask)
        return count_items(labels, used, audible, self.config)

    @torch.compiler.disable  # shapes that the labels decide, and a matching on the CPU
    def losses(
        self,
        outputs: CCFormerModelOutput,
        logits: Tensor,
        labels: Tensor,
        used: Tensor,
        audible: Tensor,
        counts: Tensor | None,
        seed: int | None,
        others: Sequence[FramePairs],
    ) -> dict[str, Tensor]:
        losses = segmentation_losses(
            outputs.class_queries_logits, outputs.masks_queries_logits, logits, labels, used, self.config, counts, seed
        )
        if self.config.contrastive_weight > 0:
            pairs = self.frame_pairs(outputs.audio_embedding, outputs.visual_embedding, labels, audible)
            rows = None if counts is None else counts[2].clamp(min=1)
            losses["contrastive"] = contrastive_loss(pairs, self.config.contrastive_temperature, rows, others)
        if outputs.heard_logits is not None:
            losses["heard"] = heard_loss(outputs.heard_logits, labels, used, audible, counts)
        return losses

    def frame_pairs(self, audio: Tensor, visual: Tensor, labels: Tensor, audible: Tensor) -> FramePairs:
        """What the contrastive loss compares, of all processes.

        Args:
            audio: `(B, T, D)`, and visual: `(B, T, D, h, w)`, both before any fusion.
            labels: `(B, T, H, W)`. audible: `(B, T)` bool, the annotated frames with sound.
        """
        clips = torch.arange(labels.shape[0], device=labels.device)[:, None].expand(labels.shape[:2])  # (B, T)
        pooled, sounding = mask_pool(visual, labels, audible)  # (n, D), (B, T)
        return frame_pairs(self.audio_projector(audio[sounding]), self.visual_projector(pooled), clips[sounding])

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        input_features: Tensor,
        frame_mask: Tensor | None = None,
        audio_mask: Tensor | None = None,
        labels: Tensor | None = None,
        label_mask: Tensor | None = None,
        loss_counts: Tensor | None = None,
        loss_seed: int | None = None,
        loss_others: Sequence[FramePairs] = (),
        only_frame_pairs: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CCFormerOutput:
        """Segments clips.

        Args:
            pixel_values: frames `(B, T, 3, H, W)`, ImageNet-normalised; H and W multiples of 32.
            input_features: log-mel `(B, T, 1, 96, 64)`, one example per frame; of another audio backbone than VGGish
                `(B, T, 1, columns, bands)`, see `CCFormerConfig.audio_example`. With E examples per frame in place of
                one, its own first, the audio classifier hears the first, the first two, ... and all (*ours*).
            frame_mask: `(B, T)` bool, False on padding; None: all frames are real.
            audio_mask: `(B, T)` bool, False where there is no sound; None: there is sound everywhere.
            labels: `(B, T, H', W')` int64 label ids of any size, 0 = background, 255 = ignored. Adds the loss.
            label_mask: `(B, T)` bool, True on annotated frames; None: all real frames are annotated.
            loss_counts: `(3,)`, the sum of `count_loss_items` over all processes and accumulated batches of a step, so
                that they train like one batch; None: this batch alone, of all processes.
            loss_seed: of the random points at which masks are read; the same for all parts of a step. None: in
                training torch's generator; in evaluation always the same points, so that a loss tells of the weights
                alone.
            loss_others: the `frame_pairs` of each other accumulated batch of a step, for the contrastive loss to see
                them all.
            only_frame_pairs: computes nothing but those of this batch, which takes the backbones alone.

        Raises:
            ValueError: for inputs of a wrong shape; the message names the right one.
        """
        if only_frame_pairs:
            _, audible = self.used_frames(labels, frame_mask, audio_mask, label_mask)
            visual = self.model.visual_embedding(self.model.encode_frames(pixel_values, frame_mask), labels.shape[:2])
            audio, _ = self.model.encode_audio(input_features[:, :, :1], audible)
            return CCFormerOutput(frame_pairs=self.frame_pairs(audio, visual, labels, audible))
        # With labels the loss has the same terms in training and in evaluation, where its points are fixed as well.
        every = labels is not None
        outputs = self.model(pixel_values, input_features, frame_mask, audio_mask, every_prediction=every, **kwargs)
        loss_seed = EVALUATION_SEED if loss_seed is None and not self.training else loss_seed
        logits = join_queries(outputs.class_queries_logits[-1], outputs.masks_queries_logits[-1])
        loss, loss_dict = None, None
        if labels is not None:
            check_mask("label_mask", label_mask, pixel_values)
            if labels.dtype != torch.int64 or labels.ndim != 4 or labels.shape[:2] != pixel_values.shape[:2]:
                raise ValueError(
                    f"labels are {labels.dtype} of shape {tuple(labels.shape)}, expected torch.int64 of shape "
                    f"(clips, frames, height, width), with {tuple(pixel_values.shape[:2])} clips and frames as in "
                    "pixel_values"
                )
            used, audible = self.used_frames(labels, frame_mask, audio_mask, label_mask)
            loss_dict = self.losses(outputs, logits, labels, used, audible, loss_counts, loss_seed, loss_others)
            weights = {name: getattr(self.config, f"{name}_weight") for name in loss_dict}
            loss = sum(weights[name] * value for name, value in loss_dict.items())
            loss_dict = {name: value.detach() for name, value in loss_dict.items()}
        return CCFormerOutput(
            loss=loss,
            loss_dict=loss_dict,
            logits=logits,
            class_queries_logits=outputs.class_queries_logits[-1],
            masks_queries_logits=outputs.masks_queries_logits[-1],
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


__all__ = [
    "CCFormerForAudioVisualSegmentation",
    "CCFormerModel",
    "CCFormerModelOutput",
    "CCFormerOutput",
    "CCFormerPreTrainedModel",
]
