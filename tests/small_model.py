"""The whole network at a size that runs in milliseconds, and random batches for it."""

from pathlib import Path

import torch
from transformers.utils import logging

from ccformer_hf import (
    AudioVisualProcessor,
    CCFormerConfig,
    CCFormerForAudioVisualSegmentation,
    CCFormerImageProcessor,
)

SMALL_RESNET = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 8, 16],
    "depths": [1] * 4,
}
SMALL_SWIN = {"model_type": "swin", "embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4, "window_size": 2}

# Of one second each, but CLAP hears it twice: its window is of whole seconds, 256 columns here.
AUDIO_ENCODERS = {
    "ast": {
        "model_type": "audio-spectrogram-transformer",
        "max_length": 96,
        "num_mel_bins": 32,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    },
    "clap": {
        "model_type": "clap_audio_model",
        "spec_size": 64,
        "num_mel_bins": 16,
        "window_size": 4,
        "depths": [1, 1],
        "num_attention_heads": [1, 2],
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
    },
    "mobilenet": {"model_type": "ccformer_mobilenet", "width_multiplier": 0.05, "num_mel_bins": 32},
}

SMALL_NETWORK = {
    "backbone_config": SMALL_RESNET,
    "audio_hidden_sizes": [2, 4, 4, 8],
    "audio_fc_size": 16,
    "audio_embed_size": 8,
    "hidden_size": 16,
    "num_heads": 2,
    "feed_forward_size": 16,
    "pixel_decoder_layers": 1,
    "decoder_layers": 3,
    "num_queries": 5,
    "num_video_queries": 3,
    "contrastive_size": 8,
    "num_loss_points": 64,
}


def small_config(**changes) -> CCFormerConfig:
    """The whole network at a size that runs in milliseconds; four labels."""
    return CCFormerConfig(**{**SMALL_NETWORK, "num_labels": 4, **changes})


def small_model(seed: int = 0, **changes) -> CCFormerForAudioVisualSegmentation:
    torch.manual_seed(seed)
    return CCFormerForAudioVisualSegmentation(small_config(**changes)).eval()


def random_inputs(
    clips: int = 2,
    frames: int = 3,
    height: int = 64,
    width: int = 64,
    seed: int = 0,
    example: tuple[int, int] = (96, 64),
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "pixel_values": torch.randn(clips, frames, 3, height, width, generator=generator),
        "input_features": torch.randn(clips, frames, 1, *example, generator=generator),
    }


def random_labels(clips: int = 2, frames: int = 3, size: int = 64) -> torch.Tensor:
    """Two objects in most frames; in the second frame nothing sounds."""
    labels = torch.zeros(clips, frames, size, size, dtype=torch.long)
    labels[:, :, 8:32, 8:24] = 1
    labels[:, :, 40:56, 32:64] = 3
    labels[:, 1] = 0
    return labels


def masks_with_padding() -> dict[str, torch.Tensor]:
    """The second clip has two real frames, the second of them silent."""
    return {
        "frame_mask": torch.tensor([[True, True, True], [True, True, False]]),
        "audio_mask": torch.tensor([[True, True, True], [True, False, False]]),
    }


def save_small_model(folder: Path) -> Path:
    """Random weights, smaller than the tiny model, three classes."""
    torch.manual_seed(0)
    backbone = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    config = CCFormerConfig(
        backbone_config={"model_type": "resnet", **backbone},
        audio_hidden_sizes=(4, 4, 8, 8),
        audio_fc_size=16,
        audio_embed_size=16,
        hidden_size=16,
        num_heads=2,
        feed_forward_size=16,
        pixel_decoder_layers=1,
        decoder_layers=2,
        num_queries=4,
        num_video_queries=2,
        contrastive_weight=0,
        initializer_range=0.3,  # so that the maps vary
        id2label={0: "background", 1: "bell", 2: "dog", 3: "drum"},
    )
    logging.disable_progress_bar()
    CCFormerForAudioVisualSegmentation(config).save_pretrained(folder)
    AudioVisualProcessor(CCFormerImageProcessor(size={"height": 64, "width": 64})).save_pretrained(folder)
    return folder
