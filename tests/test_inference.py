import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_media import SoundTrack, VideoTrack, write_media
from PIL import Image
from scipy import ndimage
from transformers.utils import logging

from ccformer_hf import (
    AudioVisualProcessor,
    CCFormerConfig,
    CCFormerForAudioVisualSegmentation,
    CCFormerImageProcessor,
)
from ccformer_hf import inference as module
from ccformer_hf.inference import FORMATS, iter_segments, load, segment_video, trained_on
from ccformer_hf.media_ccformer import MediaError, iter_frames, probe
from ccformer_hf.visualize import PALETTE

MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"
SIZE = (96, 64)  # width, height of the made videos


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


def save_small_model(folder: Path) -> Path:
    """Random weights, smaller than the tiny model, three classes."""
    torch.manual_seed(0)
    backbone = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    config = CCFormerConfig(
        backbone_config={"model_type": "resnet", **backbone},
        audio_hidden_sizes=(4, 4, 8, 8),
        audio_fc_size=16,
        audio_embed_size=16,
        hidden_size=16,
        num_heads=2,
        feed_forward_size=16,
        pixel_decoder_layers=1,
        decoder_layers=2,
        num_queries=4,
        num_video_queries=2,
        contrastive_weight=0,
        initializer_range=0.3,  # so that the maps vary
        id2label={0: "background", 1: "bell", 2: "dog", 3: "drum"},
    )
    logging.disable_progress_bar()
    CCFormerForAudioVisualSegmentation(config).save_pretrained(folder)
    AudioVisualProcessor(CCFormerImageProcessor(size={"height": 64, "width": 64})).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def loaded(folder):
    return load(folder, "cpu")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("videos") / "clip.mp4", 4.0)


@pytest.fixture(scope="module")
def threshold(loaded, video):
    """At which half of the pixels of `video` sound, so that there is something to see."""
    model, processor = loaded
    with torch.inference_mode():
        scores = processor.post_process_scores(model(**processor(str(video))))[0]
    return round(1 - scores[:, 0].median().item(), 4)


@pytest.fixture(scope="module")
def result(loaded, video, threshold, tmp_path_factory):
    return segment_video(video, tmp_path_factory.mktemp("out") / "deep" / "er", loaded, threshold=threshold)


def segments_of(path, loaded, **options):
    return list(iter_segments(path, *loaded, **options))


def test_one_window_is_one_pass_of_processor_and_model(loaded, video, threshold):
    model, processor = loaded
    segments = segments_of(video, loaded, threshold=threshold)
    with torch.inference_mode():
        outputs = model(**processor(str(video)))
    maps = processor.post_process_semantic_segmentation(outputs, [SIZE[::-1]], threshold)[0].numpy()
    probabilities = processor.post_process_scores(outputs, [SIZE[::-1]])[0].numpy()
    assert len(segments) == len(maps) == 4
    assert 0.2 < (maps > 0).mean() < 0.8
    for index, frame in enumerate(segments):
        assert frame.class_map.dtype == np.uint8
        assert (frame.class_map != maps[index]).mean() < 0.001  # rounding of log and softmax on the border
        for name, score in frame.scores.items():
            class_id = list(model.config.id2label.values()).index(name)
            assert abs(score - probabilities[index, class_id][maps[index] == class_id].mean()) < 1e-3
        assert set(frame.scores) == {model.config.id2label[i] for i in np.unique(frame.class_map).tolist() if i}
        assert list(frame.scores.values()) == sorted(frame.scores.values(), reverse=True)


def test_times_and_steps_cover_the_clip(loaded, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 3.6)
    segments = segments_of(path, loaded)
    assert [frame.index for frame in segments] == [0, 1, 2, 3]
    assert [frame.time for frame in segments] == pytest.approx([0.9375, 1.9375, 2.9375, 3.6])
    assert [frame.start for frame in segments] == [0, 1, 2, 3]
    assert [frame.end for frame in segments] == pytest.approx([1, 2, 3, 3.6])
    assert all(frame.has_sound for frame in segments)
    segments = segments_of(path, loaded, fps=2.5)
    assert len(segments) == 9
    assert segments[1].start == segments[0].end == 0.4
    assert segments[-1].end == pytest.approx(3.6)


@pytest.fixture
def told(monkeypatch, loaded):
    """Replaces the forward pass: window n says n everywhere as the probability of class 1; collects the windows."""
    windows = []

    def forward(model, looks):
        windows.append([int(look["pixel_values"].shape[1]) for look in looks])
        probabilities = torch.zeros(len(looks), 4, 2, 2)
        probabilities[:, 1] = len(windows) / 10
        probabilities[:, 0] = 1 - len(windows) / 10
        return probabilities

    monkeypatch.setattr(module, "_forward", forward)
    return windows


def test_windows_fade_into_each_other(told, loaded, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 10.0, fps=2)
    # Frames 0-5, 4-9.
    scores = [frame.scores["bell"] for frame in segments_of(path, loaded, threshold=0.0, window=6, overlap=2)]
    assert [len(window) for window in told] == [6, 6]
    assert scores == pytest.approx([0.1] * 4 + [0.1 + 0.1 / 3, 0.1 + 0.2 / 3] + [0.2] * 4)


def test_the_last_window_is_full_too(told, loaded, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 9.0, fps=2)
    # Frames 0-3, 3-6, 5-8: the last one shares two.
    scores = [frame.scores["bell"] for frame in segments_of(path, loaded, threshold=0.0, window=4, overlap=1)]
    assert [len(window) for window in told] == [4, 4, 4]
    assert scores == pytest.approx([0.1] * 3 + [0.15, 0.2] + [0.2 + 0.1 / 3, 0.2 + 0.2 / 3, 0.3, 0.3])


def test_windows_of_one_frame(told, loaded, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 3.0, fps=2)
    segments = segments_of(path, loaded, threshold=0.0, window=1, overlap=0)
    assert [frame.scores["bell"] for frame in segments] == pytest.approx([0.1, 0.2, 0.3])


def test_only_one_window_is_read_ahead(monkeypatch, told, loaded, video):
    read = []

    def frames(info, fps):
        for index in range(4):
            read.append(index)
            yield np.zeros((64, 96, 3), dtype=np.uint8)

    monkeypatch.setattr(module, "_frames", frames)
    segments = iter_segments(video, *loaded, window=2, overlap=0)
    next(segments)
    assert read == [0, 1]


def test_video_without_sound(loaded, tmp_path):
    path = make_video(tmp_path / "mute.mp4", 2.0, sound=False)
    assert [frame.has_sound for frame in segments_of(path, loaded)] == [False, False]
    result = segment_video(path, tmp_path / "out", loaded, threshold=0.0)
    assert result.segments["has_sound"] is False and result.segments["source"]["has_audio"] is False
    assert json.loads(result.json.read_text())["has_sound"] is False
    assert not probe(result.video).has_audio
    assert result.sheet.exists()


def test_bad_numbers_and_files_are_told_at_once(loaded, video, tmp_path):
    with pytest.raises(ValueError, match="fps is 0"):
        iter_segments(video, *loaded, fps=0)
    with pytest.raises(ValueError, match="threshold is 1.5"):
        iter_segments(video, *loaded, threshold=1.5)
    with pytest.raises(ValueError, match="window is 4 and overlap 4"):
        iter_segments(video, *loaded, window=4, overlap=4)
    with pytest.raises(ValueError, match="window is 0"):
        iter_segments(video, *loaded, window=0, overlap=0)
    with pytest.raises(MediaError, match="no such file"):
        iter_segments(tmp_path / "nope.mp4", *loaded)
    with pytest.raises(ValueError, match="formats is"):
        segment_video(video, tmp_path / "out", loaded, formats=["gif"])
    assert not (tmp_path / "out").exists()


def test_the_four_outputs(result, video, loaded, threshold):
    assert result.folder.name == "clip"
    assert sorted(item.name for item in result.folder.iterdir()) == sorted(FORMATS.values())
    made, source = probe(result.video), probe(video)
    assert (made.width, made.height) == SIZE
    assert abs(made.duration - source.duration) <= 1 / source.fps
    assert made.has_audio and made.audio_rate == 16000
    assert len(list(iter_frames(result.video))) == 40
    segments = segments_of(video, loaded, threshold=threshold)
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

    monkeypatch.setattr(module, "_segments", alternating)
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


def test_load_says_what_is_wrong(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such model folder"):
        load(tmp_path / "nope")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        load(tmp_path / "empty")
    for name in ("config.json", "processor_config.json", "model.safetensors"):
        (tmp_path / "empty" / name).write_bytes((folder / name).read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "empty" / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(ValueError, match="of type 'bert'"):
        load(tmp_path / "empty")
    with pytest.raises(ValueError, match="device is 'toaster'"):
        load(folder, "toaster")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_no_gpu(folder):
    with pytest.raises(ValueError, match="0 CUDA GPUs"):
        load(folder, "cuda")


def test_trained_on(folder, loaded):
    assert trained_on(loaded[0]) is None
    card = folder / "checkpoint.json"
    card.write_text(json.dumps({"trained_on": "made-up clips"}))
    try:
        assert trained_on(loaded[0]) == "made-up clips"
    finally:
        card.unlink()


@pytest.mark.parametrize("alignment", ["frame", "avsbench"])
def test_sound_of_each_frame_follows_the_processors_rule(loaded, video, alignment):
    model, processor = loaded
    extractor = type(processor.feature_extractor)(alignment=alignment)
    processor = AudioVisualProcessor(processor.image_processor, extractor)
    info = probe(video)
    looks = list(module._processed(info, module._frames(info, 1.0), processor, module._frame_times(info, 1.0)))
    whole = processor(str(video))
    for name in ("pixel_values", "input_features", "audio_mask", "frame_mask"):
        assert torch.allclose(torch.cat([look[name] for look in looks], dim=1).float(), whole[name].float(), atol=1e-4)


@pytest.mark.skipif(not MEDIA.exists(), reason="needs the shared media")
@pytest.mark.parametrize("name", ["friday.mp4", "nasa_13013.mp4", "vas_dog_02677.mp4"])
def test_real_videos(loaded, tmp_path, name):
    result = segment_video(MEDIA / name, tmp_path, loaded, formats=["video", "json", "masks"])
    made, source = probe(result.video), probe(MEDIA / name)
    assert abs(made.duration - source.duration) <= 1 / source.fps
    assert (made.width, made.height) == (source.width, source.height)
    assert (made.audio_rate, made.audio_channels) == (source.audio_rate, source.audio_channels)
    with Image.open(result.masks / "000000.png") as image:
        assert image.size == (source.width, source.height)
    assert replace(made, path="", duration=0, fps=0) == replace(source, path="", duration=0, fps=0, rotation=0)
