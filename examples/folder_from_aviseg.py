"""Clips of your own (`ccformer_hf.data.folder`) from a download of AVISeg, the data set of audio-visual instance
segmentation (Guo et al. 2025, arXiv 2412.03069).

    python examples/folder_from_aviseg.py AVISeg AVISeg-sounds mine
    ccformer data check mine --setting folder

ROOT has `train.json`, `val.json` and `test.json` and, in `train/JPEGImages/` and so on, the pictures that they name,
as its authors' code reads them: YouTube-VIS's form, with a mask of each object in each frame as run lengths or
polygons. Objects of one class become one region, as a model here is trained on classes; where two overlap, the later
one of the file lies on top. SOUNDS holds `VIDEO.wav` (or .mp3, .flac, ...) of each video: the authors' code reads
features of the sound only and does not say where the sound is. Pictures are one per second; a video whose sound says
otherwise is refused.
"""

import argparse
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ccformer_hf.atomic import AtomicFolder
from ccformer_hf.data.folder import SOUNDS
from ccformer_hf.data.reading import read_sound
from ccformer_hf.inference.model_folder import is_plain
from ccformer_hf.inference.rle import decoded

SPLITS = {"train": "train", "val": "validation", "test": "test"}
FURTHEST = 1.5  # s by which pictures and sound may differ: a rounded second, and a sound that is cut short


def mask_of(segmentation: Any, height: int, width: int) -> np.ndarray:
    """A mask of YouTube-VIS as bool `(H, W)`: run lengths as text or as numbers, or polygons.

    Raises:
        ValueError: for one of another size.
    """
    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"a mask is {segmentation['size']}, expected that of the video, {[height, width]}")
        if isinstance(segmentation["counts"], str):
            return decoded(segmentation)
        runs = segmentation["counts"]  # down the columns, of zeros and ones by turns
        if sum(runs) != height * width:
            raise ValueError(f"the run lengths make up {sum(runs)} pixels, expected {height * width}")
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
    picture = Image.new("1", (width, height))
    for polygon in segmentation:
        if len(polygon) >= 6:  # x and y of three points at least
            ImageDraw.Draw(picture).polygon(polygon, fill=1)
    return np.asarray(picture)


def class_maps(video: dict[str, Any], objects: list[dict[str, Any]], ids: dict[int, int]) -> np.ndarray:
    """What sounds in each frame of a video, uint8 `(T, H, W)`.

    Raises:
        ValueError: where the video has not one picture, or an object not one mask, for each frame.
    """
    listed = [("file_names", video["file_names"]), *(("segmentations", one["segmentations"]) for one in objects)]
    for name, entries in listed:
        if len(entries) != video["length"]:
            first, length = video["file_names"][0], video["length"]
            raise ValueError(f"{first}: its video has {len(entries)} {name}, expected its length, {length}")
    maps = np.zeros((video["length"], video["height"], video["width"]), np.uint8)
    for one in objects:
        for frame, segmentation in enumerate(one["segmentations"]):
            if segmentation:
                maps[frame][mask_of(segmentation, *maps.shape[1:])] = ids[one["category_id"]]
    return maps


def sound_of(folder: Path, name: str, frames: int) -> Path:
    """The file with the sound of a video of so many frames.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where it does not last a second per frame.
    """
    there = [folder / f"{name}{suffix}" for suffix in SOUNDS if (folder / f"{name}{suffix}").is_file()]
    if not there:
        raise FileNotFoundError(f"{folder / name}: has no sound of that name ({', '.join(SOUNDS)})")
    samples, rate = read_sound(there[0])
    if abs(len(samples) / rate - frames) > FURTHEST:
        raise ValueError(f"{there[0]}: lasts {len(samples) / rate:.1f} s for {frames} frames, expected one per second")
    return there[0]


def write_split(root: Path, sounds: Path, split: str, names: list[str], folder: Path) -> int:
    """Writes the clips of a split; how many.

    Raises:
        ValueError: for a category that is not in `names`, and a video without pictures or a folder of its own.
    """
    path = root / f"{split}.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    for entry in table["categories"]:
        if entry["name"] not in names:
            raise ValueError(f"{path}: has the category {entry['name']!r}, expected one of {', '.join(names)}")
    ids = {entry["id"]: names.index(entry["name"]) + 1 for entry in table["categories"]}
    objects = defaultdict(list)
    for one in table.get("annotations") or ():
        objects[one["video_id"]].append(one)
    for video in table["videos"]:
        if not video["file_names"]:
            raise ValueError(f"{path}: the video {video['id']} has no file_names, expected one per frame")
        name = Path(video["file_names"][0]).parent.name
        if not is_plain(name):
            raise ValueError(f"{path}: names the picture {video['file_names'][0]}, expected VIDEO/FRAME")
        clip = folder / SPLITS[split] / name
        if clip.exists():
            raise ValueError(f"{path}: two videos have their pictures in {name}, expected a folder for each")
        maps = class_maps(video, objects[video["id"]], ids)
        for part in ("frames", "masks"):
            (clip / part).mkdir(parents=True)
        for index, file in enumerate(video["file_names"]):
            picture = root / split / "JPEGImages" / file
            shutil.copyfile(picture, clip / "frames" / f"{index:06d}{picture.suffix}")
            Image.fromarray(maps[index]).save(clip / "masks" / f"{index:06d}.png")
        sound = sound_of(sounds, name, len(maps))
        shutil.copyfile(sound, clip / f"audio{sound.suffix}")
    return len(table["videos"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes AVISeg as a folder of clips of your own.")
    parser.add_argument("root", metavar="ROOT", type=Path, help="folder with train.json, val.json, test.json")
    parser.add_argument("sounds", metavar="SOUNDS", type=Path, help="folder with the sound of each video")
    parser.add_argument("output", metavar="OUT", type=Path, help="folder to write; must not exist")
    options = parser.parse_args()
    if options.output.exists():
        parser.error(f"{options.output}: exists already; name a new folder")
    splits = [split for split in SPLITS if (options.root / f"{split}.json").is_file()]
    try:
        if not splits:
            raise FileNotFoundError(f"{options.root}: has none of {', '.join(f'{split}.json' for split in SPLITS)}")
        table = json.loads((options.root / f"{splits[0]}.json").read_text(encoding="utf-8"))
        names = [entry["name"] for entry in sorted(table["categories"], key=lambda entry: entry["id"])]
        with AtomicFolder(options.output, new=True) as folder:
            (folder / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
            number = sum(write_split(options.root, options.sounds, split, names, folder) for split in splits)
    except (OSError, ValueError, KeyError) as error:
        parser.error(f"{error}" if not isinstance(error, KeyError) else f"{options.root}: has no {error} in its JSON")
    print(f"{number} clips are in {options.output}; look them over with ccformer data check {options.output}")


if __name__ == "__main__":
    main()
