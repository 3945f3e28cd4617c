"""Reads pictures and sound out of any container that FFmpeg (through PyAV) can read.

Every time is in seconds on one clock, the clip's, which `clock_ccformer` makes from the packets of the file: zero is
where the first of the two chosen tracks starts, so a picture track that starts half a second after the sound has its
first frame at 0.5; pieces joined end to end follow each other. Edit lists are obeyed (FFmpeg does). Everything but
`read_clip` needs the same memory for any length.

Pictures come out as they are to be seen: cropped as the container says, with square pixels, and upright. A picture of
more than 67 million pixels (8192 x 8192) is not decoded, wherever in the file it comes.

A file is foreign: FFmpeg opens this one file, by the file system and nothing else, and only where its kind holds all
of itself; a play list, whatever it is called, is refused. What can be used in spite of a fault is used, and a
`MediaWarning` names the file and the fault.
"""

import math
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from os import PathLike
from typing import NamedTuple

import numpy as np

from .clock_ccformer import PICTURES, Clock, ClockBroken
from .cropping_ccformer import UNCROPPED, Cropping, cropping
from .timing_ccformer import LOWEST_RATE, SAMPLING_RATE, FrameTiming

try:
    import av
    from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
except ImportError:  # a processor that is given arrays needs no PyAV
    av = None

FilePath = str | bytes | PathLike

# Kinds of files that hold all of themselves, as FFmpeg calls them. All others are refused: HLS, DASH, concat, SDP,
# IMF, VobSub, numbered pictures and more open other files or addresses that they name, whatever their own name is.
SELF_CONTAINED = (
    "mov,matroska,avi,flv,mpegts,mpeg,asf,ogg,mxf,nut,rm,dv,gxf,wtv,ivf,nsv,nuv,dhav,kux,"
    "gif,apng,mjpeg,mpjpeg,smjpeg,jpegxl_anim,yuv4mpegpipe,"
    "h261,h263,h264,hevc,vvc,av1,obu,m4v,mpegvideo,vc1,dirac,dnxhd,cavsvideo,"
    "wav,w64,aiff,caf,au,mp3,aac,loas,ac3,eac3,dts,dtshd,mlp,truehd,flac,tta,wv,ape,mpc,mpc8,tak,amr,voc,dsf"
)
# Kinds that hold a single picture as well as moving ones.
MAY_BE_STILL = frozenset({"gif", "apng", "jpegxl_anim", "mjpeg"})
STILL_BRANDS = frozenset({"avif", "heic", "heix", "mif1"})  # of the MP4 family
# More pixels than this in one picture are not decoded.
MAX_PIXELS = 1 << 26
# A pixel is at most this many times as wide as high, or as high as wide; what says otherwise is not believed.
MAX_PIXEL_ASPECT = 4.0
# Frame times are sums of floats: a frame that starts this much (s) after the asked time still counts as shown.
TIME_TOLERANCE = 1e-6
# Timestamps of sound jitter by some ms (Matroska rounds to 1 ms); beyond this (s) it is a gap or an overlap.
SOUND_GAP = 0.03
# Resampled sound is taken out in pieces of so many samples; each costs some tenths of a millisecond in Python.
SOUND_PIECE = 4096
# Sound that `SoundReader` keeps behind the start of the last read (s).
SOUND_KEPT = 20.0
# Pieces of sound that overlap do so by less than this (s): what goes back further follows what was before, see
# `clock_ccformer`.
LONGEST_OVERLAP = 1.0
# A sample beyond this is damaged: full scale is 1. Resampled, what is left stays below the 16 that the feature
# extractor takes.
LOUDEST = 8.0
SILENCED = "its sound holds samples that are not numbers or far too loud; they are taken as silence"
# `read_clip` takes no more than this.
MOST_CLIP_BYTES = 4 << 30
# In place of a number of frames per second.
ALL_FRAMES = "all"
# Numbers of H.273 for matrix, primaries and transfer curve: BT.709, not told, and BT.601's two.
BT709, BT601 = 1, 6
PLAIN_COLOURS = (BT709, 2, 5, BT601)
# Pictures that end this much (s) before the sound, or before the length that the file states, are worth a word.
EARLY = 1.0


class MediaError(ValueError):
    """A media file that cannot be used; one line that says which, why and what to do."""


class MediaWarning(UserWarning):
    """A part of a media file cannot be used: one line that says which and why, through Python's `warnings`."""


@dataclass(frozen=True)
class MediaInfo:
    """What is in a media file.

    Attributes:
        path: the file.
        duration: end of the pictures (of the sound, where there are none) on the clip's clock, in seconds.
        width: of the picture as it is to be seen, upright and with square pixels (720 x 576 of a ratio of 16:11 each
            are 1047 x 576); 0 without pictures. `height` likewise.
        fps: average frames per second; 0 without pictures.
        has_video: whether there is a picture track (cover art is none).
        has_audio: whether there is a sound track, one that can be decoded.
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


class Colours(NamedTuple):
    """What the numbers of a YUV picture of limited range mean: `matrix`, `primaries` and `transfer` curve, as H.273
    numbers them. A matrix that is not told (2) counts as BT.601, as in FFmpeg."""

    matrix: int = BT709
    primaries: int = BT709
    transfer: int = BT709


@dataclass(frozen=True)
class SampledFrames:
    """Which frames of a clip are analysed: when each was taken, and which stretch of the clip it stands for.

    Attributes:
        times: (s) at which the frames were taken, `(T,)`, rising; T is at least 1.
        starts: (s) from which on each stands for the clip, `(T,)`.
        end: (s) of the clip.
    """

    times: np.ndarray
    starts: np.ndarray
    end: float

    def __len__(self) -> int:
        return len(self.times)

    @property
    def ends(self) -> np.ndarray:
        """Until when (s) each frame stands for the clip, `(T,)`: the next one's start; of the last, the clip's end."""
        return np.append(self.starts[1:], self.end)


@dataclass(frozen=True)
class Clip:
    """A clip in memory: `frames` (T, H, W, 3) uint8 RGB, `timestamps` (T,) s, `waveform` (S,) float32 mono or None.

    `fps` are the frames per second.
    """

    frames: np.ndarray
    timestamps: np.ndarray
    waveform: np.ndarray | None
    sampling_rate: int
    fps: float


def open_media(path: FilePath) -> "av.container.InputContainer":
    """Opens a media file for reading: this file and no other, whatever stands in it.

    Raises:
        MediaError: where it is missing, a folder, empty, cut short, or nothing that FFmpeg can read by itself.
        ImportError: where PyAV is not installed.
    """
    if av is None:
        raise ImportError(
            "reading video and sound files needs PyAV: pip install av (or pass frames and waveform as arrays)"
        )
    file, name = os.fsdecode(path), shown_path(path)
    if not os.path.exists(file):
        raise MediaError(f"{name}: there is no such file; check the name")
    if os.path.isdir(file):
        raise MediaError(f"{name}: is a folder; name a video file in it")
    if not os.path.isfile(file):
        raise MediaError(f"{name}: is a device or a pipe; save it as a file first")
    size = os.path.getsize(file)
    if size == 0:
        raise MediaError(f"{name}: the file is empty (0 bytes); copy or download it again")
    try:
        container = av.open(
            f"file:{file}",  # so that a colon in the name is no address
            container_options={"protocol_whitelist": "file", "format_whitelist": SELF_CONTAINED},
            metadata_errors="replace",
        )
    except PermissionError:
        raise MediaError(f"{name}: may not be read; give yourself read permission on it") from None
    except (av.FFmpegError, OSError) as error:
        kind = _picture_kind(file)
        if kind is not None:
            raise _still(path, kind) from None
        raise MediaError(
            f"{name}: is not a video or sound file that FFmpeg can read by itself, "
            f"or it is cut short ({error.strerror}); give a media file (no play list), or copy it again"
        ) from None
    for stream in container.streams.audio:
        _plain_layout(stream)
    # MP4 with its index at the front opens though the end of the file is missing.
    if container.format.name.startswith("mov"):
        for stream in container.streams:
            entries = stream.index_entries
            if len(entries) and entries[-1].pos + entries[-1].size > size:
                container.close()
                raise MediaError(
                    f"{name}: is cut short (its index points beyond the {size} bytes there are); copy it again"
                )
    return container


def shown_path(path: FilePath) -> str:
    """A file's name in one printable line, whatever bytes it holds; those that are not UTF-8 as `\\xe9`."""
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


def best_streams(
    container: "av.container.InputContainer",
) -> "tuple[av.VideoStream | None, av.AudioStream | None]":
    """The picture and the sound track to use; None where there is none that can be decoded.

    Pictures: no cover art or thumbnail, then the one marked as default, then the largest, then the first. Sound: the
    one marked as default, then most channels, then highest rate, then the first. (FFmpeg's `streams.best` goes by bit
    rate and takes cover art too.)
    """
    no_video = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    default = av.stream.Disposition.default
    videos = [s for s in container.streams.video if s.codec_context is not None and not s.disposition & no_video]
    audios = [s for s in container.streams.audio if s.codec_context is not None and s.rate]
    video = max(videos, key=lambda s: (bool(s.disposition & default), s.width * s.height), default=None)
    audio = max(audios, key=lambda s: (bool(s.disposition & default), s.channels, s.rate), default=None)
    return video, audio


def clock_of(path: FilePath) -> Clock:
    """The clock of a file, made from all of its packets (the last few files' are remembered).

    Raises:
        MediaError: where the file cannot be read, has neither pictures nor sound, is a still picture, or its
        timestamps are noise.
    """
    file = os.fsdecode(path)
    try:
        status = os.stat(file)
    except OSError:
        open_media(path)  # says what is wrong
        raise
    return _clock_of(file, (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=16)
def _clock_of(file: str, version: tuple[int, int, int]) -> Clock:
    with open_media(file) as container:
        streams = [stream for stream in best_streams(container) if stream is not None]
        if not streams:
            raise _nothing_in(file, has_sound=False)
        try:
            clock = Clock(streams, packets_of(container, *streams))
        except ClockBroken as error:
            raise MediaError(
                f"{shown_path(file)}: {error}; convert it to another format with a video editor"
            ) from None
        brand = container.metadata.get("major_brand", "").strip()
        if (
            clock.pictures == 1
            and len(streams) == 1
            and (container.format.name in MAY_BE_STILL or brand in STILL_BRANDS)
        ):
            raise _still(file, brand or container.format.name)
    return clock


def probe(path: FilePath, need_video: bool = True) -> MediaInfo:
    """What is in a media file: reads all packets, decodes its first picture and its first sound.

    What is wrong with it, and can be lived with, comes as a `MediaWarning`: a clock that jumps, pictures that end
    early, sound that cannot be decoded (then `has_audio` is false).

    Args:
        path: any file FFmpeg can read.
        need_video: whether a file without pictures is an error.

    Raises:
        MediaError: where the file cannot be read, or has no pictures (no sound either, where `need_video` is false).
    """
    clock = clock_of(path)
    with open_media(path) as container:
        video, audio = best_streams(container)
        if video is None and need_video:
            raise _nothing_in(path, has_sound=True)
        sound = {"has_audio": False, "audio_rate": 0, "audio_channels": 0}
        if audio is not None and next(decode_stream(container, audio, clock), None) is not None:
            sound = {"has_audio": True, "audio_rate": audio.rate, "audio_channels": audio.channels}
        if container.streams.audio and not sound["has_audio"]:
            if video is None:
                raise MediaError(f"{shown_path(path)}: its sound cannot be decoded; copy it again")
            _warn(path, "its sound cannot be decoded and is left out")
        if video is None:
            return MediaInfo(os.fsdecode(path), clock.duration, 0, 0, 0.0, has_video=False, rotation=0, **sound)
        stated = video.duration and video.duration * video.time_base
        if stated is None and len(container.streams) == 1 + (audio is not None):
            stated = container.duration and container.duration / av.time_base
    _warn_of_faults(path, clock, float(stated or 0))
    frames = _decoded_frames(path)
    try:
        _, _, upright = next(frames)
    finally:
        frames.close()
    return MediaInfo(
        os.fsdecode(path),
        clock.duration,
        upright.width,
        upright.height,
        clock.fps,
        has_video=True,
        rotation=upright.rotation,
        **sound,
    )


def frame_starts(path: FilePath) -> np.ndarray:
    """When each frame of a file starts (s), `(n,)`, rising; n is at least 1. Decodes none.

    Raises:
        MediaError: where the file cannot be read or has no pictures.
    """
    clock = clock_of(path)
    with open_media(path) as container:
        video, audio = best_streams(container)
        if video is None:
            raise _nothing_in(path, audio is not None)
        packets = clock.on_clock(packets_of(container, video), PICTURES)
        shown = (packet for packet in packets if packet.size and packet.pts is not None and not packet.is_discard)
        starts = [float(packet.pts * packet.time_base) for packet in shown]
    if not starts:
        return np.arange(clock.pictures) / clock.fps
    starts = np.unique(starts)
    return starts[starts >= 0] if starts[-1] >= 0 else starts[-1:]


def samples_every_frame(info: MediaInfo, fps: float | str) -> bool:
    """Whether `fps` frames per second are every frame of a video: `"all"`, or more than it has.

    A video of less than one frame per second is sampled once a second all the same: the sound changes while the
    picture stands.
    """
    return fps == ALL_FRAMES or fps > max(info.fps, 1.0)


def rate_of_samples(info: MediaInfo, fps: float | str) -> float:
    """How many of a video's frames are analysed per second, see `sampled_frames`."""
    return info.fps if samples_every_frame(info, fps) else fps


def sampled_frames(info: MediaInfo, fps: float | str) -> SampledFrames:
    """Which frames of a video are analysed.

    Args:
        info: of the video.
        fps: how many per second, each 15/16 into its step of 1/fps; `"all"`, or more than the video has: each frame at
            its own time.
    """
    if samples_every_frame(info, fps):
        starts = frame_starts(info.path)
        return SampledFrames(starts, starts, info.duration)
    timing = FrameTiming(fps=fps)
    times = timing.frame_times(timing.num_frames(info.duration), info.duration)
    return SampledFrames(times, np.arange(len(times)) / fps, info.duration)


def iter_frames(path: FilePath) -> Iterator[tuple[float, np.ndarray]]:
    """Every frame in display order: its time (s, strictly rising) and its upright RGB picture (H, W, 3) uint8.

    Broken packets are left out, and pictures that come too late (their time is not after the one before). A picture
    whose size or shape changes on the way is fitted into the size of the first, with black bars.

    Raises:
        MediaError: where the file cannot be read or has no picture that can be decoded.
    """
    for time, frame, upright in _decoded_frames(path):
        yield time, upright(frame)


def iter_yuv_frames(path: FilePath) -> tuple[Colours, Iterator[tuple[float, np.ndarray]]]:
    """The frames of `iter_frames` as an encoder wants them: their colours, and each one's time and `yuv_planes`.

    A file whose pictures are 8-bit YUV 4:2:0 of an even size, as nearly all are, gives what its decoder gives, without
    any conversion. Others are converted once: to limited range, in their own colours where these are those of BT.709
    or BT.601, else in those of BT.709. An odd width or height is rounded up by repeating the last column or row.

    Raises:
        MediaError: as in `iter_frames`.
    """
    frames = _decoded_frames(path)
    first = next(frames)
    colours = _colours_of(first[1].frame)
    return colours, ((time, upright.yuv(picture, colours)) for time, picture, upright in chain([first], frames))


def yuv_planes(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Views of the planes of a YUV 4:2:0 picture: Y `(H, W)`, U and V `(H / 2, W / 2)`.

    Args:
        packed: `(3 H / 2, W)` uint8, one plane after the other in memory; H and W are even.
    """
    height, width = len(packed) * 2 // 3, packed.shape[1]
    u, v = packed[height:].reshape(2, height // 2, width // 2)
    return packed[:height], u, v


def rgb_to_yuv(rgb: np.ndarray, colours: Colours) -> np.ndarray:
    """A picture `(H, W, 3)` uint8 as `yuv_planes` takes it, H and W rounded up to even numbers by repeating the last
    row or column."""
    rgb = np.pad(rgb, ((0, len(rgb) % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
    return _yuv_of(av.VideoFrame.from_ndarray(rgb, format="rgb24"), rgb.shape[1], len(rgb), colours)


def iter_frames_at(path: FilePath, times: Iterable[float]) -> Iterator[np.ndarray]:
    """The upright RGB picture (H, W, 3) uint8 on display at each of the rising `times` (s).

    That is the last frame that starts at or before the time; the first frame before the first, the last beyond the
    end. Decodes the file once, and turns only what is asked for into RGB.

    Raises:
        MediaError: where the file cannot be read or has no picture that can be decoded.
        ValueError: where a time is lower than the one before it.
    """
    frames = _decoded_frames(path)
    _, shown, upright = next(frames)
    following = next(frames, None)
    previous = -math.inf
    for time in times:
        if time < previous:
            raise ValueError(f"times must rise, got {time} s after {previous} s; sort them")
        previous = time
        while following is not None and following[0] <= time + TIME_TOLERANCE:
            shown, following = following[1], next(frames, None)
        yield upright(shown)


def iter_watched_frames(
    path: FilePath, times: Iterable[float], longest: int, every: bool
) -> Iterator[tuple[float, np.ndarray, int, np.ndarray | None]]:
    """The frames of a video, small, and those on display at `times` at their full size too. Decodes the file once.

    Args:
        path: the video.
        times: (s), rising, see `iter_frames_at`.
        longest: pixels of the longer side of a small picture; a picture that has no more is left as it is.
        every: whether all frames come, or only those on display at one of `times`.

    Returns:
        An iterator over the frames in display order: time (s), small picture (h, w, 3) uint8, upright RGB, how many of
        `times` it is on display at, and the upright RGB picture (H, W, 3) uint8; None where that are none.

    Raises:
        MediaError: where the file cannot be read or has no picture that can be decoded.
    """
    asked = deque(times)
    frames = _decoded_frames(path)
    shown, small = next(frames), None
    while shown is not None:
        (time, picture, upright), shown = shown, next(frames, None)
        small = small or upright.at_most(longest)
        count = 0
        while asked and (shown is None or asked[0] < shown[0] - TIME_TOLERANCE):
            asked.popleft()
            count += 1
        if every or count:
            yield time, small(picture), count, upright(picture) if count else None


class SoundReader:
    """The sound of a clip as mono samples, placed by its timestamps on the clip's clock, within 30 ms.

    Where the timestamps leave a hole there is silence; where pieces of sound overlap, their average is heard. Samples
    that are not numbers are silent, and a `MediaWarning` says so. Reads the file once, forwards: the start
    of a read may lie up to 20 s before the highest start so far. Channels are averaged. Use it in a `with` statement,
    or call `close`.

    Args:
        path: a media file with sound.
        rate: samples per second wanted; FFmpeg's resampler makes them.

    Raises:
        MediaError: where the file cannot be read or has no sound.
    """

    def __init__(self, path: FilePath, rate: int = SAMPLING_RATE):
        self.path, self.rate = path, rate
        clock = clock_of(path)
        self._container = open_media(path)
        _, audio = best_streams(self._container)
        if audio is None:
            self._container.close()
            raise MediaError(f"{shown_path(path)}: has no sound track; ask `probe(path).has_audio` first")
        self._chunks: deque[tuple[int, np.ndarray]] = deque()  # (index of first sample, samples), rising
        self._held = 0  # samples in them
        self._source = self._decoded_chunks(audio, clock)
        self._decoded_end: float = -math.inf
        self._dropped_end: float = -math.inf
        self._highest: float = -math.inf  # first sample of the read furthest on

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
        # Sound that piles up at one time is dropped too, see `_drop_before`: only a read that goes back is an error.
        if first < self._dropped_end and first < self._highest - round(SOUND_KEPT * self.rate):
            raise ValueError(
                f"sound is read forwards: {start:.3f} s lies more than {SOUND_KEPT:g} s before an earlier read; "
                "open a new SoundReader"
            )
        self._highest = max(self._highest, first)
        while self._decoded_end < end + round(LONGEST_OVERLAP * self.rate):
            chunk = next(self._source, None)
            if chunk is None:
                self._decoded_end = math.inf
                break
            self._chunks.append(chunk)
            self._held += len(chunk[1])
            self._decoded_end = max(self._decoded_end, chunk[0] + len(chunk[1]))
            self._drop_before(first, num_samples)
        self._drop_before(first, num_samples)
        samples = np.zeros(num_samples, dtype=np.float32)
        layers = np.zeros(num_samples, dtype=np.uint16)
        for position, chunk in self._chunks:
            low, high = max(position, first, 0), min(position + len(chunk), end)
            if low < high:
                samples[low - first : high - first] += chunk[low - position : high - position]
                layers[low - first : high - first] += 1
        return samples / np.maximum(layers, 1)

    def _drop_before(self, first: int, num_samples: int) -> None:
        kept = round(SOUND_KEPT * self.rate)
        # Sound that all lies at one and the same time does not pile up either.
        most = 3 * kept + num_samples
        while self._chunks and (self._chunks[0][0] + len(self._chunks[0][1]) <= first - kept or self._held > most):
            position, chunk = self._chunks.popleft()
            self._held -= len(chunk)
            self._dropped_end = max(self._dropped_end, position + len(chunk))

    def _decoded_chunks(self, audio: "av.AudioStream", clock: Clock) -> Iterator[tuple[int, np.ndarray]]:
        """Resampled mono pieces and the index of their first sample, rising but for overlaps."""
        resampler, layout = None, None
        ticks, per_second = audio.time_base.numerator, audio.time_base.denominator
        expected = 0.0  # where (s) the next decoded frame should start
        position = 0  # index of the next resampled sample
        # None at the end empties the resampler, like a gap or an overlap does.
        for frame in chain(decode_stream(self._container, audio, clock), [None]):
            start = expected
            if frame is not None and frame.pts is not None:
                start = frame.pts * ticks / per_second
            joins = frame is not None and abs(start - expected) <= SOUND_GAP
            if resampler is not None and not (joins and layout == _audio_layout(frame)):
                for samples in self._mono(resampler.resample(None)):
                    yield position, samples
                    position += len(samples)
                resampler = None
            if frame is None:
                return
            if resampler is None:
                # Packed samples: PyAV cannot give out the planes of 8 channels and more.
                resampler = av.AudioResampler(format="flt", rate=self.rate, frame_size=SOUND_PIECE)
                layout = _audio_layout(frame)
                position, expected = round(start * self.rate), start
            expected += frame.samples / frame.sample_rate
            # The resampler would fill or cut by timestamps of its own; the joins are made here.
            frame.pts = None
            for samples in self._mono(resampler.resample(frame)):
                yield position, samples
                position += len(samples)

    def _mono(self, frames: "list[av.AudioFrame]") -> Iterator[np.ndarray]:
        """Averages channels, as the feature extractor does (FFmpeg's own down-mix adds 3 dB)."""
        for frame in frames:
            samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)  # (S, C)
            sound = np.abs(samples) <= LOUDEST
            if not sound.all():
                _warn(self.path, SILENCED)
                samples = np.where(sound, samples, 0)
            yield samples.mean(axis=1, dtype=np.float32)


def iter_sounds(path: FilePath, starts: Iterable[float], num_samples: int, rate: int) -> Iterator[np.ndarray]:
    """The sound from each of the rising `starts` (s) on: `(num_samples,)` float32 at `rate`, see `SoundReader`."""
    with SoundReader(path, rate) as sound:
        for start in starts:
            yield sound.read(start, num_samples)


def read_clip(path: FilePath, fps: float | str = 1.0, sampling_rate: int = SAMPLING_RATE) -> Clip:
    """A whole short clip in memory: its `sampled_frames` at this `fps`, and its sound.

    Raises:
        MediaError: where the file cannot be read, has no picture that can be decoded, or would take more than 4 GiB of
        memory.
    """
    info = probe(path)
    times = sampled_frames(info, fps).times
    num_samples = round(info.duration * sampling_rate)
    if 3 * len(times) * info.width * info.height + 4 * num_samples > MOST_CLIP_BYTES:
        raise MediaError(
            f"{shown_path(path)}: its {len(times)} frames of {info.width} x {info.height} pixels "
            "do not fit into memory (more than 4 GiB); sample fewer frames per second, cut it, "
            "or use `segment_video`, which needs the same memory for any length"
        )
    frames = np.stack(list(iter_frames_at(path, times)))
    waveform = None
    if info.has_audio:
        with SoundReader(path, sampling_rate) as sound:
            waveform = sound.read(0.0, num_samples)
    return Clip(frames, times, waveform, sampling_rate, rate_of_samples(info, fps))


def read_sound(path: FilePath) -> tuple[np.ndarray, int]:
    """The sound of a file, with pictures or without: mono float32 `(samples,)` at its own rate, and that rate.

    Raises:
        MediaError: where the file cannot be read, has no sound, states a rate below 1000, or would take more than 4
            GiB of memory.
    """
    info = probe(path, need_video=False)
    check_sound_rate(path, info.audio_rate)
    num_samples = round(info.duration * info.audio_rate)
    if 4 * num_samples > MOST_CLIP_BYTES:
        raise MediaError(
            f"{shown_path(path)}: its {info.duration:.0f} s of sound do not fit into memory (more than 4 GiB); cut it"
        )
    with SoundReader(path, info.audio_rate) as sound:
        return sound.read(0.0, num_samples), info.audio_rate


def check_sound_rate(path: FilePath, rate: int) -> None:
    """Raises MediaError for a rate that is none: sound of it would be resampled to thousands of times its length."""
    if rate < LOWEST_RATE:
        raise MediaError(
            f"{shown_path(path)}: states {rate} samples per second, expected at least {LOWEST_RATE}; copy or download "
            "it again"
        )


def decode_stream(
    container: "av.container.InputContainer", stream: "av.stream.Stream", clock: Clock
) -> Iterator["av.frame.Frame"]:
    """Every frame that can be decoded, its `pts` in ticks on the clip's clock; broken packets are left out.

    Args:
        container: opened, nothing read from it yet.
        stream: of it.
        clock: of the file.
    """
    for packet in chain(clock.on_clock(packets_of(container, stream), stream.type), [None]):
        if packet is not None and not packet.size:
            continue  # to a decoder it would mean the end
        try:
            frames = stream.decode(packet)
        except MemoryError:
            raise _no_memory(container) from None
        except av.FFmpegError:  # decoders fail on garbage with many codes, "not permitted" among them
            continue
        yield from frames


def packets_of(container: "av.container.InputContainer", *streams: "av.stream.Stream") -> Iterator["av.Packet"]:
    """All packets of some streams, as far as the file can be read; an empty one means that a picture goes on."""
    try:
        for packet in container.demux(*streams):
            # At the end PyAV adds empty ones of its own.
            if packet.size or packet.pts is not None:
                yield packet
    except MemoryError:
        raise _no_memory(container) from None
    except av.FFmpegError as error:
        _warn(
            container.name.removeprefix("file:"),
            f"is damaged, what comes after the damage is left out ({error.strerror})",
        )


def _no_memory(container: "av.container.InputContainer") -> MediaError:
    """The error where FFmpeg gets no memory: for what a damaged file claims to hold, most of the time."""
    return MediaError(
        f"{shown_path(container.name.removeprefix('file:'))}: reading it needs more memory than there is; it is "
        "damaged, or too large: copy it again, or convert it with another program"
    )


@dataclass(frozen=True)
class _Picture:
    """A decoded frame, how many times as wide as high its pixels are, and what its container takes off its edges."""

    frame: "av.VideoFrame"
    aspect: float
    crop: Cropping

    @property
    def size(self) -> tuple[int, int]:
        """Width and height that are to be seen, in stored pixels."""
        left, top, right, bottom = self.crop
        return self.frame.width - left - right, self.frame.height - top - bottom

    def at_size(self, width: int, height: int, to_rgb: "VideoReformatter", way: "Interpolation") -> np.ndarray:
        """(height, width, 3) RGB, by a reformatter that is kept for the next picture: preparing one takes a while."""
        if self.crop == UNCROPPED:
            return to_rgb.reformat(self.frame, width, height, "rgb24", interpolation=way).to_ndarray()
        left, top, _, _ = self.crop
        inner_width, inner_height = self.size
        pixels = to_rgb.reformat(self.frame, format="rgb24").to_ndarray()
        pixels = pixels[top : top + inner_height, left : left + inner_width]
        inner = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        return inner.reformat(width, height, interpolation=way).to_ndarray()


def _decoded_frames(path: FilePath) -> Iterator[tuple[float, _Picture, "_Upright"]]:
    """Time on the clip's clock, picture, and what turns it upright, in display order; at least one, or MediaError."""
    clock = clock_of(path)
    with open_media(path) as container:
        video, audio = best_streams(container)
        if video is None:
            raise _nothing_in(path, audio is not None)
        if video.width * video.height > MAX_PIXELS:
            raise MediaError(
                f"{shown_path(path)}: its pictures have {video.width} x {video.height} pixels, "
                f"at most {MAX_PIXELS} in all can be decoded; save it smaller"
            )
        video.thread_type = "AUTO"
        video.options = {"max_pixels": str(MAX_PIXELS)}
        told_aspect = _aspect(video.sample_aspect_ratio)
        stored = video.width, video.height
        crop = cropping(os.fsdecode(path), video.id, container.streams.video.index(video), *stored)
        upright, last, step = None, None, 1 / clock.fps
        for frame in decode_stream(container, video, clock):
            coded_aspect = _aspect(video.codec_context.sample_aspect_ratio)
            if upright is None:
                # A container that disagrees with its codec is right, for the whole track.
                container_decides = told_aspect is not None and told_aspect != coded_aspect
            aspect = (told_aspect if container_decides else coded_aspect) or 1.0
            picture = _Picture(frame, aspect, crop if (frame.width, frame.height) == stored else UNCROPPED)
            time = 0.0 if last is None else last + step
            if frame.pts is not None:
                time = max(0.0, float(frame.pts * video.time_base))
            if last is not None and time <= last:
                continue
            upright = upright or _Upright(picture)
            last = time
            yield time, picture, upright
        if last is None:
            raise MediaError(
                f"{shown_path(path)}: has a video stream, but not one picture in it can be decoded; copy it again"
            )
        if clock.last_picture - last > EARLY:
            _warn(path, f"its pictures after {last:.2f} s cannot be decoded; the last one before stands for them")


def _aspect(ratio: "Fraction | None") -> float | None:
    """A sample aspect ratio that can be believed, or None."""
    value = float(ratio) if ratio else 0.0
    return value if 1 / MAX_PIXEL_ASPECT <= value <= MAX_PIXEL_ASPECT else None


class _Upright:
    """Turns decoded pictures into upright RGB pictures (H, W, 3) uint8 with square pixels, all of the size of `first`.

    The display matrix holds for the whole track and is taken from the first frame only: asking a frame for its side
    data puts it in a reference cycle (PyAV 18), and a film's frames would pile up until Python collects cycles.
    """

    def __init__(self, first: _Picture):
        width, height = first.size
        wide = max(1, round(width * first.aspect))
        # Where the wider picture would be too large, it becomes a lower one.
        self._size = (wide, height) if wide * height <= MAX_PIXELS else (width, max(1, round(height / first.aspect)))
        matrix = first.frame.side_data.get("DISPLAYMATRIX")
        # x' = ax + cy, y' = bx + dy brings the stored picture upright.
        a, b, c, d = (1, 0, 0, 1) if matrix is None else np.frombuffer(bytes(matrix), np.int32)[[0, 1, 3, 4]].tolist()
        self._swap = abs(b) > abs(a)
        self._flip_x, self._flip_y = (c < 0, b < 0) if self._swap else (a < 0, d < 0)
        # A mirrored picture counts as mirrored left to right first.
        turn = math.atan2(-b, -a) if a * d < b * c else math.atan2(b, a)
        self.rotation = round(math.degrees(turn) / 90) * 90 % 360
        self._to_rgb, self._way = VideoReformatter(), Interpolation.BILINEAR
        self.width, self.height = self._size[:: -1 if self._swap else 1]

    def __call__(self, picture: _Picture) -> np.ndarray:
        return np.ascontiguousarray(self._turned(self._square(picture)))

    def at_most(self, longest: int) -> "_Upright":
        """The same at a smaller size, with at most `longest` pixels on its longer side."""
        scale = min(1.0, longest / max(self._size))
        smaller = copy(self)
        smaller._to_rgb, smaller._way = VideoReformatter(), Interpolation.AREA
        smaller._size = tuple(max(1, round(side * scale)) for side in self._size)
        smaller.width, smaller.height = smaller._size[:: -1 if self._swap else 1]
        return smaller

    def yuv(self, picture: _Picture, colours: Colours) -> np.ndarray:
        """The upright picture as `yuv_planes` takes it."""
        width, height = self._size
        if picture.crop != UNCROPPED or width % 2 or height % 2 or not self._fits(picture):
            return rgb_to_yuv(self(picture), colours)
        packed = _yuv_of(picture.frame, width, height, colours)
        if not (self._swap or self._flip_x or self._flip_y):
            return packed
        turned = [self._turned(plane).reshape(-1) for plane in yuv_planes(packed)]
        return np.concatenate(turned).reshape(3 * self.height // 2, self.width)

    def _turned(self, pixels: np.ndarray) -> np.ndarray:
        if self._swap:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self._flip_y else 1, :: -1 if self._flip_x else 1]

    def _fits(self, picture: _Picture) -> bool:
        """Whether the picture has the first one's shape; half a pixel of rounding is no other shape."""
        width, height = self._size
        shape = picture.size[0] * picture.aspect / picture.size[1]
        return abs(shape * height - width) <= 1 or abs(width / shape - height) <= 1

    def _square(self, picture: _Picture) -> np.ndarray:
        """(h, w, 3) as stored, but with square pixels and of the first one's size."""
        width, height = self._size
        if self._fits(picture):
            return picture.at_size(width, height, self._to_rgb, self._way)
        shape = picture.size[0] * picture.aspect / picture.size[1]
        inner_width = min(width, max(1, round(height * shape)))
        inner_height = min(height, max(1, round(width / shape)))
        left, top = (width - inner_width) // 2, (height - inner_height) // 2
        pixels = np.zeros((height, width, 3), dtype=np.uint8)
        inner = picture.at_size(inner_width, inner_height, self._to_rgb, self._way)
        pixels[top : top + inner_height, left : left + inner_width] = inner
        return pixels


def _colours_of(frame: "av.VideoFrame") -> Colours:
    """In which colours the frames of a video are encoded whose first one this is."""
    if frame.format.is_rgb or frame.colorspace not in PLAIN_COLOURS:
        return Colours()
    told = int(frame.color_primaries), int(frame.color_trc)
    return Colours(int(frame.colorspace), *(number if number in PLAIN_COLOURS else 2 for number in told))


def _yuv_of(frame: "av.VideoFrame", width: int, height: int, colours: Colours) -> np.ndarray:
    """A frame at an even size, as `yuv_planes` takes it; untouched where it is that already."""
    same = (
        frame.format.name == "yuv420p" and frame.color_range != ColorRange.JPEG and frame.colorspace == colours.matrix
    )
    if not same or (frame.width, frame.height) != (width, height):
        matrix = Colorspace.ITU709 if colours.matrix == BT709 else Colorspace.ITU601
        frame = frame.reformat(width, height, format="yuv420p", dst_colorspace=matrix, dst_color_range=ColorRange.MPEG)
    return frame.to_ndarray()


def _audio_layout(frame: "av.AudioFrame") -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _plain_layout(audio: "av.AudioStream") -> None:
    """Makes a channel order that has no name (in MOV, from 7 channels on) a mere number of channels.

    PyAV 18.0 and 18.1 copy such a layout without the memory it points to, and free it with every copy. Here the
    decoder is given another one while the copy is alive, which leaves the copy the only owner. Channels are averaged:
    their order does not matter.
    """
    if audio.codec_context is not None:
        layout = audio.codec_context.layout
        if "channels" in layout.name and layout.nb_channels:
            audio.codec_context.layout = f"{layout.nb_channels} channels"


def _warn_of_faults(path: FilePath, clock: Clock, stated: float) -> None:
    end = max(clock.duration, clock.sound_end)
    if clock.jumps:
        _warn(
            path, f"its clock jumps {clock.jumps} times; what comes after a jump follows what was before without a gap"
        )
    elif stated > end + EARLY:
        _warn(path, f"says that it lasts {stated:.1f} s, but holds {end:.1f} s; only what is there is used")
    if clock.sound_end > clock.duration + EARLY:
        _warn(
            path,
            f"its pictures end at {clock.duration:.1f} s, its sound at {clock.sound_end:.1f} s; "
            "the rest of it is not used",
        )


def _warn(path: FilePath, fault: str) -> None:
    warnings.warn(f"{shown_path(path)}: {fault}", MediaWarning, stacklevel=3)


def _picture_kind(file: str) -> str | None:
    """What kind of still picture a file is; None where it is none. Reads no more than its header."""
    try:
        from PIL import Image  # for this message only

        with Image.open(file) as image:
            return image.format
    except Exception:  # damaged pictures raise nearly anything
        return None


def _still(path: FilePath, kind: str) -> MediaError:
    return MediaError(
        f"{shown_path(path)}: is a still picture ({kind}), not a video; "
        "give a video, or frames as a list of pictures to the processor"
    )


def _nothing_in(path: FilePath, has_sound: bool) -> MediaError:
    if has_sound:
        return MediaError(f"{shown_path(path)}: has sound but no video stream; give a file with pictures")
    return MediaError(f"{shown_path(path)}: has no video stream and no sound; give a video file")
