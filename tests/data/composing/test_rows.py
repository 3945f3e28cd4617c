import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import IterableDataset
from made_sources import CLASSES, write_picture, write_sources
from small_model import SMALL_NETWORK, save_small_model
from torch.utils.data import DataLoader

from ccformer_hf.data.augmentation import Augmentation
from ccformer_hf.data.check import check_data
from ccformer_hf.data.collator import AudioVisualCollator
from ccformer_hf.data.composing.composed import compose_clip
from ccformer_hf.data.composing.material import read_material
from ccformer_hf.data.composing.rows import write_composed_set
from ccformer_hf.data.composing.sources import OTHER, read_sources
from ccformer_hf.data.loading import load_folder
from ccformer_hf.data.training_clips import ClipOrder, ShareOfSteps, TrainingClips
from ccformer_hf.evaluation.evaluate import evaluate_avsbench
from ccformer_hf.inference.loading import load
from ccformer_hf.training.initial_model import initial_model
from ccformer_hf.training.loop import train
from ccformer_hf.training.recipe import read_recipe, recipe_from

SOURCES = Path(__file__).parents[3] / "examples" / "sources"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("sources"))


def test_a_sources_file_loads_as_rows(sources):
    splits = load_folder(sources)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 12, "validation": 2, "test": 2}
    rows = splits["train"]
    assert rows.features["labels"].names == ["background", *CLASSES] and str(rows.split) == "train"
    clip, row = compose_clip(read_material(sources)["train"], 0, 5), rows[5]
    assert row["id"] == clip.name and row["setting"] == "folder" and row["classes"] == [] and row["log_mel"] is None
    assert row["size"] == [64, 64] and row["annotated"] == [True] * 3
    np.testing.assert_array_equal(np.stack([np.asarray(frame) for frame in row["frames"]]), clip.frames)
    np.testing.assert_array_equal(row["labels"], clip.labels)
    np.testing.assert_array_equal(row["sound"]["waveform"], clip.waveform)
    assert row["sound"]["sampling_rate"] == 16000
    assert len({name for split in splits.values() for name in split["id"]}) == 16


def test_one_split_and_a_stream(sources):
    assert len(load_folder(sources, "val")) == 2
    stream = load_folder(sources, "test", streaming=True)
    assert isinstance(stream, IterableDataset)
    assert set(load_folder(sources, streaming=True)) == {"train", "validation", "test"}
    first = next(iter(stream))
    np.testing.assert_array_equal(first["labels"], load_folder(sources, "test")[0]["labels"])


def test_a_split_without_clips(tmp_path):
    path = write_sources(tmp_path, clips={"train": 4, "validation": 0, "test": 1})
    assert set(load_folder(path)) == {"train", "test"}
    with pytest.raises(ValueError, match="has no clips for validation; name pictures and sounds of that split"):
        load_folder(path, "validation")


def test_sources_that_change_while_their_clips_are_in_use(tmp_path):
    path = write_sources(tmp_path)
    rows = load_folder(path, "train")
    write_picture(tmp_path / "train" / "backgrounds" / "another.png", np.full((64, 64, 3), 100, np.uint8))
    load_folder(path)
    with pytest.raises(ValueError, match="has changed since its clips were loaded; load them again"):
        rows[0]


def steps(sources, workers, accumulate):
    processor = initial_model(
        recipe_from({"setting": "folder", "size": 32, "model": SMALL_NETWORK}, "test"), ["background", *CLASSES]
    )[1]
    clips = TrainingClips(load_folder(sources, "train"), processor, Augmentation(gain=6, colour=0.2), 3, 4)
    share = ShareOfSteps(ClipOrder(len(clips), 4, seed=3), range(1, 3), accumulate=accumulate)
    parts = list(
        DataLoader(clips, batch_sampler=share, num_workers=workers, collate_fn=AudioVisualCollator(processor))
    )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def test_steps_are_the_same_for_every_number_of_workers_and_parts(sources):
    expected = steps(sources, 0, 1)
    assert expected["labels"].shape == (8, 3, 32, 32) and expected["labels"].unique().numel() >= 3
    for workers, accumulate in ((2, 1), (0, 4)):
        found = steps(sources, workers, accumulate)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_two_steps_of_training(sources, tmp_path):
    values = {
        "setting": "folder",
        "size": 64,
        "model": SMALL_NETWORK,
        "batch_size": 4,
        "epochs": 0.67,
        "frozen_norms": False,
    }
    recipe = recipe_from(values | {"augmentation": {"gain": 3}}, "the test")
    splits = load_folder(sources)
    model, processor = initial_model(recipe, splits["train"].features["labels"].names)
    progress = train(recipe, model, processor, splits["train"], None, tmp_path / "run", workers=0)
    assert progress.step == 2 and np.isfinite(progress.losses).all()
    assert (tmp_path / "run" / "last" / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "log-mel").exists(), "nothing is kept of clips that are not shown again"


def test_a_model_is_evaluated_on_composed_clips(sources, tmp_path):
    model, processor = load(save_small_model(tmp_path / "small"), "cpu")
    model.config.id2label = dict(enumerate(["background", *CLASSES]))
    model.config.label2id = {name: number for number, name in model.config.id2label.items()}
    result = evaluate_avsbench(model, processor, load_folder(sources, "test"), size=32, workers=0)
    assert result.clips == 2 and result.frames == 6 and result.split == "test" and result.sounds["waveform"] == 2


# written
# ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("written") / "set"
    return out, write_composed_set(sources, out, 10, seed=4, workers=2, progress=False)


def test_a_written_set_holds_the_clips(written, sources):
    out, counts = written
    assert counts == {"train": 8, "validation": 1, "test": 1}
    assert (out / "classes.txt").read_text().split() == list(CLASSES)
    splits = load_folder(out)
    assert {name: len(rows) for name, rows in splits.items()} == counts
    clip = compose_clip(read_material(sources)["train"], 4, 3)
    (row,) = [row for row in splits["train"] if row["id"] == clip.name]
    np.testing.assert_array_equal(row["labels"], clip.labels)
    assert np.abs(row["sound"]["waveform"] - clip.waveform).max() < 1e-4
    assert np.abs(np.asarray(row["frames"][1], int) - clip.frames[1].astype(int)).mean() < 6
    assert all(report.fine for report in check_data(out, progress=False))


def test_a_set_appears_whole_or_not_at_all(sources, tmp_path):
    broken = shutil.copytree(sources.parent, tmp_path / "broken")
    for path in (broken / "test" / "sounds").rglob("*.wav"):
        path.write_bytes(path.read_bytes()[:44])
    with pytest.raises(ValueError, match="wav"):
        write_composed_set(broken / "sources.yaml", tmp_path / "out" / "set", 40, seed=0, workers=1, progress=False)
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="exists already and is not an empty folder"):
        write_composed_set(sources, tmp_path / "full", 10, seed=0)
    with pytest.raises(ValueError, match="clips is 2; expected at least 3"):
        write_composed_set(sources, tmp_path / "new", 2, seed=0)


# examples
# --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "classes"), [("voc-esc50", 9), ("coco-vggsound", 24), ("lvis-vggsound", 60)])
def test_the_sources_of_the_examples_name_pictures_and_sounds_for_every_class(tmp_path, name, classes):
    path = SOURCES / f"compose-{name}.yaml"
    values = yaml.safe_load(path.read_text())
    for source in [*values["pictures"], *values["sounds"]]:
        for key in {"path", "root"} & set(source):
            place = tmp_path / source[key]
            (place.parent if place.suffix else place).mkdir(parents=True, exist_ok=True)
            if place.suffix:
                place.touch()
    sources = read_sources(shutil.copy(path, tmp_path))
    assert len(sources.classes) == classes
    heard = set().union(*(source.names for source in sources.sounds))
    # ESC-50 has these names too.
    shared = {"airplane", "cat", "cow", "dog", "sheep", "train"} if name == "voc-esc50" else set()
    assert heard | shared == {*sources.classes, OTHER} | ({"bed"} if name != "voc-esc50" else set())
    assert all(rule.sounds <= set(sources.classes) for rule in sources.rules)


@pytest.mark.parametrize("size", ["tiny", "resnet50"])
def test_recipes_for_composed_clips(size):
    recipe = read_recipe(f"composed-{size}")
    assert recipe.setting == "folder" and recipe.epochs == 1 and recipe.validate_every < 1
    assert recipe.augmentation.changes_sound, (
        "otherwise the log-mel of every clip would be kept, for no second showing"
    )
