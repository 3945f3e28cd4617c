"""Lays masks over frames, and draws the contact sheet and the timeline of what sounds when.

Everything works on arrays and small records; files are read and written elsewhere. Letters: `H W` picture.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

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
    objects: Mapping[int, int],
    places: Mapping[int, int],
    names: Mapping[int, str],
) -> ObjectsApart:
    """Gives objects of one class shades of its colour.

    Args:
        class_map: `(H, W)` uint8.
        object_map: `(H, W)` numbers of objects; 0 where a class has none.
        objects: number -> class id of those in `object_map`.
        places: number -> place of the object among those of its class in the whole video, from 0, for its shade.
        names: class id -> name.
    """
    masks = {number: object_map == number for number in sorted(objects)}
    # With 255 ids at most, what has no object of its own included.
    shown = [number for number, mask in masks.items() if mask.any()][: 255 - len(names)]
    count = Counter(objects[number] for number in shown)
    shades = _shades([(objects[number], places[number]) for number in shown])
    ids, palette, found_names = np.zeros_like(class_map), np.zeros((256, 3), np.uint8), {}
    for own_id, (number, shade) in enumerate(zip(shown, shades, strict=True), 1):
        class_id = objects[number]
        ids[masks[number]] = own_id
        palette[own_id] = _tinted(PALETTE[class_id].astype(float), SHADES[shade])
        found_names[own_id] = f"{names[class_id]} {number}" if count[class_id] > 1 else names[class_id]
    rest = np.where(ids == 0, class_map, 0)
    for own_id, class_id in enumerate(ids_in(rest), len(shown) + 1):
        ids[rest == class_id] = own_id
        palette[own_id], found_names[own_id] = PALETTE[class_id], names[class_id]
    return ObjectsApart(ids, found_names, palette)


def ids_in(class_map: np.ndarray) -> list[int]:
    """The ids of the classes that a class map `(H, W)` uint8 marks, rising."""
    if not cv2.countNonZero(class_map):  # as most often
        return []
    counts = cv2.calcHist([class_map], [0], None, [256], [0, 256]).ravel()
    return [class_id for class_id in np.flatnonzero(counts).tolist() if class_id]


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
    """Colours to lay over a part of a picture.

    Attributes:
        rows, columns: the part.
        alpha: `(h, w)` uint8, 0 where nothing is laid over to 255 where it is opaque.
        colours: of each plane, `(h, w)` uint8, multiplied by `alpha / 255`.
    """

    rows: slice
    columns: slice
    alpha: np.ndarray
    colours: Sequence[np.ndarray]

    def halved(self) -> "_Paint":
        """At half the size, each pixel the average of four. `rows` and `columns` start and stop at even numbers."""
        rows, columns = (slice(part.start // 2, part.stop // 2) for part in (self.rows, self.columns))
        size = columns.stop - columns.start, rows.stop - rows.start
        alpha, *colours = (
            cv2.resize(values, size, interpolation=cv2.INTER_AREA) for values in (self.alpha, *self.colours)
        )
        return _Paint(rows, columns, alpha, colours)

    def draw_on(self, plane: np.ndarray, number: int) -> None:
        """Changes a plane `(H, W)` uint8 in place; where `alpha` is 0 it stays as it is. `number`: of its colours."""
        region = plane[self.rows, self.columns]
        kept = cv2.multiply(region, cv2.bitwise_not(self.alpha), scale=1 / 255)
        region[...] = cv2.add(kept, self.colours[number])


class YuvOverlay:
    """The masks of one moment, ready to be laid over any number of frames of a video.

    Only the box around the masks is touched, and what is not under a mask or the legend stays as it was.

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
        self._paints: list[_Paint] = []
        if class_map.any():
            self._paints.append(_mask_paint(class_map, opacity, _to_yuv(palette, colours)))
        if legend:
            self._paints.append(_yuv_legend_paint(tuple(legend.items()), self._size, palette.tobytes(), colours))

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
        y, u, v = yuv_planes(frame)
        for paint in self._paints:
            paint.draw_on(y, 0)
            halved = paint.halved()
            halved.draw_on(u, 1)
            halved.draw_on(v, 2)


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
        for channel in range(3):
            paint.draw_on(result[..., channel], channel)
    return result


def _check(class_map: np.ndarray, opacity: float) -> None:
    if class_map.ndim != 2 or class_map.dtype != np.uint8:
        raise ValueError(f"class_map is {class_map.shape} {class_map.dtype}, expected (H, W) uint8")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}, expected 0 (unseen) to 1 (opaque)")


def _mask_paint(class_map: np.ndarray, opacity: float, palette: np.ndarray) -> _Paint:
    """The masks of a class map `(H, W)` that has some; `palette (256, C)` has the colour of each class."""
    # Two pixels wide at 480 lines, one on each side of the border; wider in proportion.
    reach = max(1, round(min(class_map.shape) / 480))
    left, top, across, down = cv2.boundingRect(class_map)
    rows, columns = (
        slice(max(0, start - reach) // 2 * 2, min(length, -(-(stop + reach) // 2) * 2))
        for start, stop, length in zip((top, left), (top + down, left + across), class_map.shape, strict=True)
    )
    ids = class_map[rows, columns]
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    highest = cv2.dilate(ids, around)
    outline = cv2.compare(highest, cv2.erode(ids, around), cv2.CMP_NE)  # 255 or 0
    _, alpha = cv2.threshold(ids, 0, round(255 * opacity), cv2.THRESH_BINARY)
    shown = cv2.copyTo(highest, outline, ids.copy())
    planes = [cv2.LUT(shown, np.ascontiguousarray(colours)) for colours in palette.T]
    return _paint(rows, columns, cv2.max(alpha, outline), planes)


def _legend_paint(legend: Mapping[int, str], size: tuple[int, int], palette: np.ndarray) -> _Paint:
    """The legend in a picture of `size` (height, width), in RGB."""
    rows, columns, pixels = _placed_legend(legend, size, palette)
    return _paint(rows, columns, pixels[..., 3], np.moveaxis(pixels[..., :3], 2, 0))


@lru_cache(maxsize=16)  # it is the same for many frames of a video
def _yuv_legend_paint(
    legend: tuple[tuple[int, str], ...], size: tuple[int, int], palette: bytes, colours: Colours
) -> _Paint:
    """The same in the colours of a video. `size` is even; `legend` is its items, `palette` the bytes of one."""
    palette = np.frombuffer(palette, np.uint8).reshape(256, 3)
    rows, columns, pixels = _placed_legend(dict(legend), size, palette)
    return _paint(rows, columns, pixels[..., 3], np.moveaxis(_to_yuv(pixels[..., :3], colours), 2, 0))


def _placed_legend(
    legend: Mapping[int, str], size: tuple[int, int], palette: np.ndarray
) -> tuple[slice, slice, np.ndarray]:
    """Rows and columns of the legend in a picture of `size`, even ones where that is even, and its RGBA there."""
    label = _legend_picture(legend, max(10, round(min(size) / 26)), palette)
    inset = min(2 * max(1, round(min(size) / 100)), (min(size) - 1) // 2 * 2)
    pixels = np.asarray(label)[: size[0] - inset, : size[1] - inset]
    height, width = pixels.shape[:2]
    return slice(inset, inset + height), slice(inset, inset + width), pixels


def _paint(rows: slice, columns: slice, alpha: np.ndarray, planes: Iterable[np.ndarray]) -> _Paint:
    alpha = np.ascontiguousarray(alpha)
    return _Paint(rows, columns, alpha, [cv2.multiply(np.ascontiguousarray(p), alpha, scale=1 / 255) for p in planes])


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
    height = len(legend) * line + pad
    # Even, as the planes of a video are.
    label = Image.new("RGBA", (width + width % 2, height + height % 2), (0, 0, 0, 0))
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
