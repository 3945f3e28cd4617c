"""`pipeline("audio-visual-segmentation")`: videos or arrays in, what sounds when and where out (ours)."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from transformers.pipelines.base import ChunkPipeline

from .media_ccformer import MediaError, look_starts, probe
from .sliding_window_ccformer import (
    Look,
    check_numbers,
    class_probabilities,
    classes_at_size,
    frame_times,
    frames_looked_at,
    iter_windows,
    join_windows,
    look_at_arrays,
    look_at_video,
    sounds_heard,
    window_spans,
)
from .timing_ccformer import FRAME_OFFSET, FrameTiming

ARRAYS = ("images", "audio", "sampling_rate", "timestamps")
LARGEST_DOWNLOAD = 4 << 30  # bytes
DOWNLOAD_PIECE = 1 << 20

Video = str | Path | dict[str, Any]


class AudioVisualSegmentationPipeline(ChunkPipeline):
    """Audio-visual segmentation of videos: which pixels make the sound, as what, in each frame that is looked at.

    The model sees a clip window after window, so that its pictures are never in memory all at once; `batch_size` windows, of one clip
    or of several, go through the model together. In memory until a clip is done are its masks, one byte per pixel each.

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

    def __call__(self, inputs: Video | list[Video], **kwargs: Any) -> list[dict] | list[list[dict]]:
        """Segments one clip, or several.

        Args:
            inputs: one clip is the path or http(s) address of a video, or a dict of arrays: `images`, the frames, with optional
                `audio`, `sampling_rate` and `timestamps`, each as `AudioVisualProcessor` takes them for one clip. Several clips: a
                list, a generator or a torch `Dataset` of those.
            fps: frames looked at per second of a video, `"all"` for every frame (more than it has are every frame too); of arrays
                without timestamps, their frames per second. Left out: the processor's, which is refused for arrays where frames and
                sound cannot belong together at it.
            threshold: 0..1; a pixel sounds where 1 - P(background) is higher. Default 0.5.
            window: frames the model sees at a time. Default 10.
            overlap: frames that neighbouring windows share, fewer than `window`; over them the probabilities fade from the one to
                the other. Default 2.
            timeout: seconds without an answer after which a download is given up. Default 60.
            batch_size: windows that go through the model together. Default 1.
            num_workers: as in any pipeline, 0 or 1.

        Returns:
            One dict per frame looked at, in order; of several clips a list of such lists, for a generator or `Dataset` an iterator
            over them. Named as in `segments.json`, and for the masks as in the image-segmentation pipeline of transformers:

            index: of the frame, from 0.
            time: (s) at which the frame was taken.
            start, end: (s) between which it stands for the clip.
            has_sound: whether there was anything to hear around this frame.
            sounding: what sounds in it, best score first, one dict per class:
                label: name of the class; id: its number.
                score: mean probability within its mask, 0..1.
                area: share of the picture's pixels, 0..1.
                mask: PIL image "L" of the size of the picture, 255 where it sounds, 0 elsewhere.

        Raises:
            ValueError: for inputs or numbers that cannot be used.
            MediaError: for a video that cannot be fetched or read (a ValueError too).
        """
        return super().__call__(inputs, **kwargs)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Saves model, processor and code, so that `pipeline("audio-visual-segmentation", save_directory)` loads them again."""
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
        given = {name: value for name, value in given.items() if value is not None}
        return given, {}, {name: given[name] for name in ("threshold",) if name in given}

    def preprocess(
        self,
        clip: Video,
        fps: float | str | None = None,
        threshold: float = 0.5,
        window: int = 10,
        overlap: int = 2,
        timeout: float = 60.0,
    ) -> Iterator[dict]:
        """One clip -> the model's inputs of each window; numbers are checked here, before any work."""
        is_assumed = fps is None
        fps = self.processor.fps if is_assumed else fps
        check_numbers(fps, threshold, window, overlap)
        if isinstance(clip, dict):
            yield from self._windows(*self._look_at_arrays(clip, fps, is_assumed), window, overlap)
        elif isinstance(clip, str) and clip.startswith(("http://", "https://")):
            with downloaded(clip, timeout) as path:
                yield from self._windows(*self._look_at_video(path, fps), window, overlap)
        elif isinstance(clip, (str, Path)):
            yield from self._windows(*self._look_at_video(clip, fps), window, overlap)
        else:
            raise ValueError(
                f"a clip is a {type(clip).__name__}; wanted is the path or address of a video, or a dict of arrays: "
                '{"images": ..., "audio": ..., "sampling_rate": ...}'
            )

    def _forward(self, inputs: dict) -> dict:
        kept = {name: inputs.pop(name) for name in ("size", "clip", "is_last")}
        inputs["pixel_values"] = inputs.pop("pictures")
        probabilities = class_probabilities(self.model, inputs)
        return {"probabilities": probabilities, "has_sound": inputs["audio_mask"], **kept}

    def postprocess(self, windows: list[dict], threshold: float = 0.5) -> list[dict]:
        """The outputs of all windows of one clip -> its records, see `__call__`."""
        clip = windows[0]["clip"]
        names = self.model.config.id2label
        per_frame = ({name: window[name][0] for name in ("probabilities", "has_sound", "size")} for window in windows)
        records = []
        for index, frame in enumerate(join_windows(per_frame, clip["spans"])):
            size = tuple(frame["size"].tolist())
            class_map, scores = classes_at_size(frame["probabilities"], self.processor, size, threshold)
            masks = {class_id: class_map == class_id for class_id in scores}
            sounding = [
                {
                    "label": names[class_id],
                    "id": class_id,
                    "score": score,
                    "area": float(masks[class_id].mean()),
                    "mask": Image.fromarray(masks[class_id].astype(np.uint8) * 255),
                }
                for class_id, score in scores.items()
            ]
            times = {name: clip[name][index] for name in ("time", "start", "end")}
            records.append({"index": index, **times, "has_sound": bool(frame["has_sound"]), "sounding": sounding})
        return records

    def _windows(
        self, looks: Iterator[Look], time: np.ndarray, start: np.ndarray, end: float, window: int, overlap: int
    ) -> Iterator[dict]:
        """Looks at the frames of a clip, their times and its end -> windows, each with what `postprocess` needs of the clip."""
        spans = window_spans(len(time), window, overlap)
        clip = {
            "spans": spans,
            "time": time.tolist(),
            "start": start.tolist(),
            "end": [*start[1:].tolist(), float(end)],
        }
        for number, inputs in enumerate(iter_windows(looks, spans, window), 1):
            # Under this name transformers fills up windows of fewer frames when it makes a batch.
            inputs["pictures"] = inputs.pop("pixel_values")
            yield {**inputs, "clip": clip, "is_last": number == len(spans)}

    def _look_at_video(
        self, path: str | Path, fps: float | str
    ) -> tuple[Iterator[Look], np.ndarray, np.ndarray, float]:
        info = probe(path)
        times = frame_times(info, fps)
        sounds = sounds_heard(info, self.processor, times)
        looks = look_at_video(frames_looked_at(info, fps), sounds, self.processor)
        return looks, times, look_starts(info, fps, times), info.duration

    def _look_at_arrays(
        self, clip: dict[str, Any], fps: float, is_assumed: bool
    ) -> tuple[Iterator[Look], np.ndarray, np.ndarray, float]:
        unknown = set(clip) - set(ARRAYS)
        if unknown or "images" not in clip:
            raise ValueError(
                f"a clip has the entries {sorted(clip)}; wanted is images, and may be {', '.join(ARRAYS[1:])}"
            )
        images = clip["images"]
        if isinstance(images, (str, Path)):
            raise ValueError(f"images is the path {images}; give the path of a video itself, without a dict")
        if not len(images):
            raise ValueError("images holds no frame; give at least one")
        timeline, times = FrameTiming(fps=fps), clip.get("timestamps")
        assumed_fps = fps if is_assumed and times is None else None
        times = timeline.frame_times(len(images)) if times is None else np.asarray(times, dtype=np.float64)
        if times.shape != (len(images),):
            raise ValueError(
                f"timestamps have shape {times.shape} for a clip of {len(images)} frames; give one time (s) per frame"
            )
        looks = look_at_arrays(
            images, clip.get("audio"), clip.get("sampling_rate"), self.processor, times, assumed_fps
        )
        starts = np.maximum(0.0, times - FRAME_OFFSET / fps)
        return looks, times, starts, starts[-1] + 1 / fps


@contextmanager
def downloaded(address: str, timeout: float) -> Iterator[Path]:
    """The file behind an http(s) address, in a temporary folder that is gone after the `with` block.

    Args:
        address: of the file.
        timeout: seconds without an answer after which it is given up.

    Raises:
        MediaError: where it cannot be fetched whole, is larger than 4 GiB, or, inside the block, cannot be read.
    """
    with TemporaryDirectory(prefix="ccformer-") as folder:
        path = Path(folder) / "video"
        try:
            _fetch(address, path, timeout)
            yield path
        except MediaError as error:
            raise MediaError(str(error).replace(str(path), address)) from None


def _fetch(address: str, path: Path, timeout: float) -> None:
    request = urllib.request.Request(address, headers={"User-Agent": "ccformer-hf"})
    size = 0
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer, path.open("wb") as file:
            told = int(answer.headers.get("Content-Length") or 0)
            while size <= LARGEST_DOWNLOAD and told <= LARGEST_DOWNLOAD and (piece := answer.read(DOWNLOAD_PIECE)):
                file.write(piece)
                size += len(piece)
    except urllib.error.HTTPError as error:
        raise MediaError(f"{address}: the server answers {error.code} {error.reason}; check the address") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise MediaError(f"{address}: cannot be fetched ({reason}); check the address and the network") from None
    if max(size, told) > LARGEST_DOWNLOAD:
        raise MediaError(
            f"{address}: is larger than {LARGEST_DOWNLOAD >> 30} GiB; download it and give the path of the file"
        )
    if size < told:
        raise MediaError(f"{address}: the download broke off after {size} of {told} bytes; try again")
