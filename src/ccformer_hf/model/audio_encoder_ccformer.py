"""An audio backbone of transformers in place of VGGish (*ours*): AST, or the HTSAT of CLAP."""

from torch import Tensor, nn
from transformers import ASTConfig, ASTModel, ClapAudioModel, PreTrainedConfig


class CCFormerAudioEncoder(nn.Module):
    """AST or CLAP's HTSAT: the sound of a frame `(B, 1, columns, bands)` -> one embedding `(B, width)`, its own pooled
    output.

    Columns and bands are `CCFormerConfig.audio_example`; `encoder` is the module of transformers.
    """

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.is_ast = config.model_type == ASTConfig.model_type
        self.encoder = ASTModel(config) if self.is_ast else ClapAudioModel(config)
        self.width = config.hidden_size if self.is_ast else self.encoder.audio_encoder.num_features

    def train(self, mode: bool = True) -> "CCFormerAudioEncoder":
        """As in torch; but CLAP's one batch norm keeps its statistics, as silent and padded frames would count."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, spectrogram: Tensor) -> Tensor:
        # AST takes (B, columns, bands), CLAP (B, 1, columns, bands).
        return self.encoder(spectrogram.squeeze(1) if self.is_ast else spectrogram).pooler_output  # (B, width)
