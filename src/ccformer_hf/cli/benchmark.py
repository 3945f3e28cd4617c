"""`ccformer benchmark`: how long a model takes, by part, against its backbones alone and against Mask2Former."""

import argparse
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from ..atomic import AtomicFolder, refuse_filled_folder
from ..benchmarking.choices import BACKBONES, TABLES
from .arguments import add_command, add_device, at_least, needs_extra, quiet_transformers

BENCHMARK_EXAMPLES = """\
examples:
  ccformer benchmark                                       ResNet-50, random weights, 5 frames of 224 x 224
  ccformer benchmark --backbone pvt-v2-b5 --only parts --rounds 15
  ccformer benchmark --model ccformer-tiny -o tiny         also benchmark.json, benchmark.md and benchmark.png
  ccformer benchmark --frames 5,20,80 --sizes 224,448      also the cost against both; a plot with -o
  ccformer benchmark --device cuda --dtype bfloat16 --compile --batches 1,4,16,64
  ccformer benchmark --model runs/mine/best --onnx --only parts

tables: parts (each part alone, and the whole), batches (clips per second), frames and sizes (where several are named),
training (forward, losses and backward; with another --dtype by autocast).

All of a table runs in turn, round by round, so that a slower moment of the machine meets all of it. The floor is both
backbones alone; Mask2Former is that of transformers on the same backbone, with random weights and its own default
sizes. Nothing here is a score: random weights are as fast as trained ones.
"""


def add_benchmark(commands) -> None:
    """Adds the command to the parser's commands."""
    benchmark = add_command(
        commands,
        "benchmark",
        help="measure how fast a model is",
        description="Measures time, FLOPs, parameters and GPU memory of a model by part, against its two backbones "
        "alone and against Mask2Former.",
        epilog=BENCHMARK_EXAMPLES,
    )
    add = benchmark.add_argument
    of = benchmark.add_mutually_exclusive_group()
    of.add_argument("--model", help="model folder, Hub id, or ccformer-small or ccformer-tiny")
    of.add_argument(
        "--backbone", choices=BACKBONES, default=BACKBONES[0], help="random weights (default: %(default)s)"
    )
    first = "; the first is that of the tables where it does not vary (default: %(default)s)"
    add("--batches", type=numbers(at_least(1)), default="1,4,16", metavar="N,...", help=f"clips at a time{first}")
    add("--frames", type=numbers(at_least(1)), default="5", metavar="N,...", help=f"frames of a clip{first}")
    add("--sizes", type=numbers(side), default="224", metavar="N,...", help=f"sides of the frames in pixels{first}")
    add("--rounds", type=at_least(1), default=5, help="times everything is timed (default: %(default)s)")
    add("--only", choices=TABLES, help="one table (default: all)")
    add_device(benchmark)
    add("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="(default: %(default)s)")
    add("--compile", action="store_true", help="also as torch.compile makes it; takes minutes")
    add("--onnx", action="store_true", help="also as ONNX files, in float32 and int8; takes minutes; CPU only")
    add("-o", "--output", metavar="DIR", help="new folder for benchmark.json, benchmark.md and benchmark.png")
    benchmark.set_defaults(run=_benchmark)


def numbers(of_one: Callable[[str], int]) -> Callable[[str], tuple[int, ...]]:
    """The type of an argument that is several different numbers, `5,20,80`, each of the type `of_one`."""

    def several(text: str) -> tuple[int, ...]:
        values = tuple(of_one(part) for part in text.split(","))
        if len(set(values)) < len(values):
            raise argparse.ArgumentTypeError(f"{text}: expected different numbers")
        return values

    return several


def side(text: str) -> int:
    """The type of an argument that is a side of pictures that the model takes."""
    value = at_least(64)(text)
    if value % 32:
        raise argparse.ArgumentTypeError(f"{text}: expected a multiple of 32, at least 64")
    return value


def _benchmark(options: argparse.Namespace) -> int:
    if options.onnx:
        needs_extra("onnx", "ccformer benchmark --onnx", "onnx", "onnxruntime", "onnxscript")
    output = Path(options.output) if options.output else None
    if output is not None:
        refuse_filled_folder(output)
    import torch

    from ..benchmarking.benchmark import benchmark
    from ..benchmarking.report import Conditions, text, write_report
    from ..benchmarking.works import random_model
    from ..inference.loading import choose_device, load

    quiet_transformers()
    device, dtype = choose_device(options.device), getattr(torch, options.dtype)
    with nullcontext() if output is None else AtomicFolder(output, new=True) as folder:
        model = load(options.model, options.device)[0] if options.model else random_model(options.backbone).to(device)
        name = options.model or f"{options.backbone}, random weights"
        conditions = Conditions(name, _command(options), device, dtype, options.rounds)
        print(conditions.text, flush=True)
        tables = []
        for table in benchmark(
            model,
            options.frames,
            options.sizes,
            options.batches,
            options.rounds,
            dtype,
            options.compile,
            options.onnx,
            options.only,
        ):
            print(f"\n{text(table)}", flush=True)
            tables.append(table)
        if folder is not None:
            write_report(folder, tables, conditions)
    if output is not None:
        print(f"\n{output}")
    return 0


def _command(options: argparse.Namespace) -> str:
    words = ["ccformer", "benchmark"]
    words += ["--model", options.model] if options.model else ["--backbone", options.backbone]
    for name in ("batches", "frames", "sizes"):
        words += [f"--{name}", ",".join(map(str, getattr(options, name)))]
    words += ["--rounds", str(options.rounds), "--device", options.device, "--dtype", options.dtype]
    words += ["--only", options.only] if options.only else []
    return shlex.join(words + [f"--{name}" for name in ("compile", "onnx") if getattr(options, name)])
