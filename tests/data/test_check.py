"""One fault at a time is put into whole sets, and has to be found and named."""

import json
import os
import shutil
import struct
import wave
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from full_size import write_full_size_folder
from made_media import make_video
from PIL import Image

from ccformer_hf.data import check
from ccformer_hf.data.avsbench import OFFICIAL_COUNTS, SETTINGS, SPLITS
from ccformer_hf.data.check import check_data
from ccformer_hf.data.synthetic.clips import write_synthetic_set

METADATA = Path(__file__).resolve().parents[3] / "shared" / "avsbench_metadata"
TABLES = {"s4": "Single-source/s4_meta_data.csv", "ms3": "Multi-sources/ms3_meta_data.csv", "avss": "metadata.csv"}


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    for setting in SETTINGS:
        write_synthetic_set(root / setting, setting, clips=6, seed=0, workers=1, progress=False, size=32)
    return root


@pytest.fixture
def root(request, synthetic, tmp_path):
    """A copy of the synthetic set that the test's `indirect` parameter names, to put a fault into."""
    return Path(shutil.copytree(synthetic / request.param, tmp_path / request.param))


def found(root: Path, setting: str | None = None) -> dict[str, list]:
    """What was found but notes, as `{kind: [split, count, examples]}`."""
    return {
        kind: [report.split, finding.count, finding.examples]
        for report in check_data(root, setting, progress=False)
        for kind, finding in report.findings.items()
        if kind.group != "note"
    }


def notes(root: Path) -> dict[str, list]:
    return {
        kind: [report.split, finding.count, finding.examples]
        for report in check_data(root, progress=False)
        for kind, finding in report.findings.items()
        if kind.group == "note" and kind != check.OTHER_COUNT
    }


def one(root: Path, pattern: str) -> tuple[Path, str]:
    """The first file of a pattern, and its name as seen from `root`."""
    path = min(root.glob(pattern))
    return path, str(path.relative_to(root))


# Whole sets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_synthetic_set_is_fine_but_for_its_number_of_clips(synthetic, setting):
    reports = check_data(synthetic / setting, progress=False)
    assert [(r.setting, r.split, r.clips, r.whole, r.fine) for r in reports] == [
        (setting, split, clips, clips, True) for split, clips in zip(SPLITS, (4, 1, 1), strict=True)
    ]
    assert [list(report.findings) for report in reports] == [[check.OTHER_COUNT]] * 3
    assert reports[0].findings[check.OTHER_COUNT].examples == [f"4 instead of {OFFICIAL_COUNTS[setting][0]}"]


def test_a_folder_of_the_real_size_is_fine(tmp_path, monkeypatch):
    if not METADATA.is_dir():
        pytest.skip("the real tables are not here")
    monkeypatch.setattr(check, "THREADS", 1)  # of files in memory: two wait for each other, in twice the time
    reports = check_data(write_full_size_folder(METADATA, tmp_path / "full"), progress=False)
    counts = {setting: tuple(r.clips for r in reports if r.setting == setting) for setting in SETTINGS}
    assert counts == OFFICIAL_COUNTS
    assert [report.findings for report in reports] == [{}] * 9
    assert all(report.whole == report.clips for report in reports)


# Missing -------------------------------------------------------------------------------------------------------------

PARTS = [
    ("s4", "Single-source/s4_data/gt_masks/test/*/*/*_3.png", "test"),
    ("s4", "Single-source/s4_data/visual_frames/val/*/*/*_1.png", "validation"),
    ("s4", "Single-source/s4_data/audio_wav/test/*/*.wav", "test"),
    ("ms3", "Multi-sources/ms3_data/gt_masks/val/*/*_5.png", "validation"),
    ("ms3", "Multi-sources/ms3_data/audio_wav/test/*.wav", "test"),
    ("avss", "v1s/*/frames/4.jpg", "train"),
    ("avss", "v2/*/labels_semantic/7.png", None),
    ("avss", "v2/*/audio.wav", None),
]


@pytest.mark.parametrize(("root", "pattern", "split"), PARTS, indirect=["root"])
def test_a_deleted_file_is_named(root, pattern, split):
    path, name = one(root, pattern)
    path.unlink()
    ((kind, (found_split, count, examples)),) = found(root).items()
    assert (kind, count, examples) == (check.MISSING, 1, [name])
    assert found_split == split or split is None


@pytest.mark.parametrize("root", SETTINGS, indirect=True)
def test_a_row_without_files_is_found(root):
    setting = root.name
    row = {"s4": "gone,0,dog_barking,val", "ms3": "gone,val", "avss": "gone,gone_0,0,0,dog,val,v1m"}[setting]
    with open(root / TABLES[setting], "a") as file:
        file.write(row + "\n")
    ((kind, (split, count, examples)),) = found(root).items()
    files = 6 if setting == "s4" else 11  # 5 frames, the sound, 5 masks; s4 wants a mask for each frame that is there
    assert (kind, split, count) == (check.MISSING, "validation", files)
    assert len(examples) == check.FEW and all("gone" in name and not (root / name).exists() for name in examples)
    report = next(report for report in check_data(root, progress=False) if report.split == "validation")
    assert (report.clips, report.whole, report.count("missing")) == (2, 1, files)


# Unreadable ----------------------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def write_text(path: Path) -> None:
    path.write_text("<html>404</html>\n")


FRAME, MASK = "Multi-sources/ms3_data/visual_frames/*/*.png", "Multi-sources/ms3_data/gt_masks/test/*/*.png"
WAV = "Multi-sources/ms3_data/audio_wav/test/*.wav"


@pytest.mark.parametrize(
    ("root", "pattern", "damage", "kind", "reason"),
    [
        ("ms3", FRAME, cut, check.BAD_PICTURE, "runcated"),
        ("ms3", FRAME, empty, check.BAD_PICTURE, "it is empty"),
        ("ms3", MASK, write_text, check.BAD_PICTURE, "it is not a picture"),
        ("avss", "v1m/*/frames/2.jpg", cut, check.BAD_PICTURE, "runcated"),
        ("avss", "v2/*/frames/9.jpg", write_text, check.BAD_PICTURE, "it is not a picture"),
        ("ms3", WAV, empty, check.BAD_SOUND, "it is empty"),
        ("ms3", WAV, cut, check.BAD_SOUND, "it is cut short: 79978 of 160000 bytes"),
        ("ms3", WAV, write_text, check.BAD_SOUND, ".wav"),
    ],
    indirect=["root"],
)
def test_a_damaged_file_is_named(root, pattern, damage, kind, reason):
    path, name = one(root, pattern)
    damage(path)
    ((found_kind, (_, count, examples)),) = found(root).items()
    assert (found_kind, count) == (kind, 1)
    assert examples[0].startswith(name) and reason in examples[0]


@pytest.mark.parametrize("root", ["ms3"], indirect=True)
def test_a_folder_under_the_name_of_a_picture_is_unreadable(root):
    path, name = one(root, MASK)
    path.unlink()
    path.mkdir()
    assert found(root)[check.BAD_PICTURE] == ["test", 1, [f"{name} (Is a directory)"]]


@pytest.mark.parametrize("root", ["ms3"], indirect=True)
def test_log_mel_files_stand_in_for_sound_and_are_looked_at(root):
    wav, _ = one(root, WAV)
    pickle = root / "Multi-sources/ms3_data/audio_log_mel/test" / f"{wav.stem}.pkl"
    pickle.parent.mkdir(parents=True)
    pickle.write_bytes(b"\x80\x02]q\x00.")
    wav.unlink()
    assert found(root) == {}
    assert notes(root) == {check.NO_WAVEFORM: ["test", 1, [wav.stem]]}
    for content, reason in ((b"", "it is empty"), (b"\x80\x02]q\x00", "cannot be read")):
        pickle.write_bytes(content)
        ((kind, (_, _, examples)),) = found(root).items()
        assert kind == check.BAD_SOUND and reason in examples[0] and f"{wav.stem}.pkl" in examples[0]


def test_wav_headers(tmp_path):
    """Chunks before the sound, a length unknown to the writer, no sound at all."""
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(8000 * 4 * 3))
    plain = path.read_bytes()
    assert check._look_at_sound(path) == 3
    path.write_bytes(plain[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + plain[12:])
    assert check._look_at_sound(path) == 3
    path.write_bytes(plain[:40] + b"\xff\xff\xff\xff" + plain[44:-32000])
    assert check._look_at_sound(path) == 2
    path.write_bytes(plain[:40] + bytes(4))
    with pytest.raises(check._UnreadableError, match="it holds no sound"):
        check._look_at_sound(path)


def test_what_the_ends_do_not_vouch_for_is_read_in_full(tmp_path):
    """Pictures that load although they look cut, or hide their size behind a long head."""
    picture = Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8))
    for suffix, mode in (("png", "RGB"), ("jpg", "JPEG"), ("webp", "RGB"), ("bmp", "RGB")):
        path = tmp_path / f"a.{suffix}"
        picture.save(path)
        path.write_bytes(path.read_bytes() + b"more")
        assert check._look_at_picture(path) == check._Picture(30, 20, mode)
    picture.save(tmp_path / "long.jpg", comment=b"x" * 5000)
    assert check._look_at_picture(tmp_path / "long.jpg") == check._Picture(30, 20, "JPEG")


def test_size_and_mode_of_pictures_that_are_whole(tmp_path):
    for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16"):
        path = tmp_path / "a.png"
        Image.new(mode, (30, 20)).save(path)
        assert check._look_at_picture(path) == check._Picture(30, 20, mode)
    for mode in ("L", "RGB"):
        for progressive in (False, True):
            path = tmp_path / "a.jpg"
            Image.new(mode, (30, 20)).save(path, progressive=progressive)
            assert check._look_at_picture(path) == check._Picture(30, 20, "JPEG")


# Odd -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["s4", "avss"], indirect=True)
def test_a_label_of_another_size_is_found(root):
    pattern = "Single-source/s4_data/gt_masks/test/*/*/*_2.png" if root.name == "s4" else "v2/*/labels_semantic/3.png"
    path, _ = one(root, pattern)
    Image.new("L", (16, 8)).save(path)
    clip = path.parent.name if root.name == "s4" else path.parents[1].name
    ((kind, (_, count, examples)),) = found(root).items()
    assert (kind, count, examples) == (check.OTHER_SIZE, 1, [f"{clip} (16x8, 32x32)"])


@pytest.mark.parametrize("root", ["ms3"], indirect=True)
def test_a_frame_of_another_size_is_found(root):
    path, _ = one(root, FRAME)
    Image.new("RGB", (32, 31)).save(path)
    assert found(root)[check.OTHER_SIZE][1:] == [1, [f"{path.parent.name} (32x31, 32x32)"]]


@pytest.mark.parametrize(
    ("root", "pattern", "mode", "kind"),
    [
        ("ms3", FRAME, "I;16", check.DEEP),
        ("avss", "v1m/*/labels_semantic/1.png", "RGB", check.NOT_IDS),
    ],
    indirect=["root"],
)
def test_pictures_of_another_kind_are_found(root, pattern, mode, kind):
    path, name = one(root, pattern)
    Image.new(mode, (32, 32)).save(path)
    ((found_kind, (_, count, examples)),) = found(root).items()
    assert (found_kind, count) == (kind, 1) and examples[0].startswith(name)


@pytest.mark.parametrize("root", ["avss"], indirect=True)
@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16"])
def test_ids_of_any_depth_are_fine(root, mode):
    Image.new(mode, (32, 32)).save(one(root, "v1m/*/labels_semantic/1.png")[0])
    assert found(root) == {}


@pytest.mark.parametrize("root", ["ms3"], indirect=True)
def test_a_mask_that_is_jpeg_is_found(root):
    path, name = one(root, MASK)
    Image.new("L", (32, 32)).save(path, format="JPEG")
    assert found(root) == {check.LOSSY: ["test", 1, [f"{name} (JPEG)"]]}


@pytest.mark.parametrize("root", ["avss"], indirect=True)
def test_labels_rgb(root):
    clip = min((root / "v1m").iterdir())
    (clip / "labels_rgb" / "2.png").unlink()
    assert found(root) == {}
    ((kind, (_, count, examples)),) = notes(root).items()
    assert (kind, count, examples) == (check.FEWER_COLOURS, 1, [clip.name])

    shutil.rmtree(clip / "labels_semantic")  # now labels_rgb is all there is
    assert found(root)[check.MISSING][1:] == [1, [f"v1m/{clip.name}/labels_rgb/2.png"]]
    Image.new("L", (32, 32)).save(clip / "labels_rgb" / "2.png")
    assert found(root)[check.NOT_COLOURS][1:] == [1, [f"v1m/{clip.name}/labels_rgb/2.png (L)"]]


@pytest.mark.parametrize("root", ["avss"], indirect=True)
def test_ids_of_no_class_are_found_in_the_first_clip_of_a_split(root):
    last = (root / "metadata.csv").read_text().splitlines()[-1].split(",")  # the only one of the test split
    path = root / last[6] / last[1] / "labels_semantic" / "0.png"
    Image.new("L", (32, 32), 71).save(path)
    ((kind, (split, count, examples)),) = found(root).items()
    assert (kind, split, count) == (check.WRONG_IDS, "test", 1)
    assert examples[0].startswith(f"{path.relative_to(root)}: holds the class id 71; expected 0 (background) to 70")


@pytest.mark.parametrize("root", ["ms3"], indirect=True)
def test_a_sound_much_too_short_is_noted(root):
    path, _ = one(root, WAV)
    for seconds, wanted in ((4.5, {}), (3.5, {check.SHORT_SOUND: ["test", 1, [f"{path.stem} (3.5 s for 5 frames)"]]})):
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            file.writeframes(bytes(round(seconds * 32000)))
        assert found(root) == {}
        assert notes(root) == wanted


# Own clips -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path):
    """Two classes; a training clip with one of two frames labelled, a validation clip with both."""
    root = tmp_path / "folder"
    for split, masks in (("train", 1), ("validation", 2)):
        clip = root / split / "clip"
        (clip / "frames").mkdir(parents=True)
        (clip / "masks").mkdir()
        for number in range(2):
            Image.new("RGB", (32, 24)).save(clip / "frames" / f"{number}.jpg")
        for number in range(masks):
            label = np.zeros((24, 32), dtype=np.uint8)
            label[:4], label[4:8] = 2, 255
            Image.fromarray(label).save(clip / "masks" / f"{number}.png")
    (root / "classes.txt").write_text("dog\ncat\n")
    return root


def test_own_clips_are_fine_without_sound(own):
    reports = check_data(own, progress=False)
    assert [(r.setting, r.split, r.clips, r.whole, r.fine) for r in reports] == [
        ("folder", "train", 1, 1, True),
        ("folder", "validation", 1, 1, True),
    ]
    assert [list(report.findings) for report in reports] == [[check.NO_WAVEFORM]] * 2


@pytest.mark.parametrize(
    ("values", "kind", "told"),
    [
        ((0, 255), check.ONLY_IGNORED, "clip"),
        ((0, 3), check.WRONG_IDS, "validation/clip/masks/0.png: holds the class id 3"),
    ],
)
def test_own_masks_with_unknown_ids_are_found(own, values, kind, told):
    for path in (own / "validation/clip/masks").iterdir():
        Image.fromarray(np.repeat(np.uint8(values), 12 * 32).reshape(24, 32)).save(path)
    ((found_kind, (split, count, examples)),) = found(own).items()
    assert (found_kind, split, count) == (kind, "validation", 1) and examples[0].startswith(told)


def test_own_masks_in_colours_are_found(own):
    Image.new("RGB", (32, 24)).save(own / "train/clip/masks/0.png")
    assert found(own) == {check.NOT_IDS: ["train", 1, ["train/clip/masks/0.png (RGB)"]]}


def test_own_clips_without_frames_or_labels(own):
    (own / "train/clip/masks/0.png").rename(own / "train/clip/masks/9.png")
    assert found(own) == {check.MISSING: ["train", 1, ["the frame of train/clip/masks/9.png"]]}
    (own / "train/clip/masks/9.png").unlink()
    assert found(own) == {} and notes(own)[check.NOT_ANNOTATED] == ["train", 1, ["clip"]]


def test_own_videos(own):
    video = own / "validation" / "film"
    (video / "masks").mkdir(parents=True)
    make_video(video / "video.mp4", 2.0)
    Image.new("L", (96, 64), 1).save(video / "masks" / "000001.png")
    assert found(own) == {check.MIXED: ["validation", 1, ["film"]]}
    shutil.rmtree(own / "validation" / "clip")
    assert found(own) == {}
    Image.new("L", (48, 32), 1).save(video / "masks" / "000001.png")
    assert found(own) == {check.OTHER_SIZE: ["validation", 1, ["film (48x32, 96x64)"]]}
    (video / "video.mp4").write_bytes(b"no video")
    ((kind, (_, _, examples)),) = found(own).items()
    assert kind == check.MISSING and "video.mp4" in examples[0]


# Shards --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path):
    root = tmp_path / "shards"
    (root / "s4").mkdir(parents=True)
    plan = {"s4": {"class_names": ["background", "sounding"], "clips_per_shard": {"train": [3, 2], "test": [4]}}}
    (root / "shards.json").write_text(json.dumps(plan))
    (root / "README.md").write_text("a card")
    for name, rows in (("train-00000-of-00002", 3), ("train-00001-of-00002", 2), ("test-00000-of-00001", 4)):
        pq.write_table(pa.table({"id": range(rows)}), root / "s4" / f"{name}.parquet")
    return root


def test_whole_shards_are_fine(shards):
    reports = check_data(shards, progress=False)
    assert [(r.setting, r.split, r.clips, r.whole, r.findings) for r in reports] == [
        ("s4", "train", 5, 5, {}),
        ("s4", "test", 4, 4, {}),
    ]
    with pytest.raises(FileNotFoundError, match="holds no ms3, but s4; convert it into this folder too"):
        check_data(shards, "ms3")


def test_faulty_shards_are_found(shards):
    name = "s4/train-00001-of-00002.parquet"
    pq.write_table(pa.table({"id": [1]}), shards / name)
    assert found(shards) == {check.OTHER_ROWS: ["train", 1, [f"{name} (1 instead of 2)"]]}
    cut(shards / name)
    ((kind, (split, count, examples)),) = found(shards).items()
    assert (kind, split, count) == (check.BAD_SHARD, "train", 1) and examples[0].startswith(name)
    (shards / name).unlink()
    assert found(shards) == {check.NOT_CONVERTED: ["train", 1, [name]]}
    assert [report.whole for report in check_data(shards, progress=False)] == [3, 4]


def test_a_missing_card_and_a_broken_plan(shards):
    (shards / "README.md").unlink()
    assert found(shards) == {check.NOT_CONVERTED: ["train", 1, ["README.md"]]}
    cut(shards / "shards.json")
    with pytest.raises(ValueError, match="shards.json: cannot be read .*data convert` again"):
        check_data(shards)


# Wrong folders -------------------------------------------------------------------------------------------------------


def test_wrong_folders_and_settings_are_refused(synthetic, tmp_path):
    with pytest.raises(NotADirectoryError, match="nowhere: is not a folder"):
        check_data(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no s4_meta_data.csv"):
        check_data(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no ms3, but s4; name another folder or setting"):
        check_data(synthetic / "s4", "ms3")
    with pytest.raises(ValueError, match="setting is 'S4'; expected one of 's4'"):
        check_data(synthetic / "s4", "S4")
    with pytest.raises(FileNotFoundError, match=r"classes\.txt: there is no such file"):
        check_data(synthetic / "s4", "folder")


@pytest.mark.parametrize("root", SETTINGS, indirect=True)
def test_a_table_with_an_unknown_split_is_refused(root):
    table = root / TABLES[root.name]
    table.write_text(table.read_text().replace("val", "dev"))
    with pytest.raises(ValueError, match=f"{os.path.basename(table)}: row 6 has the split 'dev'"):
        check_data(root)
