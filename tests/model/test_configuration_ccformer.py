import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import ASTConfig, AutoConfig, ClapAudioConfig, ResNetConfig, TimmBackboneConfig
from transformers.utils import logging

from ccformer_hf import CCFormerConfig


def test_default_is_resnet50_with_four_maps_and_two_labels():
    config = CCFormerConfig()
    assert config.backbone_config.model_type == "resnet"
    assert list(config.backbone_config.depths) == [3, 4, 6, 3]
    assert config.backbone_config.out_features == ["stage1", "stage2", "stage3", "stage4"]
    assert config.num_labels == 2


def test_labels_come_from_id2label():
    config = CCFormerConfig(id2label={0: "background", 1: "dog", 2: "siren"})
    assert config.num_labels == 3
    assert CCFormerConfig(num_labels=7).num_labels == 7


def test_json_round_trip_keeps_everything(tmp_path):
    config = CCFormerConfig(
        backbone_config={"model_type": "pvt_v2", "depths": [1, 1, 1, 1]},
        audio_hidden_sizes=(1, 2, 3, 4),
        hidden_size=32,
        dropout=0,
        heard_weight=0,
        use_eim=False,
        id2label={0: "background", 1: "dog", 2: "siren"},
    )
    config.save_pretrained(tmp_path)
    again = CCFormerConfig.from_pretrained(tmp_path)
    assert json.loads(again.to_json_string()) == json.loads(config.to_json_string())
    assert again.id2label == {0: "background", 1: "dog", 2: "siren"}  # JSON makes the ids strings
    assert again.backbone_config.depths == [1, 1, 1, 1]
    assert (list(again.audio_hidden_sizes), again.hidden_size, again.use_eim) == ([1, 2, 3, 4], 32, False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hidden_size": 2.0}, "'hidden_size' expected int, got float"),
        ({"use_eim": 1}, "'use_eim' expected bool, got int"),
        ({"num_queries": "32"}, "'num_queries' expected int, got str"),
        ({"dropout": True}, "'dropout'"),
        ({"audio_hidden_sizes": (1, 2, 3, 4.5)}, "'audio_hidden_sizes'"),
        ({"num_heads": 7}, "hidden_size is 256, expected a multiple of num_heads"),
        ({"hidden_size": 30, "num_heads": 5}, "hidden_size is 30.*of 4"),
        ({"audio_hidden_sizes": (1, 2, 3)}, "audio_hidden_sizes is .* must hold 4 widths"),
        ({"num_queries": 0}, "num_queries is 0, expected a number above 0"),
        ({"decoder_layers": 0}, "decoder_layers is 0, expected a number above 0"),
        ({"pixel_decoder_layers": 0}, "pixel_decoder_layers is 0, expected a number above 0"),
        ({"num_loss_points": -1}, "num_loss_points is -1, expected a number above 0"),
        ({"contrastive_temperature": 0.0}, "contrastive_temperature is 0.0, expected a number above 0"),
        ({"contrastive_weight": -0.1}, "contrastive_weight is -0.1, expected at least 0"),
        ({"dropout": 1}, "dropout is 1, expected a number from 0 to below 1"),
        ({"id2label": {0: "background"}}, r"id2label has the ids \[0\]"),
        (
            {"id2label": {0: "background", 5: "dog"}},
            r"id2label has the ids \[0, 5\], expected 0 \(background\), 1, 2",
        ),
        (
            {"id2label": {0: "background", 1: "dog", 2: "dog"}},
            "id2label has the name 'dog' for several ids; expected a different name",
        ),
        ({"num_labels": 256}, "255 marks ignored pixels"),
    ],
)
def test_wrong_values_are_refused_by_name(wrong, message):
    with pytest.raises(StrictDataclassError, match=message):
        CCFormerConfig(**wrong)


@pytest.mark.parametrize("backbone", [{"model_type": "no_such_net"}, {}])
def test_unknown_backbone(backbone):
    with pytest.raises(ValueError, match="model_type .* it must name a backbone .* such as 'resnet'"):
        CCFormerConfig(backbone_config=backbone)


@pytest.mark.parametrize(
    "backbone", [ResNetConfig(), {"model_type": "bert"}, {"model_type": "resnet", "out_features": ["stage4"]}]
)
def test_backbone_without_four_maps(backbone):
    with pytest.raises(StrictDataclassError, match="expected a backbone with four, at strides 4, 8, 16 and 32"):
        CCFormerConfig(backbone_config=backbone)


def test_a_backbone_of_timm():
    """A config needs no timm; its networks count their maps, some from stride 2 on."""
    config = CCFormerConfig(backbone_config={"model_type": "timm_backbone", "backbone": "resnet18"})
    again = CCFormerConfig.from_dict(config.to_dict())
    assert again.backbone_config.backbone == "resnet18" and again.backbone_config.out_indices == [-4, -3, -2, -1]
    given = CCFormerConfig(backbone_config=TimmBackboneConfig(backbone="resnet18", out_indices=(1, 2, 3, 4)))
    assert given.backbone_config.out_indices == [1, 2, 3, 4]
    with pytest.raises(StrictDataclassError, match=r"four maps.* with out_indices=\[-4, -3, -2, -1\]"):
        CCFormerConfig(backbone_config=TimmBackboneConfig(backbone="resnet18"))


def test_a_plain_vision_transformer_gives_its_last_map():
    config = CCFormerConfig(backbone_config={"model_type": "dinov2", "num_hidden_layers": 3})
    again = CCFormerConfig.from_dict(config.to_dict())
    assert again.backbone_config.out_features == ["stage3"]
    with pytest.raises(StrictDataclassError, match="is a dinov2 without one map, expected a backbone with its last"):
        CCFormerConfig(backbone_config={"model_type": "dinov2", "out_features": ["stage1", "stage12"]})


def test_vggish_hears_unless_an_audio_encoder_is_named(tmp_path):
    CCFormerConfig().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["audio_config"] is None
    assert CCFormerConfig.from_pretrained(tmp_path).audio_example == (96, 64)
    for audio, example in (({"max_length": 96}, (96, 128)), ({}, (1024, 128))):
        config = CCFormerConfig(audio_config={"model_type": "audio-spectrogram-transformer", **audio})
        config.save_pretrained(tmp_path)
        again = CCFormerConfig.from_pretrained(tmp_path)
        assert type(again.audio_config) is ASTConfig and again.audio_example == config.audio_example == example
    clap = CCFormerConfig.from_dict(CCFormerConfig(audio_config=ClapAudioConfig()).to_dict())
    assert type(clap.audio_config) is ClapAudioConfig and clap.audio_example == (1001, 64)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ({"model_type": "wav2vec2"}, "has model_type 'wav2vec2', expected 'audio-spectrogram-transformer' or 'clap_"),
        ({}, "audio_config has model_type None, expected"),
        (ResNetConfig(), "audio_config has model_type 'resnet', expected"),
        ({"model_type": "clap_audio_model", "enable_fusion": True}, "has enable_fusion, which is for sounds longer"),
        ({"model_type": "clap_audio_model", "num_mel_bins": 60}, "spec_size 256 and num_mel_bins 60, expected a mult"),
        ({"model_type": "clap_audio_model", "spec_size": 64}, "sound 1 columns by 64 bands, expected from 100 by 1"),
        ({"model_type": "clap_audio_model", "spec_size": 1 << 16}, "columns by 64 bands, expected from"),
        ({"model_type": "audio-spectrogram-transformer", "max_length": 1 << 16}, "to 4096 by 256"),
        ({"model_type": "audio-spectrogram-transformer", "max_length": 15}, "sound 15 columns by 128 bands, exp"),
        ({"model_type": "audio-spectrogram-transformer", "num_mel_bins": 512}, "to 4096 by 256"),
        ({"model_type": "ccformer_mobilenet", "num_mel_bins": 0}, "96 columns by 0 bands, expected from 1 by 1"),
        ({"model_type": "ccformer_mobilenet", "width_multiplier": 0}, "width_multiplier is 0, expected a number from"),
        ({"model_type": "ccformer_mobilenet", "width_multiplier": 5}, "width_multiplier is 5, expected a number from"),
    ],
)
def test_audio_encoders_that_cannot_be(audio, message):
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        CCFormerConfig(audio_config=audio)


def test_the_caller_keeps_its_backbone_dict():
    backbone = {"model_type": "resnet", "depths": [1, 1, 1, 1]}
    CCFormerConfig(backbone_config=backbone)
    assert backbone == {"model_type": "resnet", "depths": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        (
            {"hiden_size": 32},
            r"no field 'hiden_size' \(did you mean 'hidden_size'\?\)\. Fix the name or remove it from config",
        ),
        (
            {"colour": 1, "num_querys": 3},
            r"no field 'colour', 'num_querys' \(did you mean 'num_queries'\?\)\. Fix .* use_eim",
        ),
    ],
)
def test_unknown_fields_are_refused_by_name(unknown, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        CCFormerConfig(**unknown)
    CCFormerConfig().save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**fields, **unknown}))
    for config_class in (CCFormerConfig, AutoConfig):
        with pytest.raises(ValueError, match=message):
            config_class.from_pretrained(tmp_path)


def test_fields_of_a_newer_transformers_are_passed_over(caplog, monkeypatch):
    monkeypatch.setattr(logging.get_logger("transformers"), "propagate", True)
    monkeypatch.setattr(logging.get_logger("ccformer_hf"), "propagate", True)
    config = CCFormerConfig(transformers_version="5.99.0", hidden_size=32, brand_new=1)
    assert config.hidden_size == 32
    assert "no field 'brand_new'. It was written by transformers 5.99.0" in caplog.text


def test_what_transformers_knows_is_taken(tmp_path):
    config = CCFormerConfig(
        num_attention_heads=2,  # the library's name of num_heads
        num_hidden_layers=3,
        attn_implementation={"": "sdpa", "backbone_config": "eager"},
        output_attentions=False,
        output_hidden_states=True,
        name_or_path="somewhere",
        torch_dtype="float16",
        architectures=["CCFormerModel"],
        auto_map={"AutoModel": "modeling_ccformer.CCFormerModel"},
        custom_pipelines={},
        quantization_config={},
        problem_type=None,
        num_labels=5,
        _commit_hash="abc",
        transformers_version="5.17.0",
    )
    assert (config.num_heads, config.decoder_layers, config.num_labels, config.dtype) == (2, 3, 5, torch.float16)
    config.save_pretrained(tmp_path)
    again, unused = CCFormerConfig.from_pretrained(
        tmp_path, num_labels=4, dropout=0.5, output_attentions=True, foo=1, return_unused_kwargs=True
    )
    assert (again.num_labels, again.dropout, again.output_attentions, again.num_heads) == (4, 0.5, True, 2)
    assert unused == {"foo": 1}


def test_names_lead_to_ids_too():
    config = CCFormerConfig(id2label={0: "background", 1: "dog", 2: "car"})
    assert config.label2id == {"background": 0, "dog": 1, "car": 2}
    assert CCFormerConfig.from_dict(config.to_dict() | {"label2id": None}).label2id == config.label2id
