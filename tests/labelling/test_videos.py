import numpy as np
import pytest
from made_media import SoundTrack, VideoTrack, click_at, grey_level, write_media

from ccformer_hf.inference.contained_media import probe
from ccformer_hf.labelling import videos
from ccformer_hf.labelling.videos import iter_clips, share_out, video_names


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    """7 s at one frame per second; one click in the fifth second, at 4.5 s."""
    path = tmp_path_factory.mktemp("videos") / "clicks.mkv"
    write_media(
        path,
        VideoTrack(size=(64, 48), fps=1, seconds=7),
        SoundTrack(waveform=click_at(4.5, 7, 16000), codec="pcm_s16le"),
    )
    return probe(path)


def test_a_clip_has_a_frame_and_the_sound_of_each_second(info):
    first, second = iter_clips(info, 5, 8000)
    assert (first.start, first.frames.shape, first.waveform.shape, first.seconds.shape) == (
        0,
        (5, 48, 64, 3),
        (80000,),
        (5, 8000),
    )
    assert (second.start, len(second.frames), len(second.waveform), len(second.seconds)) == (5, 2, 32000, 2)
    levels = [frame.mean() for frame in np.concatenate([first.frames, second.frames])]
    assert levels == pytest.approx([grey_level(index) for index in range(7)], abs=4)
    assert abs(np.abs(first.waveform).argmax() - 72000) < 40
    loud = np.abs(np.concatenate([first.seconds, second.seconds])).max(axis=1) > 0.1
    assert loud.tolist() == [False] * 4 + [True] + [False] * 2
    assert abs(np.abs(first.seconds[4]).argmax() - 4000) < 20


def test_large_frames_are_made_smaller():
    assert videos._smaller(np.zeros((512, 1024, 3), np.uint8)).shape == (256, 512, 3)
    assert videos._smaller(np.zeros((40, 60, 3), np.uint8)).shape == (40, 60, 3)


def test_a_clip_ends_where_the_sound_cannot_be_read_on(info, monkeypatch):
    sounds = [np.full(10, 2.0, np.float32)] * 6 + [None]
    monkeypatch.setattr(videos, "iter_sounds", lambda *arguments: iter(sounds))
    first, second = iter_clips(info, 5, 8000)
    assert (len(first.frames), len(second.frames)) == (5, 1)
    assert first.waveform.max() == second.seconds.max() == 1  # what decoders overshoot is cut


def test_names_are_plain_and_all_differ():
    found = video_names(["a/My dog!.mp4", "b/my DOG!.mkv", ".hidden.mp4", "...", "x" * 300 + ".mp4", "caf\udce9.mp4"])
    assert found == ["My_dog", "my_DOG-2", "hidden", "video", "x" * 100, "caf_xe9"]


def test_videos_are_shared_out_by_their_names():
    names = [f"video{number}" for number in range(20)]
    splits = share_out(names)
    assert [splits.count(split) for split in ("train", "validation", "test")] == [16, 2, 2]
    assert dict(zip(names, splits, strict=True)) == dict(zip(names[::-1], share_out(names[::-1]), strict=True))
    assert share_out(names[:2]) == ["train", "train"] and sorted(share_out(names[:3])) == [
        "test",
        "train",
        "validation",
    ]
