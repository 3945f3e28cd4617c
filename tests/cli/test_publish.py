"""What `ccformer publish` says to folders it cannot use. Uploads themselves are in test_hub.py."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from ccformer_hf.cli import main as cli


@pytest.fixture
def model(folder, tmp_path):
    """A model folder to spoil."""
    return shutil.copytree(folder, tmp_path / "model")


def error_of(capsys, *arguments) -> str:
    """The one line by which a command that changes nothing fails."""
    assert cli.main(["publish", *map(str, arguments), "--dry-run"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("ccformer: error: ")
    return lines[0]


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit):
        cli.main(["publish", "--help"])
    printed = capsys.readouterr().out
    assert "ccformer publish runs/mine me/my-model --dry-run" in printed and "--revision BRANCH" in printed


@pytest.mark.parametrize("name", ["no owner", "name", "a/b/c", "me/double--dash", "me/.git"])
def test_wrong_repo_id(name, tmp_path, capsys):
    assert f"{name}: is not the name of a repository" in error_of(capsys, tmp_path, name)


def test_no_such_folder(tmp_path, capsys):
    assert "nowhere: there is no such folder" in error_of(capsys, tmp_path / "nowhere", "me/model")


def test_no_model_folder(tmp_path, capsys):
    assert "has no config.json, so it is not a model folder" in error_of(capsys, tmp_path, "me/model")


def test_a_run_without_a_model_yet(tmp_path, capsys):
    (tmp_path / "states").mkdir()
    assert "neither best nor last" in error_of(capsys, tmp_path, "me/model")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl"])
def test_a_pickle_is_refused(model, name, capsys):
    torch.save(load_file(model / "model.safetensors"), model / name)
    (model / "model.safetensors").unlink()
    told = error_of(capsys, model, "me/model")
    assert f"its weights are a pickle, {name}, which can run any code" in told and "save_pretrained(FOLDER)" in told


def test_a_pickle_beside_safetensors_stays_behind(model, capsys):
    (model / "optimizer.pt").write_bytes(b"x")
    assert cli.main(["publish", str(model), "me/model", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "model.safetensors" in printed and "optimizer" not in printed


@pytest.mark.parametrize("keep", [0, 4, 200, -100])
def test_weights_cut_short(model, keep, capsys):
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert "model.safetensors: is not a whole safetensors file" in error_of(capsys, model, "me/model")


def test_weights_of_another_network(model, capsys):
    weights = load_file(model / "model.safetensors")
    name = sorted(weights)[0]
    save_file(weights | {name: weights[name].repeat(2)}, model / "model.safetensors", metadata={"format": "pt"})
    assert f"do not fit its config.json, {name} has the shape" in error_of(capsys, model, "me/model")
    del weights[name]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    assert f"lack 1 parts, such as {name}" in error_of(capsys, model, "me/model")


def test_weights_that_are_no_numbers(model, capsys):
    weights = load_file(model / "model.safetensors")
    name = sorted(weights)[0]
    save_file(weights | {name: weights[name] * torch.nan}, model / "model.safetensors", metadata={"format": "pt"})
    assert f"{name} holds NaN or infinity" in error_of(capsys, model, "me/model")


@pytest.mark.parametrize(
    "change, wanted",
    [
        ({"no_such_field": 1}, "no_such_field"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"model_type": "bert"}, "a model of type 'bert'"),
    ],
)
def test_a_wrong_config(model, change, wanted, capsys):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | change))
    told = error_of(capsys, model, "me/model")
    assert wanted in told and str(model) in told


def test_files_that_are_no_json(model, capsys):
    (model / "checkpoint.json").write_text('{"made": "by hand"}')
    assert "checkpoint.json: is not a record" in error_of(capsys, model, "me/model")
    (model / "checkpoint.json").unlink()
    (model / "config.json").write_text("{")
    assert f"{model}/config.json: is not a JSON file" in error_of(capsys, model, "me/model")


def test_no_dataset(tmp_path, capsys):
    assert "not written by `ccformer data convert`" in error_of(capsys, tmp_path, "me/set", "--dataset")
    plan = {"ms3": {"class_names": ["background", "dog"], "clips_per_shard": {"test": [1]}}}
    (tmp_path / "shards.json").write_text(json.dumps(plan))
    assert "the conversion of ms3 was not finished" in error_of(capsys, tmp_path, "me/set", "--dataset")


def test_no_space(tmp_path, capsys):
    assert "has no app.py" in error_of(capsys, tmp_path, "me/demo", "--space")
    (tmp_path / "app.py").write_text("")
    assert "has no README.md" in error_of(capsys, tmp_path, "me/demo", "--space")
    for text in ("# Demo\n", "---\nsdk: docker\n---\n", "---\nsdk: [\n---\n"):
        (tmp_path / "README.md").write_text(text)
        assert "no header of a Space with Gradio" in error_of(capsys, tmp_path, "me/demo", "--space")


def test_options_that_exclude_each_other(tmp_path, capsys):
    for options in (["--space", "--dataset"], ["--public", "--private"], ["--space", "--license", "mit"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(["publish", str(tmp_path), "me/model", *options])
        assert stop.value.code == 2 and options[-1].split()[0][2:] in capsys.readouterr().err + options[-1]
