"""What Linux tells of processes, in `/proc`; other systems tell nothing."""

from pathlib import Path


def children(process: int | str = "self") -> list[str]:
    """The processes that one has started, in any thread, and that go on."""
    lists = Path("/proc", str(process), "task").glob("*/children")
    return [child for file in lists for child in _text(file).split()]


def told(process: int | str, what: str) -> str:
    """A file about a process; empty where it has ended."""
    return _text(Path("/proc", str(process), what))


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
