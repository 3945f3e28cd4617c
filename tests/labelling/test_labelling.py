import shutil

import numpy as np
import pytest
from labelled_set import labels_in, read_review
from made_media import SoundTrack, VideoTrack, write_media
from PIL import Image

from ccformer_hf.data.folder import list_folder_clips
from ccformer_hf.data.loading import load_folder
from ccformer_hf.labelling.agreement import Thresholds
from ccformer_hf.labelling.classes import SoundingClass
from ccformer_hf.labelling.labelling import label_clip, label_videos, probe_videos
from ccformer_hf.labelling.review import WHOLE_CLIP
from ccformer_hf.labelling.videos import VideoClip

CLASSES = (
    SoundingClass("dog", ("Dog",), "a dog"),
    SoundingClass("cat", ("Cat",), "cat"),
    SoundingClass("piano", ("Piano",), "piano"),
)
LIMITS = Thresholds(heard=0.3, drawn=0.6, most_classes=2)
COLOURS = {"a dog": (230, 30, 30), "piano": (30, 30, 230)}
LOUDNESS = {"dog": 0.2, "piano": 0.5, "nothing": 0.0}


class PlantedTagger:
    """Names the dog where the sound is soft and the piano where it is loud."""

    sampling_rate = 16000

    def __call__(self, seconds):
        level = np.median(np.abs(seconds), axis=1)
        scores = np.zeros((len(seconds), len(CLASSES)), np.float32)
        scores[(level > 0.1) & (level < 0.4), 0] = 0.5
        scores[level > 0.4, 2] = 0.9
        return scores


class PlantedSegmenter:
    """Draws what has the colour of a prompt, and remembers what it was asked for."""

    drawn = 0.6

    def __init__(self):
        self.asked = []

    def __call__(self, picture, prompts, least):
        self.asked.append((tuple(prompts), least))
        near = [np.abs(picture.astype(int) - COLOURS[prompt]).max(axis=2) < 40 for prompt in prompts]
        return np.stack(near).astype(np.float32) * np.float32(0.9)


def paint(index, width, height):
    """The dog on the left all the time, the piano on the right from second 2 on."""
    picture = np.full((height, width, 3), 120, np.uint8)
    picture[16:32, :16] = COLOURS["a dog"]
    if index >= 2:
        picture[16:32, -16:] = COLOURS["piano"]
    return picture


def write_video(path, *sounding):
    """One second of each of the sounds named."""
    waveform = np.concatenate([np.full(16000, LOUDNESS[name], np.float32) for name in sounding])
    return write_media(
        path,
        VideoTrack(size=(64, 48), fps=1, seconds=len(sounding), paint=paint, pix_fmt="yuv444p"),
        SoundTrack(waveform=waveform, codec="pcm_s16le"),
    )


DOG, PIANO = np.zeros((2, 48, 64), np.uint8)
DOG[16:32, :16], PIANO[16:32, -16:] = 1, 3
NOTHING, IGNORED = np.zeros((48, 64), np.uint8), np.full((48, 64), 255, np.uint8)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("labelled")
    videos = [
        write_video(tmp_path / "one.mkv", "dog", "dog", "nothing", "piano", "piano", "dog", "dog"),
        write_video(tmp_path / "two.mkv", "piano", "nothing", "nothing"),
    ]
    infos, failed = probe_videos(videos)
    assert failed == []
    out = tmp_path / "set"
    return out, label_videos(infos, out, CLASSES, PlantedTagger(), PlantedSegmenter(), LIMITS, 5, progress=False)


@pytest.fixture
def made(made_once, tmp_path):
    """A copy of the set, to be changed, and what was told about it."""
    out, summary = made_once
    return shutil.copytree(out, tmp_path / "set"), summary


def test_the_labels_written_are_those_that_agree(made):
    out, summary = made
    found = labels_in(out)
    assert list(found) == ["one-00000", "one-00005", "two-00000"]
    np.testing.assert_array_equal(found["one-00000"], [DOG, DOG, NOTHING, PIANO, PIANO])
    np.testing.assert_array_equal(found["one-00005"], [DOG, DOG])
    # The piano is heard in the first second, and cannot be seen before the third.
    np.testing.assert_array_equal(found["two-00000"], [IGNORED, NOTHING, NOTHING])
    assert (dict(summary.clips), summary.empty, summary.failed) == ({"train": 3}, 0, [])
    assert dict(summary.seconds) == {"dog": 4, "piano": 2} and summary.ignored == pytest.approx(1 / 9)
    assert all(clip.missing == clip.unclear == () for clip in list_folder_clips(out))


def test_frames_and_sound_are_those_of_the_video(made):
    clip = load_folder(made[0], "train")[0]
    assert clip["classes"] == [] and clip["annotated"] == [True] * 5
    assert np.abs(np.asarray(clip["frames"][3]).astype(int) - paint(3, 64, 48)).mean() < 4
    waveform = np.asarray(clip["sound"]["waveform"]).reshape(5, 16000)
    np.testing.assert_allclose(waveform[:, 8000], [0.2, 0.2, 0.0, 0.5, 0.5], atol=0.01)


def test_the_review_lists_what_is_marked(made):
    out, _ = made
    assert read_review(out) == [
        ("train", "one-00000", WHOLE_CLIP, "0-4", "", "yes"),
        ("train", "one-00000", "dog", "0-1", "0.45", "yes"),
        ("train", "one-00000", "piano", "3-4", "0.81", "yes"),
        ("train", "one-00005", WHOLE_CLIP, "0-1", "", "yes"),
        ("train", "one-00005", "dog", "0-1", "0.45", "yes"),
        ("train", "two-00000", WHOLE_CLIP, "0-2", "", "yes"),
    ]
    page = (out / "review.html").read_text()
    assert "<script" not in page and page.count("<img ") == 3
    assert "src='review/train/one-00000.jpg'" in page and "dog in 0-1 (0.45); piano in 3-4 (0.81)" in page
    with Image.open(out / "review" / "train" / "one-00000.jpg") as picture:
        assert picture.size == (5 * 320 + 4 * 6, 240)


def test_only_what_may_sound_is_drawn():
    segmenter = PlantedSegmenter()
    frames = np.stack([paint(second, 64, 48) for second in range(3)])
    seconds = np.repeat(np.float32([[0.2], [0.0], [0.5]]), 16000, axis=1)
    clip = VideoClip(0, frames, np.zeros(48000, np.float32), seconds)
    labels, sureness = label_clip(clip, CLASSES, PlantedTagger(), segmenter, LIMITS)
    assert segmenter.asked == [(("a dog",), pytest.approx(0.4)), (("piano",), pytest.approx(0.4))]
    # 0.5 in one second alone is perhaps the dog, 0.9 is the piano.
    np.testing.assert_array_equal(labels, [np.where(DOG == 1, 255, 0), NOTHING, PIANO])
    np.testing.assert_allclose(sureness, [[0.45, 0, 0], [0, 0, 0], [0, 0, 0.81]], atol=1e-6)


def test_nothing_is_left_where_nothing_is_sure(tmp_path):
    infos, _ = probe_videos([write_video(tmp_path / "piano.mkv", "piano", "piano")])
    with pytest.raises(ValueError, match="none of 1 videos gave a clip with anything sure in it"):
        label_videos(
            infos, tmp_path / "new" / "set", CLASSES, PlantedTagger(), PlantedSegmenter(), LIMITS, progress=False
        )
    assert not (tmp_path / "new").exists()
    (tmp_path / "filled").mkdir()
    (tmp_path / "filled" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not an empty folder; name a new folder"):
        label_videos(infos, tmp_path / "filled", CLASSES, PlantedTagger(), PlantedSegmenter(), LIMITS)


def test_videos_that_cannot_be_used_are_told(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    silent = write_media(tmp_path / "silent.mkv", VideoTrack(fps=1, seconds=2))
    infos, failed = probe_videos([tmp_path / "broken.mp4", silent])
    assert infos == [] and [fault.split(": ")[0] for fault in failed] == [
        str(tmp_path / name) for name in ("broken.mp4", "silent.mkv")
    ]
    assert "has no sound that can be used" in failed[1]
