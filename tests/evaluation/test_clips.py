import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from ccformer_hf.data.features import folder_features
from ccformer_hf.evaluation.clips import ClipFeed

NAMES = ("background", "dog", "cat")


def clips(folder, setting="folder", names=NAMES, grey=0) -> Dataset:
    """Three silent clips of two frames of 4 x 2 pixels: the first has no label map, the others one each."""
    table = {name: [] for name in ("frames", "labels", "annotated", "size")}
    for number, annotated in enumerate(([False, False], [False, True], [True, False])):
        frames, maps = [], []
        for second in range(2):
            frames.append(str(folder / f"{number}-{second}.png"))
            Image.new("RGB", (2, 4), (grey + second,) * 3).save(frames[-1])
            maps.append(str(folder / f"{number}-{second}-mask.png") if annotated[second] else None)
            if annotated[second]:
                ids = [[number, 0], [number, 0], [255, 1], [255, 1]]
                Image.fromarray(np.array(ids, np.uint8)).save(maps[-1])
        for name, value in (("frames", frames), ("labels", maps), ("annotated", annotated), ("size", frames[0])):
            table[name].append(value)
    table |= {"id": ["a", "b", "c"], "setting": [setting] * 3, "classes": [[]] * 3}
    table |= {"sound": [None] * 3, "log_mel": [None] * 3}
    return Dataset.from_dict(table, features=folder_features(names, False))


def test_clips_with_a_label_map_are_compared_at_the_size_asked_for(tmp_path):
    feed = ClipFeed(clips(tmp_path), 2)
    assert (len(feed), feed.numbers, feed.names, feed.ignore_label) == (2, [1, 2], NAMES, 255)
    frames, sounds, truth = feed[0]
    assert [frame.size for frame in frames] == [(2, 4)] * 2 and list(sounds) == ["original"]
    assert (truth.place, truth.length, truth.kind, truth.annotated.tolist()) == (0, 2, "none", [False, True])
    # The middle of each of the new pixels, which lie two above each other.
    assert truth.labels.tolist() == [[[1, 0], [255, 1]]]
    assert feed.describe(truth) == {"number": 1, "id": "b", "frames": 1, "audio": "none"}


def test_the_digest_tells_other_content_apart(tmp_path):
    digests = set()
    for name, grey in (("one", 0), ("again", 0), ("other", 7)):
        (tmp_path / name).mkdir()
        digests.add(ClipFeed(clips(tmp_path / name, grey=grey), 2)[0][2].digest)
    assert len(digests) == 2


def test_pixels_to_ignore_are_refused_by_the_protocol_with_the_name_of_the_clip(tmp_path):
    feed = ClipFeed(clips(tmp_path, "avss"), 2)
    assert feed.ignore_label is None
    with pytest.raises(ValueError, match="b: .*hold pixels to ignore .255., which AVSBench's protocol does not know"):
        feed[0]


def test_a_set_without_a_label_map_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no clip of the split has an annotated frame; there is nothing to compare"):
        ClipFeed(clips(tmp_path).select([0]), 2)


def test_a_batch_is_padded_and_holds_no_sound(tmp_path, loaded):
    (batch,) = ClipFeed(clips(tmp_path), 2).batches(loaded[1], [0, 1], batch_size=2)
    assert [clip.place for clip in batch.clips] == [0, 1]
    assert batch.inputs["pixel_values"].shape[:2] == (2, 2) and batch.inputs["frame_mask"].all()
    assert batch.audio["original"]["input_features"].shape == (2, 2, 1, 96, 64)
    assert not batch.audio["original"]["audio_mask"].any()
