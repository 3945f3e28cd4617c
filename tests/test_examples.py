"""The example scripts with the arguments that a user gives them."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


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


def test_sound_decides_prints_ten_figures(run):
    printed = run("sound_decides.py", "--clips", "1", "--device", "cpu")
    values = re.findall(r" (\d\.\d{4})$", printed, flags=re.MULTILINE)
    assert len(values) == 10 and all(0 <= float(value) <= 1 for value in values)


def test_benchmark_of_a_whole_file_says_how_many_times_real_time(run):
    printed = run("benchmark_file.py", "--seconds", "0.2", "--only", "json", "--rounds", "1")
    assert re.search(r"^made\.mp4: 0\.2 s of 1280 x 720 at 25 frames per second; ccformer-tiny", printed, re.MULTILINE)
    seconds, times, computing, memory = map(
        float, re.findall(r"  json +([\d.]+) s = +([\d.]+) x .*, +([\d.]+) s .*, +(\d+) MB", printed)[0]
    )
    assert times == pytest.approx(0.2 / seconds, abs=0.1) and 0 < computing < 60 and memory > 100


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.chdir(tmp_path)
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]
    names: dict = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None  # as it is to be committed
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "emergency-car" in printed and printed.count("1 steps; best validation mIoU 0.") == 2
    assert list(names["result"].segments["classes"].values()) == ["background", "frying-food", "saw", "sheep", "train"]
    assert (tmp_path / "runs" / "swin" / "best" / "model.safetensors").is_file()


def test_reliability_prints_two_tables(run, tmp_path):
    printed = run("reliability.py", "--clips", "1", "--picture", str(tmp_path / "reliability.png"))
    errors = re.findall(
        r"^per (second and class|pixel): expected calibration error (\d\.\d{3})$", printed, re.MULTILINE
    )
    assert [name for name, _ in errors] == ["second and class", "pixel"]
    assert (tmp_path / "reliability.png").stat().st_size > 1000


def test_the_calibration_error_by_hand():
    table = runpy.run_path(str(EXAMPLES / "reliability.py"))["Reliability"]()
    table.add(np.array([0.9, 0.9, 0.9, 0.9, 1.0]), np.array([True, True, True, False, True]))
    table.add(np.array([0.55]), np.array([False]))
    # Of six, five with 0.92 on average of which 0.8 are right, one with 0.55 that is wrong.
    assert table.error() == pytest.approx((5 * 0.12 + 0.55) / 6)
    assert table.rows()[9] == (5, pytest.approx(0.92), pytest.approx(0.8)) and table.rows()[0][0] == 0


def test_objects_of_a_result_have_a_mask_for_each_look():
    script = runpy.run_path(str(EXAMPLES / "like_objects.py"))
    seen = {"id": 7, "score": 0.5, "box": [1, 1, 2, 3], "rle": {"size": [4, 3], "counts": "525"}}
    frames = [{"sounding": []}, {"sounding": [{"id": 2, "objects": [seen]}]}]
    objects = [{"id": 7, "class_id": 2, "score": 0.5}]
    (found,) = script["objects_of"]({"source": {"height": 4, "width": 3}, "frames": frames, "objects": objects})
    assert (found.class_id, found.score, found.masks.shape) == (2, 0.5, (2, 4, 3))
    assert not found.masks[0].any() and np.argwhere(found.masks[1]).tolist() == [[1, 1], [2, 1]]
