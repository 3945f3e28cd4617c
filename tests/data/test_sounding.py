import numpy as np
from datasets import Dataset
from PIL import Image

from ccformer_hf.data.features import folder_features
from ccformer_hf.data.sounding import LABEL_MAPS, TABLE, UNKNOWN, SoundingClasses


def clips(folder, setting: str, classes: list[list[str]], maps: list) -> Dataset:
    """Clips of one frame each."""
    paths = [folder / f"{number}.png" for number in range(len(maps))]
    for path, ids in zip(paths, maps, strict=True):
        Image.fromarray(np.array([ids], np.uint8)).save(path)
    table = {"id": list("abc")[: len(maps)], "setting": [setting] * len(maps), "classes": classes}
    table |= {"annotated": [[True]] * len(maps), "frames": [[str(path)] for path in paths]}
    table |= {"labels": [[str(path)] for path in paths], "size": [str(path) for path in paths]}
    features = folder_features(("background", "dog", "cat"), False)
    return Dataset.from_dict(table | {name: [None] * len(maps) for name in ("sound", "log_mel")}, features=features)


def test_the_official_table_tells_first(tmp_path):
    found = SoundingClasses(clips(tmp_path, "avss", [["dog", "bell"], []], [[2, 2], [1, 1]]))
    assert found.told_by == TABLE
    assert [found.of(number) for number in range(2)] == [{"dog", "bell"}, set()]


def test_the_label_maps_tell_of_ones_own_clips(tmp_path):
    """What is to be ignored tells nothing, and a map with nothing in it leaves the clip unknown."""
    found = SoundingClasses(clips(tmp_path, "folder", [[], [], []], [[0, 1, 2], [255, 2, 2], [0, 0, 255]]))
    assert found.told_by == LABEL_MAPS
    assert [found.of(number) for number in range(3)] == [{"dog", "cat"}, {"cat"}, set()]


def test_maps_of_one_class_do_not_tell(tmp_path):
    found = SoundingClasses(clips(tmp_path, "ms3", [[], []], [[1, 1], [1, 1]]))
    assert found.told_by == UNKNOWN and found.of(0) == frozenset()
