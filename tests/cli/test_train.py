"""`ccformer train` with the arguments that a user gives it; training in two processes."""

import json
import re

import pytest
import torch
from hub_server import running_hub, use_hub
from processes import in_two_processes, run_command

from ccformer_hf import load
from ccformer_hf.cli import arguments as cli_arguments
from ccformer_hf.cli import main as cli
from ccformer_hf.data.synthetic.clips import write_synthetic_set
from ccformer_hf.training.recipe import recipe_names


def train_at(hub_address: str, arguments: list[str]) -> int:
    use_hub(hub_address)
    return cli.main(["train", *arguments])


def one_line_error(capsys) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ccformer: error: ")]
    return line


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of synthetic clips in the layout of one's own: 8 to train on, 2 to validate."""
    folder = tmp_path_factory.mktemp("data") / "folder"
    return write_synthetic_set(folder, "folder", clips=12, seed=0, workers=1, progress=False, size=64)


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """Folder of a run of the recipe of the built-in checkpoint: two processes, two steps, uploaded in the end."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    arguments = [
        "--config", "synthetic-tiny", "--data", str(made), "--output", str(folder),
        "--set", "size=64", "epochs=1", "batch_size=4", "validate_every=1", "--push-to-hub", "tester/tiny",
    ]  # fmt: skip
    with running_hub() as hub:
        printed = in_two_processes(train_at, hub.address, arguments, folder=tmp_path_factory.mktemp("printed"))
    assert f"uploaded to {hub.address}/tester/tiny" in printed and "2 steps; best validation mIoU" in printed
    assert hub.repositories["model", "tester/tiny"].history == ["private", "commit main", "commit main"]
    card = hub.files("model", "tester/tiny")["README.md"].decode()
    assert 'model="tester/tiny"' in card and "2 steps of 4 clips" in card and "pictures/report.png" in card
    assert (
        f"accelerate launch -m ccformer_hf train --config synthetic-tiny --data {made} --output {folder} --set" in card
    )
    return folder


def test_what_was_trained_can_be_evaluated(made, trained, tmp_path, capsys):
    results = tmp_path / "results.json"
    arguments = ["--data", str(made), "--setting", "folder", "--split", "test", "--output", str(results)]
    assert cli.main(["evaluate", str(trained / "best"), *arguments]) == 0
    assert "AVSBench protocol, 224 x 224" in capsys.readouterr().out
    assert json.loads(results.read_text())["clips"] == 2
    assert list((trained / "logs").rglob("events.out.tfevents.*"))


def test_fine_tuning_on_new_classes_keeps_what_was_learnt(tmp_path, monkeypatch, capsys):
    """The README's lines, shorter: four classes that the built-in checkpoint never saw."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    classes = ["frying-food", "saw", "sheep", "train"]
    write_synthetic_set(tmp_path / "four", "folder", 6, seed=1, workers=1, progress=False, size=64, classes=classes)
    exit_code = cli.main([
        "train", "--config", "fine-tune", "--data", str(tmp_path / "four"), "--output", str(tmp_path / "run"),
        "--tracker", "none", "--set", "size=64", "epochs=1", "batch_size=2",
    ])  # fmt: skip
    printed = capsys.readouterr().out
    assert exit_code == 0
    assert re.search(rf"^2 steps; best validation mIoU 0\.\d{{4}}; {tmp_path}/run/best$", printed, re.MULTILINE)
    model, _ = load(tmp_path / "run" / "last", "cpu")
    assert [model.config.id2label[number] for number in range(5)] == ["background", *classes]
    before = load("ccformer-tiny", "cpu")[0].model.eim.state_dict()
    for name, value in model.model.eim.state_dict().items():  # two small steps away from where it was
        torch.testing.assert_close(value, before[name], atol=0.01, rtol=0)


def test_help_is_quick_and_names_the_recipes():
    done, seconds = run_command("train", "--help")
    assert seconds < 1
    assert done.returncode == 0 and "ccformer train --config ms3-resnet50 --data AVSBench" in done.stdout
    assert ", ".join(recipe_names()) in done.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--config", "ms3-resnet"], "ms3-resnet: there is no such recipe; expected a .yaml file, or one of avss-"),
        (
            ["--config", "ms3-tiny", "--set", "epoch=3"],
            "ms3-tiny: has no setting 'epoch' (did you mean 'epochs'?); expected one of setting",
        ),
        (["--config", "ms3-tiny", "--push-to-hub", "name"], "name: is not the name of a repository"),
    ],
)
def test_errors_are_one_line(arguments, expected, tmp_path, capsys):
    assert cli.main(["train", "--data", str(tmp_path), "--output", str(tmp_path / "run"), *arguments]) == 2
    assert expected in one_line_error(capsys)
    assert not (tmp_path / "run").exists()


def test_missing_packages_are_named(monkeypatch, capsys):
    monkeypatch.setattr(cli_arguments, "find_spec", lambda name: None)
    assert cli.main(["train", "--config", "ms3-tiny", "--data", "data", "--output", "run"]) == 2
    assert one_line_error(capsys).endswith('needs datasets and accelerate: pip install "ccformer-hf[train]"')
