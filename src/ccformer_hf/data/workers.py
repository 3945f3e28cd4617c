"""What every process that reads clips ahead does first, and how it ends."""

import atexit
import multiprocessing.util  # before `atexit.register` below: what is registered later runs earlier
import signal


def leave_signals_to_the_main_process(worker: int) -> None:
    """`worker_init_fn` of a DataLoader: SIGTERM and Ctrl-C often go to all processes at once, and a dead worker would end the main
    one before it has saved its state. Workers end with the main process all the same."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def _end_workers() -> None:
    """At its exit, multiprocessing sends SIGTERM to the workers that are left and waits for them: for ever, if they ignore it."""
    left = [process for process in multiprocessing.active_children() if process.daemon]
    if left:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would call a killed worker an error
    for process in left:
        process.kill()
