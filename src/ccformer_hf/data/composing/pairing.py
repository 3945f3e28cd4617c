"""What is seen and what is heard in a composed clip: the rules by which pictures and sounds go together.

1. The classes of the objects are drawn first, all alike, then pictures of them: either all are pasted on a background,
   or one of them is in place, in a photograph of its own, and the others are pasted over or behind it. A photograph
   may bring more marked classes along.
2. Each class is in a clip once: nothing is pasted on a photograph that marks its class.
3. Who sounds, and when, does not depend on the pictures: pasted or in place, large or small, in front or behind, of
   any class, an object sounds as often as any other. The sound of an object is always of its class.
4. What sounds from off screen is of no class in view, nor of one that `never_together` keeps away from what is in
   view. `off_screen` says which classes it is oftener than others.
5. A clip without any sounding object has silence, noise, a bed of music, or something off screen; its masks are empty.
6. What `held_by` names is often held: pasted on its holder, who is in view then as well (so oftener than by 1), and
   sounds as often as any other. One object at most is held in a clip. Where a photograph shows several of the holder's
   class, it is pasted somewhere among them.
7. `distractors` are pieces of backgrounds in the outline of an object, pasted below everything else that is pasted:
   they are of no class (*lineage*: the distractor objects of Dwibedi et al., "Cut, Paste and Learn", ICCV 2017).
8. Pictures and sounds of a split come from the files of that split alone.
"""

from dataclasses import dataclass, replace

import numpy as np

from .material import Material
from .pictures import Picture
from .sounds import SoundFile
from .sources import BACKGROUND, BED, OTHER

OBJECTS = {1: 0.3, 2: 0.35, 3: 0.25, 4: 0.1}  # in view, and how often
# share of the clips with a photograph that holds one of its objects in place, where there is such a photograph
IN_PLACE = 0.75
CLASS_OFF_SCREEN = 0.6  # share of the sounds from off screen that are of one of the classes; the rest belong to none
HELD = 0.5  # share of the clips with something to hold in which it is, unless a photograph of its own shows it
TRIES = 3  # pictures that an object may be cut from, since some show only a part of it

# What is heard, and how often. In the first, seconds without a sound occur too.
AUDIO_KINDS = {"objects": 0.70, "off_screen": 0.13, "noise": 0.10, "bed": 0.04, "silence": 0.03}
WITH_BED = 0.15  # share of all other clips with a bed, much softer then
SECOND_SILENT, SECOND_OFF_SCREEN = 0.10, 0.12  # shares of the seconds
SECOND_CHANGES = 0.35  # how often others sound in the next second
SOUNDING_AT_ONCE = {1: 0.55, 2: 0.33, 3: 0.12}
EARLIEST_BEFORE_SECOND = 0.45  # (s) by which a sound begins or ends sooner or later than its second


@dataclass(frozen=True)
class InView:
    """What can be seen in a clip.

    Attributes:
        photograph: scene or background.
        in_place: ids of the classes marked in it.
        pasted: class id, and pictures to cut it from, the first fit one is taken.
        held: class ids of what is held and of who holds it; the one is pasted, and after the other. None: nothing is.
            What would be too small is pasted as if nobody held it.
        distractors: of each, the class and the picture of the outline, and the background that fills it.
    """

    photograph: Picture
    in_place: tuple[int, ...]
    pasted: tuple[tuple[int, tuple[Picture, ...]], ...]
    held: tuple[int, int] | None = None
    distractors: tuple[tuple[int, Picture, Picture], ...] = ()

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Of all objects: those in place, then those pasted."""
        return self.in_place + tuple(class_id for class_id, _ in self.pasted)


@dataclass(frozen=True)
class Span:
    """`source` sounds from `start` to `end` (s): the number of an object, or `OFF_SCREEN`."""

    source: int
    start: float
    end: float


OFF_SCREEN = -1


def draw_view(material: Material, rng: np.random.Generator) -> InView:
    """Objects and pictures for a clip, by the rules above.

    Raises:
        ValueError: where the rules of the sources leave nothing to be seen.
    """
    for _ in range(100):
        view = _draw_view(material, rng)
        if view.class_ids:
            return replace(view, distractors=_draw_distractors(material, rng))
    raise ValueError(
        f"{material.sources.file}: never_together leaves nothing that may be seen on the photographs of "
        f"{material.split}; name more "
        "`backgrounds`, or fewer rules"
    )


def _draw_view(material: Material, rng: np.random.Generator) -> InView:
    count = min(int(rng.choice(list(OBJECTS), p=list(OBJECTS.values()))), len(material.usable))
    chosen = [int(number) for number in rng.permutation(material.usable)[:count]]
    held = _draw_held(material, chosen, rng)
    if held is not None:
        chosen = [held[1], *(number for number in chosen if number != held[1])]  # who holds it is pasted before it
    with_scene = [number for number in chosen if material.scenes[number]]
    if not with_scene and not material.backgrounds:
        # One more comes into view, since there is nothing else to paste on.
        with_scene = [int(rng.choice([number for number in material.usable if material.scenes[number]]))]
    if with_scene and (rng.random() < IN_PLACE or not material.backgrounds):
        scenes = material.scenes[int(rng.choice(with_scene))]
        photograph = scenes[rng.integers(len(scenes))]
    else:
        photograph = material.backgrounds[rng.integers(len(material.backgrounds))]
    seen = photograph.classes if photograph.kind == "scene" else ()
    unmarked = _kept_from_photograph(material, seen)
    pasted = []
    for number in chosen:
        if number not in seen and number not in unmarked:
            pictures = material.cutouts[number]
            pasted.append((number, tuple(pictures[rng.integers(len(pictures))] for _ in range(TRIES))))
    view = InView(photograph, seen, tuple(pasted), held)
    # Where its own photograph shows it, or its holder may not be pasted, it is in view but not held.
    can_be = held is not None and held[0] not in seen and set(held) <= set(view.class_ids)
    return view if can_be else replace(view, held=None)


def _draw_distractors(material: Material, rng: np.random.Generator) -> tuple[tuple[int, Picture, Picture], ...]:
    most = material.sources.distractors if material.backgrounds else 0
    drawn = []
    for _ in range(rng.integers(most + 1) if most else 0):  # no draw without: clips of such sources are as before
        class_id = int(rng.choice(material.usable))
        outlines, fillings = material.cutouts[class_id], material.backgrounds
        drawn.append((class_id, outlines[rng.integers(len(outlines))], fillings[rng.integers(len(fillings))]))
    return tuple(drawn)


def _draw_held(material: Material, chosen: list[int], rng: np.random.Generator) -> tuple[int, int] | None:
    """Which of the objects is held, and who holds it."""
    names = material.sources.class_names
    holders = {names.index(held): names.index(holder) for held, holder in material.sources.holders.items()}
    pairs = [(number, holders[number]) for number in chosen if holders.get(number) in material.usable]
    return pairs[0] if pairs and rng.random() < HELD else None


def draw_spans(objects: int, seconds: int, rng: np.random.Generator) -> tuple[str, list[Span]]:
    """What is heard, a key of `AUDIO_KINDS`, and who sounds when, among `objects` of which nothing else is known."""
    audio_kind = str(rng.choice(list(AUDIO_KINDS), p=list(AUDIO_KINDS.values())))
    playing = np.zeros((objects + 1, seconds), dtype=bool)  # the last one is off screen
    chosen = np.array([], dtype=int)
    for second in range(seconds):
        if len(chosen) == 0 or rng.random() < SECOND_CHANGES:
            count = int(rng.choice(list(SOUNDING_AT_ONCE), p=list(SOUNDING_AT_ONCE.values())))
            chosen = rng.choice(objects, min(objects, count), replace=False)
        event = rng.random()
        if event >= SECOND_SILENT:
            playing[chosen, second] = audio_kind == "objects"
            playing[-1, second] = audio_kind == "off_screen" or event < SECOND_SILENT + SECOND_OFF_SCREEN
    spans = []
    for number, row in enumerate(playing if audio_kind in ("objects", "off_screen") else ()):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(int)))
        for start, end in edges.reshape(-1, 2):
            early, late = rng.uniform(-EARLIEST_BEFORE_SECOND, EARLIEST_BEFORE_SECOND, size=2)
            source = OFF_SCREEN if number == objects else number
            spans.append(Span(source, float(max(0, start + early)), float(min(seconds, end + late))))
    return audio_kind, spans


def may_be_off_screen(material: Material, view: InView) -> list[int]:
    """Ids of the classes that may sound from off screen."""
    names = material.sources.class_names
    seen = {names[number] for number in view.class_ids}
    photographed = {names[number] for number in view.in_place} or {BACKGROUND}
    kept = {
        name
        for rule in material.sources.rules
        if rule.in_view & seen or rule.photographs_of & photographed
        for name in rule.sounds
    }
    return [number for number in range(1, len(names)) if material.sounds[number] and names[number] not in seen | kept]


def draw_off_screen(material: Material, view: InView, rng: np.random.Generator) -> SoundFile | None:
    """A sound that belongs to nothing in view; None where there is none."""
    classes, others = may_be_off_screen(material, view), material.sounds[OTHER]
    if classes and (rng.random() < CLASS_OFF_SCREEN or not others):
        return draw_sound(material, int(rng.choice(classes, p=_off_screen_shares(material, classes))), rng)
    return draw_sound(material, OTHER, rng) if others else None


def _off_screen_shares(material: Material, classes: list[int]) -> np.ndarray | None:
    """How often each is drawn, `(len(classes),)`; None: all alike."""
    weights = material.sources.off_screen
    if not weights:
        return None
    oftener = np.array([weights.get(material.sources.class_names[number], 1) for number in classes], dtype=float)
    return oftener / oftener.sum()


def draw_sound(material: Material, of: int | str, rng: np.random.Generator) -> SoundFile:
    """A sound of a class, or one of `"other"` or `"bed"`."""
    sounds = material.sounds[of]
    return sounds[rng.integers(len(sounds))]


def draw_bed(material: Material, audio_kind: str, rng: np.random.Generator) -> list[SoundFile]:
    """One to three sounds for a bed, of `"bed"`, else of `"other"`; none in most clips, or where there are none."""
    sounds = material.sounds[BED] or material.sounds[OTHER]
    wanted = audio_kind == "bed" or (audio_kind != "silence" and rng.random() < WITH_BED)
    return (
        [sounds[number] for number in rng.integers(len(sounds), size=rng.integers(1, 4))] if wanted and sounds else []
    )


def _kept_from_photograph(material: Material, seen: tuple[int, ...]) -> set[int]:
    """Ids of what may be unmarked in a photograph, by `never_together`."""
    names = material.sources.class_names
    photographed = {names[number] for number in seen} or {BACKGROUND}
    sounds = {name for rule in material.sources.rules if rule.photographs_of & photographed for name in rule.sounds}
    return {names.index(name) for name in sounds}
