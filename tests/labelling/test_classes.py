import pytest

from ccformer_hf.data.avsbench import AVSS_CLASS_NAMES
from ccformer_hf.labelling.classes import SoundingClass, read_classes


def test_labels_and_prompt_may_be_given(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("# pets\n\ndog: Dog; Bark | a dog\nbaby: Baby cry, infant cry\nhair-dryer\nbell | church bell\n")
    assert read_classes(path) == (
        SoundingClass("dog", ("Dog", "Bark"), "a dog"),
        SoundingClass("baby", ("Baby cry, infant cry",), "baby"),
        SoundingClass("hair-dryer", ("hair dryer",), "hair dryer"),
        SoundingClass("bell", ("bell",), "church bell"),
    )


def test_by_default_they_are_those_of_avsbench():
    assert tuple(found.name for found in read_classes()) == AVSS_CLASS_NAMES[1:]


@pytest.mark.parametrize(
    "text, told",
    [
        ("dog: Dog;\n", "line 1: is 'dog: Dog;'"),
        ("cat\ndog:\n", "line 2: is 'dog:'"),
        ("dog: Dog |\n", "line 1"),
        (": Dog\n", "line 1"),
        ("background\n", "line 1"),
        ("dog\ndog: Bark\n", "line 2: names 'dog' twice"),
        ("# nothing\n", "names 0 classes"),
        ("".join(f"c{number}\n" for number in range(255)), "names 255 classes"),
    ],
)
def test_a_line_that_cannot_be_understood_is_named(tmp_path, text, told):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=told):
        read_classes(path)


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file; write one class per line"):
        read_classes(tmp_path / "classes.txt")
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not text in UTF-8"):
        read_classes(tmp_path / "classes.txt")
