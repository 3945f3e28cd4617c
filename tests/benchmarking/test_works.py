import torch

from ccformer_hf.benchmarking.choices import BACKBONES
from ccformer_hf.benchmarking.works import Clips, random_model


def test_the_backbones_are_those_of_the_recipes():
    with torch.device("meta"):  # 100 million parameters without memory
        configs = [random_model(name).config for name in BACKBONES]
    assert [config.backbone_config.model_type for config in configs] == ["resnet", "pvt_v2"]
    assert [list(config.backbone_config.depths) for config in configs] == [[3, 4, 6, 3], [3, 6, 40, 3]]
    assert configs[0].hidden_size == configs[1].hidden_size == 256


def test_clips_are_as_many_as_long_and_as_large_as_asked(loaded):
    pictures, log_mel = Clips(2, 3, 64).random(loaded[0])
    assert (pictures.shape, log_mel.shape) == ((2, 3, 3, 64, 64), (2, 3, 1, 96, 64))
