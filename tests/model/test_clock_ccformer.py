"""The clock on packets made up here: no file is read. With real files: `test_media_ccformer`."""

from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from ccformer_hf.model import clock_ccformer
from ccformer_hf.model.clock_ccformer import PICTURES, SOUND, Clock, ClockBroken

TICKS = 1000
VIDEO = SimpleNamespace(
    type=PICTURES, time_base=Fraction(1, TICKS), start_time=None, average_rate=Fraction(10), guessed_rate=None
)
AUDIO = SimpleNamespace(type=SOUND, time_base=Fraction(1, TICKS), start_time=None)


def packet(stream, shown: float, duration: float, decoded: float | None = None):
    pts, dts = (round(time * TICKS) for time in (shown, shown if decoded is None else decoded))
    return SimpleNamespace(stream=stream, pts=pts, dts=dts, duration=round(duration * TICKS), is_discard=False)


def track(stream, start: float, end: float, step: float):
    return [packet(stream, time, step) for time in np.arange(start, end - 1e-9, step)]


def piece(start: float, seconds: float = 4.0, sound_from: float = 0.0, sound_to: float | None = None):
    """Ten pictures and forty pieces of sound a second, as a muxer orders them."""
    sound_to = seconds if sound_to is None else sound_to
    both = track(VIDEO, start, start + seconds, 0.1) + track(AUDIO, start + sound_from, start + sound_to, 0.025)
    return sorted(both, key=lambda packet: packet.dts)


def placed(packets, streams=(VIDEO, AUDIO)):
    """The clock of packets, and when it puts each (s), by track in the order of the file."""
    clock = Clock(streams, packets)
    times = {}
    for stream in streams:
        own = [SimpleNamespace(**vars(packet)) for packet in packets if packet.stream is stream]
        times[stream.type] = np.array([packet.pts / TICKS for packet in clock.on_clock(own, stream.type)])
    return clock, times


def test_a_plain_file_keeps_its_times_from_its_first_packet_on():
    clock, times = placed(piece(7.0))
    assert (clock.duration, clock.sound_end, clock.fps, clock.pictures, clock.jumps) == (4.0, 4.0, 10.0, 40, 0)
    assert times[PICTURES] == pytest.approx(np.arange(40) / 10) and times[SOUND][:2] == pytest.approx([0, 0.025])


@pytest.mark.parametrize(
    "starts", [(1.4, 1.4), (1.4, 1.4, 1.4), (100, 1.4), (1.4, 36000), (1.4, 36000, 1.4), (1.4, 3.0)]
)
def test_pieces_follow_each_other_without_a_gap(starts):
    clock, times = placed([packet for start in starts for packet in piece(start)])
    assert clock.duration == pytest.approx(4.0 * len(starts)) and clock.jumps == len(starts) - 1
    assert times[PICTURES] == pytest.approx(np.arange(40 * len(starts)) / 10)
    assert times[SOUND] == pytest.approx(np.arange(160 * len(starts)) / 40)


@pytest.mark.parametrize("sound", [(0.5, 4.0), (0.0, 1.5), (2.5, 4.0), (1.0, 3.0)])
def test_sound_that_starts_late_or_ends_early_stays_in_step_in_every_piece(sound):
    clock, times = placed(piece(1.4) + piece(1.4, 4.0, *sound) + piece(1.4, 4.0, *sound))
    assert clock.duration == pytest.approx(12.0)
    expected = [np.arange(0, 4, 0.025)] + [
        np.arange(start + sound[0], start + sound[1] - 1e-9, 0.025) for start in (4, 8)
    ]
    assert times[SOUND] == pytest.approx(np.concatenate(expected))


def test_codec_priming_and_the_last_audio_frame_do_not_part_the_pictures():
    clock, times = placed([packet for _ in range(10) for packet in piece(1.4, 4.0, -0.05, 4.05)])
    assert np.diff(times[PICTURES]) == pytest.approx(0.1) and clock.duration == pytest.approx(40.05)
    assert times[SOUND][164] == pytest.approx(times[PICTURES][40] - 0.05)


def test_sound_far_longer_than_the_pictures_of_its_piece_is_heard_to_its_end():
    clock, times = placed(piece(0.0, 4.0, 0.0, 6.0) + piece(0.0))
    assert times[PICTURES][40] == pytest.approx(6.0) and clock.duration == pytest.approx(10.0)


def test_packets_of_the_old_piece_that_come_late_stay_in_it():
    first, second = piece(1.4), piece(1.4)
    for late in (1, 3, 8):
        mixed = first[:-late] + second[:10] + first[-late:] + second[10:]
        # Each track is in order, as a demuxer gives it.
        packets = [iter([p for p in first + second if p.stream is stream]) for stream in (VIDEO, AUDIO)]
        mixed = [next(packets[p.stream is AUDIO]) for p in mixed]
        _, times = placed(mixed)
        assert times[PICTURES] == pytest.approx(np.arange(80) / 10, abs=1e-6)
        assert times[SOUND] == pytest.approx(np.arange(320) / 40, abs=1e-6)


def test_short_gaps_and_overlaps_are_kept():
    clock, times = placed(piece(0.0) + piece(13.0) + piece(16.8))
    assert times[PICTURES][[40, 80]] == pytest.approx([13.0, 16.8]) and clock.jumps == 0
    assert clock.duration == pytest.approx(20.8)


def test_a_long_pause_of_one_track_is_kept_while_the_other_goes_on():
    packets = track(AUDIO, 0, 60, 0.025) + track(VIDEO, 0, 2, 0.1) + track(VIDEO, 50, 60, 0.1)
    clock, times = placed(sorted(packets, key=lambda packet: packet.dts))
    assert clock.duration == pytest.approx(60.0) and times[PICTURES][20] == pytest.approx(50.0)


def test_one_wrong_timestamp_costs_no_step_between_the_tracks():
    packets = piece(0.0, 8.0)
    wrong = next(p for p in packets if p.stream is VIDEO and p.pts >= 4000)
    wrong.pts = wrong.dts = 4_000_000_000
    _, times = placed(packets)
    assert np.delete(times[PICTURES], 40) == pytest.approx(np.delete(np.arange(80) / 10, 40))
    assert times[SOUND] == pytest.approx(np.arange(320) / 40) and abs(times[PICTURES][40] - 4.0) < 0.2


def test_order_of_decoding_is_no_jump():
    shown = [0, 3, 1, 2, 6, 4, 5]  # with frames that refer to later ones, at one picture per second
    told = [packet(VIDEO, time + 2, 1.0, decoded) for decoded, time in enumerate(shown)]
    clock, times = placed(told, (VIDEO,))
    assert clock.jumps == 0 and times[PICTURES].tolist() == shown and clock.duration == 7.0
    for told_packet in told:
        told_packet.dts = None
    assert placed(told, (VIDEO,))[1][PICTURES].tolist() == shown


def coded(times, delay: int = 2):
    """Pictures shown at `times`, each fourth one decoded before the three that are shown before it.

    The times of decoding are made up as FFmpeg does where a container tells none: of the pictures `delay` before.
    """
    order = [0, *(index for first in range(1, len(times), 4) for index in (first + 3, *range(first, first + 3)))]
    order = [index for index in order if index < len(times)] + [i for i in range(len(times)) if i not in order]
    step = times[1] - times[0]
    decoded = [*(times[0] - step * np.arange(delay, 0, -1)), *times]
    return [packet(VIDEO, times[index], 0.1, decoded[place]) for place, index in enumerate(order)]


def with_sound(pictures, *spans):
    sound = [packet for span in spans for packet in track(AUDIO, *span, 0.025)]
    return sorted(pictures + sound, key=lambda packet: packet.dts)


@pytest.mark.parametrize("start", [4 + 50.0, 4 + 36000.0])
def test_a_clock_that_is_set_ahead_is_closed_up_though_decoding_runs_late(start):
    times = np.concatenate([np.arange(41) / 10, start + np.arange(1, 41) / 10])
    clock, placed_at = placed(with_sound(coded(times), (0, 4.1), (start + 0.1, start + 4.1)))
    assert clock.jumps == 1 and clock.duration == pytest.approx(8.1, abs=0.05) and clock.fps == 10
    assert sorted(placed_at[PICTURES]) == pytest.approx(np.arange(81) / 10, abs=0.05)
    assert placed_at[SOUND] == pytest.approx(np.arange(len(placed_at[SOUND])) / 40, abs=0.05)


@pytest.mark.parametrize("by", [8.0, 100.0, 36000.0, -36000.0])
@pytest.mark.parametrize("streams", [(VIDEO, AUDIO), (VIDEO,)])
def test_one_picture_with_a_wrong_time_to_be_shown_costs_that_time_only(by, streams):
    packets = [p for p in with_sound(coded(np.arange(81) / 10), (0, 8.1)) if p.stream in streams]
    number = next(n for n, p in enumerate(q for q in packets if q.stream is VIDEO) if p.pts == 4000)
    wrong = next(p for p in packets if p.stream is VIDEO and p.pts == 4000)
    wrong.pts += round(by * TICKS)
    clock = Clock(streams, packets)
    assert clock.duration == pytest.approx(8.1) and clock.jumps == 0 and clock.fps == 10
    own = [SimpleNamespace(**vars(p)) for p in packets if p.stream is VIDEO]
    times = [p.pts for p in clock.on_clock(own, PICTURES)]
    assert times.pop(number) is None and sorted(times) == [100 * n for n in range(81) if n != 40]


@pytest.mark.parametrize("sound", [(), ((0, 90.0),)])
def test_pictures_that_stand_keep_their_times_where_decoding_runs_far_ahead(sound):
    clock, times = placed(with_sound(coded(10.0 * np.arange(9)), *sound), (VIDEO, AUDIO) if sound else (VIDEO,))
    assert sorted(times[PICTURES]) == pytest.approx(10.0 * np.arange(9)) and clock.jumps == 0
    recording = np.array([*np.arange(20) / 10, 50.0, 50.1, 50.2, 90.0])
    clock, times = placed(with_sound(coded(recording), (0, 90.0)))
    assert sorted(times[PICTURES]) == pytest.approx(recording) and clock.duration == pytest.approx(90.1)


def test_pictures_that_stand_are_no_jump_where_the_first_packets_tell_no_decoding():
    """As FFmpeg reads Matroska with frames that refer to later ones."""
    packets = coded(np.array([0.0, 0.033, 0.067, 0.1, 3.967]))
    packets[0].dts = packets[1].dts = None
    clock, times = placed(packets, (VIDEO,))
    assert clock.jumps == 0 and sorted(times[PICTURES]) == [0.0, 0.033, 0.067, 0.1, 3.967]


def test_only_the_picture_shown_last_says_when_the_pictures_end():
    packets = coded(np.array([0.0, 0.1, 0.2, 3.0, 3.1, 3.2, 3.3]))
    for before, after in pairwise(packets):
        before.duration = after.dts - before.dts  # as MP4 tells it
    clock, _ = placed(packets, (VIDEO,))
    assert clock.duration == pytest.approx(3.4)


def test_a_file_of_nothing_but_wrong_times_is_counted():
    packets = [packet(VIDEO, 1e6 * (n + 1), 0.1, n / 10) for n in range(20)]
    assert Clock((VIDEO,), packets).duration == pytest.approx(2.0)
    single = Clock((VIDEO,), [packet(VIDEO, 5.0, 0.1, 0.0)])
    assert (single.pictures, single.duration) == (1, pytest.approx(0.1))


@pytest.mark.parametrize("told", [1_000_000.0, 0.0])
def test_a_picture_is_not_believed_to_last_for_days(told):
    clock = Clock((VIDEO, AUDIO), [*track(VIDEO, 0, 1, 0.1), packet(VIDEO, 1.0, told), *track(AUDIO, 0, 1, 0.025)])
    assert clock.duration == pytest.approx(1.1)


def test_the_last_picture_of_a_slide_show_lasts_as_long_as_the_sound():
    slides = [packet(VIDEO, 0.0, 30.0), packet(VIDEO, 30.0, 30.0)]
    packets = sorted(slides + track(AUDIO, 0, 50, 0.025), key=lambda packet: packet.dts)
    clock = Clock((VIDEO, AUDIO), packets)
    assert clock.duration == pytest.approx(50.0) and clock.last_picture == pytest.approx(30.0)


@pytest.mark.parametrize(("rate", "expected"), [(10, 10), (20, 20), (1000, 10), (None, 10), (Fraction(1, 174762), 10)])
def test_a_frame_rate_far_from_the_packets_is_counted(rate, expected):
    stream = SimpleNamespace(**{**vars(VIDEO), "average_rate": rate})
    packets = [SimpleNamespace(**{**vars(p), "stream": stream}) for p in track(VIDEO, 0, 2, 0.1)]
    assert Clock((stream,), packets).fps == pytest.approx(expected)


def test_pictures_without_timestamps_are_counted():
    packets = [SimpleNamespace(stream=VIDEO, pts=None, dts=None, duration=None, is_discard=False) for _ in range(30)]
    clock = Clock((VIDEO,), packets)
    assert (clock.duration, clock.pictures) == (3.0, 30)


def test_sound_alone_and_nothing_at_all():
    clock = Clock((AUDIO,), track(AUDIO, 5, 7, 0.025))
    assert (clock.duration, clock.fps, clock.pictures) == (pytest.approx(2.0), 0.0, 0)
    assert Clock((VIDEO, AUDIO), []).pictures == 0


def test_timestamps_that_are_noise_are_refused(monkeypatch):
    monkeypatch.setattr(clock_ccformer, "MOST_PIECES", 20)
    with pytest.raises(ClockBroken, match="more than 20 times"):
        Clock((VIDEO,), [packet(VIDEO, 1000.0 * (index % 7 + index), 0.1) for index in range(100)])
