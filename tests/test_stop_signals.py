import os
import signal
import subprocess
import sys
import threading

import pytest

from ccformer_hf.stop_signals import Stopped, stop_exit_code, stopped_by_signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="has no such signals")
CODE = """
import signal, sys, time
for name in sys.argv[1:]:
    signal.signal(signal.Signals[name], signal.SIG_IGN)
from ccformer_hf.stop_signals import Stopped, stop_exit_code, stopped_by_signals
try:
    with stopped_by_signals():
        print("ready", flush=True)
        for _ in range(600):  # a signal that comes just before a sleep is only seen after it
            time.sleep(0.1)
except Stopped as stop:
    sys.exit(stop_exit_code(stop))
"""


def ended(number: int, *ignored: str) -> int:
    """The exit code of a process that got a signal, started with some ignored as by a shell's `&` or `nohup`."""
    with subprocess.Popen([sys.executable, "-c", CODE, *ignored], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        return process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_stops_what_runs_in_the_background_too(number):
    assert ended(number, "SIGINT") == 128 + number


def test_nohup_is_obeyed():
    with subprocess.Popen([sys.executable, "-c", CODE, "SIGHUP"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143


def test_cleaning_up_is_not_disturbed_and_the_handlers_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    cleaned = False
    with pytest.raises(Stopped, match="SIGTERM") as stop, stopped_by_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            cleaned = True
    assert cleaned and stop_exit_code(stop.value) == 143
    assert stop_exit_code(KeyboardInterrupt()) == 130  # Ctrl-C where no handler of ours is set
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_other_threads_are_left_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with stopped_by_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
