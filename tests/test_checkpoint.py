"""The checkpoint inside the package: whole, small, and its card says what its own record says."""

import json
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from small_model import small_model
from transformers import pipeline

from ccformer_hf import AudioVisualProcessor, CCFormerImageProcessor, load
from ccformer_hf.checkpoints import BUILT_IN_MODELS, CHECKPOINTS, DEFAULT_MODEL, TINY_MODEL
from ccformer_hf.data.synthetic.clips import CLASS_NAMES
from ccformer_hf.model_card import FIGURES, model_card, read_record
from ccformer_hf.training.recipe import recipe_from

ROOT = Path(__file__).parents[1]
FILES = ["README.md", "checkpoint.json", "config.json", "model.safetensors", "processor_config.json"]
MOST_MEGABYTES = {TINY_MODEL: 12, DEFAULT_MODEL: 30}


@pytest.mark.parametrize("name", BUILT_IN_MODELS)
def test_each_is_whole_and_small(name):
    files = sorted(CHECKPOINTS.joinpath(name).iterdir())
    assert [path.name for path in files] == FILES
    assert sum(path.stat().st_size for path in files) <= MOST_MEGABYTES[name] * 1e6


def test_tiny_knows_the_synthetic_classes():
    model, processor = load(TINY_MODEL, device="cpu")
    assert tuple(model.config.id2label.values()) == CLASS_NAMES
    assert processor.image_processor.size["height"] % 32 == 0


def test_small_is_the_default_and_float32_wherever_it_is_loaded():
    model, _ = load(device="cpu")
    assert Path(model.name_or_path).name == DEFAULT_MODEL
    assert {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()} == {torch.float32}
    assert {"person", "dog", "violin"} < set(model.config.id2label.values())


@pytest.mark.parametrize("name", BUILT_IN_MODELS)
def test_the_card_states_what_was_measured(name):
    text = (CHECKPOINTS / name / "README.md").read_text()
    record = read_record(CHECKPOINTS / name)
    assert text == model_card(record, *load(name, "cpu"), name)
    assert record.trained_on in text and len(record.scores) >= 10
    assert all(f"| {FIGURES[figure]} | {value:.4f} |" in text for figure, value in record.scores.items())
    results = ModelCard(text).data.eval_results
    assert {result.metric_type: result.metric_value for result in results} == record.scores
    if name == DEFAULT_MODEL:
        assert text == (ROOT / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("name", BUILT_IN_MODELS)
def test_its_recipe_is_one_of_today(name):
    recipe = {key: value for key, value in read_record(CHECKPOINTS / name).recipe.items() if key != "data"}
    assert recipe_from(recipe, "checkpoint.json").as_dict().keys() >= recipe.keys()


def test_tiny_is_good():
    scores = read_record(CHECKPOINTS / TINY_MODEL).scores
    assert scores["binary_miou"] >= 0.85 and scores["class_miou"] >= 0.70
    assert scores["silence_marked"] < 0.01
    assert scores["swap_iou_new"] >= 0.7 and scores["swap_iou_old"] <= 0.1


def test_the_pipeline_takes_small_by_default():
    segmenter = pipeline("audio-visual-segmentation", device="cpu")
    assert "dog" in segmenter.model.config.id2label.values()


@pytest.mark.parametrize("inside", ["best", "last", "."])
def test_another_one_can_be_shipped(inside, tmp_path, monkeypatch, capsys):
    """From a run of today, and from one of before there were records."""
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "maintainers"))
    import ship_checkpoint

    target = tmp_path / "package" / TINY_MODEL
    monkeypatch.setattr(ship_checkpoint, "CHECKPOINTS", target.parent)
    monkeypatch.setattr(ship_checkpoint, "ROOT", tmp_path)
    model = small_model(num_labels=len(CLASS_NAMES), id2label=dict(enumerate(CLASS_NAMES)))
    model.save_pretrained(tmp_path / "run" / inside)
    AudioVisualProcessor(CCFormerImageProcessor(size={"height": 64, "width": 64})).save_pretrained(
        tmp_path / "run" / inside
    )
    (tmp_path / "run" / "recipe.json").write_text(json.dumps({"batch_size": 12, "data": "3500 clips"}))
    run = tmp_path / "run" / inside if inside == "last" else tmp_path / "run"
    monkeypatch.setattr(
        sys, "argv", ["ship_checkpoint.py", TINY_MODEL, "--run", str(run), "--clips", "1", "--note", "A note."]
    )
    ship_checkpoint.main()
    card = (target / "README.md").read_text()
    assert card in capsys.readouterr().out
    assert "\nA note.\n" in card and "of each setting" in card
    assert ("data: 3500 clips" in card) == (inside != ".")
    assert f"ship_checkpoint.py ccformer-tiny --run runs/tiny{'/last' if inside == 'last' else ''}\n" in card
    assert sorted(path.name for path in target.iterdir()) == FILES
    assert not any("auto_map" in path.read_text() for path in target.glob("*config.json"))
    shipped, _ = load(target, "cpu")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, shipped.state_dict()[name])
