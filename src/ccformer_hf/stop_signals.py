"""SIGINT, SIGTERM and SIGHUP as Ctrl-C, however the process was started (ours)."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end; `exit_code` is what a shell tells of that, 130 for Ctrl-C."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raises `Stopped` in the `with` block where one of the signals comes, and then leaves it alone to clean up: more are ignored.

    A shell starts what runs in the background with SIGINT ignored, and Python leaves it so; here it acts. `nohup` is obeyed: a SIGHUP that is
    ignored stays ignored. Only the main thread can be stopped; elsewhere nothing is done.
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
