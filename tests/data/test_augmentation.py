import numpy as np
import pytest
from PIL import Image

from ccformer_hf.data.augmentation import (
    Augmentation,
    augment_pictures,
    augment_sound,
    cut_frames,
    negative_kind,
    nothing_sounds,
)

NOTHING = Augmentation()


def noise_clip(frames: int = 2, height: int = 24, width: int = 40) -> tuple[list[Image.Image], np.ndarray]:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for _ in range(frames)]
    return pictures, rng.choice(np.array([0, 1, 2, 255], np.uint8), (frames, height, width))


def square_clip(frames: int = 3, size: int = 64) -> tuple[list[Image.Image], np.ndarray]:
    """A white square off the middle on black, and its label 7."""
    labels = np.zeros((frames, size, size), np.uint8)
    labels[:, 8:24, 36:56] = 7
    return [Image.fromarray(np.repeat(ids[..., None] // 7 * 255, 3, axis=-1)) for ids in labels], labels


def rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))


def decibels(sound: np.ndarray, reference: np.ndarray) -> float:
    return 20 * np.log10(rms(sound) / rms(reference))


def test_no_change_is_the_resized_frames_and_their_nearest_labels():
    frames, labels = noise_clip()
    pictures, maps = augment_pictures(frames, labels, 32, NOTHING, np.random.default_rng(1))
    assert pictures.dtype == maps.dtype == np.uint8
    assert pictures.shape == (2, 32, 32, 3) and maps.shape == (2, 32, 32)
    rows, columns = ((np.arange(32) + 0.5) * side / 32 for side in labels.shape[1:])
    np.testing.assert_array_equal(maps, labels[:, rows.astype(int)[:, None], columns.astype(int)])
    for picture, frame in zip(pictures, frames, strict=True):
        np.testing.assert_array_equal(picture, np.asarray(frame.resize((32, 32), Image.Resampling.BILINEAR)))


def test_a_clip_of_the_right_size_passes_unchanged():
    frames, labels = noise_clip(height=32, width=32)
    pictures, maps = augment_pictures(frames, labels, 32, NOTHING, np.random.default_rng(1))
    np.testing.assert_array_equal(pictures, np.stack([np.asarray(frame) for frame in frames]))
    np.testing.assert_array_equal(maps, labels)


def test_mirrored_left_to_right():
    frames, labels = noise_clip(height=32, width=32)
    pictures, maps = augment_pictures(frames, labels, 32, Augmentation(flip=1), np.random.default_rng(1))
    np.testing.assert_array_equal(pictures, np.stack([np.asarray(frame) for frame in frames])[:, :, ::-1])
    np.testing.assert_array_equal(maps, labels[:, :, ::-1])


@pytest.mark.parametrize("scale", [(2.0, 2.0), (0.5, 0.5), (0.4, 2.5)])
def test_the_square_stays_under_its_label(scale):
    frames, labels = square_clip()
    moved = set()
    for seed in range(30):
        changed = Augmentation(flip=0.5, scale=scale)
        pictures, maps = augment_pictures(frames, labels, 64, changed, np.random.default_rng(seed))
        marked = maps == 7
        # Half a pixel of blur at the edges is all that bilinear pictures and nearest labels may differ in.
        apart = (pictures[..., 0] > 127) != marked
        assert apart.mean() < 0.01
        if marked.any():
            moved.add(tuple(np.argwhere(marked[0]).min(axis=0)))
        for number in range(1, 3):
            np.testing.assert_array_equal(pictures[number], pictures[0])
            np.testing.assert_array_equal(maps[number], maps[0])
    assert len(moved) > 10


def test_twice_as_large_is_a_window_of_the_doubled_picture():
    frames, labels = square_clip(1)
    _, maps = augment_pictures(frames, labels, 64, Augmentation(scale=(2, 2)), np.random.default_rng(0))
    doubled = labels[0].repeat(2, axis=0).repeat(2, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(doubled, (64, 64))
    assert (windows == maps[0]).all(axis=(2, 3)).any()


def test_beside_a_shrunk_picture_nothing_is_known():
    frames, labels = square_clip(2)
    seen = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pictures, maps = augment_pictures(frames, labels, 64, Augmentation(scale=(0.5, 0.5)), rng)
        known = np.argwhere(maps[0] != 255)
        (top, left), (bottom, right) = known.min(axis=0), known.max(axis=0) + 1
        assert (bottom - top, right - left) == (32, 32) and len(known) == 32 * 32
        np.testing.assert_array_equal(maps[0, top:bottom, left:right], labels[0, 1::2, 1::2])
        assert (pictures[0][maps[0] == 255] == 0).all()
        seen.add((top, left))
    assert len(seen) > 15


def test_scales_are_even_in_their_logarithm():
    """Half of the clips between 1/2 and 2 are shrunk."""
    frames, labels = square_clip(1, 32)
    rng = np.random.default_rng(0)
    shrunk = [
        (augment_pictures(frames, labels, 32, Augmentation(scale=(0.5, 2)), rng)[1] == 255).any() for _ in range(400)
    ]
    assert 0.43 < np.mean(shrunk) < 0.57


def test_a_colour_changes_alike_in_every_frame():
    """Frames of different brightness, one pixel of the same colour in each."""
    arrays = np.stack([np.full((8, 8, 3), level, np.uint8) for level in (10, 120, 250)])
    arrays[:, 0, 0] = (200, 100, 50)
    frames, labels = [Image.fromarray(array) for array in arrays], np.zeros((3, 8, 8), np.uint8)
    found = set()
    for seed in range(20):
        pictures, maps = augment_pictures(frames, labels, 8, Augmentation(colour=0.3), np.random.default_rng(seed))
        assert len({tuple(pixel) for pixel in pictures[:, 0, 0].tolist()}) == 1
        assert not maps.any()
        found.add(tuple(pictures[0, 0, 0].tolist()))
    assert len(found) == 20


def test_colours_stay_within_what_is_asked_for():
    """A grey clip has neither contrast nor saturation: only its brightness changes, by at most 10 %."""
    frames, labels = [Image.new("RGB", (8, 8), (100, 100, 100))], np.zeros((1, 8, 8), np.uint8)
    rng = np.random.default_rng(0)
    levels = [augment_pictures(frames, labels, 8, Augmentation(colour=0.1), rng)[0] for _ in range(200)]
    assert {picture.std() for picture in levels} == {0.0}
    assert 89 <= min(picture.min() for picture in levels) < 92 < 108 < max(picture.max() for picture in levels) <= 111


def test_share_of_mirrored_clips():
    frames, labels = noise_clip(1, 8, 8)
    rng = np.random.default_rng(0)
    maps = [augment_pictures(frames, labels, 8, Augmentation(flip=0.3), rng)[1] for _ in range(1000)]
    assert 0.25 < np.mean([not np.array_equal(found, labels) for found in maps]) < 0.35


def test_cut_frames():
    rng = np.random.default_rng(0)
    assert cut_frames(10, None, rng) == slice(0, 10)
    assert cut_frames(5, 10, rng) == slice(0, 5)
    cuts = [cut_frames(10, 4, rng) for _ in range(200)]
    assert {cut.stop - cut.start for cut in cuts} == {4}
    assert {cut.start for cut in cuts} == set(range(7))


def test_unchanged_sound():
    sound = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    found = augment_sound(sound, 1000, NOTHING, np.random.default_rng(1))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, sound)


def test_shift_is_no_longer_than_asked_for_and_fills_up_with_silence():
    sound = np.zeros(2000, np.float32)
    sound[1000] = 0.5
    rng = np.random.default_rng(0)
    shifts = []
    for _ in range(300):
        found = augment_sound(sound, 1000, Augmentation(shift=0.05), rng)
        assert np.count_nonzero(found) == 1 and len(found) == 2000
        shifts.append(int(found.argmax()) - 1000)
    assert -50 <= min(shifts) < -45 and 45 < max(shifts) <= 50


@pytest.mark.parametrize("length", [0, 1, 30, 50, 70])
def test_shift_of_a_sound_shorter_than_it(length):
    sound = np.full(length, 0.5, np.float32)
    for seed in range(30):
        found = augment_sound(sound, 1000, Augmentation(shift=0.05), np.random.default_rng(seed))
        assert found.shape == (length,) and set(np.unique(found)) <= {0.0, 0.5}


def test_gain_in_decibels():
    sound = np.full(100, 0.1, np.float32)
    rng = np.random.default_rng(0)
    gains = [decibels(augment_sound(sound, 1000, Augmentation(gain=6), rng), sound) for _ in range(300)]
    assert -6.001 < min(gains) < -5.8 and 5.8 < max(gains) < 6.001
    assert abs(np.mean(gains)) < 0.6


def test_noise_lies_10_to_40_decibels_below_the_sound():
    sound = np.full(20000, 0.1, np.float32)
    rng = np.random.default_rng(0)
    levels = [decibels(augment_sound(sound, 1000, Augmentation(noise=1), rng) - sound, sound) for _ in range(200)]
    assert -40.2 < min(levels) < -39 and -11 < max(levels) < -9.8
    untouched = [(augment_sound(sound, 1000, Augmentation(noise=0.25), rng) == sound).all() for _ in range(400)]
    assert 0.68 < np.mean(untouched) < 0.82


@pytest.mark.parametrize("length", [500, 1000, 3000])
def test_mixed_sound_lies_5_to_20_decibels_below_whatever_its_length(length):
    sound, other = np.full(1000, 0.1, np.float32), np.tile(np.array([0.9, -0.9], np.float32), length // 2)
    rng = np.random.default_rng(0)
    levels = []
    for _ in range(200):
        mixed = augment_sound(sound, 1000, NOTHING, rng, other)
        levels.append(decibels(mixed - sound, sound))
        # It plays from beginning to end: repeated where it is short.
        assert np.unique(np.abs(mixed - sound).round(6)).size == 1
    assert -20.01 < min(levels) < -19.5 and -5.5 < max(levels) < -4.99


def test_a_silent_other_mixes_nothing_in():
    sound = np.full(100, 0.1, np.float32)
    for other in (np.zeros(50, np.float32), np.zeros(0, np.float32)):
        np.testing.assert_array_equal(augment_sound(sound, 1000, NOTHING, np.random.default_rng(0), other), sound)


def test_never_beyond_full_scale_and_silence_stays_silent():
    everything = Augmentation(gain=20, noise=1, shift=0.1)
    loud, other = np.ones(1000, np.float32), np.full(1000, -1, np.float32)
    peaks = [np.abs(augment_sound(loud, 1000, everything, np.random.default_rng(s), other)).max() for s in range(50)]
    assert max(peaks) == 1
    for seed in range(10):
        assert not augment_sound(
            np.zeros(1000, np.float32), 1000, everything, np.random.default_rng(seed), other
        ).any()


def test_shares_of_negatives():
    rng = np.random.default_rng(0)
    kinds = [negative_kind(Augmentation(silence=0.1, noise_only=0.2, off_screen=0.3), rng) for _ in range(5000)]
    shares = {kind: kinds.count(kind) / 5000 for kind in ("silence", "noise_only", "off_screen", None)}
    assert shares == pytest.approx({"silence": 0.1, "noise_only": 0.2, "off_screen": 0.3, None: 0.4}, abs=0.025)
    assert {negative_kind(NOTHING, rng) for _ in range(100)} == {None}


def test_nothing_sounds_keeps_what_is_ignored():
    labels = np.array([[[0, 1, 255, 70]]], np.uint8)
    found = nothing_sounds(labels)
    assert found.dtype == np.uint8 and found.tolist() == [[[0, 0, 255, 0]]]


def test_the_same_generator_gives_the_same_changes():
    changed = Augmentation(flip=0.5, scale=(0.5, 2), colour=0.3, gain=6, noise=0.5, shift=0.05)
    frames, labels = noise_clip()
    sound = np.random.default_rng(3).uniform(-0.5, 0.5, 500).astype(np.float32)

    def changes(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [*augment_pictures(frames, labels, 32, changed, rng), augment_sound(sound, 1000, changed, rng)]

    for one, two, other in zip(changes(0), changes(0), changes(1), strict=True):
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, other)
