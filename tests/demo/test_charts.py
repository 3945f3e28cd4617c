import base64
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ccformer_hf.checkpoints import TINY_MODEL
from ccformer_hf.demo.charts import (
    NOTHING_FOUND,
    caption_html,
    class_shares,
    in_words,
    knows_html,
    marked_area,
    note_html,
    result_html,
    second_html,
    surest,
    table_html,
)
from ccformer_hf.inference.visualize import PALETTE, probability_picture
from ccformer_hf.model.sliding_window_ccformer import FrameSegmentation

HOSTILE = "<img src=x onerror=alert(1)>'\" & co"


def entry(class_id: int, name: str, score: float, area: float) -> dict:
    return {"label": name, "id": class_id, "score": score, "area": area, "boxes": []}


def frame(index: int, *sounding: dict, end: float | None = None) -> dict:
    return {
        "index": index,
        "time": index + 0.9,
        "start": index,
        "end": end or index + 1.0,
        "unseen": 0.2,
        "sounding": list(sounding),
    }


SEGMENTS = {
    "frames": [
        frame(0, entry(4, "dog", 0.9, 0.2), entry(5, "drum", 0.6, 0.1)),
        frame(1),
        frame(2, entry(4, "dog", 0.5, 0.4), end=2.5),
    ]
}
NOTHING = {"frames": [frame(0)]}


class Tags(HTMLParser):
    """Collects (tag, attributes) and the text, as a browser would see them."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(html)
        assert self.open == []  # all that was opened was closed

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("img", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict]:
        return [found for name, found in self.tags if name == tag and attributes.items() <= found.items()]


def demo_result(**changes) -> SimpleNamespace:
    picture = np.full((40, 60, 3), 90, dtype=np.uint8)
    fields = {
        "names": {0: "background", 1: HOSTILE, 4: "dog", 5: "drum"},
        "sound_label": "its own sound",
        "loudness": np.linspace(0, 1, 20),
        "fps": 1.0,
        "frame": lambda index: picture,
        "sounding": lambda index: np.tile(np.linspace(0, 0.5, 15, dtype=np.float32), (10, 1)),
    }
    return SimpleNamespace(**{**fields, **changes})


def test_shares_are_weighted_by_time():
    dog, drum = class_shares(SEGMENTS)
    assert (dog.class_id, dog.name, dog.seconds, dog.largest) == (4, "dog", 1.5, 0.4)
    assert dog.area == pytest.approx((0.2 + 0.5 * 0.4) / 1.5) and dog.score == pytest.approx((0.9 + 0.5 * 0.5) / 1.5)
    assert (drum.name, drum.seconds, drum.area) == ("drum", 1.0, 0.1)
    assert marked_area(SEGMENTS) == pytest.approx((0.3 + 0.2) / 2.5)
    assert class_shares(NOTHING) == [] and marked_area(NOTHING) == 0


def test_in_words():
    assert in_words(SEGMENTS, "its own sound") == (
        "With its own sound: dog 1.5 s, drum 1 s. 20 % of the picture is marked, on average."
    )
    speck = {"frames": [frame(0, entry(4, "dog", 0.9, 0.0001))]}
    assert in_words(speck, "its own sound").endswith("dog 1 s. less than 0.1 % of the picture is marked, on average.")
    assert in_words(NOTHING, "no sound") == "With no sound: nothing is marked."
    unseen = {"frames": [frame(0) | {"unseen": 0.8}, frame(1) | {"unseen": 0.4}, frame(2) | {"unseen": None}]}
    told = "nothing is marked. For 1 s something sounds that is not in view, or unknown."
    assert in_words(SEGMENTS | unseen, "no sound") == f"With no sound: {told}"


def test_the_timeline_has_a_button_per_second_that_says_all():
    page = Tags(result_html(demo_result(), SEGMENTS, chosen=2))
    buttons = page.all("button")
    assert [button["data-index"] for button in buttons] == ["0", "1", "2"]
    assert [button["aria-pressed"] for button in buttons] == ["false", "false", "true"]
    assert buttons[0]["aria-label"] == "0:00 to 0:01: dog, 90 % sure, drum, 60 % sure"
    assert buttons[1]["aria-label"] == "0:01 to 0:02: nothing is marked"
    cells = page.all("span", **{"class": "ccf-cell"})
    assert len(cells) == 6  # three seconds, a row each for dog and drum
    dog, drum, *_ = [cell["style"] for cell in cells if "style" in cell]
    assert dog == "--colour:#{:02x}{:02x}{:02x};--sure:0.900".format(*PALETTE[4])
    assert drum == "--colour:#{:02x}{:02x}{:02x};--sure:0.600".format(*PALETTE[5])
    assert len(page.all("rect")) == 20


@pytest.mark.parametrize("looks", [2, 4])
def test_with_more_looks_a_second_each_has_its_own_time(looks):
    dog = entry(4, "dog", 0.9, 0.2)
    frames = [{**frame(i, *[dog][i:]), "start": i / looks, "end": (i + 1) / looks} for i in range(looks)]
    segments = {"frames": frames}
    html = result_html(demo_result(fps=float(looks)), segments, 0)
    page = Tags(html)
    starts = [f"0:00.{round(100 * i / looks):02d}" for i in range(looks)]
    assert re.findall(r"ccf-clock'>([^<]+)<", html) == starts
    buttons = page.all("button")
    assert buttons[0]["aria-label"] == f"0:00.00 to {starts[1]}: dog, 90 % sure"
    assert buttons[-1]["aria-label"] == f"{starts[-1]} to 0:01.00: nothing is marked"
    assert "Choose a look" in page.text and page.all("div", **{"class": "ccf-track ccf-fine"})
    seconds = {2: "0.5 s", 4: "0.25 s"}[looks]
    assert f"dog {seconds}. " in page.text and seconds in Tags(table_html(segments)).text
    found = FrameSegmentation(1, 0.4, 1 / looks, 2 / looks, np.zeros((40, 60), np.uint8), {}, True, 0.2)
    shown = Tags(second_html(demo_result(fps=float(looks)), found)).text
    assert f"{starts[1]} to {[*starts, '0:01.00'][2]}, with" in shown


def test_a_timeline_with_nothing_in_it():
    page = Tags(result_html(demo_result(loudness=None), NOTHING, 0))
    assert len(page.all("button")) == 1 and "no sound" in page.text


def test_the_table():
    page = Tags(table_html(SEGMENTS))
    for text in ("dog", "1.5 s", "27 %", "40 %", "77 %", "drum", "10 %"):
        assert text in page.text
    assert len(page.all("th", scope="col")) == 5 and len(page.all("th", scope="row")) == 2
    assert "Nothing is above the threshold" in Tags(table_html(NOTHING)).text


def test_a_second_shows_frame_mask_and_probability_with_alt_texts():
    class_map = np.zeros((40, 60), dtype=np.uint8)
    class_map[10:30, 20:50] = 4
    page = Tags(second_html(demo_result(), FrameSegmentation(1, 1.9, 1.0, 2.0, class_map, {4: 0.8}, True, 0.2)))
    overlaid, mask, probability = (read_image(image["src"]) for image in page.all("img"))
    assert all(len(image["alt"]) > 20 and "dog" in image["alt"] for image in page.all("img")[:2])
    assert "the highest is 50 %" in page.all("img")[2]["alt"]
    near = {"atol": 12, "rtol": 0}
    np.testing.assert_allclose(mask[20, 35], PALETTE[4], **near)
    np.testing.assert_allclose(mask[5, 5], 0, **near)
    np.testing.assert_allclose(overlaid[20, 35], (PALETTE[4] + 90.0) / 2, **near)
    np.testing.assert_allclose(probability[20, 0], probability_picture(np.array(0.0)), **near)
    np.testing.assert_allclose(probability[20, 59], probability_picture(np.array(0.5)), **near)
    assert "0:01 to 0:02, with its own sound: dog (80 % sure)" in page.text


def read_image(source: str) -> np.ndarray:
    data = re.fullmatch(r"data:image/jpeg;base64,(.+)", source)[1]
    return np.array(Image.open(io.BytesIO(base64.b64decode(data)))).astype(float)


def model(name: str, labels: int, trained_on: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(name=name, trained_on=trained_on, labels={i: f"class {i}" for i in range(1, labels + 1)})


def test_what_the_checkpoint_knows():
    page = Tags(knows_html(model(TINY_MODEL, 12, "synthetic clips")))
    assert "not the real world" in page.text and "12 drawn things" in page.text and "class 12" in page.text
    page = Tags(knows_html(model("me/avss", 100, "AVSBench")))
    assert "trained on AVSBench" in page.text and "and 20 more" in page.text and "class 81" not in page.text
    assert "its author does not say" in Tags(knows_html(model("me/avss", 1))).text


def test_text_from_outside_stays_text():
    hostile = {"frames": [frame(0, entry(1, HOSTILE, 0.5, 0.5))]}
    found = FrameSegmentation(0, 0.9, 0.0, 1.0, np.ones((40, 60), np.uint8), {1: 0.5}, True, 0.2)
    pages = [
        result_html(demo_result(sound_label=HOSTILE), hostile, 0),
        table_html(hostile),
        second_html(demo_result(sound_label=HOSTILE), found),
        knows_html(SimpleNamespace(name=HOSTILE, trained_on=HOSTILE, labels={1: HOSTILE})),
        note_html(HOSTILE),
        caption_html(HOSTILE),
    ]
    for page in map(Tags, pages):
        assert HOSTILE in page.text
        assert not any("onerror" in attributes for _, attributes in page.tags)
        assert all(image["src"].startswith("data:") for image in page.all("img"))


def test_two_classes_of_one_name_are_told_apart():
    segments = {"frames": [frame(0, entry(4, "dog", 0.9, 0.2), entry(5, "dog", 0.6, 0.1))]}
    assert [share.name for share in class_shares(segments)] == ["dog (4)", "dog (5)"]
    assert "dog (4), 90 % sure, dog (5), 60 % sure" in result_html(demo_result(), segments, 0)
    found = FrameSegmentation(0, 0.9, 0.0, 1.0, np.full((40, 60), 4, np.uint8), {4: 0.5}, True, 0.2)
    assert "dog (4) (50 % sure)" in second_html(demo_result(names={4: "dog", 5: "dog"}), found)


def test_the_surest_frame():
    assert surest(SEGMENTS) == 0 and surest(NOTHING) == 0
    assert surest({"frames": [frame(7), frame(8, entry(4, "dog", 0.2, 0.1), entry(5, "drum", 0.3, 0.1))]}) == 8


def test_what_to_do_where_nothing_is_found_though_there_is_sound():
    heard, silent = (demo_result(sound_label="", loudness=loudness) for loudness in (np.ones(8), None))
    assert NOTHING_FOUND in result_html(heard, NOTHING, 0)
    assert NOTHING_FOUND not in result_html(heard, SEGMENTS, 0) + result_html(silent, NOTHING, 0)
