"""Tries many mutated files and folders, or kills many commands: `python -m tests.robustness --kind media --cases 500`.

A process tries one case after another until one has a fault; the next one has a fresh process. The same seed makes the
same cases. Prints what must not be as it comes, and a table at the end; the exit code is 1 where there was any.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
for place in (TESTS, TESTS.parent / "src"):
    sys.path.insert(0, str(place))
# The process that the cases are forked from is told by the variable alone.
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2] + [os.environ.get("PYTHONPATH", "")])
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
from robustness import kills, samples, trials  # noqa: E402
from robustness.mutations import copy_mutated  # noqa: E402

from ccformer_hf.stop_signals import stopped_by_signals  # noqa: E402

SERVER = multiprocessing.get_context("forkserver")
# All that a trial imports: a case takes a fraction of a second, and importing it ten times that.
PRELOADED = ["robustness.kills", "ccformer_hf.hub", "ccformer_hf.data.check", "ccformer_hf.data.convert"]
PRELOADED += ["ccformer_hf.data.composing.rows", "ccformer_hf.inference.segmenting", "ccformer_hf.training.loop"]
SERVER.set_forkserver_preload(PRELOADED)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.robustness", description=__doc__)
    parser.add_argument("--kind", required=True, choices=(*samples.MAKERS, "kills"))
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with stopped_by_signals(), tempfile.TemporaryDirectory(prefix="ccformer-robustness-") as folder:
        if options.kind == "kills":
            return kills.run(Path(folder), options.cases, options.seed)
        return run(Path(folder), options.kind, options.cases, options.seed)


def run(root: Path, kind: str, cases: int, seed: int) -> int:
    sources = samples.MAKERS[kind](root / "samples")
    os.environ[trials.SAMPLES] = str(root / "samples")
    os.environ["ACCELERATE_USE_CPU"] = "true"
    counts: Counter = Counter()
    worker, place = Worker(kind), root / "case"  # the same place: children that read a file serve that path only
    for number in range(cases):
        rng = np.random.default_rng([seed, number])
        source = sources[rng.integers(len(sources))]
        trial = trials.TRIALS[kind][rng.integers(len(trials.TRIALS[kind]))].__name__
        how = copy_mutated(source, place / "given", rng)
        outcome = worker.tries(trial, place)
        counts[outcome.kind] += outcome.kind in ("answered", "refused")
        for fault in outcome.faults():
            counts[fault] += 1
            about = f"{outcome.seconds:.0f} s, {outcome.megabytes:.0f} MB {' '.join(outcome.leftovers)}"
            print(f"case {number}, {trial} of {source.name}: {fault} ({about})\n  {how}\n  {outcome.text}", flush=True)
        if outcome.faults():
            worker.end()
            worker = Worker(kind)
        shutil.rmtree(place)
        if (number + 1) % 50 == 0:
            print(f"{number + 1}: {trials.table(counts, number + 1)}", flush=True)
    worker.end()
    print(f"{kind}, seed {seed}\n{trials.HEAD}\n{trials.table(counts, cases)}")
    return int(any(counts[name] for name in counts if name not in ("answered", "refused")))


class Worker:
    """A process that tries cases of one kind, one after another."""

    def __init__(self, kind: str):
        self._here, there = SERVER.Pipe()
        self._process = SERVER.Process(target=trials.try_each, args=(kind, there))
        self._process.start()
        there.close()  # its death ends the pipe

    def tries(self, trial: str, place: Path) -> trials.Outcome:
        """Tries what lies in `place / "given"`."""
        (place / "work").mkdir()
        self._here.send((trial, place / "given", place / "work"))
        if not self._here.poll(trials.PATIENCE):
            return trials.Outcome("hang", "was ended")
        try:
            return trials.Outcome(**json.loads(self._here.recv_bytes()))
        except EOFError:
            self._process.join()
            return trials.Outcome("crashed", f"exit code {self._process.exitcode}")

    def end(self) -> None:
        """Ends it, with its children."""
        trials.end_group(self._process.pid)
        self._process.join()


if __name__ == "__main__":
    sys.exit(main())
