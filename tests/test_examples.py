"""The example scripts run as a user starts them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(*arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a run of the training script: two processes, two steps."""
    folder = tmp_path_factory.mktemp("run")
    printed = run(
        "-m", "torch.distributed.run", "--nproc_per_node", "2", str(EXAMPLES / "train.py"), "--output", str(folder),
        "--clips", "8", "--size", "64", "--steps", "2", "--batch-size", "2", "--warmup-steps", "1",
        ACCELERATE_USE_CPU="true",
    )  # fmt: skip
    assert "2 steps, mean loss of the last 50" in printed
    return folder


def test_train_then_evaluate(trained):
    printed = run(
        str(EXAMPLES / "sound_decides.py"), "--model", str(trained / "last"), "--clips", "1", "--device", "cpu"
    )
    values = re.findall(r" (\d\.\d{4})$", printed, flags=re.MULTILINE)
    assert len(values) == 5 and all(0 <= float(value) <= 1 for value in values)


def test_benchmark_parts_add_up():
    printed = run(
        str(EXAMPLES / "benchmark.py"), "--model", "ccformer-tiny", "--frames", "2", "--size", "64", "--rounds", "3"
    )
    times = {
        name.strip(): float(ms) for name, ms in re.findall(r"^  (\D+?) +(-?[\d.]+) ms", printed, flags=re.MULTILINE)
    }
    assert set(times) == {
        "whole model", "visual backbone", "audio backbone", "EIM", "pixel decoder", "MTM", "the rest", "floor",
    }  # fmt: skip
    assert times["floor"] == pytest.approx(times["visual backbone"] + times["audio backbone"], abs=0.2)
    assert times["floor"] < times["whole model"]
    assert re.search(r"whole model = \d+\.\d\d x its floor", printed)
