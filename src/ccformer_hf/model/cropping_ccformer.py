"""What MP4 and Matroska say of the edges of a picture that are not to be shown.

FFmpeg reads it (`clap` of MP4 and MOV, `PixelCrop...` of Matroska and WebM) and its decoders do not apply it, and PyAV
does not pass it on. So the few bytes are read here: headers only, each once, whatever sizes they state.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

# Pixels to take off: left, top, right, bottom.
Cropping = tuple[int, int, int, int]
UNCROPPED: Cropping = (0, 0, 0, 0)

MOST_ELEMENTS = 10_000  # of a file that are read
_EBML, _SEGMENT, _TRACKS, _TRACK, _TYPE, _VIDEO = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0xE0
_CLUSTER = 0x1F43B675
_CROPS = (0x54CC, 0x54BB, 0x54DD, 0x54AA)  # left, top, right, bottom
_VISUAL_ENTRY = 78  # bytes of a sample entry of pictures before its boxes

Element = tuple[int | bytes, int, int]  # kind, start and end of its content


def cropping(path: str, track_id: int, number: int, width: int, height: int) -> Cropping:
    """Cropping of a picture track by its container; none where the container says none, or nothing that can be.

    Args:
        path: the file.
        track_id: of the track, as FFmpeg numbers it (MP4).
        number: of the track among the picture tracks (Matroska).
        width: of the stored picture in pixels; `height` likewise.
    """
    with open(path, "rb") as file:
        end = file.seek(0, 2)
        file.seek(0)
        matroska = int.from_bytes(file.read(4), "big") == _EBML
        try:
            found = _matroska(file, end, number) if matroska else _mp4(file, end, track_id)
        except (struct.error, ValueError, ZeroDivisionError, IndexError, StopIteration):
            return UNCROPPED
    left, top, right, bottom = found
    fits = min(found) >= 0 and left + right < width and top + bottom < height
    return found if fits else UNCROPPED


def _mp4(file: BinaryIO, end: int, track_id: int) -> Cropping:
    boxes = _Counted(_boxes)
    for _, *moov in boxes(file, 0, end, b"moov"):
        for _, *track in boxes(file, *moov, b"trak"):
            for _, start, _ in boxes(file, *track, b"tkhd"):
                version = _read(file, start, ">B")[0]
                found = _read(file, start + (20 if version else 12), ">I")[0]
            if found == track_id:
                inside = track
                for kind in (b"mdia", b"minf", b"stbl", b"stsd"):
                    _, *inside = next(boxes(file, *inside, kind))
                # One description is used: the first. Before it there are a version and a number of entries.
                _, start, stop = next(boxes(file, inside[0] + 8, inside[1]))
                width, height = _read(file, start + 24, ">HH")
                for _, clap, _ in boxes(file, start + _VISUAL_ENTRY, stop, b"clap"):
                    return _of_aperture(_read(file, clap, ">IIIIiIiI"), width, height)
    return UNCROPPED


def _of_aperture(values: tuple[int, ...], width: int, height: int) -> Cropping:
    """The aperture's width and height, and how far its middle lies from the picture's, each as a fraction."""
    inner_width, inner_height, right, down = (values[i] / values[i + 1] for i in (0, 2, 4, 6))
    left = round((width - inner_width) / 2 + right)
    top = round((height - inner_height) / 2 + down)
    return left, top, width - left - round(inner_width), height - top - round(inner_height)


def _matroska(file: BinaryIO, end: int, number: int) -> Cropping:
    elements = _Counted(_elements)
    for _, *segment in elements(file, 0, end, _SEGMENT):
        for _, *tracks in elements(file, *segment, _TRACKS):
            pictures = [
                track
                for _, *track in elements(file, *tracks, _TRACK)
                if any(_number(file, *kind) == 1 for _, *kind in elements(file, *track, _TYPE))
            ]
            crops = {}
            for _, *video in elements(file, *pictures[number], _VIDEO):
                inside = elements(file, *video)
                crops = {kind: _number(file, *content) for kind, *content in inside if kind in _CROPS}
            return tuple(crops.get(kind, 0) for kind in _CROPS)
    return UNCROPPED


class _Counted:
    """Elements of a kind (of any, where none is named); stops where a file holds endlessly many."""

    def __init__(self, read):
        self._read, self._left = read, MOST_ELEMENTS

    def __call__(self, file: BinaryIO, start: int, end: int, wanted: int | bytes | None = None) -> Iterator[Element]:
        for element in self._read(file, start, end):
            self._left -= 1
            if not self._left:
                raise ValueError
            if wanted in (None, element[0]):
                yield element


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[Element]:
    while start + 8 <= end:
        size, kind = _read(file, start, ">I4s")
        head = 8
        if size == 1:
            size, head = _read(file, start + 8, ">Q")[0], 16
        stop = end if size == 0 else min(start + size, end)
        if stop < start + head:
            return
        yield kind, start + head, stop
        start = stop


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[Element]:
    while start < end:
        first = _read(file, start, ">B")[0]
        length = 9 - first.bit_length()  # of the kind; its first byte encodes it
        if length > 4:
            return
        kind = _number(file, start, start + length)
        start += length
        first = _read(file, start, ">B")[0]
        length = 9 - first.bit_length()
        size = _number(file, start, start + length) - (1 << 7 * length)
        start += length
        unknown = size == (1 << 7 * length) - 1
        if kind == _CLUSTER:
            return  # the headers are over
        stop = end if unknown else min(start + size, end)
        yield kind, start, stop
        start = stop


def _number(file: BinaryIO, start: int, end: int) -> int:
    content = b""
    if end - start <= 8:
        file.seek(start)
        content = file.read(end - start)
    if len(content) != end - start:
        raise ValueError
    return int.from_bytes(content, "big")


def _read(file: BinaryIO, start: int, layout: str) -> tuple:
    file.seek(start)
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
