"""Writes videos: H.264 with the sound of the clip they were made from, or VP9 that is transparent in part.

Reading is in `media_ccformer`.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange

from ..atomic import DISK_IS_FULL, atomic_file, temporary_name
from ..model.clock_ccformer import SOUND, Clock
from ..model.media_ccformer import (
    Colours,
    MediaError,
    best_streams,
    clock_of,
    decode_stream,
    open_media,
    packets_of,
    rgb_to_yuv,
    shown_path,
    yuv_planes,
)
from .contained_media import SILENCED, silence_faults, warn_of_sound
from .isolation import run_isolated

# "ultrafast" with what costs little and gains much. Against "superfast" in 79 % of its time: on a 720p clip a quarter
# larger with a PSNR of 47.2 to 46.8 dB, on one of 298 x 224 enlarged to that 3 % smaller with 44.8 to 45.5 dB.
# Without B-frames the last frame in the file is the last one shown, so that the track's length comes out right at a
# varying frame rate too.
ENCODING = {"preset": "ultrafast", "crf": "22", "bf": "0", "x264-params": "cabac=1:deblock=0,0:8x8dct=1"}
# MP3 below 16 kHz in MP4 is outside the standard, and plays.
MP4 = {"format": "mp4", "options": {"movflags": "+faststart", "strict": "unofficial"}}
# The fastest that libvpx has; it can be transparent with neither frames that are not shown nor any that wait.
TRANSPARENT = {
    "deadline": "realtime",
    "cpu-used": "8",
    "crf": "24",
    "b": "0",
    "auto-alt-ref": "0",
    "lag-in-frames": "0",
}
# Sound that players accept inside MP4; it is copied. Anything else becomes AAC.
COPIED_SOUND = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
# Packets of pictures after which the child that adds the sound says that it is at work.
SIGN_OF_LIFE = 500
CANNOT_STORE = (*DISK_IS_FULL, errno.EFBIG, errno.EIO, errno.EROFS)


class _Kind(NamedTuple):
    """How a kind of file is written.

    Attributes:
        container: arguments of `av.open`.
        ticks: of picture time per second. Those of MP4 are fine enough for any frame rate (24000/1001 is off by 6 us
            at most); Matroska counts milliseconds.
    """

    name: str
    codec: str
    pixels: str
    encoding: dict[str, str]
    container: dict[str, Any]
    ticks: int


KINDS = {
    ".mp4": _Kind("H.264", "libx264", "yuv420p", ENCODING, MP4, 90000),
    ".webm": _Kind("VP9", "libvpx-vp9", "yuva420p", TRANSPARENT, {"format": "webm"}, 1000),
}


class VideoWriter:
    """A video that holds every frame at its own time: an MP4 (H.264, yuv420p, index at the front) with a clip's sound,
    or a WebM (VP9, yuva420p) whose frames are transparent in part, without sound.

    Written under a temporary name beside `path`, which it takes only when `close` has finished; leaving a `with`
    statement by an error deletes it. Memory does not depend on the length. The sizes of both are even: an odd width or
    height is rounded up by repeating the last column or row, and the file says that it is shown in the shape it had.

    Sound is added at the end, in a child process (see `isolation`), for its packets come from a file from anywhere. It
    is copied bit by bit where MP4 can carry it (AAC, MP3, Opus, AC-3, E-AC-3, ALAC, FLAC); what cannot be copied is
    encoded to AAC, and what cannot be encoded is left out. A `MediaWarning` reports sound that is left out, broken or
    silenced.

    Args:
        path: the file to write, `.mp4` or `.webm`; one that exists is replaced.
        width: of the frames in pixels. `height` likewise.
        fps: average frames per second; guides the encoder and gives the last frame its length.
        sound_from: clip whose sound is taken along, with its original offset on the clip's clock. A clip without sound
            is fine. Not for `.webm`.
        colours: of the YUV pictures, which the file states; the default is BT.709's.

    Raises:
        OSError: where `path` cannot be written.
        MediaError: where there is no file `sound_from`.
        ValueError: for a size or frame rate that is not positive, another name, or a `.webm` with sound.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: float,
        sound_from: str | Path | None = None,
        colours: Colours = Colours(),  # noqa: B008  a tuple
    ):
        self.path = Path(path)
        if self.path.suffix.lower() not in KINDS:
            raise ValueError(f"{path}: the video is written as MP4 or WebM; give it a name that ends in .mp4 or .webm")
        self._kind = KINDS[self.path.suffix.lower()]
        if sound_from is not None and self._kind.container is not MP4:
            raise ValueError(f"{path}: only MP4 is written with sound; give it a name that ends in .mp4")
        if min(width, height) < 1 or not fps > 0:
            raise ValueError(f"the video is {width} x {height} at {fps} fps, expected numbers greater than 0")
        if sound_from is not None and not os.path.isfile(sound_from):
            raise MediaError(f"{sound_from}: there is no such file to take the sound from; check the name")
        self.width, self.height, self._fps, self._colours = width, height, fps, colours
        self._frame_ticks = max(1, round(self._kind.ticks / fps))
        self._last_time, self._last_tick = -float("inf"), -1
        self._finished = False
        self._sound_from = sound_from
        self._output: av.container.OutputContainer | None = None
        self._temporary = temporary_name(self.path)
        try:
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            # PyAV opens the file at the first frame only; an unwritable place is to be known before any work.
            self._temporary.touch()
        except OSError as error:
            raise OSError(
                f"{path}: cannot be written ({error.strerror}); name a file in a folder that exists and is writable"
            ) from None
        try:
            self._open_stream(Fraction(fps).limit_denominator(100000))
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self.close()
        else:
            self.abort()

    def write(self, rgb: np.ndarray, time: float) -> None:
        """Adds the frame `rgb` (H, W, 3) uint8, shown from `time` seconds on.

        Raises:
            ValueError: for a frame of another shape or type, or a time that does not lie after the last one.
            OSError: where the file cannot be written, the disk being full for example.
        """
        if rgb.shape != (self.height, self.width, 3) or rgb.dtype != np.uint8:
            raise ValueError(
                f"a frame is {rgb.shape} {rgb.dtype}, "
                f"expected ({self.height}, {self.width}, 3) uint8, the size given to VideoWriter"
            )
        self.write_yuv(rgb_to_yuv(rgb, self._colours), time)

    def write_yuv(self, packed: np.ndarray, time: float, alpha: np.ndarray | None = None) -> None:
        """Adds a frame as `media_ccformer.yuv_planes` takes it, shown from `time` seconds on; errors as in `write`.

        Args:
            packed: the frame.
            time: rising from frame to frame.
            alpha: for `.webm`, `(H, W)` uint8 of the even size, 0 where it is transparent to 255.
        """
        shape = 3 * (self._video.height // 2), self._video.width
        if packed.shape != shape or packed.dtype != np.uint8:
            raise ValueError(
                f"a frame is {packed.shape} {packed.dtype}, expected {shape} uint8, planes of the size given to "
                "VideoWriter"
            )
        if time < 0 or time <= self._last_time:
            raise ValueError(
                f"a frame at {time} s after one at {self._last_time} s: times must rise and start at 0 or later"
            )
        # Frames closer together than a tick still follow each other.
        tick = max(round(time * self._kind.ticks), self._last_tick + 1)
        self._last_time, self._last_tick = time, tick
        if alpha is None:
            frame = av.VideoFrame.from_ndarray(packed, format="yuv420p")
        else:
            frame = _with_alpha(packed, alpha)
        frame.pts, frame.time_base = tick, Fraction(1, self._kind.ticks)
        self._encode(frame)

    def close(self) -> None:
        """Finishes the file and gives it its name.

        Raises:
            ValueError: where no frame was written.
            OSError: where the file cannot be written.
        """
        if self._finished:
            return
        if self._last_tick < 0:
            self.abort()
            raise ValueError(f"{self.path}: a video needs at least one frame, none was written")
        self._encode(None)
        try:
            self._output.close()
            with atomic_file(self.path) as whole:
                if self._sound_from is None or not _add_sound(self._sound_from, self._temporary, whole):
                    os.replace(self._temporary, whole)
        except (OSError, av.FFmpegError) as error:
            self._fail(error)
        finally:
            self._temporary.unlink(missing_ok=True)
        self._finished = True

    def abort(self) -> None:
        """Gives up and deletes what was written so far."""
        if self._output is not None:
            with suppress(OSError, av.FFmpegError):  # the file is deleted anyway
                self._output.close()
        self._temporary.unlink(missing_ok=True)

    def _open_stream(self, rate: Fraction) -> None:
        self._output = av.open(str(self._temporary), "w", **self._kind.container)
        self._video = self._output.add_stream(self._kind.codec, rate=rate, options=self._kind.encoding)
        encoder = self._video.codec_context
        encoder.thread_type = "FRAME"  # works on while the next frames are read and drawn
        encoder.width, encoder.height = self.width + self.width % 2, self.height + self.height % 2
        # A repeated column or row does not change the shape in which the picture is shown: 1 where there is none.
        encoder.sample_aspect_ratio = Fraction(self.width * encoder.height, encoder.width * self.height)
        encoder.pix_fmt = self._kind.pixels
        encoder.time_base = self._video.time_base = Fraction(1, self._kind.ticks)
        encoder.colorspace, encoder.color_primaries, encoder.color_trc = self._colours
        encoder.color_range = ColorRange.MPEG

    def _encode(self, frame: "av.VideoFrame | None") -> None:
        """Writes one picture, or (None) those that the encoder still holds."""
        try:
            for packet in self._video.encode(frame):
                packet.duration = self._frame_ticks
                self._output.mux(packet)
        except (OSError, av.FFmpegError) as error:
            self._fail(error)

    def _fail(self, error: "OSError | av.FFmpegError") -> None:
        self.abort()
        if error.errno in DISK_IS_FULL:
            cure = "make room on the disk or write elsewhere"
        elif error.errno in CANNOT_STORE:
            cure = "write elsewhere"
        else:
            cure = (
                f"{self._kind.name} does not take {self.width} x {self.height} pixels at {self._fps:g} frames per "
                "second, or the disk is at fault"
            )
        raise OSError(f"{self.path}: cannot be written ({error.strerror}); {cure}") from None


def _with_alpha(packed: np.ndarray, alpha: np.ndarray) -> "av.VideoFrame":
    """The frame with a plane for how opaque each pixel is."""
    frame = av.VideoFrame(alpha.shape[1], alpha.shape[0], "yuva420p")
    for plane, values in zip(frame.planes, (*yuv_planes(packed), alpha), strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)  # a row in memory may be longer than the picture's
        rows[:, : plane.width] = values
        plane.update(rows)
    return frame


def _add_sound(sound_from: str | os.PathLike, pictures: Path, target: Path) -> bool:
    """Writes the pictures with the sound of a clip to `target`; False: the clip has none, or none that can be used.

    Raises:
        OSError: where `target` cannot be written.
    """
    faults: dict[str, None] = {}  # each once
    for copied in (True, False):
        try:
            *_, ((done, fault), _) = run_isolated(mux_with_sound, sound_from, str(pictures), str(target), copied)
        except OSError as error:
            if error.errno in CANNOT_STORE:
                raise
            faults[error.strerror or str(error)] = None
        except ValueError as error:
            fault = str(error).removeprefix(f"{shown_path(sound_from)}: ").removeprefix(f"{shown_path(target)}: ")
            faults[fault] = None
        else:
            if fault:
                warn_of_sound(sound_from, str(fault))
            if done is not None:
                return bool(done)
    warn_of_sound(sound_from, f"its sound was left out of the video, for it cannot be written ({'; '.join(faults)})")
    return False


def mux_with_sound(sound_from: str, pictures: str, target: str, copied: bool) -> Iterator[tuple]:
    """Puts the sound of a clip to the pictures of an MP4; runs in a child process.

    Args:
        sound_from: the clip.
        pictures: the MP4.
        target: the MP4 to write.
        copied: whether the sound is copied, or else encoded to AAC.

    Returns:
        An iterator over signs of life, and at the end `[done, fault]`. done: whether there is a file with sound; False
        where the clip has none, None where this way is not for its sound. fault: what is wrong with the sound; empty:
        nothing.
    """
    clock = clock_of(sound_from)
    with open_media(sound_from) as clip, av.open(pictures) as source:
        _, audio = best_streams(clip)
        if audio is None:
            yield (
                [False, "its sound was left out of the video, for it cannot be decoded" if clip.streams.audio else ""],
            )
            return
        if copied and audio.codec_context.codec.canonical_name not in COPIED_SOUND:
            yield ([None, ""],)
            return
        with av.open(target, "w", **MP4) as output:
            stream = output.add_stream_from_template(source.streams.video[0])
            sound = _Sound(clip, audio, clock, output, copied)
            for number, packet in enumerate(source.demux(source.streams.video[0])):
                if not packet.size:
                    continue
                # With the pictures up to there, so that the muxer has little to keep.
                sound.mux_until(float(packet.dts * packet.time_base))
                packet.stream = stream
                output.mux(packet)
                if number % SIGN_OF_LIFE == 0:
                    yield ([None, ""],)
            sound.mux_until(float("inf"))
    _check_sound(target)  # copied packets may be anything
    yield ([True, sound.fault()],)


def _check_sound(path: str) -> None:
    with open_media(path) as container:
        for packet in container.demux(audio=0) if container.streams.audio else ():
            with suppress(av.FFmpegError):
                if packet.decode():
                    return
    raise MediaError(f"{shown_path(path)}: its sound cannot be decoded")


class _Sound:
    """The sound track of a clip on its way into an output container."""

    def __init__(
        self,
        clip: "av.container.InputContainer",
        audio: "av.AudioStream",
        clock: Clock,
        output: "av.container.OutputContainer",
        copied: bool,
    ):
        self._broken, self._silenced = 0, False
        self._clip, self._audio, self._clock, self._output = clip, audio, clock, output
        if copied:
            self._packets = self._copied(output.add_stream_from_template(audio))
        else:
            rate = min(AAC_RATES, key=lambda rate: abs(rate - audio.rate))
            layout = "mono" if audio.channels == 1 else "stereo"
            self._packets = self._encoded(output.add_stream("aac", rate=rate, layout=layout))
        self._next = next(self._packets, None)

    def mux_until(self, time: float) -> None:
        """Hands the packets up to a time (s) over to the muxer."""
        while self._next is not None and float(self._next.dts * self._next.time_base) <= time:
            # The muxer takes the packet's contents over: what comes after it is read first.
            packet, self._next = self._next, next(self._packets, None)
            try:
                self._output.mux(packet)
            except av.error.InvalidDataError:
                self._broken += 1  # one packet, whose AAC frame cannot be unwrapped: left out

    def fault(self) -> str:
        """What is wrong with it; empty: nothing."""
        if self._silenced:
            return SILENCED
        return f"broken packets of its sound were left out of the video: {self._broken}" if self._broken else ""

    def _copied(self, stream: "av.AudioStream") -> Iterator["av.Packet"]:
        last = None
        for packet in self._clock.on_clock(packets_of(self._clip, self._audio), SOUND):
            dts = packet.dts if packet.dts is not None else packet.pts
            if not packet.size or dts is None or (last is not None and dts <= last):
                continue  # MP4 holds rising times only
            last = packet.dts = packet.pts = dts
            packet.stream = stream
            yield packet

    def _encoded(self, stream: "av.AudioStream") -> Iterator["av.Packet"]:
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
        for frame in decode_stream(self._clip, self._audio, self._clock):
            for resampled in resampler.resample(frame):
                yield from stream.encode(self._sane(resampled))
        for resampled in resampler.resample(None):
            yield from stream.encode(self._sane(resampled))
        yield from stream.encode(None)

    def _sane(self, frame: "av.AudioFrame") -> "av.AudioFrame":
        """The frame without samples that the encoder would refuse."""
        samples = frame.to_ndarray()
        if not silence_faults(samples):
            return frame
        self._silenced = True
        sane = av.AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout.name)
        sane.sample_rate, sane.pts, sane.time_base = frame.sample_rate, frame.pts, frame.time_base
        return sane
