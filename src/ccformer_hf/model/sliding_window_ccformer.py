"""A clip of any length, window after window: the algorithm behind `iter_segments`, the pipeline and the demo.

    frames with their sound            `video_inputs` or `array_inputs`   -> FrameInputs, one per frame
    windows of T frames                `iter_windows`                     -> FrameInputs, one per window
    the model                          `class_probabilities`              -> (B, T, K, h, w)
    frames again, overlaps faded       `join_windows`                     -> FrameProbabilities
    classes at the size of the picture `segment_frames`                   -> FrameSegmentation

`predict_frames` chains the middle three; the pipeline calls them one by one, since transformers makes the batches in
between. Every step is an iterator: the memory it needs is that of two windows, whatever the length of the clip.

Letters: `B` clips, `T` frames of a window, `K` classes with background first, `S` samples of sound, `H W` picture,
`h w` the model's map.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from .feature_extraction_ccformer import plain_sound
from .inference_settings_ccformer import InferenceSettings
from .media_ccformer import MediaError, MediaInfo, SampledFrames, iter_sounds, rate_of_samples
from .processing_ccformer import (
    AudioVisualProcessor,
    Frame,
    check_assumed_rate,
    class_map_at_size,
    read_frames,
    sound_seconds,
)
from .timing_ccformer import FRAME_OFFSET, FrameTiming

# The model's inputs of one frame, `(1, 1, ...)` each, or of one window, `(1, T, ...)`; and
# `size`, height and width of the picture, `(1, 1, 2)` or `(1, T, 2)`.
FrameInputs = dict[str, torch.Tensor]
# The first frame of a window, and the first frame of the window after it.
Span = tuple[int, int]


# Windows that go through the model together on a GPU, which one of ten frames hardly fills; a CPU gains nothing by it.
WINDOWS_AT_ONCE = 4


@dataclass(frozen=True)
class FrameProbabilities:
    """What the model says about one frame, before any threshold.

    Attributes:
        probabilities: `(K, h, w)` float32, 0..1, summing to 1 over K.
        has_audio: whether there is any sound around this frame.
        size: height and width of the picture, to which the masks are scaled.
    """

    probabilities: torch.Tensor
    has_audio: bool
    size: tuple[int, int]


@dataclass(frozen=True)
class FrameSegmentation:
    """What sounds in one sampled frame.

    Attributes:
        index: of the frame among the sampled ones, from 0.
        time: (s) at which the frame was taken.
        start: (s) from which on it stands for the clip, up to `end`.
        end: the next frame's `start`, or the end of the clip.
        class_map: `(H, W)` uint8 at the size of the picture, 0 = background.
        scores: class id -> `AudioVisualProcessor.confidence` of the mean probability within its mask, 0..1, for every
            class in the map, best first. The names are `model.config.id2label`.
        has_audio: whether there is any sound around this frame.
        unseen: how likely it is that nothing in view makes it, 0..1, see `AudioVisualProcessor.unseen`; None without
            sound.
    """

    index: int
    time: float
    start: float
    end: float
    class_map: np.ndarray
    scores: dict[int, float]
    has_audio: bool
    unseen: float | None

    def record(self, names: Mapping[int, str]) -> dict[str, Any]:
        """The same class by class, as the pipeline and `segments.json` give it, from class id -> name.

        `index`, `time`, `start`, `end`, `has_audio`, `unseen`, and `sounding`, best score first: a dict per class with
        its `label`, `id`, `score`, `area` (share of the picture, 0..1) and `mask` (bool `(H, W)`).
        """
        sounding = []
        for class_id, score in self.scores.items():
            mask = self.class_map == class_id  # (H, W)
            entry = {"label": names[class_id], "id": class_id, "score": score, "area": float(mask.mean())}
            sounding.append({**entry, "mask": mask})
        return {
            "index": self.index,
            "time": self.time,
            "start": self.start,
            "end": self.end,
            "has_audio": self.has_audio,
            "unseen": self.unseen,
            "sounding": sounding,
        }


def frame_sounds(
    info: MediaInfo,
    processor: AudioVisualProcessor,
    times: np.ndarray,
    fps: float | str,
    iter_sounds: Callable[..., Iterator[np.ndarray | None]] = iter_sounds,
) -> Iterator[np.ndarray | None]:
    """The sound around each frame of a video, as `video_inputs` takes it; all None where it has none.

    Args:
        info: of the video.
        processor: of the model; it says which sound belongs to a frame, and at which rate.
        times: (s) of the frames, rising.
        fps: how many there are per second, see `InferenceSettings`.
        iter_sounds: reads it, with the arguments of `media_ccformer.iter_sounds`.
    """
    if not info.has_audio:
        return repeat(None, len(times))
    extractor = processor.feature_extractor
    timing = FrameTiming(rate_of_samples(info, fps), extractor.sampling_rate, extractor.alignment)
    starts = timing.sound_starts(times) - extractor.seconds_before
    return iter_sounds(info.path, starts, extractor.frame_samples, timing.sampling_rate)  # (S,) each


def video_inputs(
    frames: Iterable[np.ndarray], sounds: Iterable[np.ndarray | None], processor: AudioVisualProcessor
) -> Iterator[FrameInputs]:
    """The model's inputs of each frame of a video: no frame stays in memory at its full size.

    Args:
        frames: uint8 `(H, W, 3)` each, in order.
        sounds: of each frame the samples around it, `(frame_samples,)` float32 as its feature extractor has it, mono,
            at the processor's rate; None: it has no sound.
        processor: of the model.
    """
    # A sound is cut out already, by whichever rule: to the extractor, it is a clip of its own with one frame.
    extractor = copy(processor.feature_extractor)
    extractor.alignment = "frame"
    times = [FRAME_OFFSET + extractor.seconds_before]
    for frame, sound in zip(frames, sounds, strict=True):
        heard = extractor(sound, sampling_rate=extractor.sampling_rate, timestamps=times, return_tensors="pt")
        yield {**processor([frame]), **heard, "size": _size(frame)}


def array_inputs(
    frames: Iterable[Frame],
    audio,
    sampling_rate: float | None,
    processor: AudioVisualProcessor,
    times: np.ndarray,
    fps: float | None = None,
    is_assumed: bool = False,
) -> Iterator[FrameInputs]:
    """The model's inputs of each frame of a clip in memory.

    Args:
        frames: each of any form that the processor takes.
        audio, sampling_rate: sound of the whole clip, as the processor takes it.
        processor: of the model.
        times: (s) of the frames, counted from the first sample of the sound.
        fps: frames per second behind `times`; None: the times themselves were given.
        is_assumed: whether nobody said so.

    Raises:
        ValueError: for frames or sound that cannot be used, or cannot belong together at an assumed `fps`.
    """
    audio, sampling_rate = plain_sound(audio, sampling_rate)
    sounds = processor.feature_extractor(audio, sampling_rate, times, fps, return_tensors="pt")
    if is_assumed and audio is not None:
        check_assumed_rate(len(times), fps, sound_seconds(audio, sampling_rate))
    for index, frame in enumerate(frames):
        (picture,) = read_frames([frame])
        sound = {name: values[:, index, None] for name, values in sounds.items()}  # (1, T, ...) -> (1, 1, ...)
        yield {**processor([picture]), **sound, "size": _size(picture)}


def _size(picture: np.ndarray) -> torch.Tensor:
    return torch.tensor([[picture.shape[:2]]])  # (1, 1, 2)


def window_spans(num_frames: int, window: int, overlap: int) -> list[Span]:
    """Of each window its first frame, and the first frame of the window after it (for the last: `num_frames`).

    Neighbours share `overlap` frames; the last two share more where the last one would not be full otherwise: the
    model was trained on clips of one length, and the shorter the clip, the less it sees around a frame.
    """
    starts = [0]
    while starts[-1] + window < num_frames:
        starts.append(min(starts[-1] + window - overlap, num_frames - window))
    return list(zip(starts, [*starts[1:], num_frames], strict=True))


def iter_windows(inputs: Iterator[FrameInputs], spans: Sequence[Span], window: int) -> Iterator[FrameInputs]:
    """Inputs of frames `(1, 1, ...)` -> inputs of windows `(1, T, ...)`; reads no further than the window needs."""
    held: list[FrameInputs] = []
    for start, following in spans:
        held += islice(inputs, window - len(held))
        yield window_of(held)
        held = held[following - start :]  # what the next window shares with this one


def window_of(frames: Sequence[FrameInputs]) -> FrameInputs:
    """Inputs of T frames `(1, 1, ...)` -> those of the window that they make, `(1, T, ...)`."""
    return {name: torch.cat([frame[name] for frame in frames], dim=1) for name in frames[0]}


def class_probabilities(model: PreTrainedModel, inputs: FrameInputs) -> torch.Tensor:
    """One pass of the model, in its precision, on its device: float32 `(B, T, K, h, w)`, 0..1, summing to 1 over K.

    Raises:
        ValueError: where the model gives NaN or infinity, which would look like masks.
    """
    inputs = {
        name: values.to(model.device, model.dtype if values.is_floating_point() else None)
        for name, values in inputs.items()
        if name != "size"
    }
    with torch.no_grad():
        probabilities = model(**inputs).logits.float().softmax(dim=2)  # (B, T, K, h, w)
    if not torch.isfinite(probabilities).all():
        raise ValueError(
            f"{model.name_or_path or 'the model'}: gives NaN for this clip; "
            f"its weights or their type, {model.dtype}, are at fault: load it in float32, or load other weights"
        )
    return probabilities


def join_windows(windows: Iterable[Mapping[str, torch.Tensor]], spans: Sequence[Span]) -> Iterator[FrameProbabilities]:
    """Windows -> frames. Where windows overlap, their probabilities fade from one to the next.

    Args:
        windows: `probabilities (T, K, h, w)`, which is written to, `audio_mask (T,)` and `size (T, 2)`; padding at the
            end is skipped.
        spans: of `window_spans`.
    """
    fading: Sequence[torch.Tensor] = []  # what the window before says of the frames that this one has too
    for (start, following), window in zip(spans, windows, strict=True):
        probabilities = window["probabilities"]
        for place, old in enumerate(fading):
            weight = (place + 1) / (len(fading) + 1)
            probabilities[place] = (1 - weight) * old + weight * probabilities[place]
        for place in range(following - start):
            yield FrameProbabilities(
                probabilities=probabilities[place],  # (K, h, w)
                has_audio=bool(window["audio_mask"][place]),
                size=tuple(window["size"][place].tolist()),
            )
        fading = probabilities[following - start :]


def predict_frames(
    inputs: Iterator[FrameInputs], samples: SampledFrames, model: PreTrainedModel, settings: InferenceSettings
) -> Iterator[FrameProbabilities]:
    """The model's answer for each sampled frame, window after window."""
    spans = window_spans(len(samples), settings.window, settings.overlap)
    at_once = WINDOWS_AT_ONCE if model.device.type == "cuda" else 1
    windows = iter_windows(inputs, spans, settings.window)
    return join_windows(predict_windows(windows, model, at_once), spans)


def predict_windows(
    windows: Iterator[FrameInputs], model: PreTrainedModel, at_once: int
) -> Iterator[dict[str, torch.Tensor]]:
    """What `join_windows` takes, from the inputs of windows of one length; several go through the model together.

    The model is at work on the next ones, in a thread of its own, while the caller has to do with these.
    """
    thread = ThreadPoolExecutor(max_workers=1)
    under_way: deque[tuple[list[FrameInputs], Future[torch.Tensor]]] = deque()
    try:
        while batch := list(islice(windows, at_once)):
            inputs = {name: torch.cat([window[name] for window in batch]) for name in batch[0]}  # (B, T, ...)
            under_way.append((batch, thread.submit(class_probabilities, model, inputs)))
            if len(under_way) > 1:
                yield from _answered(*under_way.popleft())
        while under_way:
            yield from _answered(*under_way.popleft())
    except MediaError:
        while under_way:  # what was read before the file broke off
            yield from _answered(*under_way.popleft())
        raise
    finally:  # closed early, it waits for what the model is at, and for nothing that it has not begun
        for _, answer in under_way:
            answer.cancel()
        thread.shutdown()


def _answered(windows: Sequence[FrameInputs], answer: Future[torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Windows that went through the model together, one by one again."""
    try:
        together = answer.result()  # (B, T, K, h, w)
    finally:
        # An error keeps this frame alive, and the answer the error: in a circle, with the children that read the file.
        del answer
    for window, probabilities in zip(windows, together, strict=True):  # (T, K, h, w)
        yield {
            "probabilities": probabilities,
            "audio_mask": window["audio_mask"][0],
            "size": window["size"][0],
        }


def segment_frames(
    frames: Iterable[FrameProbabilities], samples: SampledFrames, processor: AudioVisualProcessor, threshold: float
) -> Iterator[FrameSegmentation]:
    """What sounds where in each frame.

    Args:
        frames: one per sampled frame, in order.
        samples: their times.
        processor: of the model.
        threshold: see `InferenceSettings`.
    """
    times = zip(samples.times.tolist(), samples.starts.tolist(), samples.ends.tolist(), strict=True)
    for index, (frame, (time, start, end)) in enumerate(zip(frames, times, strict=True)):
        class_map, scores = classes_at_size(frame.probabilities, processor, frame.size, threshold)
        unseen = unseen_sound(frame.probabilities, frame.has_audio, processor)
        yield FrameSegmentation(index, time, start, end, class_map, scores, frame.has_audio, unseen)


def unseen_sound(probabilities: torch.Tensor, has_audio: bool, processor: AudioVisualProcessor) -> float | None:
    """`unseen` of a `FrameSegmentation`, from `(K, h, w)`."""
    return processor.unseen(1 - probabilities[0].min().item()) if has_audio else None


def classes_at_size(
    probabilities: torch.Tensor, processor: AudioVisualProcessor, size: tuple[int, int], threshold: float
) -> tuple[np.ndarray, dict[int, float]]:
    """`(K, h, w)` -> class map `(H, W)` uint8, and class id -> its score, see `FrameSegmentation`, best first."""
    probabilities = processor.sure_probabilities(probabilities, threshold)
    class_map = class_map_at_size(probabilities, size, threshold)  # (H, W)
    scores = {}
    for class_id in class_map.unique().tolist():
        if class_id:
            one_class = probabilities[None, [class_id]]  # (1, 1, h, w)
            scaled = torch.nn.functional.interpolate(one_class, size=size, mode="bilinear")[0, 0]  # (H, W)
            scores[class_id] = processor.confidence(scaled[class_map == class_id].mean().item())
    best_first = sorted(scores, key=scores.get, reverse=True)
    return class_map.cpu().numpy(), {class_id: scores[class_id] for class_id in best_first}
