"""What holds for every length, rate, size and order: properties that `hypothesis` looks for a counterexample of."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccformer_hf import AudioVisualCollator, AudioVisualProcessor
from ccformer_hf.inference.rle import decoded, encoded
from ccformer_hf.metrics.binary import BinarySegmentation, binary_iou
from ccformer_hf.metrics.semantic import SemanticSegmentation
from ccformer_hf.metrics.sums import SummedMetric
from ccformer_hf.model.media_ccformer import MediaInfo, SampledFrames, sampled_frames
from ccformer_hf.model.sliding_window_ccformer import iter_windows, join_windows, window_spans
from ccformer_hf.model.timing_ccformer import EXAMPLE_SECONDS, FrameTiming

# The same examples in every run: a test that fails now and then helps nobody.
checked = settings(max_examples=40, deadline=None, derandomize=True, database=None)

RATES = st.floats(0.05, 120)  # frames per second
SECONDS = st.floats(0.01, 20_000)
SEEDS = st.integers(0, 2**32 - 1)
PROCESSOR = AudioVisualProcessor()


def sampled(seconds: float, fps: float) -> SampledFrames:
    return sampled_frames(MediaInfo("clip.mp4", seconds, 64, 48, 1000.0, True, False, 0, 0, 0), fps)


@checked
@given(SECONDS, RATES)
def test_the_looks_at_a_clip_rise_and_stand_for_all_of_it(seconds, fps):
    looks = sampled(seconds, fps)
    assert len(looks) == 1 or abs(len(looks) - seconds * fps) <= 0.5
    assert (np.diff(looks.times) > 0).all() and (looks.times >= 0).all() and looks.times[-1] <= seconds
    assert looks.starts[0] == 0 and looks.ends[-1] == seconds
    assert (looks.ends > looks.starts).all() and (looks.times >= looks.starts).all()
    assert (looks.times <= looks.ends).all()


@checked
@given(SECONDS, RATES, st.sampled_from([8000, 16000, 44100, 48000]))
def test_the_sound_of_a_look_is_the_second_that_it_stands_in(seconds, fps, rate):
    timing, looks = FrameTiming(fps=fps, sampling_rate=rate), sampled(seconds, fps)
    starts = timing.sound_starts(looks.times)
    if fps > 1:  # the middle of the second is that of the step; the last look may come earlier, at the clip's end
        assert np.allclose((starts + 0.5)[:-1], (np.arange(len(looks)) + 0.5)[:-1] / fps, atol=1e-6)
    else:  # it holds the look
        assert (starts >= 0).all() and (starts <= looks.times).all() and (looks.times - starts < 1).all()
    assert (np.diff(starts) >= 0).all()
    assert (np.abs(timing.sound_start_samples(looks.times) / rate - starts) <= 0.5 / rate + 1e-9).all()
    assert abs(timing.example_samples / rate - EXAMPLE_SECONDS) < 0.02


@checked
@given(st.integers(1, 200), st.integers(1, 12), st.data())
def test_windows_give_each_frame_once_and_unchanged(frames, window, data):
    overlap = data.draw(st.integers(0, window - 1))
    spans = window_spans(frames, window, overlap)
    assert spans[0][0] == 0 and spans[-1][1] == frames
    assert all(start < following <= start + window for start, following in spans)
    said = torch.rand(frames, 2, 1, 1)
    inputs = (
        {
            "probabilities": said[None, [number]].clone(),
            "audio_mask": torch.tensor([[number % 2 == 0]]),
            "size": torch.tensor([[[number, 7]]]),
        }
        for number in range(frames)
    )
    windows = ({name: values[0] for name, values in each.items()} for each in iter_windows(inputs, spans, window))
    joined = list(join_windows(windows, spans))
    assert [frame.size for frame in joined] == [(number, 7) for number in range(frames)]
    assert [frame.has_audio for frame in joined] == [number % 2 == 0 for number in range(frames)]
    assert torch.allclose(torch.stack([frame.probabilities for frame in joined]), said, atol=1e-5)


@checked
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_a_batch_holds_every_clip_and_padding_that_counts_for_nothing(lengths):
    clips = [
        {
            "pixel_values": torch.rand(length, 3, 2, 2),
            "frame_mask": torch.ones(length, dtype=torch.bool),
            "labels": torch.randint(0, 3, (length, 2, 2)),
        }
        for length in lengths
    ]
    batch = AudioVisualCollator(PROCESSOR)(clips)
    assert batch["frame_mask"].shape == (len(lengths), max(lengths))
    for row, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
        for name, padding in {"pixel_values": 0, "frame_mask": False, "labels": 255}.items():
            assert torch.equal(batch[name][row, :length], clip[name])
            assert (batch[name][row, length:] == padding).all()


def semantic_clips(count: int, seed: int) -> list[tuple]:
    rng = np.random.default_rng(seed)
    shapes = [(rng.integers(1, 4), 4, 5) for _ in range(count)]
    return [(rng.integers(0, 4, shape), rng.integers(0, rng.integers(1, 5), shape)) for shape in shapes]


def binary_clips(count: int, seed: int) -> list[tuple]:
    rng = np.random.default_rng(seed)
    shapes = [(rng.integers(1, 4), 4, 5) for _ in range(count)]
    return [(rng.random(shape), rng.random(shape) < rng.random()) for shape in shapes]


def summed(metric: SummedMetric, clips: list[tuple]) -> SummedMetric:
    for clip in clips:
        metric.add(*clip)
    return metric


@pytest.mark.parametrize(
    ("metric", "clips"), [(lambda: SemanticSegmentation(4), semantic_clips), (BinarySegmentation, binary_clips)]
)
@checked
@given(count=st.integers(1, 8), seed=SEEDS, parts=st.integers(1, 3))
def test_scores_know_no_order_no_batches_and_no_processes(metric, clips, count, seed, parts):
    clips = clips(count, seed)
    whole = summed(metric(), clips)
    shuffled = [clips[number] for number in np.random.default_rng(seed).permutation(count)]
    several = [summed(metric(), shuffled[part::parts]) for part in range(parts)]
    for other in several[1:]:
        several[0].merge(other)
    assert (several[0].state() == whole.state()).all() and several[0].compute() == whole.compute()
    numbers = [value for value in whole.compute().values() if isinstance(value, float)]
    assert numbers and all(0 <= number <= 1 for number in numbers)


@checked
@given(count=st.integers(1, 4), seed=SEEDS)
def test_who_says_the_truth_scores_one(count, seed):
    semantic, binary = SemanticSegmentation(4, absent_classes="skip"), BinarySegmentation(empty_groups="skip")
    for _, target in semantic_clips(count, seed):
        semantic.add(target, target)
        binary.add((target > 0).astype(float), target > 0)
    assert semantic.compute()["miou"] == pytest.approx(1)
    found = {name: value for name, value in binary.compute().items() if isinstance(value, float)}
    assert found and list(found.values()) == pytest.approx([1] * len(found))


@checked
@given(seed=SEEDS)
def test_iou_is_the_same_either_way_round_where_something_sounds(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 3, 4, 5)) < 0.5
    a[:, 0, 0] = b[:, 0, 0] = True
    assert np.array_equal(binary_iou(a, b), binary_iou(b, a))
    assert (binary_iou(a, b) <= 1).all() and np.allclose(binary_iou(a, a), 1, atol=1e-6)  # AVSBench adds 1e-7 below


SIDES = st.integers(1, 60)


@checked
@given(height=SIDES, width=SIDES, share=st.floats(0, 1), seed=SEEDS)
def test_any_mask_comes_back_from_its_run_lengths(height, width, share, seed):
    mask = np.random.default_rng(seed).random((height, width)) < share
    assert np.array_equal(decoded(encoded(mask)), mask)


@checked
@given(height=SIDES, width=SIDES, text=st.text([chr(48 + part) for part in range(66)], max_size=12))
def test_any_text_is_a_mask_of_its_size_or_is_refused(height, width, text):
    try:
        assert decoded({"size": [height, width], "counts": text}).shape == (height, width)
    except ValueError as error:
        assert "expected" in str(error)
