"""What every process that reads clips ahead does first."""

import signal


def leave_signals_to_the_main_process(worker: int) -> None:
    """`worker_init_fn` of a DataLoader: SIGTERM and Ctrl-C often go to all processes at once, and a dead worker would end the main
    one before it has saved its state. Workers end with the main process all the same."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
