import cv2
import numpy as np
import pytest

from ccformer_hf.inference.edges import SPECK, class_map, guided, half_size, without_specks


def disc(radius: float, size: int = 128) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] - size / 2
    return np.hypot(rows, columns) < radius


def test_a_blurred_mask_gets_the_edge_of_the_picture():
    mask = disc(40)
    picture = np.where(mask[..., None], (200, 60, 60), (60, 120, 60)).astype(np.uint8)
    blocks = mask.reshape(16, 8, 16, 8).mean(axis=(1, 3)).repeat(8, 0).repeat(8, 1).astype(np.float32)
    found = guided(np.stack([1 - blocks, blocks]), picture)
    assert ((blocks > 0.5) != mask).sum() > 300
    assert ((found[1] > 0.5) != mask).sum() < 40
    assert found.sum(axis=0) == pytest.approx(1, abs=1e-3) and found.min() >= 0 and found.max() <= 1


def test_colours_of_the_same_grey_have_an_edge_too():
    left = np.arange(128) < 64
    picture = np.where(left[None, :, None], (150, 75, 75), (75, 113, 75)).astype(np.uint8).repeat(128, 0)
    ramp = np.clip((67 - np.arange(128, dtype=np.float32)) / 12 + 0.5, 0, 1)[None].repeat(128, 0)  # half at 67
    found = guided(np.stack([1 - ramp, ramp]), picture)[1, 64]
    assert found[63] - found[64] > 2 * (ramp[64, 63] - ramp[64, 64]) > 0.1


def test_a_plain_picture_leaves_a_wide_mask_as_it_is():
    ramp = np.linspace(0, 1, 128, dtype=np.float32)[None].repeat(128, 0)
    found = guided(np.stack([1 - ramp, ramp]), np.full((128, 128, 3), 90, np.uint8))
    assert found[1][:, 20:-20] == pytest.approx(ramp[:, 20:-20], abs=0.02)


def test_specks_are_dropped_class_by_class():
    ids = np.zeros((100, 100), np.uint8)
    ids[10:40, 10:40] = 1
    ids[60:64, 60:64] = 1  # 16 pixels, 0.16 % of the picture
    ids[12:16, 12:16] = 2  # inside the first one
    ids[80:88, 80:88] = 2  # 64
    kept = without_specks(ids)
    assert SPECK == 0.005
    assert (kept == 1).sum() == 900 - 16 and (kept == 2).sum() == 64
    assert (without_specks(np.full((8, 8), 3, np.uint8)) == 3).all()
    ids[:], ids[:5, :6], ids[5:10, 6:12] = 0, 1, 1  # 30 pixels each, which touch by their corners
    assert not without_specks(ids).any()


def test_class_maps_follow_threshold_and_likeliest_class():
    maps = np.zeros((3, 20, 20), np.float32)
    maps[1, :, :10], maps[2, :, :10] = 0.5, 0.2  # 0.7 in all: class 4
    maps[1, :, 10:], maps[2, :, 10:] = 0.1, 0.5  # 0.6: class 7
    maps[0] = 1 - maps[1:].sum(axis=0)
    found, scores = class_map(maps, [0, 4, 7], (40, 60), 0.55)
    assert found.dtype == np.uint8 and found.shape == (40, 60)
    assert (found[:, :28] == 4).all() and (found[:, 32:] == 7).all()
    assert scores == pytest.approx({4: 0.5, 7: 0.5})
    found, scores = class_map(maps, [0, 4, 7], (40, 60), 0.65)
    assert (found[:, :28] == 4).all() and not found[:, 32:].any() and list(scores) == [4]
    assert class_map(maps, [0, 4, 7], (40, 60), 0.75)[1] == {}


def test_a_speck_has_no_place_in_the_large_map():
    maps = np.zeros((2, 50, 50), np.float32)
    maps[1, 10:30, 10:30] = maps[1, 40:43, 40:43] = 0.9
    maps[0] = 1 - maps[1]
    found, scores = class_map(maps, [0, 5], (100, 100), 0.5)
    assert found[30:50, 30:50].all() and not found[70:, 70:].any() and scores == {5: pytest.approx(0.9)}


def test_a_class_is_marked_beside_another_only_where_it_has_a_region_of_its_own():
    maps = np.zeros((3, 50, 50), np.float32)
    maps[1, 5:45, 5:21], maps[2, 5:45, 21] = 0.6, 0.48  # halfway both would be marked, and the second the likelier
    maps[2, 5:45, 35:45] = 0.9
    maps[0] = 1 - maps[1:].sum(axis=0)
    found, scores = class_map(maps, [0, 4, 7], (500, 500), 0.5)
    assert (found[60:440, 60:205] == 4).all() and (found[60:440, 360:440] == 7).all()
    assert set(np.unique(found[:, :300])) == {0, 4} and list(scores) == [7, 4]


def test_maps_of_half_the_size_get_the_edges_of_the_picture_too():
    mask = disc(40)
    picture = np.where(mask[..., None], (200, 60, 60), (60, 120, 60)).astype(np.uint8)
    half = cv2.resize(mask.astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
    assert half_size(picture) == (64, 64) and half_size(picture[:1, :101]) == (1, 50)
    found = guided(cv2.blur(half, (5, 5))[None], picture)
    assert found.shape == (1, 128, 128) and ((found[0] > 0.5) != mask).sum() < 40
