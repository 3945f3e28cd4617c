import numpy as np
import pytest

from ccformer_hf.data.noises import NOISES, at_some_loudness, make_noise


def decibels(sound: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(sound, dtype=np.float64)))


@pytest.mark.parametrize("kind", NOISES)
def test_a_noise_follows_from_its_generator_and_stays_within_bounds(kind):
    one, same, other = (make_noise(kind, np.random.default_rng(seed), 1.5) for seed in (0, 0, 1))
    assert one.dtype == np.float32 and one.shape == (24000,)
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    levels = []
    for seed in range(40):
        sound = make_noise(kind, np.random.default_rng(seed), 1)
        assert np.isfinite(sound).all() and np.abs(sound).max() <= 1
        levels.append(decibels(sound))
    assert -30.1 < min(levels) < -26 and -14 < max(levels) < -5.9


def octaves(sound: np.ndarray) -> np.ndarray:
    """Power in the octaves 125-250, ..., 4000-8000 Hz, in dB."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / 16000)
    edges = 125.0 * 2 ** np.arange(7)
    return np.array([10 * np.log10(power[(low <= frequency) & (frequency < 2 * low)].sum()) for low in edges[:-1]])


def test_white_rises_by_3_decibels_an_octave_and_pink_stays_level():
    white, pink = (octaves(make_noise(kind, np.random.default_rng(0), 10)) for kind in ("white", "pink"))
    assert np.abs(np.diff(white) - 3.01).max() < 0.5
    assert np.abs(np.diff(pink)).max() < 0.5


def test_hum_is_made_of_harmonics_of_the_mains():
    found = set()
    for seed in range(8):
        power = np.abs(np.fft.rfft(make_noise("hum", np.random.default_rng(seed), 1))) ** 2  # 1 Hz a bin
        for mains in (50, 60):
            if power[mains::mains].sum() > 0.99 * power.sum():
                found.add(mains)
                assert power[150:].sum() > 0.01 * power.sum(), "what VGGish hears of it"
    assert found == {50, 60}


def test_hum_is_the_sum_of_its_sines():
    rng = np.random.default_rng(3)
    strengths, mains, turns = rng.uniform(0.1, 1, 40), rng.choice([50, 60]), rng.uniform(0, 1, 40)
    times = np.arange(24000) / 16000
    expected = sum(
        strength / number * np.sin(2 * np.pi * (mains * number * times + turn))
        for number, strength, turn in zip(range(1, 41), strengths, turns, strict=True)
    )
    assert NOISES["hum"](np.random.default_rng(3), 24000) == pytest.approx(expected, abs=1e-9)


def test_a_spiky_sound_is_made_no_louder_than_its_peaks_allow():
    spike = np.zeros(16000)
    spike[100] = 0.01
    assert np.abs(at_some_loudness(spike, np.random.default_rng(0))).max() == pytest.approx(1)
