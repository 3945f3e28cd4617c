import subprocess
import sys

import pytest

LEFT_ALIVE = """
from torch.utils.data import DataLoader
from ccformer_hf.data.workers import leave_signals_to_the_main_process

clips = iter(DataLoader(range(1000), num_workers=2, worker_init_fn=leave_signals_to_the_main_process, persistent_workers={}))
next(clips)
print("end", flush=True)
"""


@pytest.mark.parametrize("persistent", [True, False])
def test_a_process_with_workers_left_ends(persistent):
    done = subprocess.run(
        [sys.executable, "-c", LEFT_ALIVE.format(persistent)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
