"""The line of the demo's visitors: one clip at a time, and nobody's many clips hold up the others' one."""

import ipaddress
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LOOKED_EVERY = 0.25  # s
REMEMBERED = 1000  # visitors who have left the line


class LineRefused(ValueError):
    """No place in the line: one sentence for the visitor."""


@dataclass(eq=False)
class Place:
    """A visitor's place in the line, see `Line.place`."""

    line: "Line"
    visitor: str

    def wait(self) -> Iterator[int]:
        """How many clips come before, every quarter of a second; ends when it is this one's turn."""
        while before := self.line.before(self):
            yield before
            time.sleep(LOOKED_EVERY)


class Line:
    """Clips that wait, and the one that is worked on.

    Next is the visitor who had a turn longest ago, or has had none; of those, and of a visitor's clips, the one that
    came first.

    Args:
        most: clips that may wait in all.
        most_each: clips that one visitor may have, with the one that is worked on.
    """

    def __init__(self, most: int, most_each: int):
        self._most, self._most_each = most, most_each
        self._waiting: list[Place] = []  # as they came
        self._at_work: Place | None = None
        self._turns: dict[str, int] = {}  # number of the last turn of each visitor, of those who left too
        self._lock = threading.Lock()

    @contextmanager
    def place(self, visitor: str) -> Iterator[Place]:
        """A place for one clip during the `with` block, in which `wait` comes first.

        Raises:
            LineRefused: where the line is full, or the visitor has enough clips in it.
        """
        place = Place(self, visitor)
        with self._lock:
            if len(self._waiting) >= self._most:
                raise LineRefused(f"{self._most} clips are waiting already; try again in a few minutes")
            if sum(other.visitor == visitor for other in self._all()) >= self._most_each:
                raise LineRefused(f"You have {self._most_each} clips in line already; wait until one of them is done")
            self._waiting.append(place)
            self._turns.setdefault(visitor, 0)
        try:
            yield place
        finally:
            with self._lock:
                if self._at_work is place:
                    self._at_work = None
                else:
                    self._waiting.remove(place)
                self._forget()

    def before(self, place: Place) -> int:
        """How many clips come before a place; at 0 it is worked on from now on."""
        with self._lock:
            if self._at_work is place:
                return 0
            before = sorted(self._waiting, key=self._order).index(place)
            if before or self._at_work:
                return before + (self._at_work is not None)
            self._waiting.remove(place)
            self._at_work = place
            self._turns[place.visitor] = max(self._turns.values()) + 1
            return 0

    def _forget(self) -> None:
        """Keeps the turns of those in the line, and of the last who left: who comes again is not new."""
        there = {other.visitor for other in self._all()}
        gone = sorted((name for name in self._turns if name not in there), key=self._turns.get)
        for name in gone[:-REMEMBERED]:
            del self._turns[name]

    def _all(self) -> list[Place]:
        return self._waiting + ([self._at_work] if self._at_work else [])

    def _order(self, place: Place) -> tuple[int, int, int]:
        """Of those who wait: the first one of each visitor, then the second one, ..."""
        number = self._waiting.index(place)
        of_the_same = sum(other.visitor == place.visitor for other in self._waiting[:number])
        return of_the_same, self._turns[place.visitor], number


def visitor_of(address: str | None, page: str | None) -> str:
    """Who a request is from: its address where that is one of the internet, else the page.

    The addresses of a home or office, and of a proxy that stands before the demo, are those of many visitors.

    Args:
        address: of the other end of the connection.
        page: an id that is another one each time that the page is opened.
    """
    try:
        if address and ipaddress.ip_address(address).is_global:
            return address
    except ValueError:  # no number
        pass
    return page or ""
