import pytest

from ccformer_hf.data.avsbench import list_clips
from ccformer_hf.data.folder import read_folder_class_names
from ccformer_hf.data.text_files import open_text, read_lines
from ccformer_hf.labelling.classes import read_classes


def test_lines_come_without_blanks_and_without_the_mark_of_a_spreadsheet(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffdog\r\n\r\n  caf\u00e9 \n".encode())
    assert read_lines(tmp_path / "a.txt") == ["dog", "caf\u00e9"]
    with open_text(tmp_path / "a.txt") as file:
        assert file.readline() == "dog\r\n"


@pytest.mark.parametrize("content", [b"caf\xe9\n", "dog\n".encode("utf-16")], ids=["latin-1", "utf-16"])
def test_text_in_another_encoding_is_refused_by_its_name(tmp_path, content):
    for name in ("classes.txt", "ms3_meta_data.csv"):
        (tmp_path / name).write_bytes(content)
    for read in (
        lambda: read_lines(tmp_path / "classes.txt"),
        lambda: read_folder_class_names(tmp_path),
        lambda: read_classes(tmp_path / "classes.txt"),
    ):
        with pytest.raises(ValueError, match=r"classes\.txt: is no text in UTF-8 \(.*\); save it as such"):
            read()
    with pytest.raises(ValueError, match=r"ms3_meta_data\.csv: is no csv file in UTF-8"):
        list_clips("ms3", tmp_path)
