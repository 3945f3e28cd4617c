from dataclasses import replace

import numpy as np
import planted
import pytest
from made_media import SoundTrack, make_video, write_media

from ccformer_hf.inference import contained_media
from ccformer_hf.model import media_ccformer
from ccformer_hf.model.media_ccformer import MediaError, MediaWarning, SoundReader

TIMES = [0.0, 0.34, 0.34, 2.0, 9.0]


def test_everything_is_as_in_one_process(video, monkeypatch):
    info = media_ccformer.probe(video)
    shown = list(media_ccformer.iter_frames_at(video, TIMES))
    colours, yuv_frames = media_ccformer.iter_yuv_frames(video)
    yuv_frames = list(yuv_frames)
    times = {fps: media_ccformer.sampled_frames(info, fps).times for fps in (1.0, "all")}
    with SoundReader(video, 16000) as sound:
        sounds = [sound.read(start, 1000) for start in TIMES[1:]]
    # From here on nothing is read here.
    monkeypatch.setattr(media_ccformer, "open_media", lambda path: pytest.fail("the file was opened here"))
    assert contained_media.probe(video) == info
    same_colours, same_frames = contained_media.iter_yuv_frames(video)
    assert same_colours == colours == (2, 2, 2)
    for (time, picture), (same, expected) in zip(same_frames, yuv_frames, strict=True):
        assert time == same and (picture == expected).all()
    for picture, expected in zip(contained_media.iter_frames_at(video, TIMES), shown, strict=True):
        assert (picture == expected).all()
    for fps, expected in times.items():
        assert contained_media.sampled_frames(info, fps).times.tolist() == expected.tolist()
    for samples, expected in zip(contained_media.iter_sounds(video, TIMES[1:], 1000, 16000), sounds, strict=True):
        assert samples.dtype == np.float32 and (samples == expected).all()


def test_errors_and_warnings_come_over(tmp_path):
    with pytest.raises(MediaError, match="^nowhere.mp4: there is no such file; check the name$"):
        contained_media.probe("nowhere.mp4")
    with pytest.raises(MediaError, match="silent.mp4: has no sound track"):
        next(contained_media.run_isolated(planted.only_sound, make_video(tmp_path / "silent.mp4", 0.5, sound=False)))
    with pytest.warns(MediaWarning, match="^clip.mp4: is odd$") as told:
        assert [value for value, _ in contained_media.run_isolated(planted.warned, "clip.mp4")] == [1, 2]
    assert len(told) == 2


@pytest.mark.parametrize("value", [None, {}, {"path": 1}, "width"])
def test_what_a_file_is_said_to_hold_is_checked(video, monkeypatch, value):
    info = vars(media_ccformer.probe(video))
    answer = {**info, "width": "96"} if value == "width" else value
    monkeypatch.setattr(contained_media, "run_isolated", lambda *_: iter([(answer, [])]))
    with pytest.raises(MediaError, match="clip.mp4: reading it gave something else"):
        contained_media.probe(video)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_pictures_and_sounds_are_checked(video, monkeypatch, array):
    info = replace(media_ccformer.probe(video), fps=1.0)
    monkeypatch.setattr(contained_media, "run_isolated", lambda *_, **__: iter([(0.0, [array])]))
    with pytest.raises(MediaError, match="gave something else"):
        next(contained_media.iter_frames_at(video, [0.0]))
    for first in (0.0, [1, 1], [1, 1, "1"], [1, 1, 300], [2, 2, 2]):
        monkeypatch.setattr(contained_media, "run_isolated", lambda *_, first=first: iter([(first, []), (0, [array])]))
        with pytest.raises(MediaError, match="gave something else"):
            next(contained_media.iter_yuv_frames(video)[1])
    monkeypatch.setattr(contained_media, "run_isolated", lambda *_: iter([(0.0, [array])]))
    with pytest.raises(MediaError, match="gave something else"):
        contained_media.sampled_frames(info, "all")
    with pytest.warns(MediaWarning, match="gave something else"):
        assert list(contained_media.iter_sounds(video, [0.0], 1000, 16000)) == [None]


def test_watched_frames_are_small_and_whole_where_asked_for(tmp_path):
    path = make_video(tmp_path / "clip.mp4", 1.0)  # 96 x 64, 10 frames
    frames = list(contained_media.iter_watched_frames(path, [0.05, 0.31, 0.39, 5.0], 48, every=True))
    assert [count for _, _, count, _ in frames] == [1, 0, 0, 2, 0, 0, 0, 0, 0, 1]
    assert [round(10 * time) for time, _, _, _ in frames] == list(range(10))
    assert {small.shape for _, small, _, _ in frames} == {(32, 48, 3)}
    whole = [picture for _, _, _, picture in frames if picture is not None]
    at = list(contained_media.iter_frames_at(path, [0.05, 0.31, 5.0]))
    assert len(whole) == 3 and all((one == other).all() for one, other in zip(whole, at, strict=True))
    asked = list(contained_media.iter_watched_frames(path, [0.05, 0.31, 0.39, 5.0], 48, every=False))
    assert [count for _, _, count, _ in asked] == [1, 2, 1] and (asked[1][1] == frames[3][1]).all()


def test_loudness_of_equal_parts_is_read_in_blocks(tmp_path, monkeypatch):
    waveform = np.repeat([0.0, 0.25, 0.5, 0.125], 8000).astype(np.float32)
    path = write_media(tmp_path / "steps.mkv", SoundTrack(waveform=waveform, codec="pcm_f32le"))
    found = contained_media.loudness(path, 40, 0.05)
    assert found == pytest.approx(np.repeat([0.0, 0.25, 0.5, 0.125], 10), abs=0.01)
    fine = contained_media.loudness(path, 1200, 2 / 1200)  # 26 and two thirds samples each
    for step, value in enumerate([0.0, 0.25, 0.5, 0.125]):
        assert fine[300 * step + 2 : 300 * step + 298] == pytest.approx(value, abs=0.01)
    blocks = []
    read = contained_media.iter_sounds
    monkeypatch.setattr(contained_media, "iter_sounds", lambda *given: (blocks.append(b) or b for b in read(*given)))
    monkeypatch.setattr(contained_media, "LOUDNESS_SAMPLES", 5600)  # seven parts
    assert contained_media.loudness(path, 40, 0.05) == pytest.approx(found, abs=0.01) and len(blocks) == 6
