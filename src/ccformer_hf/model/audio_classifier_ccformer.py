"""What sounds in a frame, told from its sound alone, whatever is seen there (*ours*)."""

import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_ccformer import CCFormerConfig


class CCFormerAudioClassifier(nn.Sequential):
    """Embedding of the audio backbone `(N, W)` -> logit that each class sounds, without "no object", `(N, K - 1)`.

    Three linear layers with Hardswish between them. Where D is 128, as in the recipe `composed-small`, the first is
    that of the head of EfficientAT's mn04_as (384 -> 512): the second can begin as 128 of its tags, and the third as
    their sum for each class (`examples/maintainers/add_audio_classifier.py`).
    """

    def __init__(self, config: CCFormerConfig, in_size: int):
        width = config.hidden_size
        super().__init__(
            nn.Linear(in_size, 4 * width), nn.Hardswish(),
            nn.Linear(4 * width, width), nn.Hardswish(),
            nn.Linear(width, config.num_labels - 1),
        )  # fmt: skip

    def log_heard(self, embedding: Tensor, audio_mask: Tensor) -> Tensor:
        """Embedding of each frame's sound `(B, T, W)` -> log-probability that each label sounds, `(B, T, 1, K)`.

        It is 0 of "no object", which needs no sound, and of all labels in frames without sound, those of which
        `audio_mask (B, T)` is False: they have a token of their own.
        """
        log_heard = F.pad(F.logsigmoid(self(embedding)), (1, 0))  # (B, T, K)
        return log_heard.masked_fill(~audio_mask[..., None], 0)[:, :, None]
