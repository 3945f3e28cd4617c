import torch
import torch.nn.functional as F
from small_model import small_config

from ccformer_hf import CCFormerConfig
from ccformer_hf.model.vggish_ccformer import CCFormerVGGish

PUBLIC_VGGISH = {
    "features.0.weight": (64, 1, 3, 3),
    "features.0.bias": (64,),
    "features.3.weight": (128, 64, 3, 3),
    "features.3.bias": (128,),
    "features.6.weight": (256, 128, 3, 3),
    "features.6.bias": (256,),
    "features.8.weight": (256, 256, 3, 3),
    "features.8.bias": (256,),
    "features.11.weight": (512, 256, 3, 3),
    "features.11.bias": (512,),
    "features.13.weight": (512, 512, 3, 3),
    "features.13.bias": (512,),
    "embeddings.0.weight": (4096, 12288),
    "embeddings.0.bias": (4096,),
    "embeddings.2.weight": (4096, 4096),
    "embeddings.2.bias": (4096,),
    "embeddings.4.weight": (128, 4096),
    "embeddings.4.bias": (128,),
}


def test_vggish_has_the_keys_and_shapes_of_the_public_file():
    with torch.device("meta"):
        vggish = CCFormerVGGish(CCFormerConfig())
    assert {name: tuple(value.shape) for name, value in vggish.state_dict().items()} == PUBLIC_VGGISH


def test_vggish_against_a_plain_one():
    """Convolutions and pools by function, and the map flattened row by row, column by column, channel last."""
    torch.manual_seed(0)
    vggish = CCFormerVGGish(small_config(audio_hidden_sizes=(2, 3, 4, 512), audio_fc_size=6, audio_embed_size=5))
    weights = vggish.state_dict()
    log_mel = torch.randn(2, 1, 96, 64)
    maps = log_mel
    for number, pool in ((0, True), (3, True), (6, False), (8, True), (11, False), (13, True)):
        maps = F.conv2d(
            maps, weights[f"features.{number}.weight"], weights[f"features.{number}.bias"], padding=1
        ).relu()
        maps = F.max_pool2d(maps, 2) if pool else maps
    assert maps.shape == (2, 512, 6, 4)
    flat = torch.stack([maps[:, :, row, column] for row in range(6) for column in range(4)], dim=1).reshape(2, 12288)
    for number in (0, 2, 4):
        flat = (flat @ weights[f"embeddings.{number}.weight"].T + weights[f"embeddings.{number}.bias"]).relu()
    assert flat.abs().max() > 0
    torch.testing.assert_close(vggish(log_mel), flat, rtol=1e-5, atol=1e-7)
