import numpy as np
import pytest

from ccformer_hf.data.synthetic.sounds import TIMBRES, make_room, make_stem


@pytest.mark.parametrize("name", sorted(TIMBRES))
def test_sound_stays_within_its_second_and_fills_most_of_it(name):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        stem = make_stem(name, rng, 5, make_room(rng))
        assert stem.shape == (5, 16000) and stem.dtype == np.float32 and np.isfinite(stem).all()
        assert np.abs(stem).max() <= 0.8001
        assert np.all(stem[:, -400:] == 0), "beyond the second's log-mel, nothing hangs over into the next"
        loud = np.abs(stem).max(axis=1, keepdims=True)
        assert np.all(np.abs(stem[:, :6400]).max(axis=1, keepdims=True) > 0.1 * loud), "has started by 0.4 s"
        blocks = np.abs(stem.reshape(5, 10, 1600)).max(axis=2) > 0.03 * loud
        assert blocks.mean(axis=1).min() >= 0.5


def test_timbres_are_told_apart_by_their_spectrum_over_time():
    features, classes = [], []
    for number, name in enumerate(sorted(TIMBRES)):
        for seed in range(12):
            rng = np.random.default_rng([number, seed])
            sound = make_stem(name, rng, 1, make_room(rng))[0]
            windows = np.lib.stride_tricks.sliding_window_view(sound, 400)[::160] * np.hanning(400)
            bands = np.abs(np.fft.rfft(windows, 512))[:, 4:244].reshape(len(windows), 30, 8).sum(axis=2)
            energy = np.log(bands + 0.01)[25:]
            features.append(
                np.concatenate([energy.mean(axis=0), energy.std(axis=0), np.abs(np.diff(energy, axis=0)).mean(axis=0)])
            )
            classes.append(number)
    features, classes = np.array(features), np.array(classes)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    distances = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (classes[distances.argmin(axis=1)] == classes).mean() > 0.9
