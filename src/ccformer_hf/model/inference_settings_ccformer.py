"""The numbers with which a clip is segmented, checked and held in one object below the functions that users call."""

from dataclasses import dataclass

from .media_ccformer import ALL_FRAMES
from .timing_ccformer import FrameTiming


@dataclass(frozen=True)
class InferenceSettings:
    """How a clip is segmented: by `segment_video`, `iter_segments`, the pipeline, the demo and the command line.

    Attributes:
        fps: frames sampled per second, each 15/16 into its step of 1/fps as in AVSBench; `"all"`, or more than the
            video has: every frame at its own time.
        threshold: 0..1; a pixel sounds where 1 - P(background) is higher.
        window: frames that the model sees at a time.
        overlap: frames that neighbouring windows share, fewer than `window`; over them the probabilities fade from one
            window to the next.

    Raises:
        ValueError: for numbers with which no clip can be segmented.
    """

    fps: float | str = 1.0
    threshold: float = 0.5
    window: int = 10
    overlap: int = 2

    def __post_init__(self):
        if self.fps != ALL_FRAMES:
            FrameTiming(fps=self.fps)  # raises for an fps that is not positive
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}, expected 0 (marks most) to 1 (marks nothing)")
        if self.window < 1 or not 0 <= self.overlap < self.window:
            raise ValueError(
                f"window is {self.window} and overlap {self.overlap}; "
                "expected a window of at least 1 frame, and an overlap from 0 to below the window"
            )
