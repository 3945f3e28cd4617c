"""Runs our functions that read foreign media in a child process, so that what FFmpeg does there ends nothing else.

A damaged or hostile file can make native code crash, run forever or ask for all memory. In a child process that costs
one file: its death, its silence and its hunger become a `MediaError` that names the file.

The child is a fresh Python that imports the function's module only (no PyTorch), and gets no signals from the
terminal. What it sends may be made up by a hostile file, so nothing of it is unpickled: a message is a line of JSON
and, after it, the bytes of plain arrays, whose sizes are checked before there is memory for them. What it
sends is read ahead while its parent is busy, by `READ_AHEAD` and no more: beyond that the child waits, whatever the
length of the file. Should it crash, what it had sent before is there.

A child serves one file: the next call for the same file finds it idle, and spares its start (0.3 s); another file gets
a new one. Those that a file will need at the same time are started together by `start_ahead`.
"""

import atexit
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np

from ..model.media_ccformer import MediaError, MediaWarning, shown_path

MEMORY = 6 << 30  # bytes of address space that a child may have, where the system can limit it; 8K takes half
# A child that says nothing for so long (s), and another second for each MB of its file, is taken to hang.
SILENCE, SILENCE_PER_MEGABYTE = 60.0, 1.0
MOST_IDLE = 3
LONGEST_LINE = 1 << 20  # bytes of a message without its arrays
LARGEST_ARRAY = 1 << 30  # bytes
READ_AHEAD = 32 << 20  # bytes of messages that may wait: a dozen pictures of 1280 x 720
LONGEST_TEXT = 1000  # characters of an error's text
DTYPES = ("uint8", "float32", "float64")
CURE = "convert it with another program and try again"

Message = tuple[Any, list[np.ndarray]]

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import serve; serve(int(sys.argv[2]))"


def run_isolated(
    function: Callable[..., Iterator[tuple]], path: str | os.PathLike, *arguments: Any, seconds: float = math.inf
) -> Iterator[Message]:
    """Iterates `function(path, *arguments)` in a child process.

    Args:
        function: a generator function at the top of its module. It yields tuples: first anything that JSON can hold,
            then any number of arrays (uint8, float32 or float64).
        path: the file that it reads; every error names it.
        arguments: anything that JSON can hold.
        seconds: that it may take in all, besides the limit on silence.

    Returns:
        An iterator over what it yields, the arrays as a list. Closing it early ends the child.

    A `MediaWarning` that the function issues is issued here.

    Raises:
        MediaError: where the function raises it, where the child crashes, hangs, or needs more than `MEMORY`.
        ImportError, OSError, ValueError: where the function raises it.
    """
    path = os.fsdecode(path)
    child = _take_idle(path) or _Child(path)
    ahead = _ReadAhead(child.receive)
    try:
        with child.watched(seconds):
            child.ask(function, arguments)
            ahead.start()
            while (message := ahead.take()) is not None:
                if isinstance(message, str):
                    warn(message)
                else:
                    yield message
    except BaseException:
        child.stop()
        ahead.end()
        child.kill()
        raise
    _keep_idle(child)


def warn(text: str) -> None:
    """Issues a `MediaWarning`, all of them from this one place: Python shows the same of the same file once."""
    warnings.warn(text, MediaWarning, stacklevel=1)


class _ReadAhead:
    """Calls `receive` in a thread of its own until it gives None or raises; `take` gives and raises the same."""

    def __init__(self, receive: Callable[[], Message | str | None]):
        self._receive = receive
        self._waiting: deque[Message | str | Exception | None] = deque()
        self._bytes = 0  # of what waits
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Waits for the thread, which needs no more room; what `receive` waits for must have ended."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    def take(self) -> Message | str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            message = self._waiting.popleft()
            self._bytes -= _size(message)
            self._changed.notify()
        if isinstance(message, Exception):
            try:
                raise message.with_traceback(None)  # without the frames of the thread
            finally:
                # The error holds this frame, and the frame the error: until the garbage is collected they would keep
                # all frames that it goes through, with the children that other files are read by.
                del message
        return message

    def _run(self) -> None:
        message = ""
        while not (message is None or isinstance(message, Exception)):
            try:
                message = self._receive()
            except Exception as error:
                message = error
            with self._changed:
                self._changed.wait_for(lambda: self._bytes <= READ_AHEAD or self._ended)
                self._waiting.append(message)
                self._bytes += _size(message)
                self._changed.notify()


def _size(message: Message | str | Exception | None) -> int:
    """About the bytes that it takes; what a hostile child says may be long, or in many pieces."""
    arrays = message[1] if isinstance(message, tuple) else []
    return 1000 + len(repr(message[0] if arrays else message)) + sum(array.nbytes for array in arrays)


class _Child:
    """A child process, as its parent has it."""

    def __init__(self, path: str):
        self._path = path
        self.file = _file(path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(module=__name__), json.dumps(sys.path), str(MEMORY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each thread of NumPy's would take a part of the memory
            start_new_session=True,
        )
        _widen(self._process.stdout)
        _children.add(self)
        self._started = False
        self._waiting_since = math.inf
        self._stopped = ""

    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, function: Callable, arguments: tuple) -> None:
        """Gives it a job."""
        if not self._started:
            self._line()
            self._started = True
        job = {"module": function.__module__, "name": function.__name__, "arguments": [self._path, *arguments]}
        with suppress(BrokenPipeError):  # it has died: `receive` tells how
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()

    def receive(self) -> Message | str | None:
        """The next message of the job, or the text of a warning; None at its end."""
        line = self._line()
        try:
            message = dict(json.loads(line))
            if "warning" in message:
                return str(message["warning"])[:LONGEST_TEXT]
            if "end" in message:
                return None
            if "error" in message:
                kind, text, number = message["error"]
                raised = self._raised(kind, str(text)[:LONGEST_TEXT], number)
            else:
                return message["value"], [self._array(dtype, shape) for dtype, shape in message["arrays"]]
        except MediaError:  # a death in the middle of a message
            raise
        except (ValueError, LookupError, TypeError, RecursionError):
            raised = MediaError(
                f"{shown_path(self._path)}: reading it went wrong (an unknown message came from it); {CURE}"
            )
        raise raised

    def stop(self) -> None:
        """Ends it, whatever it does, from any thread: who waits for it learns that it has ended."""
        self._process.kill()

    def kill(self) -> None:
        """Ends it, and forgets it."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with suppress(BrokenPipeError):  # of a job that was never read
            self._process.stdin.close()

    @contextmanager
    def watched(self, seconds: float) -> Iterator[None]:
        """Kills it from another thread when it is silent for too long, or takes more than `seconds` in all."""
        end = time.monotonic() + seconds
        silence = SILENCE + SILENCE_PER_MEGABYTE * _megabytes(self._path)
        done = threading.Event()

        def watch() -> None:
            while not done.wait(min(1.0, silence / 4, seconds / 4)):
                now = time.monotonic()
                if now - self._waiting_since > silence:
                    self._stopped = f"made no progress for {silence:.0f} s"
                elif now > end:
                    self._stopped = f"took more than {seconds:.0f} s"
                if self._stopped:
                    self._process.kill()
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _line(self) -> bytes:
        self._waiting_since = time.monotonic()
        line = self._process.stdout.readline(LONGEST_LINE)
        self._waiting_since = math.inf
        if not line:
            raise self._death()
        return line

    def _array(self, dtype: str, shape: list[int]) -> np.ndarray:
        if dtype not in DTYPES or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > LARGEST_ARRAY:
            raise ValueError
        array = np.empty(shape, dtype)
        self._waiting_since = time.monotonic()
        if size and self._process.stdout.readinto(memoryview(array.reshape(-1)).cast("B")) != size:
            raise self._death()
        self._waiting_since = math.inf
        return array

    def _raised(self, kind: str, text: str, number: int | None) -> Exception:
        """The error that the function raised in the child."""
        if kind == "MemoryError":
            return MediaError(
                f"{shown_path(self._path)}: reading it needs more than {MEMORY / 2**30:.0f} GiB of memory; {CURE}"
            )
        if kind == "OSError" and type(number) is int:
            return OSError(number, text)
        known = {"MediaError": MediaError, "ImportError": ImportError, "ValueError": ValueError}
        return (
            known[kind](text)
            if kind in known
            else MediaError(f"{shown_path(self._path)}: cannot be read ({text}); {CURE}")
        )

    def _death(self) -> Exception:
        """Why the child has ended."""
        code = self._process.wait()
        if self._stopped:
            return MediaError(f"{shown_path(self._path)}: reading it {self._stopped} and was stopped; {CURE}")
        if not self._started:
            return OSError(
                f"{shown_path(self._path)}: cannot be read, for no process can be started to read it "
                f"({sys.executable} ended with exit code "
                f"{code}); check that it can import ccformer_hf"
            )
        if code == -getattr(signal, "SIGKILL", 9):
            return MediaError(
                f"{shown_path(self._path)}: reading it was stopped by the system, mostly for want of memory; {CURE}"
            )
        how = signal.Signals(-code).name if code < 0 and -code in set(signal.Signals) else f"exit code {code}"
        return MediaError(
            f"{shown_path(self._path)}: reading it crashed ({how}): it is damaged, or FFmpeg is at fault; {CURE}"
        )


_children: weakref.WeakSet[_Child] = weakref.WeakSet()
_idle: list[_Child] = []  # the one used last at the end
_idle_lock = threading.Lock()


def _file(path: str) -> tuple[str, str]:
    """What tells files apart: the same relative path is another file in another working directory."""
    return path, os.path.abspath(path)


def _take_idle(path: str) -> _Child | None:
    with _idle_lock:
        for child in _idle:
            if child.file == _file(path):
                _idle.remove(child)
                return child if child.alive() else None
    return None


def start_ahead(path: str | os.PathLike, count: int) -> None:
    """Starts the children that a file lacks, one for each of the calls that will go on at the same time, and does not
    wait."""
    path = os.fsdecode(path)
    with _idle_lock:
        there = sum(child.file == _file(path) for child in _idle)
    for _ in range(count - there):
        _keep_idle(_Child(path))


def _keep_idle(child: _Child) -> None:
    with _idle_lock:
        _idle.append(child)
        surplus = _idle[:-MOST_IDLE]
        del _idle[:-MOST_IDLE]
    for child in surplus:
        child.kill()


@atexit.register
def end_idle_children() -> None:
    """Ends the children that wait for another call for their file."""
    while _idle:
        _idle.pop().kill()


def end_children() -> None:
    """Ends all reading that goes on in other threads, for a process that is to end: each fails with a MediaError."""
    for child in list(_children):
        child.stop()


def _disown_idle() -> None:
    """In a forked process, whose parent goes on using them."""
    global _idle_lock
    _idle_lock = threading.Lock()
    _idle.clear()
    _children.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_idle)


def _megabytes(path: str) -> float:
    with suppress(OSError):
        return os.path.getsize(path) / 1e6
    return 0.0


def _widen(pipe: BinaryIO) -> None:
    """1 MB instead of 64 kB, where the system lets us: fewer turns between the processes."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)


def serve(memory: int) -> None:
    """What the child does: the jobs that come in on its standard input, until that is closed.

    Args:
        memory: bytes of address space that it may have.
    """
    _limit_memory(memory)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message
    jobs: queue.SimpleQueue[dict] = queue.SimpleQueue()
    threading.Thread(target=_receive_jobs, args=(jobs,), daemon=True).start()
    warnings.simplefilter("always", MediaWarning)  # whether it was shown before, the parent knows
    warnings.showwarning = lambda message, kind, *_: (
        _send_line(out, {"warning": str(message)}) if issubclass(kind, MediaWarning) else None
    )
    _send_line(out, {"ready": True})
    while True:
        _do(jobs.get(), out)


def _receive_jobs(jobs: queue.SimpleQueue) -> None:
    for line in sys.stdin.buffer:
        jobs.put(json.loads(line))
    os._exit(0)  # whoever asked is gone


def _do(job: dict, out: BinaryIO) -> None:
    try:
        function = getattr(import_module(job["module"]), job["name"])
        for value, *arrays in function(*job["arguments"]):
            arrays = [np.ascontiguousarray(array) for array in arrays]
            _send_line(out, {"value": value, "arrays": [(array.dtype.name, array.shape) for array in arrays]})
            for array in arrays:
                out.write(array.data)
            out.flush()
    except Exception as error:
        kinds = (MediaError, ImportError, MemoryError, OSError, ValueError)
        kind = next((known.__name__ for known in kinds if isinstance(error, known)), "")
        text = os.strerror(error.errno) if kind == "OSError" and error.errno else str(error)
        _send_line(out, {"error": [kind, text or type(error).__name__, getattr(error, "errno", None)]})
        return
    _send_line(out, {"end": True})


def _send_line(out: BinaryIO, message: dict) -> None:
    out.write(json.dumps(message).encode() + b"\n")
    out.flush()


def _limit_memory(memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    with suppress(OSError, ValueError):  # a stricter limit holds already
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
