import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from made_media import (
    SoundTrack,
    VideoTrack,
    click_at,
    grey_level,
    paint_corners,
    set_clean_aperture,
    set_display_matrix,
    set_edits,
    set_matroska_crop,
    set_outside_media,
    write_media,
)

from ccformer_hf.model import media_ccformer
from ccformer_hf.model.feature_extraction_ccformer import CCFormerFeatureExtractor
from ccformer_hf.model.media_ccformer import (
    MediaError,
    MediaWarning,
    SoundReader,
    decode_stream,
    frame_starts,
    iter_frames,
    iter_frames_at,
    iter_yuv_frames,
    packets_of,
    probe,
    read_clip,
    sampled_frames,
)

SHARED_MEDIA = Path(__file__).resolve().parents[3] / "shared" / "media"
needs_shared_media = pytest.mark.skipif(
    not SHARED_MEDIA.is_dir(), reason="the shared real videos are not beside the repository"
)


def frame_index(picture: np.ndarray) -> int:
    """Which frame of a synthetic `VideoTrack` a decoded picture is (modulo 10)."""
    index = round((picture.mean() - 30) / 20)
    assert abs(picture.mean() - grey_level(index)) <= 3
    return index


def click_time(path: Path, rate: int = 16000) -> float:
    with SoundReader(path, rate) as sound:
        samples = sound.read(0.0, 4 * rate)
    return int(np.flatnonzero(np.abs(samples) > 0.2)[0]) / rate


# --- what is in a file


def test_probe_tells_what_is_in_the_file(tmp_path):
    path = write_media(tmp_path / "a.mp4", VideoTrack(seconds=2), SoundTrack(rate=44100, channels=2, seconds=2))
    info = probe(path)
    assert (info.path, info.duration, info.width, info.height, info.fps) == (str(path), 2.0, 64, 48, 10.0)
    assert (info.has_video, info.has_audio, info.audio_rate, info.audio_channels) == (True, True, 44100, 2)
    assert info.rotation == 0


def test_video_without_sound(tmp_path):
    info = probe(write_media(tmp_path / "a.mp4", VideoTrack()))
    assert (info.has_audio, info.audio_rate, info.audio_channels) == (False, 0, 0)
    assert read_clip(info.path).waveform is None
    with pytest.raises(MediaError, match="no sound track"):
        SoundReader(info.path)


def test_best_video_is_the_default_one_then_the_largest_and_never_cover_art(tmp_path):
    cover = VideoTrack(codec="mjpeg", pix_fmt="yuvj420p", size=(320, 240), times=[0], disposition="attached_pic")
    path = write_media(tmp_path / "cover.mp4", cover, VideoTrack(), SoundTrack())
    assert (probe(path).width, len(list(iter_frames(path)))) == (64, 10)
    both = [VideoTrack(size=size, disposition="default") for size in ((48, 48), (64, 48), (48, 64))]
    path = write_media(tmp_path / "largest.mp4", *both)
    assert (probe(path).width, probe(path).height) == (64, 48)
    path = write_media(
        tmp_path / "default.mkv", VideoTrack(size=(320, 240)), VideoTrack(size=(48, 32), disposition="default")
    )
    assert probe(path).width == 48


def test_best_sound_is_the_default_one_then_most_channels_then_highest_rate(tmp_path):
    tracks = [SoundTrack(rate=32000), SoundTrack(rate=16000, channels=2), SoundTrack(rate=22050, channels=2)]
    path = write_media(tmp_path / "a.mkv", *tracks)
    assert probe(path, need_video=False).audio_rate == 22050
    tracks[0].disposition = "default"
    path = write_media(tmp_path / "b.mkv", *tracks)
    assert probe(path, need_video=False).audio_rate == 32000


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.flv", "a.ts", "a.mov"])
def test_duration_is_the_pictures_own(tmp_path, name):
    # The sound is longer; Matroska and FLV tell the length of the whole file only.
    path = write_media(tmp_path / name, VideoTrack(seconds=1), SoundTrack(seconds=3, rate=44100))
    first_frame = next(iter_frames(path))[0]
    assert probe(path).duration == pytest.approx(first_frame + 1.0, abs=0.002)


def test_duration_of_a_raw_stream_is_counted(tmp_path):
    path = write_media(tmp_path / "a.h264", VideoTrack(seconds=1))
    assert probe(path).duration == pytest.approx(10 / probe(path).fps)
    assert len(list(iter_frames(path))) == 10


def test_duration_of_sound_only(tmp_path):
    info = probe(write_media(tmp_path / "a.wav", SoundTrack(codec="pcm_s16le", seconds=1.5)), need_video=False)
    assert (info.duration, info.has_video, info.width, info.fps) == (1.5, False, 0, 0.0)


# --- pictures


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_of_varying_rate_keep_their_times(tmp_path, name):
    times = [0, 0.1, 0.15, 0.5, 1.2, 1.3]
    frames = list(iter_frames(write_media(tmp_path / name, VideoTrack(times=times))))
    assert [time for time, _ in frames] == pytest.approx(times, abs=0.001)
    assert [frame_index(picture) for _, picture in frames] == [0, 1, 2, 3, 4, 5]
    assert frames[0][1].shape == (48, 64, 3) and frames[0][1].dtype == np.uint8


def test_frames_at_times_are_the_ones_on_display(tmp_path):
    path = write_media(tmp_path / "a.mp4", VideoTrack(times=[0.2, 0.3, 0.35, 0.7, 1.4]), SoundTrack(seconds=2))
    times = [0.0, 0.2, 0.29, 0.3, 0.36, 0.69, 0.7, 0.7, 1.39, 1.4, 99.0]
    assert [frame_index(p) for p in iter_frames_at(path, times)] == [0, 0, 0, 1, 2, 2, 3, 3, 3, 4, 4]


def test_frames_at_falling_times_are_refused(tmp_path):
    path = write_media(tmp_path / "a.mp4", VideoTrack())
    with pytest.raises(ValueError, match="times must rise"):
        list(iter_frames_at(path, [0.5, 0.4]))


@pytest.mark.parametrize(
    ("matrix", "rotation", "corners"),
    [
        ((1, 0, 0, 1), 0, "rgbk"),
        ((0, 1, -1, 0), 90, "brkg"),  # as a phone held upright writes it
        ((-1, 0, 0, -1), 180, "kbgr"),
        ((0, -1, 1, 0), 270, "gkrb"),
        ((-1, 0, 0, 1), 0, "grkb"),  # mirrored
    ],
)
def test_pictures_are_turned_upright(tmp_path, matrix, rotation, corners):
    path = write_media(tmp_path / "a.mp4", VideoTrack(size=(64, 32), paint=paint_corners))
    set_display_matrix(path, matrix)
    info = probe(path)
    assert info.rotation == rotation
    assert (info.width, info.height) == ((32, 64) if rotation in (90, 270) else (64, 32))
    (picture,) = iter_frames_at(path, [0.5])
    assert picture.shape == (info.height, info.width, 3)
    h, w = picture.shape[:2]
    seen = [picture[y, x] for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]
    assert "".join("rgb"[p.argmax()] if p.max() > 128 else "k" for p in seen) == corners


def test_pictures_that_start_late_keep_their_offset(tmp_path):
    path = write_media(
        tmp_path / "a.mp4", VideoTrack(start=0.5), SoundTrack(rate=44100, waveform=click_at(0.25, 2, 44100))
    )
    assert next(iter_frames(path))[0] == pytest.approx(0.5)
    assert probe(path).duration == pytest.approx(1.5)
    assert click_time(path) == pytest.approx(0.25, abs=0.001)


def test_clock_starts_with_the_first_track_not_at_the_containers_zero(tmp_path):
    path = write_media(tmp_path / "a.ts", VideoTrack(start=5), SoundTrack(start=5.2))
    assert next(iter_frames(path))[0] == 0
    assert probe(path).duration == pytest.approx(1.0, abs=0.001)
    with SoundReader(path) as sound:
        samples = sound.read(0.0, 16000)
    assert np.flatnonzero(np.abs(samples) > 0.2)[0] / 16000 == pytest.approx(0.2, abs=0.002)


def test_broken_packets_are_left_out(tmp_path):
    def paint_noise(index, width, height):
        return np.random.default_rng(index).integers(0, 255, (height, width, 3), dtype=np.uint8)

    path = write_media(tmp_path / "a.mkv", VideoTrack(codec="ffv1", paint=paint_noise))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    times = [time for time, _ in iter_frames(path)]
    assert 7 <= len(times) <= 10 and times[-1] == pytest.approx(0.9, abs=0.001)


# --- sound


def test_channels_are_averaged_and_resampled(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
    path = write_media(
        tmp_path / "a.wav", SoundTrack(rate=44100, channels=2, waveform=np.stack([tone, 0 * tone]), codec="pcm_s16le")
    )
    with SoundReader(path) as sound:
        samples = sound.read(0.0, 16000)
    assert samples.dtype == np.float32 and samples.shape == (16000,)
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(samples - expected)[100:-100].max() < 1e-3


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "libopus"), ("a.mov", "pcm_s16le")])
@pytest.mark.parametrize("start", [0.0, 0.5])
def test_sound_lies_where_its_timestamps_say(tmp_path, name, codec, start):
    sound = SoundTrack(rate=48000, start=start, waveform=click_at(0.25, 1.0, 48000), codec=codec)
    path = write_media(tmp_path / name, sound, VideoTrack(seconds=2))  # sound is stream 0
    assert click_time(path) == pytest.approx(start + 0.25, abs=0.002)


def test_a_gap_in_the_sound_is_silent(tmp_path):
    first = click_at(0.1, 0.5, 16000)
    path = write_media(
        tmp_path / "a.mkv", VideoTrack(seconds=3), SoundTrack(waveform=first, codec="pcm_s16le", gap=1.5)
    )
    with SoundReader(path) as sound:
        samples = sound.read(0.0, 48000)
    clicks = np.flatnonzero(np.diff((np.abs(samples) > 0.2).astype(int)) == 1) / 16000
    assert clicks == pytest.approx([0.1, 2.1], abs=0.002)
    assert not samples[9000:31000].any()


def test_reads_overlap_go_past_the_end_and_agree_with_one_long_read(tmp_path):
    path = write_media(tmp_path / "a.mkv", SoundTrack(seconds=2, rate=44100))
    with SoundReader(path) as sound:
        whole = sound.read(0.0, 48000)
    with SoundReader(path) as sound:
        for start in (0.0, 0.5, 0.25, 1.5, 1.9, 0.0):
            first = round(start * 16000)
            assert np.array_equal(sound.read(start, 15600), whole[first : first + 15600][:15600])
        assert not sound.read(5.0, 100).any()
        before = sound.read(-0.5, 16000)
        assert not before[:8000].any() and np.array_equal(before[8000:], whole[:8000])
    assert np.abs(whole[:31000]).max() > 0.4 and not whole[33000:].any()


def test_sound_is_kept_for_20_s_and_no_longer(tmp_path):
    path = write_media(tmp_path / "a.wav", SoundTrack(rate=8000, seconds=60, codec="pcm_s16le"))
    with SoundReader(path, rate=8000) as sound:
        sound.read(50.0, 800)
        assert sum(len(samples) for _, samples in sound._chunks) < 25 * 8000
        assert np.abs(sound.read(30.0, 800)).max() > 0.4
        with pytest.raises(ValueError, match="read forwards"):
            sound.read(20.0, 800)


# --- whole clips


def test_read_clip(tmp_path):
    path = write_media(tmp_path / "a.mp4", VideoTrack(seconds=3), SoundTrack(seconds=3, rate=44100, channels=2))
    clip = read_clip(path, fps=2)
    assert clip.frames.shape == (6, 48, 64, 3)
    assert clip.timestamps == pytest.approx((np.arange(6) + 15 / 16) / 2)
    # Frames last 0.1 s: the one on display at 0.469 s is number 4.
    assert [frame_index(picture) for picture in clip.frames] == [int(t * 10) % 10 for t in clip.timestamps]
    assert clip.sampling_rate == 16000 and clip.waveform.shape == (48000,)


# --- bad input


def test_bad_files_give_one_clear_line(tmp_path):
    good = write_media(tmp_path / "good.mp4", VideoTrack(), SoundTrack()).read_bytes()
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(good[: len(good) // 2])
    write_media(tmp_path / "sound.mp4", SoundTrack())
    (tmp_path / "folder.mp4").mkdir()
    for name, why in {
        "missing.mp4": "no such file",
        "text.mp4": "not a video or sound file",
        "empty.mp4": "empty",
        "cut.mp4": "cut short",
        "sound.mp4": "no video stream",
        "folder.mp4": "folder",
    }.items():
        for use in (
            probe,
            read_clip,
            lambda path: next(iter_frames(path)),
            lambda path: next(iter_frames_at(path, [0])),
        ):
            with pytest.raises(MediaError, match=why) as caught:
                use(tmp_path / name)
            assert name in str(caught.value) and "\n" not in str(caught.value)


def test_mp4_with_its_index_in_front_is_known_to_be_cut(tmp_path):
    content = write_media(tmp_path / "a.mp4", VideoTrack(), SoundTrack()).read_bytes()
    # Moves the index before the media data by hand: ftyp, moov, free, mdat; offsets need not be right for this test.
    boxes, at = {}, 0
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        boxes[kind] = content[at : at + size]
        at += size
    front = boxes[b"ftyp"] + boxes[b"moov"] + boxes[b"mdat"]
    (tmp_path / "cut.mp4").write_bytes(front[: len(boxes[b"ftyp"]) + len(boxes[b"moov"]) + 200])
    with pytest.raises(MediaError, match="cut short"):
        probe(tmp_path / "cut.mp4")


def test_a_video_stream_without_one_picture(tmp_path):
    path = write_media(tmp_path / "a.mkv", VideoTrack(codec="ffv1"), SoundTrack())
    content = path.read_bytes()
    # Cut right after the headers of the tracks, before the first picture.
    path.write_bytes(content[: content.index(bytes.fromhex("1f43b675")) + 30])
    with pytest.raises(MediaError, match="not one picture"):
        probe(path)


def test_reading_without_pyav_says_what_to_install():
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from ccformer_hf.model import media_ccformer\n"
        "try: media_ccformer.probe('a.mp4')\n"
        "except ImportError as error: assert 'pip install av' in str(error)\n"
        "else: raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- one clock for pictures and sound


def paint_flash(index: int, width: int, height: int) -> np.ndarray:
    """Every tenth picture is white, the others are black."""
    return np.full((height, width, 3), 230 if index % 10 == 5 else 20, dtype=np.uint8)


def flashes_and_clicks(path: Path) -> tuple[list[float], list[float]]:
    flashes = [time for time, picture in iter_frames(path) if picture.mean() > 120]
    with SoundReader(path) as sound:
        loud = np.flatnonzero(np.abs(sound.read(0.0, round((probe(path).duration + 1) * 16000))) > 0.2) / 16000
    return flashes, [float(time) for time in loud[np.diff(loud, prepend=-1) > 0.1]]


def clicking_piece(path: Path, start: float = 0.0, seconds: float = 3.0) -> bytes:
    """A flash and a click together, half a second into each second."""
    waveform = np.tile(click_at(0.5, 1.0, 48000), round(seconds))
    picture = VideoTrack(seconds=seconds, start=start, paint=paint_flash)
    return write_media(path, picture, SoundTrack(rate=48000, start=start, waveform=waveform)).read_bytes()


@pytest.mark.filterwarnings("ignore::ccformer_hf.model.media_ccformer.MediaWarning")
@pytest.mark.parametrize("starts", [(0, 0, 0), (100, 0), (0, 36000, 0)], ids=["joined", "back", "ten-hours"])
def test_joined_pieces_follow_each_other_in_step(tmp_path, starts):
    pieces = [clicking_piece(tmp_path / "piece.ts", start) for start in starts]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(pieces))
    flashes, clicks = flashes_and_clicks(path)
    assert probe(path).duration == pytest.approx(3.0 * len(starts), abs=0.04)
    assert flashes == pytest.approx(np.arange(3 * len(starts)) + 0.5, abs=0.04)
    assert clicks == pytest.approx(flashes, abs=0.04)


def test_a_clock_that_jumps_is_told(tmp_path):
    path = tmp_path / "joined.ts"
    path.write_bytes(2 * clicking_piece(tmp_path / "piece.ts", seconds=1))
    with pytest.warns(MediaWarning, match="joined.ts: its clock jumps"):
        probe(path)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(0, 1.2), (2.8, 4)], [0.5, 1.9]),  # cut out of the middle, not at a key frame
        ([(0, 1.2), (0, 1.2)], [0.5, 1.7]),
        ([(3, 4), (0, 1)], [0.5, 1.5]),
        ([(1, 3)], [0.5, 1.5]),
    ],
)
def test_edit_lists_are_obeyed_in_length_pictures_and_sound(tmp_path, spans, expected):
    (tmp_path / "a.mp4").write_bytes(clicking_piece(tmp_path / "a.mp4", seconds=8.0))
    for track, ticks in enumerate((90000, 48000)):
        set_edits(tmp_path / "a.mp4", track, ticks, spans)
    flashes, clicks = flashes_and_clicks(tmp_path / "a.mp4")
    length = sum(end - start for start, end in spans)
    assert probe(tmp_path / "a.mp4").duration == pytest.approx(length, abs=0.04)
    assert len(frame_starts(tmp_path / "a.mp4")) == round(10 * length)
    assert flashes == pytest.approx(expected, abs=0.04) and clicks == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("pace", [0.98, 1.02])
def test_sound_whose_clock_is_slow_or_fast_stays_with_its_timestamps(tmp_path, pace):
    source = write_media(
        tmp_path / "a.mov",
        VideoTrack(seconds=8),
        SoundTrack(rate=48000, waveform=np.tile(click_at(0.5, 1.0, 48000), 8), codec="pcm_s16le"),
    )
    path = tmp_path / "a.mkv"
    with av.open(str(source)) as given, av.open(str(path), "w") as output:
        streams = [output.add_stream_from_template(stream) for stream in given.streams]
        for packet in given.demux():
            if packet.size:
                if packet.stream.type == "audio":
                    packet.pts = packet.dts = round(packet.pts * pace)
                packet.stream = streams[packet.stream.index]
                output.mux(packet)
    assert flashes_and_clicks(path)[1] == pytest.approx(pace * (np.arange(8) + 0.5), abs=0.04)


def test_pictures_that_overlap_in_time_are_left_out(tmp_path):
    pieces = [write_media(tmp_path / "a.ts", VideoTrack(start=start)).read_bytes() for start in (0, 0.7)]
    path = tmp_path / "b.ts"
    path.write_bytes(b"".join(pieces))
    times = [time for time, _ in iter_frames(path)]
    assert times == pytest.approx(np.arange(17) / 10, abs=0.001)


@pytest.mark.filterwarnings("ignore::ccformer_hf.model.media_ccformer.MediaWarning")
def test_a_declared_length_makes_no_pictures(tmp_path):
    path = write_media(tmp_path / "a.mkv", VideoTrack(times=[0, 0.1, 0.2, 1_000_000]))
    assert probe(path).duration == pytest.approx(0.4)
    assert len(read_clip(path).frames) == 1


def test_pictures_that_end_before_the_sound_or_cannot_be_decoded_are_told(tmp_path):
    path = write_media(tmp_path / "a.mkv", VideoTrack(codec="ffv1", seconds=1), SoundTrack(seconds=4))
    with pytest.warns(MediaWarning, match="a.mkv: its pictures end at 1.0 s, its sound at 4.0 s"):
        probe(path)
    path = write_media(tmp_path / "b.mkv", VideoTrack(codec="mpeg4", seconds=4, ticks=1000))
    content = bytearray(path.read_bytes())
    half = len(content) // 3
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.pos > half:
                content[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
    path.write_bytes(content)
    with pytest.warns(MediaWarning, match="b.mkv: its pictures after .* cannot be decoded"):
        list(iter_frames(path))


def test_a_file_that_tells_of_more_than_it_holds(tmp_path):
    path = write_media(tmp_path / "a.mkv", VideoTrack(codec="ffv1", seconds=4))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.warns(MediaWarning, match=r"a.mkv: says that it lasts 4.0 s, but holds 1\.\d s"):
        probe(path)


# --- which frames are sampled


def test_more_frames_than_there_are_means_every_one_at_its_own_time(tmp_path):
    info = probe(write_media(tmp_path / "a.mp4", VideoTrack(seconds=2)))
    assert sampled_frames(info, 5).times.tolist() == pytest.approx((np.arange(10) + 15 / 16) / 5)
    for fps in ("all", 500, 10.5):
        assert sampled_frames(info, fps).times == pytest.approx(np.arange(20) / 10)
    times = [0, 0.1, 0.15, 0.5, 1.2, 1.3]
    path = write_media(tmp_path / "b.mkv", VideoTrack(times=times), SoundTrack(seconds=1))
    assert frame_starts(path) == pytest.approx(times, abs=0.001)
    clip = read_clip(path, fps="all")
    assert [frame_index(picture) for picture in clip.frames] == [0, 1, 2, 3, 4, 5]
    assert len(frame_starts(write_media(tmp_path / "c.h264", VideoTrack(seconds=1)))) == 10


def test_a_picture_that_stands_is_looked_at_every_second(tmp_path):
    info = probe(write_media(tmp_path / "a.mkv", VideoTrack(times=[0, 4], fps=0.25), SoundTrack(seconds=8)))
    assert (
        len(sampled_frames(info, 1).times) == len(sampled_frames(info, 1.0).times) == 8
        and len(sampled_frames(info, "all").times) == 2
    )


# --- the shape of a picture


@pytest.mark.parametrize(
    ("ratio", "size"),
    [(Fraction(16, 11), (93, 48)), (Fraction(8, 9), (57, 48)), (Fraction(255, 1), (64, 48)), (None, (64, 48))],
)
@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])  # by the container, by the codec
def test_pixels_come_out_square(tmp_path, name, ratio, size):
    path = write_media(tmp_path / name, VideoTrack(pixel_aspect=ratio, paint=paint_corners))
    info = probe(path)
    (picture,) = iter_frames_at(path, [0.5])
    assert (info.width, info.height) == size == picture.shape[1::-1]
    assert picture[4, size[0] // 2 - 8].argmax() == 0 and picture[4, size[0] // 2 + 8].argmax() == 1


def test_pixels_of_a_turned_picture_come_out_square(tmp_path):
    path = write_media(tmp_path / "a.mp4", VideoTrack(pixel_aspect=Fraction(3, 2)))
    set_display_matrix(path, (0, 1, -1, 0))
    assert (probe(path).width, probe(path).height) == (48, 96)


def test_edges_that_the_container_hides_are_not_shown(tmp_path):
    path = write_media(tmp_path / "a.mkv", VideoTrack(paint=paint_corners))
    set_matroska_crop(path, left=36, top=0)
    (picture,) = iter_frames_at(path, [0])
    assert picture.shape == (48, 28, 3) and (picture[:20, :, 1] > 200).all()
    path = write_media(tmp_path / "a.mp4", VideoTrack(paint=paint_corners))
    set_clean_aperture(path, width=24, height=16, right=-16, down=-12)
    (picture,) = iter_frames_at(path, [0])
    assert picture.shape == (16, 24, 3) and (picture[:, :, 0] > 200).all()
    assert (probe(path).width, probe(path).height) == (24, 16)


def join(path: Path, *tracks: VideoTrack) -> Path:
    pieces = [write_media(path.with_name(f"piece{i}.ts"), track).read_bytes() for i, track in enumerate(tracks)]
    path.write_bytes(b"".join(pieces))
    return path


@pytest.mark.filterwarnings("ignore::ccformer_hf.model.media_ccformer.MediaWarning")
def test_a_picture_of_another_shape_keeps_it_with_bars(tmp_path):
    wide = VideoTrack(size=(96, 48), paint=lambda i, w, h: np.full((h, w, 3), 200, np.uint8))
    pictures = [picture for _, picture in iter_frames(join(tmp_path / "a.ts", VideoTrack(), wide))]
    assert {picture.shape for picture in pictures} == {(48, 64, 3)}
    assert pictures[-1][24].min() > 180 and pictures[-1][:6].max() < 30 and pictures[-1][-6:].max() < 30


def plain(path: Path) -> Path:
    return write_media(path, VideoTrack(size=(64, 32), paint=paint_corners))


def turned(matrix: tuple[int, int, int, int]):
    return lambda path: set_display_matrix(plain(path), matrix) or path


def of(name: str, **settings):
    return lambda path: write_media(path.with_name(name), VideoTrack(size=(64, 32), paint=paint_corners, **settings))


def cropped(path: Path) -> Path:
    write_media(path.with_name("crop.mkv"), VideoTrack(paint=paint_corners))
    set_matroska_crop(path.with_name("crop.mkv"), left=13, top=0)
    return path.with_name("crop.mkv")


@pytest.mark.filterwarnings("ignore::ccformer_hf.model.media_ccformer.MediaWarning")
@pytest.mark.parametrize(
    "make",
    [
        plain,
        turned((0, 1, -1, 0)),
        turned((-1, 0, 0, -1)),
        turned((0, -1, 1, 0)),
        turned((-1, 0, 0, 1)),
        cropped,
        of("odd.mkv", pixel_aspect=Fraction(16, 11)),
        of("wide.mkv", pixel_aspect=Fraction(3, 2)),
        of("deep.mkv", pix_fmt="yuv420p10le"),
        of("full.mkv", pix_fmt="yuvj420p"),
        of("rgb.mkv", codec="ffv1", pix_fmt="bgr0"),
        lambda path: join(path.with_suffix(".ts"), VideoTrack(paint=paint_corners), VideoTrack(size=(96, 48))),
    ],
    ids="plain right upside-down left mirrored cropped odd wide deep full rgb joined".split(),
)
def test_yuv_frames_show_the_same_at_the_same_times(tmp_path, make):
    """Upright, in their colours, an odd width or height rounded up."""
    path = make(tmp_path / "a.mp4")
    colours, frames = iter_yuv_frames(path)
    matrix = Colorspace.ITU709 if colours.matrix == 1 else Colorspace.ITU601
    for (time, packed), (same, picture) in zip(frames, iter_frames(path), strict=True):
        height, width = picture.shape[:2]
        frame = av.VideoFrame.from_ndarray(packed, format="yuv420p")
        shown = frame.reformat(format="rgb24", src_colorspace=matrix).to_ndarray().astype(int)
        assert time == same and shown.shape == (height + height % 2, width + width % 2, 3)
        assert np.abs(shown[:height, :width] - picture).mean() < 6  # U and V of 4:2:0 mix at the edges of the corners
        corners = (slice(2, height - 2, height - 5), slice(2, width - 2, width - 5))
        assert np.abs(shown[corners] - picture[corners]).max() < 10


@pytest.mark.filterwarnings("ignore::ccformer_hf.model.media_ccformer.MediaWarning")
def test_no_picture_is_larger_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(media_ccformer, "MAX_PIXELS", 128 * 128)
    path = join(tmp_path / "a.ts", VideoTrack(), VideoTrack(size=(512, 512)))
    assert len(list(iter_frames(path))) == 10
    with pytest.raises(MediaError, match="512 x 512 pixels, at most"):
        probe(write_media(tmp_path / "b.mp4", VideoTrack(size=(512, 512))))


# --- channels of any number, and broken sound


@pytest.mark.parametrize(
    ("name", "codec", "channels"),
    [
        *((f"{codec}.mkv", codec, n) for codec in ("flac", "pcm_s16le", "pcm_f32le") for n in (1, 3, 8)),
        *((f"{codec}.mov", codec, n) for codec in ("pcm_s16le", "pcm_s32le") for n in (7, 8, 12, 64)),
        ("a.mp4", "aac", 6),
        ("a.wav", "pcm_u8", 16),
    ],
)
def test_any_number_of_channels_is_averaged(tmp_path, name, codec, channels):
    levels = 0.8 * (np.arange(channels) + 1) / channels
    waveform = levels[:, None] * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    if codec == "aac":
        waveform[3] = 0  # the low-frequency channel
    path = write_media(tmp_path / name, SoundTrack(channels=channels, waveform=waveform, codec=codec))
    assert probe(path, need_video=False).audio_channels == channels
    with SoundReader(path) as sound:
        samples = sound.read(0.1, 4800)
    assert np.abs(samples).max() == pytest.approx(np.abs(waveform.mean(axis=0)).max(), abs=0.02)


@pytest.mark.parametrize(("channels", "layout"), [(7, "6.1"), (8, "7.1")])
def test_channels_in_an_order_without_a_name_end_no_process(tmp_path, channels, layout):
    """Reading such a MOV, FFmpeg 8 makes a list of its channels, which PyAV 18 frees twice."""
    path = write_media(
        tmp_path / "a.mov", VideoTrack(), SoundTrack(channels=channels, layout=layout, codec="pcm_s16le")
    )
    for _ in range(3):
        assert probe(path).audio_channels == channels
        with SoundReader(path) as sound:
            assert np.abs(sound.read(0, 8000)).max() > 0.4


def test_samples_that_are_no_numbers_are_silent_and_told(tmp_path):
    waveform = np.full(16000, 0.25, dtype=np.float32)
    waveform[4000:5000], waveform[6000:7000], waveform[8000:9000] = np.nan, np.inf, 1e30
    path = write_media(tmp_path / "a.mkv", SoundTrack(waveform=waveform, codec="pcm_f32le"))
    with SoundReader(path) as sound, pytest.warns(MediaWarning, match="a.mkv: its sound holds samples that are no"):
        samples = sound.read(0, 16000)
    broken = ~np.isclose(waveform, 0.25)
    assert (samples[broken] == 0).all() and samples[~broken] == pytest.approx(0.25)


def test_sound_that_cannot_be_decoded_is_left_out_and_told(tmp_path):
    path = write_media(tmp_path / "a.mkv", VideoTrack(), SoundTrack(codec="flac"))
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            if packet.size:
                content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    content = content.replace(b"fLaC", b"xxxx")
    path.write_bytes(content)
    with pytest.warns(MediaWarning, match="a.mkv: its sound cannot be decoded and is left out"):
        info = probe(path)
    assert (info.has_audio, info.audio_channels) == (False, 0)
    with pytest.warns(MediaWarning):
        assert read_clip(path).waveform is None


# --- one file and no other


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n",
    "bom": "\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile other.ts\n",
    "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash": "<?xml version='1.0'?><!-- a --><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><Period><AdaptationSet>"
    "<Representation><BaseURL>other.ts</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "imf": "<?xml version='1.0'?>\n<CompositionPlaylist xmlns='http://www.smpte-ra.org/schemas/2067-3/2016'/>",
}


@pytest.mark.parametrize("ending", ["mp4", "m3u8", "mpd", "sdp", "txt", "ffconcat"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_play_lists_are_refused_by_every_name(tmp_path, kind, ending):
    write_media(tmp_path / "other.ts", VideoTrack())
    path = tmp_path / f"list.{ending}"
    path.write_text(PLAYLISTS[kind], encoding="utf-8")
    with pytest.raises(MediaError, match=f"list.{ending}: is not a video or sound file .*no play list"):
        probe(path)


def test_a_movie_whose_pictures_lie_in_another_file_is_not_followed(tmp_path):
    path = write_media(tmp_path / "a.mov", VideoTrack())
    write_media(tmp_path / "other.mov", VideoTrack())
    set_outside_media(path, "other.mov")
    with pytest.raises(MediaError, match="a.mov"):
        next(iter_frames(path))


def test_addresses_and_devices_are_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_media(tmp_path / "a.ts", VideoTrack())
    for name in (
        "concat:a.ts|a.ts",
        "file:a.ts",
        "http://127.0.0.1:1/a.mp4",
        "subfile,,start,0,end,0,,:a.ts",
        "data:,x",
    ):
        with pytest.raises(MediaError, match="no such file"):
            probe(name)
    with pytest.raises(MediaError, match="device or a pipe"):
        probe(os.devnull)


@pytest.mark.parametrize(
    "name", ["12:30:00.mp4", "file:a.mp4", "-i.mp4", "a%03d.mp4", "a#b?c.mp4", b"caf\xe9.mp4", "a\nb.mp4"]
)
def test_any_name_of_a_file_will_do(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    try:
        os.rename(write_media(tmp_path / "x.mp4", VideoTrack(), SoundTrack()), name)
    except (OSError, ValueError):
        pytest.skip("this file system does not take such a name")
    for path in (name, os.fsdecode(name), Path(os.fsdecode(name))):
        assert probe(path).has_audio and len(read_clip(path).frames) == 1
    os.truncate(name, 100)
    with pytest.raises(MediaError) as error:
        probe(name)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.gif", "a.mp4", "a%02d.png"])
def test_a_still_picture_is_called_one(tmp_path, name):
    from PIL import Image

    kind = "PNG" if name == "a.mp4" else None
    Image.new("RGB", (32, 24), "red").save(tmp_path / name, kind)
    with pytest.raises(MediaError, match="is a still picture"):
        probe(tmp_path / name)


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), [("a.gif", "gif", "rgb8"), ("a.apng", "apng", "rgb24")])
def test_animated_pictures_are_videos(tmp_path, name, codec, pix_fmt):
    path = write_media(tmp_path / name, VideoTrack(codec=codec, pix_fmt=pix_fmt, ticks=100))
    assert probe(path).duration == pytest.approx(1.0, abs=0.1) and len(list(iter_frames(path))) == 10


def test_a_clip_that_would_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(media_ccformer, "MOST_CLIP_BYTES", 20_000)
    path = write_media(tmp_path / "a.mp4", VideoTrack(seconds=3))
    with pytest.raises(MediaError, match="3 frames of 64 x 48 pixels do not fit"):
        read_clip(path)


# --- real videos


@needs_shared_media
@pytest.mark.parametrize(
    ("name", "duration", "size", "frames", "rate"),
    [
        ("friday.mp4", 6.166, (640, 480), 185, 44100),
        ("nasa_13013.mp4", 13.013, (480, 270), 390, 16000),  # the larger of two, not the subtitle's 16.57 s
        ("s4_p04SYXuBSQ_dog.mp4", 5.0768, (320, 240), 37, 44100),
        ("ms3_YYbShzoZWRo_baby_dog.mp4", 5.0, (1280, 720), 125, 44100),
        ("vas_dog_02677.mp4", 6.006, (398, 224), 180, 44100),
    ],
)
def test_real_videos(name, duration, size, frames, rate):
    info = probe(SHARED_MEDIA / name)
    assert info.duration == pytest.approx(duration, abs=1e-3)
    assert ((info.width, info.height), info.audio_rate) == (size, rate)
    times = [time for time, _ in iter_frames(info.path)]
    assert len(times) == frames and times[0] == 0 and (np.diff(times) > 0).all()
    assert times[-1] < duration
    clip = read_clip(info.path)
    assert len(clip.frames) == round(duration) and np.abs(clip.waveform).max() > 0.1


def test_sound_that_piles_up_at_one_time_can_be_read_again(tmp_path):
    """What is dropped of it is no read that goes back."""
    with SoundReader(write_media(tmp_path / "a.wav", SoundTrack())) as reader:
        reader._source = ((0, np.full(16000, 0.5, np.float32)) for _ in range(90))
        first, second = reader.read(0.0, 16000), reader.read(0.0, 16000)
    np.testing.assert_allclose(first, 0.5)
    np.testing.assert_allclose(second, 0.5)


@pytest.mark.parametrize("value", [20.0, 500.0, float("inf"), float("nan")])
def test_damaged_samples_are_silence_to_whoever_reads_the_file(tmp_path, value):
    """Whatever passes here, the feature extractor takes too."""
    waveform = np.full(16000, 0.5, np.float32)
    waveform[4000:4100] = value
    path = write_media(tmp_path / "loud.mkv", VideoTrack(), SoundTrack(waveform=waveform, codec="pcm_f32le"))
    with pytest.warns(MediaWarning, match="not numbers or far too loud"):
        samples = read_clip(path).waveform
    assert (samples[4000:4100] == 0).all() and (samples[:4000] == 0.5).all()
    CCFormerFeatureExtractor()(samples, 16000)


def test_memory_that_a_damaged_file_asks_for_in_vain_is_told():
    """FFmpeg refuses a packet that claims to be huge; the processor reads in its own process."""

    def refuse(*_):
        raise av.error.MemoryError(12, "Cannot allocate memory", "file:/videos/clip.avi")

    packet = SimpleNamespace(size=1, pts=0)
    container = SimpleNamespace(name="file:/videos/clip.avi", demux=refuse)
    stream = SimpleNamespace(type="video", decode=refuse)
    clock = SimpleNamespace(on_clock=lambda *_: [packet])
    for read in (packets_of(container, stream), decode_stream(container, stream, clock)):
        with pytest.raises(MediaError, match="^/videos/clip.avi: reading it needs more memory than there is"):
            list(read)
