"""What sounds when, as a table and as subtitles: CSV, SubRip (SRT) and WebVTT, made of `segments.json`.

Looks that follow each other and hear the same class are one stretch. Subtitles have a cue for every stretch of time in
which the same classes sound, as cues that overlap are drawn over each other by many players.
"""

import csv
import html
import io
from collections.abc import Iterator
from dataclasses import dataclass

from .segments_json import FrameRecord, Segments, names_by_id
from .visualize import distinct_names


@dataclass(frozen=True)
class Stretch:
    """A stretch of time, `start` to `end` (s), in which a class sounds; `score` is its mean over the time, 0..1."""

    start: float
    end: float
    class_id: int
    score: float


def stretches(segments: Segments) -> list[Stretch]:
    """When each class sounds, by their starts."""
    found: list[Stretch] = []
    for class_id in names_by_id(segments):
        seconds, last = 0.0, None  # of score, and the stretch so far
        for frame in segments["frames"]:
            score = next((entry["score"] for entry in frame["sounding"] if entry["id"] == class_id), None)
            if score is None or frame["end"] <= frame["start"]:
                continue
            if last is not None and found[last].end == frame["start"]:
                start = found[last].start
                seconds += score * (frame["end"] - frame["start"])
            else:
                start, last = frame["start"], len(found)
                seconds = score * (frame["end"] - frame["start"])
                found.append(Stretch(start, frame["end"], class_id, score))
            found[last] = Stretch(start, frame["end"], class_id, seconds / (frame["end"] - start))
    return sorted(found, key=lambda stretch: (stretch.start, stretch.class_id))


def csv_text(segments: Segments) -> str:
    """A row for each stretch: `start`, `end` (s), `label`, `id` of the class, `score`."""
    names = names_by_id(segments)
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["start", "end", "label", "id", "score"])
    for each in stretches(segments):
        table.writerow(
            [f"{each.start:.3f}", f"{each.end:.3f}", names[each.class_id], each.class_id, f"{each.score:.4f}"]
        )
    return file.getvalue()


def srt_text(segments: Segments) -> str:
    """SubRip: numbered cues, `00:00:01,250 --> 00:00:02,000`, the names below each other."""
    cues = [
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n" + "\n".join(names) + "\n"
        for number, (start, end, names) in enumerate(_cues(segments), 1)
    ]
    return "\n".join(cues)


def vtt_text(segments: Segments) -> str:
    """WebVTT: as SubRip, with points in the times, and `&`, `<`, `>` written as in HTML."""
    cues = [
        f"\n{_clock(start, '.')} --> {_clock(end, '.')}\n" + "".join(f"{html.escape(name, False)}\n" for name in names)
        for start, end, names in _cues(segments)
    ]
    return "WEBVTT\n" + "".join(cues)


def _cues(segments: Segments) -> Iterator[tuple[float, float, list[str]]]:
    """Start, end and names of all that sounds, of each stretch of time in which that stays the same."""
    # A blank line would end a cue.
    names = {class_id: " ".join(name.split()) for class_id, name in distinct_names(names_by_id(segments)).items()}
    start, end, heard = 0.0, 0.0, frozenset()
    for frame in [*segments["frames"], _NOTHING]:
        sounding = frozenset(entry["id"] for entry in frame["sounding"])
        if sounding != heard or frame["start"] != end:
            if heard and end > start:
                yield start, end, [names[class_id] for class_id in sorted(heard)]
            start, heard = frame["start"], sounding
        end = frame["end"]


_NOTHING = FrameRecord(
    index=-1, time=0.0, start=float("inf"), end=float("inf"), has_audio=False, unseen=None, sounding=[]
)


def _clock(seconds: float, point: str) -> str:
    ticks = round(1000 * seconds)
    return f"{ticks // 3600000:02d}:{ticks // 60000 % 60:02d}:{ticks // 1000 % 60:02d}{point}{ticks % 1000:03d}"
