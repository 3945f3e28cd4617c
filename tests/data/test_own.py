from pathlib import Path

import numpy as np
import pytest
from made_media import SoundTrack, make_video, write_media
from PIL import Image

from ccformer_hf.data.loading import load_avsbench
from ccformer_hf.data.own import list_own_clips, read_own_class_names

IDS = np.array([[0, 1, 2], [255, 0, 1]], dtype=np.uint8)


def own_folder(root: Path) -> Path:
    """Two clips: three frames with the second annotated and sound, and one frame without sound."""
    root.mkdir()
    (root / "classes.txt").write_text("dog\n\ncat \n")
    first, second = root / "train" / "a", root / "validation" / "b"
    for folder in (first, second):
        (folder / "frames").mkdir(parents=True)
        (folder / "masks").mkdir()
    for number in range(3):
        Image.new("RGB", (3, 2), (number, 0, 0)).save(first / "frames" / f"f{number}.png")
    Image.fromarray(IDS).save(first / "masks" / "f1.png")
    write_media(first / "audio.wav", SoundTrack(seconds=3, rate=8000, codec="pcm_s16le"))
    Image.new("RGB", (3, 2)).save(second / "frames" / "x.jpg")
    Image.fromarray(IDS).save(second / "masks" / "x.png")
    return root


def test_frames_and_masks(tmp_path):
    loaded = load_avsbench("own", own_folder(tmp_path / "mine"))
    assert list(loaded) == ["train", "validation"]
    assert loaded["train"].features["labels"].names == ["background", "dog", "cat"]
    (row,) = loaded["train"]
    assert (row["id"], row["setting"], row["annotated"], row["size"]) == ("a", "own", [False, True, False], [2, 3])
    assert [frame.getpixel((0, 0)) for frame in row["frames"]] == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
    np.testing.assert_array_equal(row["labels"], np.stack([np.full_like(IDS, 255), IDS, np.full_like(IDS, 255)]))
    assert row["sound"]["sampling_rate"] == 8000 and len(row["sound"]["waveform"]) == 24000
    (row,) = loaded["validation"]
    assert row["sound"] is None and row["annotated"] == [True]


def test_videos_with_their_own_sound(tmp_path):
    root = tmp_path / "mine"
    clip = root / "test" / "v"
    (clip / "masks").mkdir(parents=True)
    (root / "classes.txt").write_text("dog")
    make_video(clip / "video.mp4", 3, size=(64, 48))
    Image.fromarray(np.ones((48, 64), dtype=np.uint8)).save(clip / "masks" / "000002.png")
    (row,) = load_avsbench("own", root, "test")
    assert len(row["frames"]) == 3 and row["frames"][0].size == (64, 48) and row["size"] == [48, 64]
    assert row["annotated"] == [False, False, True]
    assert row["labels"].shape == (3, 48, 64) and (row["labels"][2] == 1).all() and (row["labels"][:2] == 255).all()
    assert len(row["sound"]["waveform"]) / row["sound"]["sampling_rate"] == pytest.approx(3, abs=0.1)


def test_a_mask_without_its_frame_is_missing_it(tmp_path):
    root = own_folder(tmp_path / "mine")
    (root / "train" / "a" / "masks" / "f1.png").rename(root / "train" / "a" / "masks" / "g1.png")
    assert list_own_clips(root)[0].missing == ("the frame of train/a/masks/g1.png",)
    with pytest.raises(FileNotFoundError, match="lack files, the first is a: the frame of train/a/masks/g1.png"):
        load_avsbench("own", root, "train")


def test_an_id_that_no_class_has_is_refused(tmp_path):
    root = own_folder(tmp_path / "mine")
    (root / "classes.txt").write_text("dog")
    with pytest.raises(ValueError, match="f1.png: holds the class id 2"):
        load_avsbench("own", root, "train")[0]["labels"]


def test_classes_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="write one class name per line"):
        read_own_class_names(tmp_path)
    for text, what in (
        ("", "names 0 classes"),
        ("dog\ndog", "names 'dog' twice"),
        ("background", "'background' twice"),
    ):
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(ValueError, match=what):
            read_own_class_names(tmp_path)


def test_no_clips(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no clips; wanted are folders .*/train/<clip>/"):
        list_own_clips(tmp_path)
