"""How many files several processes segment in the time of one: files per minute, and that against one process.

    python examples/benchmark_processes.py                          # 1 and 2 processes, 16 made clips of 10 s
    python examples/benchmark_processes.py --processes 1 2 4 8 --files 64

Each count has as many cores as processes (Linux), as each process also reads, draws and writes in threads of its own:
on an idle machine the other cores would help one process and not several. A process takes seconds to start; files per
minute leave that out (the time of one file per process is subtracted) and the whole time holds it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmark_file import make_clip


def timed(processes: int, clips: list[Path], output: Path, model: str) -> float:
    """Seconds of one run over these files, from its launch to its end."""
    launch = ["torch.distributed.run", "--nproc-per-node", str(processes), "-m", "ccformer_hf"]
    command = [sys.executable, "-m", *launch, "segment", *map(str, clips), "-o", str(output), "--model", model]
    begin = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    seconds = time.perf_counter() - begin
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ended.stderr}")
    done = (output / "report.csv").read_text("utf-8").count(",done") if len(clips) > 1 else 1
    if done != len(clips):
        raise SystemExit(f"expected {len(clips)} files done, {output / 'report.csv'} tells of {done}")
    shutil.rmtree(output)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="(default 1 2)")
    parser.add_argument("--files", type=int, default=16, help="clips to segment (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="of each clip (default %(default)s)")
    parser.add_argument("--model", default="ccformer-tiny", help="model folder or Hub id (default %(default)s)")
    args = parser.parse_args()
    if args.files <= max(args.processes):
        parser.error(f"--files: expected more than the {max(args.processes)} processes, not {args.files}")

    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        clips = [Path(folder, f"clip {index:03d}.mp4") for index in range(args.files)]
        make_clip(clips[0], args.seconds)
        for clip in clips[1:]:
            shutil.copy(clips[0], clip)
        single = None
        print("| processes | seconds in all | files per minute | times one process |\n|---|---|---|---|")
        for processes in args.processes:
            os.sched_setaffinity(0, cores[:processes])
            first = timed(processes, clips[:processes], Path(folder, "first"), args.model)
            whole = timed(processes, clips, Path(folder, "all"), args.model)
            rate = 60 * (args.files - processes) / (whole - first)
            single = single or rate
            print(f"| {processes} | {whole:.0f} | {rate:.1f} | {rate / single:.2f} |", flush=True)


if __name__ == "__main__":
    main()
