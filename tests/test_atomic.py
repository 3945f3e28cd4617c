import errno
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ccformer_hf import atomic
from ccformer_hf.atomic import (
    MACHINE,
    AtomicFolder,
    atomic_file,
    new_scratch_folder,
    refuse_filled_folder,
    replace_folder,
    scratch_folder,
    sole_writer,
    temporary_name,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_at_the_end(tmp_path):
    for content in ("one", "two"):
        with atomic_file(tmp_path / "file") as path:
            path.write_text(content)
            assert path.parent == tmp_path and path.name != "file"
        assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == content


def test_an_error_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="full"), atomic_file(tmp_path / "file") as path:
        path.write_text("half")
        raise OSError("the disk is full")
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "old"


def test_a_folder_is_replaced(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["old"] and names(tmp_path / "old") == ["new"]


@pytest.mark.parametrize("swaps", [True, False])
def test_several_that_replace_one_folder_all_succeed_and_it_is_always_there(tmp_path, monkeypatch, swaps):
    target = tmp_path / "best"
    if not swaps:
        monkeypatch.setattr(atomic, "_swapped", lambda *_: False)

    def write(number: int) -> None:
        with AtomicFolder(target) as folder:
            (folder / "file").write_text(str(number))

    write(0)
    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, number) for number in range(100)]
        while not all(writer.done() for writer in writers):
            try:
                assert (target / "file").read_text().isdecimal()
            except FileNotFoundError:
                assert not (swaps and sys.platform == "linux")
    assert [writer.exception() for writer in writers] == [None] * 100
    assert names(tmp_path) == ["best"] and names(target) == ["file"]


def test_a_fault_that_is_no_other_writer_keeps_the_old_folder(tmp_path, monkeypatch):
    with AtomicFolder(tmp_path / "best") as folder:
        (folder / "old").write_text("")
    replace, moves = os.replace, []

    def refused_at_the_second(source, target):
        moves.append(source)
        if len(moves) == 2:
            raise PermissionError(errno.EACCES, "in use")
        replace(source, target)

    monkeypatch.setattr(atomic, "_swapped", lambda *_: False)
    (tmp_path / "new").mkdir()
    with monkeypatch.context() as patch, pytest.raises(PermissionError):
        patch.setattr(os, "replace", refused_at_the_second)
        replace_folder(tmp_path / "new", tmp_path / "best")
    atomic.put_back(tmp_path / "best")
    assert names(tmp_path) == ["best", "new"] and names(tmp_path / "best") == ["old"]


def test_of_two_that_make_a_new_folder_the_second_is_told(tmp_path):
    with pytest.raises(FileExistsError, match="best exists already and is not an empty folder; name a new folder"):
        with AtomicFolder(tmp_path / "best", new=True) as second:
            with AtomicFolder(tmp_path / "best", new=True) as first:
                (first / "first").write_text("")
            (second / "second").write_text("")
    assert names(tmp_path) == ["best"] and names(tmp_path / "best") == ["first"]


@pytest.mark.skipif(os.name != "posix", reason="has no such locks")
def test_a_folder_has_one_writer_and_the_second_is_told(tmp_path):
    told = f"{tmp_path}: another process is writing into it; wait until that has ended, or name another folder"
    with sole_writer(tmp_path), pytest.raises(BlockingIOError, match=re.escape(told)), sole_writer(tmp_path):
        pass
    with sole_writer(tmp_path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="has no such locks")
def test_a_child_that_outlives_the_writer_does_not_keep_its_folder(tmp_path):
    """Workers that read clips are forked while their parent trains, and may outlive it."""
    reading, writing = os.pipe()
    with sole_writer(tmp_path):
        child = os.fork()
        if not child:
            os.close(writing)
            os.read(reading, 1)  # until the parent has seen that the folder is free
            os._exit(len(atomic._locks))
    with sole_writer(tmp_path):
        os.close(writing)
    assert os.waitpid(child, 0) == (child, 0)
    os.close(reading)


def test_a_new_folder_takes_nothing_from_one_that_comes_in_the_last_moment(tmp_path, monkeypatch):
    with pytest.raises(FileExistsError, match="best exists already"), AtomicFolder(tmp_path / "best", new=True):
        check = atomic.refuse_filled_folder

        def and_then_another_writes(path: Path) -> None:
            check(path)
            monkeypatch.setattr(atomic, "refuse_filled_folder", check)
            (path / "theirs").mkdir(parents=True)

        monkeypatch.setattr(atomic, "refuse_filled_folder", and_then_another_writes)
    assert names(tmp_path) == ["best"] and names(tmp_path / "best") == ["theirs"]


@pytest.mark.parametrize("swaps", [True, False])
def test_a_link_to_a_folder_is_replaced_and_the_folder_stays(tmp_path, monkeypatch, swaps):
    if not swaps:
        monkeypatch.setattr(atomic, "_swapped", lambda *_: False)
    (tmp_path / "there").mkdir()
    (tmp_path / "best").symlink_to(tmp_path / "there", target_is_directory=True)
    with AtomicFolder(tmp_path / "best") as folder:
        (folder / "new").write_text("")
    assert names(tmp_path) == ["best", "there"] and names(tmp_path / "best") == ["new"]


def test_a_whole_folder_replaces_at_the_end(tmp_path):
    target = tmp_path / "deep" / "best"
    for content in ("one", "two"):
        with AtomicFolder(target) as folder:
            (folder / content).write_text(content)
            assert not (target / content).exists()
        assert names(target) == [content]
    assert names(target.parent) == ["best"]


def test_an_error_leaves_what_was_there(tmp_path):
    target = tmp_path / "best"
    with pytest.raises(OSError, match="full"), AtomicFolder(target) as folder:
        raise OSError("the disk is full")
    assert names(tmp_path) == []
    with AtomicFolder(target) as folder:
        (folder / "old").write_text("old")
    with pytest.raises(KeyboardInterrupt), AtomicFolder(target) as folder:
        (folder / "new").write_text("new")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["best"] and names(target) == ["old"]


def test_leftovers_of_a_killed_writer_are_removed_and_those_of_others_stay(tmp_path):
    with subprocess.Popen(["true"]) as dead:
        pass
    left = f".best.{MACHINE}-{dead.pid}-0.partial"
    others = [
        f".best.{MACHINE}-{os.getppid()}-0.partial",
        f".other.{MACHINE}-{dead.pid}-0.partial",
        f".best.00000000-{dead.pid}-0.partial",  # of another machine, where the process may run
    ]
    for name in (left, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("")
    with AtomicFolder(tmp_path / "best") as folder:
        (folder / "new").write_text("new")
    assert names(tmp_path / "best") == ["new"]
    assert names(tmp_path) == sorted([*others, "best"])


@pytest.mark.parametrize("name", ["a" * 255, "\u65e5" * 85, "\u65e5" * 22, "a.mp4"])
def test_temporary_names_are_short(tmp_path, name):
    """255 bytes are what a name may have."""
    one, other = temporary_name(tmp_path / name), temporary_name(tmp_path / name)
    assert one.parent == tmp_path and one != other
    assert len(os.fsencode(one.name)) < 110 and one.name.startswith(f".{name[:5]}") and one.name.endswith(".partial")
    with atomic_file(tmp_path / name) as path:
        path.write_text("one")
    (tmp_path / name).unlink()
    for content in ("one", "two"):
        with AtomicFolder(tmp_path / name) as folder:
            (folder / "file").write_text(content)
    assert names(tmp_path) == [name] and (tmp_path / name / "file").read_text() == "two"


def test_long_names_that_begin_alike_have_temporary_names_of_their_own(tmp_path):
    one, other = (temporary_name(tmp_path / ("a" * 200 + end)).name.rsplit(".", 2)[0] for end in "bc")
    assert one != other


def test_writers_of_one_target_at_once(tmp_path):
    with atomic_file(tmp_path / "file") as one, atomic_file(tmp_path / "file") as other:
        one.write_text("one")
        other.write_text("other")
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "one"


def test_another_place_may_be_named_before_the_end(tmp_path):
    whole = AtomicFolder(tmp_path / "one")
    with whole as folder:
        (folder / "file").write_text("")
        whole.target = tmp_path / "other"
    assert names(tmp_path) == ["other"]


def test_folders_that_were_made_are_gone_after_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OSError, match="cannot be written to.*another folder"),
        AtomicFolder(tmp_path / "file" / "deep" / "best"),
    ):
        pass
    with pytest.raises(KeyboardInterrupt), AtomicFolder(tmp_path / "deep" / "er" / "best"):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["file"]


def test_a_place_for_a_new_folder_holds_nothing(tmp_path):
    refuse_filled_folder(tmp_path / "new")
    refuse_filled_folder(tmp_path)
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(FileExistsError, match="exists already and is not an empty folder; name a new folder"):
            refuse_filled_folder(path)


class SafetensorError(Exception):
    """As that of safetensors, which is no OSError."""


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left (os error 28)")],
)
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch, error):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with pytest.raises(OSError, match=r"best: cannot be written \(No space left on device\); make room on the disk"):
        with AtomicFolder(tmp_path / "best") as folder:
            (folder / "half").write_text("")
            raise error
    with pytest.raises(OSError, match=r"cannot be written \(No space left on device\); make room there, or name an"):
        with scratch_folder("ours"):
            raise error
    assert names(tmp_path) == ["temporary"] and names(tmp_path / "temporary") == []


def test_files_that_a_killed_writer_left_go_with_the_next_file(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    killed = f".other.{MACHINE}-{gone.pid}-0.partial"
    others = [f".file.{MACHINE}-{os.getpid()}-99.partial", f".file.00000000-{gone.pid}-0.partial", ".file.partial"]
    for name in (killed, *others):
        (tmp_path / name).write_text("half")
    with atomic_file(tmp_path / "file") as path:
        path.write_text("whole")
    assert names(tmp_path) == sorted(["file", *others])


def test_a_scratch_folder_is_gone_at_its_end_or_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), scratch_folder("ours") as folder:
        (folder / "file").write_text("")
        raise KeyboardInterrupt
    assert names(tmp_path) == []
    gone = subprocess.Popen(["true"])
    gone.wait()
    killed = [f"ours-{MACHINE}-{gone.pid}-abc_d1", f"ours-{MACHINE}-{os.getpid()}-abc"]
    for name in (*killed, f"ours-00000000-{gone.pid}-abc", f"theirs-{MACHINE}-{gone.pid}-abc"):
        (tmp_path / name / "deep").mkdir(parents=True)
    new = new_scratch_folder("ours")
    assert names(tmp_path) == sorted(
        [new.name, killed[1], f"ours-00000000-{gone.pid}-abc", f"theirs-{MACHINE}-{gone.pid}-abc"]
    )
