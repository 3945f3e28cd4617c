"""Files and folders that appear whole or not at all: written under a temporary name, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name beside `path`; what was written there gets its own name where nothing failed, else is removed."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class WholeFolder:
    """A folder that is written under a temporary name and takes its place at the end, or leaves what was there before."""

    def __init__(self, target: Path):
        self.target = target
        self.temporary = target.with_name(f".{target.name}.part")

    def __enter__(self) -> Path:
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        return self.temporary

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            replace_folder(self.temporary, self.target)
        shutil.rmtree(self.temporary, ignore_errors=True)


def replace_folder(new: Path, target: Path) -> None:
    """Moves `new` to `target`. A folder cannot be replaced in one step: the old one steps aside first, see `put_back`."""
    old = _aside(target)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(new, target)
    shutil.rmtree(old, ignore_errors=True)


def put_back(target: Path) -> None:
    """Undoes a `replace_folder` that was killed after the old folder had stepped aside."""
    if _aside(target).exists() and not target.exists():
        os.replace(_aside(target), target)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")
