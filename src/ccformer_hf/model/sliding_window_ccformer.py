"""A clip of any length through the model, window after window (ours).

Frames with their sound -> looks, one per frame -> windows -> the model -> probabilities, faded where windows overlap -> classes at the
size of the picture. Every step is an iterator: the memory it needs is that of one window, whatever the length of the clip.

A look is a dict: the model's inputs of one frame, `(1, 1, ...)` each, and `size (1, 1, 2)`, the picture's height and width in pixels.

Letters: `T` frames of a window, `K` classes with background first, `H W` picture, `h w` the model's map.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import SemanticSegmenterOutput

from .media_ccformer import ALL_FRAMES, MediaInfo, SoundReader, frame_times, iter_frames_at
from .processing_ccformer import AudioVisualProcessor, Frame, check_assumed_rate, read_frames, sound_seconds
from .timing_ccformer import FRAME_OFFSET, FrameTiming

Look = dict[str, torch.Tensor]
Span = tuple[int, int]


def check_numbers(fps: float | str, threshold: float, window: int, overlap: int) -> None:
    """Raises ValueError for numbers with which no clip can be segmented."""
    if fps != ALL_FRAMES:
        FrameTiming(fps=fps)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}, it must be from 0 (marks most) to 1 (marks nothing)")
    if window < 1 or not 0 <= overlap < window:
        raise ValueError(
            f"window is {window} and overlap {overlap}; a window is at least 1 frame, and the overlap from 0 to below the window"
        )


def frames_looked_at(info: MediaInfo, fps: float | str) -> Iterator[np.ndarray]:
    """The frames at `frame_times`, each uint8 `(H, W, 3)`."""
    return iter_frames_at(info.path, frame_times(info, fps))


def sound_timeline(processor: AudioVisualProcessor) -> FrameTiming:
    """Which sound belongs to a frame, and how much of it at which rate, for a model's processor."""
    extractor = processor.feature_extractor
    return FrameTiming(sampling_rate=extractor.sampling_rate, alignment=extractor.alignment)


def sounds_heard(info: MediaInfo, processor: AudioVisualProcessor, times: np.ndarray) -> Iterator[np.ndarray | None]:
    """The sound of a video around each of its frames at `times` (s), see `look_at_video`; all None where it has none."""
    if not info.has_audio:
        yield from repeat(None, len(times))
        return
    timeline = sound_timeline(processor)
    with SoundReader(info.path, timeline.sampling_rate) as sound:
        for start in timeline.sound_starts(times):
            yield sound.read(start, timeline.example_samples)


def look_at_video(
    frames: Iterable[np.ndarray], sounds: Iterable[np.ndarray | None], processor: AudioVisualProcessor
) -> Iterator[Look]:
    """Looks at the frames of a video with their own sound: no frame stays in memory at its full size.

    Args:
        frames: those of `frames_looked_at`.
        sounds: those of `sounds_heard`: of each frame the samples `(S,)` float32 around it, mono, at the processor's rate; None: none.
        processor: of the model.
    """
    rate = processor.feature_extractor.sampling_rate
    for frame, example in zip(frames, sounds, strict=True):
        # Cut out already: for the extractor this is the frame of the first second of its own little clip.
        inputs = processor([frame], example, sampling_rate=rate, timestamps=[FRAME_OFFSET])
        yield {**inputs, "size": _size(frame)}


def look_at_arrays(
    frames: Iterable[Frame],
    audio,
    sampling_rate: float | None,
    processor: AudioVisualProcessor,
    times: np.ndarray,
    assumed_fps: float | None = None,
) -> Iterator[Look]:
    """Looks at frames and sound in memory.

    Args:
        frames: each of any form that the processor takes.
        audio, sampling_rate: sound of the whole clip, as the processor takes it.
        processor: of the model.
        times: (s) of the frames, counted from the first sample of the sound.
        assumed_fps: frames per second from which `times` were made without anyone having said so; None: somebody did.

    Raises:
        ValueError: for frames or sound that cannot be used, or cannot belong together at `assumed_fps`.
    """
    sounds = processor.feature_extractor(audio, sampling_rate=sampling_rate, timestamps=times, return_tensors="pt")
    if assumed_fps is not None and audio is not None:
        check_assumed_rate(len(times), assumed_fps, sound_seconds(audio, sampling_rate))
    for index, frame in enumerate(frames):
        (picture,) = read_frames([frame])
        sound = {name: values[:, index, None] for name, values in sounds.items()}
        yield {**processor([picture]), **sound, "size": _size(picture)}


def _size(picture: np.ndarray) -> torch.Tensor:
    return torch.tensor([[picture.shape[:2]]])


def window_spans(num_frames: int, window: int, overlap: int) -> list[Span]:
    """Of each window its first frame and that of the window after it (of the last: `num_frames`).

    Neighbours share `overlap` frames, the last two more where the last one would not be full otherwise.
    """
    starts = [0]
    while starts[-1] + window < num_frames:
        starts.append(min(starts[-1] + window - overlap, num_frames - window))
    return list(zip(starts, [*starts[1:], num_frames], strict=True))


def iter_windows(looks: Iterator[Look], spans: Sequence[Span], window: int) -> Iterator[Look]:
    """Looks, one per frame -> looks `(1, T, ...)`, one per window; reads no further than the window needs."""
    seen: list[Look] = []
    for start, following in spans:
        seen += islice(looks, window - len(seen))
        yield {name: torch.cat([look[name] for look in seen], dim=1) for name in seen[0]}
        seen = seen[following - start :]


def class_probabilities(model: PreTrainedModel, inputs: Look) -> torch.Tensor:
    """One pass of the model, in its own precision and where it is: float32 `(B, T, K, h, w)`, 0..1, summing to 1 over K.

    Raises:
        ValueError: where the model gives no numbers, which would look like masks.
    """
    inputs = {
        name: values.to(model.device, model.dtype if values.is_floating_point() else None)
        for name, values in inputs.items()
        if name != "size"
    }
    with torch.no_grad():
        probabilities = model(**inputs).logits.float().softmax(dim=2)
    if not torch.isfinite(probabilities).all():
        raise ValueError(
            f"{model.name_or_path or 'the model'}: gives NaN for what it sees and hears; its weights or their type, {model.dtype}, "
            "are at fault: load it in float32, or other weights"
        )
    return probabilities


def join_windows(windows: Iterable[Look], spans: Sequence[Span]) -> Iterator[Look]:
    """Windows -> frames. Where windows overlap, their probabilities fade from the one to the other.

    Args:
        windows: `probabilities (T, K, h, w)`, which is written to, and anything else `(T, ...)`; padding at the end is passed over.
        spans: of `window_spans`.

    Returns:
        The same of each frame, without `T`.
    """
    fading: Sequence[torch.Tensor] = []
    for (start, following), window in zip(spans, windows, strict=True):
        probabilities = window["probabilities"]
        for place, old in enumerate(fading):
            weight = (place + 1) / (len(fading) + 1)
            probabilities[place] = (1 - weight) * old + weight * probabilities[place]
        for place in range(following - start):
            yield {name: values[place] for name, values in window.items()}
        fading = probabilities[following - start :]


def classes_at_size(
    probabilities: torch.Tensor, processor: AudioVisualProcessor, size: tuple[int, int], threshold: float
) -> tuple[np.ndarray, dict[int, float]]:
    """One frame `(K, h, w)` -> its class map `(H, W)` uint8, and class id -> mean probability within its mask, best first."""
    outputs = SemanticSegmenterOutput(logits=probabilities.log()[None, None])
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
