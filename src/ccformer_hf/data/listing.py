"""What lies in a folder of a data set, and in which order."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

# What systems leave beside the files of others; names that start with a dot (.DS_Store, ._1.jpg) are left alone too.
LEFTOVERS = ("__macosx", "thumbs.db", "desktop.ini")

# Of an id in a file's name: four bytes each at most, and a name may have 255.
MOST_LETTERS = 50


def natural_key(name: str) -> tuple[str | int, ...]:
    """Text and numbers of a name by turns: equal for names that differ in leading zeros only."""
    return tuple(int(part) if number % 2 else part for number, part in enumerate(re.split(r"([0-9]+)", name)))


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """The paths by their names, numbers in them as numbers: 1, 2, 10 and not 1, 10, 2."""
    return sorted(paths, key=lambda path: (natural_key(path.stem), natural_key(path.suffix), path.name))


def is_leftover(name: str) -> bool:
    """Whether a file or folder is a system's own and no part of a data set."""
    return name.startswith(".") or name.lower() in LEFTOVERS


def entries(folder: str | os.PathLike) -> list[Path]:
    """The files and folders in a folder in natural order, leftovers left out; none where there is no such folder."""
    try:
        return natural_order(path for path in Path(folder).iterdir() if not is_leftover(path.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def file_name_of(clip_id: str) -> str:
    """An id as a part of a file's name. Ids come with the data: none shall lead to another folder, or be too long."""
    return re.sub(r"[/\\:\x00-\x1f]", "_", clip_id)[:MOST_LETTERS]
