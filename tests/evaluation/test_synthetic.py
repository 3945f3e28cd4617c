"""What the card of the built-in checkpoint states holds, here on a few clips of another seed than the card's."""

import numpy as np
import pytest

from ccformer_hf.data.synthetic.clips import make_clip
from ccformer_hf.evaluation.synthetic import (
    UNKNOWN_CLASSES,
    SyntheticScores,
    evaluate_synthetic,
    predict_maps,
    sounds_of_nothing_visible,
)
from ccformer_hf.inference.loading import load
from ccformer_hf.model.configuration_ccformer import CCFormerConfig


@pytest.fixture(scope="module")
def tiny():
    return load("ccformer-tiny", device="cpu")


def test_the_built_in_checkpoint_follows_the_sound(tiny):
    scores = evaluate_synthetic(*tiny, clips=6, seed=31337)
    assert scores.binary_miou > 0.8
    assert scores.class_miou > 0.6
    assert scores.silence_marked < 0.01 and scores.marked_zeros < 0.01
    for name in ("white_noise", "pink_noise", "hum", "unknown_sounds"):
        assert 0 <= getattr(scores, f"marked_{name}") < 0.5
    assert scores.swap_iou_new > 0.65
    assert scores.swap_iou_old < 0.1


def test_sounds_of_nothing_visible_are_the_same_each_time():
    first, again, other = (sounds_of_nothing_visible(3, index, 5) for index in (4, 4, 5))
    assert list(first) == [field for field in SyntheticScores.__annotations__ if "marked" in field]
    assert first.pop("silence_marked") is None and not first.pop("marked_zeros").any()
    for name, sound in first.items():
        assert sound.shape == (5 * 16000,) and sound.dtype == np.float32 and 0 < np.abs(sound).max() <= 1
        assert np.array_equal(sound, again[name]) and not np.array_equal(sound, other[name])


def test_unknown_sounds_are_of_classes_the_model_does_not_know(tiny):
    assert sorted(UNKNOWN_CLASSES) == ["frying-food", "saw", "sheep", "train"]
    assert set(UNKNOWN_CLASSES).isdisjoint(tiny[0].config.id2label.values())


def test_prediction_has_the_size_of_the_clip(tiny):
    clip = make_clip("ms3", 31337, 0, size=96)
    maps = predict_maps(*tiny, clip, clip.waveform)
    assert maps.shape == (5, 96, 96)
    assert maps.max() < tiny[0].config.num_labels


def test_a_model_with_other_labels_is_refused(tiny):
    model, processor = tiny
    kept = model.config
    model.config = CCFormerConfig()
    with pytest.raises(ValueError, match="labels are .*'LABEL_0'"):
        evaluate_synthetic(model, processor, clips=1)
    model.config = kept
