"""Reads pictures and sound out of any container that FFmpeg (through PyAV) can read (ours).

Every time is in seconds on one clock, the clip's: zero is where the first of the two chosen tracks starts, so a picture track that
starts half a second after the sound has its first frame at 0.5. Sound before the container's own zero (codec priming) does
not move the clock. Edit lists are obeyed (FFmpeg does). Everything but `read_clip` needs the same memory for any length.
"""

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from .timeline_ccformer import Timeline

try:
    import av
except ImportError:  # a processor that is given arrays needs no PyAV
    av = None

# Frame times are sums of floats: a frame that starts this much (s) after the asked time still counts as shown.
TIME_TOLERANCE = 1e-6
# Timestamps of sound jitter by some ms (Matroska rounds to 1 ms); beyond this (s) it is a gap or an overlap.
SOUND_GAP = 0.03
# Sound that `SoundReader` keeps behind the start of the last read (s).
SOUND_KEPT = 20.0
# For streams that do not tell their frame rate, or tell the ticks of their clock instead: FFmpeg's own default.
DEFAULT_FPS = 25.0
MAX_FPS = 1000.0


class MediaError(ValueError):
    """A media file that cannot be used; one line that says which, why and what to do."""


@dataclass(frozen=True)
class MediaInfo:
    """What is in a media file.

    Attributes:
        path: the file.
        duration: end of the pictures (of the sound, where there are none) on the clip's clock, in seconds.
        width: of the upright picture in pixels; 0 without pictures. `height` likewise.
        fps: average frames per second; 0 without pictures.
        has_video: whether there is a picture track (cover art is none).
        has_audio: whether there is a sound track.
        audio_rate: samples per second of the sound track; 0 without sound.
        audio_channels: channels of the sound track; 0 without sound.
        rotation: degrees clockwise by which the stored picture is turned to be upright: 0, 90, 180 or 270 (after
            mirroring left to right, for the rare mirrored picture).
    """

    path: str
    duration: float
    width: int
    height: int
    fps: float
    has_video: bool
    has_audio: bool
    audio_rate: int
    audio_channels: int
    rotation: int


@dataclass(frozen=True)
class Clip:
    """A short clip in memory: `frames` (T, H, W, 3) uint8 RGB, `timestamps` (T,) s, `waveform` (S,) float32 mono or None."""

    frames: np.ndarray
    timestamps: np.ndarray
    waveform: np.ndarray | None
    sampling_rate: int


def open_media(path: str | Path) -> "av.container.InputContainer":
    """Opens a media file for reading.

    Raises:
        MediaError: where it is missing, a folder, empty, cut short, or nothing that FFmpeg can read.
        ImportError: where PyAV is not installed.
    """
    if av is None:
        raise ImportError(
            "reading video and sound files needs PyAV: pip install av (or pass frames and waveform as arrays)"
        )
    if not os.path.exists(path):
        raise MediaError(f"{path}: there is no such file; check the name")
    if os.path.isdir(path):
        raise MediaError(f"{path}: is a folder; name a video file in it")
    size = os.path.getsize(path)
    if os.path.isfile(path) and size == 0:
        raise MediaError(f"{path}: the file is empty (0 bytes); copy or download it again")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except PermissionError:
        raise MediaError(f"{path}: may not be read; give yourself read permission on it") from None
    except (av.FFmpegError, OSError) as error:
        raise MediaError(
            f"{path}: is no video or sound file that FFmpeg can read, or it is cut short ({error.strerror}); "
            "give a media file, or copy it again"
        ) from None
    # MP4 with its index at the front opens though the end of the file is missing.
    if container.format.name.startswith("mov"):
        for stream in container.streams:
            entries = stream.index_entries
            if len(entries) and entries[-1].pos + entries[-1].size > size:
                container.close()
                raise MediaError(
                    f"{path}: is cut short (its index points beyond the {size} bytes there are); copy it again"
                )
    return container


def best_streams(
    container: "av.container.InputContainer",
) -> "tuple[av.VideoStream | None, av.AudioStream | None]":
    """The picture and the sound track to use; None where there is none that can be decoded.

    Pictures: no cover art or thumbnail, then the one marked as default, then the largest, then the first. Sound: the one
    marked as default, then most channels, then highest rate, then the first. (FFmpeg's `streams.best` goes by bit rate and takes
    cover art too.)
    """
    no_video = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    default = av.stream.Disposition.default
    videos = [s for s in container.streams.video if s.codec_context is not None and not s.disposition & no_video]
    audios = [s for s in container.streams.audio if s.codec_context is not None and s.rate]
    video = max(videos, key=lambda s: (bool(s.disposition & default), s.width * s.height), default=None)
    audio = max(audios, key=lambda s: (bool(s.disposition & default), s.channels, s.rate), default=None)
    return video, audio


def clock_zero(video: "av.VideoStream | None", audio: "av.AudioStream | None") -> float:
    """Where (s, container time) the clip's clock starts, see the module's docstring."""
    starts = []
    if video is not None:
        starts.append(_start(video))
    if audio is not None:
        starts.append(max(0.0, _start(audio)))
    return min(starts)


def probe(path: str | Path, need_video: bool = True) -> MediaInfo:
    """What is in a media file; decodes its first picture.

    Args:
        path: any file FFmpeg can read.
        need_video: whether a file without pictures is an error.

    Raises:
        MediaError: where the file cannot be read, or has no pictures (no sound either, where `need_video` is false).
    """
    with open_media(path) as container:
        video, audio = best_streams(container)
        if video is None and (need_video or audio is None):
            raise _nothing_in(path, audio is not None)
        sound = {"has_audio": audio is not None, "audio_rate": 0, "audio_channels": 0}
        if audio is not None:
            sound |= {"audio_rate": audio.rate, "audio_channels": audio.channels}
        main = audio if video is None else video
        duration = max(0.0, _start(main) - clock_zero(video, audio)) + _track_seconds(path, main)
        if video is None:
            return MediaInfo(str(path), duration, 0, 0, 0.0, has_video=False, rotation=0, **sound)
        fps = _fps(video)
    frames = _decoded_frames(path)
    try:
        _, frame = next(frames)
    finally:
        frames.close()
    upright = _Upright(frame)
    height, width = upright(frame).shape[:2]
    return MediaInfo(
        str(path), max(duration, 1 / fps), width, height, fps, has_video=True, rotation=upright.rotation, **sound
    )


def iter_frames(path: str | Path) -> Iterator[tuple[float, np.ndarray]]:
    """Every frame in display order: its time (s, strictly rising) and its upright RGB picture (H, W, 3) uint8.

    Broken packets are left out. A picture whose size changes on the way is scaled to the size of the first.

    Raises:
        MediaError: where the file cannot be read or has no picture that can be decoded.
    """
    upright = None
    for time, frame in _decoded_frames(path):
        upright = upright or _Upright(frame)
        yield time, upright(frame)


def iter_frames_at(path: str | Path, times: Iterable[float]) -> Iterator[np.ndarray]:
    """The upright RGB picture (H, W, 3) uint8 on display at each of the rising `times` (s).

    That is the last frame that starts at or before the time; the first frame before the first, the last beyond the end. Decodes the
    file once, and turns only what is asked for into RGB.

    Raises:
        MediaError: where the file cannot be read or has no picture that can be decoded.
        ValueError: where a time is lower than the one before it.
    """
    frames = _decoded_frames(path)
    shown = next(frames)[1]
    upright = _Upright(shown)
    following = next(frames, None)
    previous = -math.inf
    for time in times:
        if time < previous:
            raise ValueError(f"times must rise, got {time} s after {previous} s; sort them")
        previous = time
        while following is not None and following[0] <= time + TIME_TOLERANCE:
            shown, following = following[1], next(frames, None)
        yield upright(shown)


class SoundReader:
    """The sound of a clip as mono samples, placed by its timestamps on the clip's clock.

    Reads the file once, forwards: the start of a read may lie up to 20 s before the highest start so far. Channels are averaged.
    Use it in a `with` statement, or call `close`.

    Args:
        path: a media file with sound.
        rate: samples per second wanted; FFmpeg's resampler makes them.

    Raises:
        MediaError: where the file cannot be read or has no sound.
    """

    def __init__(self, path: str | Path, rate: int = 16000):
        self.rate = rate
        self._container = open_media(path)
        video, audio = best_streams(self._container)
        if audio is None:
            self._container.close()
            raise MediaError(f"{path}: has no sound track; ask `probe(path).has_audio` first")
        self._chunks: deque[tuple[int, np.ndarray]] = deque()  # (index of first sample, samples), rising
        self._source = self._decoded_chunks(audio, clock_zero(video, audio))
        self._decoded_end: float = -math.inf
        self._dropped_end: float = -math.inf

    def __enter__(self) -> "SoundReader":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._source.close()
        self._container.close()

    def read(self, start: float, num_samples: int) -> np.ndarray:
        """`num_samples` float32 samples from `start` seconds on; zeros before, between and after what the track holds.

        Raises:
            ValueError: for a start further back than the sound that is kept.
        """
        first = round(start * self.rate)
        end = first + num_samples
        if first < self._dropped_end:
            raise ValueError(
                f"sound is read forwards: {start:.3f} s lies more than {SOUND_KEPT:g} s before an earlier read; "
                "open a new SoundReader"
            )
        while self._decoded_end < end:
            chunk = next(self._source, None)
            if chunk is None:
                self._decoded_end = math.inf
                break
            self._chunks.append(chunk)
            self._decoded_end = chunk[0] + len(chunk[1])
            self._drop_before(first)
        self._drop_before(first)
        samples = np.zeros(num_samples, dtype=np.float32)
        for position, chunk in self._chunks:
            low, high = max(position, first), min(position + len(chunk), end)
            if low < high:
                samples[low - first : high - first] = chunk[low - position : high - position]
        return samples

    def _drop_before(self, first: int) -> None:
        kept_from = first - round(SOUND_KEPT * self.rate)
        while self._chunks and self._chunks[0][0] + len(self._chunks[0][1]) <= kept_from:
            position, chunk = self._chunks.popleft()
            self._dropped_end = position + len(chunk)

    def _decoded_chunks(self, audio: "av.AudioStream", zero: float) -> Iterator[tuple[int, np.ndarray]]:
        """Resampled mono pieces and the index of their first sample, without overlap, rising."""
        resampler, layout = None, None
        expected = 0.0  # where (s) the next decoded frame should start
        position = 0  # index of the next resampled sample
        # None at the end empties the resampler, like a gap does.
        for frame in chain(decode_stream(self._container, audio), [None]):
            start = expected
            if frame is not None and frame.pts is not None:
                start = float(frame.pts * frame.time_base) - zero
            joins = frame is not None and abs(start - expected) <= SOUND_GAP
            if resampler is not None and not (joins and layout == _audio_layout(frame)):
                for samples in _mono(resampler.resample(None)):
                    yield position, samples
                    position += len(samples)
                resampler = None
            if frame is None:
                return
            if resampler is None:
                resampler, layout = av.AudioResampler(format="fltp", rate=self.rate), _audio_layout(frame)
                position, expected = max(position, round(start * self.rate)), start
            expected += frame.samples / frame.sample_rate
            # The resampler would fill or cut by timestamps of its own; the joins are made here.
            frame.pts = None
            for samples in _mono(resampler.resample(frame)):
                yield position, samples
                position += len(samples)


def read_clip(path: str | Path, fps: float = 1.0, sampling_rate: int = 16000) -> Clip:
    """A whole short clip in memory: `fps` frames per second where AVSBench takes them (15/16 into each step), and its sound.

    Raises:
        MediaError: where the file cannot be read or has no picture that can be decoded.
    """
    info = probe(path)
    timeline = Timeline(fps=fps, sampling_rate=sampling_rate)
    times = timeline.frame_times(timeline.num_frames(info.duration), info.duration)
    frames = np.stack(list(iter_frames_at(path, times)))
    waveform = None
    if info.has_audio:
        with SoundReader(path, sampling_rate) as sound:
            waveform = sound.read(0.0, round(info.duration * sampling_rate))
    return Clip(frames, times, waveform, sampling_rate)


def _start(stream: "av.stream.Stream") -> float:
    return float((stream.start_time or 0) * stream.time_base)


def _fps(video: "av.VideoStream") -> float:
    fps = float(video.average_rate or video.guessed_rate or 0)
    return fps if 0 < fps <= MAX_FPS else DEFAULT_FPS


def _track_seconds(path: str | Path, stream: "av.stream.Stream") -> float:
    """Length of a track: its own word, else (Matroska, FLV, raw streams) what its packets add up to.

    The container's length will not do: it is the longest track's, a subtitle's maybe.
    """
    if stream.duration:
        return float(stream.duration * stream.time_base)
    end = count = 0
    # FLV and others do not tell how long a frame lasts.
    frame = round(1 / _fps(stream) / stream.time_base) if stream.type == "video" else 0
    with open_media(path) as container:
        for packet in container.demux(container.streams[stream.index]):
            if packet.size:
                count += 1
                if packet.pts is not None:
                    end = max(end, packet.pts + (packet.duration or frame))
    if end:
        return float(end * stream.time_base) - _start(stream)
    return count / _fps(stream) if stream.type == "video" else 0.0


def decode_stream(container: "av.container.InputContainer", stream: "av.stream.Stream") -> Iterator["av.frame.Frame"]:
    """Every frame that can be decoded; broken packets are left out."""
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:  # decoders fail on garbage with many codes, "not permitted" among them
            continue
        yield from frames


def _decoded_frames(path: str | Path) -> Iterator[tuple[float, "av.VideoFrame"]]:
    """Time on the clip's clock and frame, in display order; at least one, or MediaError."""
    with open_media(path) as container:
        video, audio = best_streams(container)
        if video is None:
            raise _nothing_in(path, audio is not None)
        video.thread_type = "AUTO"
        zero, step = clock_zero(video, audio), 1 / _fps(video)
        last = None
        for frame in decode_stream(container, video):
            time = _start(video) - zero if last is None else last + step
            if frame.pts is not None:
                told = float(frame.pts * frame.time_base) - zero
                # Raw streams and broken files: no timestamps, or ones that run back. Then frames follow by frame rate.
                time = told if last is None or told > last else time
            yield time, frame
            last = time
        if last is None:
            raise MediaError(f"{path}: has a video stream, but not one picture in it can be decoded; copy it again")


class _Upright:
    """Turns decoded frames into upright RGB pictures (H, W, 3) uint8, all of the size of `first`.

    The display matrix holds for the whole track and is taken from the first frame only: asking a frame for its side data puts it
    in a reference cycle (PyAV 18), and a film's frames would pile up until Python collects cycles.
    """

    def __init__(self, first: "av.VideoFrame"):
        self._size = {"width": first.width, "height": first.height}
        matrix = first.side_data.get("DISPLAYMATRIX")
        # x' = ax + cy, y' = bx + dy brings the stored picture upright.
        a, b, c, d = (1, 0, 0, 1) if matrix is None else np.frombuffer(bytes(matrix), np.int32)[[0, 1, 3, 4]].tolist()
        self._swap = abs(b) > abs(a)
        self._flip_x, self._flip_y = (c < 0, b < 0) if self._swap else (a < 0, d < 0)
        # A mirrored picture counts as mirrored left to right first.
        turn = math.atan2(-b, -a) if a * d < b * c else math.atan2(b, a)
        self.rotation = round(math.degrees(turn) / 90) * 90 % 360

    def __call__(self, frame: "av.VideoFrame") -> np.ndarray:
        picture = frame.reformat(**self._size, format="rgb24").to_ndarray()
        if self._swap:
            picture = picture.transpose(1, 0, 2)
        return np.ascontiguousarray(picture[:: -1 if self._flip_y else 1, :: -1 if self._flip_x else 1])


def _audio_layout(frame: "av.AudioFrame") -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _mono(frames: "list[av.AudioFrame]") -> Iterator[np.ndarray]:
    """Averages channels, (C, S) each, as the feature extractor does (FFmpeg's own down-mix adds 3 dB)."""
    for frame in frames:
        yield frame.to_ndarray().mean(axis=0, dtype=np.float32)


def _nothing_in(path: str | Path, has_sound: bool) -> MediaError:
    if has_sound:
        return MediaError(f"{path}: has sound but no video stream; give a file with pictures")
    return MediaError(f"{path}: has no video stream and no sound; give a video file")
