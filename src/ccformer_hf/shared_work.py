"""Shares numbered pieces of work out among the processes of `accelerate launch` or `torchrun`, on one machine or many.

A counter in the launcher's store, where its processes meet, tells who takes which piece: whoever is free takes the
next, so that long and short pieces spread evenly and none is done twice. No process waits for another, but the first
one at the end. Without a launcher there is one process, and no store.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class SharedWork:
    """One job's pieces, for one pass over them.

    Attributes:
        processes: how many share the work.
        rank: number of this process, 0 the main one.
    """

    def __init__(self):
        self.processes = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = 0
        if self.processes > 1:
            from torch.distributed import PrefixStore, rendezvous

            store, self.rank, self.processes = next(rendezvous("env://"))
            # The launcher's store outlives processes that it starts anew after a fault: they count from 0 again.
            self._store = PrefixStore(f"ccformer/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The others enter the block when the main process has left it."""
        if not self.is_main:
            self._wait_for("main is ready")
        yield
        if self.is_main and self.processes > 1:
            self._store.set("main is ready", "")

    def take(self, count: int) -> Iterator[int]:
        """The numbers of `range(count)` that fall to this process; the next is taken when it is asked for."""
        if self.processes == 1:
            yield from range(count)
            return
        while (number := self._store.add("taken", 1) - 1) < count:
            yield number

    def gather(self, results: list[Any]) -> list[Any] | None:
        """What all processes did, in the main one, which waits for them; None in the others.

        Args:
            results: of this process, anything that JSON can hold.
        """
        if not self.is_main:
            self._store.set(f"results {self.rank}", json.dumps(results))
            return None
        everything = list(results)
        for rank in range(1, self.processes):
            self._wait_for(f"results {rank}")
            everything += json.loads(self._store.get(f"results {rank}"))
        return everything

    def _wait_for(self, key: str) -> None:
        while not self._store.check([key]):  # its own `wait` gives up after minutes
            time.sleep(0.1)
