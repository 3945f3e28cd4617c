"""Kills commands at random moments and runs them again: nothing half done is seen, and nothing left in the end.

What is published goes to a Hub on the loopback address, see `hub_server`.
"""

import hashlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hub_server import Hub, running_hub, use_hub
from made_media import make_video
from made_sources import write_sources
from small_model import save_small_model

from . import trials

SERVER = multiprocessing.get_context("forkserver")
UNFINISHED = (".partial", ".old", ".part")
HEAD = "command | runs | killed in them | half done to be seen | second run failed | other result | left-over files"
COUNTED = HEAD.split(" | ")[1:]
FAULTS = COUNTED[2:]


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        words: of `ccformer`, with `{samples}`, `{out}` and `{name}` (of the folder `out` is in); empty: a small
            training.
        whole: file of the output that is there only when all is; empty: the folder itself.
        results: patterns of the files that are the same after a second run; of what is published, by the names in the
            repository.
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
    "compose": Command(
        ("data", "compose", "{samples}/sources/sources.yaml", "-o", "{out}", "--clips", "9", "--workers", "1"),
        "",
        ("**/*",),
    ),
    "train": Command((), "last/model.safetensors", ("last/model.safetensors",)),
    "publish": Command(("publish", "{samples}/model", "me/{name}"), "config.json", ("**/*",)),
}
MADE_ONCE = ("make", "compose")  # what has made its folder refuses to make it again


def work(name: str, samples: Path, out: Path, hub: str) -> None:
    """Runs a command in this process, and ends it by its exit code."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.setsid()
    trials.torch.set_num_threads(1)
    use_hub(hub)
    tempfile.tempdir = str(out.parent / "temporary")
    words = [word.format(samples=samples, out=out, name=out.parent.name) for word in COMMANDS[name].words]
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
    write_sources(samples / "sources")
    with running_hub() as hub:
        return _run(root, samples, hub, cases, seed)


def _run(root: Path, samples: Path, hub: Hub, cases: int, seed: int) -> int:
    first = SERVER.Process(target=os.getpid)  # imports all, which is no part of what the commands take
    first.start()
    first.join()
    counts = {name: Counter() for name in COMMANDS}
    took, wanted = {}, {}
    for name in COMMANDS:
        out = new_out(root / f"whole-{name}")
        begin = time.monotonic()
        assert finished(name, samples, out, hub) == 0, f"{name} fails by itself"
        took[name], wanted[name] = time.monotonic() - begin, digest(name, out, hub)
    names = list(COMMANDS)
    for number in range(cases):
        name, rng = names[number % len(names)], np.random.default_rng([seed, number])
        out = new_out(root / f"case-{number}")
        found = one_kill(name, samples, out, hub, rng.uniform(0, took[name]), wanted[name])
        counts[name] += Counter(["runs", *found])
        if set(found) & set(FAULTS):
            print(f"case {number}, {name}: {', '.join(found)}", flush=True)
        shutil.rmtree(out.parent)
    rows = [" | ".join([name, *(str(count[what]) for what in COUNTED)]) for name, count in counts.items()]
    print("\n".join([f"kills, seed {seed}", HEAD, *rows]))
    return int(any(count[fault] for count in counts.values() for fault in FAULTS))


def new_out(place: Path) -> Path:
    """The output of a command, which does not exist, in a folder that also has temporary files."""
    (place / "temporary").mkdir(parents=True)
    return place / "out"


def one_kill(name: str, samples: Path, out: Path, hub: Hub, after: float, wanted: str) -> list[str]:
    """Kills a command `after` so many seconds, runs it again, and says of what is in `COUNTED` what happened."""
    process = SERVER.Process(target=work, args=(name, samples, out, hub.address))
    process.start()
    process.join(after)
    trials.end_group(process.pid) if process.is_alive() else None
    process.kill()
    process.join()
    found = ["killed in them"] if process.exitcode == -signal.SIGKILL else []
    is_whole = COMMANDS[name].whole in ("", *results(name, out, hub)) and (out.exists() or name == "publish")
    if is_whole and name != "train" and digest(name, out, hub) != wanted:
        found.append("half done to be seen")
    if process.exitcode == -signal.SIGKILL or not is_whole:
        code = finished(name, samples, out, hub)
        if code and not (name in MADE_ONCE and is_whole):
            found.append("second run failed")
    if digest(name, out, hub) != wanted:
        found.append("other result")
    left = [path for path in out.parent.rglob("*") if path.name.endswith(UNFINISHED)]
    left += (out.parent / "temporary").glob("ccformer-*")
    if left:
        found.append("left-over files")
        print("  ".join(str(path.relative_to(out.parent)) for path in left), flush=True)
    return found


def finished(name: str, samples: Path, out: Path, hub: Hub) -> int | None:
    """Runs a command to its end; its exit code."""
    process = SERVER.Process(target=work, args=(name, samples, out, hub.address))
    process.start()
    process.join(trials.PATIENCE)
    if process.exitcode is None:
        trials.end_group(process.pid)
        process.join()
    return process.exitcode


def results(name: str, out: Path, hub: Hub) -> dict[str, bytes]:
    """The contents of a command's results by name, as others see them."""
    if name == "publish":
        repository = ("model", f"me/{out.parent.name}")
        return hub.files(*repository) if repository in hub.repositories else {}
    paths = {path for pattern in COMMANDS[name].results for path in out.glob(pattern) if path.is_file()}
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def digest(name: str, out: Path, hub: Hub) -> str:
    """Of the names and contents of a command's results."""
    place = out.parent.name.encode()  # stands in the card of what is published
    sums = hashlib.sha256()
    for file, content in sorted(results(name, out, hub).items()):
        sums.update(f"{file} {hashlib.sha256(content.replace(place, b'')).hexdigest()}".encode())
    return sums.hexdigest()
