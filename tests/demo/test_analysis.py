import json
import zipfile

import numpy as np
import pytest
from made_media import make_video
from PIL import Image

from ccformer_hf.demo.analysis import DemoResult, analyse, borrow_sound, predict_clip, take_in
from ccformer_hf.demo.models import DemoModel
from ccformer_hf.inference.segmenting import segment_video
from ccformer_hf.model.media_ccformer import SoundReader, iter_frames, probe


@pytest.fixture(scope="module")
def demo_model(loaded):
    return DemoModel("small", *loaded, trained_on="synthetic clips")


def analysed(demo_model, video, folder, sound="own") -> DemoResult:
    folder.mkdir()
    clip, info = take_in(video, probe(video), folder, 640)
    *steps, result = analyse(
        folder,
        clip,
        info,
        clip if sound == "own" else sound,
        "its own sound",
        demo_model,
        lambda name, info, source, fps: predict_clip(demo_model, info, source, fps),
        1.0,
    )
    assert steps == [0.25, 0.5, 0.75, 1]
    return result


@pytest.fixture(scope="module")
def result(demo_model, video, tmp_path_factory):
    return analysed(demo_model, video, tmp_path_factory.mktemp("results") / "result")


def test_the_results_are_those_of_segment_video(result, demo_model, loaded, video, threshold, tmp_path):
    drawn = result.draw(threshold, 0.5)
    written = segment_video(video, tmp_path, loaded, threshold=threshold, fps=1)
    assert json.loads(drawn.json.read_text()) == drawn.segments
    assert drawn.segments["model"] == {"name": "small", "trained_on": "synthetic clips"}
    assert [f["has_audio"] for f in drawn.segments["frames"]] == [f["has_audio"] for f in written.segments["frames"]]
    apart = {"model": 0, "objects": 0, "frames": 0}
    assert drawn.segments | apart == written.segments | apart
    ids = [
        [(one["id"], one["class_id"]) for one in segments["objects"]]
        for segments in (drawn.segments, written.segments)
    ]
    assert ids[0] == ids[1] and ids[0]
    with zipfile.ZipFile(drawn.masks) as archive:
        assert archive.namelist() == [f"masks/{i:06d}.png" for i in range(4)]
        masks = [np.array(Image.open(archive.open(name))) for name in archive.namelist()]
    expected = [np.array(Image.open(path)) for path in sorted(written.masks.iterdir())]
    assert np.any(expected) and (np.array(masks) != expected).mean(axis=(1, 2)).max() < 0.01  # kept as float16
    made = probe(drawn.video)
    assert (made.width, made.height, made.has_audio) == (96, 64, True)
    pairs = zip(iter_frames(drawn.video), iter_frames(written.video), strict=True)
    assert all(np.abs(ours[1].astype(int) - theirs[1]).mean() < 3 for ours, theirs in pairs)


def test_threshold_and_opacity_act_without_the_model(result, demo_model, threshold, monkeypatch):
    monkeypatch.setattr(type(demo_model.model), "forward", lambda *_, **__: pytest.fail("the model ran again"))

    def area(threshold):
        return sum(e["area"] for f in result.draw(threshold, 0.5).segments["frames"] for e in f["sounding"])

    assert area(0.0) == pytest.approx(4) and area(1.0) == 0
    assert 0 < area(threshold) < 4
    clear, opaque = (next(iter_frames(result.draw(0.0, opacity).video))[1] for opacity in (0.0, 1.0))
    assert np.abs(clear.astype(int) - opaque).mean() > 20


def test_only_the_last_two_drawings_stay(result, demo_model):
    drawn = [result.draw(0.5, 0.5) for _ in range(3)]
    assert not drawn[0].video.exists() and drawn[1].video.exists() and drawn[2].video.exists()
    assert result.drawn is drawn[2]
    assert len(list(result.folder.glob("drawn-*"))) == 2


def test_frames_and_probabilities_of_a_second(result, demo_model):
    assert len(result.samples) == 4
    assert result.frame(3).shape == (64, 96, 3)
    assert np.abs(result.frame(0).astype(int) - result.frame(3)).max() > 100  # the square has moved
    sounding = result.sounding(2)
    assert sounding.dtype == np.float32 and sounding.ndim == 2
    assert 0 <= sounding.min() < sounding.max() <= 1
    assert len(result.loudness) == 32 and result.loudness[:14].max() < result.loudness[-14:].min()


def test_muted_and_under_another_sound(result, demo_model, video, tmp_path):
    other = make_video(tmp_path / "loud.mp4", 2.0)
    sound = tmp_path / "sound.wav"
    borrow_sound(other, 4.0, sound)
    borrowed = analysed(demo_model, video, tmp_path / "other", sound)
    muted = analysed(demo_model, video, tmp_path / "muted", None)
    assert borrowed.info.has_audio and not muted.info.has_audio and muted.loudness is None
    maps = [np.stack([each.sounding(i) for i in range(4)]) for each in (result, borrowed, muted)]
    for one, another in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(maps[one] - maps[another]).max() > 1e-3
    drawn = muted.draw(0.5, 0.5)
    assert not probe(drawn.video).has_audio and drawn.segments["source"]["has_audio"] is False
    assert not any(frame["has_audio"] for frame in drawn.segments["frames"])
    assert probe(borrowed.draw(0.5, 0.5).video).audio_rate == 44100


def test_borrowed_sound_is_the_lenders_and_as_long_as_the_clip(video, tmp_path):
    borrow_sound(video, 6.0, tmp_path / "sound.wav")
    assert probe(tmp_path / "sound.wav", need_video=False).duration == pytest.approx(6.0)
    with SoundReader(video, 16000) as lender, SoundReader(tmp_path / "sound.wav", 16000) as sound:
        wanted, found = lender.read(1.0, 32000), sound.read(1.0, 32000)
        assert np.corrcoef(wanted, found)[0, 1] > 0.98
        assert np.abs(sound.read(4.5, 16000)).max() < 1e-3


def test_a_large_clip_is_scaled_down_and_keeps_its_times_and_sound(tmp_path):
    video = make_video(tmp_path / "large.mkv", 1.0, size=(200, 100))
    folder = tmp_path / "result"
    folder.mkdir()
    clip, info = take_in(video, probe(video), folder, 60)
    assert clip.name == "large.mp4" and (info.width, info.height, info.has_audio) == (60, 30, True)
    assert [time for time, _ in iter_frames(clip)] == pytest.approx([i / 10 for i in range(10)], abs=1e-3)


def test_removed_is_gone(demo_model, video, tmp_path):
    result = analysed(demo_model, video, tmp_path / "result")
    result.draw(0.5, 0.5)
    result.remove()
    assert not result.folder.exists()
