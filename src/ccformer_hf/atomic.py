"""Files and folders that appear whole or not at all: written under a temporary name, then renamed."""

import ctypes
import errno
import itertools
import os
import platform
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

# Bytes of a target's name that its temporary names repeat: these stay shorter than the 255 bytes that a name may have.
MOST_REPEATED = 64
DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)
ANOTHER_WAS_FASTER = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST)
MOST_TRIES = 100
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux, see renameat2(2)
MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"  # several may write into a folder that they share
_numbers = itertools.count()  # threads of one process may write the same target
_locks: set[int] = set()  # descriptors of the folders that this process keeps, see `sole_writer`


def _let_go_of_locks() -> None:
    """In a child that was forked: its copies would keep the folders after the end of its parent."""
    while _locks:
        os.close(_locks.pop())


if os.name == "posix":
    os.register_at_fork(after_in_child=_let_go_of_locks)


def temporary_name(target: Path) -> Path:
    """A free name beside `target`, hidden and short: `.NAME.MACHINE-PROCESS-NUMBER.partial`."""
    return target.with_name(f".{_short(target.name)}.{MACHINE}-{os.getpid()}-{next(_numbers)}.partial")


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name beside `path`: renamed to `path` at the end where nothing failed, else removed."""
    path = Path(path)
    _remove_files_of_killed(path.parent)
    temporary = temporary_name(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def new_scratch_folder(name: str) -> Path:
    """Makes a folder for temporary files among the system's, `NAME-MACHINE-PROCESS-...`, which the caller removes.

    Those of processes on this machine that were killed before they could are removed.
    """
    _remove_of_killed(Path(tempfile.gettempdir()), rf"{re.escape(name)}-{MACHINE}-(\d{{1,9}})-\w+")
    return Path(tempfile.mkdtemp(prefix=f"{name}-{MACHINE}-{os.getpid()}-"))


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """`new_scratch_folder`, gone at the end of the `with` block.

    Raises:
        OSError: where the disk becomes full in the block.
    """
    folder = new_scratch_folder(name)
    try:
        yield folder
    except Exception as error:
        if reason := _disk_is_full(error):
            raise OSError(
                f"{folder}: cannot be written ({reason}); make room there, or name another by TMPDIR"
            ) from None
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Keeps a folder for this process during the `with` block, where the system has locks (not on Windows).

    Raises:
        BlockingIOError: where another process keeps it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    _locks.add(place)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"{folder}: another process is writing into it; wait until that has ended, or name another folder"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        if place in _locks:  # not in a child
            _locks.remove(place)
            with suppress(OSError):
                fcntl.flock(place, fcntl.LOCK_UN)  # for children too that were forked this very moment
            os.close(place)


def refuse_filled_folder(path: Path) -> None:
    """Refuses a place for a new folder where there is something already.

    Raises:
        FileExistsError: where `path` is a file, or a folder with something in it.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(
            f"{path} exists already and is not an empty folder; name a new folder, or remove it first"
        )


class AtomicFolder:
    """A folder that is written under a temporary name and takes its place at the end, or leaves what was there before.

    Folders above it that do not exist are made, and are gone again after an error.

    Args:
        target: its place. It may be set anew before the end, to another name in the same folder.
        new: whether nothing may be replaced but an empty folder, see `refuse_filled_folder`.

    Raises:
        OSError: on entering, where nothing can be written there.
        FileExistsError: at the end of a `new` folder, where another process was faster.
    """

    def __init__(self, target: Path, new: bool = False):
        self.target = target
        self._new = new

    def __enter__(self) -> Path:
        parent = self.target.parent
        self._made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(self.target)
            self.temporary = temporary_name(self.target)
            self.temporary.mkdir()
        except OSError as error:
            self._remove_parents()
            raise OSError(
                f"{parent}: cannot be written to ({error.strerror}); name another folder for the output"
            ) from None
        return self.temporary

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if error_type is None:
                place = _place_new_folder if self._new else replace_folder
                place(self.temporary, self.target)
                return
        finally:
            shutil.rmtree(self.temporary, ignore_errors=True)
        self._remove_parents()
        if reason := _disk_is_full(error):
            raise OSError(f"{self.target}: cannot be written ({reason}); make room on the disk or write elsewhere")

    def _remove_parents(self) -> None:
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return  # someone else has put something there


def _disk_is_full(error: BaseException) -> str:
    """What an error says of it; empty for another error. Libraries in Rust, as safetensors, have a text of it only."""
    if isinstance(error, OSError):
        return error.strerror if error.errno in DISK_IS_FULL else ""
    return next((os.strerror(number) for number in DISK_IS_FULL if f"(os error {number})" in str(error)), "")


def _remove_leftovers(target: Path) -> None:
    """Removes the folders that writers of `target` on this machine left half written when they were killed."""
    _remove_of_killed(target.parent, re.escape(f".{_short(target.name)}.{MACHINE}-") + r"(\d{1,9})-\d+\.partial")


@cache
def _remove_files_of_killed(folder: Path) -> None:
    """Removes, once in a process, the files that writers on this machine left half written in a folder."""
    _remove_of_killed(folder, rf"\..+\.{MACHINE}-(\d{{1,9}})-\d+\.partial", Path.is_file)


def _remove_of_killed(parent: Path, pattern: str, chosen: Callable[[Path], bool] = Path.is_dir) -> None:
    """Removes the folders, or files, whose names tell, in the pattern's group, a process that no longer runs here."""
    if os.name != "posix" or not parent.is_dir():
        return  # elsewhere there is no harmless way to ask whether a process runs
    for path in parent.iterdir():
        match = re.fullmatch(pattern, path.name)
        if match and chosen(path) and not _runs(int(match[1])):
            with suppress(OSError):
                path.unlink() if path.is_file() else shutil.rmtree(path)


def _place_new_folder(new: Path, target: Path) -> None:
    """Moves `new` to `target`, where there is nothing or an empty folder.

    Raises:
        FileExistsError: where another process was faster.
    """
    refuse_filled_folder(target)
    try:
        if target.is_dir():
            target.rmdir()
        os.rename(new, target)
    except OSError as error:
        if error.errno in ANOTHER_WAS_FASTER:
            refuse_filled_folder(target)
        raise


def replace_folder(new: Path, target: Path) -> None:
    """Moves `new` to `target`, whatever other processes put there at the same time: the last one stays.

    On Linux what was there changes places with it in one step. Elsewhere it moves away first (`put_back`).
    """
    old = _aside(target)
    for number in itertools.count():
        _remove(old)
        if target.is_dir() and _swapped(new, target):
            _remove(new)
            return
        try:
            if target.exists():
                os.replace(target, old)
            os.replace(new, target)
            break
        except OSError as error:
            if error.errno not in ANOTHER_WAS_FASTER or not new.is_dir() or number == MOST_TRIES:
                raise
    _remove(old)


def _remove(folder: Path) -> None:
    """Removes a folder, or a link to one, where it is there."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _swapped(one: Path, other: Path) -> bool:
    """Swaps two folders in one step; False where the system, or the file system, cannot."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None).renameat2
    except AttributeError:  # an old libc
        return False
    return rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def put_back(target: Path) -> None:
    """Undoes a `replace_folder` that was killed after the old folder had stepped aside."""
    if _aside(target).exists() and not target.exists():
        os.replace(_aside(target), target)


def cut_name(name: str, most: int) -> str:
    """`name` without its last characters, as far as it has more than `most` bytes."""
    while len(os.fsencode(name)) > most:
        name = name[:-1]
    return name


def _short(name: str) -> str:
    """A name of at most 73 bytes: a longer one is cut, and its checksum tells it apart."""
    cut = cut_name(name, MOST_REPEATED)
    return name if cut == name else f"{cut}-{zlib.crc32(os.fsencode(name)):08x}"


def _aside(target: Path) -> Path:
    return target.with_name(f".{_short(target.name)}.old")


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True
