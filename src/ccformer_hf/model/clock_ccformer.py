"""One clock for the pictures and the sound of a file.

A container's own clock may start anywhere, run back where recordings were joined, and jump where a recorder lost the
time; what a header says of length need not be so either. So the packets themselves are asked, all of them, once,
without decoding any:

* A file is a row of pieces. Within a piece the container's clock is right: gaps, overlaps, late starts and early ends
  are kept.
* A track that runs back by more than 0.5 s starts a new piece (files joined end to end). So does one that runs ahead
  by more than 10 s while neither track has anything in between (a clock that was set).
* A piece follows the one before it without a gap, both tracks shifted by the same amount, so that they stay in step:
  its first picture follows the last picture, or its sound the sound where that starts or ends more than 0.25 s outside
  the pictures.
* A picture whose packet says that it is shown long after it was decoded waits until the decoding comes there, and so
  belongs to the piece that has come there (Matroska tells no time of decoding: FFmpeg makes it up from the pictures
  before, those before a jump too). Where the decoding never comes there, the time is not believed: the picture follows
  the one before it.
* Packets that an edit list leaves out, or has decoded for the sake of others only, count for nothing.
* The clip's zero is where the first of the two tracks starts. Sound before the container's own zero (codec priming)
  does not count.
* The clip ends where its last picture does. A picture lasts as long as its packet says, up to 10 s, the last one
  longer while there is sound.

All times are seconds.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

# Timestamps of one track that go back by more than this start a new piece; by less, they overlap.
BACK = 0.5
# A hole of both tracks longer than this is closed up; the longest that a picture is taken to last in silence.
AHEAD = 10.0
# Sound may stick out of the pictures of a piece by this much: codec priming, whole audio frames.
EDGE = 0.25
# Packets of the old piece may come this late, after the first one of the new.
STRAY = 1.0
# A track may go back to one of so many pieces: after one packet with a wrong timestamp, or where the tracks change
# pieces in turn.
LOOK_BACK = 3
# A picture is decoded at most so many pictures before those that are shown with it: decoders hold 16 at most, and what
# makes up times of decoding may lag by as many.
MOST_REORDERED = 32
# More pieces than this are no recordings that were joined, but timestamps without a meaning.
MOST_PIECES = 10_000
# For streams that do not tell their frame rate, or tell the ticks of their clock instead: FFmpeg's own default.
DEFAULT_FPS = 25.0
MAX_FPS = 1000.0

PICTURES, SOUND = "video", "audio"  # `type` of a stream of FFmpeg


@dataclass
class _Piece:
    """Packets on one and the same container clock. `starts` and `ends` (s, container time) are by kind of track."""

    reached: float  # the latest end of a packet so far, container time
    shift: float = 0.0  # from container time to the clip's clock
    starts: dict[str, float] = field(default_factory=dict)
    decoded: dict[str, float] = field(default_factory=dict)  # when the last packet of a track is decoded
    shown: dict[str, float] = field(default_factory=dict)  # when the packet of a track shown last starts
    ends: dict[str, float] = field(default_factory=dict)  # when it ends
    ends_before: dict[str, float] = field(default_factory=dict)  # of the piece before, when this one began

    def start(self) -> float:
        first = min(self.starts.values())
        pictures = self.starts.get(PICTURES, first)
        return pictures if pictures - first <= EDGE else first


def _end(ends: dict[str, float]) -> float:
    last = max(ends.values())
    pictures = ends.get(PICTURES, last)
    return pictures if last - pictures <= EDGE else last


@dataclass
class _Early:
    """A picture that is decoded more than `BACK` before it is shown: its packet's number, the piece it was decoded in,
    when it is shown (s, container time), and how long."""

    number: int
    piece: _Piece
    shown: float
    told: float  # by its packet


class _Track:
    """What one track has told so far."""

    def __init__(self, kind: str, stream: Any):
        self.kind = kind
        self.ticks = stream.time_base.numerator, stream.time_base.denominator  # s, as a fraction
        self.told_start = None if stream.start_time is None else self.seconds(stream.start_time)
        self.told_fps = 0.0
        if kind == PICTURES:
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            self.told_fps = fps if 1 / AHEAD <= fps <= MAX_FPS else 0.0
        self.step = 1 / (self.told_fps or DEFAULT_FPS) if kind == PICTURES else 0.0
        self.packets = 0
        self.discarded = 0  # of them
        self.tells_decoding = True  # whether the last packet told when it is decoded
        self.runs: list[tuple[int, _Piece]] = []  # (number of the first packet, its piece), rising
        self.latest: tuple[_Piece, float, float] | None = (
            None  # of the packet shown last: its piece, time and told length
        )
        self.early: list[_Early] = []  # pictures that wait for the decoding to come to them
        # Single packets in another piece than those around them; None: their time is not believed.
        self.elsewhere: dict[int, _Piece | None] = {}

    def seconds(self, ticks: int) -> float:
        return ticks * self.ticks[0] / self.ticks[1]

    def show(self, piece: _Piece, shown: float, told: float) -> None:
        """Takes note of a packet of a piece that is shown (heard) at a time (s, container time)."""
        end = shown + (told if 0 < told <= AHEAD else self.step)
        piece.starts[self.kind] = min(shown, piece.starts.get(self.kind, shown))
        # The others end where the next begins. What MP4 tells as their length is the time between two decodings.
        if shown >= piece.shown.get(self.kind, -math.inf):
            piece.shown[self.kind], piece.ends[self.kind] = shown, end
        piece.reached = max(end, piece.reached)
        if self.latest is None or self.latest[0] is not piece or shown >= self.latest[1]:
            self.latest = (piece, shown, told)

    def show_early(self, number: int, piece: _Piece, decoded: float) -> None:
        """Shows the early pictures that the decoding of packet `number` has come to; gives up those left waiting."""
        waiting = []
        for early in self.early:
            if early.piece is not piece and abs(early.shown - decoded) <= AHEAD:
                early.piece = self.elsewhere[early.number] = piece
            if early.piece is piece and early.shown <= decoded + BACK:
                self.show(piece, early.shown, early.told)
            elif number - early.number > MOST_REORDERED:
                self.elsewhere[early.number] = None
            else:
                waiting.append(early)
        self.early = waiting

    def end(self) -> None:
        """Settles what still waits at the end of the file: nothing is shown later than `AHEAD` after all the rest."""
        for early in sorted(self.early, key=lambda early: early.shown):
            latest = early.piece.reached + AHEAD + MOST_REORDERED * self.step
            newest = self.latest is None or early.piece is self.latest[0]
            if newest and early.shown <= latest:
                self.show(early.piece, early.shown, early.told)
            else:
                self.elsewhere[early.number] = None


class ClockBroken(ValueError):
    """Timestamps that make no sense at all; says so without the file's name."""


class Clock:
    """Where the packets of a file belong on the clip's clock; see the module's docstring.

    Args:
        streams: the picture and the sound track to use, at least one of them (streams of PyAV).
        packets: all packets of these, in the order of the file.

    Attributes:
        duration: end of the last picture; of the sound, where there are no pictures.
        sound_end: end of the sound; 0 without.
        fps: average pictures per second; 0 without pictures. What the container tells, unless the packets are far from
            it.
        pictures: how many packets hold pictures that are shown.
        last_picture: when the last picture starts; 0 without pictures.
        jumps: how many pieces there are beyond the first.

    Raises:
        ClockBroken: for more than 10000 pieces.
    """

    def __init__(self, streams: Iterable[Any], packets: Iterable[Any]):
        self._tracks = {stream.type: _Track(stream.type, stream) for stream in streams}
        self._pieces: list[_Piece] = []
        for packet in packets:
            self._add(self._tracks[packet.stream.type], packet)
        for track in self._tracks.values():
            track.end()
        self._place()
        self._measure()

    def on_clock(self, packets: Iterable[Any], kind: str) -> Iterator[Any]:
        """The packets of one track, from its first on, with timestamps on the clip's clock (in the same ticks).

        `pts` is None where it is not believed.
        """
        track = self._tracks[kind]
        runs = iter(track.runs)
        following, run = next(runs, None), None
        for number, packet in enumerate(packets):
            if following is not None and number == following[0]:
                run, following = following[1], next(runs, None)
            piece = track.elsewhere.get(number, run)
            shift = round(piece.shift * track.ticks[1] / track.ticks[0]) if piece else 0
            if packet.pts is not None:
                packet.pts = packet.pts + shift if piece or not run else None
            if packet.dts is not None:
                packet.dts += shift
            yield packet

    def _add(self, track: _Track, packet: Any) -> None:
        number = track.packets
        track.packets += 1
        if packet.is_discard:  # by an edit list: decoded for the sake of others, not shown
            track.discarded += 1
            return
        pts = packet.dts if packet.pts is None else packet.pts
        if pts is None:
            return
        shown = track.seconds(pts)
        decoded = shown if packet.dts is None else track.seconds(packet.dts)
        told = track.seconds(packet.duration or 0)
        # Where packets tell only when they are shown (in Matroska the first few), they come out of order.
        in_order = packet.dts is not None and track.tells_decoding
        track.tells_decoding = packet.dts is not None
        piece = self._piece_of(track, decoded, BACK if in_order else AHEAD)
        if not track.runs or track.runs[-1][1] is not piece:
            track.runs.append((number, piece))
        piece.decoded[track.kind] = decoded
        piece.reached = max(decoded, piece.reached)
        track.show_early(number, piece, decoded)
        if shown < decoded - AHEAD - MOST_REORDERED * track.step:
            track.elsewhere[number] = None
        elif shown > decoded + BACK:
            track.early.append(_Early(number, piece, shown, told))
        else:
            track.show(piece, shown, told)

    def _piece_of(self, track: _Track, time: float, back: float) -> _Piece:
        """The piece of a packet: the one its track is in, another one that the track can go on in, or a new one."""

        def fits(piece: _Piece) -> bool:
            here = piece.decoded.get(track.kind)
            first = min(piece.starts.values(), default=piece.reached) - AHEAD if here is None else here - back
            return first <= time <= piece.reached + AHEAD

        def distance(piece: _Piece) -> float:
            """From where the file has come in this piece so far."""
            return abs(time - piece.reached)

        newest = self._pieces[-1] if self._pieces else None
        own = track.runs[-1][1] if track.runs else None
        if own is not None and fits(own):
            # The other track may have gone on to the next piece, where this one starts late.
            gone_on = own is not newest and fits(newest) and distance(newest) + BACK < distance(own)
            return newest if gone_on else own
        recent = [piece for piece in self._pieces[-LOOK_BACK:] if fits(piece)]
        if recent:
            return min(reversed(recent), key=distance)
        if len(self._pieces) == MOST_PIECES:
            raise ClockBroken(f"its timestamps jump more than {MOST_PIECES} times")
        ends_before = dict(self._pieces[-1].ends) if self._pieces else {}
        self._pieces.append(_Piece(reached=time, ends_before=ends_before))
        return self._pieces[-1]

    def _place(self) -> None:
        """Sets the shift of each piece; those in which nothing is shown count for nothing."""
        self._pieces = [piece for piece in self._pieces if piece.starts]
        if self._pieces:
            self._pieces[0].shift = -self._zero(self._pieces[0])
        for previous, piece in pairwise(self._pieces):
            # Where the other track went on in the piece before, this one follows what there was when it began.
            before, after = _end(piece.ends_before or previous.ends), _end(previous.ends)
            end = after if after - before <= STRAY else before
            piece.shift = end + previous.shift - piece.start()

    def _zero(self, piece: _Piece) -> float:
        starts = dict(piece.starts)
        for kind, start in starts.items():
            # Pictures that are only there to decode the ones after them come before the start that is told (edit
            # lists).
            told = self._tracks[kind].told_start
            if told is not None and start <= told <= start + AHEAD:
                starts[kind] = told
        if SOUND in starts:
            starts[SOUND] = max(0.0, starts[SOUND])
        return min(starts.values())

    def _measure(self) -> None:
        self.jumps = max(0, len(self._pieces) - 1)
        self.sound_end = self._end_of(SOUND)
        self.pictures, self.fps, self.last_picture = 0, 0.0, 0.0
        pictures = self._tracks.get(PICTURES)
        if pictures is None:
            self.duration = max(0.0, self.sound_end)
            return
        self.pictures = pictures.packets - pictures.discarded
        self.fps = self._fps(pictures)
        if pictures.latest is None:  # a raw stream: its pictures follow each other by frame rate
            self.duration = self.pictures / self.fps
            return
        piece, shown, told = pictures.latest
        self.last_picture = shown + piece.shift
        self.duration = self._end_of(PICTURES)
        if told > AHEAD:
            self.duration = max(self.duration, min(self.last_picture + told, self.sound_end))
        self.duration = max(self.duration, 1 / self.fps)

    def _end_of(self, kind: str) -> float:
        return max((piece.ends[kind] + piece.shift for piece in self._pieces if kind in piece.ends), default=0.0)

    def _fps(self, pictures: _Track) -> float:
        told = pictures.told_fps
        if self.pictures < 2 or pictures.latest is None:
            return told or DEFAULT_FPS
        piece, shown, _ = pictures.latest
        first = next(piece for piece in self._pieces if PICTURES in piece.starts)
        span = shown + piece.shift - first.starts[PICTURES] - first.shift
        if span <= 0:
            return told or DEFAULT_FPS
        counted = (self.pictures - 1) / span
        # Half the packets where each holds a field only; twice as many where some pictures are shown for longer.
        return told if told and 0.4 <= counted / told <= 2.5 else min(counted, MAX_FPS)
