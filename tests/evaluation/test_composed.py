"""Scores on composed clips, by a model that answers what the test tells it to."""

from types import SimpleNamespace

import numpy as np
import pytest
from made_sources import CLASSES, write_sources

from ccformer_hf.data.composing.composed import compose_clip
from ccformer_hf.data.composing.material import read_material
from ccformer_hf.evaluation import composed
from ccformer_hf.evaluation.composed import evaluate_composed

MODEL = SimpleNamespace(
    config=SimpleNamespace(num_labels=4, id2label=dict(enumerate(("background", *CLASSES)))), eval=lambda: None
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("sources"))


def test_a_perfect_model_marks_what_sounds_and_nothing_else(sources, monkeypatch):
    """It answers no other sound than a clip's own: a swap finds nothing where the object is to be."""

    def answer(model, processor, clip, sound):
        return np.where(clip.labels == 255, 0, clip.labels) if sound is clip.waveform else np.zeros_like(clip.labels)

    monkeypatch.setattr(composed, "predict_maps", answer)
    scores = evaluate_composed(MODEL, None, sources, clips=6, seed=3)
    assert scores.binary_miou == pytest.approx(1) and scores.class_miou_seen == 1
    assert scores.silence_marked == scores.marked_hum == scores.marked_unknown_sounds == 0
    assert scores.swap_iou_new == scores.swap_iou_old == 0


def test_a_model_that_marks_all_whatever_sounds(sources, monkeypatch):
    monkeypatch.setattr(composed, "predict_maps", lambda model, processor, clip, sound: np.ones_like(clip.labels))
    scores = evaluate_composed(MODEL, None, sources, clips=6, seed=3)
    assert 0 < scores.binary_miou < 0.5 and scores.class_miou < 0.1
    assert scores.silence_marked == scores.marked_white_noise == scores.marked_off_screen == 1
    assert 0 < scores.swap_iou_new < 0.5 and 0 < scores.swap_iou_old < 0.5


def test_what_is_off_screen_may_be_of_some_classes_alone_and_of_none_that_may_be_in_view(tmp_path, monkeypatch):
    sources = write_sources(tmp_path, never_together=[{"sound": "dog", "photographs_of": "background"}])
    material = read_material(sources)["test"]
    heard, allowed = [], []

    def played(material, of, seconds, rng):
        heard.append(of)
        return np.zeros(16000 * seconds, np.float32)

    monkeypatch.setattr(composed, "predict_maps", lambda model, processor, clip, sound: np.zeros_like(clip.labels))
    monkeypatch.setattr(composed, "_played", played)
    monkeypatch.setattr(composed, "_pair", lambda *_: None)
    evaluate_composed(MODEL, None, sources, clips=30, seed=3, off_screen=["dog"])
    for index in range(30):
        view = compose_clip(material, 3, index).view
        allowed += [3] if view.in_place and 3 not in view.class_ids else []
    assert [of for of in heard if of != "other"] == allowed and 0 < len(allowed) < 30
    with pytest.raises(ValueError, match="off_screen has 'dgo' .did you mean 'dog'.*; expected some of bell, cat"):
        evaluate_composed(MODEL, None, sources, clips=1, off_screen=["dgo"])


def test_a_model_of_other_classes_or_a_split_without_material_is_refused(sources):
    other = SimpleNamespace(config=SimpleNamespace(num_labels=2, id2label={0: "background", 1: "dog"}))
    with pytest.raises(ValueError, match="the model's labels are .*'dog'.*; expected those of"):
        evaluate_composed(other, None, sources, clips=1)
    with pytest.raises(ValueError, match="has no material for dev; expected one of train, validation, test"):
        evaluate_composed(MODEL, None, sources, clips=1, split="dev")
