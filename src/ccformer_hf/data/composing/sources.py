"""The sources file: which pictures and sounds clips are composed of, in YAML.

    classes: [cat, dog, train]          # in the order of their ids, from 1; or a text file's name
    pictures:
      - {format: coco, path: annotations/instances_train2017.json, root: train2017, split: train}
      - {format: cutouts, path: instruments}
    backgrounds:
      - {path: empty-streets}
    sounds:
      - {format: esc50, path: ESC-50, map: {other: [rain, wind], train: train}}
    never_together:
      - {sound: person, photographs_of: [car, train]}
      - {sound: helicopter, in_view: [airplane]}
    held_by: {person: [guitar, violin]}
    off_screen: {person: 15}
    distractors: 2
    size: 224                           # side of the frames in pixels
    seconds: 5                          # and frames of a clip
    clips: {train: 100000, validation: 200, test: 200}   # each is made when it is asked for, so many cost nothing
    seed: 0

A source of pictures or sounds has

* `format`: see `pictures.py` and `sounds.py`;
* `path`: a file or folder, beside the sources file or absolute;
* `root`: where the files lie that it names, if not beside it;
* `split`: the split all of it belongs to, or several that share it by file (`[train, train, test]`: a third is test);
  where it is left out, the source's own splits count, and a source without any is shared out by file: 80 % train,
  10 % validation, 10 % test;
* `map`: our class, or `other` (sounds that belong to no class) or `bed` (music under a clip; sounds only), and what
  it is called there: a name, or several, with `*` for any letters. A name that is one of our classes needs no line;
  what is not named is left out.

`never_together` says where a class is not to be heard from off screen. `photographs_of: [car]`: in photographs that
mark a car, since unmarked ones of `sound` may be in view; they are not pasted there either. `background` stands for
all of `backgrounds`. `in_view: [airplane]`: wherever one can be seen, since they sound alike.

`held_by` says who holds what, the holder first: cut-outs of a guitar are then pasted on a person too, so that a player
and what is played are learned as two.

`off_screen` says how many times as often as a class that it does not name one is heard from off screen, 1 to 1000: in
videos that is mostly somebody who speaks, seldom a sitar.

`distractors` says how many pieces of `backgrounds` in the outlines of objects are pasted at most, 0 to 8 (0 where it
is left out). They are of no class and make no sound, so that what looks pasted is not an object by that alone.
"""

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

from ...model.argument_names_ccformer import unknown_names
from ..avsbench import SPLITS
from ..text_files import read_lines
from ..yaml_files import YamlMapping, read_yaml

OTHER, BED, BACKGROUND = "other", "bed", "background"
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}  # of a source that knows no splits
PICTURE_FORMATS = ("coco", "csv", "cutouts", "folder", "lvis", "voc")
SOUND_FORMATS = ("csv", "esc50", "folders", "fsd", "vggsound")
SOURCE_KEYS = ("format", "path", "root", "split", "map", "ids")


@dataclass(frozen=True)
class Source:
    """One entry of `pictures`, `backgrounds` or `sounds`.

    Attributes:
        format: how to read it.
        path, root: see above.
        splits: that share it; empty: its own ones, or `SHARES`.
        names: our class -> what it is called in this source.
        classes: all of ours that it may give.
        where: file and line of the entry, for errors.
        ids: csv only: text file that names the ids of its masks, background first; None: ids of our classes.
    """

    format: str
    path: Path
    root: Path
    splits: tuple[str, ...]
    names: dict[str, tuple[str, ...]]
    classes: tuple[str, ...]
    where: str
    ids: Path | None = None

    def class_of(self, name: str) -> str | None:
        """Our class for a name of this source; None where it is left out."""
        for ours, theirs in self.names.items():
            if any(fnmatchcase(name, pattern) for pattern in theirs):
                return ours
        return name if name in self.classes else None

    def check_names(self, known: Iterable[str]) -> None:
        """Refuses a `map` with a name that the source does not know, lest a misspelt class has no pictures.

        Raises:
            ValueError: it names the nearest ones that the source does know.
        """
        known = sorted(set(known))
        for ours, theirs in self.names.items():
            for pattern in theirs:
                if not any(fnmatchcase(name, pattern) for name in known):
                    near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.3) or known[:3]
                    raise self.problem(
                        f"map says {ours}: {pattern}, but {self.path} knows no such name; near are {', '.join(near)}"
                    )

    def split_of(self, name: str, own: str | None = None) -> str:
        """The split of a file by its name; `own` is what the source itself says, if anything."""
        if not self.splits and own is not None:
            return own
        shares = {split: self.splits.count(split) / len(self.splits) for split in self.splits} or SHARES
        drawn = int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) / 2**64
        for split, share in shares.items():
            drawn -= share
            if drawn < 0:
                return split
        return split  # rounding

    def inside(self, name: str) -> Path:
        """The file `name` below `root`.

        Raises:
            ValueError: for a name that leads out of it.
        """
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts:
            raise self.problem(f"{self.path} names the file {name!r}; expected a file below {self.root}")
        return self.root / path

    def problem(self, what: str) -> ValueError:
        """An error that tells where this source is named."""
        return ValueError(f"{self.where}: {what}")


@dataclass(frozen=True)
class Rule:
    """One entry of `never_together`.

    `sounds` are not heard from off screen where one of `photographs_of` or `in_view` is.
    """

    sounds: frozenset[str]
    photographs_of: frozenset[str]
    in_view: frozenset[str]


@dataclass(frozen=True)
class Sources:
    """A sources file; its keys are described above.

    `holders` is `held_by` by what is held: class -> who holds it. `off_screen` has a weight for some classes; that of
    all others is 1.
    """

    file: Path
    classes: tuple[str, ...]
    pictures: tuple[Source, ...]
    backgrounds: tuple[Source, ...]
    sounds: tuple[Source, ...]
    rules: tuple[Rule, ...] = ()
    holders: dict[str, str] = field(default_factory=dict)
    off_screen: dict[str, int] = field(default_factory=dict)
    distractors: int = 0
    size: int = 224
    seconds: int = 5
    clips: dict[str, int] = field(default_factory=lambda: {"train": 100000, "validation": 200, "test": 200})
    seed: int = 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the class ids, background first."""
        return (BACKGROUND, *self.classes)


def read_sources(path: str | os.PathLike) -> Sources:
    """Reads a sources file; the files it names are not opened yet.

    Raises:
        FileNotFoundError: where it, or a path in it, is not there.
        ValueError: for a key that is not known or a value of another kind; the text names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: there is no such sources file; those of the project are examples/sources/compose-*"
        )
    return _Reading(path, read_yaml(path)).sources()


class _Reading:
    """Turns the values of a file into `Sources`, and knows the file and line of each."""

    def __init__(self, file: Path, values: YamlMapping):
        self.file, self.values = file, values

    def sources(self) -> Sources:
        known = (
            *("classes", "pictures", "backgrounds", "sounds", "never_together", "held_by"),
            *("off_screen", "distractors", "size", "seconds", "clips", "seed"),
        )
        self.refuse_unknown(self.values, known, "a sources file")
        classes = self.classes()
        return Sources(
            self.file,
            classes,
            self.entries("pictures", PICTURE_FORMATS, classes),
            self.entries("backgrounds", ("pictures",), ()),
            self.entries("sounds", SOUND_FORMATS, (*classes, OTHER, BED)),
            tuple(self.rule(entry, classes) for entry in self.mappings("never_together")),
            self.holders(classes),
            self.off_screen(classes),
            self.number(self.values, "distractors", 0, 0, 8),
            self.number(self.values, "size", 224, 32, 2048),
            self.number(self.values, "seconds", 5, 1, 60),
            self.clips(),
            self.number(self.values, "seed", 0, 0, 2**32 - 1),
        )

    def problem(self, line: int, what: str) -> ValueError:
        return ValueError(f"{self.file}, line {line}: {what}")

    def refuse_unknown(self, values: YamlMapping, known: tuple[str, ...], what: str) -> None:
        for name in values:
            unknown = unknown_names([name], known)
            if unknown:
                expected = ", ".join(known)
                raise self.problem(values.lines[name], f"{what} has no {unknown}; expected one of {expected}")

    def classes(self) -> tuple[str, ...]:
        given, line = self.values.get("classes"), self.values.lines.get("classes", 1)
        if isinstance(given, str):
            given = read_lines(self.path(given, line))
            given = given[1:] if given[:1] == [BACKGROUND] else given
        names = self.texts(given, "classes", line)
        reserved = [name for name in names if name in (BACKGROUND, OTHER, BED)]
        if reserved or not 1 <= len(names) <= 254 or len(set(names)) < len(names):
            raise self.problem(
                line,
                f"classes is {names!r:.200}; expected 1 to 254 different names, none of them {BACKGROUND}, "
                f"{OTHER} or {BED}",
            )
        return names

    def mappings(self, key: str) -> list[YamlMapping]:
        entries = self.values.get(key) or []
        if not isinstance(entries, list) or not all(isinstance(entry, YamlMapping) for entry in entries):
            raise self.problem(
                self.values.lines[key], f"{key} is {entries!r:.100}; expected a list of {{name: value}}"
            )
        return entries

    def entries(self, key: str, formats: tuple[str, ...], classes: tuple[str, ...]) -> tuple[Source, ...]:
        return tuple(self.source(entry, formats, classes) for entry in self.mappings(key))

    def source(self, entry: YamlMapping, formats: tuple[str, ...], classes: tuple[str, ...]) -> Source:
        self.refuse_unknown(entry, SOURCE_KEYS, "a source")
        kind = entry.get("format", formats[0] if len(formats) == 1 else None)
        if kind not in formats:
            line = entry.lines.get("format", entry.line)
            raise self.problem(line, f"format is {kind!r}; expected one of {', '.join(formats)}")
        if "path" not in entry:
            raise self.problem(entry.line, "has no path; expected path: FILE or FOLDER")
        path = self.path(entry["path"], entry.lines["path"])
        root = path if path.is_dir() else path.parent
        if "root" in entry:
            root = self.path(entry["root"], entry.lines["root"])
        ids = self.path(entry["ids"], entry.lines["ids"]) if "ids" in entry else None
        splits = self.texts(entry.get("split", []), "split", entry.lines.get("split", entry.line))
        unknown = [name for name in splits if name not in SPLITS]
        if unknown:
            raise self.problem(entry.lines["split"], f"split is {unknown[0]!r}; expected one of {', '.join(SPLITS)}")
        where = f"{self.file}, line {entry.line}"
        return Source(kind, path, root, splits, self.map(entry, classes), classes, where, ids)

    def map(self, entry: YamlMapping, classes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        given = entry.get("map") or {}
        line = entry.lines.get("map", entry.line)
        if not isinstance(given, YamlMapping) and given:
            raise self.problem(line, f"map is {given!r:.100}; expected {{our class: its name there, ...}}")
        for ours in given:
            unknown = unknown_names([ours], classes)
            if unknown:
                raise self.problem(given.lines[ours], f"map has no class {unknown}; expected one of `classes`")
        return {ours: self.texts(theirs, f"map of {ours}", given.lines[ours]) for ours, theirs in given.items()}

    def rule(self, entry: YamlMapping, classes: tuple[str, ...]) -> Rule:
        self.refuse_unknown(entry, ("sound", "photographs_of", "in_view"), "a rule")
        parts = {}
        for key in ("sound", "photographs_of", "in_view"):
            line = entry.lines.get(key, entry.line)
            parts[key] = frozenset(self.texts(entry.get(key, []), key, line))
            wrong = sorted(parts[key] - set(classes) - ({BACKGROUND} if key == "photographs_of" else set()))
            if wrong:
                raise self.problem(line, f"{key} is {wrong[0]!r}; expected one of `classes`")
        if not parts["sound"] or not (parts["photographs_of"] or parts["in_view"]):
            raise self.problem(
                entry.line, "expected {sound: CLASS, photographs_of: [CLASS, ...]}, or in_view: [CLASS, ...]"
            )
        return Rule(parts["sound"], parts["photographs_of"], parts["in_view"])

    def holders(self, classes: tuple[str, ...]) -> dict[str, str]:
        given = self.values.get("held_by") or {}
        line = self.values.lines.get("held_by", 1)
        if not isinstance(given, YamlMapping) and given:
            raise self.problem(line, f"held_by is {given!r:.100}; expected {{who holds: [what is held, ...]}}")
        found: dict[str, str] = {}
        for holder in given:
            line = given.lines[holder]
            held = self.texts(given[holder], f"held_by {holder}", line)
            for name in (holder, *held):
                if name not in classes:
                    raise self.problem(line, f"held_by names {name!r}; expected one of `classes`")
            for name in held:
                if name == holder or name in found:
                    other = "itself" if name == holder else f"{found[name]} already"
                    raise self.problem(
                        line, f"{name} is held by {other}; expected {{who holds: [what is held, ...]}}, each held once"
                    )
                found[name] = holder
        return found

    def off_screen(self, classes: tuple[str, ...]) -> dict[str, int]:
        given = self.values.get("off_screen") or {}
        if not isinstance(given, YamlMapping) and given:
            line = self.values.lines["off_screen"]
            raise self.problem(line, f"off_screen is {given!r:.100}; expected {{class: how many times as often, ...}}")
        for name in given:
            unknown = unknown_names([name], classes)
            if unknown:
                raise self.problem(given.lines[name], f"off_screen has {unknown}; expected one of `classes`")
        return {name: self.number(given, name, 1, 1, 1000) for name in given}

    def clips(self) -> dict[str, int]:
        given = self.values.get("clips")
        defaults = Sources.__dataclass_fields__["clips"].default_factory()
        if given is None:
            return defaults
        if not isinstance(given, YamlMapping):
            raise self.problem(self.values.lines["clips"], f"clips is {given!r}; expected {{train: 100000, ...}}")
        self.refuse_unknown(given, SPLITS, "clips")
        return {split: self.number(given, split, defaults[split], 0, 10**7) for split in SPLITS}

    def number(self, values: YamlMapping, key: str, default: int, lowest: int, highest: int) -> int:
        value = values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            raise self.problem(
                values.lines[key], f"{key} is {value!r}; expected a whole number from {lowest} to {highest}"
            )
        return value

    def texts(self, value: Any, what: str, line: int) -> tuple[str, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise self.problem(
                line, f"{what} is {value!r:.100}; expected a text or a list of texts (quote yes, no and numbers)"
            )
        return tuple(texts)

    def path(self, value: Any, line: int) -> Path:
        if not isinstance(value, str) or not value:
            raise self.problem(line, f"the path is {value!r}; expected the name of a file or folder")
        path = self.file.parent / value
        if not path.exists():
            raise FileNotFoundError(
                f"{self.file}, line {line}: {path} is not there; copy it there, or name where it is"
            )
        return path
