"""What one split offers for composing, by class; pixels and samples are kept in memory while there is room (ours)."""

import os
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..avsbench import SPLITS
from .pictures import CutOut, Photograph, Picture, cut_from, list_pictures, load_cut_out, load_photograph
from .sounds import Recording, SoundFile, list_sounds, load_recording
from .sources import BED, OTHER, Rule, Sources, read_sources

KEPT_BYTES = 1 << 30  # of pixels and samples, for each split in each process
ROOM_TO_MOVE = 1.3  # photographs are kept larger than frames by this, so that a window in them can pan and zoom


class Material:
    """The pictures and sounds of a split.

    Args:
        sources: they come from.
        split: `"train"`, `"validation"` or `"test"`.
        pictures, sounds: of all splits.

    Attributes:
        usable: ids of the classes with both pictures and sounds; only they are chosen to be seen.
        scenes: class id -> photographs in which it is marked.
        cutouts: class id -> pictures that it can be cut from, scenes among them.
        backgrounds: photographs with nothing of the classes in them.
        sounds: class id, `"other"` or `"bed"` -> sounds.
        digest: of everything that decides what a clip is, beside seed and number.
    """

    def __init__(self, sources: Sources, split: str, pictures: list[Picture], sounds: list[SoundFile]):
        self.sources, self.split = sources, split
        self.scenes: dict[int, list[Picture]] = defaultdict(list)
        self.cutouts: dict[int, list[Picture]] = defaultdict(list)
        self.sounds: dict[int | str, list[SoundFile]] = defaultdict(list)
        pictures = [picture for picture in pictures if picture.split == split]
        self.backgrounds = [picture for picture in pictures if picture.kind == "background"]
        for picture in pictures:
            for class_id in picture.classes if picture.kind != "background" else ():
                self.cutouts[class_id].append(picture)
                if picture.kind == "scene":
                    self.scenes[class_id].append(picture)
        for sound in sounds:
            if sound.split == split:
                known = sound.name in (OTHER, BED)
                self.sounds[sound.name if known else sources.class_names.index(sound.name)].append(sound)
        self.usable = tuple(
            number for number in range(1, len(sources.class_names)) if self.cutouts[number] and self.sounds[number]
        )
        self.digest = _digest(sources, pictures, [sound for sound in sounds if sound.split == split])
        self._kept = _Kept(KEPT_BYTES)

    def photograph(self, picture: Picture) -> Photograph:
        """The pixels of a scene or background."""
        shortest = round(ROOM_TO_MOVE * self.sources.size)
        return self._kept.get(picture.file, lambda: load_photograph(picture, shortest))

    def cut_out(self, picture: Picture, class_id: int) -> CutOut | None:
        """An object of a class, from a cut-out or a scene; None where its mask holds none of that class."""
        if picture.kind == "cutout":
            return self._kept.get(picture.file, lambda: load_cut_out(picture, self.sources.size))
        return self._kept.get((picture.file, class_id), lambda: cut_from(self.photograph(picture), class_id))

    def recording(self, sound: SoundFile) -> Recording:
        """The samples of a sound."""
        return self._kept.get(sound.file, lambda: load_recording(sound.file))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": _Kept(KEPT_BYTES)}  # a worker fills its own


def read_material(path: str | os.PathLike) -> dict[str, Material]:
    """The material of each split of a sources file that has any.

    Raises:
        OSError: where files are not there.
        ValueError: for a sources file or a table in it that cannot be read, or a class without pictures or sounds to
            train on.
    """
    sources = read_sources(path)
    pictures, sounds = list_pictures(sources), list_sounds(sources)
    found = {}
    for split in SPLITS:
        material = Material(sources, split, pictures, sounds)
        if split == "train":
            _refuse_incomplete(material)
        if material.usable and (material.backgrounds or material.scenes):
            found[split] = material
    return found


def unusable_files(found: dict[str, Material], progress: bool = True) -> list[str]:
    """Reads every picture and sound, and says of each that cannot be used why; it would stop a training on its way."""
    wrong = []
    jobs: list[tuple[Callable[..., Any], tuple]] = []
    for material in found.values():
        listed = {
            (picture.file, number): (picture, number)
            for number in material.cutouts
            for picture in material.cutouts[number]
        }
        jobs += [(material.cut_out, about) for about in listed.values()]
        jobs += [(material.photograph, (picture,)) for picture in material.backgrounds]
        jobs += [(material.recording, (sound,)) for sounds in material.sounds.values() for sound in sounds]
    for read, about in tqdm(jobs, desc="reading", unit="file", disable=not progress):
        try:
            if read(*about) is None:
                name = next(iter(found.values())).sources.class_names[about[1]]
                wrong.append(f"{about[0].file}: its mask holds no {name}, which its table says it does")
        except (OSError, ValueError) as error:
            wrong.append(str(error))
    return wrong


def _refuse_incomplete(material: Material) -> None:
    sources = material.sources
    for number, name in enumerate(sources.classes, 1):
        for what, held in (("picture", material.cutouts[number]), ("sound", material.sounds[number])):
            if not held:
                raise ValueError(
                    f"{sources.file}: the class {name!r} has no {what} to train on; name a source that has some, tell "
                    "by `map` what it "
                    "is called there, or take it out of `classes`"
                )
    if not material.backgrounds and not material.scenes:
        raise ValueError(
            f"{sources.file}: there is no photograph to paste the cut-outs on; name some as `backgrounds`, or "
            "pictures with masks"
        )


def _digest(sources: Sources, pictures: list[Picture], sounds: list[SoundFile]) -> str:
    content = blake2b(digest_size=6)
    settings: tuple = (sources.classes, sources.size, sources.seconds, sorted(map(_rule, sources.rules)))
    if sources.holders:  # clips of sources without any are called as they were before there were holders
        settings += (sorted(sources.holders.items()),)
    if sources.off_screen:
        settings += (sorted(sources.off_screen.items()),)
    if sources.distractors:
        settings += (sources.distractors,)
    content.update(repr(settings).encode())
    for picture in pictures:
        content.update(f"{picture.kind} {_name(picture.file)} {picture.classes} {len(picture.regions)}\n".encode())
    for sound in sounds:
        content.update(f"{_name(sound.file)} {sound.name}\n".encode())
    return content.hexdigest()


def _rule(rule: Rule) -> list[list[str]]:
    return [sorted(names) for names in (rule.sounds, rule.photographs_of, rule.in_view)]


def _name(file: str) -> str:
    return "/".join(Path(file).parts[-3:])  # where the whole lies decides nothing


class _Kept:
    """The last things asked for, as many as fit into so many bytes."""

    def __init__(self, most: int):
        self.most, self.bytes = most, 0
        self.things: OrderedDict[Any, Any] = OrderedDict()

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        if key in self.things:
            self.things.move_to_end(key)
            return self.things[key]
        thing = self.things[key] = make()
        self.bytes += _size(thing)
        while self.bytes > self.most:
            self.bytes -= _size(self.things.popitem(last=False)[1])
        return thing


def _size(thing: Any) -> int:
    return 0 if thing is None else thing.nbytes
