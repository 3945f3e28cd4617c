import os
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import planted
import pytest
from made_media import SoundTrack, VideoTrack, click_at, frames_with_alpha, set_display_matrix, write_media

from ccformer_hf.inference import video_writer as media
from ccformer_hf.inference.contained_media import SILENCED
from ccformer_hf.inference.video_writer import VideoWriter
from ccformer_hf.model.media_ccformer import (
    Colours,
    MediaError,
    MediaWarning,
    SoundReader,
    best_streams,
    iter_frames,
    probe,
)

SHARED_MEDIA = Path(__file__).resolve().parents[3] / "shared" / "media"


def rewrite(source: Path, target: Path) -> Path:
    """Copies a clip's frames and sound through `VideoWriter`."""
    info = probe(source)
    with VideoWriter(target, info.width, info.height, info.fps, sound_from=source) as writer:
        for time, picture in iter_frames(source):
            writer.write(picture, time)
    return target


def sound_packets(path: Path) -> list[tuple[bytes, float]]:
    with av.open(str(path)) as container:
        audio = best_streams(container)[1]
        return [(bytes(p), float(p.pts * p.time_base)) for p in container.demux(audio) if p.size]


def sound_codec(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.audio[0].codec_context.name


def click_time(path: Path) -> float:
    with SoundReader(path) as sound:
        return int(np.flatnonzero(np.abs(sound.read(0.0, 64000)) > 0.2)[0]) / 16000


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_keep_their_times_and_pictures(tmp_path, name):
    times = [0, 0.1, 0.15, 0.5, 1.2, 1.3]
    source = write_media(tmp_path / name, VideoTrack(times=times))
    written = list(iter_frames(rewrite(source, tmp_path / "out.mp4")))
    assert [time for time, _ in written] == pytest.approx(times, abs=0.001)
    for (_, picture), (_, expected) in zip(written, iter_frames(source), strict=True):
        assert abs(picture.mean() - expected.mean()) <= 3
    frame = 1 / probe(source).fps
    assert probe(tmp_path / "out.mp4").duration == pytest.approx(1.3 + frame, abs=0.001)


def test_it_is_h264_that_plays_in_browsers(tmp_path):
    out = rewrite(write_media(tmp_path / "a.mp4", VideoTrack(), SoundTrack()), tmp_path / "out.mp4")
    with av.open(str(out)) as container:
        stream = container.streams.video[0].codec_context
        assert (stream.name, stream.pix_fmt, stream.colorspace) == ("h264", "yuv420p", 1)  # 1: BT.709
    content = out.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_yuv_is_written_in_the_colours_it_is_told_to_have(tmp_path):
    frame = np.full((72, 64), 128, np.uint8)
    with VideoWriter(tmp_path / "a.mp4", 64, 48, 10, colours=Colours(6, 5, 2)) as writer:
        writer.write_yuv(frame, 0.0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0].codec_context
        assert (stream.colorspace, stream.color_primaries, stream.color_trc) == (6, 5, 2)
        (written,) = container.decode(video=0)
    assert np.abs(written.to_ndarray().astype(int) - frame).max() <= 1
    with pytest.raises(ValueError, match=r"expected \(72, 64\) uint8"):
        with VideoWriter(tmp_path / "a.mp4", 64, 48, 10) as writer:
            writer.write_yuv(frame[:48], 0.0)


@pytest.mark.parametrize("level", [0, 64, 128, 200, 255])
def test_grey_stays_grey(tmp_path, level):
    with VideoWriter(tmp_path / "a.mp4", 64, 48, 10) as writer:
        writer.write(np.full((48, 64, 3), level, np.uint8), 0.0)
    ((_, picture),) = iter_frames(tmp_path / "a.mp4")
    assert np.abs(picture.astype(int) - level).max() <= 3


def test_colours_stay(tmp_path):
    for colour in [(220, 40, 40), (40, 220, 40), (40, 40, 220)]:
        with VideoWriter(tmp_path / "a.mp4", 64, 48, 10) as writer:
            writer.write(np.full((48, 64, 3), colour, np.uint8), 0.0)
        ((_, picture),) = iter_frames(tmp_path / "a.mp4")
        assert np.abs(picture.astype(int) - colour).max() <= 6


@pytest.mark.parametrize(
    ("name", "codec", "written"),
    [
        ("a.mp4", "aac", "aac"),
        ("a.ts", "aac", "aac"),
        ("a.mkv", "libopus", "opus"),
        ("a.mkv", "ac3", "ac3"),
        ("a.mkv", "flac", "flac"),
        ("a.mov", "alac", "alac"),
        ("a.mkv", "libmp3lame", "mp3float"),
    ],
)
def test_sound_that_mp4_can_carry_is_copied(tmp_path, name, codec, written):
    sound = SoundTrack(rate=48000, channels=2, waveform=click_at(0.5, 1, 48000), codec=codec)
    source = write_media(tmp_path / name, VideoTrack(), sound)
    out = rewrite(source, tmp_path / "out.mp4")
    assert sound_codec(out) == written
    if name != "a.ts":  # there every packet has an extra (ADTS) header, which MP4 does without
        assert [packet for packet, _ in sound_packets(out)] == [packet for packet, _ in sound_packets(source)]
    assert click_time(out) == pytest.approx(click_time(source), abs=0.001)


def test_mp3_of_a_low_rate_is_copied_too(tmp_path):
    source = write_media(tmp_path / "a.mkv", VideoTrack(), SoundTrack(rate=8000, codec="libmp3lame"))
    out = rewrite(source, tmp_path / "out.mp4")
    assert [packet for packet, _ in sound_packets(out)] == [packet for packet, _ in sound_packets(source)]


@pytest.mark.parametrize(("rate", "channels", "wanted"), [(22050, 1, 22050), (48000, 6, 48000), (6000, 2, 8000)])
def test_other_sound_becomes_aac(tmp_path, rate, channels, wanted):
    sound = SoundTrack(rate=rate, channels=channels, waveform=click_at(0.5, 1, rate), codec="pcm_s16le")
    out = rewrite(write_media(tmp_path / "a.mkv", VideoTrack(), sound), tmp_path / "out.mp4")
    assert sound_codec(out) == "aac"
    assert (probe(out).audio_rate, probe(out).audio_channels) == (wanted, min(channels, 2))
    assert click_time(out) == pytest.approx(0.5, abs=0.003)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
@pytest.mark.parametrize(("video_start", "sound_start"), [(0.5, 0.0), (0.0, 0.5)])
def test_offsets_between_sound_and_pictures_stay(tmp_path, codec, video_start, sound_start):
    sound = SoundTrack(rate=44100, start=sound_start, waveform=click_at(0.25, 1, 44100), codec=codec)
    source = write_media(tmp_path / "a.mkv", sound, VideoTrack(start=video_start, seconds=2))
    out = rewrite(source, tmp_path / "out.mp4")
    assert next(iter_frames(out))[0] == pytest.approx(video_start, abs=0.001)
    assert click_time(out) == pytest.approx(sound_start + 0.25, abs=0.002)
    assert probe(out).duration == pytest.approx(probe(source).duration, abs=0.1)


def test_no_sound(tmp_path):
    out = rewrite(write_media(tmp_path / "a.mp4", VideoTrack()), tmp_path / "out.mp4")
    assert not probe(out).has_audio


def test_odd_sizes_are_rounded_up_by_repeating_the_border(tmp_path):
    picture = np.zeros((49, 65, 3), np.uint8)
    picture[-1], picture[:, -1] = 200, 200
    with VideoWriter(tmp_path / "a.mp4", 65, 49, 10) as writer:
        writer.write(picture, 0.0)
    ((_, written),) = iter_frames(tmp_path / "a.mp4")
    assert written.shape == (50, 66, 3)
    assert written[49].mean() > 150 and written[:, 65].mean() > 150 and written[:40, :60].mean() < 20
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].display_aspect_ratio == Fraction(65, 49)  # players show the shape it had


def test_a_turned_clip_is_written_upright(tmp_path):
    source = write_media(tmp_path / "a.mp4", VideoTrack(), SoundTrack())
    set_display_matrix(source, (0, 1, -1, 0))
    info = probe(rewrite(source, tmp_path / "out.mp4"))
    assert (info.width, info.height, info.rotation) == (48, 64, 0)


def test_sound_goes_along_with_the_pictures_not_at_the_end(tmp_path):
    """Else the muxer would hold the sound, or the pictures, of the whole film in memory."""
    source = write_media(tmp_path / "a.mp4", VideoTrack(seconds=20), SoundTrack(seconds=20))
    out = rewrite(source, tmp_path / "out.mp4")
    with av.open(str(out)) as container:
        at = {"video": 0.0, "audio": 0.0}
        for packet in container.demux(video=0, audio=0):
            if packet.size:
                at[packet.stream.type] = float(packet.pts * packet.time_base)
                assert abs(at["video"] - at["audio"]) < 2


def test_nothing_has_the_name_before_it_is_done_and_errors_leave_nothing(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    out = tmp_path / "out.mp4"
    with VideoWriter(out, 64, 48, 10) as writer:
        writer.write(picture, 0.0)
        writer.write(picture, 1e-7)  # closer than a tick
        assert not out.exists()
        writer.close()
        assert len(list(iter_frames(out))) == 2
    assert os.listdir(tmp_path) == ["out.mp4"]
    done = out.read_bytes()
    with pytest.raises(RuntimeError, match="stop"):
        with VideoWriter(out, 64, 48, 10) as writer:
            writer.write(picture, 0.0)
            raise RuntimeError("stop")
    assert os.listdir(tmp_path) == ["out.mp4"] and out.read_bytes() == done
    with pytest.raises(ValueError, match="at least one frame"):
        with VideoWriter(out, 64, 48, 10):
            pass
    assert os.listdir(tmp_path) == ["out.mp4"] and out.read_bytes() == done


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    for path in (tmp_path / "nowhere" / "a.mp4", tmp_path / "file" / "a.mp4", tmp_path / "folder.mp4"):
        with pytest.raises(OSError, match="cannot be written.*name a file in a folder") as caught:
            VideoWriter(path, 64, 48, 10)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.mp4"]


def written(tmp_path, source: Path) -> tuple[Path, list[str]]:
    """The copy of a clip, and what is told of its sound."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        out = rewrite(source, tmp_path / "out.mp4")
    assert all(w.category is MediaWarning and str(w.message).startswith(f"{source}: ") for w in told)
    assert len(list(iter_frames(out))) == len(list(iter_frames(source)))
    assert sorted(os.listdir(tmp_path)) == sorted([source.name, "out.mp4"])
    return out, [str(w.message) for w in told]


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e30])
def test_samples_that_are_no_numbers_are_silence(tmp_path, value):
    waveform = click_at(0.75, 1, 16000)
    waveform[4000:4010] = value
    source = write_media(tmp_path / "a.mkv", VideoTrack(), SoundTrack(waveform=waveform, codec="pcm_f32le"))
    out, told = written(tmp_path, source)
    assert told == [f"{source}: {SILENCED}"]
    assert click_time(out) == pytest.approx(0.75, abs=0.003)


def test_sound_that_cannot_be_copied_is_encoded(tmp_path, monkeypatch):
    source = write_media(tmp_path / "a.mkv", VideoTrack(), SoundTrack(waveform=click_at(0.5, 1, 16000), codec="flac"))
    monkeypatch.setattr(media, "mux_with_sound", planted.no_copying)
    out, told = written(tmp_path, source)
    assert told == [] and sound_codec(out) == "aac" and click_time(out) == pytest.approx(0.5, abs=0.003)


@pytest.mark.parametrize("fault", ["crash", "refuse"])
def test_sound_that_cannot_be_written_is_left_out(tmp_path, monkeypatch, fault):
    source = write_media(tmp_path / "a.mp4", VideoTrack(), SoundTrack())
    monkeypatch.setattr(media, "mux_with_sound", planted.crash_while_muxing if fault == "crash" else planted.refuse)
    out, (told,) = written(tmp_path, source)
    assert "its sound was left out of the video, for it cannot be written (" in told and told.count(str(source)) == 1
    assert ("SIGSEGV" if fault == "crash" else "Invalid argument") in told and "disk" not in told
    assert not probe(out).has_audio


def test_sound_of_garbage_is_left_out(tmp_path):
    source = write_media(tmp_path / "a.mkv", VideoTrack(), SoundTrack(codec="ac3", rate=48000))
    content = source.read_bytes()
    for packet, _ in sound_packets(source):
        content = content.replace(packet, b"\x55" * len(packet))
    source.write_bytes(content)
    out, told = written(tmp_path, source)
    assert told[1:] == [  # after what `probe` says
        f"{source}: its sound was left out of the video, for it cannot be written (its sound cannot be decoded)"
    ]
    assert not probe(out).has_audio


def test_broken_packets_of_the_sound_are_told(tmp_path):
    source = write_media(tmp_path / "a.ts", VideoTrack(), SoundTrack(codec="aac", rate=48000))
    content = source.read_bytes()
    for packet, _ in sound_packets(source)[20:22]:
        content = content.replace(packet[:40], bytes(40))
    source.write_bytes(content)
    out, (told,) = written(tmp_path, source)
    assert probe(out).has_audio
    # One alone: the other is passed over.
    assert told == f"{source}: broken packets of its sound were left out of the video: 1"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full, which stands for a full disk")
def test_a_full_disk(tmp_path, monkeypatch):
    out = tmp_path / "out.mp4"
    writer = VideoWriter(out, 64, 48, 10)
    writer._temporary.unlink()
    writer._temporary.symlink_to("/dev/full")
    with pytest.raises(OSError, match="cannot be written.*make room"):
        with writer:
            for index in range(200):
                writer.write(np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8), index / 10)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full, which stands for a full disk")
def test_a_disk_that_fills_up_while_the_sound_is_added(tmp_path, monkeypatch):
    source = write_media(tmp_path / "a.mp4", VideoTrack(), SoundTrack())
    monkeypatch.setattr(media, "mux_with_sound", planted.full_disk)
    with pytest.raises(OSError, match="out.mp4: cannot be written .No space left on device.; make room"):
        rewrite(source, tmp_path / "out.mp4")
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_a_picture_that_the_encoder_refuses_is_no_full_disk(tmp_path):
    with pytest.raises(OSError, match="out.mp4: cannot be written .*H.264 does not take 20000 x 20 pixels"):
        with VideoWriter(tmp_path / "out.mp4", 20000, 20, 10) as writer:
            writer.write(np.zeros((20, 20000, 3), np.uint8), 0.0)
    assert os.listdir(tmp_path) == []


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"\.mp4"):
        VideoWriter(tmp_path / "a.avi", 64, 48, 10)
    with pytest.raises(ValueError, match="greater than 0"):
        VideoWriter(tmp_path / "a.mp4", 64, 48, 0)
    with pytest.raises(MediaError, match="no such file"):
        VideoWriter(tmp_path / "a.mp4", 64, 48, 10, sound_from=tmp_path / "missing.mp4")
    picture = np.zeros((48, 64, 3), np.uint8)
    for wrong in (picture[:-2], picture[..., 0], picture.astype(np.float32)):
        with pytest.raises(ValueError, match=r"expected \(48, 64, 3\) uint8"):
            with VideoWriter(tmp_path / "a.mp4", 64, 48, 10) as writer:
                writer.write(wrong, 0.0)
    for times in ([-0.1], [0.1, 0.1]):
        with pytest.raises(ValueError, match="times must rise"):
            with VideoWriter(tmp_path / "a.mp4", 64, 48, 10) as writer:
                for time in times:
                    writer.write(picture, time)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not SHARED_MEDIA.is_dir(), reason="the shared real videos are not beside the repository")
@pytest.mark.parametrize(
    "name", ["friday", "nasa_13013", "s4_p04SYXuBSQ_dog", "ms3_YYbShzoZWRo_baby_dog", "vas_dog_02677"]
)
def test_real_videos_keep_length_size_times_and_sound(tmp_path, name):
    source = SHARED_MEDIA / f"{name}.mp4"
    out = rewrite(source, tmp_path / "out.mp4")
    old, new = probe(source), probe(out)
    assert (new.width, new.height, new.audio_rate) == (old.width, old.height, old.audio_rate)
    assert new.duration == pytest.approx(old.duration, abs=1 / old.fps)
    assert [t for t, _ in iter_frames(out)] == pytest.approx([t for t, _ in iter_frames(source)], abs=1e-4)
    for (packet, time), (packet_before, time_before) in zip(sound_packets(out), sound_packets(source), strict=True):
        assert packet == packet_before and time == pytest.approx(time_before, abs=1e-6)
    assert media.COPIED_SOUND >= {sound_codec(out)}


def test_a_transparent_webm_has_the_picture_and_how_opaque_it_is(tmp_path):
    times, path = [0, 0.1, 0.15, 0.5], tmp_path / "out.webm"
    picture = np.zeros((63, 95, 3), np.uint8)
    picture[:, :48] = (200, 40, 40)
    alphas = []
    with VideoWriter(path, 95, 63, 10) as writer:
        for number, time in enumerate(times):
            alpha = np.zeros((64, 96), np.uint8)
            alpha[16:48, 8 * number : 8 * number + 32] = 255
            alphas.append(alpha)
            writer.write_yuv(media.rgb_to_yuv(picture, Colours()), time, alpha)
    written = frames_with_alpha(path)
    assert [time for time, _ in written] == pytest.approx(times, abs=0.001)
    assert all(
        (np.abs(found.astype(int) - alpha) < 100).all() for (_, found), alpha in zip(written, alphas, strict=True)
    )
    shown = [frame for _, frame in iter_frames(path)]
    assert len(shown) == 4 and abs(shown[0].shape[1] / shown[0].shape[0] - 95 / 63) < 0.02
    assert np.abs(shown[0][20:44, 4:40].mean((0, 1)) - (200, 40, 40)).max() < 12
    assert os.listdir(tmp_path) == ["out.webm"]


def test_a_webm_has_no_sound(tmp_path):
    clip = write_media(tmp_path / "a.mp4", VideoTrack(times=[0, 0.1]), SoundTrack(seconds=1))
    with pytest.raises(
        ValueError, match=r"out.webm: only MP4 is written with sound; give it a name that ends in .mp4"
    ):
        VideoWriter(tmp_path / "out.webm", 96, 64, 10, sound_from=clip)
