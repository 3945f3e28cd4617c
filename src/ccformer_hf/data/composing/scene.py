"""The picture of a composed clip: a panning and zooming photograph, and objects that move over or behind its own.

Letters: `T` frames; `S` side of a frame; `N` objects, those in place first; `h w` a picture as it is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from ..reading import IGNORE_LABEL
from .material import Material
from .pairing import InView
from .pictures import CutOut, Photograph, Picture

SMALLEST, LARGEST = 0.14, 0.85  # square root of the share of the frame that a pasted object covers
MOST_ENLARGED = 1.7  # a pasted object against its picture
OUTSIDE = 0.35  # share of an object's width or height that may lie outside the frame
COVERED = 0.5  # share of an object's box that another's may cover, by their first places
LEAST_HOLDER = 0.03  # share of the frame that the box of a holder covers, or nothing is seen of what is held
HELD_SIDE = (0.35, 1.1)  # longest side of what is held, against the root of the area of its holder's box
HELD_ACROSS, HELD_DOWN = (0.25, 0.75), (0.3, 0.8)  # where its middle is in that box, at first
HELD_TURN, HELD_DRIFT = 50.0, 0.2  # degrees, to either side; and how much it moves by itself, against one not held
BEHIND = 0.3  # share of the pasted objects that are behind what is in place
WINDOW = (0.62, 1.0)  # side of the window against the largest that fits into the photograph
ASPECT = (0.75, 1.78)  # width by height of the window, which becomes a square frame as every video does
IN_PLACE_KEPT = 0.6  # share of what is marked that the window holds
DRIFT, ZOOM, TURN = 0.22, 0.10, 8.0  # of an object over the clip: shares of the frame, and of its size; degrees
LEAST_VISIBLE = 0.12  # share of an object that has to be visible for it to be recognised,
LEAST_PIXELS = 0.002  # and the share of the frame that this has to be


@dataclass(frozen=True)
class Scene:
    """What is seen.

    Attributes:
        frames: uint8 `(T, S, S, 3)`.
        masks: bool `(N, T, S, S)`, the pixels of each object that can be seen.
        visible_enough: bool `(N, T)`, whether enough of it can be seen.
        unsure: bool `(T, S, S)`, pixels of which the photograph's mask does not tell what they are.
    """

    frames: np.ndarray
    masks: np.ndarray
    visible_enough: np.ndarray
    unsure: np.ndarray


def compose_scene(material: Material, view: InView, rng: np.random.Generator) -> Scene:
    """Draws places, sizes, paths and appearances for everything in view, and the frames."""
    size, length = material.sources.size, material.sources.seconds
    photograph = material.photograph(view.photograph)
    aspect = float(np.exp(rng.uniform(*np.log(ASPECT))))
    frames, ids = _window_frames(photograph, aspect, size, length, rng)
    first = np.asarray(frames[0])
    ways = [np.array([_box(frame_ids == class_id) for frame_ids in ids]) for class_id in view.in_place]
    distractors = [
        Sprite.draw(cut_out, first, aspect, [way[0] for way in ways], length, rng)
        for cut_out in (_distractor(material, *parts, rng) for parts in view.distractors)
        if cut_out is not None
    ]
    sprites = []
    for class_id, pictures in view.pasted:
        holder = None
        if view.held is not None and class_id == view.held[0]:
            holder = ways[view.class_ids.index(view.held[1])]
        boxes = [way[0] for way in ways]
        sprite = Sprite.draw(_cut_out(material, class_id, pictures), first, aspect, boxes, length, rng, holder)
        ways.append(np.array([sprite.box(time) for time in range(length)]))
        sprites.append(sprite)

    masks = np.zeros((len(view.class_ids), length, size, size), dtype=bool)
    visible_enough = np.ones((len(view.class_ids), length), dtype=bool)
    unsure = np.zeros((length, size, size), dtype=bool)
    for time in range(length):
        owner = np.full((size, size), -1, dtype=np.int8)
        for number, class_id in enumerate(view.in_place):
            owner[ids[time] == class_id] = number
        unsure[time] = ids[time] == IGNORE_LABEL
        whole = [np.count_nonzero(owner == number) for number in range(len(view.in_place))]
        in_front = (owner >= 0) | unsure[time]
        for sprite in distractors:
            sprite.paste(frames[time], owner, -1, time, in_front if sprite.behind else None)
        for number, sprite in enumerate(sprites, len(view.in_place)):
            whole.append(sprite.paste(frames[time], owner, number, time, in_front if sprite.behind else None))
        unsure[time] &= owner < len(view.in_place)
        for number in range(len(whole)):
            masks[number, time] = owner == number
            visible = np.count_nonzero(masks[number, time])
            visible_enough[number, time] = visible >= max(LEAST_VISIBLE * whole[number], LEAST_PIXELS * size * size)
    return Scene(_finish(frames, rng), masks, visible_enough, unsure)


@dataclass(frozen=True)
class Sprite:
    """A pasted object on its way over the frames.

    Attributes:
        pixels: at about the size it is shown in, in Pillow's mode RGBa (colours multiplied by alpha).
        centers: `(T, 2)` x and y in pixels of the frame.
        zooms: `(T,)` factors; `turns`: `(T,)` in radians.
        behind: whether it is behind what is in place.
    """

    pixels: Image.Image
    centers: np.ndarray
    zooms: np.ndarray
    turns: np.ndarray
    behind: bool

    @classmethod
    def draw(
        cls,
        cut_out: CutOut,
        frame: np.ndarray,
        aspect: float,
        boxes: list[np.ndarray],
        length: int,
        rng: np.random.Generator,
        holder: np.ndarray | None = None,
    ) -> "Sprite":
        """Draws everything about it.

        Args:
            frame: first one, whose colours and sharpness it takes on in part.
            aspect: by which the frame is squeezed.
            boxes: of what is there already, `(left, top, right, bottom)`; the place that covers least of them is
                taken, of a few.
            holder: boxes `(T, 4)` of who holds it; None: nobody does. Nor does anybody hold an object that ends with
                its picture, or would be too small to see.
        """
        size = len(frame)
        image, cut = Image.fromarray(cut_out.rgba), cut_out.cut
        if rng.random() < 0.5:
            image, cut = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (cut[2], cut[1], cut[0], cut[3])
        can_hold = holder is not None and not any(cut) and _area(holder[0]) >= LEAST_HOLDER * size * size
        hold = holder if can_hold else None  # (T, 4)
        area = max(1, np.count_nonzero(cut_out.rgba[..., 3] >= 128))
        factor = size * float(np.exp(rng.uniform(*np.log((SMALLEST, LARGEST))))) / area**0.5
        factor = min(factor, MOST_ENLARGED)
        shape = np.array([image.width / aspect**0.5, image.height * aspect**0.5]) * factor
        if hold is not None:
            side = _area(hold[0]) ** 0.5 * rng.uniform(*HELD_SIDE)
            shape *= min(side / shape.max(), MOST_ENLARGED / factor)
        # Instruments are long: none is much wider or higher than the frame.
        shape *= min(1.0, 1.1 * size / shape.max())
        width, height = np.maximum(4, shape.round().astype(int)).tolist()
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = _matched(image, frame, rng)

        zooms = np.exp(_walk(length, rng) * rng.uniform(0, ZOOM))
        turns = np.deg2rad(TURN) * rng.uniform(-1, 1) + np.deg2rad(TURN) * rng.uniform(0, 1) * _walk(length, rng)
        if any(cut):
            turns = np.zeros(length)
        way = DRIFT * size * rng.uniform(0, 1) * np.stack([_walk(length, rng), _walk(length, rng)], axis=1)
        if hold is not None:
            turns = turns + np.deg2rad(HELD_TURN) * rng.uniform(-1, 1)
            seen = np.array([_area(box) > 0 for box in hold])
            last = np.maximum.accumulate(np.where(seen, np.arange(length), 0))  # out of the frame: where it was last
            middles = ((hold[:, :2] + hold[:, 2:]) / 2)[last]  # (T, 2)
            way = HELD_DRIFT * way + middles - middles[0]
        places = [_place(rng, size, width, height) for _ in range(6)]
        covered = [max((_share(_around(place, width, height), box) for box in boxes), default=0) for place in places]
        fit = next((n for n, share in enumerate(covered) if share <= COVERED), int(np.argmin(covered)))
        place = places[fit]
        if hold is not None:
            place = hold[0, :2] + rng.uniform(*zip(HELD_ACROSS, HELD_DOWN, strict=True)) * (hold[0, 2:] - hold[0, :2])
        centers = place + way
        low, high = (0.5 - OUTSIDE) * np.array([width, height]), size - (0.5 - OUTSIDE) * np.array([width, height])
        centers = np.clip(centers, np.minimum(low, high), np.maximum(low, high))
        halves = np.array([width, height]) / 2 * zooms[:, None]
        # Where its picture ended, so does the frame: no straight edge hangs in the air.
        for side, axis, end in ((0, 0, 0.0), (1, 1, 0.0), (2, 0, size), (3, 1, size)):
            if cut[side]:
                edge = end + (halves[:, axis] if side < 2 else -halves[:, axis])
                centers[:, axis] = (
                    np.minimum(centers[:, axis], edge) if side < 2 else np.maximum(centers[:, axis], edge)
                )
                centers[:, axis] = np.clip(
                    centers[:, axis], edge - 0.3 * halves[:, axis], edge + 0.3 * halves[:, axis]
                )
        return cls(image.convert("RGBa"), centers, zooms, turns, bool(rng.random() < BEHIND) and hold is None)

    def box(self, time: int) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in a frame, without its turn."""
        return _around(self.centers[time], *(side * self.zooms[time] for side in self.pixels.size))

    def paste(self, frame: Image.Image, owner: np.ndarray, number: int, time: int, in_front: np.ndarray | None) -> int:
        """Draws the object into a frame, and its `number` into `owner` where it covers half a pixel or more.

        Args:
            in_front: bool `(S, S)`, what covers it.

        Returns:
            How many pixels it would have, were nothing in front of it.
        """
        size, zoom = frame.width, float(self.zooms[time])
        cos, sin = float(np.cos(self.turns[time])), float(np.sin(self.turns[time]))
        width, height = self.pixels.size
        x, y = self.centers[time].tolist()
        half_x = zoom * (abs(cos) * width + abs(sin) * height) / 2
        half_y = zoom * (abs(sin) * width + abs(cos) * height) / 2
        left, right = max(0, int(np.floor(x - half_x))), min(size, int(np.ceil(x + half_x)))
        top, bottom = max(0, int(np.floor(y - half_y))), min(size, int(np.ceil(y + half_y)))
        if left >= right or top >= bottom:
            return 0
        # From a pixel of the frame, counted from the box, to one of the object: Pillow maps target to source.
        a, b, d, e = cos / zoom, sin / zoom, -sin / zoom, cos / zoom
        to_object = (
            *(a, b, a * (left - x) + b * (top - y) + width / 2),
            *(d, e, d * (left - x) + e * (top - y) + height / 2),
        )
        drawn = self.pixels.transform(
            (right - left, bottom - top), Image.Transform.AFFINE, to_object, Image.Resampling.BILINEAR
        )
        inside = (slice(top, bottom), slice(left, right))
        alpha = np.asarray(drawn.getchannel("a"))
        whole = np.count_nonzero(alpha >= 128)
        if in_front is not None:
            alpha = alpha * ~in_front[inside]
        frame.paste(drawn.convert("RGBA").convert("RGB"), (left, top), Image.fromarray(alpha))
        owner[inside][alpha >= 128] = number
        return whole


def _cut_out(material: Material, class_id: int, pictures: tuple) -> CutOut:
    """The first that ends at no two opposite sides of its picture; else the last one."""
    found = None
    for picture in pictures:
        found = material.cut_out(picture, class_id) or found
        if found is not None and not (found.cut[0] and found.cut[2]) and not (found.cut[1] and found.cut[3]):
            return found
    if found is None:
        names = ", ".join(picture.file for picture in pictures)
        raise ValueError(
            f"{names}: none marks {material.sources.class_names[class_id]}, which their table says they do; fix the "
            "table or the masks"
        )
    return found


def _distractor(
    material: Material, class_id: int, outline: Picture, filling: Picture, rng: np.random.Generator
) -> CutOut | None:
    """A piece of a background in the outline of an object; None where the object is too small to be cut out."""
    cut_out, ground = material.cut_out(outline, class_id), Image.fromarray(material.photograph(filling).rgb)
    if cut_out is None:
        return None
    height, width = cut_out.rgba.shape[:2]
    # As large a window of that shape as fits, or down to a third of it.
    sides = np.array([width, height]) * (min(ground.width / width, ground.height / height) * rng.uniform(0.33, 1))
    start = rng.uniform(0, 1, size=2) * (np.array(ground.size) - sides)
    piece = ground.resize((width, height), Image.Resampling.BILINEAR, tuple(np.concatenate([start, start + sides])))
    return CutOut(np.dstack([np.asarray(piece), cut_out.rgba[..., 3]]), cut_out.cut)


def _window_frames(
    photograph: Photograph, aspect: float, size: int, length: int, rng: np.random.Generator
) -> tuple[list[Image.Image], np.ndarray]:
    """T frames `(S, S)`, and their class ids `(T, S, S)`: a window of the photograph that pans and zooms."""
    height, width = photograph.ids.shape
    most = np.array([min(width, height * aspect), min(height, width / aspect)])
    share = rng.uniform(*WINDOW)
    marked = 4 * np.argwhere(photograph.ids[::4, ::4] > 0)[:, ::-1] + 2  # x, y
    for attempt in range(6):
        sides = most * (share if attempt < 5 else 1.0)
        room = (np.array([width, height]) - sides) / 2
        center = np.array([width, height]) / 2 + room * rng.uniform(-1, 1, size=2)
        held = (np.abs(marked - center) <= sides / 2).all(axis=1)
        if not len(marked) or held.mean() >= IN_PLACE_KEPT:
            break
    zooms = np.exp(rng.uniform(0, ZOOM) * _walk(length, rng))
    way = sides * rng.uniform(0, 0.12) * np.stack([_walk(length, rng), _walk(length, rng)], axis=1)
    picture, ids = Image.fromarray(photograph.rgb), Image.fromarray(photograph.ids)
    if rng.random() < 0.5:
        picture, ids = (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in (picture, ids))
        center[0] = width - center[0]
    frames = []
    maps = np.empty((length, size, size), dtype=np.uint8)
    for time in range(length):
        half = np.minimum(sides * zooms[time], most) / 2
        middle = np.clip(center + way[time], half, np.array([width, height]) - half)
        box = tuple(
            np.concatenate([np.maximum(0, middle - half), np.minimum([width, height], middle + half)]).tolist()
        )
        frames.append(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))
        maps[time] = ids.resize((size, size), Image.Resampling.NEAREST, box=box)
    return frames, maps


def _walk(length: int, rng: np.random.Generator) -> np.ndarray:
    """A way `(T,)` from 0 on, in about -1..1: steady, with a little wavering."""
    times = np.linspace(0, 1, length) if length > 1 else np.zeros(1)
    wavering = np.cumsum(rng.normal(0, 0.25 / max(1, length) ** 0.5, length))
    return rng.uniform(-1, 1) * times + wavering - wavering[0]


def _place(rng: np.random.Generator, size: int, width: int, height: int) -> np.ndarray:
    margin = np.array([width, height]) * (0.5 - OUTSIDE)
    low = np.minimum(margin, size / 2)
    return rng.uniform(low, size - low)


def _around(center: np.ndarray, width: float, height: float) -> tuple[float, float, float, float]:
    x, y = center.tolist()
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _area(box: Sequence[float] | np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _share(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """How much of the smaller box the other covers."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height) / max(1.0, min(_area(one), _area(other)))


def _matched(image: Image.Image, frame: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """The object with colours, contrast and sharpness nearer to the frame's, and an edge a little soft."""
    pixels = np.asarray(image)
    inside = np.flatnonzero(pixels[..., 3] >= 128)
    if not len(inside):
        return image
    own = pixels.reshape(-1, 4)[inside[:: 1 + len(inside) // 2000], :3].astype(np.float32)
    ground = frame[::4, ::4].reshape(-1, 3).astype(np.float32)
    strength = rng.uniform(0, 0.6)
    contrast = np.clip(ground.std() / max(1.0, own.std()), 0.6, 1.4) ** strength
    middle = own.mean(axis=0)
    shift = 0.5 * strength * (ground.mean(axis=0) - middle)
    table = (np.arange(256, dtype=np.float32)[:, None] - middle) * contrast + middle + shift
    colours = image.convert("RGB").point(np.clip(table.round(), 0, 255).astype(int).T.ravel().tolist())
    if np.abs(ground - ground.mean(axis=1, keepdims=True)).mean() < 3:  # a grey photograph
        colours = colours.convert("L").convert("RGB")
    finer = float(np.log2(_sharpness(pixels[..., 1]) / _sharpness(frame[..., 1])))
    radius = 0.5 * max(0.0, finer) + rng.uniform(0, 0.4)
    if radius > 0.3:
        colours = colours.filter(ImageFilter.BoxBlur(min(radius, 1.8)))
    alpha = image.getchannel("A").filter(ImageFilter.BoxBlur(rng.uniform(0.3, 1.0)))
    colours.putalpha(alpha)
    return colours


def _sharpness(channel: np.ndarray) -> float:
    """Steps between neighbours against those at four times the distance: high where there is fine detail."""
    values = channel[::3].astype(np.int16)
    if min(values.shape) < 6:
        return 1.0
    near = np.abs(np.diff(values, axis=1)).mean()
    far = np.abs(values[:, 4:] - values[:, :-4]).mean()
    return float((near + 0.1) / (far + 0.4))


def _finish(frames: list[Image.Image], rng: np.random.Generator) -> np.ndarray:
    """The frames `(T, S, S, 3)` after what a camera does to a whole picture, so that nothing tells what was pasted."""
    size = frames[0].width
    finished = np.empty((len(frames), size, size, 3), dtype=np.uint8)
    toned, blurred, grainy = rng.random(3) < (0.5, 0.15, 0.4)
    gain, gamma, radius, coarse = rng.uniform((0.8, 0.85, 0.3, 1), (1.2, 1.2, 0.9, 6)).tolist()
    tones = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).round().astype(int).tolist()
    if grainy:
        grain = 128 + np.float32(coarse) * rng.standard_normal((size + 64, size), dtype=np.float32)
        grain = Image.fromarray(np.clip(grain.round(), 0, 255).astype(np.uint8)).convert("RGB")
    for time, start in enumerate(rng.integers(0, 65, size=len(frames)).tolist()):
        image = frames[time]
        if toned:
            image = image.point(3 * tones)
        if blurred:
            image = image.filter(ImageFilter.BoxBlur(radius))
        if grainy:
            image = ImageChops.add(image, grain.crop((0, start, size, start + size)), offset=-128)
        finished[time] = image
    return finished
