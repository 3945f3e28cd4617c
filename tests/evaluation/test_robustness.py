import numpy as np
import pytest

from ccformer_hf.data.avsbench import AVSS_CLASS_NAMES
from ccformer_hf.evaluation.robustness import (
    BROAD_CLASS,
    NOISE_RATE,
    TOO_ALIKE,
    choose_off_screen,
    silence,
    white_noise,
)

S4_CATEGORIES = """ambulance_siren baby_laughter cap_gun_shooting cat_meowing chainsawing_trees coyote_howling
    dog_barking
    driving_buses female_singing helicopter horse_clip-clop lawn_mowing lions_roaring male_speech
    mynah_bird_singing playing_acoustic_guitar playing_glockenspiel playing_piano playing_tabla
    playing_ukulele playing_violin race_car typing_on_computer_keyboard""".split()


def test_every_class_of_avsbench_has_a_broad_one():
    assert len(S4_CATEGORIES) == 23
    assert set(BROAD_CLASS) == {*S4_CATEGORIES, *AVSS_CLASS_NAMES[1:]}
    assert set(BROAD_CLASS.values()) == {"music", "human", "animal", "device"} == set(TOO_ALIKE)


def test_noise_is_uniform_and_a_clip_always_gets_the_same():
    noise = white_noise("clip", 5)
    assert noise.dtype == np.float32 and noise.shape == (5 * NOISE_RATE,)
    assert -1 <= noise.min() < -0.999 and 0.999 < noise.max() <= 1
    assert abs(noise.mean()) < 0.01 and noise.var() == pytest.approx(1 / 3, abs=0.005)
    assert np.array_equal(noise, white_noise("clip", 5))
    assert not np.array_equal(noise, white_noise("another", 5))


def test_silence_is_zeros():
    assert silence(2).shape == (32000,) and not silence(2).any()


def test_off_screen_sound_is_of_another_broad_class_that_is_not_too_alike():
    ids = ["guitar", "man", "dog", "car", "piano", "duet"]
    classes = [["guitar"], ["man"], ["dog"], ["car"], ["piano"], ["violin", "woman"]]
    chosen = choose_off_screen(ids, classes)
    assert {choice.rule for choice in chosen} == {"other broad class"}
    allowed = {
        "guitar": {"dog", "car"},  # music is too like human
        "man": {"dog", "car"},  # human is too like music
        "dog": {"guitar", "car", "piano"},  # animal is too like human
        "car": {"man", "dog"},  # device is too like music, and so is the duet
        "piano": {"dog", "car"},
        "duet": {"dog", "car"},
    }
    for own, choice in zip(ids, chosen, strict=True):
        assert ids[choice.index] in allowed[own]


def test_the_choice_does_not_depend_on_the_order_and_varies():
    ids = [f"clip {number}" for number in range(40)]
    classes = [["dog"] if number % 2 else ["car"] for number in range(40)]
    chosen = choose_off_screen(ids, classes)
    by_id = {own: ids[choice.index] for own, choice in zip(ids, chosen, strict=True)}
    again = choose_off_screen(ids[::-1], classes[::-1])
    assert by_id == {own: ids[::-1][choice.index] for own, choice in zip(ids[::-1], again, strict=True)}
    assert len(set(by_id.values())) > 10


def test_classes_without_a_broad_one_get_a_clip_with_none_in_common():
    chosen = choose_off_screen(["a", "b", "c"], [["kettle"], ["kettle"], ["robot"]])
    assert [(choice.index, choice.rule) for choice in chosen[:2]] == [(2, "no class in common")] * 2
    assert chosen[2].index in (0, 1)


def test_a_small_split_falls_back_to_another_class_of_the_same_kind():
    chosen = choose_off_screen(["a", "b"], [["dog"], ["cat"]])
    assert [(choice.index, choice.rule) for choice in chosen] == [(1, "no class in common"), (0, "no class in common")]


def test_unknown_classes_get_any_other_clip():
    chosen = choose_off_screen(["a", "b", "c"], [[], [], []])
    assert {choice.rule for choice in chosen} == {"any other clip"}
    assert all(choice.index != own for own, choice in enumerate(chosen))


def test_one_clip_has_nothing_off_screen():
    with pytest.raises(ValueError, match="has one clip.*at least 2"):
        choose_off_screen(["a"], [["dog"]])
