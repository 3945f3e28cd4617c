import torch
from small_model import small_config

from ccformer_hf.model.pixel_decoder_ccformer import CCFormerDeformableAttention, CCFormerPixelDecoder


def bilinear(value: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """Value `(d, h, w)` at x, y in cells (centre of the first cell: 0, 0), zero outside, by hand."""
    total = torch.zeros(value.shape[0], dtype=value.dtype)
    left, top = int(x // 1), int(y // 1)
    for column in (left, left + 1):
        for row in (top, top + 1):
            if 0 <= column < value.shape[2] and 0 <= row < value.shape[1]:
                total += (1 - abs(x - column)) * (1 - abs(y - row)) * value[:, row, column]
    return total


@torch.no_grad()
def test_deformable_attention_against_loops():
    torch.manual_seed(0)
    config = small_config(hidden_size=8, num_heads=2, num_sampling_points=3)
    attention = CCFormerDeformableAttention(config).double()
    torch.nn.init.normal_(attention.offsets.weight, std=0.4)
    sizes = [(4, 6), (2, 3), (1, 2)]
    tokens, positions = torch.randn(2, 32, 8).double(), torch.randn(32, 8).double()
    centres = torch.cat([CCFormerPixelDecoder.cell_centres(*size, like=tokens) for size in sizes])
    found = attention(tokens, positions, centres, sizes)

    values = attention.value(tokens)
    levels = [
        v.transpose(1, 2).unflatten(2, size) for v, size in zip(values.split([24, 6, 2], dim=1), sizes, strict=True)
    ]
    mixed = torch.zeros(2, 32, 8).double()
    outside = 0
    for clip in range(2):
        for token in range(32):
            query = tokens[clip, token] + positions[token]
            offsets = attention.offsets(query).view(2, 3, 3, 2)  # heads, levels, points, (x, y) in cells
            weights = attention.weights(query).view(2, 9).softmax(-1).view(2, 3, 3)
            for head in range(2):
                for level, (height, width) in enumerate(sizes):
                    value = levels[level][clip, 4 * head : 4 * head + 4]
                    for point in range(3):
                        x = float(centres[token, 0] * width - 0.5 + offsets[head, level, point, 0])
                        y = float(centres[token, 1] * height - 0.5 + offsets[head, level, point, 1])
                        outside += not (0 <= x <= width - 1 and 0 <= y <= height - 1)
                        mixed[clip, token, 4 * head : 4 * head + 4] += weights[head, level, point] * bilinear(
                            value, x, y
                        )
    assert 100 < outside < 1100  # of 1152: both kinds are tested
    torch.testing.assert_close(found, attention.output(mixed), rtol=0, atol=1e-9)


def test_deformable_offsets_start_as_rays():
    attention = CCFormerDeformableAttention(small_config(num_heads=4, num_sampling_points=2))
    offsets = attention.initial_offsets().view(4, 3, 2, 2)
    for head, direction in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        wanted = torch.tensor([direction, direction]) * torch.tensor([[1.0], [2.0]])
        torch.testing.assert_close(offsets[head], wanted.expand(3, 2, 2), rtol=0, atol=1e-6)
