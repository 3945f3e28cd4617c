"""The pixel decoder: attention where cells are coarse and few, depth-wise convolutions where they are fine and many.

*Lineage*: multi-scale features of a frame attend to each other and are joined down to stride 4. *Ours*, after
    RT-DETR's
hybrid encoder: the lineage's six deformable layers over strides 8, 16 and 32 cost more than a ResNet-50. Here plain
self-attention runs over strides 16 and 32 only, and there is no dense 3x3 convolution anywhere.

Letters in the shapes: see `layers_ccformer`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_ccformer import CCFormerConfig
from .layers_ccformer import (
    CCFormerAttention,
    CCFormerDepthwise,
    CCFormerFeedForward,
    CCFormerTable,
    position_embedding,
    resize,
)


class CCFormerPixelDecoderLayer(GradientCheckpointingLayer):
    """Pre-norm self-attention over the cells of a frame, then a feed-forward network; `(F, N, D)` -> the same."""

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.attention = CCFormerAttention(config)
        self.feed_forward = CCFormerFeedForward(config)

    def forward(self, tokens: Tensor, position_embed: Tensor) -> Tensor:
        normed = self.norm(tokens)
        # Where to look is decided by content and place, what is read there is content alone (DETR).
        placed = normed + position_embed
        return self.feed_forward(tokens + self.attention(placed, placed, normed)[0])


class CCFormerPixelDecoder(nn.Module):
    """Self-attention over strides 16 and 32 of a frame, joined to stride 8 and that to stride 4."""

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        width = config.hidden_size
        self.level_code = CCFormerTable(2, width)
        self.layers = nn.ModuleList([CCFormerPixelDecoderLayer(config) for _ in range(config.pixel_decoder_layers)])
        self.norm = nn.LayerNorm(width)
        self.middle_depthwise = CCFormerDepthwise(width)
        self.middle_norm = nn.LayerNorm(width)
        self.middle_pointwise = nn.Linear(width, width)
        # No mixing of channels after it: the heads' mask embedding is a linear map of these channels anyway.
        self.fine_depthwise = CCFormerDepthwise(width)

    def forward(self, feature_maps: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Feature maps at strides 4, 8, 16, 32, each `(F, h, w, D)`.

        Returns the multi-scale features, those of strides 8, 16 and 32, and the mask features at stride 4.
        """
        mask_features, stride_8, *coarse = feature_maps
        # The tokens of strides 16 and 32 in one row, so that each attends to those of both.
        levels = zip(coarse, self.level_code(), strict=True)  # (F, h, w, D), (D,)
        position_embed = torch.cat([(position_embedding(m) + code).flatten(0, 1) for m, code in levels])  # (N, D)
        tokens = torch.cat([m.flatten(1, 2) for m in coarse], dim=1)  # (F, N, D)
        for layer in self.layers:
            tokens = layer(tokens, position_embed)
        parts = self.norm(tokens).split([m.shape[1] * m.shape[2] for m in coarse], dim=1)  # two of (F, h*w, D)
        coarse = [part.unflatten(1, m.shape[1:3]) for part, m in zip(parts, coarse, strict=True)]  # (F, h, w, D)

        # Top down: what attention found at stride 16 is added to stride 8, and that to stride 4.
        stride_8 = stride_8 + resize(coarse[0], stride_8.shape[1:3])  # (F, H/8, W/8, D)
        stride_8 = stride_8 + self.middle_pointwise(F.relu(self.middle_norm(self.middle_depthwise(stride_8))))
        mask_features = mask_features + resize(stride_8, mask_features.shape[1:3])  # (F, H/4, W/4, D)
        mask_features = mask_features + F.relu(self.fine_depthwise(mask_features))
        return [stride_8, *coarse], mask_features
