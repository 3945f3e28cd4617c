import pytest

from ccformer_hf.model.inference_settings_ccformer import InferenceSettings


def test_every_frame_and_the_limits_can_be_asked_for():
    assert InferenceSettings(fps="all").fps == "all"
    assert InferenceSettings(0.1, 0, 1, 0) == InferenceSettings(fps=0.1, threshold=0, window=1, overlap=0)
    assert InferenceSettings(threshold=1, window=3, overlap=2).overlap == 2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"fps": 0}, "fps is 0, expected a number greater than 0"),
        ({"fps": "most"}, "fps is 'most', expected a number"),
        ({"threshold": 1.5}, r"threshold is 1.5, expected 0 \(marks most\) to 1"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"window": 4, "overlap": 4}, "window is 4 and overlap 4; expected a window of at least 1 frame"),
        ({"window": 0, "overlap": 0}, "window is 0"),
        ({"overlap": -1}, "overlap -1"),
    ],
)
def test_numbers_with_which_no_clip_can_be_segmented_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        InferenceSettings(**settings)
