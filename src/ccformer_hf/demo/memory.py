"""Keeps the memory of a server flat that works in many threads."""

import ctypes
import sys
from contextlib import suppress

M_ARENA_MAX = -8  # of glibc, see mallopt(3)
ARENAS = 2


def share_arenas() -> None:
    """Has glibc take the memory of all threads from two arenas; elsewhere nothing is done.

    Left alone, each of Gradio's threads has an arena of its own, up to eight for each CPU, and each arena keeps what
    the largest clip took that was ever worked on in its thread.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # another libc
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)
