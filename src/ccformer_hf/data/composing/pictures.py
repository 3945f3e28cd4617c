"""Class-labelled pictures of a source: which there are, and their pixels at the size that composing needs.

Formats:

* `coco`, `lvis`: `path` is the JSON with images, annotations (polygons or run lengths) and categories; the pictures
  lie below `root`.
* `voc`: `path` holds `JPEGImages/`, `SegmentationClass/` and `ImageSets/Segmentation/*.txt`; its `val` is our
  validation.
* `folder`: below `path`, any `frames/NAME.jpg` with a mask of class ids `masks/NAME.png` beside it, and
  `classes.txt`; so clips in the layout of `ccformer_hf.data.folder` too, whose clips each stay in one split.
* `cutouts`: `path/CLASS/*.png` (or `.webp`) with transparency, one object each.
* `csv`: columns `kind` (`scene`, `cutout` or `background`), `file`, `mask` (scenes: class ids, in the order of `ids`),
  `classes` (names with spaces between) and, if wanted, `split`.
* `pictures`, the only one of `backgrounds`: every JPEG, PNG and WebP below `path`, with nothing in it that is one of
  the classes.

In masks 0 is background and 255 ignore. Letters: `h w` picture at the size it is kept in.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from ..avsbench import SPLITS
from ..folder import read_folder_class_names
from ..reading import IGNORE_LABEL, read_label_map
from ..text_files import read_csv, read_lines
from .masks import check_segmentation, draw_segmentation
from .sources import BACKGROUND, Source, Sources

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
DECODERS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 50_000_000  # of a picture; read off the head of the file, before anything is decoded
MOST_TABLE_BYTES = 4 << 30  # LVIS' own JSON has 1.1 GB
LEAST_AREA = 0.01  # share of the picture that a class covers at least in one of the scenes it is chosen by
VOC_CLASS_NAMES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep "
    "sofa train tvmonitor"
).split()
VOC_SPLITS = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True, slots=True)
class Region:
    """What an annotation of COCO marks: a class id, or 255 for a crowd, and its shape, see `check_segmentation`."""

    class_id: int
    shape: list[np.ndarray] | np.ndarray


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that can be composed with.

    Attributes:
        kind: `"scene"`, a photograph with a mask; `"cutout"`, one object with transparency; or `"background"`.
        file: its path.
        split: it belongs to.
        classes: ids of the classes that may be seen in it.
        mask: of a scene: file with ids; None where it has `regions`.
        ids: of a mask file: uint8 `(256,)`, our class id of each of its ids.
        regions: of a scene of COCO, largest first.
        size: `(height, width)` that the regions are meant for.
    """

    kind: str
    file: str
    split: str
    classes: tuple[int, ...] = ()
    mask: str | None = None
    ids: bytes = b""
    regions: tuple[Region, ...] = ()
    size: tuple[int, int] | None = None


def list_pictures(sources: Sources) -> list[Picture]:
    """All pictures of the sources, in an order that depends on nothing but the files.

    Raises:
        FileNotFoundError: where files that a source names are not there.
        ValueError: for a table that cannot be read, or a picture that is named twice in ways that do not go together.
    """
    pictures = [picture for source in sources.pictures for picture in _READERS[source.format](source, sources)]
    pictures += [picture for source in sources.backgrounds for picture in _backgrounds(source)]
    found: dict[str, Picture] = {}
    for picture in pictures:
        known = found.get(picture.file)
        found[picture.file] = picture if known is None else _both(known, picture, sources)
    return list(found.values())


def _both(one: Picture, other: Picture, sources: Sources) -> Picture:
    """A picture that two sources name: COCO and LVIS mark different things in the same ones."""
    if one.split != other.split:
        raise ValueError(
            f"{sources.file}: {one.file} is in {one.split} and in {other.split}; name it once, or set `split` of its "
            "sources to the same"
        )
    if one.regions and other.regions and one.size == other.size:
        classes = one.classes + tuple(number for number in other.classes if number not in one.classes)
        return replace(one, classes=classes, regions=one.regions + other.regions)
    if one != other:
        raise ValueError(f"{sources.file}: {one.file} is named twice, and not as the same thing; name it once")
    return one


def _coco(source: Source, sources: Sources) -> Iterator[Picture]:
    table = _read_json(source)
    names = {entry.get("id"): str(entry.get("name")) for entry in _entries(table, "categories", source)}
    source.check_names(names.values())
    ids = {number: _class_id(source, sources, name) for number, name in names.items()}
    annotations = defaultdict(list)
    for entry in _entries(table, "annotations", source):
        if entry.get("category_id") not in ids:
            raise source.problem(
                f"{source.path}: annotation {entry.get('id')} has the category {entry.get('category_id')!r}, which is "
                "not listed"
            )
        if ids[entry["category_id"]]:
            annotations[entry.get("image_id")].append(entry)
    absent = []
    for image in _entries(table, "images", source):
        found = annotations.get(image.get("id"))
        height, width = image.get("height"), image.get("width")
        if not found:
            continue
        if not all(isinstance(side, int) and 0 < side <= MOST_PIXELS for side in (height, width)):
            raise source.problem(f"{source.path}: image {image.get('id')} is {height!r} x {width!r} pixels")
        file = _coco_file(image, source)
        if not file.is_file():
            absent.append(file)
            continue
        regions, areas = [], defaultdict(float)
        for entry in sorted(found, key=lambda entry: -float(entry.get("area") or 0)):
            try:
                shape = check_segmentation(entry.get("segmentation"), height, width)
            except ValueError as error:
                raise source.problem(f"{source.path}: annotation {entry.get('id')}: {error}") from None
            class_id = ids[entry["category_id"]]
            areas[class_id] += float(entry.get("area") or 0) / (height * width)
            regions.append(Region(IGNORE_LABEL if entry.get("iscrowd") else class_id, shape))
        if max(areas.values()) >= LEAST_AREA:
            # The class that covers most comes first.
            classes = tuple(sorted(areas, key=lambda number: (-areas[number], number)))
            split = source.split_of(file.name)
            yield Picture("scene", str(file), split, classes, regions=tuple(regions), size=(height, width))
    if absent:
        raise FileNotFoundError(
            f"{source.where}: {len(absent)} pictures are not there, the first is {absent[0]}; unpack them all, or "
            "name their "
            "folder as root"
        )


def _coco_file(image: dict, source: Source) -> Path:
    if image.get("file_name"):
        return source.inside(str(image["file_name"]))
    # LVIS: http://images.cocodataset.org/train2017/000000391895.jpg
    folder, _, name = str(image.get("coco_url", "")).rpartition("/")
    nested = source.inside(f"{folder.rpartition('/')[2]}/{name}")
    return nested if nested.is_file() else source.inside(name)


def _voc(source: Source, sources: Sources) -> Iterator[Picture]:
    source.check_names(VOC_CLASS_NAMES)
    lists = source.path / "ImageSets" / "Segmentation"
    for file, split in VOC_SPLITS.items():
        if not (lists / f"{file}.txt").is_file():
            continue
        for name in read_lines(lists / f"{file}.txt"):
            mask = source.inside(f"SegmentationClass/{name}.png")
            if mask.is_file():  # those of the test list are not public
                picture = source.inside(f"JPEGImages/{name}.jpg")
                yield from _masked(source, sources, picture, mask, VOC_CLASS_NAMES, source.split_of(name, split))
    if not any((lists / f"{file}.txt").is_file() for file in VOC_SPLITS):
        raise FileNotFoundError(
            f"{source.where}: {lists} holds no train.txt or val.txt; name the folder VOCdevkit/VOC2012"
        )


def _folder(source: Source, sources: Sources) -> Iterator[Picture]:
    names = read_folder_class_names(source.path)
    source.check_names(names[1:])
    found = False
    for folder in sorted(path for path in source.path.rglob("frames") if path.is_dir()):
        place = folder.parent.relative_to(source.path)
        own = place.parts[0] if len(place.parts) > 1 and place.parts[0] in SPLITS else None
        for file in _files(folder, PICTURES):
            mask = folder.parent / "masks" / f"{file.stem}.png"
            if mask.is_file():
                found = True
                split = source.split_of(f"{place}" if own else f"{place}/{file.name}", own)
                yield from _masked(source, sources, file, mask, names, split)
    if not found:
        raise FileNotFoundError(
            f"{source.where}: {source.path} holds no frames/NAME.jpg with a masks/NAME.png beside it"
        )


def _masked(
    source: Source, sources: Sources, file: Path, mask: Path, names: tuple[str, ...] | list[str], split: str
) -> Iterator[Picture]:
    """The picture, if its mask holds enough of our classes; the mask is read for that."""
    ids = _table(source, sources, names)
    held = np.frombuffer(ids, np.uint8)[read_label_map(mask, len(names), False, str(mask))]
    counts = np.bincount(held.ravel(), minlength=256)[1:IGNORE_LABEL]
    if counts.max() >= LEAST_AREA * held.size:
        classes = tuple(int(number) + 1 for number in np.argsort(-counts, kind="stable") if counts[number])
        yield Picture("scene", str(file), split, classes, str(mask), ids)


def _cutouts(source: Source, sources: Sources) -> Iterator[Picture]:
    folders = sorted(path for path in source.path.iterdir() if path.is_dir()) if source.path.is_dir() else []
    source.check_names(folder.name for folder in folders)
    for folder in folders:
        class_id = _class_id(source, sources, folder.name)
        for file in _files(folder, (".png", ".webp")) if class_id else ():
            yield Picture("cutout", str(file), source.split_of(f"{folder.name}/{file.name}"), (class_id,))


def _csv(source: Source, sources: Sources) -> Iterator[Picture]:
    names = (BACKGROUND, *sources.classes)
    if source.ids is not None:
        names = tuple(read_lines(source.ids))
        names = names if names[:1] == (BACKGROUND,) else (BACKGROUND, *names)
    ids = _table(source, sources, names)
    rows = list(read_table(source, ("kind", "file", "mask", "classes")))
    source.check_names(name for _, row in rows for name in row["classes"].split())
    for where, row in rows:
        kind = row["kind"]
        if kind not in ("scene", "cutout", "background") or (kind == "scene") != bool(row["mask"]):
            raise ValueError(
                f"{where}: kind is {kind!r}, mask {row['mask']!r}; expected scene with a mask, or cutout or "
                "background without"
            )
        classes = tuple(filter(None, (_class_id(source, sources, name) for name in row["classes"].split())))
        if kind != "background" and not classes:
            continue
        if kind == "cutout" and len(classes) > 1:
            raise ValueError(f"{where}: a cutout of {row['classes']!r}; expected one class")
        split = source.split_of(row["file"], split_in(row, where))
        mask = str(source.inside(row["mask"])) if kind == "scene" else None
        yield Picture(kind, str(source.inside(row["file"])), split, classes, mask, ids if mask else b"")


def _backgrounds(source: Source) -> Iterator[Picture]:
    files = [path for path in source.path.rglob("*") if path.suffix.lower() in PICTURES and path.is_file()]
    if not files:
        raise FileNotFoundError(f"{source.where}: {source.path} holds no JPEG, PNG or WebP")
    for file in sorted(files):
        yield Picture("background", str(file), source.split_of(file.relative_to(source.path).as_posix()))


_READERS = {"coco": _coco, "lvis": _coco, "voc": _voc, "folder": _folder, "cutouts": _cutouts, "csv": _csv}


def read_table(source: Source, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a csv with a head, and where each stands.

    Raises:
        ValueError: for what is not CSV; where a column is missing, in the head or in a row.
    """
    rows = read_csv(source.path)
    _, head = next(rows, (1, []))
    missing = [name for name in columns if name not in head]
    if missing:
        raise source.problem(f"{source.path} has no column {missing[0]}; expected {', '.join(columns)}")
    for line, values in rows:
        where, row = f"{source.path}, line {line}", dict(zip(head, values, strict=False))
        if not row.keys() >= set(columns):
            raise ValueError(f"{where}: has fewer columns than the head of the table")
        yield where, row


def split_in(row: dict[str, str], where: str) -> str | None:
    """The split that a row of a csv names, if any."""
    split = row.get("split") or None
    split = "validation" if split == "val" else split
    if split not in (None, *SPLITS):
        raise ValueError(f"{where}: split is {split!r}; expected one of {', '.join(SPLITS)}")
    return split


def _read_json(source: Source) -> dict[str, Any]:
    size = source.path.stat().st_size if source.path.is_file() else 0
    if not 0 < size <= MOST_TABLE_BYTES:
        raise source.problem(f"{source.path} has {size} bytes; expected a JSON file of at most {MOST_TABLE_BYTES}")
    try:
        table = json.loads(source.path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise source.problem(f"{source.path} is not JSON ({error})") from None
    if not isinstance(table, dict):
        raise source.problem(
            f"{source.path} holds a {type(table).__name__}; expected images, annotations and categories"
        )
    return table


def _entries(table: dict[str, Any], key: str, source: Source) -> list[dict]:
    entries = table.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise source.problem(f"{source.path} has no list of {key}; expected the JSON of COCO's instances, or of LVIS")
    return entries


def _class_id(source: Source, sources: Sources, name: str) -> int:
    """Our id; 0 for what is left out."""
    ours = source.class_of(name)
    return sources.class_names.index(ours) if ours else 0


def _table(source: Source, sources: Sources, names: tuple[str, ...] | list[str]) -> bytes:
    ids = [0, *(_class_id(source, sources, name) for name in names[1:])]
    return bytes(ids) + bytes(IGNORE_LABEL - len(ids)) + bytes([IGNORE_LABEL])


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


# pixels --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Photograph:
    """A scene or background: `rgb` uint8 `(h, w, 3)`, and class `ids` uint8 `(h, w)`, all 0 for a background."""

    rgb: np.ndarray
    ids: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.rgb.nbytes + self.ids.nbytes


@dataclass(frozen=True)
class CutOut:
    """One object alone: `rgba` uint8 `(h, w, 4)`, no wider than the object.

    Attributes:
        cut: whether the object goes on beyond the left, top, right and bottom side: there its picture ended.
    """

    rgba: np.ndarray
    cut: tuple[bool, bool, bool, bool] = (False,) * 4

    @property
    def nbytes(self) -> int:
        return self.rgba.nbytes


def load_photograph(picture: Picture, shortest: int) -> Photograph:
    """A scene or background; a larger one is shrunk until its shorter side is `shortest`.

    Raises:
        OSError: where a file is not there.
        ValueError: for what cannot be read, is too large, or a mask that does not fit.
    """
    image, (width, height) = _decoded(picture.file, "RGB", shortest)
    size = image.size
    ids = np.zeros(size[::-1], np.uint8)
    if picture.mask is not None:
        with _opened(picture.mask) as mask:
            if mask.size != (width, height):
                raise ValueError(
                    f"{picture.mask}: is {mask.size} in size, its picture {(width, height)}; make them one size"
                )
        table = np.frombuffer(picture.ids, np.uint8)
        known = read_label_map(picture.mask, IGNORE_LABEL, False, picture.mask)
        ids = np.asarray(Image.fromarray(table[known]).resize(size, Image.Resampling.NEAREST))
    elif picture.regions:
        if picture.size != (height, width):
            raise ValueError(
                f"{picture.file}: is {(height, width)} in size, its annotations are for {picture.size}; copy it again"
            )
        for region in picture.regions:
            ids[draw_segmentation(region.shape, height, width, size[::-1])] = region.class_id
    return Photograph(np.asarray(image), ids)


def load_cut_out(picture: Picture, longest: int) -> CutOut:
    """The object of a `cutout`; a larger one is shrunk until its longer side is `longest`.

    Where no pixel is half transparent nobody made a matte, and its edge is treated by `without_fringe`.

    Raises:
        OSError: where the file is not there.
        ValueError: for what cannot be read, is too large, or shows nothing.
    """
    image, _ = _decoded(picture.file, "RGBA", 0)
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha >= 128)).getbbox()
    if box is None:
        raise ValueError(f"{picture.file}: is transparent all over; expected an object on a transparent ground")
    image = image.crop(box)
    hard = not any(image.getchannel("A").histogram()[1:255])
    image.thumbnail((longest, longest), Image.Resampling.BILINEAR, reducing_gap=None)
    cut_out = CutOut(np.asarray(image))
    return without_fringe(cut_out) if hard else cut_out


def cut_from(photograph: Photograph, class_id: int) -> CutOut | None:
    """The largest connected piece of a class in a scene; None where it has none."""
    pieces, count = ndimage.label(photograph.ids == class_id)
    if not count:
        return None
    largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    rows, columns = np.flatnonzero(largest.any(axis=1)), np.flatnonzero(largest.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    height, width = largest.shape
    inside = (slice(top, bottom), slice(left, right))
    rgba = np.dstack([photograph.rgb[inside], largest[inside] * np.uint8(255)])
    cut = (left <= 1, top <= 1, right >= width - 1, bottom >= height - 1)
    return without_fringe(CutOut(rgba, tuple(map(bool, cut))))


def without_fringe(cut_out: CutOut) -> CutOut:
    """The object without what a hard edge keeps of the ground that it was cut from (ours).

    On its outermost pixels, object and ground are mixed: these go, and the next take the mean colour of their
    neighbours further in. Otherwise a network learns that what has a rim, often a white one, is an object, which no
    object in a video has. What is too thin to have anything further in stays as it is.
    """
    rgba = cut_out.rgba
    shape = np.pad(rgba[..., 3] >= 128, 1)  # (h + 2, w + 2)
    left, top, right, bottom = cut_out.cut
    if left:  # the object goes on there, so that this is no edge of it
        shape[:, 0] = shape[:, 1]
    if right:
        shape[:, -1] = shape[:, -2]
    if top:
        shape[0] = shape[1]
    if bottom:
        shape[-1] = shape[-2]
    depth = ndimage.distance_transform_cdt(shape, "chessboard")[1:-1, 1:-1]  # 1 on the outermost pixels, 2 on the next
    rgba = rgba.copy()
    rgba[(depth == 1) & ndimage.maximum_filter(depth >= 2, 3), 3] = 0
    inner = (depth >= 3).astype(np.float32)
    neighbours = ndimage.uniform_filter(inner, 3, mode="constant")  # share of the 3 x 3 pixels around that are inner
    rim = (depth == 2) & (neighbours > 0.05)
    for channel in range(3):
        means = ndimage.uniform_filter(rgba[..., channel] * inner, 3, mode="constant")[rim] / neighbours[rim]
        rgba[rim, channel] = means.round()
    solid = rgba[..., 3] >= 128
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    return CutOut(rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], cut_out.cut)


def _opened(file: str) -> Image.Image:
    """A picture whose head has been read, and nothing else."""
    try:
        image = Image.open(file, formats=DECODERS)
    except (Image.UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read as a picture ({error}); copy it again, or leave it out") from None
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise ValueError(
            f"{file}: has {image.width} x {image.height} pixels; at most {MOST_PIXELS} are read, make it smaller"
        )
    return image


def _decoded(file: str, mode: str, shortest: int) -> tuple[Image.Image, tuple[int, int]]:
    """The picture, shrunk until its shorter side is `shortest` (0: as it is), and its own size `(width, height)`.

    Not turned upright by what a camera noted: masks are made for the pixels as they are stored.
    """
    with _opened(file) as image:
        own = image.size
        factor = shortest / min(own) if 0 < shortest < min(own) else 1.0
        wanted = tuple(max(1, round(side * factor)) for side in own)
        try:
            image.draft(mode, wanted)  # JPEG: decoded at a half, a quarter or an eighth
            image = image.convert(mode)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"{file}: cannot be read as a picture ({error}); copy it again, or leave it out"
            ) from None
    return (image if image.size == wanted else image.resize(wanted, Image.Resampling.BILINEAR)), own
