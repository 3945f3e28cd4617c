"""The synthetic mini set: clips whose sound alone decides which of the visible objects is marked.

Several objects of distinct classes move, turn and cover each other; some of them sound, and which ones changes from
second to second. Who sounds does not depend on the pictures, so no appearance, place, size, motion or depth tells it.
There are silent seconds, and seconds in which a class sounds that is not in the picture. AVSBench itself cannot be
shipped; this set is free, of any length, and written in AVSBench's own folder layout, or in that of the user's own
clips.

Shapes: `S` seconds; `T` frames, one per second unless asked otherwise; `N` visible objects; `H` = `W` = size.
"""

import csv
import json
import os
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ...atomic import AtomicFolder, refuse_filled_folder
from ...model.timing_ccformer import FRAME_OFFSET
from ..avsbench import AVSS_CLASS_NAMES, COLUMNS, FOLDER, SETTINGS, TABLES, avss_palette
from ..folder import CLASSES_FILE
from ..levels import factor
from .pictures import LARGEST, LOOKS, SMALLEST, Layer, draw_background, draw_object, draw_plate, render
from .sounds import SAMPLING_RATE, make_background_noise, make_room, make_stem

# The classes of a clip unless others are asked for; ccformer-tiny knows these.
STANDARD: tuple[str, ...] = tuple(
    "bell bird clock dog drum emergency-car flute guitar helicopter man motorcycle trumpet".split()
)
CLASS_NAMES: tuple[str, ...] = ("background", *STANDARD)

# Which kinds of clip a folder of clips takes turns with: one in six has a single source, half are as avss.
FOLDER_KINDS = ("avss", "ms3", "avss", "s4", "avss", "ms3")

# Share of the seconds in which nothing sounds, in which only something off screen does, and in which it sounds along.
SILENT, OFF_SCREEN_ALONE, OFF_SCREEN_ALONG = 0.11, 0.06, 0.07
LEAST_VISIBLE = 0.45  # share of an object that every frame shows
TRIAL_SIZE = 56  # pixels of the small pictures in which places are tried


@dataclass
class SyntheticClip:
    """One clip with everything that is known about it.

    Attributes:
        name: unique in its set.
        setting: `"s4"`, `"ms3"` or `"avss"`.
        label: `"v1s"` (one source, 5 frames), `"v1m"` (several, 5 frames) or `"v2"` (several, 10 frames).
        category: classes of the marked objects, joined by `_`; for s4 the class of its single source.
        frames: `(T, H, W, 3)` uint8, frame l at l + 15/16 seconds unless other times were asked for.
        class_names: background, and the classes the objects are drawn from; `CLASS_NAMES` unless others were asked
            for.
        labels: `(T, H, W)` uint8, index into `class_names` where a visible object sounds, else 0.
        object_ids: `(N,)` index into `class_names` of every visible object.
        object_masks: `(N, T, H, W)` bool, the pixels of every object that can be seen.
        sounding: `(N, S)` bool, who sounds in which second.
        waveform: `(S * 16000,)` float32 in -1..1, mono at 16 kHz.
        object_sounds: `(N, S * 16000)` float32, each object's sound as if it sounded in every second, as loud as in
            `waveform`.
    """

    name: str
    setting: str
    label: str
    category: str
    frames: np.ndarray
    class_names: tuple[str, ...]
    labels: np.ndarray
    object_ids: np.ndarray
    object_masks: np.ndarray
    sounding: np.ndarray
    waveform: np.ndarray
    object_sounds: np.ndarray


def _draw_schedule(rng: np.random.Generator, objects: int, seconds: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Who sounds when: `(N, S)` bool of the visible objects, `(S,)` bool of the one off screen."""
    while True:
        sounding = np.zeros((objects, seconds), dtype=bool)
        off_screen = np.zeros(seconds, dtype=bool)
        chosen = np.array([], dtype=int)
        for second in range(seconds):
            event = rng.random()
            if len(chosen) == 0 or (most > 1 and rng.random() < 0.5):  # a single source stays the same
                count = min(objects, most, int(rng.choice([1, 2, 3], p=[0.45, 0.37, 0.18])))
                chosen = rng.choice(objects, count, replace=False)
            if event < SILENT:
                continue
            off_screen[second] = event < SILENT + OFF_SCREEN_ALONE + OFF_SCREEN_ALONG
            if event >= SILENT + OFF_SCREEN_ALONE:
                sounding[chosen, second] = True
        if sounding.any():
            return sounding, off_screen


def _draw_layers(
    rng: np.random.Generator, names: list[str], size: int, times: np.ndarray
) -> tuple[list[Layer], list[int]]:
    """Objects and plates, back to front, and the row of each object; drawn again until all are visible enough."""
    sprites = [draw_object(name, rng, size) for name in names]
    sprites += [draw_plate(rng, size) for _ in range(rng.integers(0, 3))]
    order = rng.permutation(len(sprites))
    rows = [int(np.flatnonzero(order == number)[0]) for number in range(len(names))]
    blank = np.zeros((TRIAL_SIZE, TRIAL_SIZE, 3), dtype=np.uint8)
    largest = LARGEST
    while True:
        layers = [Layer.draw(sprites[number], rng, SMALLEST, largest) for number in order]
        if all(render(blank, layers, time)[2][rows].min() > LEAST_VISIBLE + 0.04 for time in times):
            return layers, rows
        largest = max(SMALLEST, 0.97 * largest)  # a crowded frame: smaller objects find a place


def _check_classes(classes: Sequence[str]) -> None:
    unknown = [name for name in classes if name not in LOOKS]
    if unknown:
        raise ValueError(f"classes has {unknown[0]!r}, which cannot be drawn; there are {', '.join(sorted(LOOKS))}")
    if len(set(classes)) < max(3, len(classes)):
        raise ValueError(
            f"classes is {', '.join(classes)}; expected at least 3 different ones: two objects and one off screen"
        )


def make_clip(
    setting: str,
    seed: int,
    index: int,
    size: int = 224,
    times: Sequence[float] | None = None,
    classes: Sequence[str] = STANDARD,
) -> SyntheticClip:
    """Makes one clip; the same arguments give the same clip, whatever was made before.

    Args:
        setting: `"s4"`: 2-3 objects, one of them is the source; `"ms3"`: 2-4 objects, 1-3 of them sound; `"avss"`: a
            quarter of the clips as s4 (`v1s`), a quarter as ms3 (`v1m`), half of 10 seconds with 1-3 sounding (`v2`).
        seed: of the set.
        index: of the clip in the set.
        size: side of the square frames in pixels.
        times: when (s) the frames are taken, for a moving picture of the same scene; by default at 15/16 of every
            second.
        classes: at least 3 names of `LOOKS`, from which all objects are drawn, the one off screen too.

    Raises:
        ValueError: for an unknown setting or class, a negative seed or index, a size below 32, or times outside the
            clip.
    """
    if setting not in SETTINGS:
        raise ValueError(f"setting is {setting!r}; expected one of {', '.join(map(repr, SETTINGS))}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed is {seed} and index is {index}, expected 0 or greater")
    if size < 32:
        raise ValueError(f"size is {size}, expected at least 32 pixels for the objects to be seen")
    _check_classes(classes)
    class_names = ("background", *classes)

    # Streams of their own, so that who sounds cannot depend on what was drawn for the pictures.
    streams = np.random.SeedSequence([SETTINGS.index(setting), seed, index]).spawn(4)
    scene_rng, schedule_rng, picture_rng, sound_rng = map(np.random.default_rng, streams)

    label = {"s4": "v1s", "ms3": "v1m"}.get(setting) or str(
        scene_rng.choice(["v1s", "v1m", "v2"], p=[0.25, 0.25, 0.5])
    )
    seconds = 10 if label == "v2" else 5
    objects = int(scene_rng.integers(2, 4 if label == "v1s" else 5))
    objects = min(objects, len(classes) - 1)  # one class is left for what sounds off screen
    *object_ids, off_screen_id = (scene_rng.permutation(len(classes))[: objects + 1] + 1).tolist()
    sounding, off_screen = _draw_schedule(schedule_rng, objects, seconds, most=1 if label == "v1s" else 3)

    background = draw_background(picture_rng, size)
    scored = np.arange(seconds) + FRAME_OFFSET
    layers, rows = _draw_layers(picture_rng, [class_names[i] for i in object_ids], size, scored)
    times = scored if times is None else np.asarray(times, dtype=np.float64)
    if not np.all((times >= 0) & (times < seconds)):
        raise ValueError(
            f"times go from {times.min()} to {times.max()} s, they must lie within this clip's 0 to {seconds} s"
        )
    frames = np.empty((len(times), size, size, 3), dtype=np.uint8)
    object_masks = np.empty((objects, len(times), size, size), dtype=bool)
    labels = np.zeros((len(times), size, size), dtype=np.uint8)
    for row, time in enumerate(times):
        frames[row], masks, _ = render(background, layers, time)
        object_masks[:, row] = masks[rows]
        for number in np.flatnonzero(sounding[:, int(time)]):
            labels[row][object_masks[number, row]] = object_ids[number]

    room = make_room(sound_rng)
    decibels = sound_rng.uniform(-12, 0) + sound_rng.uniform(-6, 0, objects + 1)
    stems = np.stack([make_stem(class_names[i], sound_rng, seconds, room) for i in (*object_ids, off_screen_id)])
    stems *= np.float32(2) * factor(decibels).astype(np.float32)[:, None, None]  # (N + 1, S, 16000)
    playing = np.concatenate([sounding, off_screen[None]]).astype(np.float32)
    noise = make_background_noise(sound_rng, seconds) * np.float32(2 * factor(decibels.mean()))
    waveform = (stems * playing[:, :, None]).sum(axis=0).reshape(-1) + noise
    headroom = min(1.0, 0.99 / float(np.abs(waveform).max() + 1e-9))
    sources = [class_names[object_ids[i]] for i in np.flatnonzero(sounding.any(axis=1))]
    return SyntheticClip(
        name=f"synthetic-{setting}-{seed}-{index:05d}",
        setting=setting,
        label=label,
        category="_".join(sorted(sources)),
        frames=frames,
        class_names=class_names,
        labels=labels,
        object_ids=np.array(object_ids),
        object_masks=object_masks,
        sounding=sounding,
        waveform=waveform * np.float32(headroom),
        object_sounds=stems[:objects].reshape(objects, -1) * np.float32(headroom),
    )


def split_of(index: int, clips: int) -> str:
    """Split of a clip: train, val, test are 70, 15 and 15 % of the indices in this order, at least one each."""
    held_out = max(1, round(0.15 * clips))
    return "train" if index < clips - 2 * held_out else "val" if index < clips - held_out else "test"


def _save_png(path: Path, pixels: np.ndarray, palette: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette.tobytes())
    image.save(path, compress_level=1)


def save_wav(path: Path, waveform: np.ndarray) -> None:
    """Writes mono sound at 16 kHz, `(S,)` in -1..1, as a 16-bit wav; the folder is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes((waveform * 32767).round().astype("<i2").tobytes())


def _write_s4(clip: SyntheticClip, split: str, root: Path) -> list[str]:
    data, place = root / "Single-source" / "s4_data", Path(split, clip.category, clip.name)
    for second, frame in enumerate(clip.frames):
        file = place / f"{clip.name}_{second + 1}.png"
        _save_png(data / "visual_frames" / file, frame)
        if split != "train" or second == 0:  # as in the real set, training knows the first mask only
            _save_png(data / "gt_masks" / file, (clip.labels[second] > 0).astype(np.uint8) * 255)
    save_wav(data / "audio_wav" / f"{place}.wav", clip.waveform)
    return [clip.name, "0", clip.category, split]


def _write_ms3(clip: SyntheticClip, split: str, root: Path) -> list[str]:
    data = root / "Multi-sources" / "ms3_data"
    for second, frame in enumerate(clip.frames):
        _save_png(data / "visual_frames" / clip.name / f"{clip.name}.mp4_{second + 1}.png", frame)
        mask = (clip.labels[second] > 0).astype(np.uint8) * 255
        _save_png(data / "gt_masks" / split / clip.name / f"{clip.name}_{second + 1}.png", mask)
    save_wav(data / "audio_wav" / split / f"{clip.name}.wav", clip.waveform)
    return [clip.name, split]


def _write_avss(clip: SyntheticClip, split: str, root: Path) -> list[str]:
    uid = f"{clip.name}_0_{1000 * len(clip.frames)}"
    folder = root / clip.label / uid
    (folder / "frames").mkdir(parents=True)
    palette = avss_palette()
    avss_ids = np.array([AVSS_CLASS_NAMES.index(name) for name in clip.class_names], dtype=np.uint8)
    for second, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(folder / "frames" / f"{second}.jpg", quality=92)
        if split != "train" or clip.label != "v1s" or second == 0:  # as in the real set
            ids = avss_ids[clip.labels[second]]
            _save_png(folder / "labels_semantic" / f"{second}.png", ids, palette)
            _save_png(folder / "labels_rgb" / f"{second}.png", palette[ids])
    save_wav(folder / "audio.wav", clip.waveform)
    return [clip.name, uid, "0", "0", clip.category, split, clip.label]


def write_folder_clip(clip, split: str, root: Path) -> list[str]:
    """Writes a clip in the layout of `ccformer_hf.data.folder`; the arguments are as in `SyntheticClip`."""
    folder = root / ("validation" if split == "val" else split) / clip.name
    (folder / "frames").mkdir(parents=True)
    palette = avss_palette()
    for second, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(folder / "frames" / f"{second:06d}.jpg", quality=95)
        _save_png(folder / "masks" / f"{second:06d}.png", clip.labels[second], palette)
    save_wav(folder / "audio.wav", clip.waveform)
    return []  # there is no table


_WRITERS = {"s4": _write_s4, "ms3": _write_ms3, "avss": _write_avss, FOLDER: write_folder_clip}
_FOLDERS = {"s4": "Single-source", "ms3": "Multi-sources", "avss": "."}


def _make_and_write(
    index: int, setting: str, clips: int, seed: int, size: int, classes: Sequence[str], root: Path
) -> list[str]:
    kind = FOLDER_KINDS[index % len(FOLDER_KINDS)] if setting == FOLDER else setting
    return _WRITERS[setting](make_clip(kind, seed, index, size, classes=classes), split_of(index, clips), root)


def write_synthetic_set(
    root: str | os.PathLike,
    setting: str,
    clips: int,
    seed: int,
    workers: int | None = None,
    progress: bool = True,
    size: int = 224,
    classes: Sequence[str] | None = None,
) -> Path:
    """Writes clips in AVSBench's own folder layout and csv, or as a folder of the user's own clips.

    Below `root`, as in the real sets: `Single-source/` (s4), `Multi-sources/` (ms3), or `metadata.csv`,
    `label2idx.json` and the folders `v1s`, `v1m` and `v2` (avss). The sound is a wav at 16 kHz. Masks of s4 and ms3
    are 0/255 in one channel; `labels_semantic` holds ids of the 71 classes, `labels_rgb` their colours. Training clips
    with one source have the first frame's mask only. With `"folder"` the layout is that of `ccformer_hf.data.folder`:
    clips of all three kinds by turns, every frame with a mask of class ids. The folder appears whole or not at all.

    Args:
        root: folder to make; it must not exist yet, or be empty.
        setting: `"s4"`, `"ms3"`, `"avss"` or `"folder"`.
        clips: how many, at least 3; the first 70 % are train, then 15 % val, 15 % test.
        seed: the same seed writes the same files.
        workers: processes, by default one per core.
        progress: show a progress bar.
        size: side of the square frames in pixels.
        classes: for `"folder"`: at least 3 names of `LOOKS` in the order of their ids; by default `STANDARD`.

    Returns:
        `root`.

    Raises:
        ValueError: for an unknown setting, fewer than 3 clips, fewer than 1 worker, classes for a setting that has its
            own, or what `make_clip` refuses.
        FileExistsError: if `root` is a file or a folder with something in it.
        OSError: if `root` cannot be made.
    """
    root = Path(root)
    if setting not in _WRITERS:
        raise ValueError(f"setting is {setting!r}; expected one of {', '.join(map(repr, _WRITERS))}")
    if classes is not None and setting != FOLDER:
        raise ValueError(
            f"classes are given for {setting}, which has its own; leave them out, or take the setting folder"
        )
    classes = STANDARD if classes is None else tuple(classes)
    _check_classes(classes)
    if clips < 3:
        raise ValueError(f"clips is {clips}, expected at least 3: one each for train, val and test")
    workers = workers if workers is not None else os.cpu_count() or 1
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected at least 1")
    refuse_filled_folder(root)

    with AtomicFolder(root.resolve(), new=True) as folder:
        make = partial(
            _make_and_write, setting=setting, clips=clips, seed=seed, size=size, classes=classes, root=folder
        )
        bar = {"total": clips, "desc": f"making {setting} clips", "unit": "clip", "disable": not progress}
        if workers == 1:
            rows = list(tqdm(map(make, range(clips)), **bar))
        else:
            with get_context("spawn").Pool(min(workers, clips)) as pool:
                rows = list(tqdm(pool.imap(make, range(clips), chunksize=4), **bar))
        if setting == FOLDER:
            (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
        else:
            with open(folder / _FOLDERS[setting] / TABLES[setting], "w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([COLUMNS[setting], *rows])
        if setting == "avss":
            ids = {name: number for number, name in enumerate(AVSS_CLASS_NAMES)}
            (folder / "label2idx.json").write_text(json.dumps(ids, indent=1) + "\n", encoding="utf-8")
    return root
