"""Draws what a benchmark measured: times as bars, and as lines over the number and the size of the frames."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from ..inference.visualize import GREY, INK, LINE, PALETTE, TRACK
from .benchmark import FRAMES, SIZES, Table
from .measuring import Row

WIDTH, MARGIN, GUTTER, NOTE = 1100, 30, 230, 250  # the gutter holds names, the note at the right figures
TITLE, BAR, GAP, PLOT, UNDER_PLOT = 44, 20, 6, 300, 46


def benchmark_picture(tables: Sequence[Table], titles: Mapping[str, str], subtitle: str) -> Image.Image:
    """One block per table, one below the other: lines over frames or sizes, else a bar for each row.

    Args:
        titles: of each kind of table.
        subtitle: below the heading: what was measured, on what.
    """
    heights = [TITLE + (PLOT + UNDER_PLOT if _over(t) else len(t.rows) * (BAR + GAP)) for t in tables]
    picture = Image.new("RGB", (WIDTH, 90 + sum(heights) + MARGIN), "white")
    draw, top = ImageDraw.Draw(picture), 90
    draw.text((MARGIN, 22), "Benchmark", fill=INK, font=ImageFont.load_default(26))
    draw.text((MARGIN, 60), subtitle, fill=GREY, font=ImageFont.load_default(14))
    names = list(dict.fromkeys(row.name for table in tables for row in table.rows))
    colours = {name: tuple(PALETTE[number + 1].tolist()) for number, name in enumerate(names)}
    for table, height in zip(tables, heights, strict=True):
        draw.text((MARGIN, top + 12), titles[table.kind], fill=INK, font=ImageFont.load_default(18))
        (_draw_lines if _over(table) else _draw_bars)(draw, table, top + TITLE, colours)
        top += height
    return picture


def _over(table: Table) -> str | None:
    """What the lines of a table are drawn over: an attribute of its rows."""
    return {FRAMES: "frames", SIZES: "size"}.get(table.kind)


def _draw_bars(draw: ImageDraw.ImageDraw, table: Table, top: float, colours: Mapping[str, tuple]) -> None:
    font, left, longest = ImageFont.load_default(14), MARGIN + GUTTER, max(row.median for row in table.rows)
    several = len({row.clips for row in table.rows}) > 1
    for row in table.rows:
        middle = top + BAR / 2
        name = f"{row.name}, {row.clips} {'clip' if row.clips == 1 else 'clips'}" if several else row.name
        draw.text((left - 10, middle), name, fill=INK, font=font, anchor="rm")
        draw.rectangle([left, top, WIDTH - MARGIN - NOTE, top + BAR], fill=TRACK)
        length = (WIDTH - MARGIN - NOTE - left) * max(row.median, 0) / longest
        draw.rectangle([left, top, left + length, top + BAR], fill=colours[row.name])
        times, low, high = table.against_floor(row)
        note = f"{1000 * row.median:.1f} ms = {times:.2f} ({low:.2f}..{high:.2f}) x floor"
        draw.text((WIDTH - MARGIN - NOTE + 10, middle), note, fill=INK, font=font, anchor="lm")
        top += BAR + GAP


def _draw_lines(draw: ImageDraw.ImageDraw, table: Table, top: float, colours: Mapping[str, tuple]) -> None:
    """Both axes begin at 0, so that a cost that is linear in what it is drawn over is seen as such."""
    font, over = ImageFont.load_default(14), _over(table)
    left, right, bottom = MARGIN + 90, WIDTH - MARGIN - NOTE, top + PLOT
    places = sorted({getattr(row, over) for row in table.rows})
    longest = max(row.median for row in table.rows)

    def point(place: float, seconds: float) -> tuple[float, float]:
        return left + (right - left) * place / places[-1], bottom - PLOT * seconds / longest

    draw.rectangle([left, top, right, bottom], outline=LINE)
    for seconds in (0, longest / 2, longest):
        draw.text((left - 8, point(0, seconds)[1]), f"{1000 * seconds:.0f} ms", fill=GREY, font=font, anchor="rm")
    for place in places:
        draw.text((point(place, 0)[0], bottom + 8), str(place), fill=GREY, font=font, anchor="mt")
    draw.text(((left + right) / 2, bottom + 28), over, fill=GREY, font=font, anchor="mt")
    lowest = top  # of the next name: two lines that end close together keep theirs apart
    lines: dict[str, list[Row]] = {}  # by name, from left to right
    for row in sorted(table.rows, key=lambda row: getattr(row, over)):
        lines.setdefault(row.name, []).append(row)
    for name, rows in sorted(lines.items(), key=lambda line: -line[1][-1].median):
        points = [point(getattr(row, over), row.median) for row in rows]
        draw.line(points, fill=colours[name], width=3)
        for x, y in points:
            draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=colours[name])
        middle = max(points[-1][1], lowest)
        draw.text((right + 12, middle), name, fill=INK, font=font, anchor="lm")
        lowest = middle + 18
