"""What a person looks at before labels that nobody drew are used, and what is struck out of them.

    OUT/review.csv    what was kept: clip, class, seconds, score; `no` in the column keep strikes a row out
    OUT/review.html   the same with a picture of each clip, for a browser

A class that is struck out of a clip is 255 there, its pixels are ignored: that the label was wrong does not say what
is right. A clip is struck out whole by the row of the class `WHOLE_CLIP`.
"""

import csv
import html
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from ..atomic import atomic_file, temporary_name
from ..data.avsbench import SPLITS
from ..data.folder import read_folder_class_names
from ..data.listing import entries
from ..data.reading import read_label_map
from ..data.text_files import read_csv
from ..inference.visualize import overlay
from ..model.argument_names_ccformer import unknown_names
from ..model.pictures_ccformer import IGNORE_LABEL, read_picture

REVIEW_FILE, PAGE_FILE, PICTURES = "review.csv", "review.html", "review"
WHOLE_CLIP = "(whole clip)"
MOST_BYTES = 1 << 28  # of review.csv
# Of a clip's picture: frames side by side, and the width of one and of the gap between them in pixels.
COLUMNS, TILE, GAP = 5, 320, 6
STRIPE = 6  # pixels of the stripes over what is ignored


@dataclass(frozen=True)
class ReviewRow:
    """One row of `review.csv`.

    Attributes:
        split, clip: which clip.
        label: name of a class that is marked in it, or `WHOLE_CLIP`.
        seconds: in which it is, such as `0-3 5`.
        score: 0..1, mean over these seconds of the tagger's times the segmenter's.
        keep: `yes` or `no`.
    """

    split: str
    clip: str
    label: str
    seconds: str
    score: str
    keep: str = "yes"


def review_rows(
    split: str, clip: str, labels: np.ndarray, sureness: np.ndarray, names: Sequence[str]
) -> list[ReviewRow]:
    """The rows of a clip: of the whole, and of each class in it.

    Args:
        split, clip: which.
        labels: uint8 `(T, H, W)`.
        sureness: `(T, C)`, 0..1, of the classes without the background.
        names: of the class ids, background first.
    """
    rows = [ReviewRow(split, clip, WHOLE_CLIP, _spans(range(len(labels))), "")]
    for class_id in np.unique(labels).tolist():
        if 0 < class_id < IGNORE_LABEL:
            seconds = np.flatnonzero((labels == class_id).any(axis=(1, 2)))
            score = f"{sureness[seconds, class_id - 1].mean():.2f}"
            rows.append(ReviewRow(split, clip, names[class_id], _spans(seconds.tolist()), score))
    return rows


def write_review(folder: Path, rows: Sequence[ReviewRow]) -> None:
    """Writes `review.csv` and `review.html`, each whole or not at all."""
    with atomic_file(folder / REVIEW_FILE) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [[field.name for field in fields(ReviewRow)], *(astuple(row) for row in rows)]
        )
    with atomic_file(folder / PAGE_FILE) as temporary:
        temporary.write_text(_page(rows), encoding="utf-8")


def draw_clip(folder: Path, split: str, clip: str, names: Sequence[str]) -> None:
    """Draws the picture of a clip for the page: one frame per second, row by row, masks laid over and named, stripes
    over what is ignored.

    Args:
        folder: of the set.
        split, clip: which.
        names: of the class ids, background first.
    """
    place = folder / split / clip
    tiles = []
    for frame, mask in zip(entries(place / "frames"), entries(place / "masks"), strict=True):
        picture = read_picture(frame)
        size = TILE, max(1, round(TILE * picture.height / picture.width))
        ids = Image.fromarray(read_label_map(mask, len(names), False, str(mask)))
        tiles.append(_tile(picture.resize(size), np.asarray(ids.resize(size, Image.Resampling.NEAREST)), names))
    width, height = tiles[0].width + GAP, tiles[0].height + GAP
    columns, rows = min(COLUMNS, len(tiles)), -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (columns * width - GAP, rows * height - GAP), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % COLUMNS * width, number // COLUMNS * height))
    target = _picture(folder, split, clip)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(target) as temporary:
        sheet.save(temporary, "JPEG", quality=85)


def strike(folder: str | os.PathLike) -> tuple[int, int]:
    """Strikes out of a set what `review.csv` says `no` to; the rows go with it.

    All rows are checked before anything is changed. After a stop the same call goes on.

    Args:
        folder: that `label_videos` wrote.

    Returns:
        How many classes were struck out of clips, and how many clips were removed.

    Raises:
        FileNotFoundError: where there is no `review.csv`.
        ValueError: for a row that cannot be understood.
        OSError: where the set cannot be changed.
    """
    folder = Path(folder)
    names = read_folder_class_names(folder)
    rows = _read_review(folder, names)
    struck = [row for row in rows if row.keep == "no"]
    removed = {(row.split, row.clip) for row in struck if row.label == WHOLE_CLIP}
    ignored: dict[tuple[str, str], list[int]] = {}
    for row in struck:
        if (row.split, row.clip) not in removed:
            ignored.setdefault((row.split, row.clip), []).append(names.index(row.label))
    for (split, clip), class_ids in ignored.items():
        for mask in entries(folder / split / clip / "masks"):
            _ignore(mask, class_ids, len(names))
        draw_clip(folder, split, clip, names)
    for split, clip in removed:
        _remove(folder / split / clip)
        _picture(folder, split, clip).unlink(missing_ok=True)
    kept = [row for row in rows if row.keep == "yes" and (row.split, row.clip) not in removed]
    write_review(folder, kept)
    return sum(map(len, ignored.values())), len(removed)


def _read_review(folder: Path, names: Sequence[str]) -> list[ReviewRow]:
    path = folder / REVIEW_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; name a folder that `ccformer data label` wrote")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path}: has {path.stat().st_size} bytes; expected at most {MOST_BYTES}")
    columns = [field.name for field in fields(ReviewRow)]
    lines = read_csv(path)
    _, head = next(lines, (1, []))
    if head != columns:
        raise ValueError(f"{path}: begins with {head!r:.100}; expected the columns {','.join(columns)}")
    rows = []
    for number, line in lines:
        if len(line) != len(columns):
            raise ValueError(f"{path}, line {number}: has {len(line)} columns; expected {','.join(columns)}")
        rows.append((f"{path}, line {number}", ReviewRow(*line[:-1], keep=line[-1].strip().lower())))
    clips = {split: {clip.name for clip in entries(folder / split)} for split in SPLITS}
    # A clip that an earlier call removed before it was stopped is no fault, but its name must be none of a path.
    for _, row in rows:
        if row.label == WHOLE_CLIP and row.keep == "no" and re.fullmatch(r"\w[\w.-]*", row.clip):
            clips.get(row.split, set()).add(row.clip)
    for where, row in rows:
        _check(row, where, clips, names)
    return [row for _, row in rows]


def _check(row: ReviewRow, where: str, clips: Mapping[str, set[str]], names: Sequence[str]) -> None:
    if row.keep not in ("yes", "no"):
        raise ValueError(f"{where}: keep is {row.keep!r}; expected yes or no")
    if row.split not in clips:
        raise ValueError(f"{where}: split is {row.split!r}; expected one of {', '.join(clips)}")
    if row.clip not in clips[row.split]:
        raise ValueError(f"{where}: {row.split} has no clip {unknown_names([row.clip], clips[row.split])}")
    if row.label != WHOLE_CLIP and row.label not in names[1:]:
        raise ValueError(f"{where}: there is no class {unknown_names([row.label], names[1:])}")


def _ignore(mask: Path, class_ids: Sequence[int], num_classes: int) -> None:
    """Sets the pixels of some classes to 255."""
    ids = read_label_map(mask, num_classes, False, str(mask))
    wrong = np.isin(ids, class_ids)
    if wrong.any():
        image = Image.fromarray(np.where(wrong, np.uint8(IGNORE_LABEL), ids))
        with Image.open(mask) as before:
            if before.mode == "P":
                image.putpalette(before.getpalette())
        with atomic_file(mask) as temporary:
            image.save(temporary, "PNG")


def _remove(clip: Path) -> None:
    """Removes a clip: hidden at once, gone soon after."""
    if clip.exists():
        hidden = temporary_name(clip)
        os.replace(clip, hidden)
        shutil.rmtree(hidden)


def _tile(picture: Image.Image, ids: np.ndarray, names: Sequence[str]) -> Image.Image:
    pixels = np.array(picture)
    marked = {class_id: names[class_id] for class_id in np.unique(ids).tolist() if 0 < class_id < IGNORE_LABEL}
    rows, columns = np.indices(ids.shape)
    striped = (ids == IGNORE_LABEL) & ((rows + columns) // STRIPE % 2 == 0)
    pixels[striped] = 128
    return Image.fromarray(overlay(pixels, np.where(ids == IGNORE_LABEL, np.uint8(0), ids), legend=marked))


def _picture(folder: Path, split: str, clip: str) -> Path:
    return folder / PICTURES / split / f"{clip}.jpg"


def _spans(seconds: Sequence[int]) -> str:
    """0, 1, 2, 5 -> `0-2 5`"""
    spans: list[list[int]] = []
    for second in seconds:
        if spans and second == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], second]
        else:
            spans.append([second])
    return " ".join("-".join(map(str, span)) for span in spans)


def _page(rows: Sequence[ReviewRow]) -> str:
    """The page as one text. Names of clips and classes are escaped: they come from elsewhere."""
    clips: dict[tuple[str, str], list[ReviewRow]] = {}
    for row in rows:
        clips.setdefault((row.split, row.clip), []).append(row)
    parts = [
        "<!doctype html><meta charset='utf-8'><title>Labels to review</title>",
        "<style>body{font:15px sans-serif;margin:2em}img{max-width:100%}h2{margin:1.5em 0 .3em}</style>",
        f"<h1>Labels to review: {len(clips)} clips</h1>",
        f"<p>One picture per second, row by row; striped is ignored. Write <b>no</b> into the column <i>keep</i> of "
        f"{REVIEW_FILE}, then run <code>ccformer data strike</code> on this folder.</p>",
    ]
    for (split, clip), about in clips.items():
        marked = [row for row in about if row.label != WHOLE_CLIP]
        told = "; ".join(f"{row.label} in {row.seconds} ({row.score})" for row in marked) or "nothing is marked"
        source = quote(f"{PICTURES}/{split}/{clip}.jpg")
        parts.append(
            f"<h2>{html.escape(f'{split}/{clip}')}</h2><p>{html.escape(told)}</p>"
            f"<img loading='lazy' src='{source}' alt='{html.escape(clip, quote=True)}'>"
        )
    return "\n".join(parts) + "\n"
