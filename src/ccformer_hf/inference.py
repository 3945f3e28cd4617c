"""Segments what sounds in a video of any length, and writes the result down (ours).

One way through, twice over the file: `iter_segments` looks at `fps` frames per second, each with its own sound, and yields one
class map per frame; `segment_video` keeps them as PNGs and then lays them over every frame. Memory depends on the window and the
picture size, never on the duration.

Letters: `T` frames of a window, `K` classes, `H W` picture, `h w` the model's map.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from . import auto  # noqa: F401  from_pretrained looks the processor's parts up among the Auto classes
from .configuration_ccformer import CCFormerConfig
from .media import VideoWriter
from .media_ccformer import MediaInfo, SoundReader, iter_frames, iter_frames_at, probe
from .modeling_ccformer import CCFormerForAudioVisualSegmentation, CCFormerOutput
from .processing_ccformer import AudioVisualProcessor
from .timeline_ccformer import FRAME_OFFSET, Timeline
from .visualize import PALETTE, Bar, Overlay, Tile, clock, contact_sheet, timeline_picture

BUILT_IN_MODEL = "ccformer-tiny"
CHECKPOINTS = Path(__file__).with_name("checkpoints")
# What `segment_video` can write, and the name of each in the folder of a video.
FORMATS = {"video": "overlay.mp4", "masks": "masks", "json": "segments.json", "sheet": "contact_sheet.png"}

# Regions smaller than this share of the picture get no box in the JSON, and no class gets more boxes than this.
SPECK = 0.0005
MOST_BOXES = 20
SHEET_FRAMES = 12
THUMBNAIL = 480  # longest side in pixels
LOUDNESS_PARTS = 1200

Model = str | os.PathLike | tuple[CCFormerForAudioVisualSegmentation, AudioVisualProcessor]


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


@dataclass(frozen=True)
class Segmentation:
    """What `segment_video` made.

    Attributes:
        folder: that holds all of it.
        video: the video with the masks laid over it; None where it was not asked for, like the next three.
        masks: folder of one PNG per frame looked at, pixels = class ids.
        json: file with the content of `segments`.
        sheet: the contact sheet, a PNG.
        segments: see `segment_video`.
    """

    folder: Path
    video: Path | None
    masks: Path | None
    json: Path | None
    sheet: Path | None
    segments: dict


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
    _check_numbers(fps, threshold, window, overlap)
    info = probe(path)
    return _segments(info, _frames(info, fps), model, processor, fps, threshold, window, overlap)


def segment_video(
    path: str | os.PathLike,
    output_dir: str | os.PathLike,
    model: Model = BUILT_IN_MODEL,
    fps: float = 1.0,
    threshold: float = 0.5,
    window: int = 10,
    overlap: int = 2,
    device: str = "auto",
    formats: Sequence[str] = tuple(FORMATS),
    progress: bool = True,
) -> Segmentation:
    """Segments a video and writes the result to `output_dir/<name of the video without its ending>/`.

    * `overlay.mp4` ("video"): every frame with the masks laid over it and the names of what sounds, own sound kept. The
      masks of frame i are shown from i / fps to (i + 1) / fps seconds.
    * `masks/000000.png` ... ("masks"): one per frame looked at, at the size of the video; pixels are class ids, the colours are
      in the palette.
    * `segments.json` ("json"): see below.
    * `contact_sheet.png` ("sheet"): up to 12 frames, and a timeline of what sounds when.

    The folder appears at the end, whole, and then replaces one that an earlier run wrote; an error leaves everything as it was.

    `segments.json` (seconds; pixels of the upright picture, origin top left):

        model       name; trained_on: what its folder says in checkpoint.json, null where it says nothing
        source      file, duration, width, height, fps, has_audio
        fps         frames looked at per second
        threshold   of 1 - P(background)
        has_sound   false: the video has no sound track, the model was told so
        classes     class id (as text) -> name, all the model knows
        frames      one entry per frame looked at:
            index, time, start, end     as in `FrameSegmentation`
            sounding                    best score first, one entry per class in the mask:
                class, id
                score   mean probability within its mask, 0..1
                area    share of the picture's pixels, 0..1
                boxes   [[x0, y0, x1, y1], ...], x1 and y1 one beyond the last pixel: its connected regions, the
                        largest first, at most 20, none smaller than 0.05 % of the picture

    Args:
        path: the video.
        output_dir: made where it does not exist.
        model: what `load` takes, or what it returned.
        fps, threshold, window, overlap: see `iter_segments`.
        device: see `load`; not used where `model` is loaded already.
        formats: which of "video", "masks", "json", "sheet" to write.
        progress: whether to show a progress bar, on a terminal.

    Raises:
        MediaError: where the video cannot be read.
        OSError: where the model is missing, or the output cannot be written.
        ValueError: for arguments that cannot be used.
    """
    _check_numbers(fps, threshold, window, overlap)
    formats = tuple(formats)
    if not formats or not set(formats) <= set(FORMATS):
        raise ValueError(f"formats is {formats}; choose from {', '.join(FORMATS)}")
    info = probe(path)
    target = Path(output_dir) / Path(path).stem
    _check_target(target, Path(path))
    model, processor = model if isinstance(model, tuple) else load(model, device)

    with _AppearsWhole(target) as folder:
        segments = _write_all(folder, info, model, processor, fps, threshold, window, overlap, formats, progress)
    paths = {name: target / file if name in formats else None for name, file in FORMATS.items()}
    return Segmentation(folder=target, **paths, segments=segments)


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


def _check_numbers(fps: float, threshold: float, window: int, overlap: int) -> None:
    Timeline(fps=fps)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}, it must be from 0 (marks most) to 1 (marks nothing)")
    if window < 1 or not 0 <= overlap < window:
        raise ValueError(
            f"window is {window} and overlap {overlap}; a window is at least 1 frame, and the overlap from 0 to below the window"
        )


def _frame_times(info: MediaInfo, fps: float) -> np.ndarray:
    timeline = Timeline(fps=fps)
    return timeline.frame_times(timeline.num_frames(info.duration), info.duration)


def _frames(info: MediaInfo, fps: float) -> Iterator[np.ndarray]:
    return iter_frames_at(info.path, _frame_times(info, fps))


def _segments(
    info: MediaInfo,
    frames: Iterable[np.ndarray],
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float,
    threshold: float,
    window: int,
    overlap: int,
) -> Iterator[FrameSegmentation]:
    times = _frame_times(info, fps)
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


class _AppearsWhole:
    """A folder to write into that takes the name `target` when its `with` block ends well, and is gone when it does not."""

    def __init__(self, target: Path):
        self._target = target

    def __enter__(self) -> Path:
        parent = self._target.parent
        self._made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        try:
            parent.mkdir(parents=True, exist_ok=True)
            self._folder = parent / f".{self._target.name}.{os.getpid()}.part"
            self._folder.mkdir()
        except OSError as error:
            self._remove_parents()
            raise OSError(
                f"{parent}: cannot be written to ({error.strerror}); name another folder for the output"
            ) from None
        return self._folder

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            # A folder cannot be replaced in one step: the old one steps aside.
            old = self._folder.with_suffix(".old")
            if self._target.exists():
                os.rename(self._target, old)
            os.rename(self._folder, self._target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._remove_parents()

    def _remove_parents(self) -> None:
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return  # someone else has put something there


def _check_target(target: Path, source: Path) -> None:
    """An earlier result may be replaced, nothing else."""
    if not target.exists():
        return
    if not target.is_dir() or {item.name for item in target.iterdir()} - set(FORMATS.values()):
        raise FileExistsError(
            f"{target}: is there already and is no earlier result; name another folder for the output"
        )
    if target.resolve() in source.resolve().parents:
        raise FileExistsError(
            f"{source}: lies in {target}, which the result would replace; name another output folder"
        )


def _write_all(
    folder: Path,
    info: MediaInfo,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    fps: float,
    threshold: float,
    window: int,
    overlap: int,
    formats: Sequence[str],
    progress: bool,
) -> dict:
    """Writes everything into `folder` and returns the content of `segments.json`."""
    num_frames = len(_frame_times(info, fps))
    on_sheet = np.unique(np.linspace(0, num_frames - 1, min(SHEET_FRAMES, num_frames)).round().astype(int)).tolist()
    thumbnails: dict[int, np.ndarray] = {}
    names = model.config.id2label
    ids = {name: class_id for class_id, name in names.items()}
    masks = folder / FORMATS["masks"]
    masks.mkdir()
    segments = {
        "model": {"name": _model_name(model), "trained_on": trained_on(model)},
        "source": {
            "file": Path(info.path).name,
            "duration": round(info.duration, 6),
            "width": info.width,
            "height": info.height,
            "fps": round(info.fps, 6),
            "has_audio": info.has_audio,
        },
        "fps": fps,
        "threshold": threshold,
        "has_sound": info.has_audio,
        "classes": {str(class_id): name for class_id, name in names.items()},
        "frames": [],
    }
    steps = num_frames * (1 + ("video" in formats))
    # disable=None: shown on a terminal only.
    with tqdm(
        total=steps, desc=Path(info.path).name, unit="frame", leave=False, disable=None if progress else True
    ) as bar:
        frames = _keeping_thumbnails(_frames(info, fps), on_sheet, thumbnails)
        for frame in _segments(info, frames, model, processor, fps, threshold, window, overlap):
            _save_mask(masks / f"{frame.index:06d}.png", frame.class_map)
            segments["frames"].append(_record(frame, ids))
            bar.update()
        if "video" in formats:
            _write_video(folder / FORMATS["video"], info, segments, masks, bar)
    if "sheet" in formats:
        tiles = [_tile(thumbnails[index], masks, segments["frames"][index]) for index in on_sheet]
        _sheet(info, segments, tiles, names).save(folder / FORMATS["sheet"])
    if "json" in formats:
        text = json.dumps(segments, indent=1, ensure_ascii=False)
        (folder / FORMATS["json"]).write_text(text + "\n", encoding="utf-8")
    if "masks" not in formats:
        shutil.rmtree(masks)
    return segments


def _model_name(model: CCFormerForAudioVisualSegmentation) -> str:
    """The Hub id, or the name of the folder it came from."""
    name = model.name_or_path
    return Path(name).name if Path(name).is_dir() else name


def _keeping_thumbnails(
    frames: Iterable[np.ndarray], wanted: Sequence[int], kept: dict[int, np.ndarray]
) -> Iterator[np.ndarray]:
    for index, frame in enumerate(frames):
        if index in wanted:
            image = Image.fromarray(frame)
            image.thumbnail((THUMBNAIL, THUMBNAIL))
            kept[index] = np.asarray(image)
        yield frame


def _save_mask(path: Path, class_map: np.ndarray) -> None:
    image = Image.fromarray(class_map)
    image.putpalette(PALETTE.tobytes())
    image.save(path, compress_level=3)


def _read_mask(masks: Path, index: int) -> np.ndarray:
    with Image.open(masks / f"{index:06d}.png") as image:
        return np.array(image)


def _record(frame: FrameSegmentation, ids: dict[str, int]) -> dict:
    """One entry of `frames` in `segments.json`."""
    sounding = []
    for name, score in frame.scores.items():
        mask = frame.class_map == ids[name]
        sounding.append(
            {
                "class": name,
                "id": ids[name],
                "score": round(score, 4),
                "area": round(float(mask.mean()), 6),
                "boxes": _boxes(mask),
            }
        )
    times = {key: round(getattr(frame, key), 6) for key in ("time", "start", "end")}
    return {"index": frame.index, **times, "sounding": sounding}


def _boxes(mask: np.ndarray) -> list[list[int]]:
    regions, _ = ndimage.label(mask)
    sizes = np.bincount(regions.ravel())[1:]
    boxes = ndimage.find_objects(regions)
    largest = [place for place in np.argsort(-sizes, kind="stable") if sizes[place] >= SPECK * mask.size][:MOST_BOXES]
    return [[columns.start, rows.start, columns.stop, rows.stop] for rows, columns in (boxes[i] for i in largest)]


def _write_video(path: Path, info: MediaInfo, segments: dict, masks: Path, bar: tqdm) -> None:
    timeline = Timeline(fps=segments["fps"])
    records = segments["frames"]
    shown, layer = -1, None
    with VideoWriter(path, info.width, info.height, info.fps, sound_from=info.path) as video:
        for time, frame in iter_frames(info.path):
            index = timeline.frame_at(time, len(records))
            if index != shown:
                legend = {entry["id"]: entry["class"] for entry in records[index]["sounding"]}
                layer = Overlay(_read_mask(masks, index), legend=legend)
                bar.update(index - max(shown, 0))
                shown = index
            layer.draw_on(frame)
            video.write(frame, time)
        bar.update(bar.total - bar.n)


def _tile(thumbnail: np.ndarray, masks: Path, record: dict) -> Tile:
    height, width = thumbnail.shape[:2]
    class_map = Image.fromarray(_read_mask(masks, record["index"])).resize((width, height), Image.Resampling.NEAREST)
    sounding = {entry["id"]: entry["class"] for entry in record["sounding"]}
    return Tile(record["time"], thumbnail, np.asarray(class_map), sounding)


def _sheet(info: MediaInfo, segments: dict, tiles: Sequence[Tile], names: dict[int, str]) -> Image.Image:
    bars = [
        Bar(entry["id"], record["start"], record["end"], entry["score"])
        for record in segments["frames"]
        for entry in record["sounding"]
    ]
    facts = (
        clock(info.duration, 1),
        f"{info.width} x {info.height}",
        f"looked at every {1 / segments['fps']:g} s",
        f"threshold {segments['threshold']:g}",
        segments["model"]["name"],
    )
    timeline = timeline_picture(bars, names, info.duration, _loudness(info) if info.has_audio else None)
    return contact_sheet(Path(info.path).name, "  \u00b7  ".join(facts), tiles, timeline)


def _loudness(info: MediaInfo) -> np.ndarray:
    """Root mean square of the sound in `LOUDNESS_PARTS` equal parts of the clip."""
    with SoundReader(info.path) as sound:
        seconds = info.duration / LOUDNESS_PARTS
        num_samples = max(1, round(seconds * sound.rate))
        parts = (sound.read(part * seconds, num_samples) for part in range(LOUDNESS_PARTS))
        return np.array([np.sqrt(np.mean(np.square(part), dtype=np.float64)) for part in parts])
