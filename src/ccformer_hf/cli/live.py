"""`ccformer segment --live`: what sounds in a stream, while it comes in."""

import argparse
import json
from datetime import datetime
from itertools import chain
from pathlib import Path

from .arguments import quiet_transformers

RECORDS_FILE = "segments.jsonl"
PICTURE_FILE = "overlay.jpg"


def segment_live_source(options: argparse.Namespace) -> int:
    """Prints a line per picture, appends its record to a file, and keeps the newest picture with its masks."""
    from PIL import Image

    from ..atomic import atomic_file
    from ..inference.live import segment_live
    from ..inference.loading import load
    from ..inference.segments_json import frame_record
    from ..inference.visualize import clock, distinct_names, overlay

    quiet_transformers()
    model, processor = load(options.model, options.device)
    names = model.config.id2label
    shown = distinct_names(names)
    pictures = segment_live(options.videos[0], model, processor, options.fps, options.threshold, options.window)
    first = next(pictures)  # before there is a folder: the source may have nothing to give
    folder = Path(options.output) / f"live-{datetime.now():%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True)
    print(f"{folder / RECORDS_FILE}\n{folder / PICTURE_FILE}\nCtrl-C ends it", flush=True)
    delays = []
    with open(folder / RECORDS_FILE, "w", encoding="utf-8") as records:
        for picture in chain([first], pictures):
            found = picture.segmentation
            record = {**frame_record(found, names), "delay": round(picture.delay, 3)}
            records.write(json.dumps(record) + "\n")
            records.flush()
            legend = {class_id: shown[class_id] for class_id in found.scores}
            with atomic_file(folder / PICTURE_FILE) as path:
                Image.fromarray(overlay(picture.picture, found.class_map, legend=legend)).save(path, "JPEG")
            sounding = ", ".join(f"{shown[class_id]} ({score:.2f})" for class_id, score in found.scores.items())
            print(f"{clock(found.time, 1)}  {sounding or '-'}   {picture.delay:.2f} s behind", flush=True)
            delays.append(picture.delay)
    print(f"{len(delays)} pictures, {sorted(delays)[len(delays) // 2]:.2f} s behind in the median")
    return 0
