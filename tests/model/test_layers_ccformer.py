import pytest
import torch

from ccformer_hf.model.layers_ccformer import position_embedding, sine_embedding


def test_position_embeddings():
    assert sine_embedding(torch.tensor([0.0, 2.0]), 4).tolist() == [
        [0, 0, 1, 1],
        [pytest.approx(x, abs=1e-6) for x in (0.9092974, 0.0199987, -0.4161468, 0.9998)],
    ]
    code = position_embedding(torch.zeros(1, 3, 2, 8))
    assert code.shape == (3, 2, 8)
    code = code.flatten(0, 1)
    assert torch.equal(code[0, :4], code[1, :4]) and not torch.equal(code[0, 4:], code[1, 4:])  # same row, next column
    assert torch.equal(code[0, 4:], code[2, 4:]) and not torch.equal(code[0, :4], code[2, :4])
