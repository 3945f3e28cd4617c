"""Random changes of training clips (ours): the same for every frame of a clip, and for sound only such that the labels stay true.

Letters: `T` frames, `H W` picture, `S` side of the frames wanted.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageStat

from ..training.recipe import Augmentation
from .reading import IGNORE_LABEL

QUIETEST_NOISE, LOUDEST_NOISE = 40.0, 10.0  # dB below the sound
QUIETEST_MIX, LOUDEST_MIX = 20.0, 5.0


def cut_frames(length: int, wanted: int | None, rng: np.random.Generator) -> slice:
    """The run of at most `wanted` frames (None: all) that is kept of a clip of `length` frames."""
    kept = length if wanted is None else min(length, wanted)
    start = int(rng.integers(0, length - kept + 1))
    return slice(start, start + kept)


def augment_pictures(
    frames: Sequence[Image.Image], labels: np.ndarray, size: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Frames and label maps of a clip at one size: scaled, cut out, mirrored, recoloured.

    Args:
        frames: `T` RGB pictures.
        labels: uint8 `(T, H, W)`; 255 = ignore, which is also what lies beside a shrunk picture.
        size: S.

    Returns:
        uint8 `(T, S, S, 3)` and uint8 `(T, S, S)`.
    """
    # Factors are drawn evenly in their logarithm: half as large is as likely as twice as large.
    scaled = max(1, round(size * float(np.exp(rng.uniform(*np.log(augmentation.scale))))))
    top, left = rng.integers(0, abs(scaled - size) + 1, size=2)
    mirrored = rng.random() < augmentation.flip
    factors = 1 + augmentation.colour * rng.uniform(-1, 1, size=3)
    resized = [frame.resize((scaled, scaled), Image.Resampling.BILINEAR) for frame in frames]
    if augmentation.colour:
        resized = _recoloured(resized, *factors.tolist())

    pictures = np.zeros((len(frames), size, size, 3), dtype=np.uint8)
    maps = np.full((len(frames), size, size), IGNORE_LABEL, dtype=np.uint8)
    if scaled >= size:  # a window of the picture
        inside, window = (slice(None),) * 2, (slice(top, top + size), slice(left, left + size))
    else:  # the picture within the window
        inside, window = (slice(top, top + scaled), slice(left, left + scaled)), (slice(None),) * 2
    for index, (picture, ids) in enumerate(zip(resized, labels, strict=True)):
        pictures[index][inside] = np.asarray(picture)[window]
        small = Image.fromarray(ids).resize((scaled, scaled), Image.Resampling.NEAREST)
        maps[index][inside] = np.asarray(small)[window]
    if mirrored:
        pictures, maps = pictures[:, :, ::-1], maps[:, :, ::-1]
    return np.ascontiguousarray(pictures), np.ascontiguousarray(maps)


def _recoloured(
    pictures: list[Image.Image], brightness: float, contrast: float, saturation: float
) -> list[Image.Image]:
    """Pictures of one size; 1 is no change. The contrast is about the mean of all, so that a colour changes alike in each."""
    pictures = [Image.blend(Image.new("RGB", picture.size), picture, brightness) for picture in pictures]
    mean = round(float(np.mean([ImageStat.Stat(picture.convert("L")).mean[0] for picture in pictures])))
    grey = Image.new("RGB", pictures[0].size, (mean, mean, mean))
    pictures = [Image.blend(grey, picture, contrast) for picture in pictures]
    return [Image.blend(picture.convert("L").convert("RGB"), picture, saturation) for picture in pictures]


def augment_sound(
    waveform: np.ndarray,
    sampling_rate: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
    other: np.ndarray | None = None,
) -> np.ndarray:
    """The sound of a clip, shifted a little, mixed, with noise, louder or softer; never beyond -1..1.

    Args:
        waveform: float32 `(samples,)`.
        other: a sound to mix in, at the same rate; nothing of it can be seen.
    """
    shift = round(rng.uniform(-1, 1) * augmentation.shift * sampling_rate)
    shift = min(max(shift, -len(waveform)), len(waveform))
    noisy = rng.random() < augmentation.noise
    noise_level = rng.uniform(LOUDEST_NOISE, QUIETEST_NOISE)
    mix_level = rng.uniform(LOUDEST_MIX, QUIETEST_MIX)
    gain = rng.uniform(-1, 1) * augmentation.gain
    level = _loudness(waveform)
    sound = np.zeros_like(waveform)
    if shift >= 0:  # later than before
        sound[shift:] = waveform[: len(waveform) - shift]
    else:
        sound[:shift] = waveform[-shift:]
    if other is not None and _loudness(other) > 0:
        other = np.resize(other, len(sound))  # repeated where it is shorter
        sound = sound + other * (level / _loudness(other) * _factor(-mix_level))
    if noisy:
        sound = sound + level * _factor(-noise_level) * rng.standard_normal(len(sound))
    sound = sound * _factor(gain)
    return (sound / max(1.0, float(np.abs(sound).max(initial=0.0)))).astype(np.float32)


def negative_kind(augmentation: Augmentation, rng: np.random.Generator) -> str | None:
    """`"silence"`, `"noise_only"`, `"off_screen"`, or None for a clip that keeps its sound."""
    drawn = rng.random()
    for kind in ("silence", "noise_only", "off_screen"):
        drawn -= getattr(augmentation, kind)
        if drawn < 0:
            return kind
    return None


def nothing_sounds(labels: np.ndarray) -> np.ndarray:
    """Label maps of the same pictures with nothing to be heard; what was ignored still is."""
    return np.where(labels == IGNORE_LABEL, labels, 0)


def _loudness(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0


def _factor(decibels: float) -> float:
    return 10 ** (decibels / 20)
