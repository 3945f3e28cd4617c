"""`media_ccformer` for files from anywhere: its functions run in a child process, see `isolation`.

`segment_video`, `iter_segments`, `ccformer segment` and the demo read in this way. What travels to the Hub with the
weights (the processor and the pipeline) reads in its own process.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields

import numpy as np

from ..model import media_ccformer
from ..model.media_ccformer import (
    PLAIN_COLOURS,
    SILENCED,
    Colours,
    MediaError,
    MediaInfo,
    SampledFrames,
    samples_every_frame,
    shown_path,
)
from ..model.timing_ccformer import SAMPLING_RATE
from .isolation import CURE, run_isolated, warn

# Samples lie in -1..1, and decoders overshoot a little; what is louder than this is damaged.
LOUDEST = 16.0
# Of the loudness, read at once: a message from the child for each part takes longer than the sound.
LOUDNESS_SAMPLES = 1 << 16


def warn_of_sound(path: str | os.PathLike, fault: str) -> None:
    """Warns of the sound of a file that is used in spite of it."""
    warn(f"{shown_path(path)}: {fault}")


def silence_faults(samples: np.ndarray) -> bool:
    """Sets damaged float `samples` to 0, in place; whether there were any."""
    faults = ~(np.abs(samples) <= LOUDEST)
    samples[faults] = 0
    return bool(faults.any())


def probe(path: str | os.PathLike, need_video: bool = True) -> MediaInfo:
    """`media_ccformer.probe`.

    Raises:
        MediaError: as there, and where reading crashes, hangs, or needs too much memory.
    """
    ((value, _),) = run_isolated(_probe, path, need_video)
    return _media_info(path, value)


def sampled_frames(info: MediaInfo, fps: float | str) -> SampledFrames:
    """`media_ccformer.sampled_frames`; errors as in `probe`."""
    if not samples_every_frame(info, fps):
        return media_ccformer.sampled_frames(info, fps)  # reads nothing
    ((_, arrays),) = run_isolated(_frame_starts, info.path)
    if len(arrays) != 1 or arrays[0].ndim != 1 or arrays[0].dtype != np.float64:
        raise _not_understood(info.path)
    return SampledFrames(arrays[0], arrays[0], info.duration)


def iter_yuv_frames(path: str | os.PathLike) -> tuple[Colours, Iterator[tuple[float, np.ndarray]]]:
    """`media_ccformer.iter_yuv_frames`; errors as in `probe`."""
    messages = run_isolated(_yuv_frames, path)
    colours, _ = next(messages)
    if not isinstance(colours, list) or len(colours) != 3 or not set(colours) <= set(PLAIN_COLOURS):
        raise _not_understood(path)
    return Colours(*colours), ((float(time), _yuv_picture(path, arrays)) for time, arrays in messages)


def iter_frames_at(path: str | os.PathLike, times: Iterable[float]) -> Iterator[np.ndarray]:
    """`media_ccformer.iter_frames_at`; errors as in `probe`."""
    for _, arrays in run_isolated(_frames_at, path, [float(time) for time in times]):
        yield _picture(path, arrays)


def iter_watched_frames(
    path: str | os.PathLike, times: Iterable[float], longest: int, every: bool, seconds: float = math.inf
) -> Iterator[tuple[float, np.ndarray, int, np.ndarray | None]]:
    """`media_ccformer.iter_watched_frames`; errors as in `probe`, and a MediaError after `seconds` of reading."""
    times = [float(time) for time in times]
    messages = run_isolated(_watched_frames, path, times, longest, every, seconds=seconds)
    for (time, count), (small, *whole) in messages:
        if len(whole) != (count > 0):
            raise _not_understood(path)
        yield float(time), _picture(path, [small]), int(count), _picture(path, whole) if count else None


def iter_sounds(
    path: str | os.PathLike, starts: Iterable[float], num_samples: int, rate: int
) -> Iterator[np.ndarray | None]:
    """`media_ccformer.iter_sounds`.

    Broken sound does not cost the pictures. Samples that are not numbers, or huge, are silence; from where on the
    sound cannot be read at all, it is None. A `MediaWarning` says so.
    """
    starts = [float(start) for start in starts]
    given = 0
    try:
        for silenced, arrays in run_isolated(_sounds, path, starts, num_samples, rate):
            if len(arrays) != 1 or arrays[0].shape != (num_samples,) or arrays[0].dtype != np.float32:
                raise _not_understood(path)
            if silenced:
                warn_of_sound(path, SILENCED)
            yield arrays[0]
            given += 1
    except MediaError as error:
        fault = str(error).removeprefix(f"{shown_path(path)}: ")
        warn_of_sound(path, f"its sound cannot be read to its end and was left out from there on ({fault})")
        for _ in starts[given:]:
            yield None


def loudness(path: str | os.PathLike, parts: int, seconds: float) -> np.ndarray:
    """Root mean square of a file's sound in `parts` parts of `seconds` each, `(parts,)`, 0..1; 0 without sound."""
    at_once = max(1, int(LOUDNESS_SAMPLES / max(1.0, seconds * SAMPLING_RATE)))
    starts = np.arange(0, parts, at_once) * seconds
    num_samples = max(at_once, round(at_once * seconds * SAMPLING_RATE))
    # A part need not be a whole number of samples: each ends where the next begins.
    edges = np.linspace(0, num_samples, at_once + 1).round().astype(int)
    found = np.zeros((len(starts), at_once))
    for row, block in zip(found, iter_sounds(path, starts, num_samples, SAMPLING_RATE), strict=True):
        if block is not None:
            row[:] = np.sqrt(np.add.reduceat(np.square(block, dtype=np.float64), edges[:-1]) / np.diff(edges))
    return found.reshape(-1)[:parts]


def _picture(path: str | os.PathLike, arrays: list[np.ndarray]) -> np.ndarray:
    if len(arrays) != 1 or arrays[0].ndim != 3 or arrays[0].shape[2] != 3 or arrays[0].dtype != np.uint8:
        raise _not_understood(path)
    return arrays[0]


def _yuv_picture(path: str | os.PathLike, arrays: list[np.ndarray]) -> np.ndarray:
    if len(arrays) != 1 or arrays[0].ndim != 2 or len(arrays[0]) % 3 or arrays[0].dtype != np.uint8:
        raise _not_understood(path)
    return arrays[0]


def _media_info(path: str | os.PathLike, value: dict) -> MediaInfo:
    kinds = {field.name: field.type for field in fields(MediaInfo)}
    if not isinstance(value, dict) or value.keys() != kinds.keys():
        raise _not_understood(path)
    if not all(isinstance(value[name], kind) for name, kind in kinds.items()):
        raise _not_understood(path)
    return MediaInfo(**value)


def _not_understood(path: str | os.PathLike) -> MediaError:
    return MediaError(f"{shown_path(path)}: reading it gave something else than was asked for; {CURE}")


# In the child: what `run_isolated` runs there.


def _probe(path: str, need_video: bool) -> Iterator[tuple]:
    yield (asdict(media_ccformer.probe(path, need_video)),)


def _frame_starts(path: str) -> Iterator[tuple]:
    yield None, media_ccformer.frame_starts(path)


def _yuv_frames(path: str) -> Iterator[tuple]:
    colours, frames = media_ccformer.iter_yuv_frames(path)
    yield (colours,)
    yield from frames


def _frames_at(path: str, times: list[float]) -> Iterator[tuple]:
    for picture in media_ccformer.iter_frames_at(path, times):
        yield None, picture


def _watched_frames(path: str, times: list[float], longest: int, every: bool) -> Iterator[tuple]:
    for time, small, count, picture in media_ccformer.iter_watched_frames(path, times, longest, every):
        yield [time, count], small, *([picture] if count else [])


def _sounds(path: str, starts: list[float], num_samples: int, rate: int) -> Iterator[tuple]:
    for samples in media_ccformer.iter_sounds(path, starts, num_samples, rate):
        yield silence_faults(samples), samples
