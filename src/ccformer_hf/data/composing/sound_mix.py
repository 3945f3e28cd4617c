"""The sound of a composed clip: who sounds when, how fast and how loud, over what noise, and in which frames it can be
heard.

A frame is judged by the 0.96 s of sound that belong to it (`timing_ccformer`), so whether an object sounds in a frame
is measured in just that part of its own sound, after room and codec: at least -12 dB of its loudness, and it does;
less than -30 dB, and it does not; between the two, or where everything else is 20 dB louder, it is uncertain, and its
pixels are ignored.

Letters: `T` frames, one per second; `N` objects; `S` = 16000 T samples.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import firwin, oaconvolve

from ...model.timing_ccformer import FrameTiming
from ..levels import factor, root_mean_square
from ..noises import NOISES
from ..reading import IGNORE_LABEL
from .pairing import Span
from .sounds import SAMPLING_RATE, Recording

AUDIBLE_FROM, SILENT_BELOW, DROWNED_BY = -12.0, -30.0, 20.0  # dB
REFERENCE = 0.1  # loudness of the loudest object, before the whole is made louder or softer
LEVELS = (-10.0, 0.0)  # dB, of objects and of what is off screen
BED_LEVELS, NOISE_LEVELS = (-26.0, -14.0), (-48.0, -16.0)  # dB, under objects
WITH_NOISE, WITH_ROOM, WITH_BAND, WITH_CODEC = 0.8, 0.4, 0.25, 0.1  # shares of the clips
ECHO_LEVELS = (-20.0, -5.0)  # dB, of a room's echo against what comes straight
WHOLE_LEVELS = (-14.0, 8.0)  # dB
WITH_SPEED = 0.5  # share of the objects, and of what is off screen, that are played at another speed,
SPEEDS = (0.84, 1.19)  # which makes them lower or higher by up to three semitones too
PAUSES = (0.05, 0.6)  # s, between two times that a short sound is played
FADE = 0.008  # s, at both ends of a part


@dataclass(frozen=True)
class Mix:
    """What is heard.

    Attributes:
        waveform: float32 `(S,)` in -1..1.
        audible: uint8 `(N, T)`: 1 where an object can be heard in a frame, 0 where not, 255 where nobody can tell.
        off_screen_audible: uint8 `(T,)`, likewise, of what is off screen.
    """

    waveform: np.ndarray
    audible: np.ndarray
    off_screen_audible: np.ndarray


def mix_sounds(
    audio_kind: str,
    spans: list[Span],
    objects: list[Recording | None],
    off_screen: Recording | None,
    bed: list[Recording],
    seconds: int,
    rng: np.random.Generator,
) -> Mix:
    """Plays the spans, each source at a level of its own, and adds what belongs to nothing.

    Args:
        audio_kind: see `pairing.AUDIO_KINDS`.
        objects: the sound of each object; None for one that never sounds.
        off_screen: the sound of `pairing.OFF_SCREEN`; None: nothing is heard from there.
        bed: sounds of a bed.
    """
    length = seconds * SAMPLING_RATE
    channel = _draw_channel(rng)
    levels = REFERENCE * factor(rng.uniform(*LEVELS, size=len(objects) + 1))
    stems = np.zeros((len(objects) + 1, length), dtype=np.float32)  # the last one is `OFF_SCREEN`
    recordings = [_at_a_speed(recording, rng) for recording in (*objects, off_screen)]
    for span in spans:
        recording = recordings[span.source]
        if recording is not None:
            _play(stems[span.source], recording, span, rng)
    for stem, recording, level in zip(stems, recordings, levels, strict=True):
        if recording is not None and stem.any():
            stem *= np.float32(level / recording.loudness)
            if channel is not None:
                stem[:] = oaconvolve(stem, channel)[:length]
    others = stems[-1].copy()
    for recording in bed:
        loud = LEVELS if audio_kind == "bed" else BED_LEVELS
        played = np.zeros(length, dtype=np.float32)
        _play(played, recording, Span(0, 0.0, float(seconds)), rng)
        others += played * np.float32(REFERENCE * factor(rng.uniform(*loud)) / recording.loudness)
    if audio_kind == "noise" or (audio_kind != "silence" and rng.random() < WITH_NOISE):
        loud = LEVELS if audio_kind == "noise" else NOISE_LEVELS
        others += draw_noise(length, rng) * np.float32(REFERENCE * factor(rng.uniform(*loud)))
    audible = tell_audible(stems[:-1], levels[:-1], others)
    rest = others - stems[-1] + stems[:-1].sum(axis=0)
    (off_screen_audible,) = tell_audible(stems[-1:], levels[-1:], rest)
    waveform = (stems[:-1].sum(axis=0) + others) * np.float32(factor(rng.uniform(*WHOLE_LEVELS)))
    if rng.random() < WITH_CODEC:
        waveform = _coded(waveform)
    waveform *= np.float32(min(1.0, 0.98 / max(1e-9, float(np.abs(waveform).max()))))
    return Mix(waveform, audible, off_screen_audible)


def tell_audible(stems: np.ndarray, levels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each object can be heard in each frame, uint8 `(N, T)`: 1, 0, or 255 where nobody can tell.

    Args:
        stems: float32 `(N, S)`, the sound of each object alone.
        levels: `(N,)`, how loud each is where it sounds.
        others: float32 `(S,)`, all else.
    """
    timing = FrameTiming(sampling_rate=SAMPLING_RATE)
    frames = len(others) // SAMPLING_RATE
    starts = np.round(timing.sound_starts(timing.frame_times(frames)) * SAMPLING_RATE).astype(int)
    whole = stems.sum(axis=0) + others
    audible = np.zeros((len(stems), frames), dtype=np.uint8)
    for frame, start in enumerate(starts):
        part = slice(start, start + timing.example_samples)
        powers = np.square(stems[:, part]).mean(axis=1)
        rest = np.square(whole[part] - stems[:, part]).mean(axis=1)
        own = 10 * np.log10(powers / np.square(levels) + 1e-12)
        drowned = 10 * np.log10((rest + 1e-12) / (powers + 1e-12)) > DROWNED_BY
        clearly_audible = (own >= AUDIBLE_FROM) & ~drowned
        audible[:, frame] = np.where(own < SILENT_BELOW, 0, np.where(clearly_audible, 1, IGNORE_LABEL))
    return audible


def draw_noise(length: int, rng: np.random.Generator) -> np.ndarray:
    """White or pink noise, the hum of the mains, or bleeps (see `noises`), float32 `(S,)` of loudness 1."""
    noise = NOISES[str(rng.choice(list(NOISES)))](rng, length)
    return (noise / root_mean_square(noise)).astype(np.float32)


def _at_a_speed(recording: Recording | None, rng: np.random.Generator) -> Recording | None:
    if recording is None or rng.random() >= WITH_SPEED:
        return recording
    speed = float(np.exp(rng.uniform(*np.log(SPEEDS))))
    samples = recording.samples
    positions = np.arange(int((len(samples) - 1) / speed) + 1) * speed
    return replace(recording, samples=np.interp(positions, np.arange(len(samples)), samples).astype(np.int16))


def _play(stem: np.ndarray, recording: Recording, span: Span, rng: np.random.Generator) -> None:
    """Adds a recording to a stem over the span: a part of a long one, a short one repeated."""
    position, end = round(span.start * SAMPLING_RATE), round(span.end * SAMPLING_RATE)
    samples = recording.samples
    skipped = int(rng.integers(0, max(1, len(samples) - (end - position) + 1)))
    while position < end:
        part = samples[skipped : skipped + end - position].astype(np.float32) / 32768
        edge = min(len(part) // 2, round(FADE * SAMPLING_RATE))
        if edge:
            ramp = np.linspace(0, 1, edge, dtype=np.float32)
            part[:edge] *= ramp
            part[-edge:] *= ramp[::-1]
        stem[position : position + len(part)] += part
        position += len(part) + round(rng.uniform(*PAUSES) * SAMPLING_RATE)
        skipped = 0


def _draw_channel(rng: np.random.Generator) -> np.ndarray | None:
    """What room and microphone do to a sound, as an impulse response of energy 1; None: nothing."""
    channel = None
    if rng.random() < WITH_ROOM:
        seconds = rng.uniform(0.05, 0.3)  # until the echo is 60 dB down
        times = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
        channel = rng.normal(size=len(times)) * 10 ** (-3 * times / seconds)
        channel *= factor(rng.uniform(*ECHO_LEVELS)) / np.sqrt(np.square(channel).sum())
        channel[0] = 1.0
    if rng.random() < WITH_BAND:
        low, high = rng.uniform(50, 350), rng.uniform(2800, 7000)
        band = firwin(127, [low, high], pass_zero=False, fs=SAMPLING_RATE)
        channel = band if channel is None else np.convolve(channel, band)
    if channel is None:
        return None
    return (channel / max(1.0, np.sqrt(np.square(channel).sum()))).astype(np.float32)


def _coded(waveform: np.ndarray) -> np.ndarray:
    """As a telephone codes it: 8 bits by the mu-law."""
    peak = max(1e-9, float(np.abs(waveform).max()))
    loud = np.log1p(np.abs(waveform) * np.float32(255 / peak)) * np.float32(127 / np.log(256))
    levels = (peak / 255 * np.expm1(np.arange(128) / 127 * np.log(256))).astype(np.float32)
    return np.copysign(levels[loud.round().astype(np.uint8)], waveform)
