import json
import math
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor, AutoFeatureExtractor, ClapFeatureExtractor

from ccformer_hf import AudioVisualProcessor
from ccformer_hf.model.feature_extraction_ccformer import CCFormerFeatureExtractor

RATE = 16000
SILENT = math.log(0.01)
CLAP = {"feature_extractor_type": "ClapFeatureExtractor"}


@pytest.fixture(scope="module")
def extractor():
    return CCFormerFeatureExtractor()


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate)).astype(np.float32)


def sine(hertz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def impulse(at: float, seconds: float) -> np.ndarray:
    waveform = np.zeros(round(seconds * RATE), dtype=np.float32)
    waveform[round(at * RATE)] = 1.0
    return waveform


def mel(hertz):
    return 1127.0 * np.log(1.0 + hertz / 700.0)


def vggish_log_mel(waveform: np.ndarray) -> np.ndarray:
    """VGGish's front end written out plainly from its description: nothing shared with the package or transformers."""
    # Triangle b rises from edge b to edge b+1 and falls to edge b+2, straight on the mel axis.
    edges = np.linspace(mel(125.0), mel(7500.0), 64 + 2)
    bins = mel(np.arange(257) * RATE / 512)
    triangles = np.zeros((257, 64))
    for band in range(64):
        rising = (bins - edges[band]) / (edges[band + 1] - edges[band])
        falling = (edges[band + 2] - bins) / (edges[band + 2] - edges[band + 1])
        triangles[:, band] = np.maximum(0.0, np.minimum(rising, falling))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    columns = []
    for start in range(0, len(waveform) - 400 + 1, 160):
        magnitudes = np.abs(np.fft.fft(waveform[start : start + 400].astype(np.float64) * hann, 512))[:257]
        columns.append(np.log(magnitudes @ triangles + 0.01))
    return np.array(columns).reshape(-1, 64)


@pytest.mark.parametrize(
    "waveform",
    [noise(1.0), sine(220, 1.0) + 1e-5 * noise(1.0), impulse(0.3, 1.0), np.zeros(RATE, np.float32), noise(0.025)],
    ids=["noise", "loud tone beside quiet bands", "impulse", "silence", "one window"],
)
def test_log_mel_is_vggish(extractor, waveform):
    wanted = vggish_log_mel(waveform)
    given = extractor.log_mel(waveform)
    assert given.dtype == torch.float32
    assert given.shape == wanted.shape
    assert np.abs(given.numpy() - wanted).max() <= 1e-5


def test_log_mel_shorter_than_a_window_has_no_columns(extractor):
    assert extractor.log_mel(np.zeros(399, np.float32)).shape == (0, 64)


def test_log_mel_of_many_pieces_is_that_of_each(extractor):
    pieces = torch.from_numpy(noise(2.0)).reshape(2, RATE)
    assert torch.equal(extractor.log_mel(pieces)[1], extractor.log_mel(pieces[1]))


def test_one_example_per_frame_is_the_spectrogram_from_the_second_on(extractor):
    waveform = noise(5.0)
    out = extractor(waveform, sampling_rate=RATE, return_tensors="pt")
    assert out["input_features"].shape == (1, 5, 1, 96, 64)
    assert out["input_features"].dtype == torch.float32
    assert out["audio_mask"].dtype == torch.bool and out["audio_mask"].all()
    for second in range(5):
        wanted = vggish_log_mel(waveform[second * RATE : (second + 1) * RATE])[:96]
        assert np.abs(out["input_features"][0, second, 0].numpy() - wanted).max() <= 1e-5


def test_more_frames_than_are_transformed_at_once(extractor):
    waveform = noise(3.0)
    times = np.linspace(0.0, 2.9, 150)
    out = extractor(waveform, RATE, timestamps=times)
    last = extractor(waveform, RATE, timestamps=times[-1:])
    assert np.array_equal(out["input_features"][0, -1], last["input_features"][0, 0])


def test_an_impulse_is_heard_by_the_frame_of_its_second_only(extractor):
    out = extractor(impulse(2.5, 5.0), RATE)
    assert out["audio_mask"].tolist() == [[False, False, True, False, False]]
    example = out["input_features"][0, 2, 0]
    # Sample 8000 of the example: window 48 holds it at 320, window 49 at 160, window 50 at 0 where Hann is 0.
    assert np.flatnonzero((example > SILENT + 1e-3).any(axis=1)).tolist() == [48, 49]


def test_sound_follows_the_times_of_the_frames_not_their_number(extractor):
    waveform = impulse(2.5, 5.0)
    # Frames at t hear [t - 0.9375, t + 0.0375): of these only 2.5, 3.0 and 3.4 hold 2.5 s; the first is clamped to 0.
    times = [0.2, 2.4, 2.5, 3.0, 3.4, 3.5, 100.0]
    out = extractor(waveform, RATE, timestamps=times)
    assert out["audio_mask"].tolist() == [[False, False, True, True, True, False, False]]
    first_loud = [int(np.flatnonzero((x[0] > SILENT + 1e-3).any(axis=1))[0]) for x in out["input_features"][0, 2:5]]
    # The impulse lies 0.9375, 0.4375 and 0.0375 s into the example: columns start every 0.01 s and are 0.025 s wide.
    assert first_loud == [92, 42, 2]


def test_the_first_frame_hears_the_start_of_the_clip(extractor):
    out = extractor(noise(1.0), RATE, timestamps=[0.0, 0.5, 0.9375])["input_features"]
    assert np.array_equal(out[0, 0], out[0, 1]) and np.array_equal(out[0, 0], out[0, 2])


def test_avsbench_alignment_starts_example_l_at_096_l():
    reference = CCFormerFeatureExtractor(alignment="avsbench")
    # 9.7 s: ours gives it to frame 9 (9.0-9.975 s), the reference to example 10 (9.6-10.575 s).
    heard = {
        e.alignment: e(impulse(9.7, 12.0), RATE)["audio_mask"][0] for e in (CCFormerFeatureExtractor(), reference)
    }
    assert np.flatnonzero(heard["frame"]).tolist() == [9]
    assert np.flatnonzero(heard["avsbench"]).tolist() == [10]
    waveform = noise(5.0)
    columns = vggish_log_mel(waveform)
    examples = reference(waveform, RATE)["input_features"][0, :, 0]
    assert np.abs(examples - columns[: 5 * 96].reshape(5, 96, 64)).max() <= 1e-5


def test_sound_that_ends_early_is_followed_by_silence(extractor):
    out = extractor(noise(1.5), RATE, timestamps=[0.9375, 1.9375, 2.9375])
    assert out["audio_mask"].tolist() == [[True, True, False]]
    second = out["input_features"][0, 1, 0]
    assert (second[50:] == np.float32(SILENT)).all() and (second[:47] > SILENT).any(axis=1).all()


def test_any_rate_gives_the_same_spectrogram(extractor):
    wanted = extractor(sine(1000, 1.0), RATE)["input_features"][0, 0, 0]
    # 1000 Hz in band: edges lie evenly on the mel axis, the peak is the nearest centre.
    step = (mel(7500.0) - mel(125.0)) / 65
    peak = round((mel(1000.0) - mel(125.0)) / step) - 1
    assert (wanted.argmax(axis=1) == peak).all()
    for rate in (8000, 22050, 44100, 48000, 44101):
        given = extractor(sine(1000, 1.0, rate), rate, timestamps=[0.9375])["input_features"][0, 0, 0]
        assert (given.argmax(axis=1) == peak).all(), rate
        # The ends of a cut-off tone are smeared by any resampler.
        assert np.abs(given - wanted)[2:-2, peak].max() < 0.01, rate


def test_channels_are_averaged_whichever_way_they_lie(extractor):
    left, right = noise(2.0, seed=1), noise(2.0, seed=2)
    wanted = extractor((left + right) / 2, RATE)["input_features"]
    channels_first = extractor(np.stack([left, right]), RATE)["input_features"]
    channels_last = extractor(torch.from_numpy(np.stack([left, right], axis=1)), RATE)["input_features"]
    assert np.abs(channels_first - wanted).max() <= 1e-6
    assert np.array_equal(channels_first, channels_last)


def test_every_form_of_waveform_gives_the_same(extractor):
    waveform = noise(1.0)
    frozen = waveform.copy()
    frozen.flags.writeable = False
    wanted = extractor(waveform, RATE)["input_features"]
    for same in (
        waveform.tolist(),
        torch.from_numpy(waveform),
        waveform.astype(np.float64),
        frozen,
        [waveform],
        waveform[None],
    ):
        assert np.array_equal(extractor(same, RATE)["input_features"], wanted)


def test_integers_are_the_floats_they_stand_for(extractor):
    floats = np.array([-1.0, 0.5, 0.0, 32767 / 32768], np.float32).repeat(4000)
    wanted = extractor(floats, RATE)["input_features"]
    whole = (floats * 32768).astype(np.int64)
    assert np.array_equal(extractor(whole.astype(np.int16), RATE)["input_features"], wanted)
    assert np.array_equal(extractor((whole << 16).astype(np.int32), RATE)["input_features"], wanted)


def test_no_sound_and_silence_are_told_by_the_mask(extractor):
    times = [0.9375, 1.9375]
    for silent in (None, np.zeros(2 * RATE, np.float32), noise(2.0) * 1e-4):
        out = extractor(silent, RATE, timestamps=times)
        assert not out["audio_mask"].any() and not out["input_features"].any()
    assert extractor(noise(2.0) * 1e-3, RATE, timestamps=times)["audio_mask"].all()
    off = CCFormerFeatureExtractor(silence_threshold=0)
    out = off(np.zeros(2 * RATE, np.float32), RATE)
    assert out["audio_mask"].all() and np.allclose(out["input_features"], SILENT)


def test_a_clip_in_a_batch_is_the_clip_alone(extractor):
    clips = [noise(1.0), None, np.stack([noise(3.0, 44100)] * 2)]
    rates = [RATE, None, 44100]
    times = [[0.9375], [0.5, 1.0], [0.9375, 1.9375, 2.9375]]
    batch = extractor(clips, rates, timestamps=times, return_tensors="pt")
    assert batch["input_features"].shape == (3, 3, 1, 96, 64)
    assert batch["audio_mask"].tolist() == [[True, False, False], [False] * 3, [True] * 3]
    for row, (clip, rate, t) in enumerate(zip(clips, rates, times, strict=True)):
        alone = extractor(clip, rate, timestamps=t, return_tensors="pt")["input_features"]
        assert torch.equal(batch["input_features"][row, : len(t)], alone[0])
        assert not batch["input_features"][row, len(t) :].any()


def test_a_frame_may_be_heard_sooner_and_later_too(extractor):
    shifted = CCFormerFeatureExtractor(sound_shifts=[-0.5, 0.25])
    assert shifted.sound_shifts == [0.25, -0.5]
    for given in ([2, 0.5, -0.5], [-0.5, 2, 0.5]):
        assert CCFormerFeatureExtractor(sound_shifts=given).sound_shifts == [-0.5, 0.5, 2]
    assert (shifted.examples_per_frame, shifted.seconds_before, shifted.frame_samples) == (3, 0.5, 15600 + 12000)
    sound = noise(4)
    sound[round(2.9 * RATE) :] = 0
    times = [0.9375, 2.4375, 2.9375, 3.9375]  # from 0, 1.5, 2 and 3 s on
    batch = shifted([sound, None], RATE, timestamps=[times, times[:2]], return_tensors="pt")
    assert batch["input_features"].shape == (2, 4, 3, 96, 64)
    assert batch["audio_mask"].tolist() == [[True, True, True, False], [False] * 4]
    assert not batch["input_features"][1].any() and not batch["input_features"][0, 3].any()
    # What begins before the clip, or ends behind its sound, is replaced by the own example.
    starts = [(0, 0.25, 0), (1.5, 1.75, 1.0), (2, 2, 1.5)]  # the nearest comes before the sooner one
    for frame, expected in zip(batch["input_features"][0], starts, strict=False):
        for example, start in zip(frame, expected, strict=True):
            first = round(start * RATE)
            torch.testing.assert_close(example, extractor.log_mel(sound[first : first + 15600]))
    plain = shifted.without_shifts()(sound, RATE, timestamps=times, return_tensors="pt")["input_features"]
    assert torch.equal(plain, extractor(sound, RATE, timestamps=times, return_tensors="pt")["input_features"])
    assert shifted.examples_per_frame == 3
    official = shifted.official_examples(np.ones((1, 1, 96, 64), np.float32), 2, repeat_last=False)
    assert official.amax(dim=(2, 3)).tolist() == [[1, 1, 1], [0, 0, 0]]


def test_settings_survive_saving(tmp_path):
    settings = {"alignment": "avsbench", "silence_threshold": 0.5, "sound_shifts": (-0.5, 1)}
    CCFormerFeatureExtractor(**settings).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert "window" not in saved and "mel_filters" not in saved
    again = CCFormerFeatureExtractor.from_pretrained(tmp_path)
    assert (again.alignment, again.silence_threshold, again.sound_shifts) == ("avsbench", 0.5, [-0.5, 1.0])
    assert again(noise(1.0), RATE)["input_features"].shape == (1, 1, 3, 96, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"audio": noise(1.0)}, "sampling_rate is missing"),
        ({"audio": noise(1.0), "sampling_rate": 0}, "sampling_rate is 0"),
        ({"audio": noise(1.0), "sampling_rate": -16000}, "sampling_rate is -16000"),
        ({"audio": noise(1.0), "sampling_rate": "16 kHz"}, "sampling_rate is '16 kHz'"),
        ({"audio": noise(1.0), "sampling_rate": 44.1}, "sampling_rate is 44.1"),
        ({"audio": noise(1.0), "sampling_rate": float("nan")}, "sampling_rate is nan"),
        ({"audio": [noise(1.0)], "sampling_rate": [RATE, RATE]}, "sampling_rate has 2 entries for 1 clip"),
        ({"audio": np.array([0.0, np.nan], np.float32), "sampling_rate": RATE}, "NaN"),
        ({"audio": np.array([0.0, np.inf], np.float32), "sampling_rate": RATE}, "NaN or infinite"),
        ({"audio": np.zeros(RATE, np.int64), "sampling_rate": RATE}, "int64; expected floats in -1..1, or int16 or"),
        ({"audio": noise(1.0) * 32768, "sampling_rate": RATE}, "divide by 32768"),
        ({"audio": np.zeros(0, np.float32), "sampling_rate": RATE}, "empty"),
        ({"audio": [], "sampling_rate": RATE}, "empty list"),
        ({"audio": np.zeros((2, 2, 800), np.float32), "sampling_rate": RATE}, "several clips as a list"),
        ({"audio": "dog.wav"}, "dog.wav: there is no such file"),
        ({"audio": object(), "sampling_rate": RATE}, 'object is not an array of numbers; .*"sampling_rate": ...}'),
        ({"audio": {"array": None}}, 'a dict of array; expected {"array": samples'),
        (
            {"audio": (noise(1.0), 8000), "sampling_rate": RATE},
            "is 16000, but the sound says 8000; leave sampling_rate",
        ),
        ({"audio": None}, "needs timestamps"),
        ({"audio": noise(1.0), "sampling_rate": RATE, "timestamps": []}, "timestamps are"),
        ({"audio": noise(1.0), "sampling_rate": RATE, "timestamps": [0.1, float("nan")]}, "timestamps are"),
        ({"audio": [None, None], "timestamps": [[0.1]]}, "timestamps has 1 entries for 2 clip"),
        ({"audio": [None, None], "timestamps": [0.1, 0.2]}, "timestamps are 0.1"),
    ],
)
def test_bad_input_is_one_clear_error(extractor, arguments, message):
    with pytest.raises(ValueError, match=message):
        extractor(**arguments)


def test_a_misspelt_setting_is_an_error(tmp_path):
    CCFormerFeatureExtractor().save_pretrained(tmp_path)
    for load in (CCFormerFeatureExtractor, partial(CCFormerFeatureExtractor.from_pretrained, tmp_path)):
        with pytest.raises(TypeError, match="no setting 'alignmnet'; did you mean 'alignment'"):
            load(alignmnet="avsbench")


@pytest.mark.parametrize(
    "encoder", [ASTFeatureExtractor(max_length=96, mean=-3.0), ClapFeatureExtractor(truncation="rand_trunc")]
)
def test_the_front_end_of_another_encoder_survives_saving(encoder, tmp_path):
    with warnings.catch_warnings(action="error"):  # VGGish's filters would be empty at CLAP's rate
        extractor = CCFormerFeatureExtractor(alignment="avsbench", encoder_extractor=encoder)
    extractor.save_pretrained(tmp_path)
    again = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(again) is CCFormerFeatureExtractor and type(again.encoder_extractor) is type(encoder)
    assert again.to_dict() == extractor.to_dict() and again.encoder_extractor.to_dict() == encoder.to_dict()
    assert (again.sampling_rate, again.alignment) == (encoder.sampling_rate, "avsbench")
    # `load` takes no number beyond 65536 from a file: what follows from the settings is not written.
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())["encoder_extractor"]
    assert all(value <= 1 << 16 for value in saved.values() if isinstance(value, int | float))


def test_without_sound_but_with_vggishs_examples_another_encoder_hears_nothing():
    extractor = CCFormerFeatureExtractor(encoder_extractor=ASTFeatureExtractor(max_length=96))
    with pytest.raises(ValueError, match="own log-mel examples, which are VGGish's, and the model hears through ASTF"):
        extractor.official_examples(np.zeros((5, 1, 96, 64)), 5, True)
    row = {"frames": np.zeros((5, 8, 8, 3), np.uint8), "sound": None, "log_mel": np.zeros((5, 1, 96, 64))}
    with pytest.raises(ValueError, match="give the clip its sound, the audio_wav of AVSBench"):
        AudioVisualProcessor(feature_extractor=extractor)(row)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature_size": 80}, "the front end of VGGish is fixed to 64 bands at 16000 Hz"),
        ({"sampling_rate": 44100}, "the front end of VGGish is fixed"),
        (
            {"encoder_extractor": ASTFeatureExtractor(), "feature_size": 64},
            "the front end of ASTFeatureExtractor is fixed to 128 bands at 16000 Hz",
        ),
        ({"encoder_extractor": {"max_length": 96}}, "type None, expected ASTFeatureExtractor or ClapFeatureExtractor"),
        ({"encoder_extractor": CLAP | {"feature_extractor_type": "WhisperFeatureExtractor"}}, "type 'WhisperFeature"),
        ({"encoder_extractor": CLAP | {"hop": 1}}, r"a ClapFeatureExtractor, has no setting 'hop'"),
        ({"encoder_extractor": CLAP | {"max_length_s": 60_000}}, "max_length_s 60000, expected a whole number from 1"),
        ({"encoder_extractor": CLAP | {"fft_window_size": 1 << 16}}, "has fft_window_size 65536, expected a whole"),
        ({"encoder_extractor": CLAP | {"feature_size": 64.5}}, "has feature_size 64.5, expected a whole"),
        ({"encoder_extractor": CLAP | {"hop_length": 1}}, "makes 480001 columns of a sound, expected at most 4096"),
        ({"alignment": "middle"}, "alignment is 'middle'"),
        ({"silence_threshold": -1}, "silence_threshold is -1"),
        ({"sound_shifts": 0.5}, "sound_shifts is 0.5; expected a list of at most 16 numbers of seconds, each within"),
        ({"sound_shifts": ["0.5"]}, r"sound_shifts is \['0.5'\]; expected"),
        ({"sound_shifts": [2.1]}, r"sound_shifts is \[2.1\]; expected"),
        ({"sound_shifts": [float("nan")]}, r"sound_shifts is \[nan\]; expected"),
        ({"sound_shifts": [0.1] * 17}, "expected a list of at most 16"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CCFormerFeatureExtractor(**settings)
