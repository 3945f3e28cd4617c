"""SIGINT, SIGTERM and SIGHUP as Ctrl-C, however the process was started."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """Signal `number` asked the process to end."""

    def __init__(self, number: int, text: str = ""):
        super().__init__(text or signal.Signals(number).name)
        self.number = number


def stop_exit_code(stop: KeyboardInterrupt) -> int:
    """What a shell says of a command that a signal ended: 128 + its number, 130 for Ctrl-C and 143 for SIGTERM."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raises `Stopped` in the `with` block where one of the signals comes; more are ignored while it cleans up.

    A shell starts what runs in the background with SIGINT ignored, and Python leaves it so; here it acts. `nohup` is
    obeyed: a SIGHUP that is ignored stays ignored. Only the main thread can be stopped; elsewhere nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        for other in handled:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [n for n in SIGNALS if not (n == getattr(signal, "SIGHUP", None) and before[n] is signal.SIG_IGN)]
    for number in handled:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
