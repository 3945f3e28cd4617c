import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import run_command
from safetensors.torch import save_file

from ccformer_hf import __version__
from ccformer_hf.cli import arguments as cli_arguments
from ccformer_hf.cli import main as cli
from ccformer_hf.data.synthetic.clips import write_synthetic_set


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """ms3 and avss in one folder, 4 clips in test."""
    root = tmp_path_factory.mktemp("data") / "AVSBench"
    write_synthetic_set(root, "ms3", 26, seed=5, workers=1, progress=False, size=32)
    avss = write_synthetic_set(root.with_name("avss"), "avss", 26, seed=5, workers=1, progress=False, size=32)
    for path in avss.iterdir():
        path.rename(root / path.name)
    return str(root)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out" / "results.json"


def evaluate(folder, root, output, *more: str, setting: str = "ms3") -> int:
    arguments = [str(folder), "--data", root, "--setting", setting, "--output", str(output), "--workers", "0"]
    return cli.main(["evaluate", *arguments, *more])


def one_line_error(capsys) -> str:
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ccformer: error: ")]
    assert len(errors) == 1
    return errors[0]


def test_help_is_quick_and_shows_examples():
    done, seconds = run_command("evaluate", "--help")
    assert seconds < 1
    assert done.returncode == 0 and "ccformer evaluate ccformer-tiny --data AVSBench --setting s4" in done.stdout


def test_json_holds_everything_to_repeat_it(folder, root, output, capsys):
    assert evaluate(folder, root, output, "--robust", "--size", "48") == 0
    found = json.loads(output.read_text())
    weights = hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest()
    assert found["model"]["sha256"] == {"model.safetensors": weights} and found["model"]["commit"] is None
    assert found["model"]["id"] == str(folder) and found["model"]["labels"] == ["background", "bell", "dog", "drum"]
    assert found["data"]["root"] == root and len(found["data"]["fingerprint"]) == 16
    assert found["data"]["sounds"] == {"waveform": 4}
    assert (found["setting"], found["split"], found["clips"], found["frames"]) == ("ms3", "test", 4, 20)
    assert found["versions"]["ccformer_hf"] == __version__
    assert set(found["versions"]) == {
        "ccformer_hf",
        "python",
        "torch",
        "transformers",
        "datasets",
        "accelerate",
        "numpy",
    }
    assert found["protocol"]["options"] == {
        "group_size": 1, "empty_frames": "unmarked", "empty_groups": "zero", "f_from": "scores",
    }  # fmt: skip
    assert (found["protocol"]["size"], found["protocol"]["alignment"]) == (48, "frame")
    assert found["protocol"]["sound_shifts"] == []
    assert found["device"] == "cpu" and found["seconds"] > 0 and found["processes"] == 1
    assert [row["number"] for row in found["per_clip"]] == [0, 1, 2, 3]
    assert found["scores"]["miou"] == pytest.approx(np.mean([row["miou"] for row in found["per_clip"]]), abs=1e-9)
    assert list(output.parent.iterdir()) == [output]

    capsys.readouterr()
    again = output.with_name("again.json")
    words = found["command"].split()
    assert words[:2] == ["ccformer", "evaluate"]
    assert cli.main([*words[1:], "--output", str(again)]) == 0
    repeated = json.loads(again.read_text())
    changing = ("seconds",)
    assert {k: v for k, v in repeated.items() if k not in changing} == {
        k: v for k, v in found.items() if k not in changing
    }


def test_table(folder, root, output, capsys):
    assert evaluate(folder, root, output, "--robust", "--size", "48") == 0
    told, found = capsys.readouterr().out, json.loads(output.read_text())
    lines = [line.split() for line in told.splitlines()]
    percent = lambda *values: [f"{100 * value:.2f}" for value in values]  # noqa: E731
    scores, level, robust = found["scores"], found["dataset_level"], found["robust"]
    assert ["sounding", "or", "not", *percent(scores["miou"], scores["f_score"])] in lines
    assert [
        *"areas summed over all clips".split(),
        *percent(level["miou"], level["f_score"], level["j_and_f"]),
    ] in lines
    assert ["silence", *percent(*robust["sounds"]["silence"].values())] in lines
    assert ["G", *percent(robust["g_miou"], robust["g_f_score"], robust["g_fpr"])] in lines
    assert "off-screen sound is of a clip with: any other clip (4)" in told
    assert str(output) in told


def test_classes_of_avss(folder, root, output, capsys):
    assert evaluate(folder, root, output, "--size", "48", setting="avss") == 0
    told, found = capsys.readouterr().out, json.loads(output.read_text())
    assert len(found["classes"]) == 71 and found["classes"][36]["name"] == "hen"
    for text in ("all 71 classes", "published as: no background", "without the background", "classes seen"):
        assert text in told
    assert f"{100 * found['scores']['miou_no_background']:.2f}" in told


def test_default_output_lies_in_the_folder_of_the_call(folder, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["evaluate", str(folder), "--data", root, "--setting", "ms3", "--split", "val", "--size", "32"]
    assert cli.main([*options, "--workers", "0"]) == 0
    assert json.loads((tmp_path / "ccformer-evaluation" / "ms3-validation.json").read_text())["split"] == "validation"


@pytest.mark.parametrize("setting", ["ms3", "avss"])
def test_pictures_of_the_worst_and_the_best(folder, root, output, setting):
    assert evaluate(folder, root, output, "--pictures", "1", "--size", "48", setting=setting) == 0
    ranked = sorted(json.loads(output.read_text())["per_clip"], key=lambda row: row["miou"])
    pictures = {path.name: path for path in (output.parent / "results-pictures").iterdir()}
    worst, best = f"worst-1-{ranked[0]['id']}.png", f"best-1-{ranked[-1]['id']}.png"
    assert set(pictures) == {worst, best}
    rows = 6 if ranked[0]["frames"] == 10 else 3
    with Image.open(pictures[worst]) as image:
        assert image.width == 1400 and image.height > rows * 230
        assert np.asarray(image).std() > 5


def test_more_pictures_than_clips(folder, root, output):
    assert evaluate(folder, root, output, "--pictures", "3", "--size", "32") == 0
    names = sorted(path.name[:7] for path in (output.parent / "results-pictures").iterdir())
    assert names == ["best-1-", "worst-1", "worst-2", "worst-3"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--setting", "vpo"], "--setting: invalid choice: 'vpo'"),
        (["--setting", "s4", "--split", "dev"], "--split: invalid choice: 'dev'"),
        (["--setting", "s4", "--size", "0"], "--size: 0: expected a whole number, at least 1"),
        (["--setting", "s4", "--group-size", "1.5"], "--group-size: 1.5: expected a whole number, at least 1"),
        ([], "required: --setting"),
    ],
)
def test_wrong_arguments(arguments, told, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["evaluate", "ccformer-tiny", "--data", "somewhere", *arguments])
    assert exit.value.code == 2
    assert told in capsys.readouterr().err


def test_what_is_not_there(folder, root, output, tmp_path, capsys):
    assert evaluate(tmp_path / "no-model", root, output) == 2
    assert "there is no such model folder" in one_line_error(capsys)
    assert evaluate(folder, str(tmp_path / "no-data"), output) == 2
    assert "is not a folder" in one_line_error(capsys)
    assert evaluate(folder, root, output, setting="s4") == 2
    assert "holds no s4, but ms3, avss" in one_line_error(capsys)
    own = tmp_path / "folder" / "train" / "one" / "frames"
    own.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(own / "0.png")
    (tmp_path / "folder" / "classes.txt").write_text("dog\n")
    assert evaluate(folder, str(tmp_path / "folder"), output, setting="folder") == 2
    assert "has no clip in the split test" in one_line_error(capsys)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    (other / "processor_config.json").write_text("{}")
    save_file({"weight": torch.zeros(1)}, other / "model.safetensors")
    assert evaluate(other, root, output) == 2
    assert "is of a model of type 'bert'; expected a CCFormer" in one_line_error(capsys)
    assert not output.exists()


def test_unwritable_output_is_found_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert evaluate("no-model", "no-data", tmp_path / "file" / "results.json") == 2
    assert "is a file, not a folder; name another file" in one_line_error(capsys)
    assert evaluate("no-model", "no-data", tmp_path) == 2
    assert "is a folder; name a file for the results" in one_line_error(capsys)


def test_missing_packages_are_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(cli_arguments, "find_spec", lambda name: None)
    assert evaluate("ccformer-tiny", "data", tmp_path / "results.json") == 2
    assert one_line_error(capsys).endswith('needs datasets and accelerate: pip install "ccformer-hf[train]"')
