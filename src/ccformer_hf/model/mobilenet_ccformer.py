"""A small audio backbone: EfficientAT's MobileNetV3 (*lineage*: F. Schmid et al., "Efficient
Large-Scale Audio Tagging via Transformer-to-CNN Knowledge Distillation", ICASSP 2023; the network is A. Howard et al.,
"Searching for MobileNetV3", ICCV 2019), in the layout of its public weights."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .configuration_ccformer import CCFormerMobileNetConfig

# MobileNetV3-Large: kernel, hidden channels, output channels, whether channels are weighed, activation, stride.
BLOCKS = (
    (3, 16, 16, False, nn.ReLU, 1),
    (3, 64, 24, False, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 1),
    (5, 72, 40, True, nn.ReLU, 2),
    (5, 120, 40, True, nn.ReLU, 1),
    (5, 120, 40, True, nn.ReLU, 1),
    (3, 240, 80, False, nn.Hardswish, 2),
    (3, 200, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 480, 112, True, nn.Hardswish, 1),
    (3, 672, 112, True, nn.Hardswish, 1),
    (5, 672, 160, True, nn.Hardswish, 2),
    (5, 960, 160, True, nn.Hardswish, 1),
    (5, 960, 160, True, nn.Hardswish, 1),
)
FIRST_CHANNELS = 16
LAST_EXPANSION = 6


def whole_channels(channels: float) -> int:
    """The multiple of 8 nearest to a number of channels, at least 8 and not below nine tenths of it."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class CCFormerMobileNet(PreTrainedModel):
    """MobileNetV3-Large without its classifier: a log-mel spectrogram `(B, columns, bands)` -> `pooler_output (B, W)`,
    the mean of its last map; W is `width`.

    Names are those of EfficientAT's public weights of one width each, `mn01_as` to `mn40_as`, which load key for key.
    (Those with other strides, hops or bands have the same names and shapes, and hear wrongly here.) They heard 128
    bands up to 15 kHz of sound at 32 kHz; AST's front end with `num_mel_bins` 104, mean -4.5 and std 2.5 is near it up
    to 8 kHz, so that a short training adapts them.
    """

    config_class = CCFormerMobileNetConfig
    main_input_name = "input_values"
    base_model_prefix = "mobilenet"

    def __init__(self, config: CCFormerMobileNetConfig):
        super().__init__(config)
        channels = whole_channels(config.width_multiplier * FIRST_CHANNELS)
        layers: list[nn.Module] = [convolution(1, channels, 3, nn.Hardswish, stride=2)]
        for kernel, hidden, out, weighed, activation, stride in BLOCKS:
            hidden, out = (whole_channels(config.width_multiplier * number) for number in (hidden, out))
            layers.append(CCFormerInvertedResidual(channels, kernel, hidden, out, weighed, activation, stride))
            channels = out
        self.width = LAST_EXPANSION * channels
        layers.append(convolution(channels, self.width, 1, nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            # In this network norms keep their statistics, so that only such weights carry the sound to its end.
            init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, input_values: Tensor) -> BaseModelOutputWithPooling:
        # The public weights see bands from top to bottom: (B, 1, bands, columns).
        first, *others = self.features
        maps = first(input_values.transpose(1, 2)[:, None])
        # In this format a CPU trains faster. Of the input, which has one channel, it would not show.
        maps = maps.contiguous(memory_format=torch.channels_last)
        for layer in others:
            maps = layer(maps)  # at last (B, W, bands / 32, columns / 32)
        return BaseModelOutputWithPooling(last_hidden_state=maps, pooler_output=maps.mean(dim=(2, 3)))


class CCFormerInvertedResidual(nn.Module):
    """MobileNetV3's block `(B, C, h, w)` -> `(B, C', h / stride, w / stride)`: channels made more, each convolved
    alone, weighed by what the whole map holds, and made few again."""

    def __init__(
        self,
        channels: int,
        kernel: int,
        hidden: int,
        out: int,
        weighed: bool,
        activation: type[nn.Module],
        stride: int,
    ):
        super().__init__()
        layers = [] if hidden == channels else [convolution(channels, hidden, 1, activation)]
        layers.append(convolution(hidden, hidden, kernel, activation, stride=stride, groups=hidden))
        if weighed:
            layers.append(CCFormerChannelWeights(hidden))
        layers.append(convolution(hidden, out, 1))
        self.block = nn.Sequential(*layers)
        self.adds = stride == 1 and channels == out

    def forward(self, maps: Tensor) -> Tensor:
        made = self.block(maps)
        return maps + made if self.adds else made


class CCFormerChannelWeights(nn.Module):
    """Squeeze and excitation over the channels of maps `(B, C, h, w)`; EfficientAT can have it over others too."""

    def __init__(self, channels: int):
        super().__init__()
        squeezed = whole_channels(channels // 4)
        layer = nn.ModuleDict({"fc1": nn.Linear(channels, squeezed), "fc2": nn.Linear(squeezed, channels)})
        self.conc_se_layers = nn.ModuleList([layer])

    def forward(self, maps: Tensor) -> Tensor:
        layer = self.conc_se_layers[0]
        weights = layer["fc2"](layer["fc1"](maps.mean(dim=(2, 3))).relu()).sigmoid()  # (B, C)
        return maps * weights[:, :, None, None]


def convolution(
    channels: int, out: int, kernel: int, activation: type[nn.Module] | None = None, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution, its norm, and an activation where there is one."""
    layers = [
        nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out, eps=1e-3, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))
