import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_media import SIZE, SoundTrack, VideoTrack, make_video, write_media
from PIL import Image
from scipy import ndimage

from ccformer_hf import segmentation as module
from ccformer_hf.inference import iter_segments
from ccformer_hf.media_ccformer import iter_frames, probe
from ccformer_hf.segmentation import FORMATS, segment_video
from ccformer_hf.visualize import PALETTE

MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"


@pytest.fixture(scope="module")
def result(loaded, video, threshold, tmp_path_factory):
    return segment_video(video, tmp_path_factory.mktemp("out") / "deep" / "er", loaded, threshold=threshold)


def test_the_four_outputs(result, video, loaded, threshold):
    assert result.folder.name == "clip"
    assert sorted(item.name for item in result.folder.iterdir()) == sorted(FORMATS.values())
    made, source = probe(result.video), probe(video)
    assert (made.width, made.height) == SIZE
    assert abs(made.duration - source.duration) <= 1 / source.fps
    assert made.has_audio and made.audio_rate == 16000
    assert len(list(iter_frames(result.video))) == 40
    segments = list(iter_segments(video, *loaded, threshold=threshold))
    files = sorted(result.masks.iterdir())
    assert [file.name for file in files] == [f"{i:06d}.png" for i in range(4)]
    for frame, file in zip(segments, files, strict=True):
        with Image.open(file) as image:
            assert image.mode == "P"
            assert (np.array(image) == frame.class_map).all()
            assert np.array(image.getpalette()).reshape(-1, 3)[3].tolist() == PALETTE[3].tolist()
    with Image.open(result.sheet) as sheet:
        assert sheet.width == 1400 and sheet.height > 400


def test_json_says_what_the_masks_show(result, video, threshold):
    segments = json.loads(result.json.read_text())
    assert segments == result.segments
    assert set(segments) == {"model", "source", "fps", "threshold", "has_sound", "classes", "frames"}
    assert segments["model"] == {"name": "small", "trained_on": None}
    source = segments["source"]
    assert (source["file"], source["width"], source["height"], source["fps"]) == ("clip.mp4", 96, 64, 10)
    assert source["duration"] == pytest.approx(4.0, abs=0.03) and source["has_audio"] is True
    assert segments["threshold"] == threshold
    assert segments["classes"] == {"0": "background", "1": "bell", "2": "dog", "3": "drum"}
    assert [frame["index"] for frame in segments["frames"]] == [0, 1, 2, 3]
    boxes = 0
    for frame in segments["frames"]:
        assert set(frame) == {"index", "time", "start", "end", "sounding"}
        ids = np.array(Image.open(result.masks / f"{frame['index']:06d}.png"))
        assert {entry["id"] for entry in frame["sounding"]} == set(np.unique(ids).tolist()) - {0}
        for entry in frame["sounding"]:
            assert set(entry) == {"class", "id", "score", "area", "boxes"}
            mask = ids == entry["id"]
            assert segments["classes"][str(entry["id"])] == entry["class"]
            assert entry["area"] == pytest.approx(mask.mean(), abs=1e-6)
            assert 0 < entry["score"] <= 1
            for x0, y0, x1, y1 in entry["boxes"]:
                assert mask[y0:y1, [x0, x1 - 1]].any(axis=0).all() and mask[[y0, y1 - 1], x0:x1].any(axis=1).all()
                boxes += 1
            covered = np.zeros_like(mask)
            for x0, y0, x1, y1 in entry["boxes"]:
                covered[y0:y1, x0:x1] = True
            assert (mask & ~covered).mean() < 0.01  # specks only
    assert boxes > 0


def test_every_frame_gets_its_own_mask(loaded, tmp_path):
    times = [0, 0.1, 0.15, 0.5, 1.2]
    path = write_media(tmp_path / "clip.mkv", VideoTrack(size=SIZE, times=times), SoundTrack(seconds=2))
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        read = module._read_mask
        patch.setattr(module, "_read_mask", lambda masks, index: shown.append(index) or read(masks, index))
        made = segment_video(path, tmp_path / "out", loaded, fps="all", formats=("video", "json"))
    assert shown == [0, 1, 2, 3, 4]
    assert made.segments["fps"] == pytest.approx(probe(path).fps)
    assert [time for time, _ in iter_frames(made.video)] == pytest.approx(times, abs=0.002)


def test_boxes_by_hand():
    mask = np.zeros((100, 100), dtype=bool)
    mask[10:20, 30:35] = True
    mask[50:80, 50:90] = True
    mask[0, 0] = mask[99, 99] = mask[0, 99] = True
    mask[98:, :2] = True  # 4 pixels: 0.04 %
    mask[90, 10:16] = True
    assert module._boxes(mask) == [[50, 50, 90, 80], [30, 10, 35, 20], [10, 90, 16, 91]]
    many = np.zeros((100, 100), dtype=bool)
    many[::10, 0:8] = many[::10, 20:28] = many[::10, 40:48] = True
    assert ndimage.label(many)[1] == 30
    assert len(module._boxes(many)) == 20


def test_the_overlay_shows_the_mask_of_its_second(loaded, video, tmp_path, monkeypatch):
    def alternating(info, frames, *_):
        for index, _frame in enumerate(frames):
            class_map = np.zeros((64, 96), dtype=np.uint8)
            class_map[:, 48 * (index % 2) : 48 * (index % 2) + 48] = 3
            scores = {"drum": 0.9}
            yield module.FrameSegmentation(index, index + 0.9375, index, index + 1.0, class_map, scores, True)

    monkeypatch.setattr(module, "segment_frames", alternating)
    result = segment_video(video, tmp_path, loaded, formats=["video"])
    for (time, before), (same, after) in zip(iter_frames(video), iter_frames(result.video), strict=True):
        assert same == pytest.approx(time, abs=0.001)
        change = np.abs(after.astype(int) - before)[20:].mean(axis=(0, 2))
        left, right = change[4:44].mean(), change[52:92].mean()
        assert (left > 5 * right) if int(time + 1e-6) % 2 == 0 else (right > 5 * left)


def test_formats_and_a_second_run_replaces_the_first(loaded, video, tmp_path):
    first = segment_video(video, tmp_path, loaded, formats=["json", "masks"], threshold=0.0)
    assert sorted(os.listdir(first.folder)) == ["masks", "segments.json"]
    assert first.video is None and first.sheet is None
    second = segment_video(video, tmp_path, loaded, formats=["sheet"])
    assert os.listdir(second.folder) == ["contact_sheet.png"]
    assert os.listdir(tmp_path) == ["clip"]


@pytest.mark.parametrize("broken", ["_save_mask", "_write_video", "_sheet"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_nothing_half_written(monkeypatch, loaded, video, tmp_path, broken, error):
    def fail(*_):
        raise error

    earlier = segment_video(video, tmp_path / "earlier", loaded, formats=["json"])
    content = earlier.json.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(module, broken, fail)
        segment_video(video, tmp_path / "new" / "deep", loaded)
    assert not (tmp_path / "new").exists()
    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(module, broken, fail)
        segment_video(video, tmp_path / "earlier", loaded)
    assert os.listdir(tmp_path / "earlier") == ["clip"]
    assert os.listdir(earlier.folder) == ["segments.json"] and earlier.json.read_bytes() == content


def test_only_an_earlier_result_is_replaced(loaded, video, tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "diary.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is no earlier result"):
        segment_video(video, tmp_path, loaded)
    assert (tmp_path / "clip" / "diary.txt").read_text() == "mine"
    inside = make_video(tmp_path / "overlay.mp4", 0.5)
    (tmp_path / "overlay").mkdir()
    inside = inside.rename(tmp_path / "overlay" / "overlay.mp4")
    with pytest.raises(FileExistsError, match="lies in"):
        segment_video(inside, tmp_path, loaded)
    assert inside.exists()


def test_an_output_folder_that_cannot_be(loaded, video, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written to"):
        segment_video(video, tmp_path / "file", loaded)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not MEDIA.exists(), reason="needs the shared media")
@pytest.mark.parametrize("name", ["friday.mp4", "nasa_13013.mp4", "s4_p04SYXuBSQ_dog.mp4"])
def test_real_videos(loaded, tmp_path, name):
    result = segment_video(MEDIA / name, tmp_path, loaded, formats=["video", "json", "masks"])
    made, source = probe(result.video), probe(MEDIA / name)
    assert abs(made.duration - source.duration) <= 1 / source.fps
    assert (made.width, made.height) == (source.width, source.height)
    assert (made.audio_rate, made.audio_channels) == (source.audio_rate, source.audio_channels)
    with Image.open(result.masks / "000000.png") as image:
        assert image.size == (source.width, source.height)
    assert replace(made, path="", duration=0, fps=0) == replace(source, path="", duration=0, fps=0, rotation=0)


def test_an_unknown_format_is_refused(loaded, video, tmp_path):
    with pytest.raises(ValueError, match="formats is"):
        segment_video(video, tmp_path / "out", loaded, formats=["gif"])
    assert not (tmp_path / "out").exists()


def test_a_video_without_sound_works_and_is_told(loaded, tmp_path):
    path = make_video(tmp_path / "mute.mp4", 2.0, sound=False)
    result = segment_video(path, tmp_path / "out", loaded, threshold=0.0)
    assert result.segments["has_sound"] is False and result.segments["source"]["has_audio"] is False
    assert json.loads(result.json.read_text())["has_sound"] is False
    assert not probe(result.video).has_audio
    assert result.sheet.exists()
