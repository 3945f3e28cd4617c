import ctypes
import sys
import threading

import pytest
from processes import finish, start

from ccformer_hf.demo.memory import ARENAS, share_arenas


def count_arenas(path: str, shared: bool) -> None:
    """Prints how many there are after 20 threads have taken memory at the same time."""
    libc = ctypes.CDLL(None)
    if shared:
        share_arenas()
    together = threading.Barrier(20)
    libc.malloc.restype, libc.fopen.restype = ctypes.c_void_p, ctypes.c_void_p

    def take() -> None:
        together.wait()
        libc.malloc(1000)
        together.wait()

    threads = [threading.Thread(target=take) for _ in range(20)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    file = ctypes.c_void_p(libc.fopen(path.encode(), b"w"))
    libc.malloc_info(0, file)
    libc.fclose(file)
    print(open(path).read().count("<heap nr="))


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_info"), reason="is about glibc alone"
)
def test_many_threads_take_their_memory_from_few_arenas(tmp_path):
    counted = []
    for shared in (True, False):
        process = start(count_arenas, str(tmp_path / "arenas.xml"), shared, output=tmp_path / "count.txt")
        counted.append(int(finish(process, tmp_path / "count.txt")))
    assert counted[0] <= ARENAS < counted[1]
