"""`pipeline("audio-visual-segmentation")`: videos or arrays in, what sounds when and where out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers.pipelines.base import ChunkPipeline

from .argument_names_ccformer import unknown_names
from .download_ccformer import ADDRESSES, downloaded
from .feature_extraction_ccformer import frame_times
from .inference_settings_ccformer import InferenceSettings
from .media_ccformer import SampledFrames, iter_frames_at, probe, sampled_frames
from .sliding_window_ccformer import (
    FrameInputs,
    array_inputs,
    class_probabilities,
    frame_sounds,
    iter_windows,
    join_windows,
    segment_frames,
    video_inputs,
    window_spans,
)
from .timing_ccformer import FRAME_OFFSET, FrameTiming

ARRAYS = ("images", "audio", "sampling_rate", "timestamps")

Video = str | Path | dict[str, Any]


class AudioVisualSegmentationPipeline(ChunkPipeline):
    """Audio-visual segmentation of videos: which pixels make the sound, as what, in each sampled frame.

    The model sees a clip window after window, so that its pictures are never in memory all at once; `batch_size`
    windows, of one clip or of several, go through the model together. In memory until a clip is done are its masks,
    one byte per pixel each.

    Example:
        >>> import ccformer_hf  # or trust_remote_code=True
        >>> from transformers import pipeline
        >>> segmenter = pipeline("audio-visual-segmentation", model="owner/name")
        >>> for frame in segmenter("clip.mp4"):
        ...     for sounding in frame["sounding"]:
        ...         print(frame["time"], sounding["label"], sounding["score"], sounding["mask"].getbbox())
    """

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.tokenizer = None  # the processor's, which is none: batches would be padded by it

    def __call__(self, inputs: Video | list[Video], **kwargs: Any) -> list[dict] | list[list[dict]]:
        """Segments one clip, or several.

        Args:
            inputs: one clip is the path or http(s) address of a video, or a dict of arrays: `images`, the frames, with
                optional `audio`, `sampling_rate` and `timestamps`, each as `AudioVisualProcessor` takes them for one
                clip. Several clips: a list, a generator or a torch `Dataset` of those.
            fps, threshold, window, overlap: see `InferenceSettings`. For arrays without timestamps, `fps` is their
                frames per second. Without `fps` it is the processor's, which is refused for arrays whose frames and
                sound cannot belong together at it.
            timeout: seconds without an answer after which a download is given up. Default 60.
            batch_size: windows that go through the model together. Default 1.
            num_workers: as in any pipeline, 0 or 1.

        Returns:
            One dict per sampled frame, in order; of several clips a list of such lists, for a generator or `Dataset`
            an iterator over them. The keys are those of `segments.json`, and `mask` is that of the image-segmentation
            pipeline of transformers:

            index: of the frame, from 0.
            time: (s) at which the frame was taken.
            start, end: (s) between which it stands for the clip.
            has_audio: whether there is any sound around this frame.
            unseen: how likely it is that nothing in view makes it, 0..1; None without sound.
            sounding: what sounds in it, best score first, one dict per class:
                label: name of the class; id: its number.
                score: how sure it is, 0..1: `AudioVisualProcessor.confidence` of the mean probability within its mask.
                area: share of the picture's pixels, 0..1.
                mask: PIL image "L" of the size of the picture, 255 where it sounds, 0 elsewhere.

        Raises:
            ValueError: for inputs or numbers that cannot be used.
            MediaError: for a video that cannot be fetched or read (a ValueError too).
        """
        return super().__call__(inputs, **kwargs)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Saves model, processor and code for `pipeline("audio-visual-segmentation", save_directory)`."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)

    def _sanitize_parameters(
        self,
        fps: float | str | None = None,
        threshold: float | None = None,
        window: int | None = None,
        overlap: int | None = None,
        timeout: float | None = None,
    ) -> tuple[dict, dict, dict]:
        given = {"fps": fps, "threshold": threshold, "window": window, "overlap": overlap, "timeout": timeout}
        return {name: value for name, value in given.items() if value is not None}, {}, {}

    def preprocess(
        self, clip: Video, fps: float | str | None = None, timeout: float = 60.0, **given: Any
    ) -> Iterator[dict]:
        """One clip -> the model's inputs of each window; the settings are checked here, before any work."""
        settings = InferenceSettings(fps=self.processor.fps if fps is None else fps, **given)
        if isinstance(clip, dict):
            yield from _windows(*self._read_arrays(clip, settings.fps, fps is None), settings)
        elif isinstance(clip, str) and clip.lower().startswith(ADDRESSES):
            with downloaded(clip, timeout) as path:
                yield from _windows(*self._read_video(path, settings.fps), settings)
        elif isinstance(clip, (str, Path)):
            yield from _windows(*self._read_video(clip, settings.fps), settings)
        else:
            raise ValueError(
                f"a clip is a {type(clip).__name__}; expected the path or address of a video, or a dict of arrays: "
                '{"images": ..., "audio": ..., "sampling_rate": ...}'
            )

    def _forward(self, inputs: dict) -> dict:
        kept = {name: inputs.pop(name) for name in ("size", "samples", "settings", "is_last")}
        inputs["pixel_values"] = inputs.pop("pictures")
        return {"probabilities": class_probabilities(self.model, inputs), "audio_mask": inputs["audio_mask"], **kept}

    def postprocess(self, windows: list[dict]) -> list[dict]:
        """The outputs of all windows of one clip -> its records, see `__call__`."""
        samples, settings = windows[0]["samples"], windows[0]["settings"]
        spans = window_spans(len(samples), settings.window, settings.overlap)
        # Each window is a batch of one: (1, T, ...) -> (T, ...).
        outputs = ({name: window[name][0] for name in ("probabilities", "audio_mask", "size")} for window in windows)
        frames = segment_frames(join_windows(outputs, spans), samples, self.processor, settings.threshold)
        return [_with_pictures(frame.record(self.model.config.id2label)) for frame in frames]

    def _read_video(self, path: str | Path, fps: float | str) -> tuple[Iterator[FrameInputs], SampledFrames]:
        info = probe(path)
        samples = sampled_frames(info, fps)
        sounds = frame_sounds(info, self.processor, samples.times, fps)
        return video_inputs(iter_frames_at(path, samples.times), sounds, self.processor), samples

    def _read_arrays(
        self, clip: dict[str, Any], fps: float, is_assumed: bool
    ) -> tuple[Iterator[FrameInputs], SampledFrames]:
        expected = f"expected images, and optionally {', '.join(ARRAYS[1:])}"
        if unknown := unknown_names(clip, ARRAYS):
            raise ValueError(f"a clip cannot have {unknown}; {expected}")
        if "images" not in clip:
            raise ValueError(f"a clip has no images, but {', '.join(clip) or 'nothing at all'}; {expected}")
        images = clip["images"]
        if isinstance(images, (str, Path)):
            raise ValueError(f"images is the path {images}; give the path of a video itself, without a dict")
        if isinstance(images, Image.Image):
            images = [images]
        if not len(images):
            raise ValueError("images holds no frame; give at least one")
        timestamps = clip.get("timestamps")
        times = frame_times(FrameTiming(fps=fps), timestamps, len(images))
        of_times = {} if timestamps is not None else {"fps": fps, "is_assumed": is_assumed}
        inputs = array_inputs(images, clip.get("audio"), clip.get("sampling_rate"), self.processor, times, **of_times)
        starts = np.maximum(0.0, times - FRAME_OFFSET / fps)
        return inputs, SampledFrames(times, starts, float(starts[-1] + 1 / fps))


def _windows(inputs: Iterator[FrameInputs], samples: SampledFrames, settings: InferenceSettings) -> Iterator[dict]:
    """Inputs of frames -> inputs of windows, each with what `postprocess` has to know about the clip."""
    spans = window_spans(len(samples), settings.window, settings.overlap)
    for number, window in enumerate(iter_windows(inputs, spans, settings.window), 1):
        # Under this name transformers pads windows of fewer frames when it makes a batch.
        window["pictures"] = window.pop("pixel_values")
        yield {**window, "samples": samples, "settings": settings, "is_last": number == len(spans)}


def _with_pictures(record: dict[str, Any]) -> dict[str, Any]:
    """A frame's record with each mask, bool `(H, W)`, as a picture, as other pipelines give it."""
    for entry in record["sounding"]:
        entry["mask"] = Image.fromarray(entry["mask"].astype(np.uint8) * 255)
    return record
