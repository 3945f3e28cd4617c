import pytest
import torch
from small_model import random_inputs, small_model


@pytest.mark.parametrize("factor", [1, 1000])
@torch.no_grad()
def test_no_weights_can_make_sound_or_picture_grow_in_eim(factor):
    """They are multiplied by each other, the sound at each scale again: each step ends in a norm without weights."""
    model = small_model().model
    for parameter in model.eim.parameters():
        parameter.mul_(factor)
    inputs = random_inputs()
    audio, _ = model.encode_audio(inputs["input_features"], torch.ones(2, 3, dtype=torch.bool))
    maps = [100 * m for m in model.encode_frames(inputs["pixel_values"], None)]
    fused_maps, fused_audio = model.eim(maps, 100 * audio, torch.zeros(3, 16), None)
    for value in (*fused_maps, *fused_audio):
        assert value.square().mean(-1).sqrt().max() <= 1 + 1e-4  # root mean square of each cell, of each second


@torch.no_grad()
def test_half_precision_survives_strong_fusion():
    model = small_model()
    for parameter in model.model.eim.parameters():
        parameter.mul_(5)
    inputs = random_inputs()
    exact = model(**inputs).logits.exp()
    rounded = model.half()(**{name: value.half() for name, value in inputs.items()}).logits
    assert rounded.isfinite().all() and (rounded.exp() - exact).abs().max() < 0.1
