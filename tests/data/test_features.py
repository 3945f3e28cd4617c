import io

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from PIL import Image

from ccformer_hf.data.features import (
    Floats,
    Frames,
    LabelMaps,
    PictureSize,
    decoded_shard_features,
    folder_features,
    shard_features,
)

NAMES = ("background", "dog", "cat")


def save(path, array) -> str:
    Image.fromarray(np.asarray(array, np.uint8)).save(path)
    return str(path)


def png(array) -> dict:
    file = io.BytesIO()
    Image.fromarray(np.asarray(array, np.uint8)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def test_a_row_of_a_folder_comes_decoded(tmp_path):
    frames = [save(tmp_path / f"{second}.png", np.full((2, 3, 3), 50 * second)) for second in range(2)]
    row = {"id": "a", "setting": "folder", "classes": [], "annotated": [True, False], "frames": frames}
    row |= {"labels": [save(tmp_path / "mask.png", [[0, 1, 2], [255, 0, 0]]), None], "sound": None, "log_mel": None}
    table = {name: [value] for name, value in (row | {"size": frames[0]}).items()}
    clip = Dataset.from_dict(table, features=folder_features(NAMES, False))[0]
    assert clip["labels"].tolist() == [[[0, 1, 2], [255, 0, 0]], [[255] * 3] * 2], "255 where it is not annotated"
    assert [np.asarray(frame)[0, 0, 0] for frame in clip["frames"]] == [0, 50]
    assert (clip["size"], clip["sound"], clip["log_mel"]) == ([2, 3], None, None)


def test_a_clip_without_a_label_map_is_one_pixel_to_ignore():
    assert LabelMaps(list(NAMES)).decode_example([None, None]).tolist() == [[[255]], [[255]]]


def test_label_maps_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"have different sizes: \[\(1, 1\), \(2, 2\)\]; a clip needs one size"):
        LabelMaps(list(NAMES)).decode_example([png([[0]]), None, png([[0, 0], [0, 0]])])


def test_a_shard_holds_pictures_and_names_no_file(tmp_path):
    file = {"bytes": None, "path": save(tmp_path / "secret.png", [[1]])}
    assert LabelMaps(list(NAMES)).decode_example([file]).tolist() == [[[1]]]
    in_shards = LabelMaps(list(NAMES), shards="mine")
    for feature, unnamed in ((in_shards, "a label picture"), (Frames("mine"), "a frame")):
        with pytest.raises(ValueError, match=f"mine: a shard names '.*secret.png' in place of {unnamed}; expected"):
            feature.decode_example([file])
    assert in_shards.decode_example([png([[2]])]).tolist() == [[[2]]]


def test_a_damaged_picture_in_a_shard_says_where_it_lies():
    damaged = {"bytes": b"\x89PNG, and no more", "path": "clip_5.png"}
    for feature in (LabelMaps(list(NAMES), shards="mine"), Frames("mine")):
        with pytest.raises(ValueError, match=r"^mine: clip_5\.png: cannot be read as a picture"):
            feature.decode_example([damaged])


def test_nested_lists_become_arrays():
    feature = Floats([-1, 2])
    stored = feature.cast_storage(pa.array([[[1.0, 2.0], [3.0, 4.0]], None, [[5.0, 6.0]]]))
    assert stored.is_valid().to_pylist() == [True, False, True]
    decoded = [feature.decode_example(stored[number].as_py()) for number in (0, 2)]
    assert [array.tolist() for array in decoded] == [[[1, 2], [3, 4]], [[5, 6]]] and decoded[0].dtype == np.float32
    decoded[0][:] = 0  # may be written to


def test_a_size_is_height_and_width(tmp_path):
    assert PictureSize().decode_example(save(tmp_path / "a.png", np.zeros((2, 5, 3)))) == [2, 5]


def test_shards_have_the_columns_of_folders():
    columns = folder_features(NAMES, True).keys()
    assert shard_features().keys() == decoded_shard_features(NAMES, "mine").keys() == columns
    assert not any(type(feature).__module__.startswith("ccformer_hf") for feature in shard_features().values())
