"""Segments what sounds in a video of any length (ours).

`iter_segments` looks at `fps` frames per second, each with its own sound, window after window, and yields one class map per frame.
Memory depends on the window and the picture size, never on the duration.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from .. import auto  # noqa: F401  from_pretrained looks the processor's parts up among the Auto classes
from ..model.media_ccformer import MediaInfo, look_starts
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.sliding_window_ccformer import (
    Look,
    check_numbers,
    class_probabilities,
    classes_at_size,
    iter_windows,
    join_windows,
    look_at_video,
    sound_timeline,
    window_spans,
)
from .contained_media import frame_times, iter_frames_at, iter_sounds, probe


@dataclass(frozen=True)
class FrameSegmentation:
    """What sounds in one frame that was looked at.

    Attributes:
        index: of the frame among those looked at, from 0.
        time: (s) at which the frame was taken.
        start: (s) from which on it stands for the video, up to `end`.
        end: the next frame's `start`, or the end of the clip.
        class_map: `(H, W)` uint8 at the size of the video, 0 = background.
        scores: class id -> mean probability within its mask, 0..1, for every class in the map, best first. The names are
            `model.config.id2label`.
        has_sound: whether there was anything to hear around this frame.
    """

    index: int
    time: float
    start: float
    end: float
    class_map: np.ndarray
    scores: dict[int, float]
    has_sound: bool


def iter_segments(
    path: str | os.PathLike,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float | str = 1.0,
    threshold: float = 0.5,
    window: int = 10,
    overlap: int = 2,
) -> Iterator[FrameSegmentation]:
    """Looks at `fps` frames per second of a video, each with the sound around it, and says what sounds where.

    The file is read in a child process: see `contained_media`. Sound that is broken is left out, with a `MediaWarning`.

    The model sees `window` frames at a time; neighbouring windows share `overlap` frames (the last one more, so that it is full
    too), over which the probabilities fade from the one to the other.

    Args:
        path: any video FFmpeg can read. Without a sound track the model is told that there is no sound.
        model: see `load`; it is used where it is, on CPU or GPU.
        processor: of that model.
        fps: frames looked at per second, each 15/16 into its step of 1/fps; `"all"`, or more than the video has: every frame at its
            own time.
        threshold: 0..1; a pixel sounds where 1 - P(background) is higher.
        window: frames the model sees at a time.
        overlap: frames that neighbouring windows share, fewer than `window`.

    Returns:
        An iterator over the frames in order. Memory is that of one window, whatever the duration.

    Raises:
        MediaError: where the file cannot be read or has no pictures.
        ValueError: for numbers that cannot be used.
    """
    check_numbers(fps, threshold, window, overlap)
    info = probe(path)
    return segment_frames(info, frames_looked_at(info, fps), model, processor, fps, threshold, window, overlap)


def frames_looked_at(info: MediaInfo, fps: float | str) -> Iterator[np.ndarray]:
    """The frames of a video at `frame_times`, each uint8 `(H, W, 3)`, read in a child process."""
    return iter_frames_at(info.path, frame_times(info, fps))


def segment_frames(
    info: MediaInfo,
    frames: Iterable[np.ndarray],
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float | str,
    threshold: float,
    window: int,
    overlap: int,
) -> Iterator[FrameSegmentation]:
    """`iter_segments` on frames that someone else reads, those of `frames_looked_at`."""
    looks = look_at_frames(info, frames, model, processor, fps, window, overlap)
    return segment_looks(info, looks, processor, fps, threshold)


def look_at_frames(
    info: MediaInfo,
    frames: Iterable[np.ndarray],
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float | str,
    window: int = 10,
    overlap: int = 2,
) -> Iterator[Look]:
    """What the model makes of each frame, before any threshold.

    Args:
        info: of the video; the sound is read from its `path` where it `has_audio`. With another path or without sound it tells what
            the model makes of the same pictures under another sound.
        frames: those of `frames_looked_at`.
        model, processor, fps, window, overlap: see `iter_segments`.

    Returns:
        An iterator over `probabilities (K, h, w)` float32 and `has_sound`, a bool, of each frame.
    """
    times = frame_times(info, fps)
    spans = window_spans(len(times), window, overlap)
    sounds = repeat(None, len(times))
    if info.has_audio:
        timeline = sound_timeline(processor)
        starts = timeline.sound_starts(times)
        sounds = iter_sounds(info.path, starts, timeline.example_samples, timeline.sampling_rate)
    windows = iter_windows(look_at_video(frames, sounds, processor), spans, window)
    outputs = (
        {"probabilities": class_probabilities(model, inputs)[0], "has_sound": inputs["audio_mask"][0]}
        for inputs in windows
    )
    return join_windows(outputs, spans)


def segment_looks(
    info: MediaInfo,
    looks: Iterable[Look],
    processor: AudioVisualProcessor,
    fps: float | str,
    threshold: float,
) -> Iterator[FrameSegmentation]:
    """What sounds where in each frame, from what `look_at_frames` saw.

    Args:
        info: of the video.
        looks: those of `look_at_frames`, one per frame.
        processor: of the model.
        fps, threshold: see `iter_segments`.
    """
    times = frame_times(info, fps)
    starts = look_starts(info, fps, times)
    for index, look in enumerate(looks):
        class_map, scores = classes_at_size(look["probabilities"], processor, (info.height, info.width), threshold)
        yield FrameSegmentation(
            index=index,
            time=float(times[index]),
            start=float(starts[index]),
            end=float(starts[index + 1]) if index + 1 < len(times) else info.duration,
            class_map=class_map,
            scores=scores,
            has_sound=bool(look["has_sound"]),
        )
