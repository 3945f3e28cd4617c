import pytest

from ccformer_hf.data.avsbench import list_clips
from ccformer_hf.data.folder import read_folder_class_names
from ccformer_hf.data.text_files import open_text, read_csv, read_lines
from ccformer_hf.labelling.classes import read_classes


def test_lines_come_without_blanks_and_without_the_mark_of_a_spreadsheet(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffdog\r\n\r\n  caf\u00e9 \n".encode())
    assert read_lines(tmp_path / "a.txt") == ["dog", "caf\u00e9"]
    with open_text(tmp_path / "a.txt") as file:
        assert file.readline() == "dog\r\n"


def test_rows_come_with_their_lines_and_without_blank_ones(tmp_path):
    (tmp_path / "a.csv").write_bytes('\ufeffname,says\r\n\r\ncat,"me\now"\r\ndog,wow'.encode())
    assert list(read_csv(tmp_path / "a.csv")) == [(1, ["name", "says"]), (4, ["cat", "me\now"]), (5, ["dog", "wow"])]


def test_what_is_not_csv_is_refused_by_file_and_line(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n" + "c" * 140_000)  # csv reads no field so long
    with pytest.raises(ValueError, match=r"a\.csv, line 2: is not CSV \(field larger .*\); save it as such"):
        list(read_csv(tmp_path / "a.csv"))


@pytest.mark.parametrize("content", [b"caf\xe9\n", "dog\n".encode("utf-16")], ids=["latin-1", "utf-16"])
def test_text_in_another_encoding_is_refused_by_its_name(tmp_path, content):
    for name in ("classes.txt", "ms3_meta_data.csv"):
        (tmp_path / name).write_bytes(content)
    for read in (
        lambda: read_lines(tmp_path / "classes.txt"),
        lambda: read_folder_class_names(tmp_path),
        lambda: read_classes(tmp_path / "classes.txt"),
    ):
        with pytest.raises(ValueError, match=r"classes\.txt: is not text in UTF-8 \(.*\); save it as such"):
            read()
    with pytest.raises(ValueError, match=r"ms3_meta_data\.csv: is not text in UTF-8"):
        list_clips("ms3", tmp_path)
