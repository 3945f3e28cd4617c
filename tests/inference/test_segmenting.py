import os

import numpy as np
import planted
import pytest
import torch
from made_media import SIZE, SoundTrack, VideoTrack, make_video, write_media

from ccformer_hf.inference import contained_media
from ccformer_hf.inference import segmenting as module
from ccformer_hf.inference.segmenting import iter_segments
from ccformer_hf.model import sliding_window_ccformer
from ccformer_hf.model.media_ccformer import MediaError


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
        for class_id, score in frame.scores.items():
            assert abs(score - probabilities[index, class_id][maps[index] == class_id].mean()) < 1e-3
        assert set(frame.scores) == set(np.unique(frame.class_map).tolist()) - {0}
        assert list(frame.scores.values()) == sorted(frame.scores.values(), reverse=True)


def test_times_and_steps_cover_the_clip(loaded, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 3.6)
    segments = segments_of(path, loaded)
    assert [frame.index for frame in segments] == [0, 1, 2, 3]
    assert [frame.time for frame in segments] == pytest.approx([0.9375, 1.9375, 2.9375, 3.6])
    assert [frame.start for frame in segments] == [0, 1, 2, 3]
    assert [frame.end for frame in segments] == pytest.approx([1, 2, 3, 3.6])
    assert all(frame.has_audio for frame in segments)
    segments = segments_of(path, loaded, fps=2.5)
    assert len(segments) == 9
    assert segments[1].start == segments[0].end == 0.4
    assert segments[-1].end == pytest.approx(3.6)


@pytest.mark.parametrize("fps", ["all", 500])
def test_every_frame_stands_for_its_own_time(loaded, tmp_path, fps):
    times = [0, 0.1, 0.15, 0.5, 1.2]
    path = write_media(tmp_path / "clip.mkv", VideoTrack(size=SIZE, times=times), SoundTrack(seconds=2))
    segments = segments_of(path, loaded, fps=fps)
    assert [frame.time for frame in segments] == [frame.start for frame in segments] == pytest.approx(times, abs=0.001)
    assert [frame.end for frame in segments] == pytest.approx([*times[1:], 1.3], abs=0.001)


@pytest.fixture
def told(monkeypatch, loaded):
    """Replaces the forward pass: window n says n everywhere as the probability of class 1; collects the windows."""
    windows = []

    def forward(model, inputs):
        windows.append(inputs["pixel_values"].shape[1])
        probabilities = torch.zeros(1, windows[-1], 4, 2, 2)
        probabilities[:, :, 1] = len(windows) / 10
        probabilities[:, :, 0] = 1 - len(windows) / 10
        return probabilities

    monkeypatch.setattr(sliding_window_ccformer, "class_probabilities", forward)
    return windows


def test_windows_fade_into_each_other(told, loaded, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 10.0, fps=2)
    # Frames 0-5, 4-9.
    scores = [frame.scores[1] for frame in segments_of(path, loaded, threshold=0.0, window=6, overlap=2)]
    assert told == [6, 6]
    assert scores == pytest.approx([0.1] * 4 + [0.1 + 0.1 / 3, 0.1 + 0.2 / 3] + [0.2] * 4)


def test_the_last_window_is_full_too(told, loaded, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 9.0, fps=2)
    # Frames 0-3, 3-6, 5-8: the last one shares two.
    scores = [frame.scores[1] for frame in segments_of(path, loaded, threshold=0.0, window=4, overlap=1)]
    assert told == [4, 4, 4]
    assert scores == pytest.approx([0.1] * 3 + [0.15, 0.2] + [0.2 + 0.1 / 3, 0.2 + 0.2 / 3, 0.3, 0.3])


def test_windows_of_one_frame(told, loaded, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 3.0, fps=2)
    segments = segments_of(path, loaded, threshold=0.0, window=1, overlap=0)
    assert [frame.scores[1] for frame in segments] == pytest.approx([0.1, 0.2, 0.3])


def test_only_two_windows_are_read_ahead(monkeypatch, told, loaded, video):
    """The one that is given out, and the one that the model has next."""
    read = []

    def frames(path, times):
        for index in range(4):
            read.append(index)
            yield np.zeros((64, 96, 3), dtype=np.uint8)

    monkeypatch.setattr(module, "iter_frames_at", frames)
    segments = iter_segments(video, *loaded, window=1, overlap=0)
    next(segments)
    assert read == [0, 1]


def test_video_without_sound(loaded, tmp_path):
    path = make_video(tmp_path / "mute.mp4", 2.0, sound=False)
    assert [frame.has_audio for frame in segments_of(path, loaded)] == [False, False]


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


@pytest.mark.skipif(os.name != "posix", reason="has no such signals")
def test_a_crash_is_an_error_like_any_other(loaded, video, monkeypatch):
    monkeypatch.setattr(contained_media, "_probe", planted.crash)
    with pytest.raises(MediaError, match=f"^{video}: reading it crashed"):
        iter_segments(video, *loaded)


def test_a_model_that_gives_no_numbers_is_told(loaded, video, monkeypatch):
    model, processor = loaded
    forward = model.forward

    def overflowing(**inputs):
        outputs = forward(**inputs)
        outputs.logits[0, -1] = float("nan")
        return outputs

    monkeypatch.setattr(model, "forward", overflowing)
    with pytest.raises(ValueError, match="small: gives NaN for this clip; .*torch.float32"):
        list(iter_segments(video, model, processor))
