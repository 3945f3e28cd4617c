"""Clips of your own (`ccformer_hf.data.folder`) from a download of VPO: photographs of COCO with sounds of VGGSound.

    python examples/folder_from_vpo.py VPO/VPO-MS/vpo_ms_data.csv VGGSound/audios mine
    ccformer data check mine --setting folder

TABLE is the one of VPO-SS, VPO-MS or VPO-MSMI, in the folder of its pictures; SOUNDS holds the wavs that it names.
Read as VPO's authors read it (https://github.com/cyh-0/CAVP): the columns cateName, img_Id, ann_Ids, vgg_file and
split; pictures and masks by their numbers of 12 digits, `data/IMAGE.jpg` and `mask/IMAGE.png`, in VPO-SS
`data/CLASS/IMAGE.jpg` and `mask/CLASS/IMAGE_ANNOTATION.png`; pixels are COCO's numbers, with 92 to 94 for male, female
and baby; the sounds of one picture are added; `val` is `test`. Of each sound the middle second is taken, as a clip
here has one frame. The stereo of VPO is mixed down.
"""

import argparse
import csv
import os
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ccformer_hf.atomic import AtomicFolder
from ccformer_hf.data.reading import read_sound
from ccformer_hf.data.synthetic.clips import save_wav
from ccformer_hf.model.feature_extraction_ccformer import resampled
from ccformer_hf.model.pictures_ccformer import IGNORE_LABEL, read_labels
from ccformer_hf.model.timing_ccformer import SAMPLING_RATE

COLUMNS = ("cateName", "img_Id", "ann_Ids", "vgg_file", "split")
# COCO's numbers, and those that VPO adds, in the order of VPO's own ids.
CLASSES = {
    5: "airplane", 94: "baby", 16: "bird", 6: "bus", 3: "car", 17: "cat", 77: "cell phone", 21: "cow", 18: "dog",
    22: "elephant", 93: "female", 19: "horse", 76: "keyboard", 92: "male", 4: "motorcycle", 74: "mouse", 20: "sheep",
    41: "skateboard", 37: "sports ball", 43: "tennis racket", 24: "zebra",
}  # fmt: skip


def read_clips(table: Path) -> dict[tuple[str, str, Path, Path], list[str]]:
    """Split, name, picture and mask of each clip -> the names of its sounds.

    Raises:
        ValueError: for a table without the columns, or with another split.
    """
    clips = defaultdict(list)
    home = Path(os.path.abspath(table)).parent
    with table.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(f"{table}: has no column {', '.join(missing)}; expected the table of VPO")
        for row in rows:
            if row["split"] not in ("train", "val", "test"):
                raise ValueError(f"{table}: has the split {row['split']!r}, expected train, val or test")
            split = "train" if row["split"] == "train" else "test"
            # VPO-MSMI takes pictures with one of each class from VPO-MS, beside it.
            alone = row.get("multi_instance") in ("0", "0.0", "False")
            root = home.with_name("VPO-MS") if alone else home
            image, annotation = row["img_Id"].zfill(12), row["ann_Ids"].zfill(12)
            picture, mask = root / "data" / f"{image}.jpg", root / "mask" / f"{image}.png"
            if (root / "data" / row["cateName"]).is_dir():  # VPO-SS
                picture = root / "data" / row["cateName"] / f"{image}.jpg"
                mask = root / "mask" / row["cateName"] / f"{image}_{annotation}.png"
            # A picture of VPO-MS may be one of VPO-MSMI too, with another mask.
            name = f"{root.name}-{mask.parent.name}-{mask.stem}"
            clips[split, name, picture, mask].append(row["vgg_file"])
    return clips


def middle_second(path: Path) -> torch.Tensor:
    """The middle second of a sound `(16000,)`; a shorter one is repeated, as VPO's authors do.

    Raises:
        MediaError: for a file without a sample (a ValueError too).
    """
    samples, rate = read_sound(path)
    samples = resampled(torch.from_numpy(samples), rate, SAMPLING_RATE)
    samples = samples.repeat(-(-SAMPLING_RATE // len(samples)))
    start = (len(samples) - SAMPLING_RATE) // 2
    return samples[start : start + SAMPLING_RATE]


def class_ids(mask: Path) -> np.ndarray:
    """A mask of COCO's numbers as ids of `CLASSES`, uint8 `(H, W)`.

    Raises:
        ValueError: for a number that VPO has not.
    """
    table = np.full(256, -1)
    table[[0, IGNORE_LABEL]] = 0, IGNORE_LABEL
    table[list(CLASSES)] = np.arange(1, len(CLASSES) + 1)
    ids = table[np.asarray(read_labels(mask))]
    if ids.ndim != 2 or (ids < 0).any():
        raise ValueError(f"{mask}: holds other values than 0, 255 and COCO's numbers of VPO's classes")
    return ids.astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes VPO as a folder of clips of your own.")
    parser.add_argument("table", metavar="TABLE", type=Path, help="vpo_..._data....csv, beside data/ and mask/")
    parser.add_argument("sounds", metavar="SOUNDS", type=Path, help="folder of the wavs that it names")
    parser.add_argument("output", metavar="OUT", type=Path, help="folder to write; must not exist")
    options = parser.parse_args()
    if options.output.exists():
        parser.error(f"{options.output}: exists already; name a new folder")
    try:
        clips = read_clips(options.table)
        with AtomicFolder(options.output, new=True) as folder:
            (folder / "classes.txt").write_text("\n".join(CLASSES.values()) + "\n")
            for (split, name, picture, mask), sounds in clips.items():
                clip = folder / split / name
                for part in ("frames", "masks"):
                    (clip / part).mkdir(parents=True)
                shutil.copyfile(picture, clip / "frames" / "000000.jpg")
                Image.fromarray(class_ids(mask)).save(clip / "masks" / "000000.png")
                heard = sum(middle_second(options.sounds / f"{sound}.wav") for sound in sounds)
                # What is louder than full is made as loud.
                save_wav(clip / "audio.wav", (heard / max(1.0, heard.abs().max().item())).numpy())
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"{len(clips)} clips are in {options.output}; look them over with ccformer data check {options.output}")


if __name__ == "__main__":
    main()
