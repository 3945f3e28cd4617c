"""The `Trainer` of transformers on our model, processor and clips."""

from pathlib import Path

import pytest
import torch
from hub_server import lend_hub, running_hub
from small_model import small_model
from transformers import Trainer, TrainingArguments

from ccformer_hf import (
    AudioVisualCollator,
    AudioVisualProcessor,
    CCFormerImageProcessor,
    compute_metrics,
    load,
    load_folder,
)
from ccformer_hf.data.synthetic.clips import write_synthetic_set


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Clips of one's own: 4 to train on, one to validate by."""
    folder = tmp_path_factory.mktemp("sets") / "folder"
    return write_synthetic_set(folder, "folder", clips=6, seed=0, workers=1, progress=False, size=32)


def trainer(root: Path, output: Path, **options) -> Trainer:
    clips = load_folder(root)
    names = dict(enumerate(clips["train"].features["labels"].names))
    processor = AudioVisualProcessor(CCFormerImageProcessor(size={"height": 64, "width": 64}))
    settings = {
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 2,
        "remove_unused_columns": False,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_steps": 1,
        "logging_steps": 1,
        "lr_scheduler_type": "constant",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return Trainer(
        small_model(num_labels=len(names), id2label=names),
        TrainingArguments(output, **settings | options),
        data_collator=AudioVisualCollator(processor),
        train_dataset=clips["train"],
        eval_dataset=clips["validation"],
        processing_class=processor,
        compute_metrics=compute_metrics,
    )


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    training = trainer(root, tmp_path_factory.mktemp("runs") / "run")
    training.train()
    return training


def test_it_trains_evaluates_and_saves_what_loads(trained):
    logged = [entry for entry in trained.state.log_history if "eval_loss" in entry]
    assert len(logged) == 2 and all(0 <= entry["eval_miou_seen"] <= 1 for entry in logged)
    model, processor = load(Path(trained.args.output_dir) / "checkpoint-2", "cpu")
    for name, values in trained.model.state_dict().items():
        assert torch.equal(values, model.state_dict()[name])
    assert processor.image_processor.size["height"] == 64


def test_the_loss_of_the_same_weights_is_the_same(trained):
    assert trained.evaluate()["eval_loss"] == trained.evaluate()["eval_loss"] == last_loss(trained)


def last_loss(training: Trainer) -> float:
    return [entry["eval_loss"] for entry in training.state.log_history if "eval_loss" in entry][-1]


def test_a_stopped_run_goes_on_and_ends_the_same(trained, root, tmp_path):
    trainer(root, tmp_path / "run", max_steps=1).train()
    again = trainer(root, tmp_path / "run")
    again.train(resume_from_checkpoint=True)
    assert [entry["step"] for entry in again.state.log_history if "eval_loss" in entry] == [1, 2]
    for name, values in trained.model.state_dict().items():
        assert torch.equal(values, again.model.state_dict()[name]), name


def test_accumulated_batches_weigh_as_one(root, tmp_path):
    """The Trainer divides by their number unless a model seems to do so itself."""
    norms = []
    for parts in (1, 2):
        training = trainer(root, tmp_path / str(parts), gradient_accumulation_steps=parts, max_steps=1)
        assert not training.model_accepts_loss_kwargs
        training.train_dataset = training.train_dataset.select([0] * 4)  # the same clip in all of them
        training.train()
        norms.append(training.state.log_history[0]["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=0.2)


def test_without_its_frames_a_row_says_what_to_set(root, tmp_path):
    with pytest.raises(ValueError, match="has labels; expected .*set remove_unused_columns=False"):
        trainer(root, tmp_path / "run", remove_unused_columns=True).train()


def test_pushing_packs_model_processor_and_code(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(trained.args, "hub_model_id", "tester/trained")
    with running_hub() as hub:
        lend_hub(monkeypatch, hub.address, tmp_path)
        trained.push_to_hub()
        files = hub.files("model", "tester/trained")
    assert {"model.safetensors", "processor_config.json", "modeling_ccformer.py", "pipeline_ccformer.py"} <= set(files)
    assert not [name for name in files if name.startswith("checkpoint-")]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    pushed, _ = load(tmp_path, "cpu")
    for name, values in trained.model.state_dict().items():
        assert torch.equal(values, pushed.state_dict()[name])
