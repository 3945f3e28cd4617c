import torch
from small_model import small_model

from ccformer_hf.benchmarking.benchmark import benchmark
from ccformer_hf.benchmarking.choices import BACKBONES
from ccformer_hf.benchmarking.works import Clips, random_model


def test_the_backbones_are_those_of_the_recipes():
    with torch.device("meta"):  # 100 million parameters without memory
        configs = [random_model(name).config for name in BACKBONES]
    assert [config.backbone_config.model_type for config in configs] == [
        "resnet",
        "pvt_v2",
        "dinov2",
        "resnet",
        "resnet",
    ]
    assert [config.audio_config and config.audio_config.model_type for config in configs[2:]] == [
        None,
        "audio-spectrogram-transformer",
        "clap_audio_model",
    ]
    assert [list(config.backbone_config.depths) for config in configs[:2]] == [[3, 4, 6, 3], [3, 6, 40, 3]]
    assert {config.hidden_size for config in configs} == {256}


def test_clips_are_as_many_as_long_and_as_large_as_asked(loaded):
    pictures, log_mel = Clips(2, 3, 64).random(loaded[0])
    assert (pictures.shape, log_mel.shape) == ((2, 3, 3, 64, 64), (2, 3, 1, 96, 64))


def test_on_a_plain_vision_transformer_there_is_no_mask2former():
    """It takes four maps; the pyramid, which makes them, counts with the backbone."""
    vit = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = small_model(backbone_config={"model_type": "dinov3_vit", **vit})
    tables = benchmark(model, frames=(1,), sizes=(64,), batches=(1,), rounds=1)
    rows = {(table.kind, row.name): row for table in tables for row in table.rows}
    assert "Mask2Former" not in {name for _, name in rows} and ("training", "whole model") in rows
    visual = sum(p.numel() for part in (model.model.backbone, model.model.pyramid) for p in part.parameters())
    assert rows["parts", "visual backbone"].parameters == visual
