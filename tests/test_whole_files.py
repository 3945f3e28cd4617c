import pytest

from ccformer_hf.whole_files import WholeFolder, replace_folder, written_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_at_the_end(tmp_path):
    for content in ("one", "two"):
        with written_whole(tmp_path / "file") as path:
            path.write_text(content)
            assert path.parent == tmp_path and path.name != "file"
        assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == content


def test_an_error_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="full"), written_whole(tmp_path / "file") as path:
        path.write_text("half")
        raise OSError("the disk is full")
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "old"


def test_a_folder_is_replaced(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["old"] and names(tmp_path / "old") == ["new"]


def test_a_whole_folder_replaces_at_the_end(tmp_path):
    target = tmp_path / "deep" / "best"
    for content in ("one", "two"):
        with WholeFolder(target) as folder:
            (folder / content).write_text(content)
            assert not (target / content).exists()
        assert names(target) == [content]
    assert names(target.parent) == ["best"]


def test_an_error_leaves_what_was_there(tmp_path):
    target = tmp_path / "best"
    with pytest.raises(OSError, match="full"), WholeFolder(target) as folder:
        raise OSError("the disk is full")
    assert names(tmp_path) == []
    with WholeFolder(target) as folder:
        (folder / "old").write_text("old")
    with pytest.raises(KeyboardInterrupt), WholeFolder(target) as folder:
        (folder / "new").write_text("new")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["best"] and names(target) == ["old"]


def test_leftovers_of_a_killed_writer_are_not_taken_in(tmp_path):
    (tmp_path / ".best.part").mkdir()
    (tmp_path / ".best.part" / "half").write_text("")
    with WholeFolder(tmp_path / "best") as folder:
        (folder / "new").write_text("new")
    assert names(tmp_path) == ["best"] and names(tmp_path / "best") == ["new"]
