import pytest
import torch
from small_model import small_config

from ccformer_hf.model.pixel_decoder_ccformer import CCFormerPixelDecoder

SIZES = [(16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.fixture
def decoder() -> CCFormerPixelDecoder:
    torch.manual_seed(0)
    return CCFormerPixelDecoder(small_config()).double().eval()


def random_maps(frames: int = 2) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(frames, *size, 16).double() for size in SIZES]


@torch.no_grad()
def test_a_map_for_each_scale(decoder):
    multi_scale_features, mask_features = decoder(random_maps())
    assert [tuple(m.shape) for m in (mask_features, *multi_scale_features)] == [(2, *size, 16) for size in SIZES]


@torch.no_grad()
def test_frames_are_decoded_apart(decoder):
    maps = random_maps()
    together = decoder(maps)
    alone = decoder([m[:1] for m in maps])
    for one, both in zip((alone[1], *alone[0]), (together[1], *together[0]), strict=True):
        torch.testing.assert_close(one, both[:1], rtol=0, atol=1e-12)


@torch.no_grad()
def touched(decoder: CCFormerPixelDecoder, level: int, row: int, column: int) -> list[torch.Tensor]:
    """Which cells `(h, w)` of each scale, finest first, change with one cell of the scale `level`."""
    maps = random_maps(1)
    multi_scale_features, mask_features = decoder(maps)
    maps[level][0, row, column] += torch.randn(16).double()
    changed_features, changed_mask_features = decoder(maps)
    pairs = zip((mask_features, *multi_scale_features), (changed_mask_features, *changed_features), strict=True)
    return [(before != after).any(-1)[0] for before, after in pairs]


@pytest.mark.parametrize("level", [2, 3])
def test_every_coarse_cell_reaches_all_scales(decoder, level):
    assert all(scale.all() for scale in touched(decoder, level, 1, 2))


def test_fine_cells_reach_their_neighbours_only(decoder):
    fine, *coarser = touched(decoder, 0, 5, 7)
    wanted = torch.zeros(16, 24, dtype=torch.bool)
    wanted[4:7, 6:9] = True
    assert torch.equal(fine, wanted) and not any(scale.any() for scale in coarser)
    fine, middle, *coarse = touched(decoder, 1, 5, 7)
    wanted = torch.zeros(8, 12, dtype=torch.bool)
    wanted[4:7, 6:9] = True
    assert torch.equal(middle, wanted) and not any(scale.any() for scale in coarse)
    assert 0 < fine.sum() < 16 * 24 / 2  # of bilinear resizing


@torch.no_grad()
def test_places_are_coded(decoder):
    """A mirrored frame is decoded to more than the mirrored maps."""
    maps = random_maps(1)
    before = decoder(maps)[0][1]
    after = decoder([m.flip(2) for m in maps])[0][1].flip(2)
    assert (before - after).abs().max() > 1e-3
