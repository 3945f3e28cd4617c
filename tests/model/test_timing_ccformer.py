import numpy as np
import pytest

from ccformer_hf.model.timing_ccformer import FrameTiming


def test_sample_counts_are_vggish():
    timing = FrameTiming()
    assert (timing.hop_samples, timing.window_samples) == (160, 400)
    assert timing.example_samples == 95 * 160 + 400 == 15600


@pytest.mark.parametrize(
    ("duration", "fps", "wanted"),
    [(5.0, 1, 5), (5.02, 1, 5), (5.6, 1, 6), (0.1, 1, 1), (0.0, 1, 1), (10, 0.5, 5), (2, 8, 16)],
)
def test_number_of_frames(duration, fps, wanted):
    assert FrameTiming(fps=fps).num_frames(duration) == wanted


def test_frame_times_are_15_16_into_each_step():
    assert FrameTiming().frame_times(3).tolist() == [0.9375, 1.9375, 2.9375]
    assert FrameTiming(fps=2).frame_times(2).tolist() == [0.46875, 0.96875]
    assert FrameTiming().frame_times(2, duration=1.5).tolist() == [0.9375, 1.5]


def test_sound_of_a_frame_starts_15_16_before_it():
    times = np.array([0.2, 0.9375, 1.9375, 62.9375])
    assert FrameTiming().sound_starts(times).tolist() == [0.0, 0.0, 1.0, 62.0]


def test_sound_of_frequent_frames_is_the_second_around_the_middle_of_their_step():
    starts = FrameTiming(fps=4).sound_starts(FrameTiming(fps=4).frame_times(5))
    assert starts.tolist() == [-0.375, -0.125, 0.125, 0.375, 0.625]  # steps of 0.25 s, half a second before the middle
    assert FrameTiming(fps=0.5).sound_starts(np.array([1.875])).tolist() == [0.9375]


def test_avsbench_counts_examples_and_drifts():
    starts = FrameTiming(alignment="avsbench").sound_starts(FrameTiming().frame_times(11))
    assert starts[[0, 1, 10]] == pytest.approx([0.0, 0.96, 9.6])
    assert FrameTiming().sound_starts(FrameTiming().frame_times(11))[10] - starts[10] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fps": 0}, "fps is 0"),
        ({"fps": float("nan")}, "fps"),
        ({"sampling_rate": -1}, "sampling_rate is -1"),
        ({"alignment": "x"}, "alignment"),
    ],
)
def test_values_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        FrameTiming(**wrong)
