import numpy as np
from made_sources import RATE, tone

from ccformer_hf.data.composing import sound_mix
from ccformer_hf.data.composing.pairing import OFF_SCREEN, Span
from ccformer_hf.data.composing.sound_mix import draw_noise, mix_sounds, tell_audible
from ccformer_hf.data.composing.sounds import Recording, gated_loudness


def recording(pitch=500, seconds=10.0):
    samples = tone(pitch, seconds)
    return Recording((samples * 32767).astype(np.int16), gated_loudness(samples))


def audible(stem, others=0.0, level=0.1):
    stems = np.atleast_2d(stem).astype(np.float32) * level * 2**0.5 / 0.5
    return tell_audible(stems, np.full(len(stems), level), np.full(stems.shape[1], 0, np.float32) + others)


def test_a_frame_is_told_by_the_sound_that_belongs_to_it():
    stem = np.zeros(4 * RATE)
    stem[round(1.2 * RATE) : round(2.5 * RATE)] = tone(500, 1.3)
    np.testing.assert_array_equal(audible(stem), [[0, 1, 1, 0]])


def test_between_heard_and_silent_nobody_can_tell():
    for share, expected in ((0.10, 1), (0.03, 255), (0.0005, 0)):  # -10, -15 and -33 dB
        stem = np.zeros(2 * RATE)
        length = round(share * 0.975 * RATE)
        stem[RATE // 2 : RATE // 2 + length] = tone(500, 1)[:length]
        assert audible(stem)[0].tolist() == [expected, 0], share


def test_the_sound_example_of_a_frame_ends_with_its_last_window():
    stem = np.zeros(2 * RATE)
    stem[round(0.976 * RATE) : RATE] = tone(500, 0.024)
    assert audible(stem)[0, 0] == 0, "0.975 s belong to the frame"


def test_what_is_drowned_cannot_be_told():
    stem = np.tile(tone(500), 2)
    noise = np.random.default_rng(0).normal(0, 1, 2 * RATE).astype(np.float32)
    assert audible(stem, 0.9 * noise).tolist() == [[1, 1]]
    assert audible(stem, 1.2 * noise).tolist() == [[255, 255]]
    two = np.stack([stem, 0 * stem])
    assert audible(two, 1.2 * noise).tolist() == [[255, 255], [0, 0]], "silence is silence under any noise"


def mixes(spans, objects, off_screen=None, audio_kind="objects", bed=(), count=12):
    return [
        mix_sounds(audio_kind, spans, objects, off_screen, list(bed), 5, np.random.default_rng(n))
        for n in range(count)
    ]


def test_the_masks_follow_the_schedule():
    for mix in mixes([Span(0, 0.0, 2.0), Span(1, 3.0, 5.0)], [recording(500), recording(1500), None]):
        assert mix.waveform.shape == (5 * RATE,) and mix.waveform.dtype == np.float32
        assert np.abs(mix.waveform).max() <= 0.99
        assert mix.audible[0, :2].tolist() == [1, 1] and mix.audible[1, 3:].tolist() == [1, 1]
        assert not (mix.audible[0, 3:] == 1).any() and not (mix.audible[1, :2] == 1).any()
        assert not mix.audible[2].any()


def test_pauses_within_a_sound_are_silence(monkeypatch):
    for name in ("WITH_NOISE", "WITH_ROOM", "WITH_BAND", "WITH_CODEC"):
        monkeypatch.setattr(sound_mix, name, 0)
    samples = np.concatenate([tone(500, 1.5), np.zeros(2 * RATE), tone(500, 1.5)])
    barking = Recording((samples * 32767).astype(np.int16), gated_loudness(samples))
    (mix,) = mixes([Span(0, 0.0, 5.0)], [barking], count=1)
    assert mix.audible.tolist() == [[1, 1, 0, 1, 1]], "0.5 s of second 1, and of second 3"
    (mix,) = mixes([Span(OFF_SCREEN, 0.0, 5.0)], [recording(500)], barking, count=1)
    assert (mix.audible.tolist(), mix.off_screen_audible.tolist()) == ([[0] * 5], [1, 1, 0, 1, 1])


def test_what_is_off_screen_or_a_bed_is_heard_and_marks_nothing():
    for audio_kind, spans, bed in (
        ("off_screen", [Span(OFF_SCREEN, 0.0, 5.0)], ()),
        ("bed", [], [recording(700)]),
        ("noise", [], ()),
    ):
        for mix in mixes(spans, [recording(500)], recording(900), audio_kind, bed):
            assert not mix.audible.any() and gated_loudness(mix.waveform) > 0.003
            assert mix.off_screen_audible.tolist() == [audio_kind == "off_screen"] * 5
    assert all(not mix.waveform.any() for mix in mixes([], [recording()], audio_kind="silence"))


def test_short_sounds_are_played_again():
    (mix,) = mixes([Span(0, 0.0, 5.0)], [recording(500, 0.5)], count=1)
    assert mix.audible[0].tolist() == [1] * 5


def test_objects_are_mixed_at_levels_of_their_own():
    ratios = []
    for seed in range(40):
        levels = []
        for source in (0, 1):
            recordings = [None, None]
            recordings[source] = recording(500 + 1000 * source)
            mix = mix_sounds("objects", [Span(source, 0.0, 5.0)], recordings, None, [], 5, np.random.default_rng(seed))
            levels.append(gated_loudness(mix.waveform))
        ratios.append(20 * np.log10(levels[0] / levels[1]))
    assert np.std(ratios) > 2


def test_noises_are_of_one_loudness():
    for seed in range(12):
        noise = draw_noise(2 * RATE, np.random.default_rng(seed))
        assert noise.dtype == np.float32 and abs(np.sqrt(np.square(noise).mean()) - 1) < 0.01


def test_coded_sound_is_off_by_at_most_a_step():
    sound = (0.6 * tone(500)).astype(np.float32)
    coded = sound_mix._coded(sound)
    assert coded.dtype == np.float32 and 2 < len(np.unique(np.abs(coded))) <= 128
    np.testing.assert_allclose(coded, sound, rtol=0.03, atol=1e-4)


def test_half_of_the_sounds_are_played_slower_or_faster():
    pitches = []
    for mix in mixes([Span(0, 0.0, 5.0)], [recording(1000)], count=80):
        power = np.abs(np.fft.rfft(mix.waveform)) ** 2
        power[: 5 * 700] = power[5 * 1300 :] = 0  # noise and hum beside it; 5 bins per Hz
        pitches.append(np.argmax(power) / 5)
    pitches = np.array(pitches)
    assert 0.35 < np.mean(np.abs(pitches - 1000) > 2) < 0.65
    assert 835 < pitches.min() < 900 and 1120 < pitches.max() < 1195
    with_end = np.arange(5, dtype=np.int16)
    for seed in range(40):
        played = sound_mix._at_a_speed(Recording(with_end, 1.0), np.random.default_rng(seed)).samples
        assert 4 <= len(played) <= 5 and played[0] == 0 and played[-1] >= 3
