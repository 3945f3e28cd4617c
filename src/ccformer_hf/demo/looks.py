"""The demo's work without its page: the model looks once, and what it saw is drawn as often as a slider moves (ours).

A look lies in a folder of its own, gone with `Look.forget`:

    <name>.mp4           the clip at its working size
    sound.wav            of another clip, where that was put under the pictures
    frames/000000.jpg    the frames looked at
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
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..inference.contained_media import frame_times, iter_frames, iter_sounds, probe
from ..inference.results import FORMATS, loudness, write_segments
from ..inference.segmenting import FrameSegmentation, frames_looked_at, look_at_frames, segment_looks
from ..inference.video_writer import VideoWriter
from ..model.media_ccformer import MediaError, MediaInfo
from ..model.processing_ccformer import AudioVisualProcessor
from .models import DemoModel

FPS = 1.0  # frames looked at per second
SOUND_RATE = 44100
LOUDNESS_PER_SECOND = 8
MASKS_ZIP = "masks.zip"
WRITTEN = ("video", "masks", "json")


@dataclass(frozen=True)
class Drawn:
    """A look at one threshold and opacity: the overlay video, its masks in a zip, `segments.json`, and its content."""

    video: Path
    masks: Path
    json: Path
    segments: dict


@dataclass
class Look:
    """What the model made of one clip under one sound.

    Attributes:
        folder: that holds all of it.
        clip: the video.
        info: of the video; `has_audio` tells whether the model was given sound.
        sound: file whose sound was heard, and goes with the overlay; None: none.
        heard: the same in words, such as `"no sound"`.
        about: `name` of the model, and `trained_on`.
        names: class id -> name, the background too.
        loudness: root mean square of the sound, 8 parts a second; None without sound.
    """

    folder: Path
    clip: Path
    info: MediaInfo
    sound: Path | None
    heard: str
    about: dict[str, str | None]
    names: dict[int, str]
    loudness: np.ndarray | None = None
    _drawings: list[Drawn] = field(default_factory=list)

    @property
    def drawn(self) -> Drawn:
        """What `draw` made last."""
        return self._drawings[-1]

    @property
    def num_frames(self) -> int:
        return len(frame_times(self.info, FPS))

    def frame(self, index: int) -> np.ndarray:
        """The index-th frame looked at, uint8 `(H, W, 3)`."""
        with Image.open(self.folder / "frames" / f"{index:06d}.jpg") as image:
            return np.array(image)

    def sounding(self, index: int) -> np.ndarray:
        """Probability that anything sounds, of each pixel of the model's map of the index-th frame: float32 `(h, w)`, 0..1."""
        return 1 - self._probabilities()[index, 0].astype(np.float32)

    def found(self, processor: AudioVisualProcessor, threshold: float) -> Iterator[FrameSegmentation]:
        """What sounds where in each frame, at a threshold of 0..1."""
        looks = (
            {"probabilities": torch.from_numpy(frame.astype(np.float32)), "has_sound": self.info.has_audio}
            for frame in self._probabilities()
        )
        return segment_looks(self.info, looks, processor, FPS, threshold)

    def draw(
        self,
        processor: AudioVisualProcessor,
        threshold: float,
        opacity: float,
    ) -> Drawn:
        """Writes the results at a threshold and opacity, each 0..1. Those of the last two calls stay, older ones are removed."""
        folder = Path(tempfile.mkdtemp(prefix="drawn-", dir=self.folder))
        found = self.found(processor, threshold)
        segments = write_segments(
            folder, self.info, found, self.about, self.names, FPS, threshold, _ignore, WRITTEN, self.sound, opacity
        )
        with zipfile.ZipFile(folder / MASKS_ZIP, "w") as archive:  # PNGs are packed already
            for mask in sorted((folder / FORMATS["masks"]).iterdir()):
                archive.write(mask, f"masks/{mask.name}")
        drawn = Drawn(folder / FORMATS["video"], folder / MASKS_ZIP, folder / FORMATS["json"], segments)
        self._drawings.append(drawn)
        while len(self._drawings) > 2:
            shutil.rmtree(self._drawings.pop(0).video.parent, ignore_errors=True)
        return drawn

    def forget(self) -> None:
        """Removes all files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _probabilities(self) -> np.ndarray:
        return np.load(self.folder / "probabilities.npy", mmap_mode="r")


def _ignore(frames: int) -> None:
    """Drawing is quick: nobody is told how far it is."""


def take_in(
    upload: Path, info: MediaInfo, folder: Path, longest: int, seconds: float = math.inf
) -> tuple[Path, MediaInfo]:
    """A copy of an uploaded clip to work with, at most `longest` pixels on its longer side.

    Args:
        upload: the file.
        info: of it.
        folder: to write into.
        longest: side in pixels.
        seconds: that reading its pictures may take.

    Returns:
        The copy, and what is in it. A small clip is copied as it is, a larger one is scaled down.
    """
    scale = longest / max(info.width, info.height)
    if scale >= 1:
        copy = folder / upload.name
        shutil.copyfile(upload, copy)
        return copy, replace(info, path=str(copy))
    copy = folder / f"{upload.stem}.mp4"
    size = max(2, round(info.width * scale)), max(2, round(info.height * scale))
    with VideoWriter(copy, *size, info.fps, sound_from=upload) as video:
        for time, frame in iter_frames(upload, seconds):
            video.write(
                np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, reducing_gap=2)), time
            )
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


def look(
    folder: Path,
    clip: Path,
    info: MediaInfo,
    sound: Path | None,
    heard: str,
    model: DemoModel,
    probabilities_of: Callable[[str, MediaInfo, MediaInfo], Iterable[np.ndarray]],
) -> Iterator[float | Look]:
    """Lets the model look at a clip under one sound.

    Args:
        folder: of the look.
        clip: the video.
        info: of the video, from `probe`.
        sound: see `Look`; its file is read, from its start on.
        heard: see `Look`.
        model: the checkpoint.
        probabilities_of: `probabilities`, or what runs it elsewhere.

    Returns:
        An iterator over the share that is done, one per frame, and the look at the end.
    """
    source = replace(info, has_audio=False) if sound is None else probe(sound, need_video=False)
    info = replace(info, has_audio=source.has_audio)
    frames = folder / "frames"
    frames.mkdir()
    for index, frame in enumerate(frames_looked_at(info, FPS)):
        Image.fromarray(frame).save(frames / f"{index:06d}.jpg", quality=90)
    maps, num_frames = [], len(frame_times(info, FPS))
    for frame_map in probabilities_of(model.name, info, source):
        maps.append(frame_map)
        yield len(maps) / num_frames
    np.save(folder / "probabilities.npy", np.stack(maps))
    about = {"name": model.name, "trained_on": model.trained_on}
    names = dict(model.model.config.id2label)
    parts = max(1, round(info.duration * LOUDNESS_PER_SECOND))
    loud = loudness(source.path, parts, 1 / LOUDNESS_PER_SECOND) if source.has_audio else None
    yield Look(folder, clip, info, sound, heard, about, names, loud)


def probabilities(model: DemoModel, info: MediaInfo, source: MediaInfo) -> Iterator[np.ndarray]:
    """What the model says of each frame looked at, float16 `(K, h, w)`: those of the clip `info`, under the sound of `source`."""
    heard = replace(info, path=source.path, has_audio=source.has_audio)
    for seen in look_at_frames(heard, frames_looked_at(info, FPS), model.model, model.processor, FPS):
        yield seen["probabilities"].cpu().numpy().astype(np.float16)
