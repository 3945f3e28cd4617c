"""Tells what a benchmark measured: tables for the terminal and in Markdown, JSON, and a picture."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from platform import machine, python_version

import torch

from .. import __version__
from .benchmark import BATCHES, FRAMES, PARTS, SIZES, TRAINING, Table
from .pictures import benchmark_picture
from .works import FLOOR, PART_NAMES

PACKAGES = ("torch", "transformers", "timm", "numpy")
TITLES = {
    PARTS: "By part: each alone, and the whole",
    BATCHES: "Several clips at a time",
    FRAMES: "Clips of more frames",
    SIZES: "Larger frames",
    TRAINING: "Training step: forward, losses and backward, without the optimizer",
}
HEADER = ("", "clips", "frames", "size", "ms", "clips/s", "frames/s", "x floor", "quartiles", "M par.", "GFLOP", "MB")
EXPLANATION = (
    f'"x floor": times as long as {FLOOR} alone on the same input, the median of the rounds\' ratios; quartiles: '
    "of these. M par.: millions of parameters. GFLOP: of convolutions, matrix products and attention, an addition "
    "with its multiplication being two. MB: GPU memory at the peak, weights included, inputs not. -: not measured, as "
    "memory on a CPU. The rest is the whole less its parts, which may wait less when they run alone."
)


@dataclass(frozen=True)
class Conditions:
    """Under which a benchmark ran.

    Attributes:
        model: its name, and what its weights are.
        command: that repeats the benchmark.
        device: it ran on.
        dtype: of its weights.
        rounds: times everything was timed.
    """

    model: str
    command: str
    device: torch.device
    dtype: torch.dtype
    rounds: int

    @property
    def text(self) -> str:
        """All but the command on one line."""
        dtype = str(self.dtype).removeprefix("torch.")
        rounds = "one round" if self.rounds == 1 else f"medians of {self.rounds} interleaved rounds"
        return f"{self.model}; {dtype} on {device_name(self.device)}; {rounds}"


def device_name(device: torch.device) -> str:
    """A GPU's name; or which CPU, and with how many threads PyTorch computes on it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"a CPU ({machine()}) with {threads} {'thread' if threads == 1 else 'threads'}"


def text(table: Table) -> str:
    """A table as lines of text, aligned."""
    rows = [HEADER, *_cells(table)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [TITLES[table.kind]]
    for name, *cells in rows:
        aligned = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        lines.append(f"  {name:<{widths[0]}}  {'  '.join(aligned)}")
    return "\n".join(lines)


def markdown(tables: Sequence[Table], conditions: Conditions) -> str:
    """The tables in Markdown, with the picture `benchmark.png` and what the columns mean."""
    lines = [
        "# Benchmark",
        "",
        f"{conditions.text}.",
        "",
        f"```bash\n{conditions.command}\n```",
        "",
        "![times as a picture](benchmark.png)",
    ]
    for table in tables:
        lines += ["", f"## {TITLES[table.kind]}", "", f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
        lines += [f"| {' | '.join(cells)} |" for cells in _cells(table)]
    return "\n".join([*lines, "", EXPLANATION, ""])


def write_report(folder: Path, tables: Sequence[Table], conditions: Conditions) -> None:
    """Writes `benchmark.json`, which has the seconds of every round, `benchmark.md` and `benchmark.png`."""
    found = {
        "command": conditions.command,
        "model": conditions.model,
        "device": device_name(conditions.device),
        "dtype": str(conditions.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "rounds": conditions.rounds,
        "versions": {"ccformer_hf": __version__, "python": python_version()}
        | {name: version(name) for name in PACKAGES},
        "tables": {table.kind: [_entry(table, number) for number in range(len(table.rows))] for table in tables},
    }
    (folder / "benchmark.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "benchmark.md").write_text(markdown(tables, conditions), encoding="utf-8")
    benchmark_picture(tables, TITLES, conditions.text).save(folder / "benchmark.png", format="PNG")


def _entry(table: Table, number: int) -> dict:
    row = table.rows[number]
    middle, low, high = table.against_floor(row)
    figures = {"median_seconds": row.median, "times_floor": middle, "times_floor_quartiles": [low, high]}
    return asdict(row) | figures


def _cells(table: Table) -> list[tuple[str, ...]]:
    cells = []
    for row in table.rows:
        middle, low, high = table.against_floor(row)
        # Of a part, or of what is left of the whole, clips per second say nothing.
        rate = None if row.name in PART_NAMES else row.clips / row.median
        cells.append(
            (
                row.name,
                str(row.clips),
                str(row.frames),
                str(row.size),
                f"{1000 * row.median:.1f}",
                _number(rate),
                _number(None if rate is None else rate * row.frames),
                f"{middle:.2f}",
                f"{low:.2f}..{high:.2f}",
                _number(row.parameters, 1e6),
                _number(row.flops, 1e9),
                _number(row.memory, 1e6),
            )
        )
    return cells


def _number(value: float | None, unit: float = 1) -> str:
    return "-" if value is None else f"{value / unit:.{2 if value / unit < 10 else 1}f}"
