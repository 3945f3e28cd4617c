import numpy as np
import pytest
import torch

from ccformer_hf.data.made_up import make_clip
from ccformer_hf.data.prepared import SETTINGS, PreparedClips, TrainingBatch, prepare_made_up_clips
from ccformer_hf.feature_extraction_ccformer import CCFormerFeatureExtractor
from ccformer_hf.image_processing_ccformer import CCFormerImageProcessor
from ccformer_hf.processing_ccformer import AudioVisualProcessor

SIZE = 64


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return PreparedClips(
        prepare_made_up_clips(tmp_path_factory.mktemp("clips"), clips=3, seed=7, size=SIZE, workers=1)
    )


@pytest.fixture(scope="module")
def processor():
    return AudioVisualProcessor(
        CCFormerImageProcessor(size={"height": SIZE, "width": SIZE}), CCFormerFeatureExtractor()
    )


def test_rows_are_what_the_processor_makes_of_the_same_clip(clips, processor):
    clip = make_clip(SETTINGS[1], seed=7, index=1)
    wanted = processor(clip.frames, audio=clip.waveform, sampling_rate=16000, segmentation_maps=clip.labels)
    batch = TrainingBatch(processor, spans=(10,), mute=0.0)
    torch.manual_seed(0)
    got = batch.augment(clips[1], most=10)
    mirrored = got["pixel_values"].flip(-1)
    difference = min(
        (got["pixel_values"] - wanted["pixel_values"][0]).abs().max(),
        (mirrored - wanted["pixel_values"][0]).abs().max(),
    )
    assert difference < 0.04  # two 8-bit roundings of the resized picture
    assert torch.allclose(got["input_features"], wanted["input_features"][0], atol=1e-6)
    assert torch.equal(got["audio_mask"], wanted["audio_mask"][0])
    assert np.array_equal(np.unique(got["labels"]), np.unique(wanted["labels"]))


def test_a_whole_folder_is_kept(clips, tmp_path):
    folder = prepare_made_up_clips(tmp_path, clips=1, seed=7, size=32, workers=1)
    before = (folder / "frames.bin").stat().st_mtime_ns
    assert prepare_made_up_clips(tmp_path, clips=1, seed=7, size=32, workers=1) == folder
    assert (folder / "frames.bin").stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_batch_pads_and_masks(clips, processor):
    batch = TrainingBatch(processor, spans=(10,), mute=0.0)([clips[0], clips[1]])
    frames = [len(clips[0]["frames"]), len(clips[1]["frames"])]
    assert batch["pixel_values"].shape == (2, max(frames), 3, SIZE, SIZE)
    assert batch["frame_mask"].sum(1).tolist() == frames
    assert not batch["audio_mask"][~batch["frame_mask"]].any()


def test_muting_takes_sound_and_labels(clips, processor):
    batch = TrainingBatch(processor, spans=(5,), mute=1.0)([clips[0], clips[1]])
    assert not batch["audio_mask"].any() and not batch["labels"].any() and not batch["input_features"].any()


def test_span_is_cut_from_longer_clips(clips, processor):
    batch = TrainingBatch(processor, spans=(2,), mute=0.0)([clips[0], clips[1], clips[2]])
    assert batch["labels"].shape == (3, 2, SIZE, SIZE)
