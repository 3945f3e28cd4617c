"""The demo under load: `python -m tests.robustness.load --users 8 --minutes 10`.

Starts the demo in a process of its own and sends it clips by its interface for programs: each user has one clip in
line at a time, and one more user as many as a visitor may have. Prints how long they waited for their answers, and the
memory and disk of the demo at the start, in every minute and at the end. The memory is that of the demo itself, and of
the children that read clips for it, of which there are now more and now fewer. Results are kept for half of the time,
not for an hour, so that in the second half as many go as come. On a machine with other work to do the seconds say
little; memory and disk do.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np
from gradio_client import Client, handle_file

from ccformer_hf.demo.app import EXAMPLES
from ccformer_hf.demo.limits import Limits

from . import proc

DEMO = (
    "from ccformer_hf.demo.app import Limits, launch; "
    "launch(host='127.0.0.1', port={port}, limits=Limits(kept={kept}))"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.robustness.load", description=__doc__)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ccformer-load-") as folder:
        (Path(folder) / "server").mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {**os.environ, "TMPDIR": str(Path(folder) / "server"), "HF_HUB_OFFLINE": "1"}
        demo = DEMO.format(port=port, kept=round(options.minutes * 60 / 2))
        server = subprocess.Popen(
            [sys.executable, "-c", demo], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            return load(server, f"http://127.0.0.1:{port}", Path(folder), options.users, options.minutes * 60)
        finally:
            server.terminate()
            server.wait(120)
            print(f"left on the disk after its end: {size(Path(folder) / 'server')} bytes")


def load(server: subprocess.Popen, address: str, folder: Path, users: int, seconds: float) -> int:
    """Sends clips for so long, and prints what came of it; 1 where a clip was not answered."""
    while server.poll() is None and not answers(address):
        time.sleep(0.5)
    waited: dict[str, list[float]] = {"one clip at a time": [], "as many as it may": []}
    failed: list[str] = []

    def use(number: int, client: Client, kind: str) -> None:
        while time.monotonic() < end:
            begin = time.monotonic()
            try:
                clip = handle_file(str(EXAMPLES[number % len(EXAMPLES)]))
                client.predict(clip, "own", None, 0.5, 0.5, api_name="/segment")
                waited[kind].append(time.monotonic() - begin)
            except Exception as error:
                failed.append(f"{kind}: {error}")
                time.sleep(1)

    def client(name: str) -> Client:
        return Client(address, verbose=False, download_files=str(folder / name))

    first = client("first")
    first.predict(handle_file(str(EXAMPLES[0])), "own", None, 0.5, 0.5, api_name="/segment")  # the models are loaded
    greedy = client("greedy")
    threads = [(number, client(f"user{number}"), "one clip at a time") for number in range(users)]
    threads += [(number, greedy, "as many as it may") for number in range(Limits().waiting_each)]
    print(f"{'minute':>8} {'answered':>9} {'memory, MB':>14} {'children, MB':>12} {'children':>8} {'disk, MB':>9}")

    def tell() -> None:
        minute = (seconds - max(0.0, end - time.monotonic())) / 60
        done, disk = sum(map(len, waited.values())), size(folder / "server") / 1e6
        below = [megabytes(child) for child in proc.children(server.pid)]
        memory = f"{megabytes(server.pid):14.0f} {sum(below):12.0f} {len(below):8}"
        print(f"{minute:8.1f} {done:9} {memory} {disk:9.1f}", flush=True)

    end = time.monotonic() + seconds
    running = [threading.Thread(target=use, args=arguments) for arguments in threads]
    for thread in running:
        thread.start()
    while (left := end - time.monotonic()) > 0:
        tell()
        time.sleep(min(60.0, left))
    for thread in running:
        thread.join()
    tell()
    for kind, times in waited.items():
        p50, p95 = np.percentile(times or [np.nan], [50, 95])
        print(f"{kind}: {len(times)} answers, p50 {p50:.1f} s, p95 {p95:.1f} s")
    print(f"not answered: {len(failed)}", *sorted(set(failed)), sep="\n  ")
    return int(bool(failed) or server.poll() is not None)


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def size(folder: Path) -> int:
    """Bytes of the files in a folder, some of which may go meanwhile."""
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.lstat(os.path.join(place, file)).st_size
            except FileNotFoundError:
                pass
    return total


def megabytes(process: int | str) -> float:
    """Memory of a process (Linux); 0 where it has ended."""
    pages = proc.told(process, "statm").split()[1:2]
    return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main())
