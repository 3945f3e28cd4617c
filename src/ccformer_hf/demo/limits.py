"""What the demo takes, and how it says no (ours)."""

import os
from dataclasses import dataclass
from pathlib import Path

from ..media_ccformer import MediaError, MediaInfo, best_streams, open_media, probe

MEGABYTE = 1_000_000
# Some cameras take 240 pictures a second; more in a file than that is no clip of the length it tells.
MOST_FPS = 240


@dataclass(frozen=True)
class Limits:
    """What one clip may be, and how many people may wait.

    Attributes:
        megabytes: of the file, each 1,000,000 bytes.
        seconds: that it lasts.
        width, height: of its picture in pixels, either way round.
        shown: longer side of the picture in pixels that the demo works with; larger ones are scaled down.
        waiting: clips that may wait in line.
        kept: seconds after which a result is removed.
    """

    megabytes: int = 50
    seconds: int = 30
    width: int = 4096
    height: int = 2304
    shown: int = 640
    waiting: int = 16
    kept: int = 3600

    def in_words(self) -> str:
        """The limits, for the user to read before choosing a clip."""
        return (
            f"A clip has at most {self.megabytes} MB and {self.seconds} seconds; pictures larger than {self.shown} pixels are scaled "
            f"down to that. Clips are worked on one after the other, {self.waiting} may wait. Everything is removed after "
            f"{self.kept // 60} minutes."
        )


class ClipRefused(ValueError):
    """A clip that the demo does not take: one sentence for the user, without any path."""


def check_clip(path: str | os.PathLike, limits: Limits) -> MediaInfo:
    """What is in an uploaded clip, once it is sure that it may be worked on.

    The file is foreign: nothing of it is decoded before its size and the size of its picture are known to be harmless.

    Raises:
        ClipRefused: where it is no video, or beyond the limits.
    """
    name = Path(path).name
    size = os.path.getsize(path) / MEGABYTE
    if size > limits.megabytes:
        raise ClipRefused(
            f"{name} has {size:.0f} MB, at most {limits.megabytes} MB can be taken; cut it, or save it smaller"
        )
    try:
        with open_media(path) as container:
            video, _ = best_streams(container)
            if video is not None:
                _check_size(name, video.width, video.height, limits)
                _check_length(name, container, video, limits)
        info = probe(path)
    except MediaError as error:
        raise ClipRefused(str(error).replace(str(path), name)) from None
    _check_size(name, info.width, info.height, limits)
    if info.duration > limits.seconds + 0.5:
        raise ClipRefused(_too_long(name, info.duration, limits))
    return info


def _check_size(name: str, width: int, height: int, limits: Limits) -> None:
    if max(width, height) > limits.width or min(width, height) > limits.height:
        raise ClipRefused(
            f"{name} is {width} x {height} pixels, at most {limits.width} x {limits.height} can be taken; save it smaller"
        )


def _check_length(name: str, container, video, limits: Limits) -> None:
    """By its packets: what a file tells of its length need not be so."""
    first, last, pictures = None, 0.0, 0
    for packet in container.demux(video):
        if packet.pts is None or not packet.size:
            continue
        time = float(packet.pts * packet.time_base)
        first = time if first is None else min(first, time)
        last, pictures = max(last, time), pictures + 1
        if last - first > limits.seconds + 0.5 or pictures > limits.seconds * MOST_FPS:
            break
    seconds = last - (first or 0.0)
    if seconds > limits.seconds + 0.5:
        told = float(video.duration * video.time_base) if video.duration else seconds
        raise ClipRefused(_too_long(name, max(told, seconds), limits))
    if pictures > limits.seconds * MOST_FPS:
        raise ClipRefused(f"{name} has more than {MOST_FPS} pictures a second; save it with fewer")


def _too_long(name: str, seconds: float, limits: Limits) -> str:
    return f"{name} lasts {seconds:.0f} seconds, at most {limits.seconds} can be taken; cut it"
