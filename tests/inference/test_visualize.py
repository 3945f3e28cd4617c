import time

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from PIL import Image

from ccformer_hf.inference.visualize import (
    PALETTE,
    SHEET_WIDTH,
    Bar,
    ComparedFrame,
    Tile,
    YuvOverlay,
    clock,
    comparison_sheet,
    contact_sheet,
    objects_apart,
    overlay,
    probability_picture,
    timeline_picture,
)
from ccformer_hf.model.media_ccformer import Colours, rgb_to_yuv, yuv_planes


def square_map(height: int = 40, width: int = 60, class_id: int = 1) -> np.ndarray:
    class_map = np.zeros((height, width), dtype=np.uint8)
    class_map[10:30, 20:50] = class_id
    return class_map


def test_colours_of_56_classes_all_differ_and_the_background_is_black():
    assert PALETTE.shape == (256, 3) and PALETTE.dtype == np.uint8
    assert len({tuple(colour) for colour in PALETTE[:57].tolist()}) == 57
    assert PALETTE[0].tolist() == [0, 0, 0]
    assert PALETTE[1].tolist() == [0xE6, 0x9F, 0x00]  # Okabe and Ito's orange


def test_overlay_mixes_inside_draws_the_outline_and_leaves_the_rest():
    frame = np.full((40, 60, 3), 100, dtype=np.uint8)
    result = overlay(frame, square_map(), opacity=0.5)
    assert (frame == 100).all()
    assert np.abs(result[20, 35].astype(float) - (100.0 + PALETTE[1]) / 2).max() <= 1
    for row in (9, 10):  # one pixel on each side of the border
        assert (result[row, 25:45] == PALETTE[1]).all()
    assert (result[:9] == 100).all() and (result[31:] == 100).all() and (result[:, :19] == 100).all()
    assert (result[12:28, 22:48] == result[20, 35]).all()


@pytest.mark.parametrize("opacity, inside", [(0.0, 100), (1.0, None)])
def test_opacity_ends(opacity, inside):
    result = overlay(np.full((40, 60, 3), 100, dtype=np.uint8), square_map(), opacity)
    assert (result[20, 35] == (PALETTE[1] if inside is None else inside)).all()


def test_extreme_values_do_not_overflow():
    class_map = np.full((8, 8), 4, dtype=np.uint8)
    for value in (0, 255):
        result = overlay(np.full((8, 8, 3), value, dtype=np.uint8), class_map)
        assert np.abs(result[4, 4].astype(float) - (PALETTE[4].astype(float) + value) / 2).max() <= 1


def video_frame(height: int, width: int) -> np.ndarray:
    """A frame of noise in limited range, as `yuv_planes` takes it."""
    return np.random.default_rng(0).integers(16, 236, (3 * height // 2, width), dtype=np.uint8)


def as_rgb(packed: np.ndarray) -> np.ndarray:
    frame = av.VideoFrame.from_ndarray(packed, format="yuv420p")
    return frame.reformat(format="rgb24", src_colorspace=Colorspace.ITU709).to_ndarray().astype(int)


@pytest.mark.parametrize("opacity", [0.0, 0.5, 1.0])
def test_a_video_shows_the_masks_that_a_picture_shows(opacity):
    class_map = square_map() + 2 * square_map()[::-1, ::-1].copy()
    before = rgb_to_yuv(np.full((40, 60, 3), 100, dtype=np.uint8), Colours())
    after = before.copy()
    YuvOverlay(class_map, Colours(), opacity).draw_on(after)
    wanted = overlay(as_rgb(before).astype(np.uint8), class_map, opacity)
    inside = (slice(14, 26), slice(24, 36))  # away from outlines, whose colours U and V blur over two pixels
    assert np.abs(as_rgb(after)[inside] - wanted[inside]).max() <= 3
    assert np.abs(as_rgb(after) - wanted).mean() < 8


@pytest.mark.parametrize("size", [(40, 60), (41, 61)])
def test_what_is_under_no_mask_stays_to_the_last_bit(size):
    class_map = np.zeros(size, np.uint8)
    class_map[13:29, 21:] = 3
    before = video_frame(size[0] + size[0] % 2, size[1] + size[1] % 2)
    after = before.copy()
    YuvOverlay(class_map, Colours()).draw_on(after)
    for plane, (old, new) in enumerate(zip(yuv_planes(before), yuv_planes(after), strict=True)):
        changed = np.argwhere(old != new) * (1 if plane == 0 else 2)
        assert changed.min(axis=0).tolist() == [12, 20]  # one pixel around, for the outline
        assert changed.max(axis=0).tolist() == ([29, after.shape[1] - 1] if plane == 0 else [28, after.shape[1] - 2])


def test_the_outline_is_as_wide_at_the_ends_of_a_mask_as_along_it():
    class_map = np.zeros((720, 720), np.uint8)
    class_map[300:400, 20:40] = 1
    result = overlay(np.full((720, 720, 3), 100, np.uint8), class_map)
    outlined = (result == PALETTE[1]).all(axis=2)
    assert np.flatnonzero(outlined[350]).tolist() == [18, 19, 20, 21, 38, 39, 40, 41]
    assert np.flatnonzero(outlined[:, 30]).tolist() == [298, 299, 300, 301, 398, 399, 400, 401]


def test_no_value_of_a_video_overflows():
    for value in (0, 255):
        for class_id in range(1, 57):
            frame = np.full((12, 8), value, np.uint8)
            YuvOverlay(np.full((8, 8), class_id, np.uint8), Colours(5, 5, 6), 0.004).draw_on(frame)
            assert np.abs(frame.astype(int) - value).max() <= 2


def test_an_empty_map_changes_nothing_and_a_legend_only_its_corner():
    empty = np.zeros((240, 320), dtype=np.uint8)
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    assert (overlay(picture, empty) == picture).all()
    frame = video_frame(240, 320)
    without, with_legend = frame.copy(), frame.copy()
    YuvOverlay(empty, Colours()).draw_on(without)
    assert (without == frame).all()
    YuvOverlay(empty, Colours(), legend={1: "dog", 2: "emergency-car"}).draw_on(with_legend)
    for old, new, scale in zip(yuv_planes(frame), yuv_planes(with_legend), (1, 2, 2), strict=True):
        changed = np.argwhere(old != new) * scale
        assert len(changed) > 500 / scale**2
        assert changed.max(axis=0)[0] < 80 and changed.max(axis=0)[1] < 160


def test_a_legend_larger_than_the_frame_is_cut():
    frame = np.zeros((18, 10), dtype=np.uint8)
    YuvOverlay(np.ones((12, 10), np.uint8), Colours(), legend={1: "a long name of a class"}).draw_on(frame)
    assert frame.any()


def test_overlay_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"expected \(H, W\) uint8"):
        YuvOverlay(np.zeros((4, 4), dtype=np.int64), Colours())
    with pytest.raises(ValueError, match="opacity is 2"):
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), dtype=np.uint8), opacity=2)
    with pytest.raises(ValueError, match=r"expected \(6, 4\) uint8, the planes of a picture of 4 x 4"):
        YuvOverlay(np.zeros((4, 4), dtype=np.uint8), Colours()).draw_on(np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"expected \(4, 4, 3\) uint8"):
        overlay(np.zeros((5, 4, 3), dtype=np.uint8), np.zeros((4, 4), dtype=np.uint8))


def test_overlay_keeps_up_with_video():
    class_map = np.zeros((480, 640), dtype=np.uint8)
    class_map[100:400, 100:500] = 1
    frame, best = video_frame(480, 640), float("inf")
    for _ in range(20):
        start = time.process_time()
        YuvOverlay(class_map, Colours(), legend={1: "dog"}).draw_on(frame)
        best = min(best, time.process_time() - start)
    assert best < 0.008  # 1 ms where nothing else runs


@pytest.mark.parametrize(
    "seconds, decimals, text",
    [(0, 0, "0:00"), (65.25, 1, "1:05.2"), (3600, 0, "1:00:00"), (59.999, 1, "0:59.9"), (3725.5, 0, "1:02:05")],
)
def test_clock(seconds, decimals, text):
    assert clock(seconds, decimals) == text


def test_timeline_draws_a_bar_where_the_class_sounds():
    bars = [Bar(2, 0.0, 1.0, 1.0), Bar(2, 3.0, 4.0, 0.5)]
    picture = np.array(timeline_picture(bars, {1: "bell", 2: "dog"}, 4.0, np.linspace(0, 1, 50), width=600))
    full = (picture == PALETTE[2]).all(axis=2)
    row = np.argmax(full[:, 20:].sum(axis=1))
    columns = np.flatnonzero(full[row, 20:]) + 20
    gutter = columns.min()
    quarter = (600 - 1 - gutter) / 4
    assert abs(columns.max() - (gutter + quarter)) <= 3
    half, above = picture[row + 18, round(gutter + 3.5 * quarter)], picture[row + 2, round(gutter + 3.5 * quarter)]
    assert (above == (243, 244, 246)).all()  # half as high as a bar of score 1
    assert np.abs(half - (PALETTE[2] + np.array([243.0, 244, 246])) / 2).max() <= 1
    assert (picture[row, round(gutter + 2.2 * quarter)] == (243, 244, 246)).all()


def test_timeline_grows_by_a_row_per_class_and_works_without_sound_or_classes():
    names = {1: "bell", 2: "dog"}
    nothing = timeline_picture([], names, 0.04, None)
    one = timeline_picture([Bar(1, 0, 1, 0.9)], names, 5.0, np.zeros(3))
    two = timeline_picture([Bar(1, 0, 1, 0.9), Bar(2, 0, 1, 0.9)], names, 7200.0, np.ones(3000))
    assert nothing.height == one.height < two.height
    assert nothing.width == one.width == two.width


@pytest.mark.parametrize("count, size", [(1, (90, 160)), (5, (160, 90)), (7, (90, 160)), (12, (160, 90))])
def test_contact_sheet_holds_every_tile(count, size):
    frames = [np.full((size[1], size[0], 3), 40 + 15 * i, dtype=np.uint8) for i in range(count)]
    tiles = [Tile(float(i), frame, np.zeros(frame.shape[:2], np.uint8), {}) for i, frame in enumerate(frames)]
    timeline = timeline_picture([], {}, float(count), None)
    sheet = contact_sheet("a name " * 40, "facts", tiles, timeline)
    assert sheet.width == SHEET_WIDTH
    assert sheet.height < 2 * SHEET_WIDTH
    pixels = np.array(sheet)
    for frame in frames:
        assert (pixels == frame[0, 0]).all(axis=2).sum() > 5000


def test_contact_sheet_lays_masks_over_and_leaves_no_caption_out():
    frame = np.zeros((90, 160, 3), dtype=np.uint8)
    class_map = np.zeros((90, 160), dtype=np.uint8)
    class_map[20:70, 40:120] = 6
    sounding = {class_id: f"class number {class_id}" for class_id in range(1, 9)}
    sheet = contact_sheet("name", "facts", [Tile(0.9, frame, class_map, sounding)], Image.new("RGB", (100, 50)))
    pixels = np.array(sheet)
    mixed = (PALETTE[6] * 0.5 + 0.5).astype(np.uint8)
    assert (np.abs(pixels.astype(int) - mixed).max(axis=2) <= 1).sum() > 10000


@pytest.mark.parametrize("count, blocks", [(1, 1), (5, 1), (10, 2)])
def test_comparison_sheet_shows_each_frame_with_what_is_there_and_what_was_said(count, blocks):
    frame = np.full((40, 60, 3), 100, dtype=np.uint8)
    truth, said = square_map(class_id=1), square_map(class_id=2)
    truth[0] = 255  # ignored
    names = {0: "background", 1: "dog", 2: "bell"}
    sheet = np.asarray(comparison_sheet("clip", "scores", [ComparedFrame(0.9, frame, truth, said, names)] * count))
    assert sheet.shape[1] == SHEET_WIDTH
    rows = {}
    for class_id in (1, 2):
        mixed = np.round((100 + PALETTE[class_id].astype(float)) / 2)
        rows[class_id] = np.flatnonzero((np.abs(sheet - mixed).max(2) <= 1).any(1))
        runs = 1 + np.count_nonzero(np.diff(rows[class_id]) > 1)
        assert runs == blocks
    assert rows[1].min() < rows[2].min()  # the label map stands above the prediction


# How the three kinds of colour blindness see linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
COLOUR_VISION = {
    "normal": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def seen_as(colours: np.ndarray, vision: str) -> np.ndarray:
    """sRGB colours `(N, 3)` 0..255 in CIELAB, `(N, 3)`; a difference of 2 can just be seen."""
    linear = colours / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(COLOUR_VISION[vision]), 0, 1)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    xyz /= [0.9505, 1, 1.089]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_colours_are_told_apart_with_any_colour_vision(vision):
    colours = seen_as(PALETTE[1:15].astype(np.float64), vision)
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=2) + 1000 * np.eye(14)
    assert apart[:7, :7].min() > 15  # the first seven, any two of them
    assert apart.min() > 7
    assert np.diagonal(apart, 1).min() > 11  # ids that follow each other stand side by side in legends


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_probabilities_get_lighter_all_the_way(vision):
    ramp = probability_picture(np.linspace(0, 1, 21)[None])[0]
    assert (
        ramp.dtype == np.uint8 and ramp[0].tolist() == [0x00, 0x22, 0x4E] and ramp[-1].tolist() == [0xFE, 0xE8, 0x38]
    )
    assert (np.diff(seen_as(ramp.astype(np.float64), vision)[:, 0]) > 1).all()


def test_objects_of_one_class_get_shades_of_its_colour_and_their_numbers():
    class_map, owners = np.zeros((20, 40), np.uint8), np.zeros((20, 40), np.int32)
    class_map[:8, :30] = 3
    owners[:8, :10], owners[:8, 10:20] = 5, 70_000
    class_map[12:, :10], owners[12:, :10] = 1, 7
    objects, places = {5: 3, 7: 1, 9: 3, 70_000: 3}, {5: 0, 7: 0, 9: 1, 70_000: 2}
    found = objects_apart(class_map, owners, objects, places, {0: "background", 1: "bell", 3: "dog"})
    assert found.names == {1: "dog 5", 2: "bell", 3: "dog 70000", 4: "dog"}  # the last has no object
    assert [found.ids[4, 5], found.ids[15, 5], found.ids[4, 15], found.ids[4, 25]] == [1, 2, 3, 4]
    assert ((found.ids > 0) == (class_map > 0)).all()
    assert found.palette[1].tolist() == found.palette[4].tolist() == PALETTE[3].tolist()
    assert found.palette[2].tolist() == PALETTE[1].tolist()
    assert found.palette[3].tolist() == np.round((PALETTE[3] + 255.0) / 2).tolist()  # the third of its class: lighter


def test_a_palette_of_its_own_is_drawn():
    frame = video_frame(40, 60)
    palette = PALETTE.copy()
    palette[1] = (10, 200, 30)
    YuvOverlay(square_map(), Colours(), 1.0, palette=palette).draw_on(frame)
    assert np.abs(as_rgb(frame)[20, 35] - (10, 200, 30)).max() <= 3


def test_objects_of_one_class_that_are_seen_together_have_shades_of_their_own():
    objects, places = dict.fromkeys((1, 2, 6), 3), {1: 0, 2: 1, 6: 5}
    object_map = np.array([[1, 6, 2]], np.int32)  # the sixth would have the shade of the first
    apart = objects_apart(np.full((1, 3), 3, np.uint8), object_map, objects, places, {3: "dog"})
    colours = apart.palette[apart.ids[0]]
    assert len({tuple(colour) for colour in colours.tolist()}) == 3
    assert [apart.names[number] for number in apart.ids[0].tolist()] == ["dog 1", "dog 6", "dog 2"]
