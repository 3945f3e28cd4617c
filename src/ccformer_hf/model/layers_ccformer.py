"""Layers that several parts of CCFormer are built from: position codes, attention, feed-forward networks.

Letters in the shapes: B batch, M and N tokens, D width, F frames (clips * frames of each), h w feature map.

Maps are channels-last, `(F, h, w, D)`: their tokens are a view of them, and on a CPU depth-wise convolutions are a quarter and resizing
ten times faster than with the channels first.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_ccformer import CCFormerConfig


def sine_code(positions: Tensor, size: int) -> Tensor:
    """Sine/cosine code of positions: `(...,)` -> `(..., size)`; `size` even."""
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(size // 2, device=positions.device) / (size // 2))
    angles = positions[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def position_code(height: int, width: int, like: Tensor) -> Tensor:
    """2-D sine positions of a map, `(h*w, D)`: half of D for the row, half for the column, both scaled to 0..2*pi*10."""
    size, scale = like.shape[-1] // 2, 2 * math.pi * 10
    rows = (torch.arange(height, device=like.device) + 0.5) / height * scale
    columns = (torch.arange(width, device=like.device) + 0.5) / width * scale
    rows = sine_code(rows, size)[:, None].expand(-1, width, -1)
    columns = sine_code(columns, size)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1).to(like.dtype)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear: `(F, h, w, D)` -> `(F, *size, D)`."""
    if maps.shape[1:3] == size:
        return maps
    return F.interpolate(maps.permute(0, 3, 1, 2), size=size, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)


def additive_mask(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """True = may be attended to -> 0, False -> the lowest number of `dtype`, as every attention implementation takes it."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Attention written out, for those who want its weights; arguments and result as transformers defines them."""
    weights = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = weights.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2), weights


class CCFormerTable(nn.Embedding):
    """Learned rows `(N, D)`, always all of them. Called, not read off its weight, so that hooks (offloading) see it used."""

    def forward(self) -> Tensor:
        return self.weight


class CCFormerAttention(nn.Module):
    """Multi-head attention: queries `(B, M, D)` read `(B, N, D)` -> `(B, M, D)` and the weights (eager only)."""

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.config = config
        self.head_size = config.hidden_size // config.num_heads
        self.scaling = self.head_size**-0.5
        self.is_causal = False
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, attention_mask: Tensor | None = None):
        batch, num_queries, width = queries.shape
        query = self.query(queries).view(batch, num_queries, -1, self.head_size).transpose(1, 2)
        key = self.key(keys).view(batch, keys.shape[1], -1, self.head_size).transpose(1, 2)
        value = self.value(values).view(batch, keys.shape[1], -1, self.head_size).transpose(1, 2)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.config.dropout if self.training else 0.0
        output, weights = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling)
        return self.output(output.reshape(batch, num_queries, width)), weights


class CCFormerDepthwise(nn.Conv2d):
    """Depth-wise 3x3 convolution of maps, `(F, h, w, D)` -> the same."""

    def __init__(self, width: int):
        super().__init__(width, width, 3, padding=1, groups=width)

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class CCFormerProjection(nn.Sequential):
    """A backbone's map `(F, C, h, w)` -> `(F, h, w, D)`, each cell normed."""

    def __init__(self, channels: int, width: int):
        super().__init__(nn.Conv2d(channels, width, 1), nn.LayerNorm(width))

    def forward(self, feature_map: Tensor) -> Tensor:
        conv, norm = self
        return norm(conv(feature_map).permute(0, 2, 3, 1))


class CCFormerFeedForward(nn.Module):
    """Pre-norm feed-forward network with a residual."""

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.expand = nn.Linear(config.hidden_size, config.feed_forward_size)
        self.dropout = nn.Dropout(config.dropout)
        self.contract = nn.Linear(config.feed_forward_size, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.contract(self.dropout(F.relu(self.expand(self.norm(hidden)))))


class CCFormerMLP(nn.Sequential):
    """Three linear layers with ReLU between them."""

    def __init__(self, in_size: int, hidden_size: int, out_size: int):
        super().__init__(
            nn.Linear(in_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, out_size)
        )  # fmt: skip
