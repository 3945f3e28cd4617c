import numpy as np
import pytest
import torch
from tiny_networks import save_ast, save_clap, save_sam2
from transformers import ASTForAudioClassification, AutoFeatureExtractor, AutoTokenizer, ClapModel

from ccformer_hf.labelling.classes import SoundingClass
from ccformer_hf.labelling.tagger import load_tagger

CLASSES = (SoundingClass("dog", ("dog", "Bark"), "dog"), SoundingClass("piano", ("Piano",), "piano"))


@pytest.fixture(scope="module")
def ast(tmp_path_factory):
    return save_ast(tmp_path_factory.mktemp("networks") / "ast")


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    return save_clap(tmp_path_factory.mktemp("networks") / "clap")


def seconds_at(rate: int) -> np.ndarray:
    """Three seconds, the second of them silent."""
    seconds = np.random.default_rng(0).normal(0, 0.1, (3, rate)).astype(np.float32)
    seconds[1] *= 1e-4
    return seconds


def test_an_ast_gives_the_highest_of_a_class_s_labels(ast):
    tagger = load_tagger(str(ast), CLASSES, "cpu")
    seconds = seconds_at(tagger.sampling_rate)
    assert tagger.sampling_rate == 16000
    inputs = AutoFeatureExtractor.from_pretrained(ast)(list(seconds), sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        scores = ASTForAudioClassification.from_pretrained(ast)(**inputs).logits.sigmoid().numpy()
    expected = np.stack([scores[:, :2].max(axis=1), scores[:, 2]], axis=1)
    expected[1] = 0  # silence sounds like nothing, whatever the network says
    np.testing.assert_allclose(tagger(seconds), expected, atol=1e-6)


def test_clap_shares_one_probability_out_among_all_labels(clap):
    tagger = load_tagger(str(clap), CLASSES, "cpu")
    seconds = seconds_at(tagger.sampling_rate)
    assert tagger.sampling_rate == 8000
    texts = [f"This is a sound of {label}." for label in ("dog", "bark", "piano", "silence", "noise")]
    sounds = AutoFeatureExtractor.from_pretrained(clap)(list(seconds), sampling_rate=8000, return_tensors="pt")
    words = AutoTokenizer.from_pretrained(clap)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        outputs = ClapModel.from_pretrained(clap)(
            input_ids=words["input_ids"],
            attention_mask=words["attention_mask"],
            input_features=sounds["input_features"].float(),
        )
    scores = outputs.logits_per_audio.softmax(dim=1).numpy()
    expected = np.stack([scores[:, 0] + scores[:, 1], scores[:, 2]], axis=1)
    expected[1] = 0
    np.testing.assert_allclose(tagger(seconds), expected, atol=1e-5)


def test_a_label_that_the_tagger_does_not_know_is_an_error_with_the_nearest(ast):
    with pytest.raises(ValueError, match="class pianist: .*has no label 'Pianos'; near are piano.*--classes"):
        load_tagger(str(ast), (SoundingClass("pianist", ("Pianos",), "piano"),), "cpu")


def test_what_is_no_tagger_is_refused(ast, tmp_path):
    with pytest.raises(OSError, match="cannot be found .*name a folder, or a Hub id"):
        load_tagger(str(tmp_path / "nothing"), CLASSES, "cpu")
    sam = save_sam2(tmp_path / "sam2")
    with pytest.raises(ValueError, match="is a model of type 'sam2'; expected a tagger, one of audio-spec"):
        load_tagger(str(sam), CLASSES, "cpu")
