import numpy as np
import pytest
from PIL import Image

from ccformer_hf.data.synthetic.pictures import (
    LARGEST,
    LOOKS,
    SMALLEST,
    Layer,
    draw_background,
    draw_object,
    draw_plate,
    hsv,
    render,
)


def square(colour, diameter: float, speed: float = 0.0) -> Layer:
    """A square in the middle of the frame, which goes to the right and neither turns nor wobbles."""
    sprite = Image.new("RGBA", (64, 64), colour).convert("RGBa")
    return Layer(sprite, diameter, (0.5, 0.5), (speed, 0.0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_colours_by_hand():
    assert [hsv(0, 1, 1), hsv(120, 1, 1), hsv(360, 0, 0.5), hsv(-120, 2, 9)] == [
        (255, 0, 0),
        (0, 255, 0),
        (128, 128, 128),
        (0, 0, 255),
    ]


@pytest.mark.parametrize("name", sorted(LOOKS))
def test_a_sprite_follows_from_its_generator_and_fills_a_part_of_its_square(name):
    sprite = draw_object(name, np.random.default_rng(0), 64)
    assert sprite.mode == "RGBA" and sprite.size == (round(2 * LARGEST * 64),) * 2
    assert 0.1 < (np.asarray(sprite.getchannel("A")) >= 128).mean() < 0.9
    again, other = (np.asarray(draw_object(name, np.random.default_rng(seed), 64)) for seed in (0, 1))
    assert (np.asarray(sprite) == again).all() and (again != other).any()


def test_what_is_in_front_hides_what_is_behind():
    background = np.full((100, 100, 3), 9, np.uint8)
    frame, masks, shown = render(background, [square((200, 0, 0, 255), 0.4), square((0, 200, 0, 255), 0.3)], 0.0)
    assert frame[50, 50].tolist() == [0, 200, 0] and frame[50, 33].tolist() == [200, 0, 0]
    assert frame[0, 0].tolist() == [9, 9, 9] and (background == 9).all(), "the background stays as it was"
    assert not (masks[0] & masks[1]).any() and masks[1].sum() == pytest.approx(30**2, rel=0.1)
    np.testing.assert_allclose(shown, [1 - 9 / 16, 1], atol=0.03)


def test_a_layer_moves_and_turns_back_at_the_edge():
    def middle(time):
        _, masks, _ = render(np.zeros((100, 100, 3), np.uint8), [square((255, 255, 255, 255), 0.3, 0.5)], time)
        return np.flatnonzero(masks[0].any(axis=0)).mean()

    places = [middle(time) for time in (0.0, 0.5, 1.0, 1.5, 2.0)]
    assert places[0] < places[1] < places[2] and places[2] > places[3] > places[4]
    assert places[4] == pytest.approx(places[0], abs=1) and places[2] <= 100


def test_a_background_and_a_plate_have_their_size():
    rng = np.random.default_rng(0)
    background, plate = draw_background(rng, 48), draw_plate(rng, 48)
    assert background.shape == (48, 48, 3) and background.dtype == np.uint8 and plate.mode == "RGBA"
    assert 0 < SMALLEST < LARGEST < 1
