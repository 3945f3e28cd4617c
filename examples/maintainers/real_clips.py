"""How many sounding objects of real clips a model names and finds, and a picture of each clip.

    python examples/maintainers/real_clips.py clips/clips.csv --model ccformer-small -o real_clips

The table has a line per object: `file,time,class,x0,y0,x1,y1`, with the box of what sounds at that time (s), in shares
of width and height. An object is named where its class is marked in the frame of that time, and found where the box
around these marks has an IoU of at least 0.5 with the one given. As one moment says little, the share of all looks at
the clip in which an object is named is printed too.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image

from ccformer_hf import load, segment_video


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="clips.csv, beside its clips")
    parser.add_argument("--model", default="ccformer-small", help="model folder or Hub id (default %(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=Path("real_clips"), help="folder (default %(default)s)")
    parser.add_argument("--threshold", type=float, default=0.5, help="as of `ccformer segment` (default %(default)s)")
    args = parser.parse_args()

    model = load(args.model)
    with open(args.table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    results = {}
    for name in dict.fromkeys(row["file"] for row in rows):
        results[name] = segment_video(
            args.table.parent / name, args.output, model, threshold=args.threshold, formats=("masks", "json", "sheet")
        )
    named = found = 0
    shares = []
    for row in rows:
        result = results[row["file"]]
        frame = next(f for f in result.segments["frames"] if f["start"] <= float(row["time"]) < f["end"])
        overlap = iou_with_box(result, frame, model[0].config.label2id[row["class"]], row)
        named += overlap is not None
        found += (overlap or 0) >= 0.5
        shares.append(
            np.mean([row["class"] in (s["label"] for s in look["sounding"]) for look in result.segments["frames"]])
        )
        heard = ", ".join(f"{s['label']} {s['score']:.2f} on {s['area']:.0%}" for s in frame["sounding"]) or "nothing"
        print(
            f"{row['file']} at {row['time']} s: {row['class']}, box IoU {overlap or 0:.2f}; marked: {heard}; "
            f"named in {shares[-1]:.0%} of all looks"
        )
    print(f"{named} of {len(rows)} named, {found} of {len(rows)} found; named in {np.mean(shares):.0%} of all looks")


def iou_with_box(result, frame: dict, label: int, row: dict) -> float | None:
    """IoU of the given box with the one around all pixels of a class; None where there are none."""
    mask = np.asarray(Image.open(result.masks / f"{frame['index']:06d}.png")) == label
    if not mask.any():
        return None
    (y0, y1), (x0, x1) = ((where.min(), where.max() + 1) for where in np.nonzero(mask))
    height, width = mask.shape
    given = [float(row[name]) * size for name, size in zip(("x0", "y0", "x1", "y1"), (width, height) * 2, strict=True)]
    shared = max(0, min(x1, given[2]) - max(x0, given[0])) * max(0, min(y1, given[3]) - max(y0, given[1]))
    return shared / ((x1 - x0) * (y1 - y0) + (given[2] - given[0]) * (given[3] - given[1]) - shared)


if __name__ == "__main__":
    main()
