"""What the card of the built-in checkpoint states holds, here on a few clips of another seed than the card's."""

import pytest

from ccformer_hf.configuration_ccformer import CCFormerConfig
from ccformer_hf.data.made_up import make_clip
from ccformer_hf.inference import load
from ccformer_hf.sound_decides import evaluate_made_up, predict


@pytest.fixture(scope="module")
def tiny():
    return load("ccformer-tiny", device="cpu")


def test_the_built_in_checkpoint_follows_the_sound(tiny):
    scores = evaluate_made_up(*tiny, clips=12, seed=31337)
    assert scores.binary_miou > 0.8
    assert scores.class_miou > 0.6
    assert scores.silence_marked < 0.01
    assert scores.swap_iou_new > 0.65
    assert scores.swap_iou_old < 0.1


def test_prediction_has_the_size_of_the_clip(tiny):
    clip = make_clip("ms3", 31337, 0, size=96)
    maps = predict(*tiny, clip, clip.waveform)
    assert maps.shape == (5, 96, 96)
    assert maps.max() < tiny[0].config.num_labels


def test_a_model_with_other_labels_is_refused(tiny):
    model, processor = tiny
    kept = model.config
    model.config = CCFormerConfig()
    with pytest.raises(ValueError, match="labels are .*'LABEL_0'"):
        evaluate_made_up(model, processor, clips=1)
    model.config = kept
