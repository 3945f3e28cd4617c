"""Kills commands at random moments and runs them again: nothing half done is seen, and nothing left in the end."""

import hashlib
import multiprocessing
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from made_media import make_video
from small_model import save_small_model

from . import trials

SERVER = multiprocessing.get_context("forkserver")
UNFINISHED = (".partial", ".old", ".part")
HEAD = "command | killed | half done to be seen | second run failed | other result | left-over files"


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        words: of `ccformer`, with `{samples}` and `{out}`; empty: a small training.
        whole: file of the output that is there only when all is; `{out}` for the folder itself.
        results: patterns of the files that are the same after a second run.
    """

    words: tuple[str, ...]
    whole: str
    results: tuple[str, ...]


COMMANDS = {
    "segment": Command(
        ("segment", "{samples}/clip.mp4", "-o", "{out}", "--model", "{samples}/model", "--fps", "5"),
        "clip/segments.json",
        ("clip/masks/*", "clip/segments.json"),
    ),
    "convert": Command(
        ("data", "convert", "{samples}/data", "{out}", "--workers", "1"), "README.md", ("ms3/*.parquet", "README.md")
    ),
    "make": Command(
        ("data", "make", "{out}", "--setting", "ms3", "--clips", "9", "--size", "64", "--workers", "1"), "", ("**/*",)
    ),
    "train": Command((), "last/model.safetensors", ("last/model.safetensors",)),
}


def work(name: str, samples: Path, out: Path) -> None:
    """Runs a command in this process, and ends it by its exit code."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.setsid()
    trials.torch.set_num_threads(1)
    words = [word.format(samples=samples, out=out) for word in COMMANDS[name].words]
    if not words:
        trials.train_small(samples / "data", out, resume=out.exists())
        return
    from ccformer_hf.cli.main import main

    code = main(words)
    if code:
        raise SystemExit(code)


def run(root: Path, cases: int, seed: int) -> int:
    """Kills each command in turn, so many times in all."""
    samples = root / "samples"
    samples.mkdir()
    make_video(samples / "clip.mp4", 4.0)
    save_small_model(samples / "model")
    trials.make_small_set(samples / "data")
    counts = {name: Counter() for name in COMMANDS}
    took, wanted = {}, {}
    for name in COMMANDS:
        begin = time.monotonic()
        assert finished(name, samples, root / f"whole-{name}") == 0, f"{name} fails by itself"
        took[name], wanted[name] = time.monotonic() - begin, digest(name, root / f"whole-{name}")
    names = list(COMMANDS)
    for number in range(cases):
        name, rng = names[number % len(names)], np.random.default_rng([seed, number])
        out = root / f"case-{number}" / "out"
        out.parent.mkdir()
        found = one_kill(name, samples, out, rng.uniform(0, took[name]), wanted[name])
        counts[name] += Counter(["killed", *found])
        if found:
            print(f"case {number}, {name}: {', '.join(found)}", flush=True)
    faults = HEAD.split(" | ")[2:]
    rows = [
        " | ".join([name, *(str(count[fault]) for fault in ["killed", *faults])]) for name, count in counts.items()
    ]
    print("\n".join([f"kills, seed {seed}", HEAD, *rows]))
    return int(any(count[fault] for count in counts.values() for fault in faults))


def one_kill(name: str, samples: Path, out: Path, after: float, wanted: str) -> list[str]:
    """Kills a command `after` so many seconds, runs it again, and says what is not as it should be."""
    process = SERVER.Process(target=work, args=(name, samples, out))
    process.start()
    process.join(after)
    trials.end_group(process.pid) if process.is_alive() else None
    process.kill()
    process.join()
    found = []
    whole = out / COMMANDS[name].whole
    if whole.exists() and name != "train" and digest(name, out) != wanted:
        found.append("half done to be seen")
    if process.exitcode == -signal.SIGKILL or not whole.exists():
        code = finished(name, samples, out)
        if code and not (name == "make" and whole.exists()):
            found.append("second run failed")
    if digest(name, out) != wanted:
        found.append("other result")
    left = [path for path in out.parent.rglob("*") if path.name.endswith(UNFINISHED)]
    if left:
        found.append("left-over files")
        print("  ".join(str(path.relative_to(out.parent)) for path in left), flush=True)
    return found


def finished(name: str, samples: Path, out: Path) -> int | None:
    """Runs a command to its end; its exit code."""
    process = SERVER.Process(target=work, args=(name, samples, out))
    process.start()
    process.join(trials.PATIENCE)
    if process.exitcode is None:
        trials.end_group(process.pid)
        process.join()
    return process.exitcode


def digest(name: str, out: Path) -> str:
    """Of the names and contents of a command's results."""
    sums = hashlib.sha256()
    for pattern in COMMANDS[name].results:
        for path in sorted(path for path in out.glob(pattern) if path.is_file()):
            sums.update(f"{path.relative_to(out)} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    return sums.hexdigest()
