"""Training through its real entry points, on synthetic clips and a network of a few thousand weights."""

import itertools
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate import PartialState
from accelerate.utils import set_seed
from datasets import concatenate_datasets
from huggingface_hub import ModelCard
from PIL import Image
from processes import finish, in_two_processes, start
from safetensors.torch import load_file, save_file
from small_model import SMALL_NETWORK, small_config

from ccformer_hf import AudioVisualProcessor, CCFormerForAudioVisualSegmentation
from ccformer_hf.atomic import sole_writer
from ccformer_hf.cli import main as cli
from ccformer_hf.data.loading import load_setting
from ccformer_hf.data.synthetic.clips import write_synthetic_set
from ccformer_hf.training.initial_model import initial_model
from ccformer_hf.training.loop import learning_rate_factor, parameter_groups, several_were_asked_for, train
from ccformer_hf.training.recipe import recipe_from
from ccformer_hf.training.state import TrainingState

SMALL = SMALL_NETWORK | {"decoder_layers": 2}
CHANGES = {"flip": 0.5, "scale": [0.75, 1.5], "colour": 0.3, "gain": 6, "noise": 0.2, "mix": 0.2, "silence": 0.1}
FEW_FRAMES = {"frames": [2, 3]}  # of the 5 or 10 of a clip, for speed
VALUES = {
    "setting": "avss",
    "size": 64,
    "model": SMALL,
    "epochs": 3,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "backbone_rate": 1.0,
    "audio_rate": 1.0,
    "warmup_steps": 2,
    "save_minutes": 0,  # after each step
    "ema_decay": 0.9,
    "augmentation": CHANGES | FEW_FRAMES,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """So small a network gains nothing by a second thread, and on a busy machine waits for it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """8 clips of 5 or 10 frames to train on, 2 to validate, 2 to test."""
    return made_clips(tmp_path_factory.mktemp("data"))


def made_clips(folder, setting="avss", clips=12, seed=0):
    return write_synthetic_set(folder / setting, setting, clips=clips, seed=seed, workers=1, progress=False, size=64)


def run(data, output, validate=False, resume=False, workers=0, **changes):
    recipe = recipe_from({**VALUES, **changes}, "the test")
    splits = load_setting(recipe.setting, data)
    set_seed(recipe.seed)
    model, processor = initial_model(recipe, splits["train"].features["labels"].names)
    # Three clips, which two processes cannot share evenly.
    validation = concatenate_datasets([splits["validation"], splits["test"].select([0])]) if validate else None
    progress = train(recipe, model, processor, splits["train"], validation, output, resume=resume, workers=workers)
    return progress, model


def weights(output, name="last"):
    return load_file(Path(output) / name / "model.safetensors")


def kept_states(output):
    return [path.name for path in sorted((output / "states").iterdir())]


def progress_at(output, step):
    return json.loads((output / "states" / f"step-{step:08d}" / "progress.json").read_text())["progress"]


def command(folder, data, output, *options, **changes):
    """`ccformer train` with a recipe; returns its exit code."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**VALUES, **changes}))
    arguments = ["--config", str(recipe), "--data", str(data), "--output", str(output)]
    return cli.main(["train", *arguments, "--workers", "1", "--tracker", "none", *options])


# What a run leaves
# -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished_run(data, tmp_path_factory):
    """With `save_minutes` as long as the default, so that its states are those of validations and the end."""
    output = tmp_path_factory.mktemp("runs") / "small"
    changes = {"epochs": 12, "validate_every": 4, "learning_rate": 1e-2, "ema_decay": 0, "save_minutes": 5}
    progress, model = run(data, output, validate=True, **changes)
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
    assert [entry["step"] for entry in progress.validations] == [8, 16, 24]
    assert progress.best == max(scores)
    best = progress.validations[scores.index(max(scores))]
    card = ModelCard.load(output / "best" / "README.md")
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results["miou"] == round(best["miou"], 4) and results["miou_seen"] == round(best["miou_seen"], 4)
    assert card.data.library_name == "transformers" and "# small" in card.text


def test_a_run_can_be_looked_at(finished_run):
    output, progress, _ = finished_run
    report = (output / "report.md").read_text()
    assert "24 steps in " in report and f"| 24 | {progress.validations[-1]['miou']:.4f}" in report
    assert (output / "report.png").stat().st_size > 1000
    assert len(list((output / "pictures").glob("*.png"))) == 3  # of the three clips
    assert json.loads((output / "recipe.json").read_text())["epochs"] == 12


def test_only_the_newest_states_are_kept_and_nothing_half_written(finished_run):
    output, _, _ = finished_run
    assert kept_states(output) == ["step-00000016", "step-00000024"]  # of the last validations
    assert [path.name for path in output.rglob(".*")] == []


# The same for every split of a batch
# -------------------------------------------------------------------------------------


def assert_same_training(first, second, later=1e-5, single=3e-4):
    """`later`: how far the losses after the first step may be apart, as a share; `single`: how far one weight may."""
    steps = [progress_at(output, 3) for output in (first, second)]
    one, two = (step["losses"] for step in steps)
    assert one[0] == pytest.approx(two[0], rel=1e-5) and one == pytest.approx(two, rel=later, abs=1e-5)
    found = weights(second)
    for name, value in weights(first).items():
        # AdamW makes a step of any gradient: where one is nearly nothing, rounding moves a single weight by up to 4e-4
        # on some CPUs (4 % of its way; without shared norms 0.08), its tensor by 2e-6 on average. A key's bias cancels
        # in the softmax: its gradient is rounding alone, full steps.
        if not name.endswith("key.bias"):
            difference = (found[name] - value).abs().float()
            assert difference.max() <= single and difference.mean() < 3e-5, name


# Batches of 6 clips of 5 and 10 frames, and a contrastive loss that matters.
SPLIT = {
    "batch_size": 6,
    "epochs": 2.25,
    "validate_every": 2.25,
    "model": SMALL | {"contrastive_weight": 1.0},
    "augmentation": CHANGES,
}


def several_runs(data, folder):
    PartialState.destroy_process_group = lambda *_: None  # the end of a run would leave none for the next one
    for name, changes in {
        "frozen": {},
        "frozen, one clip per part": {"accumulate": 3},
        "trained": {"frozen_norms": False},
        "dropout": {"model": SPLIT["model"] | {"dropout": 0.1}},
    }.items():
        run(data, folder / name, validate=name == "frozen", **{**SPLIT, **changes})


@pytest.fixture(scope="module")
def in_two(data, tmp_path_factory):
    """Runs in two processes, by name, and what the first process printed."""
    folder = tmp_path_factory.mktemp("two")
    return folder, in_two_processes(several_runs, data, folder, folder=folder)


@pytest.fixture(scope="module")
def in_one(data, tmp_path_factory):
    """The same in one process and in one go."""
    folder = tmp_path_factory.mktemp("one")
    for name, changes in {"frozen": {}, "trained": {"frozen_norms": False}}.items():
        run(data, folder / name, validate=name == "frozen", **{**SPLIT, **changes})
    return folder


@pytest.mark.parametrize("accumulate", [2, 6])
def test_accumulated_parts_train_like_one_batch(data, in_one, tmp_path, accumulate):
    """With everything on: a contrastive loss, an average, parts of one clip, clips of different length."""
    run(data, tmp_path, accumulate=accumulate, **SPLIT)
    assert_same_training(in_one / "frozen", tmp_path)


@pytest.mark.parametrize(
    ("name", "like"), [("frozen", "frozen"), ("frozen, one clip per part", "frozen"), ("trained", "trained")]
)
def test_two_processes_train_like_one(in_one, in_two, name, like):
    """Norms that train too, and what they keep; and two processes with three parts of one clip each."""
    folder, _ = in_two
    # Norms that train feel the weights' rounding, said above: 3.3e-5 of the loss of the third step.
    bounds = {"later": 1e-4, "single": 1e-3} if name == "trained" else {}
    assert_same_training(in_one / like, folder / name, **bounds)


def test_two_processes_validate_like_one(in_one, in_two):
    one, two = (progress_at(folder / "frozen", 3) for folder in (in_one, in_two[0]))
    assert len(one["validations"]) == 1
    assert two["validations"][0]["miou"] == pytest.approx(one["validations"][0]["miou"], abs=1e-3)
    CCFormerForAudioVisualSegmentation.from_pretrained(in_two[0] / "frozen" / "best")


def test_dropout_draws_by_part_whichever_process_has_it(data, in_two, tmp_path):
    run(data, tmp_path, accumulate=2, **SPLIT | {"model": SPLIT["model"] | {"dropout": 0.1}})
    assert_same_training(tmp_path, in_two[0] / "dropout")


def test_norms_that_train_see_their_part_and_it_is_told(data, in_one, tmp_path, capsys):
    run(data, tmp_path, accumulate=2, **SPLIT, frozen_norms=False)
    assert "each of the 2 accumulated parts is normalised by itself" in capsys.readouterr().out
    with pytest.raises(AssertionError):
        assert_same_training(in_one / "trained", tmp_path)


def test_a_run_says_where_it_runs_and_what_its_batch_is_made_of(in_two):
    lines = in_two[1].splitlines()
    told = (
        "training on cpu, 2 process(es), mixed precision no; "
        "batch_size 6 = 2 process(es) x {} accumulated part(s) x {} clip(s); 3 steps"
    )
    assert told.format(1, 3) in lines and told.format(3, 1) in lines
    assert not any("warning" in line for line in lines)


def test_processes_that_were_asked_for_and_are_not_there_are_missed(data, tmp_path, monkeypatch, capsys):
    """`accelerate launch --cpu --num_processes 2` starts one process, and leaves an address behind."""
    assert not several_were_asked_for({}) and not several_were_asked_for(
        {"WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    )
    assert several_were_asked_for({"WORLD_SIZE": "2"})
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    run(data, tmp_path, epochs=0.5)
    assert "warning: the launcher was asked for several processes" in capsys.readouterr().out


def test_a_batch_that_cannot_be_shared_out_is_refused(data, tmp_path):
    with pytest.raises(ValueError, match="batch_size is 4, expected a multiple of 3: 1 process.* times 3 accumulated"):
        run(data, tmp_path / "run", accumulate=3)


def test_batches_of_one_and_larger_than_the_set(data, tmp_path):
    for size in (1, 12):
        progress, _ = run(data, tmp_path / str(size), batch_size=size, epochs=0.5)
        assert progress.step == max(1, round(4 / size)) and all(
            map(torch.isfinite, map(torch.tensor, progress.losses))
        )


# Stopped and gone on with
# --------------------------------------------------------------------------------------------------

RESUMED = {"epochs": 3, "validate_every": 2, "model": SMALL | {"dropout": 0.1}}  # 6 steps


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    process = start(scripted, folder, data, output=folder / "printed.txt")
    finish(process, folder / "printed.txt")
    return folder / "run"


def scripted(folder, data, *options):
    return command(folder, data, folder / "run", *options, **RESUMED)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "asked to stop"])
def test_a_stopped_run_goes_on_bit_for_bit(data, tmp_path, uninterrupted, number):
    printed = tmp_path / "printed.txt"
    process = start(scripted, tmp_path, data, output=printed)
    while not list(tmp_path.glob("run/states/step-*")):
        assert process.is_alive(), printed.read_text()
        time.sleep(0.02)
    os.killpg(process.pid, number)  # to those that read clips ahead too, as schedulers and terminals do
    process.join(120)
    if number == signal.SIGKILL:
        assert process.exitcode == -signal.SIGKILL
    elif process.exitcode != 0:  # it may have been done already
        assert process.exitcode == 128 + number and "--resume goes on from" in printed.read_text()
    last = kept_states(tmp_path / "run")[-1]
    again = finish(start(scripted, tmp_path, data, "--resume", output=printed), printed)
    assert f"going on from {tmp_path / 'run' / 'states' / last}: " in again
    for name in ("last", "best"):
        wanted, found = weights(uninterrupted, name), weights(tmp_path / "run", name)
        assert all(torch.equal(found[key], value) for key, value in wanted.items())
    states = [progress_at(root, 6) for root in (uninterrupted, tmp_path / "run")]
    assert states[0]["losses"] == states[1]["losses"] and len(states[0]["losses"]) == 6
    assert states[0]["validations"] == states[1]["validations"]


def test_states_hold_tensors_and_text_alone(uninterrupted):
    files = sorted(path.name for path in (uninterrupted / "states" / "step-00000006").iterdir())
    assert files == ["ema.safetensors", "model.safetensors", "optimizer.safetensors", "progress.json"]


def test_states_are_saved_by_the_clock(data, tmp_path, monkeypatch):
    """A clock that goes on by a minute each time it is read: every few steps, not each."""
    saved, write, clock = [], TrainingState.write, itertools.count(step=60)
    monkeypatch.setattr(
        TrainingState, "write", lambda state, *args: (saved.append(state.progress.step), write(state, *args))
    )
    monkeypatch.setattr("ccformer_hf.training.loop.time.perf_counter", lambda: float(next(clock)))
    run(data, tmp_path, epochs=6, save_minutes=25)
    assert saved[-1] == 12 and 2 < len(saved) < 8


def test_with_nothing_to_resume_a_run_starts_and_says_so(data, tmp_path, capsys):
    progress, _ = run(data, tmp_path / "run", resume=True, epochs=0.5)
    assert f"nothing to resume in {tmp_path / 'run'}: starting from step 0\n" in capsys.readouterr().out
    assert progress.step == 1


def test_a_finished_run_can_be_made_longer_but_not_shorter(data, tmp_path, capsys):
    run(data, tmp_path, epochs=1, ema_decay=0)
    first = weights(tmp_path)
    assert run(data, tmp_path, epochs=1, ema_decay=0, resume=True)[0].step == 2
    assert all(torch.equal(value, first[name]) for name, value in weights(tmp_path).items())
    capsys.readouterr()
    progress, _ = run(data, tmp_path, epochs=2, ema_decay=0, resume=True)
    assert progress.step == len(progress.losses) == 4
    printed = capsys.readouterr().out
    assert "epochs was 1.0, from here on it is 2.0" in printed and "2 of 4 steps are done" in printed
    assert json.loads((tmp_path / "recipe.json").read_text())["epochs"] == 2
    # The cosine is that of the longer run: its rate at the third of four steps is half, not next to nothing.
    moved = max(
        (value - first[name]).abs().max() for name, value in weights(tmp_path).items() if "running" not in name
    )
    assert moved > 0.4e-3
    with pytest.raises(ValueError, match=r"epochs is 1.0, which is 2 steps, but 4 are done in .*; expected 2 epochs"):
        run(data, tmp_path, epochs=1, ema_decay=0, resume=True)


def test_a_state_that_is_not_whole_is_named(data, tmp_path):
    run(data, tmp_path, epochs=1)
    folder = tmp_path / "states" / "step-00000002"
    told = f"{folder}: is not a whole state of this model .*; remove this folder, and --resume"
    for name in ("progress.json", "model.safetensors", "optimizer.safetensors", "ema.safetensors"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=told):
            run(data, tmp_path, epochs=1, resume=True)
        (folder / name).unlink()
        with pytest.raises(ValueError, match=told):
            run(data, tmp_path, epochs=1, resume=True)
        (folder / name).write_bytes(whole)
    moments = load_file(folder / "optimizer.safetensors")
    save_file(moments | {"model.no_sound.exp_avg": torch.zeros(3)}, folder / "optimizer.safetensors")
    with pytest.raises(ValueError, match=r"model.no_sound is \(16,\), but the optimizer has \(3,\) for it"):
        run(data, tmp_path, epochs=1, resume=True)


def test_a_run_is_not_overwritten(data, tmp_path):
    run(data, tmp_path / "run", epochs=1)
    with pytest.raises(FileExistsError, match="holds a run already; --resume goes on with it"):
        run(data, tmp_path / "run", epochs=1)
    with pytest.raises(ValueError, match="was begun with learning_rate = 0.001, now it is 0.1"):
        run(data, tmp_path / "run", epochs=1, resume=True, learning_rate=0.1)
    with pytest.raises(ValueError, match="was begun with model"):
        run(data, tmp_path / "run", epochs=1, resume=True, model=SMALL | {"num_queries": 7})
    other = made_clips(tmp_path, seed=5)
    with pytest.raises(ValueError, match="was begun with data = '8 clips, ids .*take the recipe and the clips"):
        run(other, tmp_path / "run", epochs=1, resume=True)
    before = (tmp_path / "run" / "recipe.json").read_bytes()
    with sole_writer(tmp_path / "run"), pytest.raises(BlockingIOError, match="another process is writing into it"):
        run(data, tmp_path / "run", epochs=2, resume=True)
    assert (tmp_path / "run" / "recipe.json").read_bytes() == before


# What goes wrong
# -----------------------------------------------------------------------------------------------------------


def states(output):
    return {
        str(path.relative_to(output)): path.read_bytes() for path in (output / "states").rglob("*") if path.is_file()
    }


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_its_batch(data, tmp_path):
    with pytest.raises(
        FloatingPointError, match=r"the loss is (nan|inf) at step \d; the batch is kept in .*bad-batch-"
    ):
        run(data, tmp_path / "run", learning_rate=1e30, epochs=4, warmup_steps=0, keep_states=9)
    (folder,) = (tmp_path / "run").glob("bad-batch-*")
    step = int(folder.name.rsplit("-", 1)[1])
    batch = load_file(folder / "process-0.safetensors")
    assert batch["0.pixel_values"].shape[0] == 4 and "0.labels" in batch
    assert kept_states(tmp_path / "run") == [f"step-{n:08d}" for n in range(1, step)]


def test_a_full_disk_leaves_the_states_before(data, tmp_path, monkeypatch):
    write = TrainingState.write

    def write_until_full(state, folder, main):
        write(state, folder, main)
        if state.progress.step == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(TrainingState, "write", write_until_full)
    with pytest.raises(
        OSError, match="step-00000003: the state could not be saved .*No space left.*--resume goes on from"
    ):
        run(data, tmp_path / "run", epochs=2)
    assert kept_states(tmp_path / "run") == ["step-00000001", "step-00000002"]
    monkeypatch.undo()
    progress, _ = run(data, tmp_path / "run", epochs=2, resume=True)
    assert progress.step == 4


def test_a_clip_that_vanishes_is_named(data, tmp_path):
    copy = made_clips(tmp_path)
    run(copy, tmp_path / "run", epochs=0.5)
    before = states(tmp_path / "run")
    for path in copy.glob("v*/*/frames/0.jpg"):
        path.unlink()
    with pytest.raises(OSError, match=r"frames.0\.jpg"):
        run(copy, tmp_path / "other", workers=1)
    assert states(tmp_path / "run") == before and not (tmp_path / "other" / "last").exists()


def test_a_class_id_outside_the_list_is_named_with_its_file(tmp_path):
    own = made_clips(tmp_path, "folder", clips=6)
    run(own, tmp_path / "run", setting="folder", epochs=1, batch_size=2)
    before = states(tmp_path / "run")
    for path in own.glob("train/*/masks/000000.png"):
        Image.fromarray(np.full((64, 64), 77, dtype=np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"000000\.png: holds the class id 77; expected 0 \(background\) to 12"):
        run(own, tmp_path / "other", setting="folder", epochs=1, batch_size=2)
    assert states(tmp_path / "run") == before


def test_errors_of_the_command_are_one_line(data, tmp_path, capsys):
    assert command(tmp_path, data, tmp_path / "run", "--set", "epoch=3") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("ccformer: error: ") and "has no setting 'epoch'" in line


# Rates and groups
# ----------------------------------------------------------------------------------------------------------


def test_learning_rate_by_hand():
    recipe = recipe_from({"warmup_steps": 4, "backbone_rate": 0.1, "audio_rate": 0.2}, "the test")
    rates = [learning_rate_factor(step, 14, 2, recipe, "rest") for step in (0, 3, 4, 9, 14)]
    assert rates == pytest.approx([0.25, 1.0, 1.0, 0.5, 0.0])
    backbone = [learning_rate_factor(step, 14, 2, recipe, "backbone") for step in (0, 1, 2, 9)]
    assert backbone == pytest.approx([0.0, 0.0, 0.075, 0.05])
    assert [learning_rate_factor(step, 14, 2, recipe, "audio") for step in (1, 2)] == pytest.approx([0.0, 0.15])


def test_norms_biases_and_codes_are_not_decayed():
    model = CCFormerForAudioVisualSegmentation(small_config())
    names = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model, recipe_from({"weight_decay": 0.05}, "the test"))
    assert sum(len(group["params"]) for group in groups) == len(names)
    found = {(group["part"], group["weight_decay"]): {names[id(p)] for p in group["params"]} for group in groups}
    assert set(found) == {(part, decay) for part in ("backbone", "audio", "rest") for decay in (0.05, 0.0)}
    assert {"model.mtm.layers.0.feed_forward.expand.weight", "model.projections.0.0.weight"} < found["rest", 0.05]
    assert {"model.no_sound", "model.mtm.query_code.weight", "model.mtm.video_query.weight"} < found["rest", 0.0]
    assert {"model.pixel_decoder.level_code.weight", "model.mtm.head.label.bias"} < found["rest", 0.0]
    assert "model.audio_backbone.features.0.weight" in found["audio", 0.05]
    assert "model.audio_backbone.features.0.bias" in found["audio", 0.0]
    decayed = found["rest", 0.05] | found["backbone", 0.05]
    assert not any(name.endswith(".bias") or "norm" in name for name in decayed)


def test_a_backbone_without_a_rate_gets_no_gradient():
    model = CCFormerForAudioVisualSegmentation(small_config())
    groups = parameter_groups(model, recipe_from({"backbone_rate": 0, "audio_rate": 0.5}, "the test"))
    assert {group["part"] for group in groups} == {"audio", "rest"}
    assert not any(parameter.requires_grad for parameter in model.model.backbone.parameters())
    assert all(parameter.requires_grad for group in groups for parameter in group["params"])
