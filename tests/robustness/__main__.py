"""Tries many mutated files and folders, or kills many commands: `python -m tests.robustness --kind media --cases 500`.

Each case runs in a process of its own, and the same seed makes the same cases. Prints what must not be as it comes,
and a table at the end; the exit code is 1 where there was any.
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
    for number in range(cases):
        rng = np.random.default_rng([seed, number])
        source = sources[rng.integers(len(sources))]
        trial = trials.TRIALS[kind][rng.integers(len(trials.TRIALS[kind]))].__name__
        place = root / f"case-{number}"
        how = copy_mutated(source, place / "given", rng)
        outcome = in_a_process(trial, kind, place)
        counts[outcome.kind] += outcome.kind in ("answered", "refused")
        for fault in outcome.faults():
            counts[fault] += 1
            about = f"{outcome.seconds:.0f} s, {outcome.megabytes:.0f} MB {' '.join(outcome.leftovers)}"
            print(f"case {number}, {trial} of {source.name}: {fault} ({about})\n  {how}\n  {outcome.text}", flush=True)
        shutil.rmtree(place)
        if (number + 1) % 50 == 0:
            print(f"{number + 1}: {trials.table(counts, number + 1)}", flush=True)
    print(f"{kind}, seed {seed}\n{trials.HEAD}\n{trials.table(counts, cases)}")
    return int(any(counts[name] for name in counts if name not in ("answered", "refused")))


def in_a_process(trial: str, kind: str, place: Path) -> trials.Outcome:
    (place / "work").mkdir()
    answer = place / "answer.json"
    process = SERVER.Process(target=trials.run_case, args=(trial, kind, place / "given", place / "work", answer))
    process.start()
    process.join(trials.PATIENCE)
    if process.exitcode is None:
        trials.end_group(process.pid)
        process.join()
        return trials.Outcome("hang", "was ended")
    if not answer.is_file():
        return trials.Outcome("crashed", f"exit code {process.exitcode}")
    return trials.Outcome(**json.loads(answer.read_text()))


if __name__ == "__main__":
    sys.exit(main())
