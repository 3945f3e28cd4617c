"""Segments what sounds in a video of any length (ours).

`iter_segments` looks at `fps` frames per second, each with its own sound, window after window, and yields one class map per frame.
Memory depends on the window and the picture size, never on the duration.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from .. import auto  # noqa: F401  from_pretrained looks the processor's parts up among the Auto classes
from ..model.configuration_ccformer import CCFormerConfig
from ..model.media_ccformer import MediaInfo, look_starts
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.sliding_window_ccformer import (
    Look,
    check_numbers,
    class_probabilities,
    classes_at_size,
    iter_windows,
    join_windows,
    look_at_video,
    sound_timeline,
    window_spans,
)
from .contained_media import frame_times, iter_frames_at, iter_sounds, probe

BUILT_IN_MODEL = "ccformer-tiny"
CHECKPOINTS = Path(__file__).with_name("checkpoints")
RECORD_FILE = "checkpoint.json"  # in a model folder: how the model was made, see `ccformer_hf.model_card`
PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


@dataclass(frozen=True)
class FrameSegmentation:
    """What sounds in one frame that was looked at.

    Attributes:
        index: of the frame among those looked at, from 0.
        time: (s) at which the frame was taken.
        start: (s) from which on it stands for the video, up to `end`.
        end: the next frame's `start`, or the end of the clip.
        class_map: `(H, W)` uint8 at the size of the video, 0 = background.
        scores: class id -> mean probability within its mask, 0..1, for every class in the map, best first. The names are
            `model.config.id2label`.
        has_sound: whether there was anything to hear around this frame.
    """

    index: int
    time: float
    start: float
    end: float
    class_map: np.ndarray
    scores: dict[int, float]
    has_sound: bool


def load(
    model: str | os.PathLike = BUILT_IN_MODEL, device: str = "auto"
) -> tuple[CCFormerForAudioVisualSegmentation, AudioVisualProcessor]:
    """Loads a model, ready to use, and its processor.

    Args:
        model: `"ccformer-tiny"`, which ships with the package; a folder that `save_pretrained` wrote; or a Hub id
            (`owner/name`).
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, ..., or `"auto"`: a GPU where there is one.

    Raises:
        OSError: where there is no such model, or a part of it is missing or damaged.
        ValueError: where it is another kind of model, its weights hold NaN or infinity, or the device is not there.
    """
    place = _device(device)
    built_in = str(model) == BUILT_IN_MODEL and not Path(model).is_dir()
    path = CHECKPOINTS / BUILT_IN_MODEL if built_in else Path(model)
    is_hub_id = isinstance(model, str) and model.count("/") == 1 and not model.startswith((".", "/", "~"))
    if path.is_dir():
        check_model_folder(path)
        name = str(path)
    elif is_hub_id and not path.exists():
        name = str(model)
    elif built_in:
        raise FileNotFoundError(f"{BUILT_IN_MODEL}: {path} is missing, which ships with the package; install it again")
    else:
        raise FileNotFoundError(
            f"{model}: there is no such model folder; name a folder, a Hub id (owner/name), or {BUILT_IN_MODEL}, which ships "
            "with the package"
        )
    try:
        config, _ = CCFormerConfig.get_config_dict(name)
        if config.get("model_type") != CCFormerConfig.model_type:
            raise ValueError(f"{model}: is a model of type {config.get('model_type')!r}; wanted is a CCFormer")
        processor = AudioVisualProcessor.from_pretrained(name)
        loaded, report = CCFormerForAudioVisualSegmentation.from_pretrained(
            name, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except SafetensorError as error:
        raise OSError(
            f"{model}: its weights are no whole safetensors file ({error}); fetch or save them again"
        ) from None
    except OSError as error:
        # transformers explains over several lines; the first says what is missing.
        raise OSError(f"{model}: cannot be loaded ({str(error).strip().splitlines()[0]})") from error
    except (ValueError, StrictDataclassError) as error:
        told = " ".join(str(error).split())
        raise ValueError(told if str(model) in told else f"{model}: cannot be loaded ({told})") from None
    if report["missing_keys"]:
        raise OSError(
            f"{model}: its weights lack {len(report['missing_keys'])} parts, such as {sorted(report['missing_keys'])[0]}; "
            "save the whole model again"
        )
    if report["mismatched_keys"]:
        part, found, wanted = sorted(report["mismatched_keys"])[0]
        raise ValueError(
            f"{model}: its weights do not fit its config.json, {part} has the shape {tuple(found)} and not {tuple(wanted)}; take "
            "both from one model"
        )
    _check_weights(loaded, model)
    return loaded.to(place).eval(), processor


def _check_weights(loaded: CCFormerForAudioVisualSegmentation, model: str | os.PathLike) -> None:
    """Masks of weights that are no numbers look like any others."""
    for name, values in loaded.state_dict().items():
        if not torch.isfinite(values).all():
            raise ValueError(
                f"{model}: its weights are no numbers, {name} holds NaN or infinity; take a checkpoint from before training went wrong"
            )


def check_model_folder(path: Path) -> None:
    """Refuses a folder that `load` cannot load, by its files alone: seconds before the weights are read.

    Raises:
        OSError: where a file is missing or cut short.
        ValueError: where the weights are a pickle.
    """
    wanted = "name one that save_pretrained of the model and of its processor wrote"
    if not (path / "config.json").is_file():
        raise FileNotFoundError(f"{path}: has no config.json, so it is no model folder; {wanted}")
    weights = ["model.safetensors"]
    index = path / "model.safetensors.index.json"  # of large models, whose weights are several files
    if index.is_file() and not (path / weights[0]).is_file():
        try:
            weights = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise OSError(f"{index}: is no list of weight files; copy or save it again") from None
    pickles = sorted(file.name for file in path.iterdir() if file.suffix in PICKLES)
    if pickles and not (path / weights[0]).is_file():
        raise ValueError(
            f"{path}: its weights are a pickle, {pickles[0]}, which can run any code when it is opened; if you trust it, write them "
            "as safetensors: model.load_state_dict(torch.load(FILE, weights_only=True)), then model.save_pretrained(FOLDER)"
        )
    for name in (*weights, "processor_config.json"):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path}: has no {name}, so it is no whole model folder; {wanted}")
    for name in weights:
        try:
            with safe_open(path / name, "pt"):
                pass
        except SafetensorError as error:
            raise OSError(f"{path / name}: is no whole safetensors file ({error}); copy or save it again") from None


def iter_segments(
    path: str | os.PathLike,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float | str = 1.0,
    threshold: float = 0.5,
    window: int = 10,
    overlap: int = 2,
) -> Iterator[FrameSegmentation]:
    """Looks at `fps` frames per second of a video, each with the sound around it, and says what sounds where.

    The file is read in a child process: see `contained_media`. Sound that is broken is left out, with a `MediaWarning`.

    The model sees `window` frames at a time; neighbouring windows share `overlap` frames (the last one more, so that it is full
    too), over which the probabilities fade from the one to the other.

    Args:
        path: any video FFmpeg can read. Without a sound track the model is told that there is no sound.
        model: see `load`; it is used where it is, on CPU or GPU.
        processor: of that model.
        fps: frames looked at per second, each 15/16 into its step of 1/fps; `"all"`, or more than the video has: every frame at its
            own time.
        threshold: 0..1; a pixel sounds where 1 - P(background) is higher.
        window: frames the model sees at a time.
        overlap: frames that neighbouring windows share, fewer than `window`.

    Returns:
        An iterator over the frames in order. Memory is that of one window, whatever the duration.

    Raises:
        MediaError: where the file cannot be read or has no pictures.
        ValueError: for numbers that cannot be used.
    """
    check_numbers(fps, threshold, window, overlap)
    info = probe(path)
    return segment_frames(info, frames_looked_at(info, fps), model, processor, fps, threshold, window, overlap)


def frames_looked_at(info: MediaInfo, fps: float | str) -> Iterator[np.ndarray]:
    """The frames of a video at `frame_times`, each uint8 `(H, W, 3)`, read in a child process."""
    return iter_frames_at(info.path, frame_times(info, fps))


def trained_on(model: CCFormerForAudioVisualSegmentation) -> str | None:
    """What the model's folder says it was trained on (`trained_on` in its `checkpoint.json`); None where it does not say."""
    file = Path(model.name_or_path) / RECORD_FILE
    return json.loads(file.read_text(encoding="utf-8")).get("trained_on") if file.is_file() else None


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device is {device!r}; wanted is 'auto', 'cpu' or 'cuda'") from None
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {device!r}, but PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA GPUs here; use 'cpu' or "
            "'auto'"
        )
    return place


def segment_frames(
    info: MediaInfo,
    frames: Iterable[np.ndarray],
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float | str,
    threshold: float,
    window: int,
    overlap: int,
) -> Iterator[FrameSegmentation]:
    """`iter_segments` on frames that someone else reads, those of `frames_looked_at`."""
    looks = look_at_frames(info, frames, model, processor, fps, window, overlap)
    return segment_looks(info, looks, processor, fps, threshold)


def look_at_frames(
    info: MediaInfo,
    frames: Iterable[np.ndarray],
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float | str,
    window: int = 10,
    overlap: int = 2,
) -> Iterator[Look]:
    """What the model makes of each frame, before any threshold.

    Args:
        info: of the video; the sound is read from its `path` where it `has_audio`. With another path or without sound it tells what
            the model makes of the same pictures under another sound.
        frames: those of `frames_looked_at`.
        model, processor, fps, window, overlap: see `iter_segments`.

    Returns:
        An iterator over `probabilities (K, h, w)` float32 and `has_sound`, a bool, of each frame.
    """
    times = frame_times(info, fps)
    spans = window_spans(len(times), window, overlap)
    sounds = repeat(None, len(times))
    if info.has_audio:
        timeline = sound_timeline(processor)
        starts = timeline.sound_starts(times)
        sounds = iter_sounds(info.path, starts, timeline.example_samples, timeline.sampling_rate)
    windows = iter_windows(look_at_video(frames, sounds, processor), spans, window)
    outputs = (
        {"probabilities": class_probabilities(model, inputs)[0], "has_sound": inputs["audio_mask"][0]}
        for inputs in windows
    )
    return join_windows(outputs, spans)


def segment_looks(
    info: MediaInfo,
    looks: Iterable[Look],
    processor: AudioVisualProcessor,
    fps: float | str,
    threshold: float,
) -> Iterator[FrameSegmentation]:
    """What sounds where in each frame, from what `look_at_frames` saw.

    Args:
        info: of the video.
        looks: those of `look_at_frames`, one per frame.
        processor: of the model.
        fps, threshold: see `iter_segments`.
    """
    times = frame_times(info, fps)
    starts = look_starts(info, fps, times)
    for index, look in enumerate(looks):
        class_map, scores = classes_at_size(look["probabilities"], processor, (info.height, info.width), threshold)
        yield FrameSegmentation(
            index=index,
            time=float(times[index]),
            start=float(starts[index]),
            end=float(starts[index + 1]) if index + 1 < len(times) else info.duration,
            class_map=class_map,
            scores=scores,
            has_sound=bool(look["has_sound"]),
        )
