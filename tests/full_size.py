"""Folders with as many clips as the real AVSBench, made of links to a handful of tiny files.

The real tables name the clips, so their traps are in it: uids that start with `-` or `_`, `off-the-screen`, `h orse`,
14 clips of s4 with four frames, test frames where nothing sounds, and ms3's frames that know no split.
"""

import csv
import os
import pickle
import shutil
import wave
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ccformer_hf.data.avsbench import avss_palette

SIZE = (24, 32)  # height, width of all pictures
EMPTY_TEST_FRAMES = {"s4": 6, "ms3": 29}  # frames of the test split with an empty ground truth, as in the real sets
HEN = 36
AVSS_LENGTHS = {"v1s": 5, "v1m": 5, "v2": 10}
TABLES = {
    "s4_meta_data.csv": "Single-source",
    "ms3_meta_data.csv": "Multi-sources",
    "metadata.csv": "",
    "label2idx.json": "",
}


def write_full_size_folder(metadata_folder: Path, root: Path) -> Path:
    """Writes all three settings with the clips of the real tables: 4932 of s4, 424 of ms3, 11356 of avss.

    Every picture and sound is a hard link to one of a few files in `root/.prototypes`, an avss clip a symbolic link to
    a folder there.
    """
    root = Path(root).resolve()
    for name, folder in TABLES.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(metadata_folder) / name, root / folder / name)
    prototypes = root / ".prototypes"
    prototypes.mkdir()
    _write_prototypes(prototypes)
    _link_s4(root / "Single-source", prototypes)
    _link_ms3(root / "Multi-sources", prototypes)
    _link_avss(root, prototypes)
    return root


def _write_prototypes(folder: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    mask = np.zeros(SIZE, dtype=np.uint8)
    Image.fromarray(picture).save(folder / "frame.png")
    Image.fromarray(mask).save(folder / "empty.png")
    mask[4:16, 8:24] = 1
    Image.fromarray(mask * 255).save(folder / "mask.png")
    for seconds in (5, 10):
        _write_wav(folder / f"{seconds}s.wav", seconds)
    examples = torch.zeros(5, 1, 96, 64).requires_grad_()  # as AVSBench ships them
    (folder / "log_mel.pkl").write_bytes(pickle.dumps(examples))

    for label, length in AVSS_LENGTHS.items():
        for annotated in {1, length} if label == "v1s" else {length}:
            clip = folder / f"{label}_{annotated}"
            for name in ("frames", "labels_semantic", "labels_rgb"):
                (clip / name).mkdir(parents=True)
            _write_wav(clip / "audio.wav", length)
            for second in range(length):
                Image.fromarray(picture).save(clip / "frames" / f"{second}.jpg")
            for second in range(annotated):
                ids = Image.fromarray(mask * HEN)
                ids.putpalette(avss_palette().tobytes())
                ids.save(clip / "labels_semantic" / f"{second}.png")
                ids.convert("RGB").save(clip / "labels_rgb" / f"{second}.png")


def _write_wav(path: Path, seconds: int) -> None:
    samples = np.random.default_rng(1).integers(-3000, 3000, seconds * 16000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())


def _rows(table: Path) -> list[list[str]]:
    with open(table, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def _link(folder: Path, links: dict[str, Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in links.items():
        os.link(target, os.path.join(folder, name))


def _masks(setting: str, split: str, test_frames: count, prototypes: Path, names: list[str]) -> dict[str, Path]:
    empty = split == "test"
    return {
        name: prototypes / ("empty.png" if empty and next(test_frames) < EMPTY_TEST_FRAMES[setting] else "mask.png")
        for name in names
    }


def _link_s4(folder: Path, prototypes: Path) -> None:
    data, test_frames = folder / "s4_data", count()
    for name, start, category, split in _rows(folder / "s4_meta_data.csv"):
        place = Path(split, category)
        pictures = [f"{name}_{number}.png" for number in range(1, 5 if start == "6" else 6)]
        masks = pictures[:1] if split == "train" else pictures
        _link(data / "visual_frames" / place / name, dict.fromkeys(pictures, prototypes / "frame.png"))
        _link(data / "gt_masks" / place / name, _masks("s4", split, test_frames, prototypes, masks))
        _link(data / "audio_wav" / place, {f"{name}.wav": prototypes / "5s.wav"})
        _link(data / "audio_log_mel" / place, {f"{name}.pkl": prototypes / "log_mel.pkl"})


def _link_ms3(folder: Path, prototypes: Path) -> None:
    data, test_frames = folder / "ms3_data", count()
    for name, split in _rows(folder / "ms3_meta_data.csv"):
        numbers = range(1, 6)
        masks = [f"{name}_{number}.png" for number in numbers]
        frames = [f"{name}.mp4_{number}.png" for number in numbers]
        _link(data / "visual_frames" / name, dict.fromkeys(frames, prototypes / "frame.png"))
        _link(data / "gt_masks" / split / name, _masks("ms3", split, test_frames, prototypes, masks))
        _link(data / "audio_wav" / split, {f"{name}.wav": prototypes / "5s.wav"})
        _link(data / "audio_log_mel" / split, {f"{name}.pkl": prototypes / "log_mel.pkl"})


def _link_avss(root: Path, prototypes: Path) -> None:
    for _, uid, _, _, _, split, label in _rows(root / "metadata.csv"):
        annotated = 1 if (label, split) == ("v1s", "train") else AVSS_LENGTHS[label]
        (root / label).mkdir(exist_ok=True)
        os.symlink(Path("..", prototypes.name, f"{label}_{annotated}"), os.path.join(root, label, uid))
