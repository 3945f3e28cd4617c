from ccformer_hf.inference.captions import Stretch, csv_text, srt_text, stretches, vtt_text

NAMES = {"0": "background", "1": "cat & dog", "2": 'bell, "small"\n\nor <large>'}


def segments(*frames):
    """Of looks `(start, end, {class id: score})`."""
    records = [
        {"start": start, "end": end, "sounding": [{"id": number, "score": score} for number, score in heard.items()]}
        for start, end, heard in frames
    ]
    return {"classes": NAMES, "frames": records}


MADE = segments(
    (0.0, 0.25, {}),
    (0.25, 0.5, {1: 0.6}),
    (0.5, 1.0, {1: 0.9}),
    (1.0, 1.25, {2: 0.75, 1: 0.7}),
    (1.25, 1.5, {2: 0.25}),
    (1.5, 2.0, {}),
    (3661.5, 3662.0, {1: 0.5}),
)


def test_looks_that_follow_each_other_are_one_stretch():
    first, second, third = stretches(MADE)
    assert (first.start, first.end, first.class_id) == (0.25, 1.25, 1)
    assert abs(first.score - (0.25 * 0.6 + 0.5 * 0.9 + 0.25 * 0.7)) < 1e-9  # weighted by time
    assert second == Stretch(1.0, 1.5, 2, 0.5) and third == Stretch(3661.5, 3662.0, 1, 0.5)


def test_csv_by_hand():
    assert csv_text(MADE) == (
        "start,end,label,id,score\n"
        "0.250,1.250,cat & dog,1,0.7750\n"
        '1.000,1.500,"bell, ""small""\n\nor <large>",2,0.5000\n'
        "3661.500,3662.000,cat & dog,1,0.5000\n"
    )


def test_srt_by_hand():
    assert srt_text(MADE) == (
        "1\n00:00:00,250 --> 00:00:01,000\ncat & dog\n\n"
        '2\n00:00:01,000 --> 00:00:01,250\ncat & dog\nbell, "small" or <large>\n\n'
        '3\n00:00:01,250 --> 00:00:01,500\nbell, "small" or <large>\n\n'
        "4\n01:01:01,500 --> 01:01:02,000\ncat & dog\n"
    )


def test_vtt_by_hand():
    assert vtt_text(MADE) == (
        "WEBVTT\n\n00:00:00.250 --> 00:00:01.000\ncat &amp; dog\n\n"
        '00:00:01.000 --> 00:00:01.250\ncat &amp; dog\nbell, "small" or &lt;large&gt;\n\n'
        '00:00:01.250 --> 00:00:01.500\nbell, "small" or &lt;large&gt;\n\n'
        "01:01:01.500 --> 01:01:02.000\ncat &amp; dog\n"
    )


def test_nothing_that_sounds():
    empty = segments((0.0, 1.0, {}))
    assert (csv_text(empty), srt_text(empty), vtt_text(empty)) == ("start,end,label,id,score\n", "", "WEBVTT\n")
