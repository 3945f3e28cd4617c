"""Videos from anywhere, cut into clips of some seconds with one frame and the sound of each; read in a child process.

Letters: `T` seconds of a clip, `H W` picture, `S` samples of a second at the tagger's rate.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import tee
from pathlib import Path

import numpy as np
from PIL import Image

from ..atomic import cut_name
from ..data.avsbench import SPLITS
from ..inference.contained_media import iter_frames_at, iter_sounds, sampled_frames
from ..model.media_ccformer import MediaInfo, shown_path
from ..model.timing_ccformer import SAMPLING_RATE

LONGEST_SIDE = 512  # pixels of a frame; larger ones are made smaller
MOST_NAME_BYTES = 100  # of a clip's name that come from its video's
HELD_OUT = 0.1  # share of the videos for validation, and for test


@dataclass(frozen=True)
class VideoClip:
    """Some seconds of a video.

    Attributes:
        start: second of the video at which it begins.
        frames: uint8 `(T, H, W, 3)`, one per second as `FrameTiming` takes it.
        waveform: float32 `(16000 T,)` in -1..1, mono at 16 kHz.
        seconds: the same sound for a tagger, float32 `(T, S)` at its rate.
    """

    start: int
    frames: np.ndarray
    waveform: np.ndarray
    seconds: np.ndarray


def iter_clips(info: MediaInfo, length: int, rate: int) -> Iterator[VideoClip]:
    """Cuts a video into clips of `length` seconds; the last one may be shorter. Ends where the sound cannot be read
    on, since nobody could tell what sounds from there on.

    Args:
        info: of the video, which has sound.
        length: of a clip in seconds.
        rate: samples per second for the tagger.

    Raises:
        MediaError: where the pictures cannot be read.
    """
    samples = sampled_frames(info, 1.0)
    starts = samples.starts
    sounds = iter_sounds(info.path, starts, SAMPLING_RATE, SAMPLING_RATE)
    sounds, seconds = tee(sounds) if rate == SAMPLING_RATE else (sounds, iter_sounds(info.path, starts, rate, rate))
    read = zip(iter_frames_at(info.path, samples.times), sounds, seconds, strict=True)
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    first = 0
    for frame, sound, second in read:
        if sound is None or second is None:
            break
        kept.append((_smaller(frame), np.clip(sound, -1, 1), np.clip(second, -1, 1)))
        if len(kept) == length:
            yield _clip(first, kept)
            first, kept = first + length, []
    if kept:
        yield _clip(first, kept)


def video_names(videos: Sequence[str | os.PathLike]) -> list[str]:
    """A name for each video, of letters, digits, `.`, `_` and `-`, no two alike in any case: for its clips."""
    names: list[str] = []
    taken: set[str] = set()
    for video in videos:
        plain = re.sub(r"[^\w.-]+", "_", shown_path(Path(video).stem)).strip("._-")
        plain = cut_name(plain, MOST_NAME_BYTES) or "video"
        name, number = plain, 2
        while name.lower() in taken:
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
        taken.add(name.lower())
    return names


def share_out(names: Sequence[str]) -> list[str]:
    """The split of each video: of three or more one in ten, at least one, is for validation, as many for test; which
    ones depends on the names alone, not on their order."""
    held_out = max(1, round(HELD_OUT * len(names))) if len(names) >= len(SPLITS) else 0
    drawn = sorted(names, key=lambda name: blake2b(name.encode()).digest())
    validation, test = set(drawn[:held_out]), set(drawn[held_out : 2 * held_out])
    return ["validation" if name in validation else "test" if name in test else "train" for name in names]


def _clip(start: int, kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> VideoClip:
    frames, sounds, seconds = zip(*kept, strict=True)
    return VideoClip(start, np.stack(frames), np.concatenate(sounds), np.stack(seconds))


def _smaller(frame: np.ndarray) -> np.ndarray:
    image = Image.fromarray(frame)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)
