from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_large
from torchvision.ops.misc import SqueezeExcitation

from ccformer_hf.model.configuration_ccformer import CCFormerMobileNetConfig
from ccformer_hf.model.mobilenet_ccformer import CCFormerMobileNet


@torch.no_grad()
def test_the_mobilenet_is_torchvisions_with_a_sigmoid():
    """EfficientAT weighs channels with a sigmoid, torchvision with a hard one; else they are the same network."""
    theirs = mobilenet_v3_large(width_mult=0.4, norm_layer=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)).eval()
    theirs.features[0][0] = nn.Conv2d(1, 8, 3, stride=2, padding=1, bias=False)  # one channel of sound
    for module in theirs.modules():
        if isinstance(module, SqueezeExcitation):
            module.scale_activation = nn.Sigmoid()
    ours = CCFormerMobileNet(CCFormerMobileNetConfig()).eval()
    generator = torch.Generator().manual_seed(0)
    both = zip(ours.features.state_dict().items(), theirs.features.state_dict().values(), strict=True)
    for (name, mine), other in both:
        if mine.is_floating_point():
            other.copy_(torch.randn(other.shape, generator=generator) * 0.1 + ("running_var" in name))
            mine.copy_(other.reshape(mine.shape))  # their linear layers are convolutions of 1 x 1
    sound = torch.randn(2, 96, 104, generator=generator)
    maps = theirs.features(sound.transpose(1, 2)[:, None])
    found = ours(sound)
    torch.testing.assert_close(found.last_hidden_state, maps)
    torch.testing.assert_close(found.pooler_output, maps.mean(dim=(2, 3)))
    assert maps.shape == (2, 384, 4, 3) and maps.std() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("width", [0.05, 0.4])
def test_a_mobilenet_without_weights_tells_sounds_apart(width):
    """Its norms keep their statistics, so that the first weights alone carry the sound through 17 layers."""
    torch.manual_seed(0)
    encoder = CCFormerMobileNet(CCFormerMobileNetConfig(width_multiplier=width)).eval()
    found = encoder(torch.randn(8, 96, 104) * 0.5 - 1).pooler_output
    assert 0.01 < found.std(dim=0).mean() < 100
