import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from PIL import Image

from ccformer_hf import AudioVisualProcessor
from ccformer_hf.data.avsbench import AVSS_CLASS_NAMES, SETTINGS, avss_palette
from ccformer_hf.data.loading import load_avsbench
from ccformer_hf.data.synthetic.clips import CLASS_NAMES, make_clip, write_synthetic_set

SIZE = 48
SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "avsbench_sample" / "AVSS" / "v2" / "hen_sample"


@pytest.fixture(scope="module", params=SETTINGS)
def written(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("official") / request.param
    write_synthetic_set(root, request.param, clips=6, seed=1, workers=1, progress=False, size=SIZE)
    return request.param, root


def one_clip(tmp_path, setting="ms3"):
    return write_synthetic_set(tmp_path / "set", setting, clips=3, seed=0, workers=1, progress=False, size=SIZE)


def test_rows_are_the_clips_that_were_written(written):
    setting, root = written
    loaded = load_avsbench(setting, root)
    assert isinstance(loaded, DatasetDict) and {k: len(v) for k, v in loaded.items()} == {
        "train": 4,
        "validation": 1,
        "test": 1,
    }
    index = 0
    for split in loaded.values():
        for row in split:
            clip = make_clip(setting, 1, index, SIZE)
            index += 1
            assert row["id"].startswith(clip.name) and row["setting"] == setting and row["size"] == [SIZE, SIZE]
            if setting == "avss":
                ids = np.array([AVSS_CLASS_NAMES.index(name) for name in CLASS_NAMES])[clip.labels]
                assert "_".join(row["classes"]) == clip.category
            else:
                ids = (clip.labels > 0).astype(int)
                assert row["classes"] == ([clip.category] if setting == "s4" else [])
            annotated = np.array(row["annotated"])
            assert annotated[0] and row["labels"].dtype == np.uint8
            np.testing.assert_array_equal(row["labels"][annotated], ids[annotated])
            assert (row["labels"][~annotated] == 255).all()
            frames = np.stack([np.asarray(frame) for frame in row["frames"]])
            if setting == "avss":  # JPEG
                assert np.abs(frames.astype(int) - clip.frames).mean() < 8
            else:
                np.testing.assert_array_equal(frames, clip.frames)
            assert row["sound"]["sampling_rate"] == 16000 and row["sound"]["waveform"].dtype == np.float32
            np.testing.assert_allclose(row["sound"]["waveform"], clip.waveform, atol=1e-4)
            assert row["log_mel"] is None
    assert index == 6


def test_the_processor_takes_a_row(written):
    setting, root = written
    row = load_avsbench(setting, root, "train")[0]
    batch = AudioVisualProcessor()(
        row["frames"],
        audio=row["sound"]["waveform"],
        sampling_rate=row["sound"]["sampling_rate"],
        segmentation_maps=row["labels"],
        label_mask=row["annotated"],
        fps=1,
    )
    assert batch["labels"].shape == (1, len(row["frames"]), 224, 224)
    assert batch["label_mask"][0].tolist() == row["annotated"]


def test_a_stream_gives_the_same_rows(written):
    setting, root = written
    streams = load_avsbench(setting, root, streaming=True)
    assert isinstance(streams, IterableDatasetDict)
    stream = load_avsbench(setting, root, "train", streaming=True)
    assert isinstance(stream, IterableDataset) and stream.num_shards == 4
    for row, other in zip(load_avsbench(setting, root, "train"), stream, strict=True):
        assert row["id"] == other["id"] and row["annotated"] == other["annotated"]
        np.testing.assert_array_equal(row["labels"], other["labels"])
        np.testing.assert_array_equal(row["sound"]["waveform"], other["sound"]["waveform"])
        assert [np.asarray(a).tolist() for a in row["frames"]] == [np.asarray(a).tolist() for a in other["frames"]]


def test_val_is_another_name_of_validation(written):
    setting, root = written
    assert load_avsbench(setting, root, "val")["id"] == load_avsbench(setting, root, "validation")["id"]


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path):
    root = one_clip(tmp_path)
    for path in [*root.rglob("*.png"), *root.rglob("*.wav")]:
        path.write_bytes(b"broken")
    train = load_avsbench("ms3", root, "train")
    assert (
        isinstance(train, Dataset) and train["id"][0].startswith("synthetic") and train["annotated"][0] == [True] * 5
    )
    assert train.filter(lambda setting: setting == "ms3", input_columns="setting").num_rows == 1
    for column, text in (
        ("labels", "cannot be read as a picture"),
        ("sound", "wav"),
        ("frames", "_1.png: cannot be read as a picture"),
    ):
        with pytest.raises((ValueError, OSError), match=text):
            train.select_columns(column)[0]


def test_colours_and_ids_of_avss_say_the_same(tmp_path):
    root = one_clip(tmp_path, "avss")
    by_ids = [row["labels"] for row in load_avsbench("avss", root, "train")]
    for folder in list(root.rglob("labels_semantic")):
        shutil.rmtree(folder)
    by_colours = [row["labels"] for row in load_avsbench("avss", root, "train")]
    for ids, colours in zip(by_ids, by_colours, strict=True):
        assert set(np.unique(ids)) - {0}
        np.testing.assert_array_equal(ids, colours)
    picture = Image.open(next(root.rglob("labels_rgb/0.png")))
    assert picture.mode == "RGB" and not set(map(tuple, np.asarray(picture).reshape(-1, 3))) - set(
        map(tuple, avss_palette()[:71])
    )


def test_the_official_log_mel_file_is_a_column(tmp_path):
    root = one_clip(tmp_path)
    examples = torch.randn(5, 1, 96, 64)
    for wav in list(root.rglob("*.wav")):
        pkl = Path(str(wav).replace("audio_wav", "audio_log_mel")).with_suffix(".pkl")
        pkl.parent.mkdir(parents=True, exist_ok=True)
        pkl.write_bytes(pickle.dumps(examples))
        wav.unlink()
    row = load_avsbench("ms3", root, "test")[0]
    assert row["sound"] is None
    np.testing.assert_array_equal(row["log_mel"], examples.numpy())


def test_clips_without_files_are_refused_in_their_split_only(tmp_path):
    root = one_clip(tmp_path)
    mask = next(root.rglob("gt_masks/test/*/*_2.png"))
    mask.unlink()
    assert len(load_avsbench("ms3", root, "train")) == 1
    with pytest.raises(FileNotFoundError, match=f"1 of 1 clips in test lack files.*{mask.name}.*ccformer data check"):
        load_avsbench("ms3", root, "test")


def test_label_maps_of_different_sizes_are_refused(tmp_path):
    root = one_clip(tmp_path)
    Image.new("L", (7, 7)).save(next(root.rglob("gt_masks/test/*/*_2.png")))
    with pytest.raises(ValueError, match=r"different sizes: \[\(7, 7\), \(48, 48\)\]"):
        load_avsbench("ms3", root, "test")[0]["labels"]


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        (("s5", "."), ValueError, "setting is 's5'; expected 's4', 'ms3', 'avss'.*use load_folder"),
        (("folder", "."), ValueError, "setting is 'folder'.*use load_folder"),
        (("s4", ".", "dev"), ValueError, "split is 'dev'"),
        (("s4", "nowhere"), NotADirectoryError, "nowhere: is not a folder"),
    ],
)
def test_wrong_arguments(arguments, error, text):
    with pytest.raises(error, match=text):
        load_avsbench(*arguments)


def test_another_setting_than_the_one_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no s4, but ms3"):
        load_avsbench("s4", one_clip(tmp_path))


def test_the_real_sample_shows_a_hen(tmp_path):
    if not SAMPLE.is_dir():
        pytest.skip("the AVSBench sample is not beside the repository")
    (tmp_path / "v2").mkdir()
    os.symlink(SAMPLE, tmp_path / "v2" / SAMPLE.name)
    (tmp_path / "metadata.csv").write_text(
        f"vid,uid,s_min,s_sec,a_obj,split,label\nhen,{SAMPLE.name},0,0,hen,test,v2\n"
    )
    (row,) = load_avsbench("avss", tmp_path, "test")
    assert row["classes"] == ["hen"] and len(row["frames"]) == 10 and row["size"] == [256, 307]
    assert row["labels"].shape == (10, 256, 307) and set(np.unique(row["labels"])) == {0, 36}
    assert row["sound"]["sampling_rate"] == 16000 and len(row["sound"]["waveform"]) / 16000 == pytest.approx(
        10, abs=0.1
    )


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda content: b"", lambda content: content[::-1]])
def test_a_damaged_shard_is_told_in_one_line(tmp_path, damage):
    (tmp_path / "shards.json").write_text(
        json.dumps({"ms3": {"class_names": ["background", "sounding"], "clips_per_shard": {"test": [1]}}})
    )
    (tmp_path / "ms3").mkdir()
    shard = tmp_path / "ms3" / "test-00000-of-00001.parquet"
    pq.write_table(pa.table({"id": ["clip"] * 100}), shard)
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(OSError, match=f"^{tmp_path}: shards of ms3 cannot be read .*`ccformer data check`") as error:
        load_avsbench("ms3", tmp_path, "test")
    assert "\n" not in str(error.value)
