"""Small media files made up for tests: any mix of picture and sound tracks, written with PyAV."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def grey_level(index: int) -> int:
    """Level of the index-th frame of a `VideoTrack`: ten levels 20 apart, to be recognised after lossy coding."""
    return 30 + 20 * (index % 10)


def paint_grey(index: int, width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), grey_level(index), dtype=np.uint8)


def paint_corners(index: int, width: int, height: int) -> np.ndarray:
    """Top left red, top right green, bottom left blue, bottom right black."""
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[: height // 2, : width // 2, 0] = 255
    picture[: height // 2, width // 2 :, 1] = 255
    picture[height // 2 :, : width // 2, 2] = 255
    return picture


def click_at(time: float, seconds: float, rate: int) -> np.ndarray:
    """Silence (S,) with one 2 ms click."""
    samples = np.zeros(round(seconds * rate), dtype=np.float32)
    samples[round(time * rate) : round((time + 0.002) * rate)] = 0.8
    return samples


@dataclass
class VideoTrack:
    """Frames `paint(index, width, height)` at `times` (s), or at `fps` for `seconds` from `start` on."""

    size: tuple[int, int] = (64, 48)  # width, height
    fps: float = 10
    seconds: float = 1.0
    start: float = 0.0
    times: Sequence[float] | None = None
    paint: Callable[[int, int, int], np.ndarray] = paint_grey
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    disposition: str | None = None
    ticks: int = 90000  # of its clock per second
    pixel_aspect: Fraction | None = None  # width of a pixel over its height


@dataclass
class SoundTrack:
    """`waveform` (S,) or (C, S) at `rate`, or a 440 Hz tone of `seconds`, starting at `start` s."""

    rate: int = 16000
    channels: int = 1
    seconds: float = 1.0
    start: float = 0.0
    waveform: np.ndarray | None = None
    codec: str = "aac"
    layout: str | None = None  # of its channels, by FFmpeg's name
    gap: float | None = None  # play it a second time, this many seconds after the first time has ended
    disposition: str | None = None


def write_media(path: Path, *tracks: VideoTrack | SoundTrack) -> Path:
    """Writes the tracks as streams in the order given; the container follows from the name."""
    with av.open(str(path), "w") as output:
        encode = [_video(output, t) if isinstance(t, VideoTrack) else _sound(output, t) for t in tracks]
        packets = [packet for packets in encode for packet in packets()]
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            output.mux(packet)
    return path


def set_display_matrix(path: Path, matrix: tuple[int, int, int, int], track: int = 0) -> None:
    """Overwrites a, b, c, d (whole numbers) of the track-th `tkhd` box of an MP4: how the phone was held."""
    content = bytearray(path.read_bytes())
    at = -1
    for _ in range(track + 1):
        at = content.index(b"tkhd", at + 1)
    # Version 0: name 4, version and flags 4, times and id 20, reserved 8, layer .. reserved 8, then 9 numbers of 4.
    start = at + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (int(value * 65536).to_bytes(4, "big", signed=True) for value in matrix)
    zero = bytes(4)
    content[start : start + 20] = a + b + zero + c + d
    path.write_bytes(content)


def _video(output: "av.container.OutputContainer", track: VideoTrack) -> Callable[[], list[av.Packet]]:
    stream = output.add_stream(track.codec, rate=Fraction(track.fps).limit_denominator(10000))
    stream.width, stream.height = track.size
    stream.pix_fmt = track.pix_fmt
    if track.pixel_aspect:
        stream.codec_context.sample_aspect_ratio = track.pixel_aspect
    stream.codec_context.time_base = stream.time_base = Fraction(1, track.ticks)
    if track.disposition:
        stream.disposition = av.stream.Disposition[track.disposition].value
    if track.codec == "libx264":
        stream.options = {"preset": "ultrafast", "crf": "12"}
    times = track.times
    if times is None:
        times = track.start + np.arange(round(track.seconds * track.fps)) / track.fps

    def encode() -> list[av.Packet]:
        packets = []
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(track.paint(index, *track.size), format="rgb24")
            frame.pts, frame.time_base = round(time * track.ticks), Fraction(1, track.ticks)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for packet in packets:
            packet.duration = round(track.ticks / track.fps)
        return packets

    return encode


def _sound(output: "av.container.OutputContainer", track: SoundTrack) -> Callable[[], list[av.Packet]]:
    named = {1: "mono", 2: "stereo", 6: "5.1"}
    layout = track.layout or named.get(track.channels, f"{track.channels} channels")
    stream = output.add_stream(track.codec, rate=track.rate, layout=layout)
    if track.disposition:
        stream.disposition = av.stream.Disposition[track.disposition].value
    samples = track.waveform
    if samples is None:
        samples = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(track.seconds * track.rate)) / track.rate)
    samples = np.broadcast_to(np.asarray(samples, np.float32), (track.channels, np.shape(samples)[-1]))

    def encode() -> list[av.Packet]:
        starts = [track.start]
        if track.gap is not None:
            starts.append(track.start + samples.shape[1] / track.rate + track.gap)
        packets = []
        for start in starts:
            # Packed: PyAV cannot take more than 7 planes.
            frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1).copy(), format="flt", layout=layout)
            frame.sample_rate, frame.time_base = track.rate, Fraction(1, track.rate)
            frame.pts = round(start * track.rate)
            packets += stream.encode(frame)
        return packets + stream.encode(None)

    return encode


SIZE = (96, 64)  # width, height of the videos of `make_video`


def paint_moving_square(index: int, width: int, height: int) -> np.ndarray:
    picture = np.full((height, width, 3), 60, dtype=np.uint8)
    left = 3 * index % (width - 24)
    picture[16:48, left : left + 24] = (230, 120, 20)
    return picture


def make_video(path: Path, seconds: float, *, fps: float = 10, sound: bool = True, size=SIZE) -> Path:
    tracks = [VideoTrack(size=size, fps=fps, seconds=seconds, paint=paint_moving_square)]
    if sound:
        waveform = np.random.default_rng(0).normal(0, 0.1, round(seconds * 16000)).astype(np.float32)
        waveform[: len(waveform) // 2] *= 0.3
        tracks.append(SoundTrack(waveform=waveform))
    return write_media(path, *tracks)


def set_matroska_crop(path: Path, left: int, top: int) -> None:
    """Writes cropping, each below 128 pixels, into the Matroska file of a small `VideoTrack`."""
    content = path.read_bytes()
    # Video (10 bytes long), FlagAlpha or the like after it, and 11 bytes of nothing, eight of which are taken.
    at = content.index(bytes.fromhex("e08a"), content.index(bytes.fromhex("1654ae6b")))
    void = content.index(bytes.fromhex("ec0100000000000002"), at)
    crops = bytes([0x54, 0xCC, 0x81, left, 0x54, 0xBB, 0x81, top])
    video = bytes([0xE0, 0x80 + 18]) + content[at + 2 : at + 12] + crops
    nothing = bytes.fromhex("ec8100")
    path.write_bytes(content[:at] + video + content[at + 12 : void] + nothing + content[void + 11 :])


def set_clean_aperture(path: Path, width: int, height: int, right: int, down: int) -> None:
    """Adds a `clap` box to the first track of an MP4 with its index at the end: size shown, offset of its middle."""
    content = path.read_bytes()
    entry = content.index(b"stsd") + 12
    end = entry + int.from_bytes(content[entry : entry + 4], "big")
    clap = struct.pack(">I4sIIIIiIiI", 40, b"clap", width, 1, height, 1, right, 1, down, 1)
    path.write_bytes(_with_box(content, end, 0, clap))


def set_outside_media(path: Path, other: str) -> None:
    """Lets the first track of a MOV with its index at the end take its media from the file `other` beside it."""
    content = path.read_bytes()
    at = content.index(b"dref") + 12
    name = other.encode()
    alias = bytes(10) + bytes(28) + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    alias += struct.pack(">hh16xhh", 1, 1, 2, len(name)) + name + bytes(len(name) % 2) + struct.pack(">hh", -1, 0)
    reference = struct.pack(">I4sI", len(alias) + 12, b"alis", 0) + alias
    path.write_bytes(_with_box(content, at, int.from_bytes(content[at : at + 4], "big"), reference))


def set_edits(path: Path, track: int, ticks: int, spans: Sequence[tuple[float, float]]) -> None:
    """Lets a track of an MP4 with its index at the end play these spans (s) of its media only, in this order.

    Args:
        ticks: of the track's clock per second.
    """
    content = path.read_bytes()
    at = -1
    for _ in range(track + 1):
        at = content.index(b"elst", at + 1)
    at -= 4
    begin = struct.unpack_from(">i", content, at + 20)[0]  # of what was shown before
    edits = [
        struct.pack(">Iihh", round(1000 * (end - start)), begin + round(start * ticks), 1, 0) for start, end in spans
    ]
    box = struct.pack(">I4sII", 16 + 12 * len(edits), b"elst", 0, len(edits)) + b"".join(edits)
    path.write_bytes(_with_box(content, at, int.from_bytes(content[at : at + 4], "big"), box))


def _with_box(content: bytes, at: int, length: int, box: bytes) -> bytes:
    """An MP4 with `box` in place of so many bytes at `at`, and the boxes around it as much larger."""
    changed = bytearray(content[:at] + box + content[at + length :])
    # Bytes of a box before those inside it.
    heads = {
        b"moov": 8,
        b"trak": 8,
        b"edts": 8,
        b"mdia": 8,
        b"minf": 8,
        b"dinf": 8,
        b"dref": 16,
        b"stbl": 8,
        b"stsd": 16,
        b"avc1": 86,
    }
    start = 0
    while start < at:
        size, kind = struct.unpack_from(">I4s", content, start)
        if start + size < at or kind not in heads:
            start += size
            continue
        struct.pack_into(">I", changed, start, size + len(box) - length)
        start += heads[kind]
    return bytes(changed)


def frames_with_alpha(path: Path) -> list[tuple[float, np.ndarray]]:
    """Times (s) and planes of transparency `(H, W)` of a WebM; FFmpeg's own decoder would pass over them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        packets = [packet for packet in container.demux(stream) if packet.size]
        frames = [frame for packet in packets for frame in decoder.decode(packet)]
        planes = [frame.reformat(format="yuva420p").planes[3] for frame in frames]
        alphas = [np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width] for p in planes]
        return [(float(p.pts * p.time_base), alpha) for p, alpha in zip(packets, alphas, strict=True)]
