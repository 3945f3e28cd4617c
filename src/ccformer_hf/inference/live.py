"""Segments what sounds in pictures and sound that are still coming in: a camera, an address, a pipe (ours).

A thread decodes whatever arrives and keeps the newest of it; the model takes the newest picture whenever it is free.
So it never falls behind: where it is too slow, pictures are left out.
"""

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np

from ..model.inference_settings_ccformer import InferenceSettings
from ..model.media_ccformer import LOUDEST, MAX_PIXELS, MediaError, best_streams, shown_path
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.sliding_window_ccformer import (
    FrameInputs,
    FrameSegmentation,
    class_probabilities,
    classes_at_size,
    unseen_sound,
    video_inputs,
    window_of,
)
from ..model.timing_ccformer import FRAME_OFFSET, FrameTiming
from .named_videos import STANDARD_INPUT

CAMERA = "/dev/"  # what a name of a camera begins with; Linux
# An address may lead to others over the net, never to a file of this machine.
PROTOCOLS = "http,https,httpproxy,tls,tcp,udp,rtp,rtsp,rtsps,rtmp,rtmps,srt,crypto"
OPENING, READING = 20.0, 10.0  # seconds that a source may be silent
SOUND_KEPT = 5.0  # seconds
SOUND_LATE = 0.3  # seconds that a picture waits for the sound around it
JUMP = 10.0  # seconds; a clock that goes on by more, or back, is set anew
OPTIONS = {"analyzeduration": "1000000", "rtsp_transport": "tcp"}
CLOSING = 1.0  # seconds that a thread which waits for its source is waited for


@dataclass(frozen=True)
class LivePicture:
    """A picture as it came in.

    Attributes:
        time: (s) in the stream.
        arrived: (s) by `time.monotonic`.
        frame: as decoded.
        aspect: how many times as wide as high its pixels are.
    """

    time: float
    arrived: float
    frame: "av.VideoFrame"
    aspect: float

    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8 with square pixels."""
        width = max(1, round(self.frame.width * self.aspect))
        return self.frame.reformat(width, self.frame.height, format="rgb24").to_ndarray()


@dataclass(frozen=True)
class LiveSegmentation:
    """What sounds in a picture of a stream.

    Attributes:
        segmentation: its times count from the first picture; `end` is unknown and equals `start`.
        picture: uint8 `(H, W, 3)`.
        delay: (s) from the picture's arrival until now.
    """

    segmentation: FrameSegmentation
    picture: np.ndarray
    delay: float


def segment_live(
    source: str,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float = 4.0,
    threshold: float = 0.5,
    window: int = 10,
) -> Iterator[LiveSegmentation]:
    """Yields what sounds where in the newest picture of a stream, again and again, until it ends.

    The model sees the picture and those before it that it saw, with the sound before each; nothing after it.

    Args:
        source: an address (`rtsp://`, `http://`, ...), a camera (`/dev/video0`), or `"-"` for standard input, in any
            format that FFmpeg reads from a pipe (Matroska, MPEG-TS, ...).
        model, processor: see `load`.
        fps: pictures per second at most.
        threshold, window: see `InferenceSettings`.

    Raises:
        MediaError: where the source cannot be read, falls silent, or has no pictures.
        ValueError: for numbers that cannot be used, or a source of another kind.
    """
    settings = InferenceSettings(float(fps), threshold, window, overlap=0)
    # Later sound is not there yet, and with sooner sound alone, what begins would be marked later.
    processor = processor.without_shifts()
    timing = FrameTiming(sampling_rate=processor.feature_extractor.sampling_rate)
    held: deque[FrameInputs] = deque(maxlen=settings.window)
    due, number = -math.inf, 0
    with LiveReader(source, timing.sampling_rate) as stream:
        while (picture := stream.newest(due)) is not None:
            rgb = picture.rgb()
            sound = stream.sound(picture.time - FRAME_OFFSET, timing.example_samples) if stream.has_audio else None
            held.extend(video_inputs([rgb], [sound], processor))
            inputs = window_of(held)
            newest = class_probabilities(model, inputs)[0, -1]  # (K, h, w)
            class_map, scores = classes_at_size(newest, processor, rgb.shape[:2], settings.threshold)
            has_audio = bool(inputs["audio_mask"][0, -1])
            times = (picture.time,) * 3
            unseen = unseen_sound(newest, has_audio, processor)
            segmentation = FrameSegmentation(number, *times, class_map, scores, has_audio, unseen)
            yield LiveSegmentation(segmentation, rgb, time.monotonic() - picture.arrived)
            due, number = picture.time + 1 / settings.fps, number + 1
    if number == 0:
        raise MediaError(f"{shown_source(source)}: ended before there was a picture; check that it plays")


class LiveReader:
    """Decodes a stream in a thread, and keeps its newest picture and the last seconds of its sound.

    Args:
        source: see `segment_live`.
        rate: samples of sound per second.

    Raises:
        MediaError, ValueError: see `segment_live`.
    """

    def __init__(self, source: str, rate: int):
        self._name, self._rate = shown_source(source), rate
        self._container = _open(source, self._name)
        self._video, self._audio = best_streams(self._container)
        if self._video is None:
            self._container.close()
            raise MediaError(f"{self._name}: has no pictures; name a source with a video stream")
        self._video.thread_type = "SLICE"  # threads that each take a frame would keep several back
        self._video.options = {"max_pixels": str(MAX_PIXELS)}
        self._picture: LivePicture | None = None
        self._sound = np.zeros(0, dtype=np.float32)  # the last seconds of it
        self._sound_end = 0  # index of the sample after it
        self._offset: float | None = None  # what the stream's clock says at the first picture
        self._error: MediaError | None = None
        self._ended = self._closing = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)

    @property
    def has_audio(self) -> bool:
        return self._audio is not None

    def __enter__(self) -> "LiveReader":
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._closing = True
        self._thread.join(CLOSING)
        if not self._thread.is_alive():
            self._container.close()

    def newest(self, due: float) -> LivePicture | None:
        """The newest picture, as soon as there is one of the time `due` (s) or later; None at the end.

        Raises:
            MediaError: where the stream broke off.
        """
        with self._news:
            self._news.wait_for(lambda: self._ended or (self._picture is not None and self._picture.time >= due))
            picture = self._picture
        if picture is not None and picture.time >= due:
            return picture
        if self._error:
            raise self._error
        return None

    def sound(self, start: float, num_samples: int) -> np.ndarray:
        """Float32 samples `(num_samples,)` from `start` (s) on; zeros where none came in time or none is kept."""
        first = round(start * self._rate)
        with self._news:
            self._news.wait_for(lambda: self._ended or self._sound_end >= first + num_samples, SOUND_LATE)
            samples = np.zeros(num_samples, dtype=np.float32)
            begin = self._sound_end - len(self._sound)
            low, high = max(first, begin), min(first + num_samples, self._sound_end)
            if low < high:
                samples[low - first : high - first] = self._sound[low - begin : high - begin]
        return samples

    def _read(self) -> None:
        streams = [stream for stream in (self._video, self._audio) if stream is not None]
        resampler = None
        try:
            for packet in self._container.demux(streams):
                if self._closing:
                    break
                try:
                    frames = packet.decode()
                except av.FFmpegError:  # a broken packet costs itself
                    continue
                for frame in frames:
                    if packet.stream is self._video:
                        self._keep_picture(frame)
                        continue
                    if resampler is None:
                        resampler = av.AudioResampler(format="flt", rate=self._rate)
                    start = None if frame.pts is None else float(frame.pts * self._audio.time_base)
                    frame.pts = None
                    for part in resampler.resample(frame):
                        self._keep_sound(start, part)
                        start = None  # goes on where the part before it ended
        except (av.FFmpegError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            fix = "start it again"
            if self._picture is None:
                fix = (
                    "an MP4 must have its index first (ffmpeg -i FILE -c copy -movflags +faststart ...) to be read as "
                    "it comes in; a file needs no --live"
                )
            self._error = MediaError(f"{self._name}: broke off ({why}); {fix}")
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _keep_picture(self, frame: "av.VideoFrame") -> None:
        now, last = time.monotonic(), self._picture
        told = None if frame.pts is None else float(frame.pts * self._video.time_base)
        with self._news:
            expected = 0.0 if last is None else last.time + now - last.arrived
            if self._offset is None and told is not None:
                self._offset = told
            place = expected if told is None else told - self._offset
            if last is not None and not last.time < place < last.time + JUMP:
                if told is not None and abs(place - last.time) >= JUMP:  # the clock was set anew
                    self._offset = told - expected
                    self._sound = self._sound[:0]
                place = max(expected, math.nextafter(last.time, math.inf))
            self._picture = LivePicture(place, now, frame, float(self._video.sample_aspect_ratio or 1))
            self._news.notify_all()

    def _keep_sound(self, start: float | None, part: "av.AudioFrame") -> None:
        samples = part.to_ndarray().reshape(-1, part.layout.nb_channels)  # (S, C)
        samples = np.where(np.abs(samples) <= LOUDEST, samples, 0).mean(axis=1, dtype=np.float32)
        with self._news:
            if self._offset is None:
                return  # it came before the first picture
            if start is not None:
                first = round((start - self._offset) * self._rate)
                if abs(first - self._sound_end) > 0.1 * self._rate:  # a hole, or an overlap
                    self._sound, self._sound_end = self._sound[:0], first
            self._sound = np.concatenate([self._sound, samples])[-round(SOUND_KEPT * self._rate) :]
            self._sound_end += len(samples)
            self._news.notify_all()


def shown_source(source: str) -> str:
    """A source as it is named in messages."""
    return "standard input" if source == STANDARD_INPUT else shown_path(source)


def _open(source: str, name: str) -> "av.container.InputContainer":
    place, kind, options = source, None, dict(OPTIONS)
    if source == STANDARD_INPUT:
        # Unbuffered: a buffered read would wait until all that FFmpeg has room for is there, half a second or more.
        place = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
        options["protocol_whitelist"] = "none"
    elif source.startswith(CAMERA):
        kind = "v4l2"
    elif "://" in source and not source.startswith("file:"):
        options["protocol_whitelist"] = PROTOCOLS
    else:
        raise ValueError(
            f"{name}: is not a live source; expected an address (rtsp://...), a camera (/dev/video0), or - for "
            "standard input; a file needs no --live"
        )
    # A pipe waits for whoever writes it.
    timeout = None if source == STANDARD_INPUT else (OPENING, READING)
    try:
        return av.open(place, format=kind, container_options=options, timeout=timeout, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(
            f"{name}: cannot be opened ({getattr(error, 'strerror', None) or error}); check that it is there, and "
            "that FFmpeg plays it"
        ) from None
