"""A stream that is still coming in, through a pipe: the newest picture is taken, and its own sound with it."""

import contextlib
import os
import sys
import threading
import time
from types import SimpleNamespace

import av
import numpy as np
import pytest
from live_stream import FPS, PICTURES, RATE, Pipe

from ccformer_hf import AudioVisualProcessor
from ccformer_hf.inference import live
from ccformer_hf.inference.live import LiveReader, segment_live
from ccformer_hf.model.feature_extraction_ccformer import CCFormerFeatureExtractor
from ccformer_hf.model.media_ccformer import MediaError


def brightness(picture) -> float:
    return picture.rgb().mean() / 8


def test_the_newest_picture_is_taken_with_its_own_sound(monkeypatch):
    pipe = Pipe(monkeypatch, let_out=10)  # what FFmpeg wants to see before it opens
    taken, due = [], -1.0
    with LiveReader("-", RATE) as stream:
        assert stream.has_audio
        while (picture := stream.newest(due)) is not None:
            pipe.gate.release(4)  # they come while the model is at work
            loudness = stream.sound(picture.time - 1 / FPS, RATE // FPS).max()
            taken.append((picture.time, brightness(picture), loudness))
            due = picture.time + 0.3
    times, bright, loud = map(np.array, zip(*taken, strict=True))
    assert 4 <= len(taken) <= 9 and np.all(np.diff(times) > 0.29)
    np.testing.assert_allclose(bright, times * FPS, atol=1)
    np.testing.assert_allclose(loud, np.maximum(0, times * FPS - 1) / 100, atol=0.011)


def test_a_model_that_is_slower_than_the_stream_leaves_pictures_out(loaded, monkeypatch):
    pipe, run = Pipe(monkeypatch, let_out=10), live.class_probabilities
    newest = []

    class Watched(LiveReader):
        def _keep_picture(self, frame):
            super()._keep_picture(frame)
            newest.append(self._picture.time)

    def slow(*given):
        assert given[1]["input_features"].shape[2] == 1  # what was heard before has no say
        taken = newest[-1]
        pipe.gate.release(6)
        # Two of six may still be on their way through the writer; the last of all ends the wait.
        while newest[-1] < min(taken + 4 / FPS, (PICTURES - 1) / FPS) - 1e-6:
            time.sleep(0.01)
        return run(*given)

    monkeypatch.setattr(live, "LiveReader", Watched)
    monkeypatch.setattr(live, "class_probabilities", slow)
    model, processor = loaded
    hears_more = AudioVisualProcessor(
        processor.image_processor, CCFormerFeatureExtractor(sound_shifts=[-0.5, 0.5]), fps=processor.fps
    )
    found = list(segment_live("-", model, hears_more, fps=FPS, threshold=0.0, window=3))
    times = [picture.segmentation.time for picture in found]
    assert len(newest) == PICTURES and 2 <= len(found) <= 6 and np.all(np.diff(times[:-1]) > 0.39)
    assert times[-1] == pytest.approx((PICTURES - 1) / FPS)
    for number, picture in enumerate(found):
        segmentation = picture.segmentation
        assert segmentation.index == number and segmentation.class_map.shape == (48, 64)
        assert abs(picture.picture.mean() / 8 - segmentation.time * FPS) < 1
        assert segmentation.scores  # with no threshold something sounds
        assert segmentation.has_audio == (segmentation.time > 0)  # nothing came before the first picture
        assert picture.delay > 0


@pytest.mark.parametrize("source", ["clip.mp4", "file:///etc/passwd", ""])
def test_a_source_that_is_not_live_is_refused(source):
    with pytest.raises(ValueError, match=r"is not a live source; expected an address \(rtsp://"):
        LiveReader(source, RATE)


def test_a_pipe_without_media_is_told(monkeypatch, tmp_path):
    (tmp_path / "text").write_text("no media" * 1000)
    with open(tmp_path / "text", "rb") as file:
        monkeypatch.setattr(sys, "stdin", file)
        with pytest.raises(MediaError, match="standard input: cannot be opened"):
            LiveReader("-", RATE)


def test_an_mp4_whose_index_is_last_is_told_what_to_do(loaded, monkeypatch, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (10, 240, 320, 3), dtype=np.uint8)  # more than is read ahead
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=FPS)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
    content = (tmp_path / "clip.mp4").read_bytes()
    assert content.find(b"moov") > content.find(b"mdat") and len(content) > 100_000
    reading, writing = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as file:
            file.write(content)

    threading.Thread(target=write, daemon=True).start()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: reading))
    with pytest.raises(MediaError, match=r"^standard input: broke off \(.*\); an MP4 must have its index first"):
        next(segment_live("-", *loaded, window=2))
    os.close(reading)


def test_a_stream_that_ends_at_once_gives_what_it_had(loaded, monkeypatch):
    Pipe(monkeypatch, let_out=1, pictures=1)
    (found,) = segment_live("-", *loaded, window=2)
    assert found.segmentation.time == 0
