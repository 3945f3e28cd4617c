import numpy as np
import pytest
from scipy import ndimage

from ccformer_hf.inference.motion import Ways, carried, chained, displacements, in_between, motion

HEIGHT, WIDTH = 72, 128


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (HEIGHT, WIDTH))
    smooth = ndimage.gaussian_filter(noise, 3)
    return (128 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


BACKGROUND, OBJECT = texture(0), texture(1)[:32, :32]


def picture(left: int) -> np.ndarray:
    """A square of 32 x 32 on a still background."""
    grey = BACKGROUND.copy()
    grey[20:52, left : left + 32] = OBJECT
    return grey


def square(left: int) -> np.ndarray:
    """Its map, background first: `(2, HEIGHT, WIDTH)`."""
    marked = np.zeros((HEIGHT, WIDTH), np.float32)
    marked[20:52, left : left + 32] = 1
    return np.stack([1 - marked, marked])


def iou(found: np.ndarray, wanted: np.ndarray) -> float:
    return (found & wanted).sum() / (found | wanted).sum()


def test_a_square_that_moves_3_pixels_per_frame_takes_its_mask_along():
    lefts = [20 + 3 * number for number in range(9)]
    found = in_between(square(20), square(44), Ways([picture(left) for left in lefts]), np.arange(9) / 25)
    for left, maps in zip(lefts, found, strict=True):
        assert iou(maps[1] > 0.5, square(left)[1] > 0.5) > 0.8
        assert maps.sum(axis=0) == pytest.approx(1, abs=1e-5)
    frozen = iou(square(20)[1] > 0.5, square(32)[1] > 0.5)
    assert frozen < 0.5  # without being carried


def test_one_look_is_enough():
    pictures, times = [picture(20 + 3 * number) for number in range(5)], np.arange(5) / 25
    assert iou(in_between(square(20), None, Ways(pictures), times)[4][1] > 0.5, square(32)[1] > 0.5) > 0.75
    assert iou(in_between(None, square(32), Ways(pictures), times)[0][1] > 0.5, square(20)[1] > 0.5) > 0.75


def test_a_still_picture_fades_from_one_look_to_the_next():
    found = in_between(square(20), square(60), Ways([picture(20)] * 5), [0.0, 0.1, 0.2, 0.3, 0.4])
    shares = [maps[1][36, 80] for maps in found]  # marked in the second look only
    assert shares == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.02)


def test_at_a_look_the_maps_are_its_own():
    maps = np.random.default_rng(0).random((3, HEIGHT, WIDTH), dtype=np.float32)
    found = in_between(maps, maps[::-1].copy(), Ways([picture(20), picture(23)]), [0.0, 0.04])
    assert found[0] == pytest.approx(maps, abs=1e-6) and found[1] == pytest.approx(maps[::-1], abs=1e-6)


def test_nothing_is_carried_across_a_cut():
    other = texture(2)
    pictures = [picture(20), picture(23), other, other, picture(20)]
    found = in_between(square(20), square(60), Ways(pictures), np.arange(5) / 25)
    assert found[1][1][36, 30] == pytest.approx(1, abs=0.02) and found[1][1][36, 85] == 0  # of the look before only
    assert found[2] is None and found[3] is None  # a shot of its own without a look
    assert motion(picture(20), other) is None
    assert [way is None for way in displacements(pictures)] == [False, False, True, True, True]


def test_a_flash_or_noise_is_no_motion_but_dark_grain_is_no_cut():
    dark = np.random.default_rng(3).integers(10, 16, (HEIGHT, WIDTH)).astype(np.uint8)
    assert motion(dark, np.roll(dark, 7, axis=1)) is not None
    assert motion(picture(20), np.full_like(BACKGROUND, 255)) is None


def test_a_shot_that_is_alike_is_a_cut_too():
    def mixed(share: float) -> np.ndarray:
        return ((1 - share) * BACKGROUND + share * texture(2)).astype(np.uint8)

    assert motion(mixed(0.3), BACKGROUND) is not None
    assert motion(mixed(0.45), BACKGROUND) is None


def test_displacements_add_up_along_the_way():
    three, four = np.full((8, 8, 2), (3, 0), np.float32), np.full((8, 8, 2), (0, 4), np.float32)
    assert chained(three, four)[4, 4].tolist() == [3, 4]


def test_maps_of_another_size_are_carried_as_far_in_the_picture():
    maps = np.zeros((1, 4, 4), np.float32)
    maps[0, :, 2] = 1  # pixels 8-11 of 16
    moved = carried(maps, np.full((16, 16, 2), (4, 0), np.float32))
    assert moved.shape == (1, 16, 16)
    assert (moved[0, 8] > 0.5).nonzero()[0].tolist() == [4, 5, 6, 7]


def test_pictures_too_small_for_the_flow_stand_still():
    """OpenCV refuses them: those with fewer than 8 pixels a side, and those with fewer than 12 on both."""
    for size in ((4, 90), (8, 8), (11, 11), (8, 11), (11, 10)):
        assert not motion(np.zeros(size, np.uint8), np.full(size, 255, np.uint8)).any()
    for size in ((8, 12), (12, 8), (30, 9)):
        assert motion(np.zeros(size, np.uint8), np.zeros(size, np.uint8)).shape == (*size, 2)
