"""Training through its real entry points, on made-up clips and a network of a few thousand weights."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import set_seed
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from small_model import SMALL_NETWORK, small_config

from ccformer_hf import AudioVisualProcessor, CCFormerForAudioVisualSegmentation
from ccformer_hf.data.loading import load_avsbench
from ccformer_hf.data.made_up import write_made_up_set
from ccformer_hf.recipe import recipe_from
from ccformer_hf.starting_model import start_model
from ccformer_hf.training import learning_rate_factor, parameter_groups, train

SCRIPT = Path(__file__).parents[1] / "examples" / "train.py"
SMALL = SMALL_NETWORK | {"decoder_layers": 2}
CHANGES = {"flip": 0.5, "scale": [0.75, 1.5], "colour": 0.3, "gain": 6, "noise": 0.2, "mix": 0.2, "silence": 0.1}
VALUES = {
    "setting": "avss",
    "size": 64,
    "model": SMALL,
    "epochs": 3,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "backbone_rate": 1.0,
    "warmup_steps": 2,
    "save_every": 2,
    "average": 0.9,
    "augmentation": CHANGES,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """8 clips of 5 or 10 frames to train on, 2 to validate, 2 to test."""
    root = tmp_path_factory.mktemp("data") / "avss"
    return write_made_up_set(root, "avss", clips=12, seed=0, workers=1, progress=False, size=64)


def run(data, output, validate=False, resume=False, **changes):
    recipe = recipe_from({**VALUES, **changes}, "the test")
    splits = load_avsbench(recipe.setting, data)
    set_seed(recipe.seed)
    model, processor = start_model(recipe, splits["train"].features["labels"].names)
    validation = splits["validation"] if validate else None
    progress = train(recipe, model, processor, splits["train"], validation, output, resume=resume, workers=0)
    return progress, model


def weights(output, name="last"):
    return load_file(Path(output) / name / "model.safetensors")


def start_script(folder, data, output, *options, processes=1, **changes):
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**VALUES, **changes}))
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)] if processes > 1 else []
    command = [
        sys.executable,
        *launch,
        str(SCRIPT),
        "--config",
        str(recipe),
        "--data",
        str(data),
        "--output",
        str(output),
    ]
    return subprocess.Popen(
        [*command, "--workers", "1", "--tracker", "none", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        start_new_session=True,
    )


def finished(process, code=0) -> str:
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors[-3000:]
    return printed if code == 0 else errors


# What a run leaves -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished_run(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "small"
    progress, model = run(data, output, validate=True, epochs=12, validate_every=3, learning_rate=3e-3, average=0)
    return output, progress, model


def test_training_lowers_the_loss(finished_run):
    _, progress, _ = finished_run
    assert progress.step == len(progress.losses) == 24
    assert sum(progress.losses[-4:]) < 0.9 * sum(progress.losses[:4])


def test_a_run_holds_model_folders(finished_run):
    output, progress, model = finished_run
    for name in ("last", "best"):
        again, info = CCFormerForAudioVisualSegmentation.from_pretrained(output / name, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
        assert again.config.id2label[36] == "hen"
        assert AudioVisualProcessor.from_pretrained(output / name).image_processor.size["height"] == 64
        assert (output / name / "modeling_ccformer.py").is_file()  # the code travels with the weights
    trained = model.state_dict()
    assert all(torch.equal(trained[name], value) for name, value in weights(output).items())


def test_the_best_weights_are_those_that_were_validated_best(finished_run):
    output, progress, _ = finished_run
    scores = [entry["miou_seen"] for entry in progress.validations]
    assert [entry["step"] for entry in progress.validations] == [6, 12, 18, 24]
    assert progress.best == max(scores)
    best = progress.validations[scores.index(max(scores))]
    card = ModelCard.load(output / "best" / "README.md")
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results["miou"] == round(best["miou"], 4) and results["miou_seen"] == round(best["miou_seen"], 4)
    assert card.data.library_name == "transformers" and "# small" in card.text


def test_a_run_can_be_looked_at(finished_run):
    output, progress, _ = finished_run
    report = (output / "report.md").read_text()
    assert "24 steps" in report and f"| 24 | {progress.validations[-1]['miou']:.4f}" in report
    assert (output / "report.png").stat().st_size > 1000
    assert len(list((output / "pictures").glob("*.png"))) == 2  # the validation split has two clips
    assert json.loads((output / "recipe.json").read_text())["epochs"] == 12


def test_only_the_newest_states_are_kept_and_nothing_half_written(finished_run):
    output, _, _ = finished_run
    assert [path.name for path in sorted((output / "states").iterdir())] == ["step-00000022", "step-00000024"]
    assert [path.name for path in output.rglob(".*")] == []


# The same for every split of a batch -------------------------------------------------------------------------------------


def assert_same_training(first, second, losses, other_losses):
    assert losses == pytest.approx(other_losses, rel=1e-6, abs=1e-5)
    for name, value in weights(first).items():
        # A key's bias cancels in the softmax: its gradient is nothing but rounding, which AdamW blows up to full steps.
        if not name.endswith("key.bias"):
            torch.testing.assert_close(weights(second)[name], value, rtol=0, atol=1e-5, msg=name)


def test_accumulated_parts_train_like_one_batch(data, tmp_path):
    whole, _ = run(data, tmp_path / "whole", batch_size=8, epochs=4)
    assert len(whole.losses) == 4 and whole.losses[-1] < whole.losses[0]
    # BCL sees only a part at a time, so it is left out here.
    changes = {"batch_size": 8, "epochs": 4, "model": SMALL | {"contrastive_weight": 0}}
    whole, _ = run(data, tmp_path / "plain", **changes)
    parts, _ = run(data, tmp_path / "parts", accumulate=4, **changes)
    assert_same_training(tmp_path / "plain", tmp_path / "parts", whole.losses, parts.losses)


def test_two_processes_train_like_one(tmp_path):
    """Contrastive loss on; three clips to validate are shared out between two, and the model they save loads."""
    data = write_made_up_set(tmp_path / "avss", "avss", clips=20, seed=0, workers=1, progress=False, size=64)
    changes = {"batch_size": 8, "epochs": 2, "validate_every": 2}
    one, _ = run(data, tmp_path / "one", validate=True, **changes)
    printed = finished(start_script(tmp_path, data, tmp_path / "two", processes=2, **changes))
    assert "4 steps; best validation mIoU" in printed
    state = torch.load(tmp_path / "two" / "states" / "step-00000004" / "custom_checkpoint_2.pkl", weights_only=False)
    assert_same_training(tmp_path / "one", tmp_path / "two", one.losses, state["losses"])
    assert state["validations"][-1]["miou"] == pytest.approx(one.validations[-1]["miou"], abs=1e-3)
    CCFormerForAudioVisualSegmentation.from_pretrained(tmp_path / "two" / "best")


def test_a_batch_that_cannot_be_shared_out_is_refused(data, tmp_path):
    with pytest.raises(
        ValueError, match="batch_size is 4, it must be a multiple of 3: 1 process.* times 3 accumulated"
    ):
        run(data, tmp_path / "run", accumulate=3)


def test_batches_of_one_and_larger_than_the_set(data, tmp_path):
    for size in (1, 12):
        progress, _ = run(data, tmp_path / str(size), batch_size=size, epochs=0.5)
        assert progress.step == max(1, round(4 / size)) and all(
            map(torch.isfinite, map(torch.tensor, progress.losses))
        )


# Stopped and gone on with --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    finished(start_script(folder, data, folder / "run", epochs=5, model=SMALL | {"dropout": 0.1}))
    return folder / "run"


def stopped_midway(data, folder, number):
    """A run of the same recipe that gets the signal somewhere after its first state."""
    process = start_script(folder, data, folder / "run", epochs=5, model=SMALL | {"dropout": 0.1})
    while not (folder / "run" / "states").is_dir() or not list((folder / "run" / "states").glob("step-*")):
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.5))
    os.killpg(process.pid, number)  # to those that read clips ahead too, as schedulers and terminals do
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "asked to stop"])
def test_a_stopped_run_goes_on_bit_for_bit(data, tmp_path, uninterrupted, number):
    process = stopped_midway(data, tmp_path, number)
    errors = process.communicate(timeout=120)[1]
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    elif process.returncode != 0:  # it may have been done already
        assert process.returncode == 130 and "--resume goes on from" in errors
    finished(start_script(tmp_path, data, tmp_path / "run", "--resume", epochs=5, model=SMALL | {"dropout": 0.1}))
    for name in ("last", "best"):
        wanted, found = weights(uninterrupted, name), weights(tmp_path / "run", name)
        assert all(torch.equal(found[key], value) for key, value in wanted.items())
    states = [
        torch.load(root / "states" / "step-00000010" / "custom_checkpoint_2.pkl", weights_only=False)
        for root in (uninterrupted, tmp_path / "run")
    ]
    assert states[0]["losses"] == states[1]["losses"] and len(states[0]["losses"]) == 10
    assert states[0]["validations"] == states[1]["validations"]


def test_a_run_is_not_overwritten(data, tmp_path):
    run(data, tmp_path / "run", epochs=1)
    with pytest.raises(FileExistsError, match="holds a run already; --resume goes on with it"):
        run(data, tmp_path / "run", epochs=1)
    with pytest.raises(ValueError, match="was begun with learning_rate = 0.001, now it is 0.1"):
        run(data, tmp_path / "run", epochs=1, resume=True, learning_rate=0.1)
    with pytest.raises(ValueError, match="was begun with model"):
        run(data, tmp_path / "run", epochs=1, resume=True, model=SMALL | {"num_queries": 7})
    other = write_made_up_set(tmp_path / "avss", "avss", clips=12, seed=5, workers=1, progress=False, size=64)
    with pytest.raises(ValueError, match="was begun with data = '8 clips, ids .*take the recipe and the clips"):
        run(other, tmp_path / "run", epochs=1, resume=True)


# What goes wrong -----------------------------------------------------------------------------------------------------------


def states(output):
    return {
        str(path.relative_to(output)): path.read_bytes() for path in (output / "states").rglob("*") if path.is_file()
    }


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_its_batch(data, tmp_path):
    with pytest.raises(
        FloatingPointError, match=r"the loss is (nan|inf) at step \d; the batch is kept in .*bad-batch-"
    ):
        run(data, tmp_path / "run", learning_rate=1e30, epochs=4, save_every=1, warmup_steps=0, keep_states=9)
    (folder,) = (tmp_path / "run").glob("bad-batch-*")
    step = int(folder.name.rsplit("-", 1)[1])
    (part,) = torch.load(folder / "process-0.pt")
    assert part["pixel_values"].shape[0] == 4 and "labels" in part
    assert sorted(path.name for path in (tmp_path / "run" / "states").iterdir()) == [
        f"step-{n:08d}" for n in range(1, step)
    ]


def test_a_full_disk_leaves_the_states_before(data, tmp_path, monkeypatch):
    save, saved = Accelerator.save_state, []

    def save_until_full(self, folder):
        save(self, folder)
        saved.append(folder)
        if len(saved) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Accelerator, "save_state", save_until_full)
    with pytest.raises(
        OSError, match="step-00000004: the state could not be saved .*No space left.*--resume goes on from"
    ):
        run(data, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "states").iterdir()] == ["step-00000002"]
    monkeypatch.undo()
    progress, _ = run(data, tmp_path / "run", resume=True)
    assert progress.step == 6


def test_a_clip_that_vanishes_is_named(data, tmp_path):
    copy = write_made_up_set(tmp_path / "avss", "avss", clips=12, seed=0, workers=1, progress=False, size=64)
    splits = load_avsbench("avss", copy)
    recipe = recipe_from({**VALUES, "save_every": 1}, "the test")
    run(copy, tmp_path / "run", epochs=0.5, save_every=1)
    before = states(tmp_path / "run")
    for path in copy.glob("v*/*/frames/0.jpg"):
        path.unlink()
    set_seed(0)
    model, processor = start_model(recipe, splits["train"].features["labels"].names)
    with pytest.raises(OSError, match=r"frames.0\.jpg"):
        train(recipe, model, processor, splits["train"], None, tmp_path / "other", workers=1)
    assert states(tmp_path / "run") == before and not (tmp_path / "other" / "last").exists()


def test_a_class_id_outside_the_list_is_named_with_its_file(tmp_path):
    own = write_made_up_set(tmp_path / "own", "own", clips=6, seed=0, workers=1, progress=False, size=64)
    run(own, tmp_path / "run", setting="own", epochs=1, save_every=1, batch_size=2)
    before = states(tmp_path / "run")
    for path in own.glob("train/*/masks/000000.png"):
        Image.fromarray(np.full((64, 64), 77, dtype=np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"000000\.png: holds the class id 77; wanted are 0 \(background\) to 12"):
        run(own, tmp_path / "other", setting="own", epochs=1, save_every=1, batch_size=2)
    assert states(tmp_path / "run") == before


def test_errors_of_the_script_are_one_line(data, tmp_path):
    errors = finished(start_script(tmp_path, data, tmp_path / "run", "--set", "epoch=3"), code=2)
    assert errors.strip().splitlines()[-1].startswith("train.py: error: ") and "knows no epoch" in errors


# Rates and groups ----------------------------------------------------------------------------------------------------------


def test_learning_rate_by_hand():
    recipe = recipe_from({"warmup_steps": 4, "backbone_rate": 0.1}, "the test")
    rates = [learning_rate_factor(step, 14, 2, recipe, "rest") for step in (0, 3, 4, 9, 14)]
    assert rates == pytest.approx([0.25, 1.0, 1.0, 0.5, 0.0])
    backbone = [learning_rate_factor(step, 14, 2, recipe, "backbone") for step in (0, 1, 2, 9)]
    assert backbone == pytest.approx([0.0, 0.0, 0.075, 0.05])


def test_norms_biases_and_codes_are_not_decayed():
    model = CCFormerForAudioVisualSegmentation(small_config())
    names = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model, recipe_from({"weight_decay": 0.05}, "the test"))
    assert sum(len(group["params"]) for group in groups) == len(names)
    found = {(group["part"], group["weight_decay"]): {names[id(p)] for p in group["params"]} for group in groups}
    assert set(found) == {("backbone", 0.05), ("backbone", 0.0), ("rest", 0.05), ("rest", 0.0)}
    assert {"model.mtm.layers.0.feed_forward.expand.weight", "model.projections.0.0.weight"} < found["rest", 0.05]
    assert {"model.no_sound", "model.mtm.query_code.weight", "model.mtm.video_query.weight"} < found["rest", 0.0]
    assert {"model.pixel_decoder.level_code.weight", "model.mtm.head.label.bias"} < found["rest", 0.0]
    assert "model.audio_backbone.features.0.weight" in found["backbone", 0.05]
    assert "model.audio_backbone.features.0.bias" in found["backbone", 0.0]
    decayed = found["rest", 0.05] | found["backbone", 0.05]
    assert not any(name.endswith(".bias") or "norm" in name for name in decayed)
