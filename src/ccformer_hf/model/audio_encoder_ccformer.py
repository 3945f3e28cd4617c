"""An audio backbone in place of VGGish (*ours*): AST or the HTSAT of CLAP, of transformers, or a MobileNetV3."""

from torch import Tensor, nn
from transformers import ASTConfig, ASTModel, ClapAudioConfig, ClapAudioModel, PreTrainedConfig

from .mobilenet_ccformer import CCFormerMobileNet


class CCFormerAudioEncoder(nn.Module):
    """AST, CLAP's HTSAT or a MobileNetV3: the sound of a frame `(B, 1, columns, bands)` -> one embedding `(B, width)`,
    its own pooled output.

    Columns and bands are `CCFormerConfig.audio_example`; `encoder` is the network.
    """

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.is_clap = config.model_type == ClapAudioConfig.model_type
        if self.is_clap:
            self.encoder = ClapAudioModel(config)
            self.width = self.encoder.audio_encoder.num_features
        elif config.model_type == ASTConfig.model_type:
            self.encoder, self.width = ASTModel(config), config.hidden_size
        else:
            self.encoder = CCFormerMobileNet(config)
            self.width = self.encoder.width

    def train(self, mode: bool = True) -> "CCFormerAudioEncoder":
        """As in torch; but batch norms keep their statistics, as silent and padded frames would count."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, spectrogram: Tensor) -> Tensor:
        # CLAP takes (B, 1, columns, bands), the others (B, columns, bands).
        return self.encoder(spectrogram if self.is_clap else spectrogram.squeeze(1)).pooler_output  # (B, width)
