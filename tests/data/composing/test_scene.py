from dataclasses import replace

import numpy as np
import pytest
from made_sources import COLOURS, square, write_picture, write_sources
from PIL import Image

from ccformer_hf.data.composing.material import read_material
from ccformer_hf.data.composing.pairing import InView, draw_view
from ccformer_hf.data.composing.pictures import CutOut
from ccformer_hf.data.composing.scene import Sprite, compose_scene


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return read_material(write_sources(tmp_path_factory.mktemp("sources")))["train"]


def opaque(width, height, colour=(200, 30, 30)):
    return Image.fromarray(np.full((height, width, 4), (*colour, 255), np.uint8)).convert("RGBa")


def still(image, x, y, behind=False):
    return Sprite(image, np.array([[x, y]]), np.ones(1), np.zeros(1), behind)


def paste(sprite, size=32, in_front=None):
    frame, owner = Image.new("RGB", (size, size), (90, 90, 90)), np.full((size, size), -1, np.int8)
    whole = sprite.paste(frame, owner, 5, 0, in_front)
    return np.asarray(frame), owner, whole


def test_an_opaque_square_and_its_mask_are_the_same_pixels():
    frame, owner, whole = paste(still(opaque(10, 8), 15, 12))
    expected = np.zeros((32, 32), bool)
    expected[8:16, 10:20] = True
    np.testing.assert_array_equal(owner == 5, expected)
    np.testing.assert_array_equal((frame == (200, 30, 30)).all(axis=-1), expected)
    np.testing.assert_array_equal((frame == 90).all(axis=-1), ~expected)
    assert whole == 80


def test_beyond_the_frame_and_behind_what_is_there():
    frame, owner, whole = paste(still(opaque(10, 10), 0, 16))
    assert (owner == 5).sum() == whole == 50
    in_front = np.zeros((32, 32), bool)
    in_front[:, :16] = True
    frame, owner, whole = paste(still(opaque(10, 10), 16, 16), in_front=in_front)
    assert whole == 100 and (owner == 5).sum() == 50 and (frame[:, :16] == 90).all()
    assert paste(still(opaque(4, 4), -40, 10))[2] == 0


def test_turned_and_enlarged_it_covers_as_much_as_it_should():
    sprite = Sprite(opaque(10, 10), np.array([[32.0, 32.0]]), np.array([2.0]), np.array([np.pi / 4]), False)
    frame, owner, whole = paste(sprite, 64)
    assert abs(whole - 400) < 25 and owner[32, 32 + 13] == 5 and owner[32 - 13, 32 - 13] == -1, "it stands on a corner"
    np.testing.assert_array_equal(owner == 5, frame[..., 0] > 145)


def test_half_covered_pixels_are_blended_and_counted_from_a_half_on():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., :3], pixels[:4, :, 3], pixels[4:, :, 3] = 200, 128, 100
    frame, owner, _ = paste(still(Image.fromarray(pixels).convert("RGBa"), 16, 16))
    assert (owner[12:16, 12:20] == 5).all() and (owner[16:20] == -1).all()
    assert abs(int(frame[13, 13, 0]) - (200 * 128 + 90 * 127) / 255) <= 2
    assert abs(int(frame[18, 13, 0]) - (200 * 100 + 90 * 155) / 255) <= 2


def test_masks_are_what_is_drawn(material):
    """A pure red, green or blue object differs from the ground in its hue, whatever was done to its colours."""
    hues = {number: np.argmax(COLOURS[name]) for number, name in enumerate(material.sources.classes, 1)}
    checked = 0
    for number in range(40):
        view = draw_view(material, np.random.default_rng(number))
        scene = compose_scene(material, view, np.random.default_rng(number))
        assert scene.frames.shape == (3, 64, 64, 3) and scene.masks.shape == (len(view.class_ids), 3, 64, 64)
        assert scene.masks.sum(axis=0).max() <= 1, "a pixel belongs to one object"
        channels = scene.frames.astype(int)
        for class_id, mask in zip(view.class_ids, scene.masks, strict=True):
            hue = hues[class_id]
            others = channels[..., [channel for channel in range(3) if channel != hue]].max(axis=-1)
            coloured = channels[..., hue] - others > 45
            union = (coloured | mask).sum()
            if mask.sum() > 600:
                # The photograph's unsure stripe is coloured by neither; edges and blur may differ by a pixel.
                assert (coloured & mask).sum() / union > 0.8
                checked += 1
    assert checked > 40


def test_sizes_and_places_vary_and_objects_move(material):
    areas, centres, moved = [], [], []
    for number in range(60):
        view = InView(material.backgrounds[0], (), ((1, tuple(material.cutouts[1][:3])),))
        mask = compose_scene(material, view, np.random.default_rng(number)).masks[0]
        areas.append(mask[0].mean())
        places = [np.argwhere(frame).mean(axis=0) for frame in mask if frame.any()]
        centres.append(places[0])
        moved.append(np.linalg.norm(places[-1] - places[0]))
    assert np.quantile(areas, 0.9) > 5 * np.quantile(areas, 0.1) and min(areas) > 0.002
    assert np.std(centres, axis=0).min() > 10
    assert np.median(moved) > 1


def test_objects_that_end_with_their_picture_are_put_at_the_edge_of_the_frame():
    cut_out = CutOut(square((200, 0, 0), 40, 2), (False, False, False, True))
    for number in range(30):
        rng = np.random.default_rng(number)
        sprite = Sprite.draw(cut_out, np.full((64, 64, 3), 90, np.uint8), 1.0, [], 5, rng)
        assert all(sprite.box(time)[3] >= 64 - 1e-6 and sprite.box(time)[1] < 64 for time in range(5))
        assert not sprite.turns.any()


def middle(box):
    return np.array([box[0] + box[2], box[1] + box[3]]) / 2


def drawn(holder, cut=(False,) * 4, number=0):
    """A red square that is drawn for a grey frame of 64 x 64."""
    ground, rng = np.full((64, 64, 3), 90, np.uint8), np.random.default_rng(number)
    return Sprite.draw(CutOut(square((200, 0, 0), 40, 2), cut), ground, 1.0, [], 5, rng, holder)


def test_what_is_held_goes_with_its_holder():
    lefts = np.linspace(0, 20, 5)
    holder = np.stack([lefts, np.full(5, 10), lefts + 40, np.full(5, 60)], axis=1)  # 40 wide, 50 high
    for number in range(30):
        sprite = drawn(holder, number=number)
        first, last = middle(sprite.box(0)), middle(sprite.box(4))
        assert (0.25 * 40 <= first[0] <= 0.75 * 40) and (10 + 0.3 * 50 <= first[1] <= 10 + 0.8 * 50)
        assert max(sprite.pixels.size) <= round(1.1 * (40 * 50) ** 0.5) and not sprite.behind
        assert 10 < (last - first)[0] < 30, "its holder goes 20 to the right, and it moves a little by itself"


def test_what_is_held_stays_where_its_holder_left_the_frame():
    holder = np.tile([14.0, 10.0, 54.0, 60.0], (5, 1))
    gone = holder.copy()
    gone[3:] = 0
    for number in range(10):
        np.testing.assert_array_equal(drawn(gone, number=number).centers, drawn(holder, number=number).centers)


def test_what_ends_with_its_picture_or_has_a_tiny_holder_is_not_held():
    far = np.tile([0.0, 0.0, 10.0, 10.0], (5, 1))  # 2.4 % of the frame
    wide = np.tile([0.0, 0.0, 30.0, 30.0], (5, 1))
    for held, holder, cut in ((False, far, False), (True, wide, False), (False, wide, True)):
        places = [middle(drawn(holder, (False, False, False, cut), number).box(0)) for number in range(30)]
        assert (np.max(places) <= 24) == held


def test_held_objects_are_pasted_on_their_holders(tmp_path):
    material = read_material(write_sources(tmp_path, held_by={"cat": "bell"}))["train"]
    over = 0
    for number in range(40):
        view = draw_view(material, np.random.default_rng(number))
        if view.held is not None:
            scene = compose_scene(material, view, np.random.default_rng(number))
            bell, cat = (scene.masks[view.class_ids.index(class_id), 0] for class_id in view.held)
            rows, columns = np.nonzero(bell)
            at = np.argwhere(cat)
            inside = len(at) and (at.min(0) <= (rows.mean(), columns.mean())) & (
                (rows.mean(), columns.mean()) <= at.max(0)
            )
            over += bool(np.all(inside))
    assert over >= 5


def test_what_is_in_place_can_be_seen_and_its_mask_fits(material):
    unsure = 0
    for number in range(30):
        view = InView(material.scenes[2][0], (2,), ())
        scene = compose_scene(material, view, np.random.default_rng(number))
        assert scene.masks[0].any(axis=(1, 2)).all() and scene.visible_enough.all()
        unsure += scene.unsure.any()
        assert not (scene.unsure & scene.masks[0]).any()
        greenest = scene.frames[..., 1].astype(int) - scene.frames[..., 0] > 45
        assert (greenest & scene.masks[0]).sum() / (greenest | scene.masks[0]).sum() > 0.8
    assert unsure > 20


def test_too_little_of_an_object_cannot_be_told(material, monkeypatch):
    view = InView(material.backgrounds[0], (), ((1, tuple(material.cutouts[1][:1])),))
    clear = compose_scene(material, view, np.random.default_rng(0))
    share = clear.masks[0, 1].mean()
    monkeypatch.setattr("ccformer_hf.data.composing.scene.LEAST_PIXELS", share)
    again = compose_scene(material, view, np.random.default_rng(0))
    assert clear.visible_enough.all()
    assert again.visible_enough[0].tolist() == (clear.masks[0].mean(axis=(1, 2)) >= share).tolist()
    monkeypatch.setattr("ccformer_hf.data.composing.scene.LEAST_PIXELS", 1.0)
    assert not compose_scene(material, view, np.random.default_rng(0)).visible_enough.any()


def test_a_mask_without_the_class_its_table_names(tmp_path):
    source = write_sources(tmp_path)
    material = read_material(source)["train"]
    scene = material.scenes[2][0]
    write_picture(tmp_path / "train" / "scenes" / "masks" / scene.mask.rsplit("/", 1)[1], np.zeros((60, 80), np.uint8))
    view = InView(material.backgrounds[0], (), ((2, (scene,)),))
    with pytest.raises(ValueError, match="none marks cat, which their table says they do"):
        compose_scene(material, view, np.random.default_rng(0))


def test_a_distractor_is_seen_below_the_objects_and_marked_as_nothing(tmp_path):
    material = read_material(write_sources(tmp_path))["train"]
    ground, filling = sorted(material.backgrounds, key=lambda picture: picture.file)  # the second is 40 levels lighter
    view = InView(
        ground, (), ((1, tuple(material.cutouts[1][:1])),), distractors=((2, material.cutouts[2][0], filling),)
    )
    seen = 0
    for seed in range(20):
        scene = compose_scene(material, view, np.random.default_rng(seed))
        assert len(scene.masks) == 1 and not scene.unsure.any()
        red = scene.frames[..., 0].astype(int) - scene.frames[..., 1]  # of the object alone, not of grounds
        assert (red[scene.masks[0]] > 20).mean() > 0.8 and (red[~scene.masks[0]] > 60).mean() < 0.02
        without = scene.frames[~scene.masks[0]].mean(axis=-1)
        seen += np.ptp(np.percentile(without, (5, 95))) > 15  # two grounds, one of them lighter
    assert seen >= 10


def test_a_distractor_covers_what_is_in_place_and_not_its_silence(tmp_path):
    material = read_material(write_sources(tmp_path))["train"]
    photograph = material.scenes[2][0]
    distractor = (3, material.cutouts[3][0], material.backgrounds[0])
    covered = 0
    for seed in range(20):
        scene = compose_scene(
            material, InView(photograph, (2,), (), distractors=(distractor,)), np.random.default_rng(seed)
        )
        assert not (scene.masks[0] & scene.unsure).any()
        green = scene.frames[..., 1].astype(int) - scene.frames[..., 2]
        assert (green[scene.masks[0]] > 60).mean() > 0.9, "what covers the cat is not marked as one"
        box = scene.masks[0, 0][np.ix_(*(scene.masks[0, 0].any(axis=axis) for axis in (1, 0)))]
        covered += not box.all()
    assert covered


def test_a_distractor_without_an_outline_is_left_out(tmp_path):
    material = read_material(write_sources(tmp_path))["train"]
    plain = InView(material.backgrounds[0], (), ((1, tuple(material.cutouts[1][:1])),))
    # A scene of class 2 in which class 3 is not to be found any more, as a tiny one may be once the mask is smaller.
    lost = replace(plain, distractors=((3, material.scenes[2][0], material.backgrounds[1]),))
    one, other = (compose_scene(material, view, np.random.default_rng(0)) for view in (plain, lost))
    np.testing.assert_array_equal(one.frames, other.frames)
