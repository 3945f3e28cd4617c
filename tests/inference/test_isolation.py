import gc
import json
import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import planted
import pytest

from ccformer_hf.inference import isolation
from ccformer_hf.inference.isolation import run_isolated
from ccformer_hf.model.media_ccformer import MediaError

posix = pytest.mark.skipif(os.name != "posix", reason="has neither such signals nor limits")


@pytest.fixture(autouse=True)
def started():
    """A child for clip.mp4 is there already: however busy the machine, its start takes no part of a time limit."""
    list(run_isolated(planted.fine, "clip.mp4", 0))
    yield
    isolation.end_idle_children()


def fault(function, *arguments, **limits) -> str:
    """What is told of a file called clip.mp4 when it is read by `function`; the child is gone then."""
    with pytest.raises(MediaError) as error:
        list(run_isolated(function, "clip.mp4", *arguments, **limits))
    assert isolation._idle == [] or isolation._idle[-1].file[0] != "clip.mp4"
    told = str(error.value)
    assert told.startswith("clip.mp4: reading it ") and "another program" in told and "\n" not in told
    return told


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_values_and_arrays_come_over():
    messages = list(run_isolated(planted.fine, "clip.mp4", 3))
    assert [value for value, _ in messages] == [{"number": 0}, {"number": 1}, {"number": 2}]
    for number, (_, (picture, samples)) in enumerate(messages):
        assert picture.dtype == np.uint8 and samples.dtype == np.float32
        assert picture.tolist() == [[number] * 3] * 2 and samples.tolist() == list(range(number))
        picture[0, 0] = 9  # they can be written to
    assert list(run_isolated(planted.fine, "clip.mp4", 0)) == []


def test_the_child_is_light_and_serves_one_file(tmp_path, monkeypatch):
    def child(path):
        (((process, heavy), _),) = run_isolated(planted.process, path)
        assert heavy == [] and process != os.getpid()
        return process

    first = child("a.mp4")
    assert child("a.mp4") == first  # what it prints disturbs nobody
    assert child("b.mp4") != first
    monkeypatch.chdir(tmp_path)
    assert child("a.mp4") != first  # another file of this name


def test_an_error_lets_go_of_what_it_goes_through():
    class Held:
        pass

    def use():
        held = Held()
        seen.append(weakref.ref(held))
        list(run_isolated(planted.raise_error, "clip.mp4", "media"))

    seen = []
    gc.disable()  # it must not have to wait for that
    try:
        use()
    except MediaError:
        pass
    finally:
        gc.enable()
    assert seen[0]() is None


def test_children_that_are_started_ahead_serve_the_calls_that_follow(monkeypatch):
    there = list(isolation._idle)
    isolation.start_ahead("clip.mp4", 3)
    ready = list(isolation._idle)
    assert [child.file[0] for child in ready] == ["clip.mp4"] * 3
    assert len(there) == 1 and ready[0] is there[0]  # two were started
    monkeypatch.setattr(isolation, "_Child", None)  # no other can be started
    calls = [run_isolated(planted.fine, "clip.mp4", 1) for _ in range(3)]
    for call in calls:  # all go on at the same time
        assert next(call)[0] == {"number": 0}
    assert isolation._idle == []
    for call in calls:
        assert list(call) == []
    assert sorted(map(id, isolation._idle)) == sorted(map(id, ready))


@posix
def test_a_crash_costs_one_file():
    assert "crashed (SIGSEGV)" in fault(planted.crash)
    assert len(list(run_isolated(planted.fine, "clip.mp4", 2))) == 2


def test_a_child_that_hangs_is_stopped(monkeypatch):
    monkeypatch.setattr(isolation, "SILENCE", 0.3)
    assert "made no progress for 0 s and was stopped" in fault(planted.hang)


def test_silence_may_be_longer_for_a_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr(isolation, "SILENCE", 0.1)
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(1_000_000))
    start = time.monotonic()
    with pytest.raises(MediaError, match="no progress for 1 s"):
        list(run_isolated(planted.hang, large))
    assert time.monotonic() - start > 1


def test_a_time_in_all():
    seen = 0
    with pytest.raises(MediaError, match="took more than 1 s"):
        for _ in run_isolated(planted.slow, "clip.mp4", seconds=0.6):
            seen += 1
    assert seen > 1


def test_the_parent_may_take_its_time(monkeypatch):
    monkeypatch.setattr(isolation, "SILENCE", 0.2)
    for _ in run_isolated(planted.fine, "clip.mp4", 3):
        time.sleep(0.3)


@posix
def test_a_child_that_wants_all_memory(monkeypatch):
    monkeypatch.setattr(isolation, "MEMORY", 1 << 30)
    isolation.end_idle_children()
    assert "needs more than 1 GiB of memory" in fault(planted.hungry)


@posix
def test_a_child_that_the_system_kills():
    assert "stopped by the system, mostly for want of memory" in fault(planted.killed)


@posix
@pytest.mark.parametrize(
    "line, more",
    [
        ("no JSON", 0),
        ("[1]", 0),
        ('"end"', 0),
        ("[" * 100_000, 0),
        ("x" * (2 << 20), 0),
        ('{"value": 1}', 0),
        ('{"value": 1, "arrays": [["object", [1]]]}', 8),
        ('{"value": 1, "arrays": [["uint8", [-1]]]}', 8),
        ('{"value": 1, "arrays": [["uint8", [true]]]}', 8),
        ('{"value": 1, "arrays": [["uint8", [1099511627776]]]}', 8),
        ('{"value": 1, "arrays": [["float64", [65536, 65536]]]}', 8),
        ('{"error": ["MediaError"]}', 0),
    ],
)
def test_what_is_no_message_is_refused(line, more):
    assert "unknown message" in fault(planted.say, line, more)


@posix
def test_an_array_that_breaks_off(monkeypatch):
    monkeypatch.setattr(isolation, "SILENCE", 0.3)
    assert "made no progress" in fault(planted.say, '{"value": 1, "arrays": [["uint8", [1000000]]]}', 10)


def test_errors_keep_their_kind():
    with pytest.raises(MediaError, match="^clip.mp4: is odd$"):
        list(run_isolated(planted.raise_error, "clip.mp4", "media"))
    with pytest.raises(ValueError, match="^a number$"):
        list(run_isolated(planted.raise_error, "clip.mp4", "value"))
    with pytest.raises(MediaError, match="^clip.mp4: cannot be read .*lost.*another program"):
        list(run_isolated(planted.raise_error, "clip.mp4", "other"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full, which stands for a full disk")
def test_a_full_disk_keeps_its_number():
    with pytest.raises(OSError, match="No space left") as error:
        list(run_isolated(planted.full_disk, "clip.mp4"))
    assert error.value.errno == 28


@posix
def test_reading_in_another_thread_can_be_ended():
    faults = []

    def read():
        with pytest.raises(MediaError) as error:
            list(run_isolated(planted.hang, "clip.mp4"))
        faults.append(str(error.value))

    thread = threading.Thread(target=read)
    thread.start()
    while isolation._idle:  # until it has taken the one that was started
        time.sleep(0.01)
    isolation.end_children()
    thread.join(20)
    assert len(faults) == 1 and faults[0].startswith("clip.mp4: reading it was stopped")


@posix
def test_what_is_sent_is_read_ahead_up_to_a_bound_and_outlives_a_crash(tmp_path, monkeypatch):
    size = 4 << 20  # more than a pipe holds
    monkeypatch.setattr(isolation, "READ_AHEAD", 3 * size)
    marks = tmp_path / "made"
    messages = run_isolated(planted.large_then_crash, "clip.mp4", 8, size, str(marks))
    next(messages)
    patience = time.monotonic() + 20
    # Beyond the bound there are one that was read when there was still room, one in the pipe, one being made.
    while int(marks.read_text() or 0) < 1 + 3 + 1 and time.monotonic() < patience:
        time.sleep(0.05)
    time.sleep(0.3)
    assert 5 <= int(marks.read_text()) <= 7
    numbers = []
    with pytest.raises(MediaError, match="crashed"):
        for number, (array,) in messages:
            numbers.append(number)
            assert (array == number).all()
    assert numbers == list(range(1, 8))


def test_long_values_and_many_warnings_are_read_ahead_up_to_the_bound_too(monkeypatch):
    monkeypatch.setattr(isolation, "READ_AHEAD", 100_000)
    for message in (({"text": "x" * 10_000}, []), ("x" * 10_000, [np.zeros(3)]), "a warning"):
        asked = []
        ahead = isolation._ReadAhead(lambda message=message, asked=asked: asked.append(1) or message)
        ahead.start()
        time.sleep(0.3)
        ahead._receive = lambda: None  # the last one
        assert 5 < len(asked) < 110
        ahead.end()


def test_leaving_while_the_reader_waits_for_room_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(isolation, "READ_AHEAD", 0)
    before = threading.active_count()
    messages = run_isolated(planted.large_then_crash, "clip.mp4", 8, 4 << 20, str(tmp_path / "made"))
    next(messages)
    time.sleep(0.3)
    messages.close()
    assert threading.active_count() == before


def test_leaving_early_ends_the_child():
    messages = run_isolated(planted.slow, "clip.mp4")
    next(messages)
    before = len(isolation._idle)
    messages.close()
    assert len(isolation._idle) == before


def test_a_python_that_cannot_be_started(monkeypatch):
    monkeypatch.setattr(isolation, "_START", "raise SystemExit(3)")
    isolation.end_idle_children()
    with pytest.raises(OSError, match="clip.mp4: cannot be read.*exit code 3.*can import ccformer_hf"):
        list(run_isolated(planted.fine, "clip.mp4", 1))


@posix
def test_a_parent_that_is_killed_takes_its_child_along():
    """The child is in the middle of a loop that never ends."""
    code = f"""
import sys; sys.path[:] = {json.dumps(sys.path)}
import planted
from ccformer_hf.inference.isolation import run_isolated
(((process, _), _),) = run_isolated(planted.process, "clip.mp4")
hanging = run_isolated(planted.hang, "clip.mp4")
next(hanging)
print(process, flush=True)
next(hanging)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        process = int(parent.stdout.readline())
        assert runs(process)
        parent.kill()
    end = time.monotonic() + 20
    while runs(process) and time.monotonic() < end:
        time.sleep(0.02)
    assert not runs(process)


@posix
def test_a_forked_process_leaves_the_children_of_its_parent_alone():
    list(run_isolated(planted.fine, "clip.mp4", 1))
    assert isolation._idle
    child = os.fork()
    if child == 0:
        os._exit(0 if isolation._idle == [] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert isolation._idle[-1].alive()
