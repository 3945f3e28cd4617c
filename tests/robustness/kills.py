"""Kills commands at random moments and runs them again: nothing half done is seen, and nothing left in the end.

The moments lie evenly over the time that the work of the command took when it was last run to its end.

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
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from hub_server import Hub, running_hub, use_hub
from made_media import make_video
from made_sources import write_sources
from small_model import save_small_model

from . import trials

SERVER = multiprocessing.get_context("forkserver")
UNFINISHED = (".partial", ".old", ".part")
HEAD = (
    "command | runs | killed in them | while files were half written | half done to be seen | second run failed | "
    "other result | left-over files"
)
COUNTED = HEAD.split(" | ")[1:]
FAULTS = COUNTED[3:]


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        words: of `ccformer`, with `{samples}`, `{out}` and `{name}` (of the folder `out` is in); empty: a small
            training.
        whole: file of the output that is there only when all is; empty: the folder itself.
        results: patterns of the files that are the same after a second run; of what is published, by the names in the
            repository.
        over: whether there is a result of an earlier run, which has to be there until the new one is.
    """

    words: tuple[str, ...]
    whole: str
    results: tuple[str, ...]
    over: bool = False


SEGMENT = Command(
    ("segment", "{samples}/clip.mp4", "-o", "{out}", "--model", "{samples}/model", "--fps", "5"),
    "clip/segments.json",
    ("clip/masks/*", "clip/segments.json"),
)
COMMANDS = {
    "segment": SEGMENT,
    "segment again": replace(SEGMENT, over=True),
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


def work(name: str, samples: Path, out: Path, hub: str, told: Connection) -> None:
    """Runs a command in this process, and ends it by its exit code; tells that it begins, and the seconds it took."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.setsid()
    trials.torch.set_num_threads(1)
    use_hub(hub)
    tempfile.tempdir = str(out.parent / "temporary")
    words = [word.format(samples=samples, out=out, name=out.parent.name) for word in COMMANDS[name].words]
    from ccformer_hf.cli.main import main

    told.send(None)
    begin = time.monotonic()
    code = main(words) if words else trials.train_small(samples / "data", out, resume=out.exists())
    told.send(time.monotonic() - begin)
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
        return _run(root, Runs(samples, hub), cases, seed)


def _run(root: Path, runs: "Runs", cases: int, seed: int) -> int:
    counts = {name: Counter() for name in COMMANDS}
    wanted = {}
    for name in COMMANDS:
        out = new_out(root / f"whole-{name}")
        assert runs.run(name, out) == 0, f"{name} fails by itself"
        wanted[name] = digest(name, out, runs.hub)
    names = list(COMMANDS)
    for number in range(cases):
        name, rng = names[number % len(names)], np.random.default_rng([seed, number])
        out = new_out(root / f"case-{number}")
        found = one_kill(name, runs, out, rng.uniform(), wanted[name])
        counts[name] += Counter(["runs", *found])
        if set(found) & set(FAULTS):
            print(f"case {number}, {name}: {', '.join(found)}", flush=True)
        shutil.rmtree(out.parent)
    rows = [" | ".join([name, *(str(count[what]) for what in COUNTED)]) for name, count in counts.items()]
    print("\n".join([f"kills, seed {seed}", HEAD, *rows]))
    return int(any(count[fault] for count in counts.values() for fault in FAULTS))


class Runs:
    """Runs the commands, each in a process of its own.

    Attributes:
        hub: to which they publish.
        took: seconds of work of each command, when it last ran from its beginning to its end.
    """

    def __init__(self, samples: Path, hub: Hub):
        self._samples, self.hub = samples, hub
        self.took: dict[str, float] = {}

    def run(self, name: str, out: Path, seconds: float = trials.PATIENCE) -> int:
        """Runs a command, and kills it after so many seconds of its work; its exit code."""
        anew = not out.exists()
        here, there = SERVER.Pipe(duplex=False)
        process = SERVER.Process(target=work, args=(name, self._samples, out, self.hub.address, there))
        process.start()
        there.close()
        here.recv()  # all is imported, and the work begins
        process.join(seconds)
        if process.is_alive():
            trials.end_group(process.pid)
            process.join()
        if process.exitcode == 0 and anew:
            self.took[name] = here.recv()
        return process.exitcode


def new_out(place: Path) -> Path:
    """The output of a command, which does not exist, in a folder that also has temporary files."""
    (place / "temporary").mkdir(parents=True)
    return place / "out"


def one_kill(name: str, runs: Runs, out: Path, share: float, wanted: str) -> list[str]:
    """Kills a command after a share (0..1) of its work, runs it again, and says of what is in `COUNTED` what
    happened."""
    command = COMMANDS[name]
    if command.over:
        runs.run(name, out)
    killed = runs.run(name, out, share * runs.took[name]) == -signal.SIGKILL
    found = ["killed in them"] if killed else []
    if killed and unfinished(out):
        found.append("while files were half written")
    is_whole = command.whole in ("", *results(name, out, runs.hub)) and (out.exists() or name == "publish")
    if (is_whole or command.over) and name != "train" and digest(name, out, runs.hub) != wanted:
        found.append("half done to be seen")
    if killed or not is_whole:
        code = runs.run(name, out)
        if code and not (name in MADE_ONCE and is_whole):
            found.append("second run failed")
    if digest(name, out, runs.hub) != wanted:
        found.append("other result")
    if left := unfinished(out):
        found.append("left-over files")
        print("  ".join(str(path.relative_to(out.parent)) for path in left), flush=True)
    return found


def unfinished(out: Path) -> list[Path]:
    """Files and folders under temporary names."""
    left = [path for path in out.parent.rglob("*") if path.name.endswith(UNFINISHED)]
    return left + list((out.parent / "temporary").glob("ccformer-*"))


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
