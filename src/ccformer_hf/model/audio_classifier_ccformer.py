"""What sounds in a frame, told from its sound alone, whatever is seen there (*ours*)."""

import torch
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


def ever_longer(embedding: Tensor) -> Tensor:
    """Embeddings of a frame's examples `(..., E, W)`, its own first -> mean of the first, the first two, ... and all.

    *Ours*: the audio classifier answers to each, and its mean logit counts. A frame's own example tells best when
    something sounds, a longer sound what it is: an audio tagger hears one by the mean embedding over its time. The
    mean probability in place of the logit says almost the same within a sound, and spills over its ends.
    """
    counts = torch.arange(1, embedding.shape[-2] + 1, device=embedding.device)[:, None]  # (E, 1)
    return (embedding.cumsum(dim=-2) / counts).to(embedding.dtype)


def log_heard(heard_logits: Tensor, audio_mask: Tensor) -> Tensor:
    """Logits of `CCFormerAudioClassifier` `(B, T, K - 1)` -> log-probability that each label sounds, `(B, T, 1, K)`.

    It is 0 of "no object", which needs no sound, and of all labels in frames without sound, those of which `audio_mask
    (B, T)` is False: they have a token of their own. No gradient flows back: the classifier learns what sounds from a
    loss of its own, `heard_loss`; those of the queries would pull it up, as every class that it lowers costs them.
    """
    heard_logits = heard_logits.detach()
    # Not `logsigmoid`: in ONNX Runtime that is the logarithm of a sigmoid that is right to 1e-7.
    of_label = F.pad(-F.softplus(-heard_logits), (1, 0))  # (B, T, K)
    return of_label.masked_fill(~audio_mask[..., None], 0)[:, :, None]
