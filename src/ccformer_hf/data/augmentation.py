"""Random changes of training clips: the same for every frame of a clip, of sound only such that labels stay true.

Letters: `T` frames, `H W` picture, `S` side of the frames wanted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageStat

from .levels import factor, root_mean_square
from .reading import IGNORE_LABEL

QUIETEST_NOISE, LOUDEST_NOISE = 40.0, 10.0  # dB below the sound
QUIETEST_MIX, LOUDEST_MIX = 20.0, 5.0


@dataclass(frozen=True)
class Augmentation:
    """What is changed at random in training clips; every frame of a clip alike. The defaults change nothing.

    Args:
        flip: share of clips that are mirrored.
        scale: smallest and largest factor by which the picture is enlarged before a part of the old size is cut out;
            below 1 it is shrunk and what is beside it ignored.
        colour: largest change of brightness, contrast and saturation, as a share.
        frames: numbers of frames of which one is drawn per step; longer clips are cut to so many; empty: all frames.
        gain: largest change of loudness, in dB.
        noise: share of clips that get white noise, 10 to 40 dB below their sound.
        mix: share of clips that get the sound of another clip with no class in common, 5 to 20 dB below their own;
            none where the classes of a clip are not known (ms3 without AVSBench's `metadata.csv`).
        shift: largest shift (s) of sound against picture; small enough for the labels to stay true.
        silence, noise_only, off_screen: shares of clips whose sound is replaced: by silence; by white noise, pink
            noise, mains hum or bleeps that nothing makes, by turns at random (ours); by the sound of another clip with
            no class in common (silence where there is none, see `mix`). Nothing of them is to be marked (*lineage*:
            AVSBench-Robust's negatives).

    Official log-mel files without their wav cannot be mixed, shifted, made louder or noisy; their clips can be
    replaced.
    """

    flip: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    colour: float = 0.0
    frames: tuple[int, ...] = ()
    gain: float = 0.0
    noise: float = 0.0
    mix: float = 0.0
    shift: float = 0.0
    silence: float = 0.0
    noise_only: float = 0.0
    off_screen: float = 0.0

    def __post_init__(self):
        for name in ("flip", "noise", "mix", "silence", "noise_only", "off_screen"):
            expect(0 <= getattr(self, name) <= 1, f"augmentation.{name}", getattr(self, name), "a share, 0 to 1")
        negatives = self.silence + self.noise_only + self.off_screen
        expect(negatives < 1, "augmentation's silence + noise_only + off_screen", negatives, "below 1")
        expect(0 <= self.colour < 1, "augmentation.colour", self.colour, "a share, 0 to below 1")
        expect(
            len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1],
            "augmentation.scale",
            self.scale,
            "the smallest and the largest factor, such as [0.75, 1.5]",
        )
        expect(
            all(number >= 1 and number == int(number) for number in self.frames),
            "augmentation.frames",
            self.frames,
            "whole numbers of frames, 1 or more",
        )
        for name in ("gain", "shift"):
            expect(getattr(self, name) >= 0, f"augmentation.{name}", getattr(self, name), "0 or more")

    @property
    def changes_sound(self) -> bool:
        """Whether the sound of a clip is not the same every time."""
        return any((self.gain, self.noise, self.mix, self.shift, self.noise_only, self.off_screen))


def expect(holds: bool, name: str, value: Any, expected: str) -> None:
    """Raises a `ValueError` that names the setting, what it is and what was expected, unless the condition holds."""
    if not holds:
        raise ValueError(f"{name} is {value!r}; expected {expected}")


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
    if scaled >= size:  # a window of the picture, in shares of its width and height
        box = (left / scaled, top / scaled, (left + size) / scaled, (top + size) / scaled)
        inside = (slice(None),) * 2
    else:  # the picture within the window
        box = (0, 0, 1, 1)
        inside = (slice(top, top + scaled), slice(left, left + scaled))
    side = min(scaled, size)

    def cut_out(picture: Image.Image, filter: Image.Resampling) -> Image.Image:
        # Square, as the processor does; what lies beside the window is not made.
        return picture.resize((side, side), filter, np.multiply(box, picture.size * 2).tolist())

    seen = [cut_out(frame, Image.Resampling.BILINEAR) for frame in frames]
    if augmentation.colour:
        seen = _recoloured(seen, *factors.tolist())
    pictures = np.zeros((len(frames), size, size, 3), dtype=np.uint8)  # (T, S, S, 3)
    maps = np.full((len(frames), size, size), IGNORE_LABEL, dtype=np.uint8)  # (T, S, S)
    for index, (picture, ids) in enumerate(zip(seen, labels, strict=True)):
        pictures[index][inside] = np.asarray(picture)
        # Nearest, as class ids cannot be mixed.
        maps[index][inside] = np.asarray(cut_out(Image.fromarray(ids), Image.Resampling.NEAREST))
    if mirrored:
        pictures, maps = pictures[:, :, ::-1], maps[:, :, ::-1]  # along the width
    return np.ascontiguousarray(pictures), np.ascontiguousarray(maps)


def _recoloured(
    pictures: list[Image.Image], brightness: float, contrast: float, saturation: float
) -> list[Image.Image]:
    """Pictures of one size; 1 is no change. Contrast is about the mean of all, so that each changes alike."""
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
    # All is drawn, needed or not, and in one order: switching one change off leaves what the others draw as it was.
    shift = round(rng.uniform(-1, 1) * augmentation.shift * sampling_rate)
    shift = min(max(shift, -len(waveform)), len(waveform))
    noisy = rng.random() < augmentation.noise
    noise_level = rng.uniform(LOUDEST_NOISE, QUIETEST_NOISE)
    mix_level = rng.uniform(LOUDEST_MIX, QUIETEST_MIX)
    gain = rng.uniform(-1, 1) * augmentation.gain
    level = root_mean_square(waveform)
    sound = np.zeros_like(waveform)
    if shift >= 0:  # later than before
        sound[shift:] = waveform[: len(waveform) - shift]
    else:
        sound[:shift] = waveform[-shift:]
    if other is not None and root_mean_square(other) > 0:
        other = np.resize(other, len(sound))  # repeated where it is shorter
        sound = sound + other * (level / root_mean_square(other) * factor(-mix_level))
    if noisy:
        sound = sound + level * factor(-noise_level) * rng.standard_normal(len(sound))
    sound = sound * factor(gain)
    # Beyond full scale it is made softer as a whole; clipping it would add sounds of its own.
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
