"""The sounds of AVSBench-Robust (arXiv 2502.00358): silence, white noise, and a sound from off screen.

The negative sounds are waveforms and pass the same front end as a clip's own. (The published ones were made with
another front end, which a model could tell apart; and their noise file is not the uniform noise it was meant to be.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from ..model.timing_ccformer import FrameTiming

SOUNDS = ("original", "silence", "noise", "off-screen")
SEED = 42
NOISE_RATE = 44100

_BROAD_CLASSES = {
    "music": """playing_acoustic_guitar playing_glockenspiel playing_piano playing_tabla playing_ukulele playing_violin
        accordion bassoon cello clarinet drum erhu flute guitar guzheng handpan harmonica harp marimba piano pipa
        saxophone sitar sorna tabla trombone trumpet tuba ukulele violin""",
    "human": "baby_laughter female_singing male_speech baby boy girl man woman",
    "animal": """cat_meowing coyote_howling dog_barking horse_clip-clop lions_roaring mynah_bird_singing
        bird cat dog donkey duck elephant goose hen horse leopard lion parrot pig sheep squirrel tiger wolf""",
    "device": """ambulance_siren cap_gun_shooting chainsawing_trees driving_buses helicopter lawn_mowing race_car
        typing_on_computer_keyboard
        airplane axe bell boat bus car clipper clock emergency-car frying-food gun hair-dryer keyboard missile-rocket
        motorcycle mower saw tank tractor train truck utv vacuum-cleaner""",
}
# The 23 categories of s4 and those classes of avss that ms3 has: as published. The other classes of avss: ours.
BROAD_CLASS: dict[str, str] = {name: broad for broad, names in _BROAD_CLASSES.items() for name in names.split()}
# Too alike to be called wrong: a clip of the first is given no sound of the second (as published).
TOO_ALIKE = {"music": "human", "human": "music", "animal": "human", "device": "music"}

OTHER_BROAD_CLASS, OTHER_CLASS, ANY_OTHER = "other broad class", "no class in common", "any other clip"


@dataclass(frozen=True)
class OffScreen:
    """Whose sound a clip gets: the clip at `index`, found by `rule`."""

    index: int
    rule: str


def white_noise(clip_id: str, seconds: float) -> np.ndarray:
    """Uniform noise in -1..1 at 44.1 kHz, float32 `(samples,)`, the same for a clip each time."""
    return _generator("noise", clip_id).uniform(-1, 1, round(seconds * NOISE_RATE)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    """Digital zeros at 16 kHz, float32 `(samples,)`."""
    return np.zeros(round(seconds * FrameTiming().sampling_rate), dtype=np.float32)


def choose_off_screen(ids: Sequence[str], classes: Sequence[Sequence[str]]) -> list[OffScreen]:
    """Chooses for each clip of a split the clip whose sound it gets, by the first rule that leaves a choice:

    `"other broad class"`: music, human, animal, device; none of the clip's own, none of `TOO_ALIKE` (as published);
    `"no class in common"`: for classes without a broad one, and small splits (ours);
    `"any other clip"`: where the classes are unknown, so that it may be a clip of the same class (as published where
    nothing suits).

    For ms3 the classes come from the table of avss, where the clips are called v1m (as published); without it they are
    unknown.

    The choice depends on the ids and not on the order of the clips.

    Args:
        ids: of the clips, each once.
        classes: names of what sounds in each; empty where unknown.

    Raises:
        ValueError: for fewer than two clips.
    """
    if len(ids) < 2:
        raise ValueError("the split has one clip; off-screen sound is that of another clip, so at least 2 are needed")
    ordered = sorted(range(len(ids)), key=lambda index: ids[index])
    chosen = []
    for index in range(len(ids)):
        others = [other for other in ordered if other != index]
        choices = {
            OTHER_BROAD_CLASS: [other for other in others if _differs_broadly(classes[index], classes[other])],
            OTHER_CLASS: [other for other in others if _differs(classes[index], classes[other])],
            ANY_OTHER: others,
        }
        rule = next(rule for rule, fitting in choices.items() if fitting)
        chosen.append(OffScreen(int(_generator("off-screen", ids[index]).choice(choices[rule])), rule))
    return chosen


def _differs_broadly(own: Sequence[str], other: Sequence[str]) -> bool:
    if not own or not other or not {*own, *other} <= BROAD_CLASS.keys():
        return False
    broad = {BROAD_CLASS[name] for name in own}
    unfit = broad | {TOO_ALIKE[name] for name in broad}
    return unfit.isdisjoint(BROAD_CLASS[name] for name in other)


def _differs(own: Sequence[str], other: Sequence[str]) -> bool:
    return bool(own) and bool(other) and set(own).isdisjoint(other)


def _generator(purpose: str, clip_id: str) -> np.random.Generator:
    digest = blake2b(f"{purpose} {clip_id}".encode(), digest_size=8).digest()
    return np.random.default_rng([SEED, int.from_bytes(digest)])
