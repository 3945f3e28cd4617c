"""Writes H.264 videos with the sound of the clip they were made from (ours). Reading is in `media_ccformer`."""

import errno
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from .clock_ccformer import SOUND
from .media_ccformer import best_streams, clock_of, decode_stream, open_media, packets_of

# Ticks of picture time: fine enough for any frame rate (24000/1001 is off by 6 us at most), so that frames keep their times.
TICKS_PER_SECOND = 90000
# Its number as matrix, primaries and transfer curve alike (H.273); PyAV 15 has no names for them.
BT709 = 1
# Sound that players accept inside MP4; it is copied. Anything else becomes AAC.
COPIED_SOUND = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)


class VideoWriter:
    """An MP4 (H.264, yuv420p, BT.709, index at the front) that holds every frame at its own time, and a clip's sound.

    Written under a temporary name beside `path`, which it takes only when `close` has finished; leaving a `with` statement by an
    error deletes it. Memory does not depend on the length. H.264 in yuv420p has even sizes only: an odd width or height is
    rounded up by repeating the last column or row. Pixels are square.

    Args:
        path: the file to write, `.mp4`; one that exists is replaced.
        width: of the frames in pixels. `height` likewise.
        fps: average frames per second; guides the encoder and gives the last frame its length.
        sound_from: clip whose sound is taken along, with its original offset on the clip's clock. It is copied bit by bit where
            MP4 can carry it (AAC, MP3, Opus, AC-3, E-AC-3, ALAC, FLAC), else encoded to AAC. A clip without sound is fine.

    Raises:
        OSError: where `path` cannot be written.
        MediaError: where `sound_from` cannot be read.
        ValueError: for a size or frame rate that is not positive or a name that is not `.mp4`.
    """

    def __init__(self, path: str | Path, width: int, height: int, fps: float, sound_from: str | Path | None = None):
        self.path = Path(path)
        if self.path.suffix.lower() != ".mp4":
            raise ValueError(f"{path}: the video is written as MP4; give it a name that ends in .mp4")
        if min(width, height) < 1 or not fps > 0:
            raise ValueError(f"width, height and fps must be greater than 0, got {width} x {height} at {fps} fps")
        self.width, self.height = width, height
        self._frame_ticks = max(1, round(TICKS_PER_SECOND / fps))
        self._last_time, self._last_tick = -float("inf"), -1
        self._finished = False
        self._output: av.container.OutputContainer | None = None
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._sound = None if sound_from is None else _Sound(sound_from)
        try:
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            # PyAV opens the file at the first frame only; an unwritable place is to be known before any work.
            self._temporary.touch()
        except OSError as error:
            self._close_sound()
            raise OSError(
                f"{path}: cannot be written ({error.strerror}); name a file in a folder that exists and is writable"
            ) from None
        try:
            self._open_streams(Fraction(fps).limit_denominator(100000))
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
        """Adds the frame `rgb` (H, W, 3) uint8, shown from `time` seconds on, together with the sound up to there.

        Raises:
            ValueError: for a frame of another shape or type, or a time that does not lie after the last one.
            OSError: where the file cannot be written, the disk being full for example.
        """
        if rgb.shape != (self.height, self.width, 3) or rgb.dtype != np.uint8:
            raise ValueError(
                f"a frame is {rgb.shape} {rgb.dtype}, it must be ({self.height}, {self.width}, 3) uint8 as told to VideoWriter"
            )
        if time < 0 or time <= self._last_time:
            raise ValueError(
                f"a frame at {time} s after one at {self._last_time} s: times must rise and start at 0 or later"
            )
        # Frames closer together than a tick still follow each other.
        tick = max(round(time * TICKS_PER_SECOND), self._last_tick + 1)
        self._last_time, self._last_tick = time, tick
        if self.width % 2 or self.height % 2:
            rgb = np.pad(rgb, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(rgb), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        frame.pts, frame.time_base = tick, Fraction(1, TICKS_PER_SECOND)
        self._mux(frame, time)

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
        self._mux(None, float("inf"))
        try:
            self._output.close()
            os.replace(self._temporary, self.path)
        except (OSError, av.FFmpegError) as error:
            self._fail(error)
        self._close_sound()
        self._finished = True

    def abort(self) -> None:
        """Gives up and deletes what was written so far."""
        if self._output is not None:
            try:
                self._output.close()
            except (OSError, av.FFmpegError):
                pass  # the file is deleted anyway
        self._close_sound()
        self._temporary.unlink(missing_ok=True)

    def _open_streams(self, rate: Fraction) -> None:
        # MP3 below 16 kHz in MP4 is outside the standard, and plays.
        self._output = av.open(
            str(self._temporary), "w", format="mp4", options={"movflags": "+faststart", "strict": "unofficial"}
        )
        # Without B-frames the last frame in the file is the last one shown, so that the track's length comes out right
        # at a varying frame rate too.
        self._video = self._output.add_stream(
            "libx264", rate=rate, options={"preset": "veryfast", "crf": "20", "bf": "0"}
        )
        encoder = self._video.codec_context
        encoder.width, encoder.height = self.width + self.width % 2, self.height + self.height % 2
        encoder.pix_fmt = "yuv420p"
        encoder.time_base = self._video.time_base = Fraction(1, TICKS_PER_SECOND)
        encoder.colorspace = encoder.color_primaries = encoder.color_trc = BT709
        encoder.color_range = ColorRange.MPEG
        if self._sound is not None:
            self._sound.add_to(self._output)

    def _mux(self, frame: "av.VideoFrame | None", sound_until: float) -> None:
        """Sound up to a time and one picture (None: those the encoder still holds), so that the muxer has little to keep."""
        try:
            if self._sound is not None:
                for packet in self._sound.packets_until(sound_until):
                    try:
                        self._output.mux(packet)
                    except av.error.InvalidDataError:
                        pass  # one broken packet of the clip (its AAC frame cannot be unwrapped): left out
            for packet in self._video.encode(frame):
                packet.duration = self._frame_ticks
                self._output.mux(packet)
        except (OSError, av.FFmpegError) as error:
            self._fail(error)

    def _fail(self, error: "OSError | av.FFmpegError") -> None:
        self.abort()
        raise OSError(
            f"{self.path}: cannot be written ({error.strerror}); make room on the disk or write elsewhere"
        ) from None

    def _close_sound(self) -> None:
        if self._sound is not None:
            self._sound.close()


class _Sound:
    """The sound track of a clip as packets for an output container, copied or encoded to AAC."""

    def __init__(self, path: str | Path):
        self._clock = clock_of(path)
        self._input = open_media(path)
        _, self._audio = best_streams(self._input)
        self._packets: Iterator[av.Packet] = iter(())
        self._next: av.Packet | None = None

    def add_to(self, output: "av.container.OutputContainer") -> None:
        if self._audio is None:
            return
        if self._audio.codec_context.codec.canonical_name in COPIED_SOUND:
            self._packets = self._copied(output.add_stream_from_template(self._audio))
        else:
            rate = min(AAC_RATES, key=lambda rate: abs(rate - self._audio.rate))
            layout = "mono" if self._audio.channels == 1 else "stereo"
            self._packets = self._encoded(output.add_stream("aac", rate=rate, layout=layout))
        self._next = next(self._packets, None)

    def packets_until(self, time: float) -> Iterator["av.Packet"]:
        while self._next is not None and float(self._next.dts * self._next.time_base) <= time:
            # The muxer takes the packet's contents over: what comes after it is read first.
            packet, self._next = self._next, next(self._packets, None)
            yield packet

    def close(self) -> None:
        self._packets = iter(())
        self._input.close()

    def _copied(self, stream: "av.AudioStream") -> Iterator["av.Packet"]:
        last = None
        for packet in self._clock.on_clock(packets_of(self._input, self._audio), SOUND):
            dts = packet.dts if packet.dts is not None else packet.pts
            if not packet.size or dts is None or (last is not None and dts <= last):
                continue  # MP4 holds rising times only
            last = packet.dts = packet.pts = dts
            packet.stream = stream
            yield packet

    def _encoded(self, stream: "av.AudioStream") -> Iterator["av.Packet"]:
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
        for frame in decode_stream(self._input, self._audio, self._clock):
            for resampled in resampler.resample(frame):
                yield from stream.encode(resampled)
        for resampled in resampler.resample(None):
            yield from stream.encode(resampled)
        yield from stream.encode(None)
