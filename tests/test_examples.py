"""The example scripts with the arguments that a user gives them; training as it is launched in two processes."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_server import running_hub

from ccformer_hf import load
from ccformer_hf.data.synthetic.clips import write_made_up_set

EXAMPLES = Path(__file__).parents[1] / "examples"


def launched(*arguments: str, **environment: str) -> str:
    """What a command prints, in processes of its own."""
    result = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script of `examples/` with arguments, in this process; gives what it printed."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(EXAMPLES / name), *arguments])
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        except SystemExit as end:
            assert not end.code, capsys.readouterr().err[-3000:]
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of made-up clips in the layout of one's own: 8 to train on, 2 to validate."""
    folder = tmp_path_factory.mktemp("data") / "own"
    return write_made_up_set(folder, "own", clips=12, seed=0, workers=1, progress=False, size=64)


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """Folder of a run of the recipe of the built-in checkpoint: two processes, two steps, uploaded in the end."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with running_hub() as hub:
        printed = launched(
            "-m", "torch.distributed.run", "--nproc_per_node", "2", str(EXAMPLES / "train.py"),
            "--config", str(EXAMPLES / "recipes" / "made-up-tiny.yaml"), "--data", str(made), "--output", str(folder),
            "--set", "size=64", "epochs=1", "batch_size=4", "validate_every=1", "--push-to-hub", "tester/tiny",
            ACCELERATE_USE_CPU="true", HF_ENDPOINT=hub.address, HF_TOKEN="any", HF_HUB_DISABLE_XET="1",
        )  # fmt: skip
    assert f"uploaded to {hub.address}/tester/tiny" in printed and "2 steps; best validation mIoU" in printed
    assert hub.repositories["model", "tester/tiny"].history == ["private", "commit main", "commit main"]
    card = hub.files("model", "tester/tiny")["README.md"].decode()
    assert 'model="tester/tiny"' in card and "2 steps of 4 clips" in card and "pictures/report.png" in card
    return folder


def test_train_then_see_whether_sound_decides(trained, run):
    printed = run("sound_decides.py", "--model", str(trained / "last"), "--clips", "1", "--device", "cpu")
    values = re.findall(r" (\d\.\d{4})$", printed, flags=re.MULTILINE)
    assert len(values) == 10 and all(0 <= float(value) <= 1 for value in values)
    assert list((trained / "logs").rglob("events.out.tfevents.*"))


def test_fine_tuning_on_new_classes_keeps_what_was_learnt(run, tmp_path):
    """The README's lines, shorter: four classes that the built-in checkpoint never saw."""
    classes = ["frying-food", "saw", "sheep", "train"]
    write_made_up_set(tmp_path / "four", "own", 6, seed=1, workers=1, progress=False, size=64, classes=classes)
    printed = run(
        "train.py", "--config", str(EXAMPLES / "recipes" / "fine-tune.yaml"),
        "--data", str(tmp_path / "four"), "--output", str(tmp_path / "run"), "--tracker", "none",
        "--set", "size=64", "epochs=1", "batch_size=2",
    )  # fmt: skip
    assert "2 steps; best validation mIoU" in printed
    model, _ = load(tmp_path / "run" / "last", "cpu")
    assert [model.config.id2label[number] for number in range(5)] == ["background", *classes]
    before = load("ccformer-tiny", "cpu")[0].model.eim.state_dict()
    for name, value in model.model.eim.state_dict().items():  # two small steps away from where it was
        torch.testing.assert_close(value, before[name], atol=0.01, rtol=0)


def test_evaluate_prints_a_table_and_keeps_the_figures(made, trained, run, tmp_path):
    results = tmp_path / "results.json"
    printed = run(
        "evaluate.py", str(trained / "best"), "--data", str(made), "--setting", "own",
        "--split", "test", "--output", str(results),
    )  # fmt: skip
    assert "AVSBench protocol, 224 x 224" in printed
    assert json.loads(results.read_text())["clips"] == 2


def test_benchmark_parts_add_up(run):
    printed = run("benchmark.py", "--model", "ccformer-tiny", "--frames", "2", "--size", "64", "--rounds", "3")
    times = {
        name.strip(): float(ms) for name, ms in re.findall(r"^  (\D+?) +(-?[\d.]+) ms", printed, flags=re.MULTILINE)
    }
    assert set(times) == {
        "whole model", "visual backbone", "audio backbone", "EIM", "pixel decoder", "MTM", "the rest", "floor",
    }  # fmt: skip
    assert times["floor"] == pytest.approx(times["visual backbone"] + times["audio backbone"], abs=0.2)
    assert times["floor"] < times["whole model"]
    assert re.search(r"whole model = \d+\.\d\d x its floor", printed)
