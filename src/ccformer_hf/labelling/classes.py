"""The classes to look for: what a tagger calls the sound of each, and in which words a segmenter is asked for it.

A classes file has one class per line, in the order of their ids from 1; `#` starts a line of comment:

    dog: Dog; Bark | a dog
    piano

Left of `|` stand the tagger's labels, any of which names the class (separated by `;`, since AudioSet's own names hold
commas), right of it the segmenter's prompt. Both may be left out: then the class's name serves, with spaces for `-`
and `_`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from ..data.text_files import open_text

AVSBENCH_FILE = Path(__file__).with_name("avsbench_classes.txt")
MOST_BYTES = 1 << 20  # of a classes file
MOST_CLASSES = 254  # ids are bytes, 0 is the background and 255 is ignored


@dataclass(frozen=True)
class SoundingClass:
    """A class to look for.

    Attributes:
        name: as in `classes.txt` of the set.
        labels: of the tagger, at least one; any of them names the class.
        prompt: what the segmenter is asked to draw.
    """

    name: str
    labels: tuple[str, ...]
    prompt: str


def read_classes(path: str | os.PathLike | None = None) -> tuple[SoundingClass, ...]:
    """The classes of a file, by default AVSBench's 70 with AudioSet's labels.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for no class, more than 254, a name given twice, or a line that cannot be understood.
    """
    path = AVSBENCH_FILE if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; write one class per line, such as dog: Dog; Bark")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path}: has {path.stat().st_size} bytes; expected a classes file of at most {MOST_BYTES}")
    with open_text(path) as file:
        lines = file.read().splitlines()
    classes: dict[str, SoundingClass] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            found = _parse(line, f"{path}, line {number}")
            if found.name in classes:
                raise ValueError(f"{path}, line {number}: names {found.name!r} twice; leave one of them")
            classes[found.name] = found
    if not 1 <= len(classes) <= MOST_CLASSES:
        raise ValueError(f"{path}: names {len(classes)} classes; expected 1 to {MOST_CLASSES}, one per line")
    return tuple(classes.values())


def _parse(line: str, where: str) -> SoundingClass:
    said, has_prompt, prompt = (part.strip() for part in line.partition("|"))
    name, has_labels, labels = (part.strip() for part in said.partition(":"))
    words = name.replace("-", " ").replace("_", " ")
    named = tuple(label.strip() for label in labels.split(";")) if has_labels else (words,)
    if not name or name == "background" or not all(named) or (has_prompt and not prompt):
        raise ValueError(
            f"{where}: is {line.strip()!r:.100}; expected name: tagger label; tagger label | prompt, "
            "or a name alone (background needs no line)"
        )
    return SoundingClass(name, named, prompt or words)
