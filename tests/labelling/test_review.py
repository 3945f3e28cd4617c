import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from labelled_set import labels_in, read_review, write_review
from PIL import Image

from ccformer_hf.data.synthetic.clips import write_folder_clip
from ccformer_hf.labelling import review
from ccformer_hf.labelling.review import WHOLE_CLIP, ReviewRow, draw_clip, review_rows, strike

NAMES = ("background", "dog", "cat", "piano")
DOG, PIANO = np.zeros((2, 48, 64), np.uint8)
DOG[16:32, :16], PIANO[16:32, -16:] = 1, 3
NOTHING, IGNORED = np.zeros((48, 64), np.uint8), np.full((48, 64), 255, np.uint8)
CLIPS = {"one-00000": [DOG, DOG, NOTHING, PIANO, PIANO], "one-00005": [DOG, DOG], "two-00000": [IGNORED, NOTHING]}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """A set as `label_videos` writes it."""
    out = tmp_path_factory.mktemp("labelled")
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES[1:]))
    rows = []
    for name, labels in CLIPS.items():
        frames, waveform = np.full((len(labels), 48, 64, 3), 90, np.uint8), np.zeros(16000 * len(labels), np.float32)
        clip = SimpleNamespace(name=name, frames=frames, labels=np.stack(labels), waveform=waveform)
        write_folder_clip(clip, "train", out)
        draw_clip(out, "train", name, NAMES)
        rows += review_rows("train", name, clip.labels, np.full((len(labels), 3), 0.5), NAMES)
    review.write_review(out, rows)
    return out


@pytest.fixture
def made(made_once, tmp_path) -> Path:
    """A copy of the set, to be changed."""
    return shutil.copytree(made_once, tmp_path / "set")


def test_rows_tell_when_and_how_sure_a_class_is_in_a_clip():
    sureness = np.array([[0.2, 0, 0], [0.4, 0, 0], [1, 1, 1], [0, 0, 0.5], [0, 0, 0.7], [0.9, 0, 0]])
    labels = np.stack([DOG, DOG, IGNORED, PIANO, PIANO, DOG])
    assert review_rows("test", "a", labels, sureness, NAMES) == [
        ReviewRow("test", "a", WHOLE_CLIP, "0-5", ""),
        ReviewRow("test", "a", "dog", "0-1 5", "0.50"),
        ReviewRow("test", "a", "piano", "3-4", "0.60"),
    ]


def test_the_picture_of_a_clip_shows_what_is_marked_and_what_is_ignored(made):
    with Image.open(made / "review" / "train" / "two-00000.jpg") as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    assert pixels.shape == (240, 2 * 320 + 6)
    ignored, nothing = pixels[100:, :320], pixels[100:, 326:]
    assert ignored.max() > 120 and ignored.min() < 100, "stripes"
    assert np.abs(nothing - 90).max() < 5


def test_what_is_struck_out_is_ignored(made):
    out = made
    before = (out / "review" / "train" / "one-00000.jpg").read_bytes()
    wrong = {("one-00000", "dog"), ("one-00005", WHOLE_CLIP)}
    write_review(out, [(*row[:-1], "no" if row[1:3] in wrong else "yes") for row in read_review(out)])
    assert strike(out) == (1, 1)
    found = labels_in(out)
    assert list(found) == ["one-00000", "two-00000"]
    ignored = np.where(DOG == 1, 255, 0)
    np.testing.assert_array_equal(found["one-00000"], [ignored, ignored, NOTHING, PIANO, PIANO])
    assert [row[1:3] for row in read_review(out)] == [
        ("one-00000", WHOLE_CLIP),
        ("one-00000", "piano"),
        ("two-00000", WHOLE_CLIP),
    ]
    assert (
        not (out / "review" / "train" / "one-00005.jpg").exists()
        and "one-00005" not in (out / "review.html").read_text()
    )
    assert (out / "review" / "train" / "one-00000.jpg").read_bytes() != before
    assert strike(out) == (0, 0)


@pytest.mark.parametrize(
    "row, told",
    [
        (("train", "one-00000", "dog", "0", "", "maybe"), "line 2: keep is 'maybe'; expected yes or no"),
        (("train", "one-00000", "dgo", "0", "", "no"), "line 2: there is no class 'dgo' .did you mean 'dog'"),
        (("train", "one-00001", "dog", "0", "", "no"), "line 2: train has no clip 'one-00001' .did you mean"),
        (("train", "../x", WHOLE_CLIP, "0", "", "no"), "line 2: train has no clip '../x'"),
        (("..", "one-00000", "dog", "0", "", "no"), "line 2: split is '..'"),
        (("train", "one-00000"), "line 2: has 2 columns"),
    ],
)
def test_a_review_that_cannot_be_understood_changes_nothing(made, row, told):
    out = made
    files = {path: path.read_bytes() for path in out.rglob("*.png")}
    write_review(out, [row, ("train", "one-00005", "dog", "0-1", "", "no")])
    with pytest.raises(ValueError, match=told):
        strike(out)
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == files


def raise_stopped(*_):
    raise RuntimeError("stopped")


def test_a_strike_goes_on_after_a_stop(made, monkeypatch):
    out = made
    write_review(out, [(*row[:-1], "no" if row[2] == WHOLE_CLIP else "yes") for row in read_review(out)[:5]])
    with monkeypatch.context() as stopped, pytest.raises(RuntimeError):
        stopped.setattr(review, "write_review", raise_stopped)
        strike(out)
    assert strike(out) == (0, 2) and list(labels_in(out)) == ["two-00000"]


def test_a_folder_without_a_review_is_refused(tmp_path):
    (tmp_path / "classes.txt").write_text("dog\n")
    with pytest.raises(FileNotFoundError, match="review.csv: there is no such file"):
        strike(tmp_path)
