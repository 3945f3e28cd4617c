"""The audio backbone: VGGish (*lineage*), in the layout of its public weights."""

from torch import Tensor, nn

from .configuration_ccformer import CCFormerConfig


class CCFormerVGGish(nn.Module):
    """VGGish (*lineage*): one log-mel example `(B, 1, 96, 64)` -> one embedding `(B, audio_embed_size)`.

    Layout and names are those of the public `vggish-10086976.pth`, which loads key for key at the default widths.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        first, second, third, fourth = config.audio_hidden_sizes
        layers: list[nn.Module] = []
        in_channels = 1
        for channels in (first, "pool", second, "pool", third, third, "pool", fourth, fourth, "pool"):
            if channels == "pool":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU()]
                in_channels = channels
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(fourth * 6 * 4, config.audio_fc_size), nn.ReLU(),
            nn.Linear(config.audio_fc_size, config.audio_fc_size), nn.ReLU(),
            nn.Linear(config.audio_fc_size, config.audio_embed_size), nn.ReLU(),
        )  # fmt: skip

    def forward(self, log_mel: Tensor) -> Tensor:
        features = self.features(log_mel)  # (B, C, 6, 4): four times halved
        features = features.permute(0, 2, 3, 1).flatten(1)  # (B, 6*4*C), in the order of the TensorFlow original
        return self.embeddings(features)  # (B, audio_embed_size)
