"""One clip composed of pictures and sounds: moving objects, and masks that follow who sounds (ours).

What a clip is depends on the material, the seed and its number alone, so clips can be made in any order, by any
process, at any time.

Letters: `T` frames, one per second; `S` side of a frame; `N` objects in view.
"""

from dataclasses import dataclass

import numpy as np

from ..avsbench import SPLITS
from ..reading import IGNORE_LABEL
from .material import Material
from .pairing import OFF_SCREEN, InView, draw_bed, draw_off_screen, draw_sound, draw_spans, draw_view
from .scene import compose_scene
from .sound_mix import mix_sounds


@dataclass
class ComposedSound:
    """What is heard in a clip, before anything is drawn.

    Attributes:
        view: what will be in view, see `pairing`.
        waveform: float32 `(16000 T,)` in -1..1, mono at 16 kHz.
        audible: uint8 `(N, T)`: 1 where an object sounds, 0 where not, 255 where nobody can tell.
        off_screen_audible: uint8 `(T,)`, likewise, of what is off screen.
        audio_kind: a key of `pairing.AUDIO_KINDS`.
        off_screen: name of what sounds from off screen; None: nothing does.
        files: that it is made of.
    """

    view: InView
    waveform: np.ndarray
    audible: np.ndarray
    off_screen_audible: np.ndarray
    audio_kind: str
    off_screen: str | None
    files: tuple[str, ...]

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Of the objects in view; those in place in the photograph first, then those pasted."""
        return self.view.class_ids

    @property
    def in_place(self) -> int:
        """How many of the objects in view are in place."""
        return len(self.view.in_place)


@dataclass
class ComposedClip(ComposedSound):
    """One clip with everything that is known about it, also all that `ComposedSound` says.

    Attributes:
        name: unique among all sources, seeds and splits.
        frames: uint8 `(T, S, S, 3)`, frame l at l + 15/16 seconds.
        labels: uint8 `(T, S, S)`: class ids where an object in view sounds, 255 where nobody can tell, else 0.
        masks: bool `(N, T, S, S)`, the pixels of each object that can be seen.
    """

    name: str
    frames: np.ndarray
    labels: np.ndarray
    masks: np.ndarray


def clip_name(material: Material, seed: int, index: int) -> str:
    """Name of a clip, which differs wherever the clip may."""
    return f"composed-{material.digest}-{seed}-{material.split}-{index:07d}"


def random_streams(material: Material, seed: int, index: int) -> list[np.random.Generator]:
    """Five independent streams: for what is in view, when it sounds, the sound files, the pictures and the mixture.

    So who sounds cannot depend on what was drawn for the pictures.
    """
    return [*map(np.random.default_rng, np.random.SeedSequence([seed, SPLITS.index(material.split), index]).spawn(5))]


def compose_sound(material: Material, seed: int, index: int) -> ComposedSound:
    """What is heard in the clip that `compose_clip` makes of the same arguments, without its pictures.

    Args:
        material, seed, index: as of `compose_clip`.

    Raises:
        OSError, ValueError: as `compose_clip`.
    """
    view_rng, spans_rng, files_rng, _, sound_rng = random_streams(material, seed, index)
    view = draw_view(material, view_rng)
    seconds = material.sources.seconds
    able = [number for number, class_id in enumerate(view.class_ids) if material.sounds[class_id]]
    audio_kind, spans = draw_spans(len(able), seconds, spans_rng)

    playing = {span.source for span in spans}
    sounds = {
        number: draw_sound(material, view.class_ids[number], files_rng)
        for place, number in enumerate(able)
        if place in playing
    }
    off_screen = draw_off_screen(material, view, files_rng) if OFF_SCREEN in playing else None
    bed = draw_bed(material, audio_kind, files_rng)
    recordings = [material.recording(sounds[number]) if number in sounds else None for number in able]
    away = None if off_screen is None else material.recording(off_screen)
    mix = mix_sounds(
        audio_kind, spans, recordings, away, [material.recording(sound) for sound in bed], seconds, sound_rng
    )
    audible = np.zeros((len(view.class_ids), seconds), dtype=np.uint8)
    audible[able] = mix.audible
    return ComposedSound(
        view=view,
        waveform=mix.waveform,
        audible=audible,
        off_screen_audible=mix.off_screen_audible,
        audio_kind=audio_kind,
        off_screen=None if off_screen is None else off_screen.name,
        files=tuple(sound.file for sound in (*sounds.values(), *filter(None, [off_screen]), *bed)),
    )


def compose_clip(material: Material, seed: int, index: int) -> ComposedClip:
    """Composes a clip; the same arguments give the same clip, whatever was made before.

    Args:
        material: of a split; its sources say how large and long the clip is.
        seed, index: 0 or greater.

    Raises:
        OSError: where a file is not there.
        ValueError: for a file that cannot be used; the text names it.
    """
    sound = compose_sound(material, seed, index)
    view, audible = sound.view, sound.audible
    _, _, _, picture_rng, _ = random_streams(material, seed, index)
    scene = compose_scene(material, view, picture_rng)
    labels = np.zeros(scene.masks.shape[1:], dtype=np.uint8)
    for number, class_id in enumerate(view.class_ids):
        for frame in np.flatnonzero(audible[number]):
            certain = audible[number, frame] == 1 and scene.visible_enough[number, frame]
            labels[frame][scene.masks[number, frame]] = class_id if certain else IGNORE_LABEL
    # What the photograph's mask leaves open may belong to any object in it; while they are silent, it is silent too.
    labels[scene.unsure & audible[: sound.in_place].any(axis=0)[:, None, None]] = IGNORE_LABEL
    pasted = [picture for _, tried in view.pasted for picture in tried]
    pasted += [picture for _, *outline_and_filling in view.distractors for picture in outline_and_filling]
    pictures = (view.photograph.file, *(picture.file for picture in pasted))
    return ComposedClip(
        **vars(sound) | {"files": pictures + sound.files},
        name=clip_name(material, seed, index),
        frames=scene.frames,
        labels=labels,
        masks=scene.masks,
    )
