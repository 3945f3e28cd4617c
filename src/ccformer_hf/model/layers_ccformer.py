"""Layers that several parts of CCFormer are built from: position embeddings, attention, feed-forward networks.

Letters in the shapes: B batch, T frames, M and N tokens, D width, F = B*T frames of all clips, h w feature map.

Feature maps are channels-last, `(F, h, w, D)`: their tokens are a view of them, and on a CPU depth-wise convolutions
are a quarter and resizing ten times faster than with the channels first.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_ccformer import CCFormerConfig

STRIDES = (4, 8, 16, 32)  # pixels of the picture per cell of each feature map


def channels_first(feature_map: Tensor) -> Tensor:
    """A view of `(F, h, w, D)` as `(F, D, h, w)`, which convolutions and resizing take."""
    return feature_map.permute(0, 3, 1, 2)


def channels_last(feature_map: Tensor) -> Tensor:
    """A view of `(F, D, h, w)` as `(F, h, w, D)`."""
    return feature_map.permute(0, 2, 3, 1)


def sine_embedding(positions: Tensor, size: int) -> Tensor:
    """Sine/cosine embedding of positions: `(...,)` -> `(..., size)`; `size` even."""
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(size // 2, device=positions.device) / (size // 2))
    angles = positions[..., None] * frequencies  # (..., size/2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)  # (..., size)


def time_embedding(tokens: Tensor) -> Tensor:
    """Sine embedding of the frame numbers 0..T-1 of `tokens`, `(B, T, D)` -> `(T, D)`."""
    numbers = torch.arange(tokens.shape[1], device=tokens.device)
    return sine_embedding(numbers, tokens.shape[-1]).to(tokens.dtype)


def position_embedding(feature_map: Tensor) -> Tensor:
    """2-D sine positions of a map, `(F, h, w, D)` -> `(h, w, D)`: half of D for the row, half for the column.

    Both are scaled to 0..2*pi*10 whatever the size of the map, so that cells of two scales in one place get one
    embedding.
    """
    height, width, size = feature_map.shape[1], feature_map.shape[2], feature_map.shape[3] // 2
    scale = 2 * math.pi * 10
    rows = (torch.arange(height, device=feature_map.device) + 0.5) / height * scale  # (h,)
    columns = (torch.arange(width, device=feature_map.device) + 0.5) / width * scale  # (w,)
    rows = sine_embedding(rows, size)[:, None].expand(-1, width, -1)  # (h, w, D/2)
    columns = sine_embedding(columns, size)[None].expand(height, -1, -1)  # (h, w, D/2)
    return torch.cat([rows, columns], dim=-1).to(feature_map.dtype)  # (h, w, D)


def resize(feature_map: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear: `(F, h, w, D)` -> `(F, *size, D)`."""
    if feature_map.shape[1:3] == size:
        return feature_map
    return channels_last(F.interpolate(channels_first(feature_map), size=size, mode="bilinear", align_corners=False))


def additive_mask(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """True (may be attended to) -> 0, False -> the lowest number of `dtype`, as all implementations take it."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)


def padding_mask(
    frame_mask: Tensor | None, tokens_per_frame: int, num_queries: int, dtype: torch.dtype
) -> Tensor | None:
    """Keeps M queries from reading padding frames: `(B, T)` -> additive `(B, 1, M, N)`, N = T * tokens_per_frame."""
    if frame_mask is None:
        return None
    allowed = frame_mask[:, :, None].expand(-1, -1, tokens_per_frame).flatten(1)  # (B, N)
    return additive_mask(allowed, dtype)[:, None, None].expand(-1, 1, num_queries, -1)  # (B, 1, M, N)


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Attention written out, for those who want its weights; arguments and result as transformers defines them."""
    weights = query @ key.transpose(2, 3) * scaling  # (B, heads, M, N)
    if attention_mask is not None:
        weights = weights + attention_mask
    # In float32: half precision has too few digits for a sum over thousands of tokens.
    weights = weights.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2), weights  # (B, M, heads, D/heads)


class CCFormerTable(nn.Embedding):
    """Learned rows `(N, D)`, always all of them. It is called, not read, so that hooks (offloading) see it."""

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
        num_keys = keys.shape[1]
        # One head after the other along D -> (B, heads, tokens, D/heads)
        query = self.query(queries).view(batch, num_queries, -1, self.head_size).transpose(1, 2)
        key = self.key(keys).view(batch, num_keys, -1, self.head_size).transpose(1, 2)
        value = self.value(values).view(batch, num_keys, -1, self.head_size).transpose(1, 2)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.config.dropout if self.training else 0.0
        output, weights = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling)
        return self.output(output.reshape(batch, num_queries, width)), weights  # (B, M, D)


class CCFormerDepthwise(nn.Conv2d):
    """Depth-wise 3x3 convolution of feature maps, `(F, h, w, D)` -> the same."""

    def __init__(self, width: int):
        super().__init__(width, width, 3, padding=1, groups=width)

    def forward(self, feature_map: Tensor) -> Tensor:
        return channels_last(super().forward(channels_first(feature_map)))


class CCFormerProjection(nn.Sequential):
    """A backbone's map `(F, C, h, w)` -> `(F, h, w, D)`, each cell normed."""

    def __init__(self, channels: int, width: int):
        super().__init__(nn.Conv2d(channels, width, 1), nn.LayerNorm(width))

    def forward(self, feature_map: Tensor) -> Tensor:
        conv, norm = self
        return norm(channels_last(conv(feature_map)))


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
            nn.Linear(in_size, hidden_size), nn.ReLU(),
            nn.Linear(hidden_size, hidden_size), nn.ReLU(),
            nn.Linear(hidden_size, out_size),
        )  # fmt: skip
