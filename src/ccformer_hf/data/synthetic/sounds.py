"""The sounds of the synthetic set: one timbre per class, synthesised with NumPy.

Every timbre has a mark of its own in a 64-band log-mel of one second, in frequency (low, high, sparse, dense) and in
time (struck, steady, sweeping, chopped, ticking), so that two or three can be told apart when they sound together.
Within a class pitch, tempo, brightness, onset and room vary.

Shapes: `R` rows, one per second of the clip; `S` = 16000 samples in a row. A sound lives inside its second: it starts
at most 0.25 s late and has died away when the second ends, so no second holds a rest of the one before.
"""

from collections.abc import Callable

import numpy as np

from ...model.timing_ccformer import SAMPLING_RATE
from ..levels import factor

LATEST_ONSET = 0.25  # seconds
FADE_OUT = 0.04  # seconds, at the end of every second
TABLE_SIZE = 4096  # samples in one period of a wavetable
TIME = np.arange(SAMPLING_RATE, dtype=np.float32) / SAMPLING_RATE  # (S,) seconds since the onset


def _table(amplitudes: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """One period (TABLE_SIZE,) of the given harmonics; without `rng` all in phase, which makes a pulse."""
    phases = np.zeros(len(amplitudes)) if rng is None else rng.uniform(0, 2 * np.pi, len(amplitudes))
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, dtype=np.complex128)
    spectrum[1 : len(amplitudes) + 1] = amplitudes * np.exp(1j * phases)
    period = np.fft.irfft(spectrum)
    return (period / np.abs(period).max()).astype(np.float32)


def _harmonics(pitch: float, highest: float = 7200.0) -> np.ndarray:
    """Harmonic numbers (1, 2, ...) of `pitch` Hz up to `highest` Hz."""
    return np.arange(1, max(2, int(highest / pitch)) + 1)


def _turns(frequency: np.ndarray) -> np.ndarray:
    """Phase in turns (R, S) of a tone whose frequency (R, S) in Hz changes with time."""
    return np.cumsum(frequency, axis=1, dtype=np.float64) / SAMPLING_RATE


def _play(table: np.ndarray, turns: np.ndarray) -> np.ndarray:
    return table[(turns * TABLE_SIZE).astype(np.int32) & (TABLE_SIZE - 1)]


def _noise(rng: np.random.Generator, rows: int, low: float, high: float) -> np.ndarray:
    """Noise (R, S) between `low` and `high` Hz: one second of it, turned to another place in every row."""
    spectrum = np.fft.rfft(rng.standard_normal(SAMPLING_RATE).astype(np.float32))
    frequency = np.fft.rfftfreq(SAMPLING_RATE, 1 / SAMPLING_RATE)
    spectrum *= np.exp(
        -np.maximum(0, np.log2(np.maximum(frequency, 1) / high)) * 3 - np.maximum(0, low - frequency) / 60
    )
    noise = np.fft.irfft(spectrum).astype(np.float32)
    noise /= np.abs(noise).std() * 4
    return np.stack([np.roll(noise, shift) for shift in rng.integers(0, SAMPLING_RATE, rows)])


def _beats(rng: np.random.Generator, rows: int, slowest: float, fastest: float) -> tuple[np.ndarray, np.ndarray]:
    """A steady tempo of `slowest` to `fastest` beats per second: seconds since a beat, its number, both (R, S)."""
    tempo = rng.uniform(slowest, fastest) * rng.uniform(0.95, 1.05, (rows, 1)).astype(np.float32)
    beat = TIME * tempo
    number = np.floor(beat)
    return (beat - number) / tempo, number.astype(np.int32)


def _per_beat(rng: np.random.Generator, number: np.ndarray, low: float, high: float) -> np.ndarray:
    """A value (R, S) that is drawn anew from low..high at every beat."""
    values = rng.uniform(low, high, (len(number), number.max() + 1)).astype(np.float32)
    return np.take_along_axis(values, number, axis=1)


def _pulse(since: np.ndarray, attack: float, length: float, release: float) -> np.ndarray:
    """Envelope 0..1 that rises for `attack` seconds, holds, and from `length` on falls for `release` seconds."""
    return np.clip(since / attack, 0, 1) * np.clip((length + release - since) / release, 0, 1)


def _bell(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Struck metal: a few inharmonic partials that ring on; one or two strokes."""
    since, number = _beats(rng, rows, 1.0, 2.4)
    pitch = rng.uniform(520, 1000)
    sound = np.zeros((rows, SAMPLING_RATE), dtype=np.float32)
    for ratio, level, decay in (
        (1.0, 1.0, 2.2),
        (2.0, 0.6, 3.0),
        (2.76, 0.8, 3.6),
        (4.07, 0.5, 5.0),
        (5.4, 0.45, 7.0),
    ):
        frequency = pitch * ratio * rng.uniform(0.985, 1.015)
        if frequency < 7400:
            level *= rng.uniform(0.6, 1.2)
            sound += level * np.sin(np.float32(2 * np.pi * frequency) * since) * np.exp(-np.float32(decay) * since)
    return sound * _per_beat(rng, number, 0.7, 1.0)


def _bird(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Quick chirps, high up: every note sweeps within 3-7 kHz."""
    since, number = _beats(rng, rows, 4.5, 9.0)
    length = rng.uniform(0.05, 0.085)
    sweep = rng.choice([-1, 1]) * rng.uniform(700, 1600) / length
    frequency = (
        rng.uniform(4300, 5400) + _per_beat(rng, number, -500, 500) + sweep * (np.minimum(since, length) - length / 2)
    )
    return np.sin(2 * np.pi * _turns(frequency)).astype(np.float32) * _pulse(since, 0.01, length, 0.02)


def _clock(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Ticks: clicks of some ten milliseconds, high and higher by turns."""
    since, number = _beats(rng, rows, 3.5, 7.0)
    frequency = np.where(number % 2 == 0, rng.uniform(2000, 2700), rng.uniform(3000, 4000)).astype(np.float32)
    decay = rng.uniform(110, 200)
    click = np.sin(2 * np.pi * frequency * since) + 1.5 * _noise(rng, rows, 2500, 6500)
    return click * np.exp(-np.float32(decay) * since) * np.where(number % 2 == 0, 1.0, rng.uniform(0.6, 1.0))


def _dog(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Barks: two or three a second, rough, the pitch jumps up and falls."""
    since, number = _beats(rng, rows, 2.2, 3.6)
    length = rng.uniform(0.11, 0.16)
    pitch = rng.uniform(380, 560)
    bend = 1 + 0.45 * np.sin(np.pi * np.clip(since / length, 0, 1))
    harmonics = _harmonics(pitch * 1.5, 5000)
    table = _table(np.exp(-(((harmonics * pitch - 1100) / 900) ** 2)) + 0.15, rng)
    bark = _play(table, _turns(pitch * bend * _per_beat(rng, number, 0.92, 1.08)))
    return (bark + 0.8 * _noise(rng, rows, 500, 2800)) * _pulse(since, 0.015, length, 0.05)


def _drum(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Struck skin: low thumps, the pitch sags, with a dull slap at the stroke."""
    since, number = _beats(rng, rows, 3.0, 5.5)
    pitch, decay = rng.uniform(130, 210), rng.uniform(14, 24)
    thump = np.sin(2 * np.pi * (pitch * since + 1.2 * (1 - np.exp(-35 * since))))
    overtone = 0.45 * np.sin(2 * np.pi * pitch * 1.59 * since)
    slap = 1.6 * _noise(rng, rows, 150, 1400) * np.exp(-55 * since)
    return ((thump + overtone) * np.exp(-decay * since) + slap) * _per_beat(rng, number, 0.6, 1.0)


def _emergency_car(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Siren: a loud tone that sweeps up and down without a pause."""
    sweeps = rng.uniform(1.2, 3.2)
    low, high = rng.uniform(550, 750), rng.uniform(1300, 1700)
    place = np.abs(2 * ((TIME * sweeps + rng.uniform(0, 1, (rows, 1))) % 1) - 1)  # (R, S) a triangle, 0..1
    table = _table(np.array([1.0, 0.1, 0.45, 0.05]), rng)
    return _play(table, _turns(low * (high / low) ** place)) * _pulse(TIME, 0.03, 1.0, 0.1)


def _flute(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Blown, soft: nearly a pure tone with vibrato, and breath above it; one or two notes."""
    _, number = _beats(rng, rows, 1.0, 2.2)
    vibrato = 1 + 0.012 * np.sin(2 * np.pi * (rng.uniform(4.5, 6.5) * TIME))
    pitch = rng.uniform(620, 1000) * 2 ** np.round(_per_beat(rng, number, -0.49, 5.49)) ** np.float32(1 / 12)
    table = _table(np.array([1.0, rng.uniform(0.15, 0.3), 0.08]), rng)
    tone = _play(table, _turns(pitch * vibrato))
    return (tone + 0.12 * _noise(rng, rows, 1500, 5000)) * _pulse(TIME, 0.07, 1.0, 0.1)


def _guitar(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Plucked strings: a dense harmonic chord at every pluck, bright first, dull after."""
    since, number = _beats(rng, rows, 1.8, 3.4)
    root = rng.uniform(130, 260)
    harmonics = _harmonics(root * 2)
    comb = np.abs(np.sin(np.pi * harmonics * rng.uniform(0.12, 0.3))) + 0.1  # where the string is plucked
    bright, dull = _table(comb / harmonics**0.5, rng), _table(comb / harmonics**1.6, rng)
    sound = np.zeros((rows, SAMPLING_RATE), dtype=np.float32)
    steps = np.array([0, 3, 5, 7, 10, 12])
    for _ in range(2):  # two strings at a time
        pitch = root * 2 ** (steps[_per_beat(rng, number, 0, 5.99).astype(np.int32)] / 12)
        turns = pitch * since
        sound += _play(bright, turns) * np.exp(-9 * since) + _play(dull, turns) * np.exp(-3 * since)
    return sound * np.clip(since / 0.003, 0, 1)


def _helicopter(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Rotor: low noise chopped ten to fifteen times a second."""
    since, _ = _beats(rng, rows, 9.5, 14.5)
    chop = np.exp(-since * rng.uniform(28, 45))
    thump = np.sin(2 * np.pi * rng.uniform(120, 170) * since)
    return (_noise(rng, rows, 130, rng.uniform(700, 1300)) * 1.5 + 0.6 * thump) * chop


def _man(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Voice-like: glottal pulses through three formants, another vowel at every syllable."""
    since, number = _beats(rng, rows, 3.0, 5.0)
    pitch = rng.uniform(95, 165)
    tract = rng.uniform(0.92, 1.1)
    frequency = _harmonics(pitch, 4200) * pitch
    vowels = ((750, 1150, 2500), (300, 2250, 2950), (500, 1800, 2500), (350, 750, 2400), (560, 900, 2550))
    tables = np.stack(
        [
            _table(
                sum(
                    level * np.exp(-(((frequency - f * tract) / width) ** 2))
                    for f, level, width in zip(formants, (1.0, 0.6, 0.35), (90, 120, 170), strict=True)
                )
                + 0.01
            )
            for formants in vowels
        ]
    )
    melody = 1 + 0.12 * np.sin(2 * np.pi * (rng.uniform(0.6, 1.4) * TIME + rng.uniform(0, 1, (rows, 1))))
    place = (_turns(pitch * melody) * TABLE_SIZE).astype(np.int32) & (TABLE_SIZE - 1)
    vowel = _per_beat(rng, number, 0, len(vowels) - 0.01).astype(np.int32)
    return tables[vowel, place] * _pulse(since, 0.03, rng.uniform(0.13, 0.17), 0.05) * _per_beat(rng, number, 0.7, 1.0)


def _motorcycle(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Engine: a steady growl of low harmonics that revs up or down."""
    rate = rng.uniform(48, 85)
    harmonics = _harmonics(rate, 3200)
    resonances = sum(
        np.exp(-(((harmonics * rate - f) / 170) ** 2)) for f in (rng.uniform(180, 330), rng.uniform(600, 1000))
    )
    table = _table(resonances + 0.25 * np.exp(-harmonics * rate / 1500), rng)
    rev = 1 + rng.uniform(0.1, 0.3) * np.sin(2 * np.pi * (rng.uniform(0.5, 1.6) * TIME + rng.uniform(0, 1, (rows, 1))))
    turns = _turns(rate * rev)
    cough = 0.5 + 0.5 * np.cos(np.pi * turns).astype(np.float32)  # every second stroke is stronger
    return (_play(table, turns) + 0.5 * _noise(rng, rows, 150, 1800) * cough) * _pulse(TIME, 0.05, 1.0, 0.1)


def _trumpet(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Blown, bright: a full row of strong harmonics up to 7 kHz, tongued two or three times."""
    since, number = _beats(rng, rows, 1.6, 3.0)
    pitch = rng.uniform(270, 430)
    harmonics = _harmonics(pitch * 1.4)
    swell = np.exp(-(((harmonics * pitch - 1500) / 1800) ** 2))
    table = _table(swell + 0.35 / harmonics**0.3, rng)
    steps = np.array([0, 2, 4, 5])
    note = pitch * 2 ** (steps[_per_beat(rng, number, 0, 3.99).astype(np.int32)] / 12)
    return _play(table, _turns(note)) * _pulse(since, 0.03, 1.0, 0.1) * (0.75 + 0.25 * np.exp(-6 * since))


def _frying_food(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Crackle: pops at no regular time over a steady hiss, all high up."""
    pops = (rng.random((rows, SAMPLING_RATE)) < rng.uniform(25, 60) / SAMPLING_RATE) * rng.exponential(
        1, (rows, SAMPLING_RATE)
    )
    fading = np.exp(-np.arange(320) / SAMPLING_RATE * rng.uniform(250, 450))
    crackle = np.stack([np.convolve(row, fading)[:SAMPLING_RATE] for row in pops]).astype(np.float32)
    return _noise(rng, rows, rng.uniform(4200, 5200), 7800) * (0.35 + crackle) * _pulse(TIME, 0.05, 1.0, 0.1)


def _saw(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Rasp: strokes of noise in the middle, grated by the teeth, strong and weak by turns."""
    since, number = _beats(rng, rows, 2.6, 4.2)
    teeth = _turns(rng.uniform(60, 95) * (0.7 + 0.3 * np.cos(12 * since)))
    grate = 1 - (teeth % 1).astype(np.float32)
    stroke = _pulse(since, 0.03, rng.uniform(0.14, 0.18), 0.05) * np.where(number % 2 == 0, 1.0, rng.uniform(0.4, 0.7))
    return _noise(rng, rows, rng.uniform(1300, 1700), rng.uniform(2600, 3300)) * grate**2 * stroke


def _sheep(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Bleats: one or two long ones, nasal, trembling seven to nine times a second."""
    since, number = _beats(rng, rows, 1.1, 1.7)
    pitch = rng.uniform(230, 340)
    tract = rng.uniform(0.93, 1.08)
    frequency = _harmonics(pitch, 4200) * pitch
    formants = ((550, 1.0, 120), (2700, 0.9, 220), (3500, 0.7, 260))
    peaks = sum(level * np.exp(-(((frequency - f * tract) / width) ** 2)) for f, level, width in formants)
    tremble = np.sin(2 * np.pi * rng.uniform(7, 9) * since)
    voice = _play(_table(peaks + 0.01), _turns(pitch * (1 + 0.05 * tremble) * _per_beat(rng, number, 0.94, 1.06)))
    return (voice + 0.15 * _noise(rng, rows, 2400, 4000)) * (0.55 + 0.45 * tremble) * _pulse(since, 0.04, 0.42, 0.1)


def _train(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Steam: a whistle of three tones that clash, and low puffs below it."""
    since, _ = _beats(rng, rows, 4.0, 6.5)
    pitch = rng.uniform(1350, 1750)
    table = _table(np.array([1.0, 0.25, 0.1]), rng)
    whistle = sum(
        _play(table, pitch * ratio * np.broadcast_to(TIME, (rows, SAMPLING_RATE))) for ratio in (1, 1.19, 1.41)
    )
    puff = _noise(rng, rows, 80, 500) * np.exp(-rng.uniform(14, 22) * since)
    return (0.35 * whistle + 3 * puff) * _pulse(TIME, 0.06, 1.0, 0.1)


TIMBRES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "bell": _bell,
    "bird": _bird,
    "clock": _clock,
    "dog": _dog,
    "drum": _drum,
    "emergency-car": _emergency_car,
    "flute": _flute,
    "guitar": _guitar,
    "helicopter": _helicopter,
    "man": _man,
    "motorcycle": _motorcycle,
    "trumpet": _trumpet,
    # Four more, for training on classes that ccformer-tiny does not know.
    "frying-food": _frying_food,
    "saw": _saw,
    "sheep": _sheep,
    "train": _train,
}


def make_stem(class_name: str, rng: np.random.Generator, seconds: int, room: list[tuple[int, float]]) -> np.ndarray:
    """One object's sound, as if it sounded in every second.

    Args:
        class_name: a key of `TIMBRES`.
        rng: draws pitch, tempo and the rest; the same generator state gives the same sound.
        seconds: length.
        room: early reflections, (delay in samples, gain) each.

    Returns:
        `(seconds, 16000)` float32. Each second is silent until its onset and at its end; RMS 0.1, less for the
        spikiest; peak at most 0.8.
    """
    dry = TIMBRES[class_name](rng, seconds)
    onsets = rng.uniform(0, LATEST_ONSET, seconds) * SAMPLING_RATE
    stem = np.zeros((seconds, SAMPLING_RATE), dtype=np.float32)
    for row, onset in enumerate(onsets.astype(int)):
        stem[row, onset:] = dry[row, : SAMPLING_RATE - onset]
    direct = stem.copy()
    for delay, gain in room:
        stem[:, delay:] += np.float32(gain) * direct[:, :-delay]
    fade = round(FADE_OUT * SAMPLING_RATE)
    # the last 25 ms (400 samples) stay silent: they lie beyond the 0.975 s that belong to this second's log-mel
    stem[:, -400 - fade : -400] *= np.linspace(1, 0, fade, dtype=np.float32)
    stem[:, -400:] = 0
    loudness = np.sqrt(np.mean(stem**2)) + 1e-9
    return stem * np.float32(min(0.1 / loudness, 0.8 / np.abs(stem).max()))


def make_room(rng: np.random.Generator) -> list[tuple[int, float]]:
    """Three to five early reflections within 100 ms, (delay in samples, gain) each; now and then a dry room: none."""
    if rng.random() < 0.2:
        return []
    delays = np.sort(rng.uniform(0.008, 0.1, rng.integers(3, 6)))
    liveness = rng.uniform(0.1, 0.45)
    return [(round(d * SAMPLING_RATE), float(rng.choice([-1, 1]) * liveness * np.exp(-d / 0.06))) for d in delays]


def make_background_noise(rng: np.random.Generator, seconds: int) -> np.ndarray:
    """A room's or a microphone's noise `(seconds * 16000,)` float32 with RMS 0.1; sometimes digital silence."""
    if rng.random() < 0.2:
        return np.zeros(seconds * SAMPLING_RATE, dtype=np.float32)
    noise = _noise(rng, seconds, rng.uniform(20, 300), rng.uniform(600, 7000)).reshape(-1)
    decibels = rng.uniform(-45, -20)
    return noise * np.float32(0.1 * factor(decibels) / noise.std())
