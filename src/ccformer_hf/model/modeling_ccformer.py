"""CCFormer: audio-visual segmentation, from frames and sound to a class map per frame.

What differs from Mask2Former, the well-known baseline: the queries are made from the sound of their second; sound and picture are
fused at all four scales before the pixel decoder (Early Integration Module, EIM); every decoder layer works on the frame and on
the clip at the same time (Multi-query Transformer Module, MTM); and both modalities are trained into one space (BCL, in the loss).
Each docstring says where a part comes from: *paper* (its abstract), *lineage* (public sister code), *ours*.

Its parts: `layers_ccformer`, `vggish_ccformer`, `pixel_decoder_ccformer`, and here EIM, MTM and the models, from leaf to root; the
public class, `CCFormerForAudioVisualSegmentation`, comes last. Letters in the shapes:
B clips, T frames, Q frame queries, V video queries, D width, K labels, H W picture, h w feature map, N tokens of a frame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.backbone_utils import load_backbone
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .configuration_ccformer import TIMM, CCFormerConfig
from .layers_ccformer import (
    CCFormerAttention,
    CCFormerDepthwise,
    CCFormerFeedForward,
    CCFormerMLP,
    CCFormerProjection,
    CCFormerTable,
    additive_mask,
    position_code,
    resize,
    sine_code,
)
from .loss_ccformer import FramePairs, contrastive_loss, count_items, frame_pairs, mask_pool, segmentation_losses
from .pixel_decoder_ccformer import CCFormerPixelDecoder
from .vggish_ccformer import CCFormerVGGish

if TYPE_CHECKING:
    # Not needed here: `save_pretrained` and the Hub follow such lines, so that the pipeline's code stays with the weights.
    from .pipeline_ccformer import AudioVisualSegmentationPipeline  # noqa: F401

STRIDES = (4, 8, 16, 32)


@dataclass
class CCFormerModelOutput(ModelOutput):
    """What `CCFormerModel` returns.

    Args:
        last_hidden_state: frame queries after the last layer, `(B, T, Q, D)`.
        class_logits: per prediction, `(B, T, Q, K)`; label 0 means "no object". In training one per decoder layer and one
            before the first; otherwise the last only.
        mask_logits: per prediction, `(B, T, Q, H/4, W/4)`, as many as `class_logits`.
        audio_embedding: sound of each frame before any fusion, `(B, T, D)`.
        visual_embedding: picture at stride 8 before any fusion, `(B, T, D, H/8, W/8)`.
        hidden_states: frame queries before the first decoder layer and after each, `(B, T, Q, D)`, on request.
        attentions: attention of the frame queries to the pixels, on request (`attn_implementation="eager"`).
    """

    last_hidden_state: torch.FloatTensor | None = None
    class_logits: tuple[torch.FloatTensor, ...] | None = None
    mask_logits: tuple[torch.FloatTensor, ...] | None = None
    audio_embedding: torch.FloatTensor | None = None
    visual_embedding: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class CCFormerOutput(ModelOutput):
    """What `CCFormerForAudioVisualSegmentation` returns.

    Args:
        loss: weighted sum of all losses, with `labels` only.
        loss_dict: each loss by name, detached and unweighted.
        logits: log-probability of each label at each cell of stride 4, `(B, T, K, H/4, W/4)`; label 0 is the background and
            the probabilities of a cell sum to 1.
        class_logits: label of each query, `(B, T, Q, K)`; 0 means "no object".
        mask_logits: mask of each query, `(B, T, Q, H/4, W/4)`.
        hidden_states: see `CCFormerModelOutput`.
        attentions: see `CCFormerModelOutput`.
        frame_pairs: what the contrastive loss compares, on request and then alone.
    """

    loss: torch.FloatTensor | None = None
    loss_dict: dict[str, torch.FloatTensor] | None = None
    logits: torch.FloatTensor | None = None
    class_logits: torch.FloatTensor | None = None
    mask_logits: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    frame_pairs: FramePairs | None = None


def check_mask(name: str, mask: Tensor | None, frames: Tensor) -> None:
    """Raises ValueError unless `mask` is None or bool with one entry per frame of `frames`, `(B, T, ...)`."""
    if mask is not None and (mask.dtype != torch.bool or mask.shape != frames.shape[:2]):
        raise ValueError(
            f"{name} is {mask.dtype} of shape {tuple(mask.shape)}, it must be torch.bool of shape {tuple(frames.shape[:2])}: one "
            "entry per frame"
        )


# ------------------------------------------------------------------------------------------------------------------------ EIM
class CCFormerAudioToVision(nn.Module):
    """Sound into picture: each cell reads the sound of the whole clip, and locally that of its own second.

    *Lineage*: cross-attention multiplied into the picture with a residual, one module for all scales. *Ours*: the local branch
    (*paper*: "local and global"), a depth-wise convolution scaled per channel by the sound of the same second; reading at stride 16
    at the finest, for which sound a place listens to is a coarse matter, and the fine cells cost most of the time; and a norm
    without weights at the end, so that no weights can make the picture grow.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        width = config.hidden_size
        self.attention = CCFormerAttention(config)
        self.local = CCFormerDepthwise(width)
        self.local_scale = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def forward(
        self, picture: Tensor, cells: Tensor, codes: Tensor, sound: Tensor, times: Tensor, sound_mask: Tensor | None
    ) -> Tensor:
        """picture `(B*T, h, w, D)`; cells `(B, T, h', w', D)` and their codes of place and time `(T, h', w', D)`; sound `(B, T, D)`."""
        heard, _ = self.attention((cells + codes).flatten(1, 3), sound + times, sound, sound_mask)  # (B, T*N, D)
        heard = resize(heard.view_as(cells).flatten(0, 1), picture.shape[1:3])
        local_scale = self.local_scale(sound).flatten(0, 1)[:, None, None]  # (B*T, 1, 1, D)
        fused = torch.addcmul(picture, picture, heard)  # one pass over the cells where + and * take two
        return self.norm(torch.addcmul(fused, self.local(picture), local_scale))


class CCFormerVisionToAudio(nn.Module):
    """Picture into sound: each second of sound reads the cells of all frames (*lineage*, one module for all scales).

    *Ours*: a norm without weights at the end: multiplied by the picture four times over, the sound would grow without bound.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.sound_norm = nn.LayerNorm(config.hidden_size)
        self.attention = CCFormerAttention(config)
        self.norm = nn.LayerNorm(config.hidden_size, elementwise_affine=False)

    def forward(self, sound: Tensor, cells: Tensor, codes: Tensor, times: Tensor, frame_mask: Tensor | None) -> Tensor:
        """sound `(B, T, D)`; cells `(B, T, h', w', D)` and their codes of place and time `(T, h', w', D)`."""
        attention_mask = None
        if frame_mask is not None:
            allowed = frame_mask[:, :, None].expand(-1, -1, cells.shape[2] * cells.shape[3]).flatten(1)
            attention_mask = additive_mask(allowed, sound.dtype)[:, None, None].expand(-1, 1, sound.shape[1], -1)
        keys, values = (cells + codes).flatten(1, 3), cells.flatten(1, 3)
        seen, _ = self.attention(self.sound_norm(sound) + times, keys, values, attention_mask)
        return self.norm(sound + sound * seen)


class CCFormerEarlyIntegration(nn.Module):
    """Early Integration Module (*paper*: early, parallel, bilateral, multi-scale).

    Every scale's picture reads the ORIGINAL sound; in parallel the sound reads every scale's original picture, one scale after
    the other (*lineage*). *Ours*: both by way of the same cells, those of strides 4 and 8 averaged to stride 16.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.cell_norm = nn.LayerNorm(config.hidden_size)
        self.audio_to_vision = CCFormerAudioToVision(config)
        self.vision_to_audio = CCFormerVisionToAudio(config)

    def forward(
        self, maps: list[Tensor], sound: Tensor, times: Tensor, frame_mask: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """maps: per scale `(B*T, h, w, D)`; sound `(B, T, D)`. Returns the fused maps and the sound after each scale."""
        batch, frames, _ = sound.shape
        sounds, fused = [], []
        heard = sound
        for stride, picture in zip(STRIDES, maps, strict=True):
            cells = picture
            if stride < 16:
                cells = F.avg_pool2d(picture.permute(0, 3, 1, 2), 16 // stride).permute(0, 2, 3, 1)
            height, width = cells.shape[1:3]
            cells = self.cell_norm(cells).unflatten(0, (batch, frames))  # (B, T, h', w', D)
            codes = position_code(height, width, like=cells).unflatten(0, (height, width)) + times[:, None, None]
            sound_mask = None
            if frame_mask is not None:
                sound_mask = additive_mask(frame_mask, sound.dtype)[:, None, None]
                sound_mask = sound_mask.expand(-1, 1, frames * height * width, -1)
            fused.append(self.audio_to_vision(picture, cells, codes, sound, times, sound_mask))
            heard = self.vision_to_audio(heard, cells, codes, times, frame_mask)
            sounds.append(heard)
        return fused, sounds


# ------------------------------------------------------------------------------------------------------------------------ MTM
class CCFormerQueryGenerator(nn.Module):
    """Learned queries read the sound of their second and become audio queries (*lineage*); `(B, T, L, D)` -> `(B, T, Q, D)`.

    *Ours*: the L sounds of a second are the original one and those that EIM enriched with each scale's picture.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.query = CCFormerTable(config.num_queries, config.hidden_size)
        self.attention = CCFormerAttention(config)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.feed_forward = CCFormerFeedForward(config)

    def forward(self, sounds: Tensor) -> Tensor:
        batch, frames, levels, width = sounds.shape
        query = self.query().expand(batch * frames, -1, -1)
        sounds = self.norm(sounds).flatten(0, 1)
        heard, _ = self.attention(query, sounds, sounds)
        return self.feed_forward(query + heard).view(batch, frames, -1, width)


class CCFormerVideoExchange(nn.Module):
    """Video queries gather from the queries of all frames, exchange, and hand back; its cost is linear in T.

    *Lineage*: the cross-attention and feed-forward network. *Ours*: doing it in every decoder layer.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        width = config.hidden_size
        self.gather_norm, self.frame_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.gather = CCFormerAttention(config)
        self.exchange_norm = nn.LayerNorm(width)
        self.exchange = CCFormerAttention(config)
        self.feed_forward = CCFormerFeedForward(config)
        self.return_norm, self.video_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.hand_back = CCFormerAttention(config)

    def forward(
        self, queries: Tensor, video: Tensor, times: Tensor, query_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """queries `(B, T, Q, D)`, video `(B, V, D)`, query_mask additive `(B, 1, V, T*Q)`."""
        frames = self.frame_norm(queries)
        keys = (frames + times[:, None]).flatten(1, 2)
        video = video + self.gather(self.gather_norm(video), keys, frames.flatten(1, 2), query_mask)[0]
        normed = self.exchange_norm(video)
        video = self.feed_forward(video + self.exchange(normed, normed, normed)[0])
        readers = (self.return_norm(queries) + times[:, None]).flatten(1, 2)
        normed = self.video_norm(video)
        return queries + self.hand_back(readers, normed, normed)[0].view_as(queries), video


class CCFormerDecoderLayer(GradientCheckpointingLayer):
    """One MTM layer (*paper*: frame and video relations modelled at the same time).

    Frame level: masked cross-attention to the pixels of that frame, self-attention, feed-forward. Video level: see
    `CCFormerVideoExchange`.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        width = config.hidden_size
        self.cross_norm = nn.LayerNorm(width)
        self.cross_attn = CCFormerAttention(config)
        self.self_norm = nn.LayerNorm(width)
        self.self_attn = CCFormerAttention(config)
        self.feed_forward = CCFormerFeedForward(config)
        self.video_exchange = CCFormerVideoExchange(config) if config.use_video_queries else None

    def forward(
        self,
        queries: Tensor,  # (B, T, Q, D)
        video: Tensor | None,  # (B, V, D)
        query_code: Tensor,  # (Q, D)
        pixels: Tensor,  # (B*T, N, D)
        pixel_code: Tensor,  # (N, D)
        pixel_mask: Tensor,  # additive (B*T, 1, Q, N)
        times: Tensor,  # (T, D)
        query_mask: Tensor | None,  # additive (B, 1, V, T*Q)
    ) -> tuple[Tensor, Tensor | None]:
        shape = queries.shape
        queries = queries.flatten(0, 1)
        queries = (
            queries
            + self.cross_attn(self.cross_norm(queries) + query_code, pixels + pixel_code, pixels, pixel_mask)[0]
        )
        normed = self.self_norm(queries)
        queries = queries + self.self_attn(normed + query_code, normed + query_code, normed)[0]
        queries = self.feed_forward(queries).view(shape)
        if self.video_exchange is not None:
            queries, video = self.video_exchange(queries, video, times, query_mask)
        return queries, video


class CCFormerMaskHead(nn.Module):
    """Queries -> their label and mask embedding (*lineage*, Mask2Former)."""

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.label = nn.Linear(config.hidden_size, config.num_labels)
        self.mask = CCFormerMLP(config.hidden_size, config.hidden_size, config.hidden_size)

    def forward(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        queries = self.norm(queries)
        return self.label(queries), self.mask(queries)


class CCFormerMultiQueryTransformer(nn.Module):
    """Multi-query Transformer Module (*paper*): audio queries, frame queries and video queries in one stack of layers."""

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.query_generator = CCFormerQueryGenerator(config)
        self.query_code = CCFormerTable(config.num_queries, config.hidden_size)
        self.video_query = (
            CCFormerTable(config.num_video_queries, config.hidden_size) if config.use_video_queries else None
        )
        self.layers = nn.ModuleList([CCFormerDecoderLayer(config) for _ in range(config.decoder_layers)])
        self.head = CCFormerMaskHead(config)

    def forward(
        self, memory: list[Tensor], fine: Tensor, sounds: Tensor, times: Tensor, frame_mask: Tensor | None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """memory: maps `(B*T, h, w, D)` of strides 8, 16, 32; fine: mask features at stride 4; sounds `(B, T, L, D)`.

        Returns the queries, and per prediction the label logits `(B, T, Q, K)` and mask logits `(B, T, Q, h, w)`.
        """
        batch, frames = sounds.shape[:2]
        queries = self.query_generator(sounds)  # (B, T, Q, D)
        num_queries = queries.shape[2]
        video, query_mask = None, None
        if self.video_query is not None:
            video = self.video_query().expand(batch, -1, -1)
            if frame_mask is not None:
                allowed = frame_mask[:, :, None].expand(-1, -1, num_queries).flatten(1)  # (B, T*Q)
                query_mask = additive_mask(allowed, fine.dtype)[:, None, None].expand(-1, 1, video.shape[1], -1)
        # Bilinear resizing and the product with the mask embedding commute, so a layer's attention mask is made from resized
        # features: the same numbers as resizing the full mask, at a fraction of the work.
        small = [resize(fine, m.shape[1:3]).flatten(1, 2) for m in memory]
        pixels = [m.flatten(1, 2) for m in memory]
        codes = [position_code(m.shape[1], m.shape[2], like=m) for m in memory]

        labels, masks = [], []
        for index, layer in enumerate(self.layers):
            label_logits, mask_embedding = self.head(queries)
            if self.training:  # deep supervision
                labels.append(label_logits)
                masks.append(self.full_masks(mask_embedding, fine))
            level = 2 - index % 3  # strides 32, 16, 8, 32, ...
            inside = (mask_embedding.flatten(0, 1) @ small[level].transpose(1, 2)).detach() > 0  # (B*T, Q, N)
            inside = inside | ~inside.any(dim=-1, keepdim=True)  # an empty mask may look everywhere
            pixel_mask = additive_mask(inside, fine.dtype)[:, None]
            queries, video = layer(
                queries, video, self.query_code(), pixels[level], codes[level], pixel_mask, times, query_mask
            )
        label_logits, mask_embedding = self.head(queries)
        labels.append(label_logits)
        masks.append(self.full_masks(mask_embedding, fine))
        return queries, labels, masks

    @staticmethod
    def full_masks(mask_embedding: Tensor, fine: Tensor) -> Tensor:
        batch, frames, num_queries, _ = mask_embedding.shape
        masks = mask_embedding.flatten(0, 1) @ fine.flatten(1, 2).transpose(1, 2)  # (B*T, Q, h*w)
        return masks.view(batch, frames, num_queries, *fine.shape[1:3])


def join_queries(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Queries -> log-probability of each label at each cell (*ours*), `(..., Q, K)`, `(..., Q, h, w)` -> `(..., K, h, w)`.

    A cell is background if no query claims it, each claiming it with p(object) * p(mask): the product over all queries. What is
    left goes to the labels in proportion to sum_q p_q(label) * p_q(mask). For one query this is Mask2Former's map; for many,
    unlike their sum, it never passes 1 and keeps a gradient everywhere.
    """
    label = class_logits.float().softmax(-1)[..., 1:]  # (..., Q, K-1)
    mask = mask_logits.float().sigmoid()  # (..., Q, h, w)
    claim = mask * label.sum(-1)[..., None, None]
    log_background = torch.log1p(-claim.clamp(max=1 - 1e-6)).sum(-3, keepdim=True)  # (..., 1, h, w)
    share = torch.einsum("...qk,...qhw->...khw", label, mask).clamp(min=1e-12)
    foreground = -torch.expm1(log_background)
    log_labels = (foreground * share / share.sum(-3, keepdim=True)).clamp(min=1e-7).log()
    return torch.cat([log_background.clamp(min=math.log(1e-7)), log_labels], dim=-3)


# ----------------------------------------------------------------------------------------------------------------- the models
class CCFormerPreTrainedModel(PreTrainedModel):
    """What both models share: initial weights, and what transformers needs to know to load, record and checkpoint them."""

    config_class = CCFormerConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("video", "audio")
    supports_gradient_checkpointing = True
    _no_split_modules = ["CCFormerPixelDecoderLayer", "CCFormerDecoderLayer"]
    _supports_sdpa = True
    _can_record_outputs = {
        "hidden_states": CCFormerDecoderLayer,
        "attentions": OutputRecorder(CCFormerAttention, index=1, layer_name="cross_attn"),
    }

    def get_input_embeddings(self) -> nn.Module:
        """The layer that feeds all others but the picture's: adapters (PEFT) make its output require a gradient."""
        return self.base_model.audio_projection[0]

    def set_input_embeddings(self, value: nn.Module):
        """Replaces the layer that `get_input_embeddings` gives."""
        self.base_model.audio_projection[0] = value

    def set_attn_implementation(self, attn_implementation: str | dict, **kwargs):
        """As in transformers; but "sdpa" for the whole model passes over a backbone without it, as ResNet and PVT-v2 are."""
        if attn_implementation == "sdpa" and not self.base_model.backbone._supports_sdpa:
            attn_implementation = {"": "sdpa", "backbone_config": "eager"}
        super().set_attn_implementation(attn_implementation, **kwargs)

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False):
        # For code outside the library, transformers passes over modules without parameters of their own, so that most branches
        # of `_init_weights` would never run. Its reason, overwriting loaded weights, is none here: `init` leaves those alone.
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
        elif isinstance(module, CCFormerAttention | CCFormerMLP | CCFormerFeedForward):
            for layer in module.modules():
                if isinstance(layer, nn.Linear):
                    init.xavier_uniform_(layer.weight)
        elif isinstance(module, CCFormerModel):
            init.normal_(module.no_sound)


class CCFormerModel(CCFormerPreTrainedModel):
    """The whole network up to labels and masks of the queries; `CCFormerForAudioVisualSegmentation` joins and trains them."""

    def __init__(self, config: CCFormerConfig):
        super().__init__(config)
        width = config.hidden_size
        # "sdpa" asked of the whole model reaches the backbone too, and ResNet and PVT-v2 have none: None lets it choose.
        if config.backbone_config._attn_implementation == "sdpa":
            config.backbone_config._attn_implementation = None
        self.backbone = load_backbone(config)
        # Those of timm that give (F, h, w, C), Swin and its like, say so; some of the others say nothing.
        of_timm = self.backbone._backbone if config.backbone_config.model_type == TIMM else None
        self.backbone_turns_maps = getattr(of_timm, "output_fmt", "NCHW") == "NHWC"
        self.projections = nn.ModuleList([CCFormerProjection(c, width) for c in self.backbone.channels])
        self.audio_backbone = CCFormerVGGish(config)
        self.audio_projection = nn.Sequential(nn.Linear(config.audio_embed_size, width), nn.LayerNorm(width))
        self.no_sound = nn.Parameter(torch.empty(width))
        self.eim = CCFormerEarlyIntegration(config) if config.use_eim else None
        self.pixel_decoder = CCFormerPixelDecoder(config)
        self.mtm = CCFormerMultiQueryTransformer(config)
        self.post_init()

    def check_inputs(self, pixel_values: Tensor, input_features: Tensor, **masks: Tensor | None):
        if pixel_values.ndim != 5 or pixel_values.shape[2] != 3:
            raise ValueError(
                f"pixel_values has shape {tuple(pixel_values.shape)}, it must be (clips, frames, 3, height, width)"
            )
        height, width = pixel_values.shape[-2:]
        if height % 32 or width % 32:
            raise ValueError(
                f"pixel_values is {height}x{width}, both must be multiples of 32: resize to "
                f"{max(1, round(height / 32)) * 32}x{max(1, round(width / 32)) * 32} (AudioVisualProcessor resizes for you)"
            )
        if input_features.ndim != 5 or input_features.shape[2:] != (1, 96, 64):
            raise ValueError(
                f"input_features has shape {tuple(input_features.shape)}, it must be (clips, frames, 1, 96, 64): one log-mel "
                "example per frame, as AudioVisualProcessor makes it"
            )
        if input_features.shape[:2] != pixel_values.shape[:2]:
            raise ValueError(
                f"pixel_values has {tuple(pixel_values.shape[:2])} clips and frames, input_features "
                f"{tuple(input_features.shape[:2])}: both need one entry per frame"
            )
        for name, mask in masks.items():
            check_mask(name, mask, pixel_values)

    def look(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Frames `(F, 3, H, W)` -> the backbone's maps `(F, C, h, w)` at strides 4, 8, 16, 32; C differs."""
        # Channels-last, as all that follows: convolutions run faster so, and no map need be turned.
        features = self.backbone(frames.contiguous(memory_format=torch.channels_last)).feature_maps
        if self.backbone_turns_maps:
            features = tuple(f.permute(0, 3, 1, 2) for f in features)
        strides = tuple(frames.shape[-1] // f.shape[-1] for f in features)
        if strides != STRIDES:
            raise ValueError(
                f"the backbone gives maps at strides {strides}, they must be {STRIDES}: choose another backbone_config"
            )
        return features

    def see(self, pixel_values: Tensor, frame_mask: Tensor | None) -> list[Tensor]:
        """Frames `(B, T, 3, H, W)` -> maps `(B*T, h, w, D)` at strides 4, 8, 16, 32; those of padding are zero.

        Padding frames are not computed. A compiled model has shapes that no mask may decide and computes them, from zeros; but
        not in training, where a BatchNorm would count them.
        """
        frames = pixel_values.flatten(0, 1)
        compiled = torch.compiler.is_compiling() and not self.training
        if frame_mask is None or (not compiled and bool(frame_mask.all())):
            real, chosen = None, frames
        else:
            real = frame_mask.flatten()[:, None, None, None]
            chosen = frames.masked_fill(~real, 0) if compiled else frames[frame_mask.flatten()]
        maps = [projection(f) for projection, f in zip(self.projections, self.look(chosen), strict=True)]
        if real is None:
            return maps
        if compiled:
            return [m.masked_fill(~real, 0) for m in maps]
        return [m.new_zeros(len(frames), *m.shape[1:]).masked_scatter(real, m) for m in maps]

    def hear(self, input_features: Tensor, audio_mask: Tensor) -> Tensor:
        """Log-mel `(B, T, 1, 96, 64)` -> `(B, T, D)`; where there is no sound the learned "no sound" token (*ours*)."""
        batch, frames = input_features.shape[:2]
        # Zeros first: what lies there may be anything, and NaN would come through the gradient even if not chosen.
        input_features = input_features.masked_fill(~audio_mask[:, :, None, None, None], 0)
        sound = self.audio_projection(self.audio_backbone(input_features.flatten(0, 1))).view(batch, frames, -1)
        return torch.where(audio_mask[..., None], sound, self.no_sound.to(sound.dtype))

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        pixel_values: Tensor,
        input_features: Tensor,
        frame_mask: Tensor | None = None,
        audio_mask: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CCFormerModelOutput:
        """Arguments as in `CCFormerForAudioVisualSegmentation.forward`."""
        self.check_inputs(pixel_values, input_features, frame_mask=frame_mask, audio_mask=audio_mask)
        batch, frames = pixel_values.shape[:2]
        # A mask always, so that the "no sound" token is part of every step: distributed training wants no idle parameter.
        audio_mask = pixel_values.new_ones((batch, frames), dtype=torch.bool) if audio_mask is None else audio_mask
        audio_mask = audio_mask if frame_mask is None else audio_mask & frame_mask
        maps = self.see(pixel_values, frame_mask)
        sound = self.hear(input_features, audio_mask)
        visual_embedding = maps[1].permute(0, 3, 1, 2).unflatten(0, (batch, frames))
        times = sine_code(torch.arange(frames, device=sound.device), sound.shape[-1]).to(sound.dtype)  # (T, D)
        sounds = [sound]
        if self.eim is not None:
            maps, heard = self.eim(maps, sound, times, frame_mask)
            sounds += heard
        memory, fine = self.pixel_decoder(maps)
        queries, labels, masks = self.mtm(memory, fine, torch.stack(sounds, dim=2), times, frame_mask)
        return CCFormerModelOutput(
            last_hidden_state=queries,
            class_logits=tuple(labels),
            mask_logits=tuple(masks),
            audio_embedding=sound,
            visual_embedding=visual_embedding,
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
        """What the losses of this batch are divided by, `(3,)` float: for `forward`'s `loss_counts`, summed over the parts of a step."""
        used, heard = self.used_frames(labels, frame_mask, audio_mask, label_mask)
        return count_items(labels, used, heard, self.config)

    @torch.compiler.disable  # shapes that the labels decide, and a matching on the CPU
    def losses(
        self,
        outputs: CCFormerModelOutput,
        logits: Tensor,
        labels: Tensor,
        used: Tensor,
        heard: Tensor,
        counts: Tensor | None,
        seed: int | None,
        others: Sequence[FramePairs],
    ) -> dict[str, Tensor]:
        losses = segmentation_losses(
            outputs.class_logits, outputs.mask_logits, logits, labels, used, self.config, counts, seed
        )
        if self.config.contrastive_weight > 0:
            pairs = self.frame_pairs(outputs.audio_embedding, outputs.visual_embedding, labels, heard)
            rows = None if counts is None else counts[2].clamp(min=1)
            losses["contrastive"] = contrastive_loss(pairs, self.config.contrastive_temperature, rows, others)
        return losses

    def frame_pairs(self, sound: Tensor, visual: Tensor, labels: Tensor, heard: Tensor) -> FramePairs:
        """What the contrastive loss compares, of all processes; sound `(B, T, D)`, visual `(B, T, D, h, w)`, both before any fusion."""
        clips = torch.arange(labels.shape[0], device=labels.device)[:, None].expand(labels.shape[:2])
        pooled, sounding = mask_pool(visual, labels, heard)
        return frame_pairs(self.audio_projector(sound[sounding]), self.visual_projector(pooled), clips[sounding])

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
            input_features: log-mel `(B, T, 1, 96, 64)`, one example per frame.
            frame_mask: `(B, T)` bool, False on padding; None: all frames are real.
            audio_mask: `(B, T)` bool, False where there is no sound; None: there is sound everywhere.
            labels: `(B, T, H', W')` int64 label ids of any size, 0 = background, 255 = ignored. Adds the loss.
            label_mask: `(B, T)` bool, True on annotated frames; None: all real frames are annotated.
            loss_counts: `(3,)`, the sum of `count_loss_items` over all processes and accumulated batches of a step, so that they
                train like one batch; None: this batch alone, of all processes.
            loss_seed: of the random points at which masks are read; the same for all parts of a step. None: torch's generator.
            loss_others: the `frame_pairs` of each other accumulated batch of a step, for the contrastive loss to see them all.
            only_frame_pairs: computes nothing but those of this batch, which takes the backbones alone.

        Raises:
            ValueError: for inputs of a wrong shape; the message names the right one.
        """
        if only_frame_pairs:
            _, heard = self.used_frames(labels, frame_mask, audio_mask, label_mask)
            visual = self.model.see(pixel_values, frame_mask)[1].unflatten(0, labels.shape[:2])
            sound = self.model.hear(input_features, heard)
            return CCFormerOutput(frame_pairs=self.frame_pairs(sound, visual, labels, heard))
        outputs = self.model(pixel_values, input_features, frame_mask, audio_mask, **kwargs)
        logits = join_queries(outputs.class_logits[-1], outputs.mask_logits[-1])
        loss, loss_dict = None, None
        if labels is not None:
            check_mask("label_mask", label_mask, pixel_values)
            if labels.dtype != torch.int64 or labels.ndim != 4 or labels.shape[:2] != pixel_values.shape[:2]:
                raise ValueError(
                    f"labels are {labels.dtype} of shape {tuple(labels.shape)}, they must be torch.int64 of shape (clips, frames, "
                    f"height, width), with {tuple(pixel_values.shape[:2])} clips and frames as in pixel_values"
                )
            used, heard = self.used_frames(labels, frame_mask, audio_mask, label_mask)
            loss_dict = self.losses(outputs, logits, labels, used, heard, loss_counts, loss_seed, loss_others)
            weights = {name: getattr(self.config, f"{name}_weight") for name in loss_dict}
            loss = sum(weights[name] * value for name, value in loss_dict.items())
            loss_dict = {name: value.detach() for name, value in loss_dict.items()}
        return CCFormerOutput(
            loss=loss,
            loss_dict=loss_dict,
            logits=logits,
            class_logits=outputs.class_logits[-1],
            mask_logits=outputs.mask_logits[-1],
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
