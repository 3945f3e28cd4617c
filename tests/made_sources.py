"""Tiny pictures and sounds of three classes, and the sources file that names them: clips in milliseconds."""

import wave
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

RATE = 16000
CLASSES = ("bell", "cat", "dog")
GROUND = (75, 90, 105)  # coloured a little, since objects lose their colours in grey photographs
COLOURS = {"bell": (230, 40, 40), "cat": (40, 230, 40), "dog": (40, 40, 230)}
PITCHES = {"bell": 400, "cat": 900, "dog": 1900, "rain": 3700}


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, len(samples), "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def tone(pitch: float, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)


def write_picture(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def square(colour: tuple[int, int, int], side: int = 20, margin: int = 6) -> np.ndarray:
    """RGBA: an opaque square on a transparent ground."""
    pixels = np.zeros((side + 2 * margin, side + 2 * margin, 4), np.uint8)
    pixels[margin:-margin, margin:-margin] = (*colour, 255)
    return pixels


def scene(
    colour: tuple[int, int, int], class_id: int, size: tuple[int, int] = (60, 80)
) -> tuple[np.ndarray, np.ndarray]:
    """A photograph with a coloured block in its middle, and its mask, unsure about the block's left edge."""
    pixels, mask = np.full((*size, 3), GROUND, np.uint8), np.zeros(size, np.uint8)
    pixels[20:50, 25:60], mask[20:50, 25:60] = colour, class_id
    mask[20:50, 24] = 255
    return pixels, mask


def write_sources(root: Path, **changes) -> Path:
    """Cut-outs and sounds of each class, scenes of cat and dog, and backgrounds; the folder names give the split."""
    for number, name in enumerate(CLASSES, 1):
        for copy in range(6):
            split = ("train", "train", "train", "train", "validation", "test")[copy]
            write_picture(root / split / "cutouts" / name / f"{name}{copy}.png", square(COLOURS[name], 20 + copy))
            write_wav(root / split / "sounds" / name / f"{name}{copy}.wav", tone(PITCHES[name], 0.7 + 0.3 * copy))
            if name != "bell":
                pixels, mask = scene(COLOURS[name], number)
                write_picture(root / split / "scenes" / "frames" / f"{name}{copy}.png", pixels)
                write_picture(root / split / "scenes" / "masks" / f"{name}{copy}.png", mask)
    for split in ("train", "validation", "test"):
        (root / split / "scenes" / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
        write_wav(root / split / "sounds" / "rain" / "rain.wav", tone(PITCHES["rain"], 2))
        for level in (0, 40):
            write_picture(
                root / split / "backgrounds" / f"ground{level}-{split}.png",
                np.full((64, 90, 3), GROUND, np.uint8) + np.uint8(level),
            )
    splits = ("train", "validation", "test")
    values = {
        "classes": list(CLASSES),
        "pictures": [
            {"format": kind, "path": f"{split}/{path}", "split": split}
            for split in splits
            for kind, path in (("cutouts", "cutouts"), ("folder", "scenes"))
        ],
        "backgrounds": [{"path": f"{split}/backgrounds", "split": split} for split in splits],
        "sounds": [
            {"format": "folders", "path": f"{split}/sounds", "split": split, "map": {"other": "rain"}}
            for split in splits
        ],
        "size": 64,
        "seconds": 3,
        "clips": {"train": 12, "validation": 2, "test": 2},
    }
    return write_yaml(root / "sources.yaml", {**values, **changes})


def write_yaml(path: Path, values: dict) -> Path:
    path.write_text(
        yaml.safe_dump({name: value for name, value in values.items() if value is not None}, sort_keys=False)
    )
    return path
