"""All time arithmetic between a clip's picture and its sound, in one place.

Two rules exist (`alignment`):

* `"frame"` (*ours*, for real videos): up to one frame per second, the frame at time t gets the sound that starts 15/16
  s before it, clamped to the start of the clip: that of the second it stands for. Of more frames per second, each gets
  the second around the middle of its own step, with silence before the clip's start: a mask then appears when its
  sound does, not a third of a second later. Any length, no drift, always one sound example per frame.
* `"avsbench"` (*lineage*, the published protocol): example l starts at 0.96 * l seconds, so sound runs ahead of the
  picture by 0.04 s every second. For reproducing published figures and for the official `audio_log_mel` files only.
"""

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np

# AVSBench takes the last of 16 uniform samples of each second.
FRAME_OFFSET = 15 / 16
# Samples per second that VGGish was trained on; sound at any other rate is resampled to it.
SAMPLING_RATE = 16000
# Below this it is no rate of sound but a slip: 0, a negative number, or kHz.
LOWEST_RATE = 1000
# VGGish examples: 96 spectrogram columns, 10 ms apart, each 25 ms wide.
EXAMPLE_SECONDS = 0.96
EXAMPLE_COLUMNS = 96
HOP_SECONDS = 0.010
WINDOW_SECONDS = 0.025

ALIGNMENTS = ("frame", "avsbench")


@dataclass(frozen=True)
class FrameTiming:
    """Arithmetic of times: which frames of a clip are sampled, and which sound belongs to each.

    Args:
        fps: frames sampled per second of video (AVSBench: 1).
        sampling_rate: samples per second of the waveform (VGGish: 16000).
        alignment: `"frame"` or `"avsbench"`, see the module's docstring.

    Raises:
        ValueError: for an fps or a sampling rate that is not positive, or an unknown alignment.
    """

    fps: float = 1.0
    sampling_rate: int = SAMPLING_RATE
    alignment: str = "frame"

    def __post_init__(self):
        if not (isinstance(self.fps, Real) and 0 < self.fps < math.inf):
            raise ValueError(f"fps is {self.fps!r}, expected a number greater than 0 (AVSBench uses 1)")
        if not self.sampling_rate > 0:
            raise ValueError(
                f"sampling_rate is {self.sampling_rate}, expected one greater than 0 (VGGish uses {SAMPLING_RATE})"
            )
        if self.alignment not in ALIGNMENTS:
            raise ValueError(f"alignment is {self.alignment!r}, expected one of {', '.join(map(repr, ALIGNMENTS))}")

    @property
    def hop_samples(self) -> int:
        return round(HOP_SECONDS * self.sampling_rate)

    @property
    def window_samples(self) -> int:
        return round(WINDOW_SECONDS * self.sampling_rate)

    @property
    def example_samples(self) -> int:
        """Samples that one example's 96 columns reach over (0.975 s: 15600 at 16 kHz)."""
        return (EXAMPLE_COLUMNS - 1) * self.hop_samples + self.window_samples

    def num_frames(self, duration: float) -> int:
        """How many frames of a clip of `duration` seconds are sampled: one per 1/fps s, rounded, at least one."""
        return max(1, round(duration * self.fps))

    def frame_times(self, num_frames: int, duration: float | None = None) -> np.ndarray:
        """Times (s), shape `(num_frames,)`: 15/16 into each step of 1/fps, never beyond `duration`."""
        times = (np.arange(num_frames) + FRAME_OFFSET) / self.fps
        return times if duration is None else np.minimum(times, duration)

    def sound_start_samples(self, times: np.ndarray) -> np.ndarray:
        """`sound_starts` as int64 indices of samples."""
        return np.round(self.sound_starts(times) * self.sampling_rate).astype(np.int64)

    def sound_starts(self, times: np.ndarray) -> np.ndarray:
        """Where (s) the sound example of each frame time starts, same shape as `times`."""
        if self.alignment == "avsbench":
            return EXAMPLE_SECONDS * np.arange(len(times))
        times = np.asarray(times, dtype=np.float64)
        if self.fps <= 1:
            return np.maximum(0.0, times - FRAME_OFFSET)
        return times - (FRAME_OFFSET - 0.5) / self.fps - 0.5  # back to the middle of the step, and half a second more
