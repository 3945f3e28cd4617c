"""Segments what sounds in a video of any length: `iter_segments` yields one class map per sampled frame,
`segment_video` writes files.

The algorithm is that of `sliding_window_ccformer`; here the video is read in a child process, see `contained_media`.
Memory depends on the window and the size of the picture, never on the duration.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import auto  # noqa: F401  from_pretrained looks the processor's parts up among the Auto classes
from ..atomic import AtomicFolder
from ..checkpoints import DEFAULT_MODEL
from ..model.inference_settings_ccformer import InferenceSettings
from ..model.media_ccformer import MediaInfo, SampledFrames
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.sliding_window_ccformer import (
    FrameProbabilities,
    FrameSegmentation,
    frame_sounds,
    predict_frames,
    segment_frames,
    video_inputs,
)
from .contained_media import iter_frames_at, iter_sounds, iter_watched_frames, probe, sampled_frames
from .edges import SMALL
from .following import FollowedFrame, follow
from .isolation import start_ahead
from .loading import load, trained_on
from .result_folder import claim_folder, made_with, mark_result, result_folder
from .results import (
    DRAWN,
    FORMATS,
    MASKS,
    SHEET_FRAMES,
    USUAL_FORMATS,
    thumbnail,
    thumbnail_map,
    write_captions,
    write_frames,
    write_json,
    write_sheet,
)
from .segments_json import Segments, empty_segments, readable_name

# Looks of `segment_video`: at fewer, masks of fast objects follow less well and appear late, see
# examples/moving_masks.py.
LOOKS_PER_SECOND = 4.0

Model = str | os.PathLike | tuple[CCFormerForAudioVisualSegmentation, AudioVisualProcessor]


def iter_segments(
    path: str | os.PathLike,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float | str = 1.0,
    threshold: float = 0.5,
    window: int = 10,
    overlap: int = 2,
) -> Iterator[FrameSegmentation]:
    """Samples `fps` frames per second of a video, each with the sound around it, and yields what sounds where.

    Sound that is broken is left out, with a `MediaWarning`.

    Args:
        path: any video FFmpeg can read; one without a sound track counts as silent.
        model: see `load`; it stays on its device, CPU or GPU. It runs in a thread of its own, which
            `torch.autocast` around this does not reach.
        processor: of that model.
        fps, threshold, window, overlap: see `InferenceSettings`.

    Returns:
        An iterator over the frames in order. Memory is that of two windows, whatever the duration.

    Raises:
        MediaError: where the file cannot be read or has no pictures.
        ValueError: for numbers that cannot be used.
    """
    settings = InferenceSettings(fps, threshold, window, overlap)
    info = probe(path)
    samples = sampled_frames(info, settings.fps)
    frames = predict_video(info, samples, iter_frames_at(path, samples.times), model, processor, settings)
    return segment_frames(frames, samples, processor, settings.threshold)


def predict_video(
    info: MediaInfo,
    samples: SampledFrames,
    frames: Iterable[np.ndarray],
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    settings: InferenceSettings,
) -> Iterator[FrameProbabilities]:
    """What the model says about each sampled frame of a video, before any threshold.

    Args:
        info: of the video; the sound is read from its `path` where it `has_audio`. With another path, or without
            sound, the answer is that for the same pictures with another sound.
        samples: which frames of the video are sampled.
        frames: these frames, uint8 `(H, W, 3)` each.
        model, processor: as in `iter_segments`.
        settings: the threshold is not used.
    """
    sounds = frame_sounds(info, processor, samples.times, settings.fps, iter_sounds)
    return predict_frames(video_inputs(frames, sounds, processor), samples, model, settings)


@dataclass(frozen=True)
class Segmentation:
    """What `segment_video` wrote.

    Attributes:
        folder: that holds all of it.
        video: the video with the masks laid over it; None where it was not asked for, like all that follow.
        masks: folder of one PNG per sampled frame, pixels = class ids.
        json: file with the content of `segments`.
        sheet: the contact sheet, a PNG.
        matte: the video cut out, a WebM.
        csv, srt, vtt: what sounds when, as a table and as subtitles.
        segments: see `Segments`.
    """

    folder: Path
    video: Path | None
    masks: Path | None
    json: Path | None
    sheet: Path | None
    matte: Path | None
    csv: Path | None
    srt: Path | None
    vtt: Path | None
    segments: Segments


def segment_video(
    path: str | os.PathLike,
    output_dir: str | os.PathLike,
    model: Model = DEFAULT_MODEL,
    fps: float | str = LOOKS_PER_SECOND,
    threshold: float = 0.5,
    window: int = 10,
    overlap: int = 2,
    device: str = "auto",
    formats: Sequence[str] = USUAL_FORMATS,
    masks: str = "looks",
    progress: bool = True,
) -> Segmentation:
    """Segments a video and writes the result to a folder in `output_dir` that is called like the video, without its
    ending.

    Where a result of another video, or anything else, has that name already, the folder is called like the video with
    its ending, and else with a number: `clip`, `clip.mp4`, `clip.mp4 (2)`, ... A result of the same video (by its
    path) is replaced.

    The model looks at `fps` frames per second. From there its masks are carried along the motion of the picture to the
    frames between, see `motion`, and get the edges of the picture, see `edges`.

    * `overlay.mp4` ("video"): every frame with masks of its own laid over it and the names of what sounds, own sound
      kept.
    * `masks/000000.png` ... ("masks"): one per look, or per frame of the video, at the size of the video; pixels are
      class ids, the colours are in the palette.
    * `segments.json` ("json"): see `Segments`.
    * `contact_sheet.png` ("sheet"): up to 12 frames, and a timeline of what sounds when.
    * `matte.webm` ("matte"): every frame, transparent where nothing sounds; without sound.
    * `sounds.csv`, `sounds.srt`, `sounds.vtt` ("csv", "srt", "vtt"): what sounds when.

    The folder appears at the end, whole, and then replaces what an earlier run wrote; an error leaves everything as it
    was. Sound that is broken is left out, with a `MediaWarning`.

    Args:
        path: the video.
        output_dir: made where it does not exist.
        model: what `load` takes, or what it returned.
        fps, threshold, window, overlap: see `InferenceSettings`.
        device: see `load`; not used where `model` is loaded already.
        formats: which of these to write, by the words in brackets.
        masks: which masks "masks" are: "looks", those of the frames that the model was shown, or "every-frame".
        progress: whether to show a progress bar, on a terminal.

    Raises:
        MediaError: where the video cannot be read.
        OSError: where the model is missing, or the output cannot be written.
        ValueError: for arguments that cannot be used.
    """
    settings = InferenceSettings(fps, threshold, window, overlap)
    formats = tuple(formats)
    if not formats or not set(formats) <= set(FORMATS):
        raise ValueError(f"formats is {formats}; choose from {', '.join(FORMATS)}")
    if masks not in MASKS:
        raise ValueError(f"masks is {masks!r}; choose from {', '.join(MASKS)}")
    start_ahead(path, 2 + bool(DRAWN & set(formats)))  # looked at, heard, and drawn on
    info = probe(path)
    output_dir, source = Path(output_dir), Path(path)
    model, processor = model if isinstance(model, tuple) else load(model, device)

    # Before the work: the file may change or go meanwhile.
    marks = made_with(source, model, processor, settings, masks)
    whole = AtomicFolder(result_folder(output_dir, source))
    with whole as folder:
        segments = _write_all(folder, info, model, processor, settings, formats, masks, progress)
        mark_result(folder, source, marks)
        whole.target = claim_folder(output_dir, source, marks)  # another run may have taken the name meanwhile
    paths = {name: whole.target / file if name in formats else None for name, file in FORMATS.items()}
    return Segmentation(folder=whole.target, **paths, segments=segments)


def _write_all(
    folder: Path,
    info: MediaInfo,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    settings: InferenceSettings,
    formats: Sequence[str],
    masks: str,
    progress: bool,
) -> Segments:
    """Writes everything into `folder`. The video is read to look at, and once more where it is drawn on."""
    samples = sampled_frames(info, settings.fps)
    every = bool(DRAWN & set(formats)) or ("masks" in formats and masks == "every-frame")
    on_sheet = np.linspace(0, len(samples) - 1, min(SHEET_FRAMES, len(samples))).round().astype(int).tolist()
    thumbnails: dict[int, np.ndarray] = {}
    small_masks: dict[int, np.ndarray] = {}
    about = {"name": _model_name(model), "trained_on": trained_on(model)}
    segments = empty_segments(info, about, model.config.id2label, settings)

    def predict(pictures: Iterator[np.ndarray]) -> Iterator[FrameProbabilities]:
        pictures = _keeping_thumbnails(pictures, on_sheet, thumbnails) if "sheet" in formats else pictures
        return predict_video(info, samples, pictures, model, processor, settings)

    watched = iter_watched_frames(info.path, samples.times, SMALL, every)
    frames = follow(watched, predict, samples, settings.threshold, processor)
    # disable=None: shown on a terminal only.
    with tqdm(
        total=len(samples),
        desc=readable_name(info.path),
        unit="frame",
        leave=False,
        disable=None if progress else True,
    ) as bar:
        frames = _keeping_masks(frames, thumbnails, small_masks)
        sound = info.path if info.has_audio else None
        write_frames(folder, frames, info, segments, formats, masks, sound, on_progress=bar.update)
    if "json" in formats:
        write_json(folder, segments)
    if "sheet" in formats:
        write_sheet(folder, info, segments, thumbnails, small_masks)
    write_captions(folder, segments, formats)
    return segments


def _model_name(model: CCFormerForAudioVisualSegmentation) -> str:
    """The Hub id, or the name of the folder it came from."""
    name = model.name_or_path
    return Path(name).name if Path(name).is_dir() else name


def _keeping_thumbnails(
    frames: Iterable[np.ndarray], wanted: Sequence[int], kept: dict[int, np.ndarray]
) -> Iterator[np.ndarray]:
    """Passes the frames on, and keeps small copies of the `wanted` ones on the way: they are not decoded again for the
    sheet."""
    for index, frame in enumerate(frames):
        if index in wanted:
            kept[index] = thumbnail(frame)
        yield frame


def _keeping_masks(
    frames: Iterable[FollowedFrame], thumbnails: Mapping[int, np.ndarray], kept: dict[int, np.ndarray]
) -> Iterator[FollowedFrame]:
    """Passes the frames on, and keeps small copies of the masks of the looks that have thumbnails."""
    for frame in frames:
        for look in frame.looks:
            if look.index in thumbnails:
                kept[look.index] = thumbnail_map(look.class_map, thumbnails[look.index].shape[:2])
        yield frame
