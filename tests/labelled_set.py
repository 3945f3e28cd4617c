"""What lies in a set that `ccformer data label` wrote: its review and its labels."""

import csv

import numpy as np

from ccformer_hf.data.loading import load_folder


def read_review(out):
    with open(out / "review.csv", newline="") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


def write_review(out, rows):
    with open(out / "review.csv", "w", newline="") as file:
        csv.writer(file).writerows([("split", "clip", "label", "seconds", "score", "keep"), *rows])


def labels_in(out):
    return {clip["id"]: np.asarray(clip["labels"]) for clip in load_folder(out, "train")}
