import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_media import SoundTrack, make_video, write_media
from PIL import Image

from ccformer_hf.data import check
from ccformer_hf.data.check import check_data
from ccformer_hf.data.convert import convert
from ccformer_hf.data.folder import list_folder_clips, read_folder_class_names
from ccformer_hf.data.loading import load_folder

IDS = np.array([[0, 1, 2], [255, 0, 1]], dtype=np.uint8)


def clip_folder(root: Path) -> Path:
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
    loaded = load_folder(clip_folder(tmp_path / "mine"))
    assert list(loaded) == ["train", "validation"]
    assert loaded["train"].features["labels"].names == ["background", "dog", "cat"]
    (row,) = loaded["train"]
    assert (row["id"], row["setting"], row["annotated"], row["size"]) == ("a", "folder", [False, True, False], [2, 3])
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
    (row,) = load_folder(root, "test")
    assert len(row["frames"]) == 3 and row["frames"][0].size == (64, 48) and row["size"] == [48, 64]
    assert row["annotated"] == [False, False, True]
    assert row["labels"].shape == (3, 48, 64) and (row["labels"][2] == 1).all() and (row["labels"][:2] == 255).all()
    assert len(row["sound"]["waveform"]) / row["sound"]["sampling_rate"] == pytest.approx(3, abs=0.1)


def clip_of(root: Path, frames: list[str], masks: list[str] = ()) -> Path:
    """One clip; the red of the frame that comes n-th in `frames` is n, and so is the class id of its mask."""
    clip = root / "train" / "a"
    for name in ("frames", "masks"):
        (clip / name).mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(map(str, range(1, 31))))
    for number, name in enumerate(frames):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(clip / "frames" / name, lossless=True)
    for number, name in enumerate(masks):
        Image.new("L", (8, 8), number).save(clip / "masks" / name)
    return clip


def numbers_of(root: Path) -> tuple[list[int], list[int]]:
    """What `clip_of` gave, as it is loaded: of the frames, and of their masks."""
    (row,) = load_folder(root, "train")
    return [frame.getpixel((0, 0))[0] for frame in row["frames"]], row["labels"][:, 0, 0].tolist()


@pytest.mark.parametrize("frame", ["{}.png", "f{}.PNG", "IMG_2024-{}.bmp", "{:02}.webp", "{}.tiff", "s{}_x.tif"])
def test_frames_are_read_in_the_order_of_their_numbers(tmp_path, frame):
    numbers = range(1, 13)
    clip_of(
        tmp_path, [frame.format(i) for i in numbers], [frame.format(i).rsplit(".", 1)[0] + ".png" for i in numbers]
    )
    assert numbers_of(tmp_path) == (list(range(12)), list(range(12)))
    assert [report.fine for report in check_data(tmp_path, progress=False)] == [True]


def test_a_mask_belongs_to_the_frame_of_its_number(tmp_path):
    clip_of(tmp_path, [f"{i}.png" for i in range(1, 13)], [f"{i:06}.PNG" for i in range(1, 13)])
    assert numbers_of(tmp_path)[1] == list(range(12))


def test_clips_come_in_the_order_of_their_numbers(tmp_path):
    clip = clip_of(tmp_path, ["0.png"])
    for name in ("clip10", "clip2", "clip.10", "clip.9", ".hidden", "__MACOSX"):
        shutil.copytree(clip, clip.with_name(name))
    (tmp_path / "train" / "Thumbs.db").touch()
    assert [clip.id for clip in list_folder_clips(tmp_path)] == ["a", "clip.9", "clip.10", "clip2", "clip10"]


def test_what_systems_leave_behind_is_left_alone(tmp_path):
    clip = clip_of(tmp_path, ["0.png", "1.png"], ["0.png", "1.png"])
    write_media(clip / "audio.wav", SoundTrack(seconds=2, codec="pcm_s16le"))
    for path in [*clip.rglob("*.png"), *clip.rglob("*.wav")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    for folder in (tmp_path, tmp_path / "train", clip, clip / "frames", clip / "masks"):
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"x")
        (folder / "__MACOSX").mkdir()
    assert numbers_of(tmp_path) == ([0, 1], [0, 1])
    (report,) = check_data(tmp_path, progress=False)
    assert report.fine and report.clips == 1
    convert(tmp_path, tmp_path / "shards", workers=1, progress=False)


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (["frames/01.png"], "train/a/frames has 01.png and 1.png, one name but for the zeros; rename one"),
        (["frames/1.jpg"], "train/a/frames has 1.jpg and 1.png"),
        (["masks/01.png"], "train/a/masks has 01.png and 1.png"),
        (["frames/3.heic"], "train/a/frames/3.heic: expected .png, .jpg, .jpeg, .bmp, .webp, .tif, .tiff; save it as"),
        (["masks/0.jpg"], "train/a/masks/0.jpg: expected .png, .bmp, .tif, .tiff"),
        (["video.MP4"], "train/a has video.MP4 and frames/; leave one of them"),
        (["audio.wav", "audio.mp3"], "train/a has audio.mp3 and audio.wav; leave one of them"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, files, what):
    clip = clip_of(tmp_path, ["0.png", "1.png"], ["0.png", "1.png"])
    for name in files:
        if name.endswith(".MP4"):
            make_video(clip / "video.mp4", 2, size=(64, 48)).rename(clip / name)
        else:
            shutil.copy(clip / "frames" / "1.png", clip / name)
    assert list_folder_clips(tmp_path)[0].unclear[0].startswith(what)
    with pytest.raises(ValueError, match=f"1 of 1 clips in train are not clear, the first: {re.escape(what)}"):
        load_folder(tmp_path, "train")
    (report,) = check_data(tmp_path, progress=False)
    assert report.findings[check.UNCLEAR].examples[0].startswith(what)


def test_video_and_sound_with_other_endings(tmp_path):
    clip = clip_of(tmp_path, ["0.png"])
    write_media(clip / "audio.flac", SoundTrack(seconds=1, rate=8000, codec="flac")).rename(clip / "audio.FLAC")
    (row,) = load_folder(tmp_path, "train")
    assert row["sound"]["sampling_rate"] == 8000
    shutil.rmtree(clip)
    clip.mkdir()
    make_video(clip / "video.mp4", 2, size=(64, 48)).rename(clip / "video.MP4")
    (row,) = load_folder(tmp_path, "train")
    assert len(row["frames"]) == 2 and row["sound"] is not None


def test_a_split_by_another_name_is_not_passed_over(tmp_path):
    clip_of(tmp_path, ["0.png"])
    (tmp_path / "val").mkdir()
    with pytest.raises(ValueError, match="val: expected the name .*validation; rename it"):
        list_folder_clips(tmp_path)


def test_pictures_are_upright_in_folders_and_shards(tmp_path):
    """A photo that was stored lying, with a mask of the upright picture."""
    clip, exif = clip_of(tmp_path / "mine", [], ["0.png"]), Image.Exif()
    exif[274] = 6
    frame = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), [16, 8], 0).repeat(16, 1)).convert("RGB")
    frame.transpose(Image.Transpose.ROTATE_90).save(clip / "frames" / "0.JPG", exif=exif)
    Image.new("L", (16, 24), 1).save(clip / "masks" / "0.png")
    assert [report.fine for report in check_data(tmp_path / "mine", progress=False)] == [True]
    convert(tmp_path / "mine", tmp_path / "shards", workers=1, progress=False)
    for root in (tmp_path / "mine", tmp_path / "shards"):
        (row,) = load_folder(root, "train")
        assert row["size"] == [24, 16] and row["frames"][0].size == (16, 24) and row["labels"].shape == (1, 24, 16)
        assert np.abs(np.asarray(row["frames"][0]).astype(int) - np.asarray(frame)).max() < 12


def test_a_mask_without_its_frame_is_missing_it(tmp_path):
    root = clip_folder(tmp_path / "mine")
    (root / "train" / "a" / "masks" / "f1.png").rename(root / "train" / "a" / "masks" / "g1.png")
    assert list_folder_clips(root)[0].missing == ("the frame of train/a/masks/g1.png",)
    with pytest.raises(FileNotFoundError, match="lack files, the first is a: the frame of train/a/masks/g1.png"):
        load_folder(root, "train")


def test_an_id_that_no_class_has_is_refused(tmp_path):
    root = clip_folder(tmp_path / "mine")
    (root / "classes.txt").write_text("dog")
    with pytest.raises(ValueError, match="f1.png: holds the class id 2"):
        load_folder(root, "train")[0]["labels"]


def test_classes_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="write one class name per line"):
        read_folder_class_names(tmp_path)
    for text, what in (
        ("", "names 0 classes"),
        ("dog\ndog", "names 'dog' twice"),
        ("background", "'background' twice"),
        ("caf\u00e9\ncafe\u0301", "'caf\u00e9' twice"),  # the same name to a reader
    ):
        (tmp_path / "classes.txt").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=what):
            read_folder_class_names(tmp_path)


def test_no_clips(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no clips; expected folders .*/train/<clip>/"):
        list_folder_clips(tmp_path)
    (tmp_path / "Multi-sources").mkdir()
    (tmp_path / "Multi-sources" / "ms3_meta_data.csv").touch()
    with pytest.raises(FileNotFoundError, match="it is AVSBench's, whose setting is 'ms3'"):
        list_folder_clips(tmp_path)
