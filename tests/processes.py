"""What runs in processes of its own.

Functions run in forked processes, which need not import torch anew: it takes longer than most of what is tested. They
are forked from a server that has imported all and has no threads. A fork of the tests' own process, where a Hub is
served or a page, can wait for ever for a lock that one of its threads held.
"""

import importlib.util
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from unittest.mock import patch

import torch

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["pytest", "ccformer_hf.hub", "ccformer_hf.data.convert", "ccformer_hf.training.loop"])
AT_FIRST = dict(os.environ)


def run_command(*arguments: str, cwd: Path | None = None) -> tuple[subprocess.CompletedProcess, float]:
    """`ccformer` in a fresh process, and its CPU seconds: on a busy machine those by the clock say little."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "ccformer_hf", *arguments], capture_output=True, text=True, cwd=cwd)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def start(function: Callable, *arguments, output: Path, **environment: str) -> multiprocessing.Process:
    """Starts `function`, which its module names, in a process group of its own, with one thread.

    The module is imported anew there: no `monkeypatch` of the tests holds. What is printed goes to the file `output`.
    """
    where = (function.__code__.co_filename, function.__name__)
    process = SERVER.Process(target=_run, args=(where, arguments, output, {**os.environ, **environment}))
    # What the test that starts the server has set, such as HF_HUB_OFFLINE, is not for all processes to come.
    with patch.dict(os.environ, AT_FIRST, clear=True):
        ensure_running()
    process.start()
    return process


def finish(process: multiprocessing.Process, output: Path, code: int = 0, seconds: float = 300) -> str:
    """Waits for a process, whose exit code is to be `code`, and gives what it printed."""
    process.join(seconds)
    assert process.exitcode == code, output.read_text()[-3000:]
    return output.read_text()


def in_two_processes(function: Callable, *arguments, folder: Path, code: int = 0) -> str:
    """Runs `function` in two processes that are one launch to `accelerate` and torch; what the first one printed.

    Its exit code is to be `code`, that of the other 0.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    outputs = [folder / f"{rank}.txt" for rank in range(2)]
    both = [
        start(function, *arguments, output=output, RANK=str(rank), LOCAL_RANK=str(rank), **meeting)
        for rank, output in enumerate(outputs)
    ]
    try:
        printed = finish(both[0], outputs[0], code)
        finish(both[1], outputs[1])
        return printed
    finally:
        for process in both:
            process.kill()


def _run(where: tuple[str, str], arguments: tuple, output: Path, environment: dict[str, str]) -> None:
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # for what it starts itself, as in a process of a user
    # Without the first variable accelerate would want several threads.
    os.environ |= {**environment, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(output, "w", buffering=1)
    path, name = where
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.exit(getattr(module, name)(*arguments))
