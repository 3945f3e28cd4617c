import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import load_dataset
from made_media import SoundTrack, make_video, write_media
from PIL import Image
from processes import in_two_processes

from ccformer_hf.data import convert as module
from ccformer_hf.data.convert import convert
from ccformer_hf.data.loading import load_avsbench, load_folder, load_setting
from ccformer_hf.data.synthetic.clips import write_synthetic_set
from ccformer_hf.hub import check_repo_id

SIZE = 48
IDS = np.array([[0, 1, 2], [255, 0, 1]], dtype=np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """`datasets` copies shards to a cache, which is the test's own here."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def official_folder(root: Path, setting: str, clips: int = 4) -> Path:
    return write_synthetic_set(root, setting, clips, seed=0, workers=1, progress=False, size=SIZE)


def clip_folder(root: Path) -> Path:
    """Training clips as frames: one with sound and one mask, one without either; test clips as video."""
    for name in ("train/a/frames", "train/a/masks", "train/b/frames", "test/v/masks"):
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text("dog\ncat\n")
    for number in range(3):
        Image.new("RGB", (3, 2), (number, 0, 0)).save(root / f"train/a/frames/f{number}.png")
    Image.fromarray(IDS).save(root / "train/a/masks/f1.png")
    write_media(root / "train/a/audio.wav", SoundTrack(seconds=3, rate=8000, codec="pcm_s16le"))
    Image.new("RGB", (3, 2), (9, 9, 9)).save(root / "train/b/frames/x.jpg")
    make_video(root / "test/v/video.mp4", 3, size=(64, 48))
    Image.fromarray(np.ones((48, 64), dtype=np.uint8)).save(root / "test/v/masks/000002.png")
    return root


def with_log_mel(root: Path) -> Path:
    """Gives every clip of s4 or ms3 the official log-mel file, and takes the wav of the test clips away."""
    for number, wav in enumerate(sorted(root.rglob("*.wav"))):
        pkl = Path(str(wav).replace("audio_wav", "audio_log_mel")).with_suffix(".pkl")
        pkl.parent.mkdir(parents=True, exist_ok=True)
        pkl.write_bytes(pickle.dumps(torch.full((5, 1, 96, 64), number + 0.5, requires_grad=True)))
        if "/test/" in wav.as_posix():
            wav.unlink()
    return root


def assert_same_row(row: dict, other: dict) -> None:
    assert list(row) == list(other)
    for column in ("id", "setting", "classes", "annotated", "size"):
        assert row[column] == other[column], column
    for frame, other_frame in zip(row["frames"], other["frames"], strict=True):
        assert frame.mode == other_frame.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(frame), np.asarray(other_frame))
    assert row["labels"].dtype == other["labels"].dtype == np.uint8
    np.testing.assert_array_equal(row["labels"], other["labels"])
    assert (row["sound"] is None) == (other["sound"] is None)
    if row["sound"] is not None:
        assert row["sound"]["sampling_rate"] == other["sound"]["sampling_rate"]
        assert row["sound"]["waveform"].dtype == other["sound"]["waveform"].dtype == np.float32
        np.testing.assert_array_equal(row["sound"]["waveform"], other["sound"]["waveform"])
    assert (row["log_mel"] is None) == (other["log_mel"] is None)
    if row["log_mel"] is not None:
        assert row["log_mel"].dtype == other["log_mel"].dtype == np.float32
        np.testing.assert_array_equal(row["log_mel"], other["log_mel"])


def assert_same_rows(setting: str, root: Path, out: Path) -> None:
    wanted, given = load_setting(setting, root), load_setting(setting, out)
    assert list(wanted) == list(given)
    for split in wanted:
        stream = load_setting(setting, out, split, streaming=True)
        for row, other, streamed in zip(wanted[split], given[split], stream, strict=True):
            assert_same_row(row, other)
            assert_same_row(row, streamed)


@pytest.mark.parametrize("setting", ["s4", "ms3", "avss", "folder"])
def test_rows_are_those_of_the_folder(tmp_path, setting):
    root = clip_folder(tmp_path / "in") if setting == "folder" else official_folder(tmp_path / "in", setting)
    if setting == "ms3":
        with_log_mel(root)
    out = tmp_path / "out"
    assert convert(root, out, workers=1, progress=False) == [setting]
    assert_same_rows(setting, root, out)
    rows = [row for split in load_setting(setting, out).values() for row in split]
    if setting == "ms3":
        assert rows[-1]["sound"] is None and (rows[-1]["log_mel"] == 0.5).all() and rows[0]["sound"] is not None
    if setting == "s4":
        assert rows[0]["annotated"] == [True, False, False, False, False]
    if setting == "folder":
        assert [row["sound"] is None for row in rows] == [False, True, False]
        assert load_folder(out, "test").features["labels"].names == ["background", "dog", "cat"]


def test_frames_of_pictures_are_the_original_files(tmp_path):
    root, out = official_folder(tmp_path / "in", "avss"), tmp_path / "out"
    convert(root, out, workers=1, progress=False)
    (path,) = (out / "avss").glob("test-*.parquet")
    (row,) = pq.read_table(path).to_pylist()
    folder = next(root.glob(f"*/{row['id']}/frames"))
    assert [frame["path"] for frame in row["frames"]] == [f"{number}.jpg" for number in range(len(row["frames"]))]
    assert [frame["bytes"] for frame in row["frames"]] == [
        (folder / frame["path"]).read_bytes() for frame in row["frames"]
    ]


def test_datasets_loads_it_without_this_package(tmp_path):
    root, out = official_folder(tmp_path / "in", "s4"), tmp_path / "out"
    convert(root, out, workers=1, progress=False)
    official_folder(tmp_path / "in2", "avss")
    convert(tmp_path / "in2", out, workers=1, progress=False)
    script = f"""
import sys, json, numpy as np
from datasets import load_dataset, get_dataset_config_names
s4, avss = load_dataset({str(out)!r}, "s4"), load_dataset({str(out)!r}, "avss", split="test", streaming=True)
row, other = s4["train"][0], next(iter(avss))
assert not any(name.startswith("ccformer") for name in sys.modules)
print(json.dumps([get_dataset_config_names({str(out)!r}), {{split: len(rows) for split, rows in s4.items()}},
    row["id"], np.asarray(row["frames"][4]).sum().item(), np.asarray(row["labels"][0]).sum().item(),
    row["labels"][0].mode, row["labels"][1],
    sum(row["sound"]["waveform"]), np.asarray(other["labels"][1]).sum().item(), other["size"]]))
"""
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "home"),
        "HF_DATASETS_CACHE": str(tmp_path / "home" / "sets"),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    row = load_avsbench("s4", root, "train")[0]
    other = load_avsbench("avss", tmp_path / "in2", "test")[0]
    assert json.loads(done.stdout) == [
        ["s4", "avss"],
        {"train": 2, "validation": 1, "test": 1},
        row["id"],
        np.asarray(row["frames"][4]).sum(),
        row["labels"][0].sum(),
        "L",
        None,
        pytest.approx(row["sound"]["waveform"].sum(dtype=np.float64)),
        other["labels"][1].sum(),
        [SIZE, SIZE],
    ]


def test_the_card_names_classes_splits_and_license(tmp_path):
    out = tmp_path / "out"
    convert(official_folder(tmp_path / "in", "avss"), out, workers=1, progress=False)
    card = (out / "README.md").read_text()
    assert "  - split: validation\n    path: avss/validation-*.parquet\n" in card
    assert (
        "36 hen" in card
        and "CC BY-NC 4.0" in card
        and "license: other" in card
        and "train 2, validation 1, test 1" in card
    )
    convert(clip_folder(tmp_path / "in2"), tmp_path / "out2", workers=1, progress=False)
    card = (tmp_path / "out2" / "README.md").read_text()
    assert "0 background, 1 dog, 2 cat" in card and "licen" not in card.lower() and "split: validation" not in card


def test_packing_keeps_the_order_and_takes_at_least_one_clip(monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", 10)
    assert module._pack([4, 6, 1, 20, 3, 3, 3, 3]) == [2, 1, 1, 3, 1]


def test_two_processes_write_the_same_shards_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", 1)
    root = official_folder(tmp_path / "in", "ms3", 6)
    convert(root, tmp_path / "one", workers=1, progress=False)
    convert(root, tmp_path / "two", workers=2, progress=False)
    files = {path.relative_to(tmp_path / "one"): path.read_bytes() for path in (tmp_path / "one").rglob("*.*")}
    assert Path("ms3/train-00003-of-00004.parquet") in files and len(files) == 6 + 2
    assert files == {path.relative_to(tmp_path / "two"): path.read_bytes() for path in (tmp_path / "two").rglob("*.*")}
    assert_same_rows("ms3", root, tmp_path / "two")


def convert_in_small_shards(root: Path, out: Path) -> None:
    module.SHARD_BYTES = 1
    print(convert(root, out, workers=1))


def test_processes_of_a_launcher_share_the_shards(tmp_path, monkeypatch):
    root = official_folder(tmp_path / "in", "ms3", 6)
    assert "['ms3']" in in_two_processes(convert_in_small_shards, root, tmp_path / "two", folder=tmp_path)
    monkeypatch.setattr(module, "SHARD_BYTES", 1)
    convert(root, tmp_path / "one", workers=1, progress=False)
    files = {path.relative_to(tmp_path / "one"): path.read_bytes() for path in (tmp_path / "one").rglob("*.*")}
    assert len(files) == 6 + 2
    assert files == {path.relative_to(tmp_path / "two"): path.read_bytes() for path in (tmp_path / "two").rglob("*.*")}


def test_row_groups_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROW_GROUP_BYTES", 1_000_000)  # a clip holds 320 kB of sound
    root, out = official_folder(tmp_path / "in", "ms3", 12), tmp_path / "out"
    convert(root, out, workers=1, progress=False)
    metadata = pq.read_metadata(out / "ms3" / "train-00000-of-00001.parquet")
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [3, 3, 2]
    assert_same_rows("ms3", root, out)


def test_after_a_kill_the_second_run_goes_on(tmp_path):
    root, out = official_folder(tmp_path / "in", "ms3", 6), tmp_path / "out"
    script = f"""
import time
from ccformer_hf.data import convert
whole_row = convert._row
def slow_row(*arguments):
    time.sleep(0.3)
    return whole_row(*arguments)
convert._row, convert.SHARD_BYTES = slow_row, 1
convert.convert({str(root)!r}, {str(out)!r}, workers=1, progress=False)
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    while len(list((out / "ms3").glob("*.parquet"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in (out / "ms3").glob("[!.]*.parquet")}
    (out / "ms3" / ".test-00000-of-00001.parquet.1.partial").touch()
    assert 2 <= len(before) < 6 and not (out / "README.md").exists()
    with pytest.raises(
        FileNotFoundError, match="conversion of ms3 was not finished.*run the same `ccformer data convert`"
    ):
        load_avsbench("ms3", out)

    convert(root, out, workers=1, progress=False)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(out.rglob("*.partial"))
    assert len(list((out / "ms3").glob("*.parquet"))) == 6
    assert_same_rows("ms3", root, out)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unreadable_picture_is_named_and_mended(tmp_path, workers):
    root, out = official_folder(tmp_path / "in", "ms3"), tmp_path / "out"
    picture = sorted(root.rglob("visual_frames/*/*.mp4_3.png"))[-1]
    content = picture.read_bytes()
    picture.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"{picture.name}: cannot be read as a picture .*copy or download it again"):
        convert(root, out, workers=workers, progress=False)
    assert len(list((out / "ms3").glob("*.parquet"))) == 2  # all but the clip's
    assert not (out / "README.md").exists() and not list(out.rglob("*.partial"))
    picture.write_bytes(content)
    convert(root, out, workers=1, progress=False)
    assert_same_rows("ms3", root, out)


def test_a_broken_shard_is_written_again(tmp_path):
    root, out = official_folder(tmp_path / "in", "ms3"), tmp_path / "out"
    convert(root, out, workers=1, progress=False)
    for path, length in zip(sorted((out / "ms3").glob("*.parquet")), (0, 100), strict=False):
        os.truncate(path, length)
    convert(root, out, workers=1, progress=False)
    assert_same_rows("ms3", root, out)


def test_missing_files_are_named_and_nothing_is_written(tmp_path):
    root, out = official_folder(tmp_path / "in", "ms3"), tmp_path / "out"
    mask = next(root.rglob("gt_masks/test/*/*_2.png"))
    mask.unlink()
    with pytest.raises(FileNotFoundError, match=f"1 of 1 clips in test lack files.*{mask.name}.*ccformer data check"):
        convert(root, out, workers=1, progress=False)
    assert not out.exists()


def test_another_source_is_refused_until_the_old_shards_are_gone(tmp_path):
    root, out = official_folder(tmp_path / "in", "ms3"), tmp_path / "out"
    convert(root, out, workers=1, progress=False)
    Image.new("RGB", (5, 5)).save(next(root.rglob("visual_frames/*/*.mp4_3.png")))
    with pytest.raises(FileExistsError, match=r"holds ms3 made from other files \(1 shards, .*delete .*ms3 and run"):
        convert(root, out, workers=1, progress=False)
    larger = official_folder(tmp_path / "in2", "ms3", 7)
    with pytest.raises(FileExistsError, match="holds ms3 made from other files"):
        convert(larger, out, workers=1, progress=False)
    for path in (out / "ms3").iterdir():
        path.unlink()
    convert(larger, out, workers=1, progress=False)
    assert_same_rows("ms3", larger, out)


def test_a_setting_is_added_to_the_others(tmp_path):
    out = tmp_path / "out"
    for setting in ("s4", "ms3"):
        convert(official_folder(tmp_path / setting, setting), out, [setting], workers=1, progress=False)
    for setting in ("s4", "ms3"):
        assert_same_rows(setting, tmp_path / setting, out)
        assert load_dataset(str(out), setting, split="test").num_rows == 1
    with pytest.raises(FileNotFoundError, match="holds no avss, but s4, ms3"):
        load_avsbench("avss", out)


def test_shards_of_an_earlier_version_are_not_added_to(tmp_path):
    source = official_folder(tmp_path / "ms3", "ms3")
    convert(source, tmp_path / "out", ["ms3"], workers=1, progress=False)
    plan = tmp_path / "out" / "shards.json"
    plan.write_text(plan.read_text().replace('"ms3"', '"own"', 1))
    told = "expected s4, ms3, avss, folder as names of settings, not 'own'.*delete the folder"
    with pytest.raises(ValueError, match=told):
        convert(source, tmp_path / "out", ["ms3"], workers=1, progress=False)


def test_folders_that_cannot_be_taken(tmp_path):
    root, out = official_folder(tmp_path / "in", "ms3"), tmp_path / "out"
    with pytest.raises(FileExistsError, match="in: is in other use"):
        convert(root, root, progress=False)
    convert(root, out, workers=1, progress=False)
    with pytest.raises(FileExistsError, match="out: is converted already"):
        convert(out, tmp_path / "again", progress=False)
    with pytest.raises(FileNotFoundError, match="holds no s4, but ms3"):
        convert(root, tmp_path / "again", ["s4"], progress=False)
    with pytest.raises(ValueError, match="setting is 's5'"):
        convert(root, tmp_path / "again", ["s5"], progress=False)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("name", ["set", "a/b/c", "me/with blank", "me/"])
def test_names_that_no_repository_can_have(name):
    with pytest.raises(ValueError, match="is not the name of a repository.*expected OWNER/NAME"):
        check_repo_id(name)


def test_a_shard_that_names_files_in_place_of_pictures_is_refused(tmp_path):
    root, out, secret = official_folder(tmp_path / "in", "ms3"), tmp_path / "out", tmp_path / "secret.png"
    Image.new("RGB", (32, 32)).save(secret)
    convert(root, out, workers=1, progress=False)
    shard = next((out / "ms3").glob("test-*.parquet"))
    table = pq.read_table(shard)
    for column in ("frames", "labels"):
        pictures = [[{"bytes": None, "path": str(secret)} for _ in row] for row in table[column].to_pylist()]
        column_type = table.schema.field(column).type
        place = table.schema.get_field_index(column)
        pq.write_table(table.set_column(place, column, pa.array(pictures, column_type)), shard)
        rows = load_setting("ms3", out, "test")
        with pytest.raises(ValueError, match="secret.png' in place of a .*; expected the picture itself"):
            rows[0]
