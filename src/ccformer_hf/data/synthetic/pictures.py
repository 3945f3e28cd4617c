"""The pictures of the synthetic set: one appearance per class, textured backgrounds, plates that cover things.

A class is known by its silhouette, its range of hues and its inner pattern; hue, brightness, light and mirroring vary.
All silhouettes are compact, so that a mask at a quarter of the resolution can hold them. Backgrounds and plates keep
to muted colours.

A `Layer` is anything that lies on the background: a drawn object or a plate, and how it moves. Sprites are drawn once
per clip, twice as large as the largest object, and then turned, scaled and placed by PIL. Lengths are fractions of the
frame's side.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

SMALLEST, LARGEST = 0.28, 0.48  # bounding diameter of an object


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """8-bit RGB of a hue in degrees, saturation and value in 0..1 (values beyond are cut)."""
    rgb = colorsys.hsv_to_rgb(hue / 360 % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return tuple(round(255 * part) for part in rgb)


class Pen:
    """Draws a class in unit coordinates: the bounding circle is the unit circle, x to the right, y down.

    Args:
        side: pixels of the square canvas.
        rng: varies the colours.
    """

    def __init__(self, side: int, rng: np.random.Generator):
        self.image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)
        self._half = side / 2
        self._hue = rng.uniform(-10, 10)
        self._brightness = rng.uniform(0.78, 1.05)

    def colour(self, hue: float, saturation: float, value: float) -> Colour:
        """The colour as this one object has it: a little off in hue, brighter or darker."""
        return hsv(hue + self._hue, saturation, value * self._brightness)

    def polygon(self, points: list[tuple[float, float]], fill: Colour) -> None:
        self._draw.polygon([(self._half * (1 + x), self._half * (1 + y)) for x, y in points], fill=fill)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        self._draw.ellipse(self._box(x - rx, y - ry, x + rx, y + ry), fill=fill)

    def rectangle(self, left: float, top: float, right: float, bottom: float, fill: Colour, radius: float = 0) -> None:
        self._draw.rounded_rectangle(self._box(left, top, right, bottom), radius=radius * self._half, fill=fill)

    def line(self, points: list[tuple[float, float]], width: float, fill: Colour) -> None:
        corners = [(self._half * (1 + x), self._half * (1 + y)) for x, y in points]
        self._draw.line(corners, fill=fill, width=round(width * self._half), joint="curve")

    def _box(self, left: float, top: float, right: float, bottom: float) -> list[float]:
        return [self._half * (1 + v) for v in (left, top, right, bottom)]


def _bell(pen: Pen) -> None:
    gold, dark, light = pen.colour(50, 0.85, 0.95), pen.colour(42, 0.9, 0.62), pen.colour(54, 0.4, 1)
    pen.ellipse(0, 0.72, 0.24, 0.24, dark)
    pen.ellipse(0, -0.78, 0.19, 0.19, dark)
    dome = [
        (-0.38, -0.6),
        (-0.2, -0.74),
        (0.2, -0.74),
        (0.38, -0.6),
        (0.54, -0.15),
        (0.64, 0.32),
        (0.88, 0.5),
        (0.88, 0.68),
    ]
    pen.polygon([*dome, (-0.88, 0.68), (-0.88, 0.5), (-0.64, 0.32), (-0.54, -0.15)], gold)
    pen.polygon([(-0.55, -0.1), (0.55, -0.1), (0.59, 0.1), (-0.59, 0.1)], dark)
    pen.rectangle(-0.88, 0.52, 0.88, 0.68, light)
    pen.ellipse(-0.2, -0.4, 0.09, 0.2, light)


def _bird(pen: Pen) -> None:
    lime, dark, beak = pen.colour(95, 0.8, 0.85), pen.colour(105, 0.85, 0.5), pen.colour(40, 0.9, 1)
    pen.polygon([(-0.35, -0.15), (-1, -0.45), (-0.86, 0.05), (-0.95, 0.5), (-0.35, 0.4)], dark)
    pen.polygon([(0.66, -0.58), (1, -0.28), (0.62, -0.1)], beak)
    pen.ellipse(-0.02, 0.18, 0.66, 0.52, lime)
    pen.ellipse(0.45, -0.34, 0.4, 0.38, lime)
    pen.ellipse(-0.14, 0.2, 0.36, 0.24, dark)
    pen.ellipse(0.55, -0.42, 0.12, 0.12, (250, 250, 250))
    pen.ellipse(0.57, -0.42, 0.07, 0.07, (10, 10, 10))


def _clock(pen: Pen) -> None:
    rim, hand = pen.colour(178, 0.9, 0.62), pen.colour(178, 0.9, 0.2)
    pen.ellipse(0, 0, 0.96, 0.96, rim)
    pen.ellipse(0, 0, 0.7, 0.7, pen.colour(170, 0.06, 0.98))
    for turn in np.arange(12) * np.pi / 6:
        x, y = np.sin(turn), np.cos(turn)
        pen.line([(0.52 * x, 0.52 * y), (0.64 * x, 0.64 * y)], 0.09, hand)
    pen.line([(0, 0), (0.3, -0.26)], 0.13, hand)
    pen.line([(0, 0), (-0.12, -0.5)], 0.1, hand)
    pen.ellipse(0, 0, 0.1, 0.1, hand)


def _dog(pen: Pen) -> None:
    fur, ear, snout = pen.colour(35, 0.36, 0.88), pen.colour(22, 0.62, 0.36), pen.colour(38, 0.14, 1)
    pen.ellipse(0, 0.04, 0.66, 0.8, fur)
    pen.ellipse(-0.68, 0, 0.28, 0.6, ear)
    pen.ellipse(0.68, 0, 0.28, 0.6, ear)
    pen.ellipse(0, 0.45, 0.42, 0.36, snout)
    pen.ellipse(0, 0.28, 0.17, 0.12, (25, 20, 20))
    pen.ellipse(-0.25, -0.16, 0.11, 0.13, (25, 20, 20))
    pen.ellipse(0.25, -0.16, 0.11, 0.13, (25, 20, 20))
    pen.line([(-0.16, 0.6), (0, 0.52), (0.16, 0.6)], 0.07, ear)


def _drum(pen: Pen) -> None:
    red, dark, skin = pen.colour(0, 0.88, 0.82), pen.colour(0, 0.9, 0.45), pen.colour(45, 0.14, 0.98)
    pen.ellipse(0, 0.46, 0.86, 0.34, dark)
    pen.rectangle(-0.86, -0.4, 0.86, 0.46, red)
    pen.ellipse(0, 0.36, 0.86, 0.34, red)
    pen.line(
        [(-0.84, -0.3), (-0.56, 0.54), (-0.28, -0.1), (0, 0.62), (0.28, -0.1), (0.56, 0.54), (0.84, -0.3)], 0.1, skin
    )
    pen.ellipse(0, -0.4, 0.86, 0.36, dark)
    pen.ellipse(0, -0.42, 0.74, 0.27, skin)


def _emergency_car(pen: Pen) -> None:
    white, blue, stripe = pen.colour(210, 0.03, 1), pen.colour(225, 0.92, 0.95), pen.colour(8, 0.92, 0.92)
    glass, tyre = pen.colour(215, 0.6, 0.3), (28, 28, 32)
    pen.rectangle(-0.24, -0.72, 0.24, -0.4, blue, 0.08)
    pen.polygon([(-0.72, 0), (-0.5, -0.5), (0.4, -0.5), (0.7, 0)], white)
    pen.polygon([(-0.56, -0.06), (-0.42, -0.4), (-0.06, -0.4), (-0.06, -0.06)], glass)
    pen.polygon([(0.06, -0.06), (0.06, -0.4), (0.34, -0.4), (0.54, -0.06)], glass)
    pen.rectangle(-0.96, -0.06, 0.96, 0.46, white, 0.14)
    pen.rectangle(-0.96, 0.1, 0.96, 0.28, stripe)
    for x in (-0.52, 0.52):
        pen.ellipse(x, 0.46, 0.28, 0.28, tyre)
        pen.ellipse(x, 0.46, 0.12, 0.12, white)


def _flute(pen: Pen) -> None:
    silver, dark = pen.colour(192, 0.36, 0.94), pen.colour(200, 0.7, 0.34)
    pen.rectangle(-0.96, -0.3, 0.96, 0.3, silver, 0.14)
    pen.rectangle(-0.96, -0.3, -0.8, 0.3, dark, 0.1)
    pen.rectangle(0.82, -0.3, 0.96, 0.3, dark, 0.1)
    pen.rectangle(-0.8, -0.24, 0.82, -0.15, pen.colour(190, 0.08, 1))
    for x in np.linspace(-0.55, 0.6, 5):
        pen.ellipse(x, 0.04, 0.11, 0.12, dark)


def _guitar(pen: Pen) -> None:
    wood, dark = pen.colour(24, 0.86, 0.72), pen.colour(20, 0.75, 0.3)
    pen.rectangle(-0.15, -0.98, 0.15, 0, dark)
    pen.rectangle(-0.23, -0.98, 0.23, -0.72, wood, 0.05)
    pen.ellipse(0, -0.08, 0.47, 0.36, wood)
    pen.ellipse(0, 0.45, 0.64, 0.53, wood)
    pen.rectangle(-0.4, -0.05, 0.4, 0.3, wood)
    pen.rectangle(-0.09, -0.72, 0.09, 0.1, dark)
    pen.ellipse(0, 0.2, 0.22, 0.22, dark)
    pen.rectangle(-0.34, 0.62, 0.34, 0.74, dark)


def _helicopter(pen: Pen) -> None:
    green, dark, glass = pen.colour(145, 0.75, 0.5), pen.colour(145, 0.8, 0.24), pen.colour(180, 0.3, 0.95)
    pen.rectangle(0.12, -0.4, 0.36, 0, dark)
    pen.rectangle(-0.5, -0.58, 0.98, -0.34, dark, 0.08)
    pen.polygon([(0.1, -0.1), (-0.85, -0.02), (-0.85, 0.24), (0.1, 0.56)], green)
    pen.rectangle(-0.98, -0.3, -0.72, 0.34, dark, 0.06)
    pen.ellipse(0.24, 0.22, 0.62, 0.48, green)
    pen.ellipse(0.5, 0.12, 0.28, 0.24, glass)
    pen.rectangle(-0.3, 0.62, 0.8, 0.78, dark, 0.06)


def _man(pen: Pen) -> None:
    shirt, dark, skin = pen.colour(276, 0.72, 0.74), pen.colour(276, 0.8, 0.36), pen.colour(22, 0.36, 0.92)
    pen.rectangle(-0.78, 0.12, 0.78, 0.92, shirt, 0.34)
    pen.rectangle(-0.78, 0.55, 0.78, 0.92, shirt)
    pen.rectangle(-0.22, -0.1, 0.22, 0.26, skin)
    pen.ellipse(0, -0.52, 0.44, 0.47, dark)
    pen.ellipse(0, -0.38, 0.38, 0.4, skin)
    pen.polygon([(-0.26, 0.12), (0.26, 0.12), (0, 0.6)], (245, 245, 245))
    pen.polygon([(-0.08, 0.2), (0.08, 0.2), (0.11, 0.8), (-0.11, 0.8)], dark)
    pen.ellipse(-0.15, -0.42, 0.06, 0.07, (20, 20, 20))
    pen.ellipse(0.15, -0.42, 0.06, 0.07, (20, 20, 20))
    pen.rectangle(-0.14, -0.2, 0.14, -0.13, (120, 30, 40))


def _motorcycle(pen: Pen) -> None:
    tyre, hub, blue = (26, 26, 34), pen.colour(220, 0.1, 0.78), pen.colour(228, 0.88, 0.88)
    pen.polygon(
        [(-0.6, 0.4), (-0.88, -0.2), (-0.25, -0.3), (0.2, -0.5), (0.55, -0.55), (0.78, 0.3), (0.3, 0.6), (-0.3, 0.6)],
        blue,
    )
    pen.polygon([(-0.9, -0.3), (-0.2, -0.3), (-0.3, -0.08), (-0.82, -0.08)], tyre)
    pen.polygon([(0.34, -0.72), (0.66, -0.72), (0.66, -0.46), (0.34, -0.42)], tyre)
    pen.ellipse(0, 0.3, 0.24, 0.2, hub)
    for x in (-0.58, 0.58):
        pen.ellipse(x, 0.42, 0.4, 0.4, tyre)
        pen.ellipse(x, 0.42, 0.2, 0.2, hub)


def _trumpet(pen: Pen) -> None:
    pink, dark, light = pen.colour(322, 0.72, 0.92), pen.colour(318, 0.85, 0.5), pen.colour(325, 0.25, 1)
    pen.rectangle(-0.98, -0.2, -0.78, 0.2, dark, 0.05)
    pen.rectangle(-0.4, -0.48, 0.14, 0.48, dark, 0.06)
    pen.polygon(
        [
            (-0.8, -0.15),
            (0.2, -0.17),
            (0.55, -0.32),
            (0.9, -0.66),
            (0.9, 0.66),
            (0.55, 0.32),
            (0.2, 0.17),
            (-0.8, 0.15),
        ],
        pink,
    )
    pen.ellipse(0.86, 0, 0.12, 0.66, light)
    for x in (-0.3, -0.13, 0.04):
        pen.rectangle(x - 0.06, -0.42, x + 0.06, 0.42, light)


def _frying_food(pen: Pen) -> None:
    pan, rim, handle = pen.colour(215, 0.3, 0.2), pen.colour(215, 0.15, 0.48), pen.colour(4, 0.85, 0.7)
    white, yolk = pen.colour(60, 0.03, 1), pen.colour(44, 0.95, 1)
    pen.rectangle(0.4, -0.14, 1, 0.14, handle, 0.1)
    pen.ellipse(-0.24, 0, 0.76, 0.76, rim)
    pen.ellipse(-0.24, 0, 0.64, 0.64, pan)
    for x, y, radius in ((-0.44, -0.12, 0.34), (-0.02, 0.06, 0.32), (-0.36, 0.24, 0.28)):
        pen.ellipse(x, y, radius, radius, white)
    pen.ellipse(-0.36, -0.06, 0.19, 0.19, yolk)
    pen.ellipse(0.02, 0.12, 0.15, 0.15, yolk)


def _saw(pen: Pen) -> None:
    steel, light, grip = pen.colour(212, 0.5, 0.42), pen.colour(200, 0.15, 1), pen.colour(12, 0.92, 0.98)
    teeth = [(0.98 - 0.165 * tooth, 0.26 + 0.04 * tooth) for tooth in range(8)]
    edge = [corner for x, y in teeth for corner in ((x, y), (x - 0.13, y - 0.16))]
    pen.polygon([(-0.4, -0.42), (0.98, -0.1), *edge, (-0.4, 0.5)], steel)
    pen.line([(-0.3, -0.18), (0.96, 0)], 0.1, light)
    pen.rectangle(-0.98, -0.56, -0.26, 0.62, grip, 0.24)


def _sheep(pen: Pen) -> None:
    wool, shade, dark = pen.colour(48, 0.08, 1), pen.colour(40, 0.16, 0.8), pen.colour(300, 0.2, 0.2)
    for x in (-0.5, 0.3):
        pen.rectangle(x - 0.13, 0.3, x + 0.13, 0.9, dark)
    for turn in np.arange(9) * 2 * np.pi / 9:
        pen.ellipse(-0.12 + 0.52 * np.cos(turn), -0.02 + 0.34 * np.sin(turn), 0.3, 0.3, wool)
    pen.ellipse(-0.12, -0.02, 0.6, 0.4, wool)
    for x, y in ((-0.45, -0.1), (-0.1, -0.26), (-0.18, 0.16)):
        pen.ellipse(x, y, 0.15, 0.11, shade)
    pen.ellipse(0.62, -0.2, 0.32, 0.42, dark)
    pen.ellipse(0.36, -0.36, 0.22, 0.12, dark)
    pen.ellipse(0.56, -0.58, 0.24, 0.18, wool)
    pen.ellipse(0.7, -0.24, 0.09, 0.1, (250, 250, 250))


def _train(pen: Pen) -> None:
    black, red, brass = pen.colour(240, 0.3, 0.2), pen.colour(350, 0.85, 0.8), pen.colour(46, 0.8, 0.95)
    pen.rectangle(0.42, -0.78, 0.7, -0.1, black)
    pen.rectangle(0.32, -0.88, 0.8, -0.68, brass)
    pen.ellipse(0.04, -0.28, 0.18, 0.24, brass)
    pen.rectangle(-0.4, -0.34, 0.86, 0.32, black, 0.16)
    pen.rectangle(-0.9, -0.6, -0.26, 0.36, red)
    pen.rectangle(-0.98, -0.74, -0.18, -0.56, black)
    pen.rectangle(-0.74, -0.44, -0.42, -0.12, pen.colour(55, 0.25, 1))
    for x in (0.26, 0.56):
        pen.rectangle(x, -0.34, x + 0.1, 0.32, brass)
    pen.polygon([(0.7, 0.28), (0.98, 0.66), (0.7, 0.66)], brass)
    for x in (-0.62, -0.06, 0.48):
        pen.ellipse(x, 0.44, 0.29, 0.29, black)
        pen.ellipse(x, 0.44, 0.2, 0.2, red)
        pen.ellipse(x, 0.44, 0.07, 0.07, black)


LOOKS: dict[str, Callable[[Pen], None]] = {
    "bell": _bell,
    "bird": _bird,
    "clock": _clock,
    "dog": _dog,
    "drum": _drum,
    "emergency-car": _emergency_car,
    "flute": _flute,
    "guitar": _guitar,
    "helicopter": _helicopter,
    "man": _man,
    "motorcycle": _motorcycle,
    "trumpet": _trumpet,
    # Four more, for training on classes that ccformer-tiny does not know.
    "frying-food": _frying_food,
    "saw": _saw,
    "sheep": _sheep,
    "train": _train,
}


def draw_object(class_name: str, rng: np.random.Generator, size: int) -> Image.Image:
    """An RGBA sprite of the class, twice as large as `LARGEST` in a frame of `size` pixels: lit, perhaps mirrored."""
    pen = Pen(round(2 * LARGEST * size), rng)
    LOOKS[class_name](pen)
    turn, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.2)
    ramp = np.linspace(-1, 1, pen.image.width, dtype=np.float32)
    light = 212 * (1 + strength * (np.cos(turn) * ramp[None] + np.sin(turn) * ramp[:, None]))
    shade = Image.fromarray(light.clip(0, 255).astype(np.uint8))
    red, green, blue, alpha = pen.image.split()
    lit = [Image.composite(band, Image.new("L", band.size), shade) for band in (red, green, blue)]
    sprite = Image.merge("RGBA", (*lit, alpha))
    return sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else sprite


def _muted(rng: np.random.Generator) -> np.ndarray:
    return np.array(hsv(rng.uniform(0, 360), rng.uniform(0, 0.24), rng.uniform(0.2, 0.85)), dtype=np.float32)


def draw_plate(rng: np.random.Generator, size: int) -> Image.Image:
    """An RGBA sprite of a thing without a class, to cover others with: a muted board or disc, perhaps with stripes."""
    side = round(LARGEST * size)
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    fill, stripe = tuple(_muted(rng).astype(int)), tuple(_muted(rng).astype(int))
    margin = rng.uniform(0.1, 0.34) * side
    draw.rounded_rectangle(
        [2, margin, side - 3, side - margin], radius=rng.uniform(0, 0.5) * (side / 2 - margin), fill=fill
    )
    if rng.random() < 0.5:
        for x in np.arange(0.2, 0.9, 0.22) * side:
            draw.rectangle([x, margin + 2, x + 0.08 * side, side - margin - 2], fill=stripe)
    return image


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A textured background `(size, size, 3)` uint8: a gradient with noise, stripes, checks or blobs, and grain."""
    low = 56  # textures are made small and stretched: cheap, and soft
    across, down = np.meshgrid(np.linspace(0, 1, low, dtype=np.float32), np.linspace(0, 1, low, dtype=np.float32))
    turn = rng.uniform(0, 2 * np.pi)
    along = np.cos(turn) * across + np.sin(turn) * down
    first, second, third = _muted(rng), _muted(rng), _muted(rng)
    picture = first + (along[..., None] - along.min()) / np.ptp(along) * (second - first)
    kind = rng.choice(["noise", "stripes", "checks", "blobs"])
    if kind == "noise":
        cells = int(rng.integers(4, 15))
        coarse = Image.fromarray(rng.uniform(0, 1, (cells, cells)).astype(np.float32))
        cover = np.asarray(coarse.resize((low, low), Image.Resampling.BICUBIC)).clip(0, 1)
    elif kind == "stripes":
        cover = (np.sin(along * rng.uniform(15, 60) + rng.uniform(0, 6)) > rng.uniform(-0.5, 0.5)).astype(np.float32)
    elif kind == "checks":
        other = np.sin(turn) * across - np.cos(turn) * down
        step = rng.uniform(4, 11)
        cover = (np.floor(along * step + 20) + np.floor(other * step + 20)) % 2
    else:
        x, y, r = rng.uniform(0, 1, (3, 12, 1, 1)).astype(np.float32)
        cover = (((across - x) ** 2 + (down - y) ** 2) < (0.03 + 0.12 * r) ** 2).any(axis=0).astype(np.float32)
    picture = picture + cover[..., None] * rng.uniform(0.3, 0.9) * (third - picture)
    stretched = Image.fromarray(picture.clip(0, 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
    grain = rng.integers(0, 7, (size, size, 1), dtype=np.int16) - 3
    return (np.asarray(stretched, dtype=np.int16) + grain).clip(0, 255).astype(np.uint8)


def _reflect(value: float) -> float:
    """Folds a straight way into 0..1, as a ball between two walls goes."""
    return abs((value + 1) % 2 - 1)


@dataclass(frozen=True)
class Layer:
    """A sprite and its motion: drift between the frame's edges, wobble, steady turning, slow change of scale.

    `sprite` has premultiplied alpha (PIL's `RGBa`), in which PIL interpolates: converted once here, not at every
    frame. `diameter`, `start`, `wobble` in sides of the frame, `speed` in sides per second, `turning` in degrees per
    second.
    """

    sprite: Image.Image
    diameter: float
    start: tuple[float, float]
    speed: tuple[float, float]
    wobble: float
    rate: float
    phase: float
    angle: float
    turning: float
    breathing: float

    @classmethod
    def draw(cls, sprite: Image.Image, rng: np.random.Generator, smallest: float, largest: float) -> "Layer":
        """An RGBA sprite with a random size between two diameters, place and motion."""
        direction, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.01, 0.09)
        return cls(
            sprite=sprite.convert("RGBa"),
            diameter=rng.uniform(smallest, largest),
            start=(rng.uniform(0, 1), rng.uniform(0, 1)),
            speed=(speed * np.cos(direction), speed * np.sin(direction)),
            wobble=rng.uniform(0, 0.025),
            rate=rng.uniform(0.15, 0.6),
            phase=rng.uniform(0, 2 * np.pi),
            angle=rng.uniform(-50, 50),
            turning=rng.choice([-1, 1]) * rng.uniform(3, 25),
            breathing=rng.uniform(0, 0.08),
        )

    def place(self, time: float, size: int) -> tuple[Image.Image, tuple[int, int]]:
        """The RGBA sprite as it is at `time` (s) in a frame of `size` pixels, and where its left upper corner lies."""
        swing = np.sin(2 * np.pi * self.rate * time + self.phase)
        diameter = float(np.clip(self.diameter * (1 + self.breathing * swing), SMALLEST, LARGEST)) * size
        margin = 0.46 * diameter / size  # the bounding circle may leave the frame a little
        x, y = (
            size * (margin + _reflect(start + speed * time) * (1 - 2 * margin) + self.wobble * turn)
            for start, speed, turn in zip(
                self.start, self.speed, (swing, np.cos(4 * self.rate * time + self.phase)), strict=True
            )
        )
        side = int(np.ceil(diameter)) + 2
        left, top = int(x - side / 2), int(y - side / 2)
        step, half = self.sprite.width / diameter, self.sprite.width / 2
        turn = np.deg2rad(self.angle + self.turning * time)
        cos, sin = step * np.cos(turn), step * np.sin(turn)
        x, y = x - left, y - top
        affine = (cos, sin, half - cos * x - sin * y, -sin, cos, half + sin * x - cos * y)
        placed = self.sprite.transform((side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
        return placed.convert("RGBA"), (left, top)


def render(background: np.ndarray, layers: list[Layer], time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One picture of a scene.

    Args:
        background: `(H, H, 3)` uint8.
        layers: what lies on it, back to front.
        time: seconds since the start of the clip.

    Returns:
        The frame `(H, H, 3)` uint8; the visible pixels of every layer `(L, H, H)` bool; the share of itself that each
        layer shows `(L,)`, where what lies outside the frame or behind another layer is not shown.
    """
    frame = Image.fromarray(background)
    size = frame.width
    masks = np.zeros((len(layers), size, size), dtype=bool)
    areas = np.zeros(len(layers))
    for row, layer in enumerate(layers):
        sprite, (left, top) = layer.place(time, size)
        frame.paste(sprite, (left, top), sprite)
        solid = np.asarray(sprite.getchannel("A")) >= 128
        areas[row] = solid.sum()
        solid = solid[max(0, -top) : size - top, max(0, -left) : size - left]
        down, across = max(0, top), max(0, left)
        window = (slice(down, down + solid.shape[0]), slice(across, across + solid.shape[1]))
        masks[(slice(0, row), *window)] &= ~solid
        masks[(row, *window)] = solid
    return np.asarray(frame), masks, masks.sum(axis=(1, 2)) / np.maximum(areas, 1)
