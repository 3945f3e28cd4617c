import numpy as np
import pytest
from made_sources import CLASSES, write_sources

from ccformer_hf.data.composing.material import _Kept, read_material, unusable_files


def test_the_digest_tells_other_material_apart(tmp_path):
    for name in ("one", "again", "other"):
        (tmp_path / name).mkdir()
    one = read_material(write_sources(tmp_path / "one"))["train"]
    again = read_material(write_sources(tmp_path / "again"))["train"]
    assert again.digest == one.digest, "wherever it lies"
    rule = {"sound": "cat", "in_view": "dog"}
    assert read_material(write_sources(tmp_path / "other", never_together=[rule]))["train"].digest != one.digest


def test_classes_without_pictures_or_sounds(tmp_path):
    with pytest.raises(
        ValueError, match="the class 'horse' has no picture to train on; name a source that has some, tell by `map`"
    ):
        read_material(write_sources(tmp_path, classes=[*CLASSES, "horse"]))
    sounds = [{"format": "folders", "path": "train/sounds", "split": "test"}]
    with pytest.raises(ValueError, match="the class 'bell' has no sound to train on"):
        read_material(write_sources(tmp_path, sounds=sounds))
    pictures = [{"format": "cutouts", "path": "train/cutouts", "split": "train"}]
    with pytest.raises(ValueError, match="there is no photograph to paste the cut-outs on"):
        read_material(write_sources(tmp_path, pictures=pictures, backgrounds=None))


def test_a_split_without_sounds_is_left_out(tmp_path):
    sounds = [{"format": "folders", "path": "train/sounds", "split": "train"}]
    assert set(read_material(write_sources(tmp_path, sounds=sounds))) == {"train"}


def test_files_that_cannot_be_used_are_named(tmp_path):
    path = write_sources(tmp_path)
    assert unusable_files(read_material(path), progress=False) == []
    broken = tmp_path / "train" / "cutouts" / "cat" / "cat0.png"
    broken.write_bytes(broken.read_bytes()[:60])
    silent = tmp_path / "test" / "sounds" / "dog" / "dog5.wav"
    silent.write_bytes(silent.read_bytes()[:44])
    wrong = unusable_files(read_material(path), progress=False)
    assert len(wrong) == 2 and "cat0.png: cannot be read as a picture" in wrong[0] and "dog5.wav" in wrong[1]


def test_things_are_kept_while_there_is_room_and_the_longest_unused_goes_first():
    made = []

    def make(name: str) -> np.ndarray:
        made.append(name)
        return np.zeros(40, np.uint8)

    kept = _Kept(100)
    for name in ("a", "b", "a", "c", "a", "b"):  # "c" takes the room of "b", and "b" then that of "c"
        kept.get(name, lambda name=name: make(name))
    assert made == ["a", "b", "c", "b"]
    assert list(kept.things) == ["a", "b"] and kept.bytes == 80
