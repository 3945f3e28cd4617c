"""Early Integration Module (EIM): sound and picture read each other at all four scales, before the pixel decoder.

Letters in the shapes: B clips, T frames, D width, h w feature map, h' w' the same at stride 16 at the finest, N its
cells of a frame.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_ccformer import CCFormerConfig
from .layers_ccformer import (
    STRIDES,
    CCFormerAttention,
    CCFormerDepthwise,
    channels_first,
    channels_last,
    padding_mask,
    position_embedding,
    resize,
)

COARSE_STRIDE = 16  # sound and picture read each other no finer than this


class CCFormerAudioToVision(nn.Module):
    """Sound into picture: each cell reads the sound of the whole clip, and locally that of its own second.

    *Lineage*: cross-attention multiplied into the picture with a residual, one module for all scales. *Ours*: the
    local branch (*paper*: "local and global"), a depth-wise convolution scaled per channel by the sound of the same
    second; reading at stride 16 at the finest, for which sound a place listens to is a coarse matter, and the fine
    cells cost most of the time; and a norm without weights at the end, so that no weights can make the picture grow.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        width = config.hidden_size
        self.attention = CCFormerAttention(config)
        self.local = CCFormerDepthwise(width)
        self.local_scale = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def forward(
        self,
        feature_map: Tensor,  # (B*T, h, w, D)
        cells: Tensor,  # (B, T, h', w', D), the map at stride 16 at the finest
        cell_embed: Tensor,  # (T, h', w', D), of place and time
        audio: Tensor,  # (B, T, D)
        time_embed: Tensor,  # (T, D)
        attention_mask: Tensor | None,  # additive (B, 1, T*N, T)
    ) -> Tensor:
        queries = (cells + cell_embed).flatten(1, 3)  # (B, T*N, D)
        attended, _ = self.attention(queries, audio + time_embed, audio, attention_mask)  # (B, T*N, D)
        attended = attended.view_as(cells).flatten(0, 1)  # (B*T, h', w', D)
        attended = resize(attended, feature_map.shape[1:3])  # (B*T, h, w, D)
        local_scale = self.local_scale(audio).flatten(0, 1)[:, None, None]  # (B*T, 1, 1, D)
        # map + map * attended + local * scale; addcmul passes once over the cells where + and * take two
        fused = torch.addcmul(feature_map, feature_map, attended)
        return self.norm(torch.addcmul(fused, self.local(feature_map), local_scale))


class CCFormerVisionToAudio(nn.Module):
    """Picture into sound: each second of sound reads the cells of all frames (*lineage*, one module for all scales).

    *Ours*: a norm without weights at the end: multiplied by the picture four times over, the sound would grow without
    bound.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.sound_norm = nn.LayerNorm(config.hidden_size)
        self.attention = CCFormerAttention(config)
        self.norm = nn.LayerNorm(config.hidden_size, elementwise_affine=False)

    def forward(
        self,
        audio: Tensor,  # (B, T, D)
        cells: Tensor,  # (B, T, h', w', D)
        cell_embed: Tensor,  # (T, h', w', D), of place and time
        time_embed: Tensor,  # (T, D)
        frame_mask: Tensor | None,  # (B, T)
    ) -> Tensor:
        keys, values = (cells + cell_embed).flatten(1, 3), cells.flatten(1, 3)  # (B, T*N, D)
        attention_mask = padding_mask(frame_mask, cells.shape[2] * cells.shape[3], audio.shape[1], audio.dtype)
        attended, _ = self.attention(self.sound_norm(audio) + time_embed, keys, values, attention_mask)  # (B, T, D)
        return self.norm(audio + audio * attended)


class CCFormerEarlyIntegration(nn.Module):
    """Early Integration Module (*paper*: early, parallel, bilateral, multi-scale).

    Every scale's picture reads the ORIGINAL sound; in parallel the sound reads every scale's original picture, one
    scale after the other (*lineage*). *Ours*: both by way of the same cells, those of strides 4 and 8 averaged to
    stride 16.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.cell_norm = nn.LayerNorm(config.hidden_size)
        self.audio_to_vision = CCFormerAudioToVision(config)
        self.vision_to_audio = CCFormerVisionToAudio(config)

    def forward(
        self,
        feature_maps: list[Tensor],  # per scale (B*T, h, w, D)
        audio: Tensor,  # (B, T, D)
        time_embed: Tensor,  # (T, D)
        frame_mask: Tensor | None,  # (B, T)
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Returns the fused feature maps, and the audio after each scale, `(B, T, D)`."""
        batch, frames, _ = audio.shape
        fused_maps, fused_audio = [], []
        enriched = audio
        for stride, feature_map in zip(STRIDES, feature_maps, strict=True):
            cells = feature_map  # (B*T, h, w, D)
            if stride < COARSE_STRIDE:
                pooled = F.avg_pool2d(channels_first(feature_map), COARSE_STRIDE // stride)  # (B*T, D, h', w')
                cells = channels_last(pooled)  # (B*T, h', w', D)
            cell_embed = position_embedding(cells) + time_embed[:, None, None]  # (T, h', w', D)
            cells = self.cell_norm(cells).unflatten(0, (batch, frames))  # (B, T, h', w', D)
            num_cells = frames * cells.shape[2] * cells.shape[3]
            attention_mask = padding_mask(frame_mask, 1, num_cells, audio.dtype)  # (B, 1, T*N, T)
            fused_maps.append(self.audio_to_vision(feature_map, cells, cell_embed, audio, time_embed, attention_mask))
            enriched = self.vision_to_audio(enriched, cells, cell_embed, time_embed, frame_mask)  # (B, T, D)
            fused_audio.append(enriched)
        return fused_maps, fused_audio
