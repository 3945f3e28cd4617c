import tempfile
from collections.abc import Iterator
from copy import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from file_server import serving
from made_media import make_video
from PIL import Image
from small_model import small_config
from transformers import pipeline

from ccformer_hf import CCFormerForAudioVisualSegmentation
from ccformer_hf.inference.segmenting import iter_segments
from ccformer_hf.model import download_ccformer
from ccformer_hf.model.feature_extraction_ccformer import CCFormerFeatureExtractor
from ccformer_hf.model.media_ccformer import MediaError, read_clip

TASK = "audio-visual-segmentation"


@pytest.fixture(scope="module")
def segmenter(folder):
    return pipeline(TASK, model=str(folder), device="cpu")


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("videos") / "long.mp4", 9.0)


def test_records_say_what_iter_segments_says(segmenter, loaded, long_video, threshold):
    options = {"fps": 2, "threshold": threshold, "window": 7, "overlap": 3}
    records = segmenter(str(long_video), **options)
    frames = list(iter_segments(long_video, *loaded, **options))
    assert len(records) == 18 and sum(len(record["sounding"]) for record in records) >= 18
    for record, frame in zip(records, frames, strict=True):
        assert set(record) == {"index", "time", "start", "end", "has_audio", "unseen", "sounding"}
        for name in set(record) - {"sounding"}:
            assert record[name] == getattr(frame, name)
        assert {entry["id"]: entry["score"] for entry in record["sounding"]} == frame.scores
        for entry in record["sounding"]:
            mask = np.asarray(entry["mask"])
            assert set(entry) == {"label", "id", "score", "area", "mask"}
            assert entry["mask"].mode == "L" and np.array_equal(mask, (frame.class_map == entry["id"]) * np.uint8(255))
            assert entry["area"] == pytest.approx((mask > 0).mean())


def test_several_clips_in_batches_come_out_as_one_by_one(segmenter, video, long_video, threshold):
    clips = [str(video), long_video, {"images": np.zeros((1, 40, 56, 3), np.uint8)}]
    options = {"threshold": threshold, "window": 5, "overlap": 1}
    one_by_one = [segmenter(clip, **options) for clip in clips]
    assert [len(records) for records in one_by_one] == [4, 9, 1]
    in_batches = segmenter(clips, batch_size=3, **options)
    generated = segmenter((clip for clip in clips), **options)
    assert not isinstance(generated, list)
    for several in (in_batches, list(generated), list(segmenter(_Clips(clips), batch_size=2, **options))):
        for records, alone in zip(several, one_by_one, strict=True):
            for record, expected in zip(records, alone, strict=True):
                assert roughly(record) == roughly(expected)


def test_a_model_that_hears_sooner_and_later_sounds_hears_them_here_too(loaded, video, long_video):
    """Of files and arrays, in a batch each clip by itself; behind a shorter window the examples are padded."""
    model, processor = loaded
    hears_more = copy(processor)
    hears_more.feature_extractor = CCFormerFeatureExtractor(sound_shifts=[-0.5, 0.5])
    shapes = []
    torch.manual_seed(0)
    model = CCFormerForAudioVisualSegmentation(small_config(use_audio_classifier=True, num_labels=4)).eval()
    model.model.audio_classifier[-1].weight.data.normal_(std=5)
    given = pipeline("audio-visual-segmentation", model=model, processor=hears_more)
    model.register_forward_pre_hook(
        lambda _, args, inputs: shapes.append(tuple(inputs["input_features"].shape[:3])), with_kwargs=True
    )
    images = {"images": np.zeros((2, 40, 56, 3), np.uint8), "timestamps": [0.5, 0.625]}
    given([long_video, images], fps=4, window=36, batch_size=2)
    assert shapes.pop() == (2, 36, 3)
    clip = read_clip(video, 1)
    arrays = {"images": clip.frames, "audio": clip.waveform, "sampling_rate": clip.sampling_rate}
    of_file, of_arrays = given(video, threshold=0.1), given(arrays, threshold=0.1)
    assert shapes == [(1, 4, 3)] * 2
    found = model(**hears_more(video)).class_queries_logits
    assert not torch.allclose(found, model(**processor(video)).class_queries_logits, atol=1e-3)
    assert [roughly(record) for record in of_file][:3] == [roughly(record) for record in of_arrays][:3]


class _Clips(torch.utils.data.Dataset):
    def __init__(self, clips: list):
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int):
        return self.clips[index]


def roughly(record: dict) -> dict:
    """Without what the last bit of a sum can change, as it may in a batch: on which side of a border a pixel lies."""
    sounding = [(entry["label"], round(entry["score"], 3), round(entry["area"], 2)) for entry in record["sounding"]]
    return {**record, "unseen": record["unseen"] and round(record["unseen"], 3), "sounding": sounding}


def test_sound_and_pictures_may_have_any_form_of_the_processor(segmenter, video):
    clip = read_clip(video)
    whole = np.rint(clip.waveform * 32768).astype(np.int16)
    sound = {"array": whole / np.float32(32768), "sampling_rate": clip.sampling_rate}
    given = {"images": torch.from_numpy(clip.frames).permute(0, 3, 1, 2) / 255, "audio": sound}
    expected = {"images": clip.frames, "audio": whole, "sampling_rate": clip.sampling_rate}
    assert segmenter(given) == segmenter(expected)
    assert len(segmenter({"images": Image.fromarray(clip.frames[0]), "audio": (whole, 16000)})) == 1


def test_arrays_are_segmented_like_the_video_they_are_of(segmenter, video, threshold):
    clip = read_clip(video)
    arrays = {"images": clip.frames, "audio": clip.waveform, "sampling_rate": clip.sampling_rate}
    expected = [roughly(record) for record in segmenter(video, threshold=threshold)]
    assert [roughly(record) for record in segmenter(arrays, threshold=threshold)] == expected
    pictures = {**arrays, "images": [Image.fromarray(frame) for frame in clip.frames], "timestamps": clip.timestamps}
    assert [roughly(record) for record in segmenter(pictures, threshold=threshold)] == expected


def test_times_and_sizes_of_arrays(segmenter):
    images = [np.zeros((height, 64, 3), np.uint8) for height in (32, 48, 40)]
    records = segmenter({"images": images}, fps=2, threshold=0.0)
    assert [record["start"] for record in records] == [0, 0.5, 1]
    assert [record["end"] for record in records] == [0.5, 1, 1.5]
    assert [record["time"] for record in records] == pytest.approx([0.46875, 0.96875, 1.46875])
    assert [record["sounding"][0]["mask"].size for record in records] == [(64, 32), (64, 48), (64, 40)]
    assert not any(record["has_audio"] for record in records)
    records = segmenter({"images": images, "timestamps": [0.0, 1.0, 2.0]}, fps=1)
    assert [record["time"] for record in records] == [0, 1, 2]
    assert [record["start"] for record in records] == [0, 1 / 16, 17 / 16]
    assert [record["end"] for record in records] == [1 / 16, 17 / 16, 33 / 16]


def test_arrays_whose_rate_is_assumed(segmenter):
    clip = {"images": np.zeros((30, 8, 8, 3), np.uint8), "audio": np.zeros(16000, np.float32), "sampling_rate": 16000}
    with pytest.raises(ValueError, match="30 frames at 1 per second, which is assumed.* give fps=30 if"):
        segmenter(clip)
    assert len(segmenter(clip, fps=30, window=30)) == 30
    assert len(segmenter({**clip, "timestamps": np.arange(30)}, window=30)) == 30


def test_a_pipeline_in_half_precision(folder, video):
    segmenter = pipeline(TASK, model=str(folder), device="cpu", dtype=torch.bfloat16)
    assert segmenter.dtype == torch.bfloat16
    assert len(segmenter(video)) == 4


def test_a_saved_pipeline_is_a_model_folder(segmenter, folder, tmp_path):
    segmenter.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {path.name for path in folder.iterdir()}


def test_what_cannot_be_used_is_told(segmenter, video):
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    for clip, told in [
        (3, "a clip is a int; expected the path or address"),
        ({"audio": None}, "a clip has no images, but audio; expected images"),
        ({}, "no images, but nothing at all; expected"),
        (
            {"images": picture, "sampling_rat": 8000},
            r"cannot have 'sampling_rat' \(did you mean 'sampling_rate'\?\); ex",
        ),
        ({"images": picture, "timestamps": [float("nan")]}, r"timestamps are \[nan\]; expected the time"),
        ({"images": str(video)}, "give the path of a video itself"),
        ({"images": picture[:0]}, "holds no frame"),
        ({"images": picture[None]}, "expected .height, width, 3."),
        ({"images": picture, "timestamps": [0.0, 1.0]}, "clip of 1 frames"),
        ("nowhere.mp4", "no such file"),
    ]:
        with pytest.raises(ValueError, match=told):
            segmenter(clip)
    for options, told in [
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": "most"}, "fps is 'most', expected a number"),
        ({"window": 2}, "window is 2 and overlap 2"),
    ]:
        with pytest.raises(ValueError, match=told):
            segmenter(str(video), **options)
    with pytest.raises(TypeError, match="thresold"):
        segmenter(str(video), thresold=0.5)


@pytest.fixture
def address(video, tmp_path, monkeypatch) -> Iterator[str]:
    """Of a server that has `video`, and some files it does not give as it should; downloads go to `tmp_path`."""

    content = Path(video).read_bytes()
    files = {"/clip.mp4": content, "/short.mp4": content[:1000], "/text.mp4": b"x" * len(content)}
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with serving(files, {"/short.mp4": len(content)}) as address:
        yield address
    assert list(tmp_path.iterdir()) == []


def test_a_video_behind_an_address(segmenter, address, video, threshold):
    assert segmenter(f"{address}/clip.mp4", threshold=threshold) == segmenter(str(video), threshold=threshold)


def test_an_address_that_fails_is_told(segmenter, address, monkeypatch):
    for name, told in [
        ("missing.mp4", "the server answers 404 Not Found; check the address"),
        ("short.mp4", r"the download stopped after 1000 of \d+ bytes"),
        ("text.mp4", "is not a video or sound file"),
        ("slow", "cannot be fetched .*timed out"),
    ]:
        with pytest.raises(MediaError, match=f"^{address}/{name}: {told}"):
            segmenter(f"{address}/{name}", timeout=0.5)
    with pytest.raises(MediaError, match="cannot be fetched .*refused"):
        segmenter("http://127.0.0.1:9/clip.mp4")
    monkeypatch.setattr(download_ccformer, "LARGEST_DOWNLOAD", 1000)
    with pytest.raises(MediaError, match="is larger than"):
        segmenter(f"{address}/clip.mp4")
