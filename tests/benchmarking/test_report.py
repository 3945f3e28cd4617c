import json

import pytest
import torch

from ccformer_hf.benchmarking.benchmark import PARTS, Table
from ccformer_hf.benchmarking.measuring import Row
from ccformer_hf.benchmarking.report import Conditions, markdown, text, write_report

CONDITIONS = Conditions("m", "ccformer benchmark --model m", torch.device("cpu"), torch.bfloat16, 3)
TABLES = [
    Table(
        PARTS,
        [
            Row("both backbones", 2, 5, 64, [0.1, 0.2, 0.3], 2_000_000, 4_500_000_000),
            Row("EIM", 2, 5, 64, [0.1, 0.1, 0.1], 12_000, None),
            Row("whole model", 2, 5, 64, [0.4, 0.8, 1.2], 25_000_000, 20_000_000_000, 3_000_000),
        ],
    )
]
CELLS = [
    ["both backbones", "2", "5", "64", "200.0", "10.0", "50.0", "1.00", "1.00..1.00", "2.00", "4.50", "-"],
    ["EIM", "2", "5", "64", "100.0", "-", "-", "0.50", "0.42..0.75", "0.01", "-", "-"],
    ["whole model", "2", "5", "64", "800.0", "2.50", "12.5", "4.00", "4.00..4.00", "25.0", "20.0", "3.00"],
]


def test_rates_ratios_and_units_by_hand():
    told = CONDITIONS.text
    assert told.startswith("m; bfloat16 on a CPU (") and told.endswith("medians of 3 interleaved rounds")
    title, *lines = text(TABLES[0]).splitlines()
    assert title == "By part: each alone, and the whole"
    assert len({len(line) for line in lines}) == 1, "the columns are aligned"
    assert [line.split()[-11:] for line in lines[1:]] == [row[1:] for row in CELLS]


def test_markdown_says_the_same():
    told = markdown(TABLES, CONDITIONS)
    assert all(f"| {' | '.join(row)} |" in told for row in CELLS) and CONDITIONS.command in told


def test_json_has_the_seconds_of_every_round(tmp_path):
    write_report(tmp_path, TABLES, CONDITIONS)
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert (found["command"], found["dtype"], found["rounds"]) == (CONDITIONS.command, "bfloat16", 3)
    row = found["tables"]["parts"][2]
    assert row["seconds"] == [0.4, 0.8, 1.2] and row["median_seconds"] == 0.8
    assert row["times_floor"] == pytest.approx(4)
    assert {path.name for path in tmp_path.iterdir()} == {"benchmark.json", "benchmark.md", "benchmark.png"}
