import gc
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event

import numpy as np
import pytest
import torch

from ccformer_hf import AudioVisualProcessor
from ccformer_hf.model import sliding_window_ccformer
from ccformer_hf.model.feature_extraction_ccformer import CCFormerFeatureExtractor
from ccformer_hf.model.media_ccformer import MediaError, iter_frames_at, probe, read_clip, sampled_frames
from ccformer_hf.model.sliding_window_ccformer import (
    array_inputs,
    class_probabilities,
    classes_at_size,
    frame_sounds,
    iter_windows,
    join_windows,
    predict_windows,
    video_inputs,
    window_spans,
)
from ccformer_hf.model.timing_ccformer import SAMPLING_RATE, FrameTiming

INPUTS = ("pixel_values", "input_features", "audio_mask", "frame_mask")


@pytest.mark.parametrize(
    ("num_frames", "window", "overlap", "spans"),
    [
        (1, 4, 1, [(0, 1)]),
        (4, 4, 1, [(0, 4)]),
        (9, 4, 1, [(0, 3), (3, 5), (5, 9)]),
        (5, 4, 0, [(0, 1), (1, 5)]),
        (3, 1, 0, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_spans(num_frames, window, overlap, spans):
    assert window_spans(num_frames, window, overlap) == spans


def test_frames_come_out_of_their_windows_as_they_went_in():
    """What a frame says of itself stays, and probabilities are those of both windows where two overlap."""
    spans = window_spans(9, 4, 1)
    frames = ({"number": torch.tensor([[i]])} for i in range(9))
    windows = [window["number"] for window in iter_windows(frames, spans, 4)]
    assert [window.tolist() for window in windows] == [[[0, 1, 2, 3]], [[3, 4, 5, 6]], [[5, 6, 7, 8]]]
    windows[-1] = torch.nn.functional.pad(windows[-1], (0, 2))  # as in a batch with a longer window
    parts = [
        {
            "size": torch.stack([window[0], window[0] + 100], dim=1),
            "audio_mask": window[0] % 2 == 0,
            "probabilities": torch.full((window.shape[1], 2, 1, 1), 0.1 * place),
        }
        for place, window in enumerate(windows, 1)
    ]
    frames = list(join_windows(parts, spans))
    assert [frame.size for frame in frames] == [(i, i + 100) for i in range(9)]
    assert [frame.has_audio for frame in frames] == [i % 2 == 0 for i in range(9)]
    probabilities = [frame.probabilities[0].item() for frame in frames]
    assert probabilities == pytest.approx([0.1] * 3 + [0.15, 0.2] + [0.2 + 0.1 / 3, 0.2 + 0.2 / 3, 0.3, 0.3])


def test_windows_that_go_through_together_say_what_they_say_alone(loaded):
    model, processor = loaded
    generator = torch.Generator().manual_seed(0)
    frames = list(torch.randint(0, 256, (9, 32, 32, 3), generator=generator, dtype=torch.uint8))
    sound = torch.rand(10 * SAMPLING_RATE, generator=generator) - 0.5

    def found(at_once):
        spans = window_spans(9, 4, 1)
        inputs = array_inputs(frames, sound, SAMPLING_RATE, processor, FrameTiming().frame_times(9))
        return list(join_windows(predict_windows(iter_windows(inputs, spans, 4), model, at_once), spans))

    alone, together = found(1), found(2)  # 3 windows: a pair, and one that is left
    assert len(alone) == len(together) == 9
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one.probabilities, other.probabilities, rtol=0, atol=1e-5)
        assert (one.has_audio, one.size) == (other.has_audio, other.size)


def test_the_model_is_at_work_on_the_next_window_while_one_is_dealt_with(monkeypatch):
    begun = [Event() for _ in range(3)]

    def model(_, inputs):
        begun[inputs["number"].item()].set()
        return inputs["number"]

    monkeypatch.setattr(sliding_window_ccformer, "class_probabilities", model)
    zero = torch.zeros(1, 1)
    windows = ({"number": torch.tensor([i]), "audio_mask": zero, "size": zero} for i in range(3))
    for place, answer in enumerate(predict_windows(windows, None, 1)):
        assert answer["probabilities"].item() == place
        assert begun[min(place + 1, 2)].wait(60)


def test_what_was_read_before_a_file_broke_off_is_answered(monkeypatch):
    def windows():
        for number in range(3):
            yield {"number": torch.tensor([number]), "audio_mask": torch.zeros(1, 1), "size": torch.zeros(1, 1)}
        raise MediaError("clip.mp4: breaks off")

    monkeypatch.setattr(sliding_window_ccformer, "class_probabilities", lambda _, inputs: inputs["number"])
    answers = predict_windows(windows(), None, 1)
    assert [next(answers)["probabilities"].item() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(MediaError, match="breaks off"):
        next(answers)


def test_what_goes_wrong_in_the_model_is_told_to_the_caller(loaded):
    _, processor = loaded
    inputs = array_inputs(list(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)), None, None, processor, np.arange(2.0))
    with pytest.raises(AttributeError, match="device"):
        list(predict_windows(iter_windows(inputs, [(0, 2)], 2), "no model", 1))


def numbered_windows(closed: Event):
    """Windows without end; tells when nobody wants another."""
    zero = torch.zeros(1, 1)
    try:
        for number in count():
            yield {"number": torch.tensor([number]), "audio_mask": zero, "size": zero}
    finally:
        closed.set()


def test_a_model_that_is_stopped_begins_no_other_window(monkeypatch):
    begun, go_on = [], Event()

    class Thread(ThreadPoolExecutor):
        def shutdown(self):
            go_on.set()
            super().shutdown()

    def model(_, inputs):
        begun.append(inputs["number"].item())
        assert go_on.wait(60)

    def stopped(windows, answer):
        raise KeyboardInterrupt  # as it waits for the first, with the second before it

    monkeypatch.setattr(sliding_window_ccformer, "ThreadPoolExecutor", Thread)
    monkeypatch.setattr(sliding_window_ccformer, "class_probabilities", model)
    monkeypatch.setattr(sliding_window_ccformer, "_answered", stopped)
    with pytest.raises(KeyboardInterrupt):
        list(predict_windows(numbered_windows(Event()), None, 1))
    assert begun == [0]


def test_an_error_of_the_model_lets_go_of_the_video(monkeypatch):
    monkeypatch.setattr(sliding_window_ccformer, "class_probabilities", lambda _, inputs: 1 / 0)
    closed = Event()
    gc.disable()  # it must not have to wait for that
    try:
        list(predict_windows(numbered_windows(closed), None, 1))
    except ZeroDivisionError:
        pass
    finally:
        gc.enable()
    assert closed.is_set()


@pytest.mark.parametrize("alignment", ["frame", "avsbench"])
def test_sound_of_each_frame_follows_the_processors_rule(loaded, video, alignment):
    processor = loaded[1]
    extractor = type(processor.feature_extractor)(alignment=alignment)
    processor = AudioVisualProcessor(processor.image_processor, extractor)
    info, whole, clip = probe(video), processor(str(video)), read_clip(video)
    times = sampled_frames(info, 1.0).times
    for frames in (
        video_inputs(iter_frames_at(video, times), frame_sounds(info, processor, times, 1.0), processor),
        array_inputs(clip.frames, clip.waveform, clip.sampling_rate, processor, times),
    ):
        frames = list(frames)
        for name in INPUTS:
            assert torch.allclose(
                torch.cat([frame[name] for frame in frames], dim=1).float(), whole[name].float(), atol=1e-4
            )
        assert [frame["size"].tolist() for frame in frames] == [[[[info.height, info.width]]]] * 4


def test_probabilities_in_the_precision_of_the_model(loaded, video):
    model, processor = loaded
    inputs = {**processor(str(video)), "size": torch.zeros(1, 4, 2, dtype=torch.int64)}
    exact = class_probabilities(model, inputs)
    assert exact.shape[:3] == (1, 4, 4) and torch.allclose(exact.sum(dim=2), torch.ones(1), atol=1e-5)
    model.double()
    try:
        double = class_probabilities(model, inputs)
        assert double.dtype == torch.float32 and (double - exact).abs().max() < 1e-4
    finally:
        model.float()


@pytest.mark.parametrize(("alignment", "fps"), [("frame", 1), ("frame", 4), ("avsbench", 1)])
@pytest.mark.parametrize(("shifts", "seconds"), [([], 3), ([-0.5], 3), ([-0.5, 0.25], 3), ([-2, 2], 1)])
def test_each_frame_of_a_video_is_heard_as_in_the_whole_clip(video, alignment, fps, shifts, seconds):
    """Its sound is cut out of the file with what its shifted examples need."""
    extractor = CCFormerFeatureExtractor(alignment=alignment, sound_shifts=shifts)
    processor = AudioVisualProcessor(feature_extractor=extractor)
    info = probe(video)
    samples = sampled_frames(info, fps)
    frames = video_inputs(
        iter_frames_at(video, samples.times), frame_sounds(info, processor, samples.times, fps), processor
    )
    found = torch.cat([frame["input_features"] for frame in frames], dim=1)
    whole = processor(str(video), fps=fps)["input_features"]
    assert found.shape == whole.shape == (1, 4 * fps, 1 + len(shifts), 96, 64)
    # What reaches over the end of the clip has a little more of the file's sound.
    torch.testing.assert_close(found[:, : seconds * fps], whole[:, : seconds * fps])
    clip = read_clip(video, fps)
    arrays = {"sampling_rate": clip.sampling_rate, "processor": processor, "times": clip.timestamps, "fps": fps}
    of_arrays = torch.cat([f["input_features"] for f in array_inputs(clip.frames, clip.waveform, **arrays)], dim=1)
    assert torch.equal(of_arrays, whole)
    assert torch.equal(processor(clip.frames, clip.waveform, sampling_rate=16000, fps=fps)["input_features"], whole)


def test_scores_are_of_the_probabilities_that_the_map_is_made_of():
    """Class 2 reaches the threshold nowhere: its share of the left cell goes to class 1."""
    processor = AudioVisualProcessor(class_threshold=1.0)
    probabilities = torch.tensor([[[0.1, 0.9]], [[0.6, 0.05]], [[0.3, 0.05]]])  # (3, 1, 2)
    class_map, scores = classes_at_size(probabilities, processor, (1, 2), 0.5)
    assert class_map.tolist() == [[1, 0]]
    assert scores == {1: pytest.approx(0.6 * (2 - 0.6 / 0.9))}
