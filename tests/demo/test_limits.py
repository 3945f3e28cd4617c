import os

import numpy as np
import planted
import pytest
from made_media import SoundTrack, VideoTrack, make_video, write_media

from ccformer_hf.demo import limits as module
from ccformer_hf.demo.limits import ClipRefused, Limits, check_clip
from ccformer_hf.inference import contained_media


def test_a_clip_within_the_limits_is_told_as_probe_tells_it(video):
    info = check_clip(video, Limits())
    assert (info.width, info.height, info.has_audio) == (96, 64, True)
    assert info.duration == pytest.approx(4.0, abs=0.05)


def test_the_limits_are_told_in_words():
    words = Limits(megabytes=7, seconds=11, shown=320, waiting=3, kept=600).in_words()
    for part in ("7 MB", "11 seconds", "320 pixels", "3 may wait, 4 of one visitor", "10 minutes"):
        assert part in words


def refused(path, **limits) -> str:
    with pytest.raises(ClipRefused) as error:
        check_clip(path, Limits(**limits))
    text = str(error.value)
    assert path.name in text and str(path.parent) not in text  # no path of the server is told
    return text


def test_too_many_bytes_seconds_or_pixels(video):
    assert "at most 0 MB" in refused(video, megabytes=0)
    assert "lasts 4 seconds, at most 2" in refused(video, seconds=2)
    assert "96 x 64 pixels, at most 90 x 80" in refused(video, width=90, height=80)
    assert "96 x 64 pixels" in refused(video, width=100, height=60)


def test_an_upright_picture_may_be_as_large_as_a_lying_one(tmp_path):
    path = make_video(tmp_path / "upright.mp4", 1.0, size=(64, 96))
    assert check_clip(path, Limits(width=96, height=64)).height == 96


def test_the_length_is_that_of_the_packets_and_not_what_the_file_tells(tmp_path, monkeypatch):
    path = write_media(tmp_path / "long.mp4", VideoTrack(times=[0, 1, 50]))
    monkeypatch.setattr(module, "probe", lambda path: pytest.fail("its length was believed"))
    assert "lasts" in refused(path, seconds=10)
    fast = write_media(tmp_path / "fast.mp4", VideoTrack(times=np.arange(300) / 1000))
    assert "more than 240 pictures a second" in refused(fast, seconds=1)


def test_sound_that_goes_on_after_the_pictures_is_part_of_the_length(tmp_path, monkeypatch):
    """It would be read, and encoded, for every overlay that is drawn."""
    path = write_media(tmp_path / "radio.mkv", VideoTrack(), SoundTrack(seconds=20, codec="libopus", rate=48000))
    assert check_clip(path, Limits(seconds=20)).has_audio
    monkeypatch.setattr(module, "probe", lambda path: pytest.fail("it was decoded"))
    assert refused(path, seconds=10) == "the sound of radio.mkv lasts more than 10 seconds; cut it"
    monkeypatch.setattr(module, "MOST_SOUND_PACKETS", 10)
    assert "the sound of radio.mkv lasts more than 20" in refused(path, seconds=20)


@pytest.mark.parametrize("content", [b"just some words " * 100, b"#EXTM3U\n#EXTINF:1,\nother.mp4\n", b""])
def test_what_is_no_video_is_refused(content, tmp_path):
    make_video(tmp_path / "other.mp4", 1.0)
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert "not a video" in refused(path) or not content and "empty" in refused(path)


def test_a_large_picture_is_refused_before_it_is_decoded(video, monkeypatch):
    monkeypatch.setattr(module, "probe", lambda path: pytest.fail("it was decoded"))
    assert "pixels" in refused(video, width=64, height=64)


def test_a_file_that_is_cut_short_or_has_no_pictures(tmp_path, video):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[:2000])
    assert "cut" in refused(cut)
    assert "has sound but no video" in refused(write_media(tmp_path / "sound.mp4", SoundTrack()))


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "ts", "flv"])
def test_every_kind_of_container_that_is_named_is_taken(suffix, tmp_path):
    path = make_video(tmp_path / f"clip.{suffix}", 1.0, sound=False)
    assert check_clip(path, Limits()).width == 96


def test_the_webm_of_a_browser_is_taken(tmp_path):
    path = write_media(tmp_path / "webcam.webm", VideoTrack(codec="libvpx"), SoundTrack(codec="libopus", rate=48000))
    assert check_clip(path, Limits()).has_audio


@pytest.mark.skipif(os.name != "posix", reason="has no such signals")
@pytest.mark.parametrize("step", ["measured_packets", "probe"])
def test_a_clip_that_crashes_what_reads_it_is_refused(step, video, monkeypatch):
    if step == "measured_packets":
        monkeypatch.setattr(module, "measured_packets", planted.crash)
    else:
        monkeypatch.setattr(contained_media, "_probe", planted.crash)
    assert refused(video) == (
        "clip.mp4: reading it crashed (SIGSEGV): it is damaged, or FFmpeg is at fault; "
        "convert it with another program and try again"
    )
