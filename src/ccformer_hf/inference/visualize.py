"""Lays masks over frames, and draws the contact sheet and the timeline of what sounds when.

Everything works on arrays and small records; files are read and written elsewhere. Letters: `H W` picture.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..model.media_ccformer import BT709, Colours, yuv_planes
from ..model.pictures_ccformer import IGNORE_LABEL

# Okabe and Ito's colours, told apart with any colour vision.
OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
# Classes beyond the seventh get them again mixed with white (share > 0) or black (< 0): lightness is seen by everyone
# too.
TINTS = (0.0, 0.5, -0.45, 0.72, -0.7, 0.28, -0.25, 0.85)
# Objects of one class, in the same way.
SHADES = (0.0, -0.45, 0.5, -0.7, 0.75)

SHEET_WIDTH = 1400
MARGIN = 40
GAP = 16
INK, GREY, LINE, TRACK = (33, 37, 41), (120, 126, 132), (205, 209, 213), (243, 244, 246)
ROW, ROW_GAP, STRIP = 22, 7, 56
# Sound quieter than this (dB below full scale) draws as a flat line.
QUIETEST = -60.0
TICK_SECONDS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


def _make_palette() -> np.ndarray:
    palette = np.zeros((256, 3), dtype=np.uint8)
    base = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in OKABE_ITO], dtype=np.float64)
    for class_id in range(1, 256):
        turn, hue = divmod(class_id - 1, len(base))
        palette[class_id] = _tinted(base[hue], TINTS[turn % len(TINTS)])
    return palette


def _tinted(colour: np.ndarray, tint: float) -> np.ndarray:
    """A colour `(3,)`, 0..255, mixed with this share of white, or of black where it is negative."""
    return np.round(colour + abs(tint) * ((255 if tint > 0 else 0) - colour)).astype(np.uint8)


# Colour (256, 3) uint8 of every class id; 0, the background, is black. Ids 1-56 all differ.
PALETTE = _make_palette()
# A probability of 0, 1/4, 1/2, 3/4 and 1: the colour map cividis, which gets lighter all the way, for any colour
# vision.
PROBABILITY_COLOURS = ("#00224E", "#434E6C", "#7D7C78", "#BCAF6F", "#FEE838")


def distinct_names(names: Mapping[int, str]) -> dict[int, str]:
    """Class id -> name, and the id behind names that several classes have: `dog (3)`."""
    count = Counter(names.values())
    return {class_id: f"{name} ({class_id})" if count[name] > 1 else name for class_id, name in names.items()}


@dataclass(frozen=True)
class ObjectsApart:
    """A class map whose ids tell objects apart.

    Attributes:
        ids: `(H, W)` uint8, ids of this picture only.
        names: id -> name; with the number of the object where several of its class are marked.
        palette: `(256, 3)` uint8, shades of the colours of the classes.
    """

    ids: np.ndarray
    names: Mapping[int, str]
    palette: np.ndarray


def objects_apart(
    class_map: np.ndarray,
    object_map: np.ndarray,
    objects: Sequence[Mapping],
    names: Mapping[int, str],
) -> ObjectsApart:
    """Gives objects of one class shades of its colour.

    Args:
        class_map: `(H, W)` uint8.
        object_map: `(H, W)` uint16 numbers of objects; 0 where a class has none.
        objects: `id` and `class_id` of each object of the video, in one order for all its frames.
        names: class id -> name.
    """
    there = set(np.flatnonzero(np.bincount(object_map.ravel())).tolist()) - {0}
    # With 255 ids at most, what has no object of its own included.
    shown = [one for one in objects if one["id"] in there][: 255 - len(names)]
    count = Counter(one["class_id"] for one in shown)
    order = {one["id"]: place for own in _by_class(objects) for place, one in enumerate(own)}
    shades = _shades([(one["class_id"], order[one["id"]]) for one in shown])
    ids_of, palette, found_names = np.zeros(65536, np.uint8), np.zeros((256, 3), np.uint8), {}
    for number, one in enumerate(shown, 1):
        ids_of[one["id"]] = number
        palette[number] = _tinted(PALETTE[one["class_id"]].astype(float), SHADES[shades[number - 1]])
        several = count[one["class_id"]] > 1
        found_names[number] = f"{names[one['class_id']]} {one['id']}" if several else names[one["class_id"]]
    ids = ids_of[object_map]
    rest = np.where(ids == 0, class_map, 0)
    for number, class_id in enumerate(sorted(set(np.unique(rest).tolist()) - {0}), len(shown) + 1):
        ids[rest == class_id] = number
        palette[number], found_names[number] = PALETTE[class_id], names[class_id]
    return ObjectsApart(ids, found_names, palette)


def _shades(shown: Sequence[tuple[int, int]]) -> list[int]:
    """For the class and the place of each object shown, its shade: its own, or else the next that is not used yet."""
    used: dict[int, set[int]] = {}
    found = []
    for class_id, place in shown:
        taken = used.setdefault(class_id, set())
        turns = [(place + step) % len(SHADES) for step in range(len(SHADES))]
        found.append(next((shade for shade in turns if shade not in taken), turns[0]))
        taken.add(found[-1])
    return found


def _by_class(objects: Sequence[Mapping]) -> list[list[Mapping]]:
    return [
        [one for one in objects if one["class_id"] == class_id] for class_id in {one["class_id"] for one in objects}
    ]


@dataclass(frozen=True)
class Tile:
    """One picture of the contact sheet.

    Attributes:
        time: of the frame in seconds.
        frame: `(h, w, 3)` uint8, any size.
        class_map: `(h, w)` uint8.
        sounding: class id -> name of what sounds in it.
    """

    time: float
    frame: np.ndarray
    class_map: np.ndarray
    sounding: Mapping[int, str]


@dataclass(frozen=True)
class ComparedFrame:
    """One frame of the comparison sheet.

    Attributes:
        time: of the frame in seconds.
        frame: `(h, w, 3)` uint8, any size.
        truth: `(s, s')` uint8 class map, 0 = background, 255 = ignored; it is stretched to the frame.
        predicted: the same as the model has it.
        names: of the classes.
    """

    time: float
    frame: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    names: Mapping[int, str]


@dataclass(frozen=True)
class Bar:
    """One stretch of the timeline: class `class_id` sounds from `start` to `end` (s), with `score` 0..1."""

    class_id: int
    start: float
    end: float
    score: float


@dataclass(frozen=True)
class _Paint:
    """Colours to lay over a part of a picture, ready for any number of frames.

    Attributes:
        rows, columns: the part.
        colour: `(h, w, C)` uint8.
        alpha: `(h, w)` uint16, 0..256.
    """

    rows: slice
    columns: slice
    colour: np.ndarray
    alpha: np.ndarray


class _Blend:
    """A part of a plane `* keep + add`, divided by 256: fits into 16 bits."""

    def __init__(self, rows: slice, columns: slice, keep: np.ndarray, add: np.ndarray):
        self._part = rows, columns
        self._keep, self._add = keep.astype(np.uint16), (add + 128).astype(np.uint16)

    def draw_on(self, plane: np.ndarray) -> None:
        region = plane[self._part]
        mixed = np.multiply(region, self._keep, dtype=np.uint16)
        mixed += self._add
        mixed >>= 8
        region[...] = mixed


class YuvOverlay:
    """The masks of one moment, ready to be laid over any number of frames of a video.

    All that does not depend on the frame is computed here once; `draw_on` then touches only the box around the masks,
    in integers, and what is not under a mask or the legend stays as it was.

    Args:
        class_map: `(H, W)` uint8 class ids, 0 = background.
        colours: of the frames.
        opacity: 0..1 of the colour inside a mask; its outline is opaque.
        legend: class id -> name, written into the top left corner; empty: none.
        palette: `(256, 3)` uint8, the colour of each id.

    Raises:
        ValueError: for a class map that is not `(H, W)` uint8, or an opacity outside 0..1.
    """

    def __init__(
        self,
        class_map: np.ndarray,
        colours: Colours,
        opacity: float = 0.5,
        legend: Mapping[int, str] | None = None,
        palette: np.ndarray = PALETTE,
    ):
        _check(class_map, opacity)
        # The frames have an even size, see `iter_yuv_frames`.
        class_map = np.pad(class_map, [(0, length % 2) for length in class_map.shape], mode="edge")
        self._size = class_map.shape
        self._blends: list[tuple[int, _Blend]] = []  # number of the plane, and what is drawn on it
        if class_map.any():
            self._add(_mask_paint(class_map, opacity, _to_yuv(palette, colours)))
        if legend:
            paint = _legend_paint(legend, self._size, palette)
            self._add(replace(paint, colour=_to_yuv(paint.colour, colours)))

    def draw_on(self, frame: np.ndarray) -> None:
        """Changes a frame, as `yuv_planes` takes it, in place.

        Raises:
            ValueError: for a frame of another size or type.
        """
        height, width = self._size
        if frame.shape != (3 * height // 2, width) or frame.dtype != np.uint8:
            raise ValueError(
                f"the frame is {frame.shape} {frame.dtype}, expected {(3 * height // 2, width)} uint8, the planes of "
                f"a picture of {width} x {height} like its class map"
            )
        planes = yuv_planes(frame)
        for plane, blend in self._blends:
            blend.draw_on(planes[plane])

    def _add(self, paint: _Paint) -> None:
        """In pairs of rows and columns, which share a pixel of U and V: that gets the average of what the four get."""
        top, left = paint.rows.start // 2 * 2, paint.columns.start // 2 * 2
        bottom, right = -(-paint.rows.stop // 2) * 2, -(-paint.columns.stop // 2) * 2
        around = (
            (paint.rows.start - top, bottom - paint.rows.stop),
            (paint.columns.start - left, right - paint.columns.stop),
        )
        alpha = np.pad(paint.alpha, around)  # (h, w)
        add = np.pad(paint.colour, (*around, (0, 0))).astype(np.uint16) * alpha[..., None]  # (h, w, 3)
        whole, half = (
            (slice(top, bottom), slice(left, right)),
            (slice(top // 2, bottom // 2), slice(left // 2, right // 2)),
        )
        self._blends.append((0, _Blend(*whole, 256 - alpha, add[..., 0])))
        keep = 256 - _averaged(alpha)
        self._blends += [(plane, _Blend(*half, keep, _averaged(add[..., plane]))) for plane in (1, 2)]


def overlay(
    frame: np.ndarray, class_map: np.ndarray, opacity: float = 0.5, legend: Mapping[int, str] | None = None
) -> np.ndarray:
    """A copy of `frame` (H, W, 3) uint8 RGB with the masks of `class_map` (H, W) uint8, and a legend, laid over it.

    Raises:
        ValueError: as in `YuvOverlay`, and for a frame of another size or type.
    """
    _check(class_map, opacity)
    if frame.shape != (*class_map.shape, 3) or frame.dtype != np.uint8:
        raise ValueError(
            f"the frame is {frame.shape} {frame.dtype}, expected {(*class_map.shape, 3)} uint8 like its class map"
        )
    result = frame.copy()
    paints = [_mask_paint(class_map, opacity, PALETTE)] if class_map.any() else []
    paints += [_legend_paint(legend, class_map.shape, PALETTE)] if legend else []
    for paint in paints:
        alpha = paint.alpha[..., None]
        _Blend(paint.rows, paint.columns, 256 - alpha, paint.colour * alpha).draw_on(result)
    return result


def _check(class_map: np.ndarray, opacity: float) -> None:
    if class_map.ndim != 2 or class_map.dtype != np.uint8:
        raise ValueError(f"class_map is {class_map.shape} {class_map.dtype}, expected (H, W) uint8")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}, expected 0 (unseen) to 1 (opaque)")


def _mask_paint(class_map: np.ndarray, opacity: float, palette: np.ndarray) -> _Paint:
    """The masks of a class map `(H, W)` that has some; `palette (256, C)` has the colour of each class."""
    left, top, across, down = cv2.boundingRect(class_map)
    rows, columns = slice(top, top + down), slice(left, left + across)
    # One pixel around, for the outline.
    rows, columns = (
        slice(max(0, part.start - 1), min(length, part.stop + 1))
        for part, length in zip((rows, columns), class_map.shape, strict=True)
    )
    ids = class_map[rows, columns]
    # Two pixels wide at 480 lines, one on each side of the border; wider in proportion.
    width = 1 + 2 * max(1, round(min(class_map.shape) / 480))
    around = np.ones((width, width), np.uint8)
    highest = cv2.dilate(ids, around)
    outline = highest != cv2.erode(ids, around)
    alpha = np.array([0, *255 * [round(256 * opacity)]], np.uint16)[ids]
    alpha[outline] = 256
    return _Paint(rows, columns, palette[np.where(outline, highest, ids)], alpha)


def _legend_paint(legend: Mapping[int, str], size: tuple[int, int], palette: np.ndarray) -> _Paint:
    """The legend in a picture of `size` (height, width), in RGB."""
    label = _legend_picture(legend, max(10, round(min(size) / 26)), palette)
    inset = max(2, round(min(size) / 50))
    pixels = np.asarray(label)[: size[0] - inset, : size[1] - inset]
    height, width = pixels.shape[:2]
    alpha = np.round(pixels[..., 3] * (256 / 255)).astype(np.uint16)
    return _Paint(slice(inset, inset + height), slice(inset, inset + width), pixels[..., :3], alpha)


def _averaged(values: np.ndarray) -> np.ndarray:
    """`(2 h, 2 w)` uint16 -> `(h, w)`, the rounded average of each four."""
    height, width = values.shape
    return (values.reshape(height // 2, 2, width // 2, 2).sum(axis=(1, 3), dtype=np.uint32) + 2) // 4


def _to_yuv(rgb: np.ndarray, colours: Colours) -> np.ndarray:
    """Colours `(..., 3)` uint8 in limited range."""
    red, blue = (0.2126, 0.0722) if colours.matrix == BT709 else (0.299, 0.114)
    r, g, b = np.moveaxis(rgb / 255, -1, 0)
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)  # -0.5..0.5
    return np.stack([16 + 219 * y, 128 + 224 * u, 128 + 224 * v], axis=-1).round().astype(np.uint8)


def probability_picture(probability: np.ndarray) -> np.ndarray:
    """A map of probabilities `(H, W)`, 0..1, as a picture `(H, W, 3)` uint8 in `PROBABILITY_COLOURS`: dark 0, light
    1."""
    anchors = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in PROBABILITY_COLOURS])
    places = np.linspace(0, 1, len(anchors))
    channels = [np.interp(probability, places, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def clock(seconds: float, decimals: int = 0) -> str:
    """`65.25` -> `1:05`, with one decimal `1:05.2`; from an hour on `1:00:00`."""
    ticks = int(seconds * 10**decimals + 1e-6)
    whole, fraction = divmod(ticks, 10**decimals)
    minutes, text = whole // 60, f"{whole % 60:02d}"
    text = f"{minutes // 60}:{minutes % 60:02d}:{text}" if minutes >= 60 else f"{minutes}:{text}"
    return f"{text}.{fraction:0{decimals}d}" if decimals else text


def loudness_level(loudness: np.ndarray) -> np.ndarray:
    """Root mean squares `(N,)`, 1 = full scale, as heights `(N,)` of 0..1, linear in dB: `QUIETEST` and below is 0,
    full scale is 1."""
    return np.clip(1 - 20 * np.log10(np.maximum(loudness, 1e-9)) / QUIETEST, 0, 1)


def timeline_picture(
    bars: Sequence[Bar],
    names: Mapping[int, str],
    duration: float,
    loudness: np.ndarray | None,
    width: int = SHEET_WIDTH - 2 * MARGIN,
) -> Image.Image:
    """What sounds when: the loudness of the sound, one row per class that ever sounds, and an axis in seconds.

    Args:
        bars: one per class and step; height and opacity of a bar are its score.
        names: class id -> name, for every class in `bars`; rows follow this order.
        duration: of the clip in seconds.
        loudness: root mean square of the sound in equal parts of the clip, `(N,)`, 1 = full scale; None: no sound
            track.
        width: of the picture in pixels.
    """
    used = {bar.class_id for bar in bars}
    rows = {class_id: row for row, class_id in enumerate(i for i in names if i in used)}
    font, small = ImageFont.load_default(15), ImageFont.load_default(13)
    texts = [names[class_id] for class_id in rows]
    gutter = round(max(font.getlength(text) for text in [*texts, "loudness"])) + 34
    gutter = min(gutter, width // 3)
    top = STRIP + 2 * ROW_GAP
    bottom = top + max(1, len(rows)) * (ROW + ROW_GAP)
    picture = Image.new("RGB", (width, bottom + 30), "white")
    draw = ImageDraw.Draw(picture)

    def column(seconds: float) -> float:
        return gutter + seconds / duration * (width - 1 - gutter)

    step = next((tick for tick in TICK_SECONDS if duration / tick <= 9), TICK_SECONDS[-1])
    ticks = np.arange(int(duration / step + 1e-6) + 1) * step
    for row in rows.values():
        upper = top + row * (ROW + ROW_GAP)
        draw.rectangle([gutter, upper, width - 1, upper + ROW - 1], fill=TRACK)
    for tick in ticks:
        draw.line([column(tick), STRIP + ROW_GAP, column(tick), bottom + 3], fill=(226, 229, 232))

    draw.text((22, STRIP / 2), "loudness", fill=GREY, font=font, anchor="lm")
    if loudness is None:
        draw.text((gutter, STRIP / 2), "no sound track", fill=GREY, font=font, anchor="lm")
    else:
        level = loudness_level(loudness)
        places = np.arange(gutter, width)
        for place, height in zip(places, level[(places - gutter) * len(level) // len(places)], strict=True):
            half = height * (STRIP / 2 - 2)
            draw.line([place, STRIP / 2 - half, place, STRIP / 2 + half], fill=(150, 157, 165))

    for class_id, row in rows.items():
        middle = top + row * (ROW + ROW_GAP) + ROW / 2
        _swatch(draw, 2, middle, 12, class_id)
        draw.text((22, middle), _fitted(names[class_id], font, gutter - 30), fill=INK, font=font, anchor="lm")
    for bar in bars:
        upper = top + rows[bar.class_id] * (ROW + ROW_GAP)
        left, right = round(column(bar.start)), round(column(bar.end))
        # A gap of a pixel tells the steps apart where there is room.
        right = max(left, right - 1 if right - left < 6 else right - 2)
        colour = np.array(TRACK) + bar.score * (PALETTE[bar.class_id] - np.array(TRACK, dtype=np.float64))
        height = max(2, round(bar.score * ROW))
        box = [left, upper + ROW - height, right, upper + ROW - 1]
        draw.rectangle(box, fill=tuple(int(part) for part in colour.round()))
    if not rows:
        draw.text((gutter, top + ROW / 2), "nothing above the threshold", fill=GREY, font=font, anchor="lm")

    draw.line([gutter, bottom, width - 1, bottom], fill=LINE)
    for tick in ticks:
        text = clock(tick, 1 if step < 1 else 0)
        place = min(column(tick), width - 2 - small.getlength(text) / 2)
        draw.text((place, bottom + 8), text, fill=GREY, font=small, anchor="mt")
    return picture


def contact_sheet(title: str, subtitle: str, tiles: Sequence[Tile], timeline: Image.Image) -> Image.Image:
    """One picture: frames with their masks and times, and beneath them the timeline.

    Args:
        title: written on top; cut where it is too long, like every text.
        subtitle: written smaller beneath it.
        tiles: 1 to 12 frames of one shape.
        timeline: see `timeline_picture`.
    """
    height, width = tiles[0].frame.shape[:2]
    rows = -(-len(tiles) // (5 if width >= height else 6))
    columns = -(-len(tiles) // rows)
    inner = SHEET_WIDTH - 2 * MARGIN
    tile_width = min((inner - (columns - 1) * GAP) // columns, 420)
    tile_height = max(1, round(tile_width * height / width))
    caption = 30
    head = 100
    foot = head + rows * (tile_height + caption + GAP)
    sheet = Image.new("RGB", (SHEET_WIDTH, foot + GAP + timeline.height + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    large, font = ImageFont.load_default(26), ImageFont.load_default(15)
    draw.text((MARGIN, 30), _fitted(title, large, inner), fill=INK, font=large)
    draw.text((MARGIN, 66), _fitted(subtitle, font, inner), fill=GREY, font=font)
    for place, tile in enumerate(tiles):
        left = MARGIN + place % columns * (tile_width + GAP)
        upper = head + place // columns * (tile_height + caption + GAP)
        sheet.paste(_masked(tile.frame, tile.class_map, (tile_width, tile_height)), (left, upper))
        _caption(draw, clock(tile.time, 1), tile.sounding, left, upper + tile_height + 17, tile_width, font)
    sheet.paste(timeline, (MARGIN, foot + GAP))
    return sheet


def comparison_sheet(title: str, subtitle: str, frames: Sequence[ComparedFrame]) -> Image.Image:
    """One picture of a clip: in columns its frames, below each the label map laid over it, and the prediction.

    Args:
        title, subtitle: as in `contact_sheet`.
        frames: at least one, all of one shape; five stand side by side.
    """
    height, width = frames[0].frame.shape[:2]
    gutter, caption, head = 110, 30, 100
    columns = min(5, len(frames))
    tile_width = min((SHEET_WIDTH - 2 * MARGIN - gutter - (columns - 1) * GAP) // columns, 420)
    tile_height = max(1, round(tile_width * height / width))
    block = 3 * (tile_height + caption) + GAP
    blocks = -(-len(frames) // columns)
    sheet = Image.new("RGB", (SHEET_WIDTH, head + blocks * block + MARGIN - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    large, font = ImageFont.load_default(26), ImageFont.load_default(15)
    draw.text((MARGIN, 30), _fitted(title, large, SHEET_WIDTH - 2 * MARGIN), fill=INK, font=large)
    draw.text((MARGIN, 66), _fitted(subtitle, font, SHEET_WIDTH - 2 * MARGIN), fill=GREY, font=font)
    for place, compared in enumerate(frames):
        column, upper = place % columns, head + place // columns * block
        left = MARGIN + gutter + column * (tile_width + GAP)
        rows = [
            ("frame", np.zeros_like(compared.truth)),
            ("label map", compared.truth),
            ("prediction", compared.predicted),
        ]
        for row, (name, class_map) in enumerate(rows):
            top = upper + row * (tile_height + caption)
            if column == 0:
                draw.text((MARGIN, top + tile_height / 2), name, fill=GREY, font=font, anchor="lm")
            ids = np.where(class_map == IGNORE_LABEL, 0, class_map).astype(np.uint8)
            sheet.paste(_masked(compared.frame, ids, (tile_width, tile_height)), (left, top))
            sounding = {class_id: compared.names[class_id] for class_id in np.unique(ids).tolist() if class_id}
            text = clock(compared.time, 1) if row == 0 else "" if sounding else "nothing"
            _caption(draw, text, sounding, left, top + tile_height + 15, tile_width, font)
    return sheet


def _masked(frame: np.ndarray, class_map: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """The frame at `size` (width, height) with the masks laid over it."""
    picture = Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)
    ids = Image.fromarray(class_map).resize(size, Image.Resampling.NEAREST)
    return Image.fromarray(overlay(np.asarray(picture), np.asarray(ids)))


def curve_picture(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], width: int = 900) -> Image.Image:
    """Curves one below the other, each with its smallest, largest and last value.

    Args:
        curves: name -> places `(N,)`, rising, and values `(N,)`.
        width: of the picture in pixels.
    """
    font, small, height = ImageFont.load_default(15), ImageFont.load_default(13), 180
    picture = Image.new("RGB", (width, len(curves) * (height + 60) + 10), "white")
    draw = ImageDraw.Draw(picture)
    for number, (name, (places, values)) in enumerate(curves.items()):
        top, left, right = number * (height + 60) + 40, 70, width - 70
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        span, last = (high - low) or 1.0, float(places[-1])
        draw.text((left, top - 28), name, fill=INK, font=font)
        draw.rectangle([left, top, right, top + height], outline=LINE)
        for value in (low, high):
            draw.text(
                (left - 8, top + height * (high - value) / span), f"{value:.3g}", fill=GREY, font=small, anchor="rm"
            )
        draw.text((right, top + height + 12), f"step {last:.0f}", fill=GREY, font=small, anchor="rm")
        points = [
            (left + (right - left) * place / last, top + height * (high - value) / span)
            for place, value in zip(places.tolist(), values.tolist(), strict=True)
        ]
        colour = tuple(PALETTE[number + 1].tolist())
        draw.line(points, fill=colour, width=2)
        draw.ellipse([points[-1][0] - 3, points[-1][1] - 3, points[-1][0] + 3, points[-1][1] + 3], fill=colour)
        draw.text((right + 8, points[-1][1]), f"{values[-1]:.3g}", fill=INK, font=small, anchor="lm")
    return picture


def _caption(
    draw: ImageDraw.ImageDraw, text: str, sounding: Mapping[int, str], left: int, middle: int, width: int, font
) -> None:
    """`text`, then swatches and names as far as there is room; `+2` for those that do not fit."""
    draw.text((left, middle), text, fill=GREY, font=font, anchor="lm")
    place, end = left + (font.getlength(text) + 14 if text else 0), left + width
    for number, (class_id, name) in enumerate(sounding.items()):
        left_out = f"+{len(sounding) - number}"
        is_last = number + 1 == len(sounding)
        if place + 16 + font.getlength(name) + (0 if is_last else 14 + font.getlength("+99")) > end:
            draw.text((place, middle), left_out, fill=GREY, font=font, anchor="lm")
            return
        _swatch(draw, place, middle, 10, class_id)
        draw.text((place + 16, middle), name, fill=INK, font=font, anchor="lm")
        place += 16 + font.getlength(name) + 14


def _legend_picture(legend: Mapping[int, str], font_size: int, palette: np.ndarray) -> Image.Image:
    """RGBA: a dark box with one line per class."""
    font = ImageFont.load_default(font_size)
    line = round(1.5 * font_size)
    pad = round(0.6 * font_size)
    indent = round(1.1 * font_size)
    width = round(max(font.getlength(name) for name in legend.values())) + indent + 2 * pad
    label = Image.new("RGBA", (width, len(legend) * line + pad), (0, 0, 0, 0))
    draw = ImageDraw.Draw(label)
    draw.rounded_rectangle([0, 0, label.width - 1, label.height - 1], radius=pad, fill=(20, 22, 25, 190))
    for row, (class_id, name) in enumerate(legend.items()):
        middle = pad / 2 + (row + 0.5) * line
        _swatch(draw, pad, middle, round(0.7 * font_size), class_id, palette)
        draw.text((pad + indent, middle), name, fill=(255, 255, 255, 255), font=font, anchor="lm")
    return label


def _swatch(
    draw: ImageDraw.ImageDraw, left: float, middle: float, side: int, class_id: int, palette: np.ndarray = PALETTE
) -> None:
    box = [left, middle - side / 2, left + side, middle + side / 2]
    draw.rounded_rectangle(box, radius=2, fill=tuple(palette[class_id].tolist()))


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """`text`, cut in the middle where it is wider than `width` pixels: both ends of a file name say something."""
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = f"{text[: (kept + 1) // 2]}...{text[-(kept // 2) :]}"
        if font.getlength(short) <= width:
            return short
    return text[:1]
