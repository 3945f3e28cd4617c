import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import ResNetConfig

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
        ({"num_heads": 7}, "hidden_size is 256, it must be a multiple of num_heads"),
        ({"hidden_size": 30, "num_heads": 5}, "hidden_size is 30.*of 4"),
        ({"audio_hidden_sizes": (1, 2, 3)}, "audio_hidden_sizes is .* must hold 4 widths"),
        ({"num_queries": 0}, "num_queries is 0, it must be positive"),
        ({"decoder_layers": 0}, "decoder_layers is 0, it must be positive"),
        ({"pixel_decoder_layers": 0}, "pixel_decoder_layers is 0, it must be positive"),
        ({"num_loss_points": -1}, "num_loss_points is -1, it must be positive"),
        ({"contrastive_temperature": 0.0}, "contrastive_temperature is 0.0, it must be positive"),
        ({"contrastive_weight": -0.1}, "contrastive_weight is -0.1, it must be at least 0"),
        ({"dropout": 1}, "dropout is 1, it must be at least 0 and below 1"),
        ({"id2label": {0: "background"}}, r"id2label has the ids \[0\]"),
        (
            {"id2label": {0: "background", 5: "dog"}},
            r"id2label has the ids \[0, 5\], they must be 0 \(background\), 1, 2",
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
    with pytest.raises(StrictDataclassError, match="backbone that gives four maps, at strides 4, 8, 16 and 32"):
        CCFormerConfig(backbone_config=backbone)


def test_the_caller_keeps_its_backbone_dict():
    backbone = {"model_type": "resnet", "depths": [1, 1, 1, 1]}
    CCFormerConfig(backbone_config=backbone)
    assert backbone == {"model_type": "resnet", "depths": [1, 1, 1, 1]}
