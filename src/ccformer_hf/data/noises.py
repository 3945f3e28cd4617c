"""Sounds of no class: white and pink noise, mains hum, bleeps. Nothing is to be marked under them."""

from collections.abc import Callable

import numpy as np

from ..model.timing_ccformer import SAMPLING_RATE
from .levels import factor, root_mean_square

QUIETEST, LOUDEST = -30.0, -6.0  # root mean square in dB below full scale
HUM_HARMONICS = 40  # VGGish hears from 125 Hz on, so it is the harmonics of 50 or 60 Hz that count


def _white(rng: np.random.Generator, samples: int) -> np.ndarray:
    """The same power at every frequency."""
    return rng.uniform(-1, 1, samples)


def _pink(rng: np.random.Generator, samples: int) -> np.ndarray:
    """The same power in every octave from 20 Hz on, as rain and waterfalls have it."""
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLING_RATE), 20)
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) / np.sqrt(frequency), samples)


def _hum(rng: np.random.Generator, samples: int) -> np.ndarray:
    """The hum of the mains: 50 or 60 Hz and its harmonics, as steady as the mains."""
    number = np.arange(1, HUM_HARMONICS + 1)
    strength = rng.uniform(0.1, 1, number.shape) / number
    mains = rng.choice([50, 60])
    # One second by the inverse of its spectrum, of one bin per hertz: half of a sine's strength lies at its frequency.
    spectrum = np.zeros(SAMPLING_RATE // 2 + 1, dtype=complex)
    spectrum[mains * number] = strength / 2 * np.exp(2j * np.pi * (rng.uniform(0, 1, number.shape) - 0.25))
    second = np.fft.irfft(spectrum, SAMPLING_RATE, norm="forward")
    return np.resize(second, samples)  # every second is like the first


def _odd(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Bleeps and chirps: short tones whose partials are no harmonics and slide up or down, at no regular time."""
    sound = np.zeros(samples)
    start = 0
    while start < samples:
        length = round(rng.uniform(0.05, 0.8) * SAMPLING_RATE)
        part = sound[start : start + length]
        place = np.arange(len(part)) / length  # 0..1
        for _ in range(rng.integers(1, 5)):
            frequency = np.exp(rng.uniform(*np.log([150, 6000]))) * 2 ** (rng.uniform(-0.7, 0.7) * place)
            part += rng.uniform(0.3, 1) * np.sin(2 * np.pi * np.cumsum(frequency) / SAMPLING_RATE)
        tremble = 1 + rng.uniform(0, 1) * np.sin(2 * np.pi * rng.uniform(3, 40) * place * length / SAMPLING_RATE)
        part *= tremble * np.minimum(1, np.minimum(place, 1 - place) * rng.uniform(2, 40))
        start += length + round(rng.uniform(0, 0.4) * SAMPLING_RATE)
    return sound


NOISES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "white": _white,
    "pink": _pink,
    "hum": _hum,
    "odd": _odd,
}


def make_noise(kind: str, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A sound of no class, `(seconds * 16000,)` float32 in -1..1, as loud as drawn: 30 to 6 dB below full scale.

    Args:
        kind: a key of `NOISES`.
        rng: draws all of it; the same generator state gives the same sound.
    """
    return at_some_loudness(NOISES[kind](rng, round(seconds * SAMPLING_RATE)), rng)


def at_some_loudness(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sound, float32, 30 to 6 dB below full scale (even in dB), softer where its peaks would be cut off."""
    level = factor(rng.uniform(QUIETEST, LOUDEST)) / root_mean_square(sound)
    return (sound * min(level, 1 / np.abs(sound).max())).astype(np.float32)
