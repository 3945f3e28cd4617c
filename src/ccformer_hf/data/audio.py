"""The sound of a row of a data set, as the model is to hear it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..model.feature_extraction_ccformer import CCFormerFeatureExtractor, resampled
from ..model.timing_ccformer import FrameTiming


@dataclass(frozen=True)
class ClipAudio:
    """A waveform, or else official log-mel examples, or nothing."""

    waveform: np.ndarray | None = None
    sampling_rate: int | None = None
    log_mel: np.ndarray | None = None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "ClipAudio":
        """The sound of a row of `load_avsbench`; its waveform goes first."""
        if row["sound"] is not None:
            return cls(row["sound"]["waveform"], row["sound"]["sampling_rate"])
        return cls(log_mel=row["log_mel"])

    def waveform_at(self, sampling_rate: int) -> np.ndarray | None:
        """The waveform, float32 `(samples,)`, at another rate; None where there is none."""
        if self.waveform is None:
            return None
        return resampled(torch.from_numpy(self.waveform), self.sampling_rate, sampling_rate).numpy()

    @property
    def kind(self) -> str:
        """`"waveform"`, `"log_mel"` or `"none"`."""
        return "waveform" if self.waveform is not None else "none" if self.log_mel is None else "log_mel"


def sound_examples(
    extractor: CCFormerFeatureExtractor, audio: ClipAudio, length: int, repeat_last: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mel examples `(length, E, columns, bands)` float32 and which of them hold sound, `(length,)` bool.

    Args:
        length: frames of the clip; every set has one per second, whatever the processor's fps for videos.
        repeat_last: see `CCFormerFeatureExtractor.official_examples`.
    """
    if audio.log_mel is not None and len(audio.log_mel):
        return extractor.official_examples(audio.log_mel, length, repeat_last), torch.ones(length, dtype=torch.bool)
    times = FrameTiming().frame_times(length)
    batch = extractor([audio.waveform], audio.sampling_rate, timestamps=[times], return_tensors="pt")
    return batch["input_features"][0], batch["audio_mask"][0]
