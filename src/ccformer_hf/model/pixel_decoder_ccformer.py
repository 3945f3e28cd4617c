"""The pixel decoder: deformable attention over three scales, joined to the finest (*lineage*), in pure PyTorch."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_ccformer import CCFormerConfig
from .layers_ccformer import CCFormerFeedForward, CCFormerTable, position_code


class CCFormerDeformableAttention(nn.Module):
    """Multi-scale deformable attention (*lineage*, Deformable DETR eq. 2) in pure PyTorch: no op to compile."""

    def __init__(self, config: CCFormerConfig, num_levels: int = 3):
        super().__init__()
        self.num_heads, self.num_levels, self.num_points = config.num_heads, num_levels, config.num_sampling_points
        samples = self.num_heads * num_levels * self.num_points
        self.offsets = nn.Linear(config.hidden_size, samples * 2)
        self.weights = nn.Linear(config.hidden_size, samples)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def initial_offsets(self) -> Tensor:
        """Bias that lets head i look in direction i, point p at distance p + 1 (cells)."""
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().max(dim=-1, keepdim=True).values
        distances = torch.arange(1, self.num_points + 1)
        offsets = directions[:, None, None] * distances[:, None]  # (heads, 1, points, 2)
        return offsets.expand(-1, self.num_levels, -1, -1).flatten()

    def forward(self, tokens: Tensor, positions: Tensor, centres: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
        """tokens `(B, N, D)` of all scales in a row; centres `(N, 2)` of the cells as x, y in 0..1."""
        batch, num_tokens, width = tokens.shape
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        query = tokens + positions
        offsets = self.offsets(query).view(batch, num_tokens, heads, levels, points, 2)
        weights = self.weights(query).view(batch, num_tokens, heads, levels * points).softmax(-1)
        weights = weights.transpose(1, 2).reshape(batch * heads, 1, num_tokens, levels, points)
        values = (
            self.value(tokens).view(batch, num_tokens, heads, -1).permute(0, 2, 3, 1).flatten(0, 1)
        )  # (B*heads, d, N)
        output = torch.zeros_like(values)
        for level, (size, value) in enumerate(zip(sizes, values.split([h * w for h, w in sizes], dim=2), strict=True)):
            scale = torch.tensor([2 / size[1], 2 / size[0]], dtype=tokens.dtype, device=tokens.device)
            grid = (2 * centres - 1)[:, None, None] + offsets[
                :, :, :, level
            ] * scale  # (B, N, heads, points, 2), -1..1
            grid = grid.transpose(1, 2).flatten(0, 1)
            sampled = F.grid_sample(value.unflatten(2, size), grid, align_corners=False)  # (B*heads, d, N, points)
            output = output + (sampled * weights[:, :, :, level]).sum(-1)  # (B*heads, d, N)
        return self.output(output.view(batch, width, num_tokens).transpose(1, 2))


class CCFormerPixelDecoderLayer(GradientCheckpointingLayer):
    """Pre-norm deformable self-attention over strides 8, 16, 32, then a feed-forward network."""

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.attention = CCFormerDeformableAttention(config)
        self.feed_forward = CCFormerFeedForward(config)

    def forward(self, tokens: Tensor, positions: Tensor, centres: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
        return self.feed_forward(tokens + self.attention(self.norm(tokens), positions, centres, sizes))


class CCFormerPixelDecoder(nn.Module):
    """Deformable encoder over strides 8/16/32, joined to stride 4 (*lineage*).

    *Ours*: at stride 4 a depth-wise separable convolution instead of a full 3x3 one, which alone costs 45 % of a ResNet-50.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        width = config.hidden_size
        self.level_code = CCFormerTable(3, width)
        self.layers = nn.ModuleList([CCFormerPixelDecoderLayer(config) for _ in range(config.pixel_decoder_layers)])
        self.norm = nn.LayerNorm(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.depthwise_norm = nn.GroupNorm(config.num_heads, width)
        self.pointwise = nn.Conv2d(width, width, 1)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """maps: four of `(B, D, h, w)`. Returns those of strides 8, 16, 32 as maps, and the mask features at stride 4."""
        sizes = [(m.shape[2], m.shape[3]) for m in maps[1:]]
        tokens = torch.cat([m.flatten(2).transpose(1, 2) for m in maps[1:]], dim=1)  # (B, N, D)
        level_codes = self.level_code()
        positions = torch.cat([position_code(*size, like=tokens) + level_codes[i] for i, size in enumerate(sizes)])
        centres = torch.cat([self.cell_centres(*size, like=tokens) for size in sizes])
        for layer in self.layers:
            tokens = layer(tokens, positions, centres, sizes)
        tokens = self.norm(tokens)
        memory = [
            m.transpose(1, 2).unflatten(2, size)
            for m, size in zip(tokens.split([h * w for h, w in sizes], dim=1), sizes, strict=True)
        ]
        fine = maps[0] + F.interpolate(memory[0], size=maps[0].shape[2:], mode="bilinear", align_corners=False)
        fine = fine + self.pointwise(F.relu(self.depthwise_norm(self.depthwise(fine))))
        return memory, fine

    @staticmethod
    def cell_centres(height: int, width: int, like: Tensor) -> Tensor:
        rows = (torch.arange(height, device=like.device) + 0.5) / height
        columns = (torch.arange(width, device=like.device) + 0.5) / width
        centres = torch.stack([columns.expand(height, -1), rows[:, None].expand(-1, width)], dim=-1)
        return centres.flatten(0, 1).to(like.dtype)
