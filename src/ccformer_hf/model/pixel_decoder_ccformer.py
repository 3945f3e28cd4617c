"""The pixel decoder: attention where cells are coarse and few, depth-wise convolutions where they are fine and many.

*Lineage*: multi-scale features of a frame look at each other and are joined down to stride 4. *Ours*, after RT-DETR's hybrid encoder: the
lineage's six deformable layers over strides 8, 16 and 32 cost more than a ResNet-50. Here plain self-attention runs over strides 16
and 32 only, and no dense 3x3 convolution anywhere.

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
    position_code,
    resize,
)


class CCFormerPixelDecoderLayer(GradientCheckpointingLayer):
    """Pre-norm self-attention over the cells of a frame, then a feed-forward network; `(F, N, D)` -> the same."""

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.attention = CCFormerAttention(config)
        self.feed_forward = CCFormerFeedForward(config)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        normed = self.norm(tokens)
        placed = normed + positions
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

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """maps: four of `(F, h, w, D)`. Returns those of strides 8, 16, 32, and the mask features at stride 4."""
        fine, middle, *coarse = maps
        level_codes = self.level_code()
        positions = torch.cat(
            [position_code(m.shape[1], m.shape[2], like=m) + code for m, code in zip(coarse, level_codes, strict=True)]
        )
        tokens = torch.cat([m.flatten(1, 2) for m in coarse], dim=1)  # (F, N, D)
        for layer in self.layers:
            tokens = layer(tokens, positions)
        parts = self.norm(tokens).split([m.shape[1] * m.shape[2] for m in coarse], dim=1)
        coarse = [part.unflatten(1, m.shape[1:3]) for part, m in zip(parts, coarse, strict=True)]
        middle = middle + resize(coarse[0], middle.shape[1:3])
        middle = middle + self.middle_pointwise(F.relu(self.middle_norm(self.middle_depthwise(middle))))
        fine = fine + resize(middle, fine.shape[1:3])
        fine = fine + F.relu(self.fine_depthwise(fine))
        return [middle, *coarse], fine
