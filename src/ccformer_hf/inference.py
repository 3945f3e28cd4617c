"""Segments what sounds in a video of any length (ours).

`iter_segments` looks at `fps` frames per second, each with its own sound, window after window, and yields one class map per frame.
Memory depends on the window and the picture size, never on the duration.

Letters: `T` frames of a window, `K` classes, `H W` picture, `h w` the model's map.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import auto  # noqa: F401  from_pretrained looks the processor's parts up among the Auto classes
from .configuration_ccformer import CCFormerConfig
from .media_ccformer import MediaInfo, SoundReader, iter_frames_at, probe
from .modeling_ccformer import CCFormerForAudioVisualSegmentation, CCFormerOutput
from .processing_ccformer import AudioVisualProcessor
from .timeline_ccformer import FRAME_OFFSET, Timeline

BUILT_IN_MODEL = "ccformer-tiny"
CHECKPOINTS = Path(__file__).with_name("checkpoints")


@dataclass(frozen=True)
class FrameSegmentation:
    """What sounds in one frame that was looked at.

    Attributes:
        index: of the frame among those looked at, from 0.
        time: (s) at which the frame was taken.
        start: (s) from which on it stands for the video, up to `end`.
        end: the next frame's `start`, or the end of the clip.
        class_map: `(H, W)` uint8 at the size of the video, 0 = background.
        scores: class name -> mean probability within its mask, 0..1, for every class in the map, best first.
        has_sound: whether there was anything to hear around this frame.
    """

    index: int
    time: float
    start: float
    end: float
    class_map: np.ndarray
    scores: dict[str, float]
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
        OSError: where there is no such model, or a part of it is missing.
        ValueError: where it is another kind of model, or the device is not there.
    """
    place = _device(device)
    built_in = str(model) == BUILT_IN_MODEL and not Path(model).is_dir()
    path = CHECKPOINTS / BUILT_IN_MODEL if built_in else Path(model)
    is_hub_id = isinstance(model, str) and model.count("/") == 1 and not model.startswith((".", "/", "~"))
    if path.is_dir():
        for name in ("config.json", "processor_config.json", "model.safetensors"):
            if not (path / name).exists():
                raise FileNotFoundError(
                    f"{path}: has no {name}, so it is no model folder; name one that save_pretrained of the model and of its "
                    "processor wrote"
                )
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
        loaded, report = CCFormerForAudioVisualSegmentation.from_pretrained(name, output_loading_info=True)
    except OSError as error:
        # transformers explains over several lines; the first says what is missing.
        raise OSError(f"{model}: cannot be loaded ({str(error).strip().splitlines()[0]})") from error
    if report["missing_keys"]:
        raise OSError(
            f"{model}: its weights lack {len(report['missing_keys'])} parts, such as {sorted(report['missing_keys'])[0]}; "
            "save the whole model again"
        )
    return loaded.to(place).eval(), processor


def iter_segments(
    path: str | os.PathLike,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float = 1.0,
    threshold: float = 0.5,
    window: int = 10,
    overlap: int = 2,
) -> Iterator[FrameSegmentation]:
    """Looks at `fps` frames per second of a video, each with the sound around it, and says what sounds where.

    The model sees `window` frames at a time; neighbouring windows share `overlap` frames (the last one more, so that it is full
    too), over which the probabilities fade from the one to the other.

    Args:
        path: any video FFmpeg can read. Without a sound track the model is told that there is no sound.
        model: see `load`; it is used where it is, on CPU or GPU.
        processor: of that model.
        fps: frames looked at per second.
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


def trained_on(model: CCFormerForAudioVisualSegmentation) -> str | None:
    """What the model's folder says it was trained on (`trained_on` in its `checkpoint.json`); None where it does not say."""
    file = Path(model.name_or_path) / "checkpoint.json"
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


def check_numbers(fps: float, threshold: float, window: int, overlap: int) -> None:
    """Raises ValueError for numbers that `iter_segments` cannot use."""
    Timeline(fps=fps)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}, it must be from 0 (marks most) to 1 (marks nothing)")
    if window < 1 or not 0 <= overlap < window:
        raise ValueError(
            f"window is {window} and overlap {overlap}; a window is at least 1 frame, and the overlap from 0 to below the window"
        )


def frame_times(info: MediaInfo, fps: float) -> np.ndarray:
    """Times (s) of the frames that are looked at, `(n,)`."""
    timeline = Timeline(fps=fps)
    return timeline.frame_times(timeline.num_frames(info.duration), info.duration)


def frames_looked_at(info: MediaInfo, fps: float) -> Iterator[np.ndarray]:
    """The frames at `frame_times`, each uint8 `(H, W, 3)`."""
    return iter_frames_at(info.path, frame_times(info, fps))


def segment_frames(
    info: MediaInfo,
    frames: Iterable[np.ndarray],
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float,
    threshold: float,
    window: int,
    overlap: int,
) -> Iterator[FrameSegmentation]:
    """`iter_segments` on frames that someone else reads, those of `frames_looked_at`."""
    times = frame_times(info, fps)
    looks = _processed(info, frames, processor, times)
    names = model.config.id2label
    for index, (probabilities, has_sound) in enumerate(_blended(looks, len(times), model, window, overlap)):
        class_map, scores = _at_size(probabilities, processor, (info.height, info.width), threshold)
        yield FrameSegmentation(
            index=index,
            time=float(times[index]),
            start=index / fps,
            end=(index + 1) / fps if index + 1 < len(times) else info.duration,
            class_map=class_map,
            scores={names[i]: score for i, score in scores.items()},
            has_sound=has_sound,
        )


def _processed(
    info: MediaInfo, frames: Iterable[np.ndarray], processor: AudioVisualProcessor, times: np.ndarray
) -> Iterator[dict[str, torch.Tensor]]:
    """The model's inputs of each frame alone, `(1, 1, ...)`: no frame stays in memory at its full size."""
    extractor = processor.feature_extractor
    timeline = Timeline(sampling_rate=extractor.sampling_rate, alignment=extractor.alignment)
    sound = SoundReader(info.path, timeline.sampling_rate) if info.has_audio else None
    try:
        for frame, start in zip(frames, timeline.sound_starts(times), strict=True):
            # Cut out already: for the extractor this is the frame of the first second of its own little clip.
            example = None if sound is None else sound.read(start, timeline.example_samples)
            yield dict(processor([frame], example, timeline.sampling_rate, timestamps=[FRAME_OFFSET]))
    finally:
        if sound is not None:
            sound.close()


def _blended(
    looks: Iterator[dict[str, torch.Tensor]],
    num_frames: int,
    model: CCFormerForAudioVisualSegmentation,
    window: int,
    overlap: int,
) -> Iterator[tuple[torch.Tensor, bool]]:
    """Probabilities `(K, h, w)` of each frame and whether it had sound, window after window, faded where they overlap."""
    starts = [0]
    while starts[-1] + window < num_frames:
        starts.append(min(starts[-1] + window - overlap, num_frames - window))
    seen: list[dict[str, torch.Tensor]] = []
    fading: list[torch.Tensor] = []
    for start, following in zip(starts, [*starts[1:], num_frames], strict=True):
        seen += [next(looks) for _ in range(min(start + window, num_frames) - start - len(seen))]
        probabilities = _forward(model, seen)  # (T, K, h, w)
        for place, old in enumerate(fading):
            weight = (place + 1) / (len(fading) + 1)
            probabilities[place] = (1 - weight) * old + weight * probabilities[place]
        done = following - start
        for look, frame in zip(seen[:done], probabilities[:done], strict=True):
            yield frame, bool(look["audio_mask"])
        seen, fading = seen[done:], list(probabilities[done:])


def _forward(model: CCFormerForAudioVisualSegmentation, looks: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    inputs = {name: torch.cat([look[name] for look in looks], dim=1).to(model.device) for name in looks[0]}
    with torch.no_grad():
        return model(**inputs).logits[0].float().softmax(dim=1)


def _at_size(
    probabilities: torch.Tensor, processor: AudioVisualProcessor, size: tuple[int, int], threshold: float
) -> tuple[np.ndarray, dict[int, float]]:
    """One frame `(K, h, w)` -> its class map `(H, W)` uint8, and class id -> mean probability within its mask, best first."""
    outputs = CCFormerOutput(logits=probabilities.log()[None, None])
    class_map = processor.post_process_semantic_segmentation(outputs, [size], threshold)[0][0]
    scores = {}
    for class_id in class_map.unique().tolist():
        if class_id:
            probability = torch.nn.functional.interpolate(probabilities[None, [class_id]], size=size, mode="bilinear")[
                0, 0
            ]
            scores[class_id] = probability[class_map == class_id].mean().item()
    best_first = sorted(scores, key=scores.get, reverse=True)
    return class_map.cpu().numpy(), {class_id: scores[class_id] for class_id in best_first}
