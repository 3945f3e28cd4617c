"""Networks that hear through AST, CLAP's HTSAT or a MobileNetV3, in place of VGGish."""

import numpy as np
import pytest
import torch
from small_model import AUDIO_ENCODERS, random_inputs, random_labels, small_model
from transformers import ASTConfig, ASTFeatureExtractor, AutoProcessor, ClapAudioConfig, ClapFeatureExtractor

from ccformer_hf import (
    AudioVisualProcessor,
    CCFormerFeatureExtractor,
    CCFormerForAudioVisualSegmentation,
    CCFormerImageProcessor,
)
from ccformer_hf.inference.loading import load
from ccformer_hf.inference.segmenting import iter_segments
from ccformer_hf.model.audio_encoder_ccformer import CCFormerAudioEncoder
from ccformer_hf.model.configuration_ccformer import CCFormerMobileNetConfig

EXTRACTORS = {
    "ast": ASTFeatureExtractor(max_length=96, num_mel_bins=32),
    "clap": ClapFeatureExtractor(feature_size=16, max_length_s=2, truncation="rand_trunc"),
    "mobilenet": ASTFeatureExtractor(max_length=96, num_mel_bins=32, mean=-4.5, std=2.5),
}


@pytest.fixture(params=AUDIO_ENCODERS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def model(kind):
    return small_model(audio_config=AUDIO_ENCODERS[kind])


def inputs_for(model, clips: int = 2) -> dict[str, torch.Tensor]:
    return random_inputs(clips, example=model.config.audio_example)


def processor_for(kind: str) -> AudioVisualProcessor:
    images = CCFormerImageProcessor(size={"height": 64, "width": 64})
    return AudioVisualProcessor(images, CCFormerFeatureExtractor(encoder_extractor=EXTRACTORS[kind]))


def noise(seconds: float, rate: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * rate)).astype(np.float32)


def test_the_encoders_own_pooled_output_is_taken(model, kind):
    backbone, inputs = model.model.audio_backbone, inputs_for(model)
    sound = inputs["input_features"].flatten(0, 1)  # (6, 1, columns, bands)
    alone = backbone.encoder(sound if kind == "clap" else sound[:, 0]).pooler_output
    assert torch.equal(backbone(sound), alone) and alone.shape == (6, backbone.width)
    other = inputs | {"input_features": inputs["input_features"].flip(0)}
    assert not torch.allclose(model(**inputs).logits, model(**other).logits)


@torch.no_grad()
def test_what_is_saved_computes_the_same(model, kind, tmp_path):
    model.save_pretrained(tmp_path)
    processor_for(kind).save_pretrained(tmp_path)
    (again, processor), inputs = load(tmp_path, "cpu"), inputs_for(model)
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    assert type(AutoProcessor.from_pretrained(tmp_path)) is AudioVisualProcessor
    theirs = processor.feature_extractor.encoder_extractor
    assert type(theirs) is type(EXTRACTORS[kind]) and theirs.to_dict() == EXTRACTORS[kind].to_dict()
    clip = np.zeros((2, 8, 8, 3), np.uint8)
    rate = processor.feature_extractor.sampling_rate
    (one, other) = (
        made(clip, noise(3.0, rate), sampling_rate=rate)["input_features"] for made in (processor, processor_for(kind))
    )
    assert torch.equal(one, other) and one.shape == (1, 2, 1, *model.config.audio_example)


def test_a_frames_second_goes_through_the_encoders_own_extractor(kind):
    ours, theirs = processor_for(kind).feature_extractor, EXTRACTORS[kind]
    rate = theirs.sampling_rate
    sound = noise(4.0, rate)
    found = ours(sound, rate, timestamps=[15 / 16, 31 / 16], return_tensors="pt")["input_features"]
    second = theirs(sound[rate : rate + round(0.975 * rate)], sampling_rate=rate, return_tensors="pt")
    wanted = next(iter(second.values())).float().reshape(1, *ours.example_shape)
    assert torch.equal(found[0, 1], wanted)
    silent = ours(np.zeros(rate, np.float32), rate, return_tensors="pt")
    assert not silent["audio_mask"].any() and not silent["input_features"].any()


def test_a_fused_claps_spectrograms_are_alike_and_one_is_taken():
    fused = ClapFeatureExtractor(feature_size=16, max_length_s=2, truncation="fusion")
    ours = CCFormerFeatureExtractor(encoder_extractor=fused)
    found = ours(noise(1.0, 48000), 48000, return_tensors="pt")["input_features"]
    (four,) = fused(noise(1.0, 48000)[:46800], sampling_rate=48000, return_tensors="pt")["input_features"].float()
    assert torch.equal(found[0, 0, 0], four[3]) and torch.equal(four[0], four[3])


def test_all_of_it_learns_and_batch_norms_stay(model):
    encoder = model.train().model.audio_backbone.encoder
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    model(**inputs_for(model), labels=random_labels()).loss.backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    assert model.training and encoder.training


@torch.no_grad()
def test_padding_and_silence_are_not_heard(model):
    inputs = inputs_for(model)
    inputs["audio_mask"] = torch.tensor([[True, False, True], [True, True, False]])
    loud = inputs["input_features"].clone()
    loud[~inputs["audio_mask"]] = float("nan")
    assert torch.equal(model(**inputs).logits, model(**inputs | {"input_features": loud}).logits)


def test_the_sound_of_another_encoder_is_refused(model):
    columns, bands = model.config.audio_example
    with pytest.raises(ValueError, match=rf"expected \(clips, frames, 1, {columns}, {bands}\): one log-mel example"):
        model(**random_inputs())


def test_attention_may_be_set(model, kind):
    encoder = model.model.audio_backbone.encoder.config
    model.set_attn_implementation("eager")
    assert encoder._attn_implementation == "eager"
    model.set_attn_implementation("sdpa")  # which the others have not
    assert encoder._attn_implementation == ("sdpa" if kind == "ast" else "eager")
    asked = CCFormerForAudioVisualSegmentation._from_config(model.config, attn_implementation="sdpa")
    assert asked.config._attn_implementation == "sdpa"


def test_a_video_is_segmented(model, kind, video):
    found = list(iter_segments(video, model, processor_for(kind), threshold=0.1))
    assert len(found) == 4 and any(frame.scores for frame in found)


@torch.no_grad()
def test_the_encoder_is_exported_for_any_number_of_frames(model):
    """`export_program` puts the whole model into a program, which takes long, and has tests of its own."""
    backbone, sound = model.model.audio_backbone, inputs_for(model)["input_features"].flatten(0, 1)
    program = torch.export.export(backbone, (sound[:2],), dynamic_shapes=({0: torch.export.Dim("frames")},))
    torch.testing.assert_close(program.module()(sound), backbone(sound))


@torch.no_grad()
def test_half_precision(model):
    half = model.to(torch.bfloat16)
    assert half(**inputs_for(model)).logits.isfinite().all()


def test_the_published_sizes():
    with torch.device("meta"):
        configs = ASTConfig(max_length=96), ClapAudioConfig(), CCFormerMobileNetConfig()
        encoders = [CCFormerAudioEncoder(config) for config in configs]
    sizes = [sum(p.numel() for p in encoder.parameters()) / 1e6 for encoder in encoders]
    assert sizes[:2] == pytest.approx([85.3, 27.5], abs=0.5) and sizes[2] == pytest.approx(0.52, abs=0.005)
    assert [encoder.width for encoder in encoders] == [768, 768, 384]
