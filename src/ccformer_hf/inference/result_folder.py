"""The folder that holds the result of a video: what it is called, and whose result it is."""

import hashlib
import itertools
import os
import re
from pathlib import Path

from ..atomic import cut_name
from .results import FORMATS

# In the folder of a result: a checksum of its video's path, by which a later run of the same video knows the result as
# its own.
SOURCE_FILE = ".source"
LONGEST_NAME = 255  # bytes of a name, on most file systems
# Names that Windows keeps for devices, with any ending.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def result_folder(output_dir: Path, source: Path) -> Path:
    """The folder for the result of a video: that of its earlier result, or else the first of its names that is free.

    See `segment_video`. A name that cannot be one everywhere is changed: `_con` for `con`, no dots or blanks at either
    end.
    """
    names = dict.fromkeys((_usable(source.stem), _usable(source.name)))
    numbered = (f"{cut_name(_usable(source.name), LONGEST_NAME - 12)} ({number})" for number in itertools.count(2))
    for name in itertools.chain(names, numbered):
        folder = output_dir / name
        if not os.path.lexists(folder) or _is_result_of(folder, source):
            return folder
    raise AssertionError("numbers do not end")


def mark_result(folder: Path, source: Path) -> None:
    """Writes down whose result a folder holds."""
    (folder / SOURCE_FILE).write_text(_checksum(source))


def _usable(name: str) -> str:
    name = name.strip(". ") or "video"
    return f"_{name}" if DEVICES.match(name) else name


def _is_result_of(folder: Path, source: Path) -> bool:
    """Whether a folder holds a result of this video, and nothing else that would be lost with it."""
    try:
        if {item.name for item in folder.iterdir()} - {SOURCE_FILE, *FORMATS.values()}:
            return False
        made_from = (folder / SOURCE_FILE).read_text(errors="replace")
    except OSError:
        return False
    return made_from == _checksum(source) and folder.resolve() not in source.resolve().parents


def _checksum(source: Path) -> str:
    """Of the path and not of the content, which may be large; and not the path itself: results are given away."""
    return hashlib.sha256(os.fsencode(source.resolve())).hexdigest()
