"""The demo's work without its page: a clip is analysed once, and drawn as often as a slider moves.

A result lies in a folder of its own, gone with `DemoResult.remove`:

    clip/<name>.mp4      the clip at its working size
    sound.wav            of another clip, where that was put under the pictures
    frames/000000.jpg    the sampled frames
    probabilities.npy    float16 (T, K, h, w), what the model said
    drawn-.../           overlay.mp4, masks/, masks.zip, segments.json at one threshold and opacity
"""

import math
import shutil
import tempfile
import wave
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..inference.contained_media import (
    iter_frames_at,
    iter_sounds,
    iter_watched_frames,
    loudness,
    probe,
    sampled_frames,
)
from ..inference.edges import SMALL
from ..inference.following import follow
from ..inference.results import FORMATS, write_frames, write_json
from ..inference.segmenting import predict_video
from ..inference.segments_json import ModelInfo, Segments, empty_segments
from ..inference.video_writer import VideoWriter
from ..model.inference_settings_ccformer import InferenceSettings
from ..model.media_ccformer import MediaError, MediaInfo, SampledFrames
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.sliding_window_ccformer import FrameProbabilities, FrameSegmentation, segment_frames
from .models import DemoModel

SOUND_RATE = 44100
LOUDNESS_PER_SECOND = 8
MASKS_ZIP = "masks.zip"


@dataclass(frozen=True)
class Drawn:
    """A result at one threshold and opacity: overlay video, zip of masks, `segments.json`, and its content."""

    video: Path
    masks: Path
    json: Path
    segments: Segments


@dataclass
class DemoResult:
    """What the model made of one clip with one sound.

    Attributes:
        folder: that holds all of it.
        clip: the video.
        info: of the video; `has_audio` says whether the model was given sound.
        samples: which frames of it were analysed.
        audio_mask: whether there is any sound around each of them, `(T,)` bool.
        sound: file whose sound the model was given, and which goes with the overlay; None: none.
        sound_label: the same in words, such as `"no sound"`.
        fps: looks of the model per second.
        model: its name, and what it was trained on.
        processor: of the model, which itself need not stay loaded.
        names: class id -> name, the background too.
        loudness: root mean square of the sound, 8 parts a second; None without sound.
    """

    folder: Path
    clip: Path
    info: MediaInfo
    samples: SampledFrames
    audio_mask: np.ndarray
    sound: Path | None
    sound_label: str
    fps: float
    model: ModelInfo
    processor: AudioVisualProcessor
    names: dict[int, str]
    loudness: np.ndarray | None = None
    _drawings: list[Drawn] = field(default_factory=list)

    @property
    def drawn(self) -> Drawn:
        """What `draw` made last."""
        return self._drawings[-1]

    def frame(self, index: int) -> np.ndarray:
        """The index-th sampled frame, uint8 `(H, W, 3)`."""
        with Image.open(self.folder / "frames" / f"{index:06d}.jpg") as image:
            return np.array(image)

    def sounding(self, index: int) -> np.ndarray:
        """Probability that anything sounds, at each cell of the model's map of a frame: float32 `(h, w)`, 0..1."""
        return 1 - self._probabilities()[index, 0].astype(np.float32)

    def segment(self, threshold: float) -> Iterator[FrameSegmentation]:
        """What the model itself says sounds where in each sampled frame, at a threshold of 0..1."""
        return segment_frames(self._said(), self.samples, self.processor, threshold)

    def draw(self, threshold: float, opacity: float) -> Drawn:
        """Writes the results at a threshold and opacity, each 0..1; those of the last two calls are kept."""
        folder = Path(tempfile.mkdtemp(prefix="drawn-", dir=self.folder))
        watched = iter_watched_frames(self.clip, self.samples.times, SMALL, every=True)
        # What is said of each picture was said before.
        frames = follow(watched, self._say, self.samples, threshold, self.processor)
        segments = empty_segments(self.info, self.model, self.names, InferenceSettings(self.fps, threshold))
        formats = ("video", "masks")
        write_frames(folder, frames, self.info, segments, formats, sound_from=self.sound, opacity=opacity)
        write_json(folder, segments)
        with zipfile.ZipFile(folder / MASKS_ZIP, "w") as archive:  # PNGs are packed already
            for mask in sorted((folder / FORMATS["masks"]).iterdir()):
                archive.write(mask, f"masks/{mask.name}")
        drawn = Drawn(folder / FORMATS["video"], folder / MASKS_ZIP, folder / FORMATS["json"], segments)
        self._drawings.append(drawn)
        while len(self._drawings) > 2:
            shutil.rmtree(self._drawings.pop(0).video.parent, ignore_errors=True)
        return drawn

    def remove(self) -> None:
        """Removes all files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _say(self, pictures: Iterator[np.ndarray]) -> Iterator[FrameProbabilities]:
        return (said for _, said in zip(pictures, self._said(), strict=True))

    def _said(self) -> Iterator[FrameProbabilities]:
        size = self.info.height, self.info.width
        for probabilities, has_audio in zip(self._probabilities(), self.audio_mask, strict=True):
            yield FrameProbabilities(torch.from_numpy(probabilities.astype(np.float32)), bool(has_audio), size)

    def _probabilities(self) -> np.ndarray:
        return np.load(self.folder / "probabilities.npy", mmap_mode="r")  # (T, K, h, w)


def take_in(
    upload: Path, info: MediaInfo, folder: Path, longest: int, seconds: float = math.inf
) -> tuple[Path, MediaInfo]:
    """A copy of an uploaded clip to work with, at most `longest` pixels on its longer side.

    Args:
        upload: the file.
        info: of it.
        folder: of the result; in a folder of its own there, as an upload may be called like anything in it.
        longest: side in pixels.
        seconds: that reading its pictures may take.

    Returns:
        The copy, and what is in it. A small clip is copied as it is, a larger one is scaled down.
    """
    folder = folder / "clip"
    folder.mkdir()
    if longest >= max(info.width, info.height):
        copy = folder / upload.name
        shutil.copyfile(upload, copy)
        return copy, replace(info, path=str(copy))
    copy = folder / f"{upload.stem}.mp4"
    # Scaled down where they are decoded: no picture of 4K comes over from the child.
    frames = iter_watched_frames(upload, (), longest, every=True, seconds=seconds)
    first = next(frames)
    height, width, _ = first[1].shape
    with VideoWriter(copy, width, height, info.fps, sound_from=upload) as video:
        for time, picture, *_ in chain([first], frames):
            video.write(picture, time)
    return copy, probe(copy)


def borrow_sound(lender: Path, seconds: float, target: Path) -> None:
    """Writes the first `seconds` of a clip's sound, mono, as a wav; silence beyond its end.

    Raises:
        MediaError: where it has no sound that can be read.
    """
    (samples,) = iter_sounds(lender, [0.0], round(seconds * SOUND_RATE), SOUND_RATE)
    if samples is None:
        raise MediaError(f"{lender}: its sound cannot be read; choose another clip")
    with wave.open(str(target), "wb") as file:
        file.setparams((1, 2, SOUND_RATE, 0, "NONE", ""))
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


def analyse(
    folder: Path,
    clip: Path,
    info: MediaInfo,
    sound: Path | None,
    sound_label: str,
    model: DemoModel,
    predict: Callable[[str, MediaInfo, MediaInfo, float], Iterable[tuple[np.ndarray, bool]]],
    fps: float,
) -> Iterator[float | DemoResult]:
    """Runs the model on a clip with one sound.

    Args:
        folder: of the result.
        clip: the video.
        info: of the video, from `probe`.
        sound, sound_label: see `DemoResult`; the file is read from its start on.
        model: the checkpoint.
        predict: `predict_clip`, or what runs it elsewhere.
        fps: looks of the model per second.

    Returns:
        An iterator over the share that is done, one per frame, and the result at the end.
    """
    source = replace(info, has_audio=False) if sound is None else probe(sound, need_video=False)
    info = replace(info, has_audio=source.has_audio)
    samples = sampled_frames(info, fps)
    frames = folder / "frames"
    frames.mkdir()
    for index, frame in enumerate(iter_frames_at(clip, samples.times)):
        Image.fromarray(frame).save(frames / f"{index:06d}.jpg", quality=90)
    maps, audio_mask = [], []
    for frame_map, has_audio in predict(model.name, info, source, fps):
        maps.append(frame_map)
        audio_mask.append(has_audio)
        yield len(maps) / len(samples)
    np.save(folder / "probabilities.npy", np.stack(maps))  # T x (K, h, w) -> (T, K, h, w)
    yield DemoResult(
        folder,
        clip,
        info,
        samples,
        np.array(audio_mask),
        sound,
        sound_label,
        fps,
        model={"name": model.name, "trained_on": model.trained_on},
        processor=model.processor,
        names=dict(model.model.config.id2label),
        loudness=_loudness(source, info.duration) if source.has_audio else None,
    )


def _loudness(source: MediaInfo, seconds: float) -> np.ndarray:
    return loudness(source.path, max(1, round(seconds * LOUDNESS_PER_SECOND)), 1 / LOUDNESS_PER_SECOND)


def predict_clip(
    model: DemoModel, info: MediaInfo, source: MediaInfo, fps: float
) -> Iterator[tuple[np.ndarray, bool]]:
    """What the model says about each sampled frame: float16 `(K, h, w)`, and whether there is any sound around it.

    Args:
        model: the checkpoint.
        info: of the clip whose pictures are taken.
        source: of the file whose sound is taken.
        fps: looks of the model per second.
    """
    samples = sampled_frames(info, fps)
    frames = iter_frames_at(info.path, samples.times)
    with_sound = replace(info, path=source.path, has_audio=source.has_audio)
    for frame in predict_video(with_sound, samples, frames, model.model, model.processor, InferenceSettings(fps)):
        yield frame.probabilities.cpu().numpy().astype(np.float16), frame.has_audio
