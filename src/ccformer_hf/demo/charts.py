"""The pictures of the page, as HTML that works in light and dark, at any width, and for a screen reader.

Colours are those of `visualize`, as in the overlay video and the contact sheet. Every text that comes from outside
(names of files, of classes, of models) is escaped here.
"""

import base64
import io
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from ..checkpoints import TINY_MODEL
from ..inference.segments_json import Segments, SoundingRecord, unseen_seconds
from ..inference.visualize import (
    PALETTE,
    PROBABILITY_COLOURS,
    clock,
    distinct_names,
    loudness_level,
    overlay,
    probability_picture,
)
from ..model.sliding_window_ccformer import FrameSegmentation
from .analysis import DemoResult
from .models import DemoModel

MOST_LABELS = 80
NOTHING_FOUND = (
    "There is sound, but nothing that the model knows and is sure enough of. Lower the threshold; see above what it "
    "knows; or load another checkpoint, at the bottom of the page."
)


@dataclass(frozen=True)
class ClassShare:
    """One class's share of a clip: `seconds` it sounds; over these the mean and largest area and mean score, 0..1."""

    class_id: int
    name: str
    seconds: float
    area: float
    largest: float
    score: float


def class_shares(segments: Segments) -> list[ClassShare]:
    """One entry per class that sounds anywhere, the longest first; `segments` as in `segments.json`."""
    entries: dict[int, list[tuple[float, SoundingRecord]]] = {}
    for frame in segments["frames"]:
        for entry in frame["sounding"]:
            entries.setdefault(entry["id"], []).append((frame["end"] - frame["start"], entry))
    names = distinct_names({class_id: found[0][1]["label"] for class_id, found in entries.items()})
    shares = []
    for class_id, found in entries.items():
        seconds = sum(length for length, _ in found)
        area, score = (sum(length * entry[key] for length, entry in found) / seconds for key in ("area", "score"))
        largest = max(entry["area"] for _, entry in found)
        shares.append(ClassShare(class_id, names[class_id], seconds, area, largest, score))
    return sorted(shares, key=lambda share: (-share.seconds, -share.area))


def marked_area(segments: Segments) -> float:
    """Share of all pixels of all seconds that are marked, 0..1."""
    frames = segments["frames"]
    areas = ((frame["end"] - frame["start"]) * sum(e["area"] for e in frame["sounding"]) for frame in frames)
    return sum(areas) / frames[-1]["end"]


def surest(segments: Segments) -> int:
    """Index of the frame whose surest source is the surest of all; the first where nothing sounds."""
    scores = [max((entry["score"] for entry in frame["sounding"]), default=0.0) for frame in segments["frames"]]
    return segments["frames"][int(np.argmax(scores))]["index"]


def in_words(segments: Segments, sound_label: str) -> str:
    """`With its own sound: dog 3 s. 14 % of the picture is marked, on average. For 1 s something sounds that is not in
    view, or unknown.`"""
    shares, seconds = class_shares(segments), unseen_seconds(segments)
    unseen = f" For {_seconds(seconds)} something sounds that is not in view, or unknown." if seconds else ""
    if not shares:
        return f"With {sound_label}: nothing is marked.{unseen}"
    sounding = ", ".join(f"{share.name} {_seconds(share.seconds)}" for share in shares)
    area = _percent(marked_area(segments))
    return f"With {sound_label}: {sounding}. {area} of the picture is marked, on average.{unseen}"


def result_html(result: DemoResult, segments: Segments, chosen: int) -> str:
    """What was found under one sound: a sentence, and the timeline with a button per look of the model.

    Args:
        result: the result.
        segments: as in `segments.json`.
        chosen: index of the second that is shown.
    """
    advice = "" if class_shares(segments) or result.loudness is None else note_html(NOTHING_FOUND)
    words = f"<p class='ccf-words'>{escape(in_words(segments, result.sound_label))}</p>"
    return words + advice + _timeline(result, segments, chosen)


def _timeline(result: DemoResult, segments: Segments, chosen: int) -> str:
    shares = class_shares(segments)
    frames = segments["frames"]
    named = {share.class_id: share.name for share in shares}
    names = "".join(f"<span class='ccf-name'>{_swatch(s.class_id)}{escape(s.name)}</span>" for s in shares)
    if not shares:
        names = "<span class='ccf-name'>&nbsp;</span>"
    columns = []
    for frame in frames:
        by_class = {entry["id"]: entry for entry in frame["sounding"]}
        cells = "".join(_cell(by_class.get(share.class_id)) for share in shares) or "<span class='ccf-cell'></span>"
        start, end = (_clock(result, frame[key]) for key in ("start", "end"))
        said = ", ".join(f"{named[entry['id']]}, {_percent(entry['score'])} sure" for entry in frame["sounding"])
        label = escape(f"{start} to {end}: {said or 'nothing is marked'}", quote=True)
        columns.append(
            f"<button type='button' class='ccf-second' data-index='{frame['index']}' data-time='{frame['start']}' "
            f"aria-pressed='{'true' if frame['index'] == chosen else 'false'}' aria-label='{label}' title='{label}'>"
            f"{cells}<span class='ccf-clock'>{start}</span></button>"
        )
    fine = " ccf-fine" if result.fps > 1 else ""
    return (
        "<div class='ccf-timeline' role='group' aria-label='What sounds when: a button for each look of the model'>"
        f"<div class='ccf-names' aria-hidden='true'><span class='ccf-name ccf-loud'>loudness</span>{names}</div>"
        f"<div class='ccf-scroll'><div class='ccf-track{fine}' style='--seconds:{len(frames)}'>{_loudness(result)}"
        f"<div class='ccf-seconds'>{''.join(columns)}</div></div></div></div>"
        "<p class='ccf-hint'>The fuller the colour, the surer. "
        f"Choose a {'look' if fine else 'second'} to see it.</p>"
    )


def _cell(entry: SoundingRecord | None) -> str:
    if entry is None:
        return "<span class='ccf-cell'></span>"
    return f"<span class='ccf-cell' style='--colour:{_rgb(entry['id'])};--sure:{entry['score']:.3f}'></span>"


def _loudness(result: DemoResult) -> str:
    """The loudness as a shape that is as wide as the seconds, the louder the higher."""
    if result.loudness is None:
        return "<div class='ccf-wave ccf-quiet'>no sound</div>"
    level = loudness_level(result.loudness)
    bars = "".join(
        f"<rect x='{x}' y='{50 - 46 * height:.1f}' width='0.7' height='{max(1.0, 92 * height):.1f}'/>"
        for x, height in enumerate(level)
    )
    return (
        f"<svg class='ccf-wave' viewBox='0 0 {len(level)} 100' preserveAspectRatio='none' role='img' "
        f"aria-label='Loudness of the sound'>{bars}</svg>"
    )


def table_html(segments: Segments) -> str:
    """How much of the picture each class takes; `segments` as in `segments.json`."""
    rows = "".join(
        f"<tr><th scope='row'>{_swatch(s.class_id)}{escape(s.name)}</th><td>{_seconds(s.seconds)}</td>"
        f"<td>{_percent(s.area)}</td><td>{_percent(s.largest)}</td><td>{_percent(s.score)}</td></tr>"
        for s in class_shares(segments)
    )
    rows = rows or "<tr><td colspan='5'>Nothing is above the threshold.</td></tr>"
    return (
        "<table class='ccf-table'><caption>"
        "How much of the picture each class takes, in the seconds in which it sounds</caption>"
        "<thead><tr><th scope='col'>class</th><th scope='col'>sounds for</th><th scope='col'>mean area</th>"
        f"<th scope='col'>largest area</th><th scope='col'>how sure</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def second_html(result: DemoResult, found: FrameSegmentation) -> str:
    """One second: its frame, its mask, and how likely the model holds it that each pixel sounds.

    Args:
        result: the result.
        found: what was found in this second.
    """
    frame = result.frame(found.index)
    names = distinct_names(result.names)
    said = ", ".join(f"{names[i]} ({_percent(score)} sure)" for i, score in found.scores.items()) or "nothing"
    span = f"{_clock(result, found.start)} to {_clock(result, found.end)}"
    sounding = result.sounding(found.index)
    highest = _percent(float(sounding.max()))
    probability = Image.fromarray(np.round(255 * sounding).astype(np.uint8))
    probability = probability.resize((frame.shape[1], frame.shape[0]), Image.Resampling.BILINEAR)
    pictures = (
        (overlay(frame, found.class_map), "frame and mask", f"The frame at {span}; marked: {said}."),
        (PALETTE[found.class_map], "mask", f"The mask alone, on black; marked: {said}."),
        (
            probability_picture(np.asarray(probability) / 255),
            "probability that it sounds",
            f"Probability of each pixel to be part of what sounds; the highest is {highest}.",
        ),
    )
    figures = "".join(
        f"<figure><img src='{_data_uri(picture)}' alt='{escape(alt, quote=True)}'>"
        f"<figcaption>{caption}</figcaption></figure>"
        for picture, caption, alt in pictures
    )
    colours = ",".join(PROBABILITY_COLOURS)
    return (
        f"<div class='ccf-shown'><p class='ccf-words'>{escape(span)}, "
        f"with {escape(result.sound_label)}: {escape(said)}</p>"
        f"<div class='ccf-figures'>{figures}</div>"
        f"<p class='ccf-hint ccf-scale'>probability 0 % "
        f"<span aria-hidden='true' style='background:linear-gradient(90deg,{colours})'></span> 100 %</p></div>"
    )


def knows_html(model: DemoModel) -> str:
    """What the checkpoint was trained on, and all that it can tell apart."""
    labels = model.labels
    chips = "".join(
        f"<span class='ccf-chip'>{_swatch(class_id)}{escape(name)}</span>"
        for class_id, name in list(distinct_names(labels).items())[:MOST_LABELS]
    )
    more = f" and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
    name = escape(model.name)
    if model.name == TINY_MODEL:
        known = (
            f"<b>{name}</b> has only ever seen synthetic clips: drawn objects with synthetic sounds. It knows these "
            f"{len(labels)} drawn things and <b>not the real world</b>: try the examples; "
            "on a film of your own, expect it to be wrong."
        )
    else:
        trained = escape(model.trained_on) if model.trained_on else "something its author does not say"
        kinds = "one class" if len(labels) == 1 else f"these {len(labels)} classes"
        known = f"<b>{name}</b> was trained on {trained}. It knows {kinds} and nothing else."
    return f"<div class='ccf-knows'><p>{known}</p><p>{chips}{more}</p></div>"


def note_html(text: str) -> str:
    """A line of small print."""
    return f"<p class='ccf-hint'>{escape(text)}</p>"


def caption_html(text: str) -> str:
    """What stands above a video."""
    return f"<p class='ccf-caption'>{escape(text)}</p>"


def _data_uri(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _swatch(class_id: int) -> str:
    return f"<span class='ccf-swatch' style='--colour:{_rgb(class_id)}'></span>"


def _rgb(class_id: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*PALETTE[class_id].tolist())


def _clock(result: DemoResult, seconds: float) -> str:
    """`0:03`; with more than one look a second `0:03.25`, as looks would be called alike."""
    return clock(seconds, 2 if result.fps > 1 else 0)


def _seconds(seconds: float) -> str:
    """`2 s`, `0.5 s`, `0.25 s`."""
    return f"{round(seconds, 2):g} s"


def _percent(share: float) -> str:
    """`14 %`; of small shares one decimal, as far as it says something."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"
