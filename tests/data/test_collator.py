import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ccformer_hf import AudioVisualCollator, AudioVisualProcessor, CCFormerImageProcessor
from ccformer_hf.data.augmentation import Augmentation
from ccformer_hf.data.loading import load_folder
from ccformer_hf.data.synthetic.clips import write_synthetic_set
from ccformer_hf.data.training_clips import TrainingClips
from ccformer_hf.model.feature_extraction_ccformer import CCFormerFeatureExtractor


@pytest.fixture(scope="module")
def processor():
    return AudioVisualProcessor(CCFormerImageProcessor(size={"height": 64, "width": 64}))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips, of ten frames and of five, as large as the model sees them."""
    root = tmp_path_factory.mktemp("sets") / "folder"
    write_synthetic_set(root, "folder", clips=4, seed=0, workers=1, progress=False, size=64)
    return load_folder(root, "train")


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_rows_and_clips_that_are_ready_make_the_same_batch(processor, clips):
    """By rows the processor pads, by training's clips the collator does: labels 255, all else nothing.

    A frame has its own sound alone, also of a processor that gives it more.
    """
    sounds = CCFormerFeatureExtractor(sound_shifts=[-0.5, 0.5])
    collate = AudioVisualCollator(AudioVisualProcessor(processor.image_processor, sounds))
    ready = TrainingClips(clips, processor, Augmentation(), seed=0, batch_size=2)
    items = [ready[0, 0], ready[1, 1]]
    lengths = [len(item["labels"]) for item in items]
    assert lengths == [10, 5]
    batch = collate(items)
    assert batch["frame_mask"].sum(1).tolist() == lengths and batch["labels"].shape == (2, 10, 64, 64)
    assert set(batch["labels"][1, 5:].unique().tolist()) == {255}
    for name, tensor in batch.items():
        assert tensor.dtype == items[0][name].dtype
        assert torch.equal(tensor[0], items[0][name]) and torch.equal(tensor[1, :5], items[1][name])
        assert name == "labels" or not tensor[1, 5:].any()
    assert same(batch, collate([clips[0], clips[1]]))
    (loaded,) = DataLoader(clips, batch_size=2, collate_fn=collate)
    assert same(batch, loaded)
    (of_tensors,) = DataLoader(clips.with_format("torch"), batch_size=2, collate_fn=collate)
    assert same(batch, of_tensors)
    (transformed,) = DataLoader(clips.with_transform(processor), batch_size=2, collate_fn=collate)
    assert same(batch, transformed)


def test_frames_at_another_rate(processor):
    row = {"frames": np.zeros((4, 8, 8, 3), np.uint8), "audio": (np.r_[np.zeros(16000), np.ones(16000)] / 2, 16000)}
    heard = AudioVisualCollator(processor, fps=2)([row])["audio_mask"]
    assert heard.tolist() == [[False, True, True, True]]


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        ([{"labels": [0]}], "a clip of the batch has labels; expected .*set remove_unused_columns=False"),
        ([{"pixel_values": torch.zeros(1, 3, 4, 4)}, {"frames": []}], "has frames; expected the columns of a row"),
        ([{}], "has no columns; expected"),
    ],
)
def test_what_is_no_batch_is_refused(processor, batch, told):
    with pytest.raises(ValueError, match=told):
        AudioVisualCollator(processor)(batch)
