from pathlib import Path

import pytest
import torch
from made_media import make_video
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoModelForSemanticSegmentation,
    AutoProcessor,
    pipeline,
)
from transformers.models.auto import image_processing_auto

import ccformer_hf
from ccformer_hf import (
    AudioVisualProcessor,
    CCFormerConfig,
    CCFormerForAudioVisualSegmentation,
    CCFormerImageProcessor,
    CCFormerModel,
)
from ccformer_hf.checkpoints import CHECKPOINTS, model_place

TINY = "ccformer-tiny"
TASK = "audio-visual-segmentation"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing is looked for on the Hub: a name that did not resolve would be."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("load", [AutoConfig, CCFormerConfig, AutoFeatureExtractor, AutoImageProcessor])
def test_settings_by_the_name_of_a_built_in_model(load):
    by_name, by_folder = load.from_pretrained(TINY), load.from_pretrained(CHECKPOINTS / TINY)
    assert type(by_name) is type(by_folder)


@pytest.mark.parametrize("load", [AutoProcessor, AudioVisualProcessor])
def test_the_processor_by_name(load):
    size = load.from_pretrained(pretrained_model_name_or_path=TINY).image_processor.size
    assert size == AudioVisualProcessor.from_pretrained(CHECKPOINTS / TINY).image_processor.size


@pytest.mark.parametrize(
    ("load", "kind"),
    [
        (CCFormerForAudioVisualSegmentation, CCFormerForAudioVisualSegmentation),
        (AutoModelForSemanticSegmentation, CCFormerForAudioVisualSegmentation),
        (AutoModel, CCFormerModel),
    ],
)
def test_models_by_name(load, kind):
    model = load.from_pretrained(TINY)
    assert type(model) is kind and model.name_or_path == str(CHECKPOINTS / TINY)


def test_the_image_processor_comes_without_a_warning(monkeypatch):
    told = []
    monkeypatch.setattr(image_processing_auto.logger, "warning_once", told.append)
    assert type(AutoImageProcessor.from_pretrained(TINY)) is CCFormerImageProcessor
    assert told == []


@pytest.mark.parametrize("given", [{}, {"model": TINY}])
def test_a_pipeline_by_name_and_by_default(given, tmp_path):
    segmenter = pipeline(TASK, **given)
    wanted = TINY if given else "ccformer-small"
    assert segmenter.model.name_or_path == str(CHECKPOINTS / wanted)
    if given:
        assert len(segmenter(str(make_video(tmp_path / "clip.mp4", 1.0)))) == 1


def test_a_folder_of_that_name_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_place(TINY) == str(CHECKPOINTS / TINY)
    Path(TINY).mkdir()
    assert model_place(TINY) == TINY
    for other in ("owner/ccformer-tiny", tmp_path, None, str(CHECKPOINTS / TINY)):
        assert model_place(other) == other


def test_the_network_without_its_head_says_what_to_load(tmp_path):
    body = AutoModel.from_pretrained(TINY).eval()
    processor = AutoProcessor.from_pretrained(TINY)
    inputs = processor(make_video(tmp_path / "clip.mp4", 1.0))
    with torch.inference_mode():
        outputs = body(**inputs)
    for post_process in (processor.post_process_scores, processor.post_process_semantic_segmentation):
        with pytest.raises(
            ValueError, match="a CCFormerModelOutput, have no logits: .* load CCFormerForAudioVisualSeg"
        ):
            post_process(outputs)
    with pytest.raises(TypeError, match="takes no labels; load CCFormerForAudioVisualSegmentation"):
        body(**inputs, labels=torch.zeros(1, 1, 4, 4, dtype=torch.long))


def test_half_precision_takes_what_the_processor_gives(tmp_path):
    clip = str(make_video(tmp_path / "clip.mp4", 2.0))
    model, processor = ccformer_hf.load(TINY, "cpu")
    half = CCFormerForAudioVisualSegmentation.from_pretrained(TINY, dtype="bfloat16").eval()
    inputs = processor(clip, segmentation_maps=[[[0, 1]]] * 2)
    assert half.dtype == torch.bfloat16 and inputs["pixel_values"].dtype == torch.float32
    with torch.inference_mode():
        outputs, wanted = half(**inputs), model(**inputs)
    assert torch.isfinite(outputs.loss)
    assert (outputs.logits.exp() - wanted.logits.exp()).abs().mean() < 0.02
    assert processor.post_process_semantic_segmentation(outputs)[0].dtype == torch.uint8
