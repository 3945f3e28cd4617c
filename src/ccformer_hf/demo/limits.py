"""What the demo takes, and how it says no."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..inference.contained_media import probe
from ..inference.isolation import run_isolated
from ..model.media_ccformer import MediaError, MediaInfo, best_streams, open_media, shown_path

MEGABYTE = 1_000_000
# Some cameras take 240 pictures a second; more in a file than that is not a clip of the length it states.
MOST_FPS = 240
# The shortest packets of sound, those of Opus, last 2.5 ms.
MOST_SOUND_PACKETS = 1000  # a second
LATE_SOUND = 2.0  # s that sound may last longer than pictures may


@dataclass(frozen=True)
class Limits:
    """What one clip may be, and how many people may wait.

    Attributes:
        megabytes: of the file, each 1,000,000 bytes.
        seconds: that it lasts.
        width, height: of its picture in pixels, either way round.
        shown: longer side of the picture in pixels that the demo works with; larger ones are scaled down.
        reading: seconds that it may take to read all pictures of the file.
        waiting: clips that may wait in line.
        waiting_each: of one visitor, with the one that is worked on; see `Line`.
        kept: seconds after which a result is removed.
    """

    megabytes: int = 50
    seconds: int = 30
    width: int = 4096
    height: int = 2304
    shown: int = 640
    reading: int = 300
    waiting: int = 16
    waiting_each: int = 4
    kept: int = 3600

    def in_words(self) -> str:
        """The limits, for the user to read before choosing a clip."""
        return (
            f"A clip has at most {self.megabytes} MB and {self.seconds} seconds; "
            f"pictures larger than {self.shown} pixels are scaled down to that. "
            f"Clips are worked on one after the other, {self.waiting} may wait, {self.waiting_each} of one visitor. "
            f"Everything is removed after {self.kept // 60} minutes."
        )


class ClipRefused(ValueError):
    """A clip that the demo does not take: one sentence for the user, without any path."""


def check_clip(path: str | os.PathLike, limits: Limits) -> MediaInfo:
    """What is in an uploaded clip, once it is sure that it may be worked on.

    The file is foreign: it is read in a child process, and nothing of it is decoded before its size and the size of
    its picture are known to be harmless.

    Raises:
        ClipRefused: where it is not a video, or beyond the limits.
    """
    name = shown_path(Path(path).name)
    size = os.path.getsize(path) / MEGABYTE
    if size > limits.megabytes:
        raise ClipRefused(
            f"{name} has {size:.0f} MB, at most {limits.megabytes} MB can be taken; cut it, or save it smaller"
        )
    try:
        ((measured, _),) = run_isolated(
            measured_packets,
            path,
            limits.seconds + 0.5,
            limits.seconds * MOST_FPS,
            limits.seconds * MOST_SOUND_PACKETS,
        )
        if measured is not None:
            _check_size(name, measured["width"], measured["height"], limits)
            _check_length(name, measured, limits)
        info = probe(path)
    except MediaError as error:
        raise ClipRefused(without_folder(error, path)) from None
    _check_size(name, info.width, info.height, limits)
    if info.duration > limits.seconds + 0.5:
        raise ClipRefused(_too_long(name, info.duration, limits))
    return info


def _check_size(name: str, width: int, height: int, limits: Limits) -> None:
    if max(width, height) > limits.width or min(width, height) > limits.height:
        raise ClipRefused(
            f"{name} is {width} x {height} pixels, "
            f"at most {limits.width} x {limits.height} can be taken; save it smaller"
        )


def _check_length(name: str, measured: dict, limits: Limits) -> None:
    if measured["seconds"] > limits.seconds + 0.5:
        raise ClipRefused(_too_long(name, max(measured["stated"], measured["seconds"]), limits))
    if measured["pictures"] > limits.seconds * MOST_FPS:
        raise ClipRefused(f"{name} has more than {MOST_FPS} pictures a second; save it with fewer")
    # All of it goes with every overlay that is drawn.
    late = measured["sound"] > limits.seconds + 0.5 + LATE_SOUND
    if late or measured["sounds"] > limits.seconds * MOST_SOUND_PACKETS:
        raise ClipRefused(f"the sound of {name} lasts more than {limits.seconds} seconds; cut it")


def _too_long(name: str, seconds: float, limits: Limits) -> str:
    return f"{name} lasts {seconds:.0f} seconds, at most {limits.seconds} can be taken; cut it"


def measured_packets(path: str, most_seconds: float, most_pictures: int, most_sounds: int) -> Iterator[tuple]:
    """Size and length of the pictures of a file and the length of its sound, by its packets and without decoding any;
    runs in a child process.

    What a file states about its length need not be so. It is read as far as its pictures hold no more than
    `most_seconds` and `most_pictures`, and its sound no more than `LATE_SOUND` beyond that and `most_sounds`
    (packets).

    Returns:
        An iterator over one dict: width, height (pixels); seconds (between the first and the last picture), pictures
        (packets), stated (s, what the file says); sound (s, of all its packets), sounds (packets). None in its place
        where there are no pictures.
    """
    with open_media(path) as container:
        video, audio = best_streams(container)
        if video is None:
            yield (None,)
            return
        first, last, pictures, sound, sounds = None, 0.0, 0, 0.0, 0
        for packet in container.demux([stream for stream in (video, audio) if stream is not None]):
            if packet.stream.type == "audio":
                sound, sounds = sound + float((packet.duration or 0) * packet.time_base), sounds + 1
                if sound > most_seconds + LATE_SOUND or sounds > most_sounds:
                    break
            if packet.stream.type == "audio" or packet.pts is None or not packet.size:
                continue
            time = float(packet.pts * packet.time_base)
            first = time if first is None else min(first, time)
            last, pictures = max(last, time), pictures + 1
            if last - first > most_seconds or pictures > most_pictures:
                break
        seconds = last - (first or 0.0)
        stated = float(video.duration * video.time_base) if video.duration else seconds
        about = {"width": video.width, "height": video.height, "sound": sound, "sounds": sounds}
        yield ({**about, "seconds": seconds, "pictures": pictures, "stated": stated},)


def without_folder(error: Exception, path: str | os.PathLike) -> str:
    """What an error says of a file, for a user who does not know, and is not to know, where it lies here."""
    return str(error).replace(shown_path(path), shown_path(Path(path).name))
