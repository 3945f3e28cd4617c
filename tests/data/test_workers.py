import subprocess
import sys

import pytest
from torch.utils.data import Dataset

from ccformer_hf.data.workers import errors_name_the_clip, read_ahead

LEFT_ALIVE = """
from ccformer_hf.data.workers import read_ahead

clips = read_ahead(range(1000), list, workers=2, persistent_workers={})
next(clips)
print("end", flush=True)
"""
ANOTHER_CHILD = """
import multiprocessing, os, signal, sys, time
from ccformer_hf.data.workers import read_ahead

def tidy(number, frame):
    print("tidied up", flush=True)
    os._exit(0)

def child(ready):
    signal.signal(signal.SIGTERM, tidy)
    ready.set()
    time.sleep(60)

fork = multiprocessing.get_context("fork")
ready = fork.Event()
fork.Process(target=child, args=(ready,), daemon=True).start()
ready.wait()
clips = read_ahead(range(1000), list, workers=1)
next(clips)
"""


def printed_by(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("persistent", [True, False])
def test_a_process_with_workers_left_ends(persistent):
    assert printed_by(LEFT_ALIVE.format(persistent)) == "end\n"


def test_other_children_are_left_to_end_as_they_like():
    assert printed_by(ANOTHER_CHILD) == "tidied up\n"


class Clips(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        with errors_name_the_clip(f"number {index}"):
            if index == 3:
                raise FileNotFoundError("its sound is missing")
        return index


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_clip_is_raised_in_one_line(workers):
    batches = read_ahead(Clips(), sum, workers, batch_size=2)
    assert next(batches) == 1
    with pytest.raises(OSError, match="^clip number 3: its sound is missing$"):
        next(batches)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_batch_is_raised_in_one_line(workers):
    def refuse(clips):
        raise ValueError("do not go together")

    with pytest.raises(ValueError, match="^do not go together$"):
        next(read_ahead(Clips(), refuse, workers, batch_size=2))
