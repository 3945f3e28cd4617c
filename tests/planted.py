"""Faults planted in the reading of media: each runs in the child process of `ccformer_hf.inference.isolation`."""

import ctypes
import errno
import itertools
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator

import numpy as np


def fine(path: str, count: int) -> Iterator[tuple]:
    for number in range(count):
        yield {"number": number}, np.full((2, 3), number, np.uint8), np.arange(number, dtype=np.float32)


def process(path: str) -> Iterator[tuple]:
    print("a library that is talkative")
    yield ([os.getpid(), sorted(name for name in ("torch", "transformers", "scipy", "PIL") if name in sys.modules)],)


def crash(path: str, *_) -> Iterator[tuple]:
    """Stands for whatever reads."""
    ctypes.string_at(0)
    yield (1,)


def large_then_crash(path: str, count: int, size: int, marks: str) -> Iterator[tuple]:
    """Sends `count` arrays of `size` bytes, writes down how many it made, and crashes."""
    for number in range(count):
        with open(marks, "w") as file:
            file.write(str(number + 1))
        yield number, np.full(size, number, np.uint8)
    ctypes.string_at(0)


def killed(path: str) -> Iterator[tuple]:
    """As the system kills when memory runs out."""
    yield (1,)
    os.kill(os.getpid(), signal.SIGKILL)


def hang(path: str) -> Iterator[tuple]:
    yield (1,)
    while True:
        pass


def slow(path: str) -> Iterator[tuple]:
    while True:
        time.sleep(0.05)
        yield (1,)


def hungry(path: str) -> Iterator[tuple]:
    yield (1,)
    kept = []
    while True:
        kept.append(np.empty(1 << 28, np.uint8))  # touched by nobody: address space, not memory


def say(path: str, line: str, array_bytes: int = 0) -> Iterator[tuple]:
    """Sends its own line instead of a message, as a child that was taken over might."""
    for number in range(3, 20):
        try:
            os.write(number, line.encode() + b"\n" + bytes(array_bytes))
        except OSError:
            continue
    yield (1,)


def raise_error(path: str, kind: str) -> Iterator[tuple]:
    yield (1,)
    from ccformer_hf.model.media_ccformer import MediaError

    raise {"media": MediaError(f"{path}: is odd"), "value": ValueError("a number"), "other": LookupError("lost")}[kind]


def full_disk(path: str, *_) -> Iterator[tuple]:
    with open("/dev/full", "w") as file:
        file.write("too much")
    yield (1,)


def crash_in_probe(path: str, need_video: bool = True) -> Iterator[tuple]:
    """Stands for `contained_media._probe`: files called crash... crash."""
    if os.path.basename(path).startswith("crash"):
        ctypes.string_at(0)
    from ccformer_hf.inference import contained_media

    yield from contained_media._probe(path, need_video)


def crash_in_frames(path: str) -> Iterator[tuple]:
    """Stands for `contained_media._yuv_frames`."""
    from ccformer_hf.inference import contained_media

    for number, message in enumerate(contained_media._yuv_frames(path)):
        if number == 5:
            ctypes.string_at(0)
        yield message


def endless_frames(path: str, times: list[float], longest: int, every: bool) -> Iterator[tuple]:
    """Stands for `contained_media._watched_frames`, one every 50 ms."""
    for number in itertools.count():
        time.sleep(0.05)
        yield [number / 10, 0], np.zeros((64, 96, 3), np.uint8)


def crash_in_sounds(path: str, starts: list[float], num_samples: int, rate: int) -> Iterator[tuple]:
    """Stands for `contained_media._sounds`: the first two are well."""
    for _ in starts[:2]:
        yield False, np.full(num_samples, 0.1, np.float32)
    ctypes.string_at(0)


def no_copying(sound_from: str, pictures: str, target: str, copied: bool) -> Iterator[tuple]:
    """Stands for `video_writer.mux_with_sound`: the muxer takes no copy of the sound."""
    from ccformer_hf.inference import video_writer

    if copied:
        raise OSError(errno.EINVAL, "Invalid argument")
    yield from video_writer.mux_with_sound(sound_from, pictures, target, copied)


def crash_while_muxing(sound_from: str, pictures: str, target: str, copied: bool) -> Iterator[tuple]:
    with open(target, "w") as file:
        file.write("half a file")
    yield ([None, ""],)
    ctypes.string_at(0)


def refuse(*_) -> Iterator[tuple]:
    raise OSError(errno.EINVAL, "Invalid argument")
    yield


def warned(path: str) -> Iterator[tuple]:
    from ccformer_hf.model.media_ccformer import MediaWarning

    for number in (1, 2):
        warnings.warn(f"{path}: is odd", MediaWarning, stacklevel=1)
        yield (number,)


def only_sound(path: str) -> Iterator[tuple]:
    from ccformer_hf.model.media_ccformer import SoundReader

    yield (SoundReader(path).rate,)
