import functools
import json
import re

import pytest
import torch
from PIL import Image

from ccformer_hf.benchmarking import benchmark as module
from ccformer_hf.benchmarking import works
from ccformer_hf.benchmarking.measuring import Row, Work
from ccformer_hf.cli import arguments as cli_arguments
from ccformer_hf.cli import main as cli
from ccformer_hf.inference.loading import load

ROWS = {
    "parts": [
        "visual backbone", "audio backbone", "both backbones", "EIM", "pixel decoder", "MTM", "the rest",
        "whole model", "Mask2Former", "both backbones, compiled", "whole model, compiled", "ONNX",
        "ONNX int8",
    ],
    "batches": ["both backbones", "whole model", "Mask2Former", "both backbones, compiled", "whole model, compiled",
                "ONNX", "ONNX int8"] * 2,
    "frames": ["both backbones", "whole model", "Mask2Former"] * 2,
    "training": ["both backbones", "whole model", "Mask2Former"],
}  # fmt: skip
PARTS = ("visual backbone", "audio backbone", "EIM", "pixel decoder", "MTM", "the rest")


@pytest.fixture(scope="module", autouse=True)
def small_mask2former():
    """Mask2Former at a size that runs in milliseconds."""
    sizes = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "num_attention_heads": 2}
    sizes |= {"encoder_layers": 1, "decoder_layers": 2, "encoder_feedforward_dim": 16, "dim_feedforward": 16}
    sizes |= {"num_queries": 4, "train_num_points": 64}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(works, "Mask2FormerConfig", functools.partial(works.Mask2FormerConfig, **sizes))
        yield


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory, small_mask2former):
    """Everything once: folder of the report; compiling and exporting, which take minutes, are left out."""
    output = tmp_path_factory.mktemp("benchmarks") / "out"
    arguments = ["--model", str(folder), "--batches", "1,2", "--frames", "2,1", "--sizes", "64", "--rounds", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda network, fullgraph, dynamic: network)
        for name in ("export_program", "export_onnx", "quantize_int8"):
            patch.setattr(module, name, lambda *_: None)
        patch.setattr(module, "onnx_runner", lambda path: lambda inputs: inputs["pixel_values"].sum())
        patch.setattr(cli_arguments, "find_spec", lambda name: name)
        arguments += ["--device", "cpu", "--compile", "--onnx", "-o", str(output)]
        assert cli.main(["benchmark", *arguments]) == 0
    return output


@pytest.fixture(scope="module")
def found(run):
    return json.loads((run / "benchmark.json").read_text())


def one_line_error(capsys) -> str:
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ccformer: error: ")]
    assert len(errors) == 1
    return errors[0]


def test_every_table_has_every_row(found):
    assert {kind: [row["name"] for row in rows] for kind, rows in found["tables"].items()} == ROWS
    inputs = {kind: [(r["clips"], r["frames"], r["size"]) for r in rows] for kind, rows in found["tables"].items()}
    assert set(inputs["parts"]) == set(inputs["training"]) == {(1, 2, 64)}
    assert set(inputs["batches"]) == {(1, 2, 64), (2, 2, 64)}
    assert set(inputs["frames"]) == {(1, 2, 64), (1, 1, 64)}


def test_parts_add_up_to_the_whole(found, loaded):
    rows = {row["name"]: row for row in found["tables"]["parts"]}
    whole, floor, model = rows["whole model"], rows["both backbones"], loaded[0]
    for figure in ("parameters", "flops"):
        assert sum(rows[name][figure] for name in PARTS) == whole[figure]
        assert floor[figure] == rows["visual backbone"][figure] + rows["audio backbone"][figure]
        assert 0 < rows["the rest"][figure] < whole[figure] / 2
    assert whole["parameters"] == model.num_parameters()
    for number in range(2):
        sums = [sum(rows[name]["seconds"][number] for name in names) for names in (PARTS, PARTS[:2])]
        assert sums == pytest.approx([whole["seconds"][number], floor["seconds"][number]])
    assert floor["times_floor"] == 1 and floor["times_floor_quartiles"] == [1, 1]


def test_figures_of_one_network_fit_together(found):
    tables = found["tables"]
    whole = {(r["clips"], r["frames"]): r for r in tables["batches"] + tables["frames"] if r["name"] == "whole model"}
    assert whole[2, 2]["flops"] == 2 * whole[1, 2]["flops"]
    assert whole[1, 2]["flops"] == pytest.approx(2 * whole[1, 1]["flops"], rel=0.1)
    step = next(row for row in tables["training"] if row["name"] == "whole model")
    assert step["flops"] == pytest.approx(3 * whole[1, 2]["flops"], rel=0.2)
    for rows in tables.values():
        for row in rows:
            assert len(row["seconds"]) == 2 and row["memory"] is None
            assert (row["flops"] is None) == ("compiled" in row["name"] or "ONNX" in row["name"])
            low, high = row["times_floor_quartiles"]
            assert low <= row["times_floor"] <= high


def test_report_says_the_same_in_markdown_and_has_a_picture(run, found):
    told = (run / "benchmark.md").read_text()
    row = found["tables"]["training"][1]
    line = next(line for line in told.split("Training step")[1].splitlines() if line.startswith("| whole model"))
    assert [cell.strip() for cell in line.strip("|").split("|")][:5] == [
        "whole model", "1", "2", "64", f"{1000 * row['median_seconds']:.1f}",
    ]  # fmt: skip
    assert found["command"] in told and found["rounds"] == 2 and found["dtype"] == "float32"
    assert re.search(r"float32 on a CPU \(\w+\) with \d+ threads?; medians of 2 interleaved rounds", told)
    assert sorted(path.name for path in run.iterdir()) == ["benchmark.json", "benchmark.md", "benchmark.png"]
    with Image.open(run / "benchmark.png") as picture:
        assert picture.width == 1100 and picture.height > 1200


def test_command_repeats_it_in_another_dtype_and_prints_the_table(found, capsys):
    words = found["command"].split()
    assert words[:2] == ["ccformer", "benchmark"]
    words = [word for word in words[2:] if word not in ("--compile", "--onnx")]
    changed = ["--dtype", "bfloat16", "--only", "training", "--rounds", "1"]
    assert cli.main(["benchmark", *words, *changed]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "bfloat16 on a CPU" in lines[0] and lines[0].endswith("; one round")
    assert [line.split("  ")[1] for line in lines[4:]] == ROWS["training"]


@pytest.fixture
def untimed(monkeypatch) -> list[Work]:
    """Everything runs once and nothing is measured; what has run."""
    ran = []

    def measure(given: list[Work], rounds: int, device: torch.device, what: str) -> list[Row]:
        for work in given:
            work.call()
        ran.extend(given)
        return [Row(work.name, work.clips, work.frames, work.size, [1.0], 0, 0) for work in given]

    monkeypatch.setattr(module, "measure", measure)
    return ran


def test_bfloat16_is_that_of_all_networks(folder, untimed):
    arguments = ["--model", str(folder), "--sizes", "64", "--dtype", "bfloat16", "--only", "parts", "--device", "cpu"]
    assert cli.main(["benchmark", *arguments]) == 0
    seen = [{p.dtype for module in work.modules for p in module.parameters()} for work in untimed]
    assert seen == [{torch.bfloat16}] * 7


def test_a_table_is_there_as_soon_as_it_is_measured(folder, untimed):
    """What an interrupted run has measured has been printed."""
    tables = module.benchmark(load(folder, "cpu")[0], frames=(1,), sizes=(64,), batches=(1,), rounds=1)
    first = next(tables)
    assert first.kind == "parts" and {work.name for work in untimed} == {row.name for row in first.rows} - {
        "both backbones",
        "the rest",
    }
    assert not torch.is_inference_mode_enabled()


def test_larger_frames(folder, untimed, tmp_path):
    arguments = ["--model", str(folder), "--sizes", "64,96", "--only", "sizes", "--frames", "1", "--device", "cpu"]
    assert cli.main(["benchmark", *arguments, "-o", str(tmp_path / "out")]) == 0
    networks = ["both backbones", "whole model", "Mask2Former"]
    assert [(work.name, work.size) for work in untimed] == [(name, size) for size in (64, 96) for name in networks]
    with Image.open(tmp_path / "out" / "benchmark.png") as picture:
        assert picture.height > 500


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--sizes", "64,100"], "--sizes: 100: expected a multiple of 32, at least 64"),
        (["--sizes", "32"], "--sizes: 32: expected a whole number, at least 64"),
        (["--frames", "5,,20"], "--frames: '': expected a number"),
        (["--batches", "1,4,1"], "--batches: 1,4,1: expected different numbers"),
        (["--backbone", "vgg"], "--backbone: invalid choice: 'vgg'"),
        (["--model", "x", "--backbone", "pvt-v2-b5"], "not allowed with argument"),
        (["--dtype", "int8"], "--dtype: invalid choice: 'int8'"),
    ],
)
def test_wrong_arguments(arguments, told, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["benchmark", *arguments])
    assert exit.value.code == 2
    assert told in capsys.readouterr().err


def test_what_cannot_be_done_is_one_line(folder, run, tmp_path, monkeypatch, capsys):
    assert cli.main(["benchmark", "-o", str(run)]) == 2
    assert "exists already and is not an empty folder" in one_line_error(capsys)
    assert cli.main(["benchmark", "--model", str(tmp_path / "none"), "-o", str(tmp_path / "out")]) == 2
    assert "there is no such model folder" in one_line_error(capsys)
    assert cli.main(["benchmark", "--model", str(folder), "--only", "frames", "--device", "cpu"]) == 2
    assert "a table over frames was asked for and one value given, 5; expected several" in one_line_error(capsys)
    assert cli.main(["benchmark", "--model", str(folder), "--onnx", "--dtype", "bfloat16", "--device", "cpu"]) == 2
    assert "expected --device cpu --dtype float32" in one_line_error(capsys)
    monkeypatch.setattr(cli_arguments, "find_spec", lambda name: None)
    assert cli.main(["benchmark", "--onnx"]) == 2
    assert one_line_error(capsys).endswith(
        'needs onnx and onnxruntime and onnxscript: pip install "ccformer-hf[onnx]"'
    )
    assert list(tmp_path.iterdir()) == []
