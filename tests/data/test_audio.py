import numpy as np
import torch

from ccformer_hf.data.audio import ClipAudio, sound_examples
from ccformer_hf.model.feature_extraction_ccformer import CCFormerFeatureExtractor

EXTRACTOR = CCFormerFeatureExtractor()
RATE = 16000


def tone(seconds: float) -> np.ndarray:
    return (0.5 * np.sin(np.arange(round(seconds * RATE)) * 0.3)).astype(np.float32)


def examples(count: int) -> np.ndarray:
    """Official examples; the n-th is full of n."""
    return np.broadcast_to(np.arange(1, count + 1, dtype=np.float32)[:, None, None, None], (count, 1, 96, 64))


def test_the_waveform_of_a_row_goes_first():
    row = {"sound": {"waveform": tone(1), "sampling_rate": RATE}, "log_mel": examples(2)}
    audio = ClipAudio.of(row)
    assert audio.kind == "waveform" and audio.waveform is row["sound"]["waveform"] and audio.sampling_rate == RATE
    assert audio.log_mel is None
    audio = ClipAudio.of({"sound": None, "log_mel": row["log_mel"]})
    assert audio.kind == "log_mel" and audio.waveform is None
    assert ClipAudio.of({"sound": None, "log_mel": None}).kind == "none"


def test_a_waveform_is_heard_where_it_sounds():
    sound = tone(3)
    sound[RATE : 2 * RATE] = 0
    features, mask = sound_examples(EXTRACTOR, ClipAudio(sound, RATE), 5, repeat_last=True)
    assert features.shape == (5, 1, 96, 64) and features.dtype == torch.float32
    assert mask.tolist() == [True, False, True, False, False]
    assert not features[~mask].any()
    # Frame 2, at 2 + 15/16 s, hears what starts at 2 s.
    torch.testing.assert_close(features[2, 0], EXTRACTOR.log_mel(sound[2 * RATE : 2 * RATE + 15600]))


def test_missing_official_examples_are_repeated_or_zero():
    for repeat_last, filled in ((True, 3), (False, 0)):
        features, mask = sound_examples(EXTRACTOR, ClipAudio(log_mel=examples(3)), 5, repeat_last)
        assert features.shape == (5, 1, 96, 64) and features.dtype == torch.float32
        assert (
            features.amax(dim=(1, 2, 3)).tolist() == features.amin(dim=(1, 2, 3)).tolist() == [1, 2, 3, filled, filled]
        )
        assert mask.tolist() == [True] * 5 and mask.dtype == torch.bool


def test_official_examples_too_many_are_cut_and_stay_apart_from_the_row():
    log_mel = examples(5).copy()
    features, _ = sound_examples(EXTRACTOR, ClipAudio(log_mel=log_mel), 2, repeat_last=True)
    assert features.amax(dim=(1, 2, 3)).tolist() == [1, 2]
    features.zero_()
    assert log_mel[0].max() == 1


def test_without_sound_or_without_a_single_example_nothing_is_heard():
    for silent in (ClipAudio(), ClipAudio(log_mel=examples(0))):
        features, mask = sound_examples(EXTRACTOR, silent, 3, repeat_last=True)
        assert features.shape == (3, 1, 96, 64) and not features.any() and not mask.any()
