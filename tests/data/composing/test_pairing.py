from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from made_sources import CLASSES, write_sources

from ccformer_hf.data.composing.material import read_material
from ccformer_hf.data.composing.pairing import (
    AUDIO_KINDS,
    HELD,
    OFF_SCREEN,
    draw_off_screen,
    draw_spans,
    draw_view,
    may_be_off_screen,
)

BELL, CAT, DOG = 1, 2, 3


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return read_material(write_sources(tmp_path_factory.mktemp("sources")))["train"]


def rng(number=0):
    return np.random.default_rng(number)


def views(material, count=300):
    return [draw_view(material, rng(number)) for number in range(count)]


def test_each_class_is_in_view_once_and_alike_often(material):
    counts = Counter()
    for view in views(material):
        assert len(set(view.class_ids)) == len(view.class_ids) >= 1
        counts.update(view.class_ids)
    assert max(counts.values()) < 1.25 * min(counts.values())


def test_pictures_show_the_class_they_stand_for(material):
    for view in views(material, 100):
        assert view.in_place == view.photograph.classes and (view.photograph.kind == "scene") == bool(view.in_place)
        for class_id, pictures in view.pasted:
            assert all(class_id in picture.classes and picture.split == "train" for picture in pictures)


def test_objects_are_pasted_on_backgrounds_and_on_scenes(material):
    kinds = Counter((view.photograph.kind, bool(view.pasted)) for view in views(material))
    assert min(kinds["scene", True], kinds["scene", False], kinds["background", True]) > 30
    assert not kinds["background", False]


def test_cutouts_are_also_taken_from_scenes(material):
    kinds = {
        picture.kind
        for view in views(material)
        for class_id, tried in view.pasted
        for picture in tried
        if class_id == CAT
    }
    assert kinds == {"scene", "cutout"}


def test_what_is_off_screen_is_never_in_view(material):
    audio_kind = Counter()
    for number, view in enumerate(views(material)):
        sound = draw_off_screen(material, view, rng(number))
        assert sound.name not in {material.sources.class_names[class_id] for class_id in view.class_ids}
        audio_kind[sound.name] += 1
    assert set(audio_kind) == {*CLASSES, "other"}


def test_what_is_oftener_off_screen_than_others(tmp_path):
    material = read_material(write_sources(tmp_path, off_screen={"bell": 8}))["train"]
    heard = Counter()
    for number, view in enumerate(views(material, 600)):
        if CAT in view.class_ids and len(view.class_ids) == 1:  # a bell or a dog
            heard[draw_off_screen(material, view, rng(1000 + number)).name] += 1  # apart from the view's
    assert heard["bell"] > 4 * heard["dog"] > 0 and heard["other"] > 10 and not heard["cat"]


def with_rules(tmp_path, *rules, **changes):
    return read_material(write_sources(tmp_path, never_together=list(rules), **changes))["train"]


def test_photographs_that_may_hold_unmarked_ones(tmp_path):
    material = with_rules(tmp_path, {"sound": "bell", "photographs_of": ["cat", "background"]})
    free = 0
    for view in views(material):
        if view.in_place == (DOG,):
            free += BELL in may_be_off_screen(material, view) or BELL in view.class_ids
        else:
            assert BELL not in may_be_off_screen(material, view)
            assert BELL not in view.class_ids, "nor is one pasted there, beside real ones without a mask"
    assert free > 20


def test_classes_that_sound_alike(tmp_path):
    material = with_rules(tmp_path, {"sound": ["bell", "dog"], "in_view": "cat"})
    seen = Counter()
    for view in views(material):
        seen[CAT in view.class_ids, BELL in may_be_off_screen(material, view)] += 1
        assert CAT not in view.class_ids or not may_be_off_screen(material, view)
    assert seen[False, True] > 20 and not seen[True, True]


def test_what_is_held_is_pasted_after_its_holder(tmp_path):
    material = read_material(write_sources(tmp_path, held_by={"dog": "bell"}))["train"]
    kinds = Counter()
    for view in views(material):
        if view.held is None:
            kinds["no bell" if BELL not in view.class_ids else "bell alone"] += 1
            continue
        assert view.held == (BELL, DOG)
        kinds["on a photograph's" if DOG in view.in_place else "on a pasted one"] += 1
        assert view.class_ids.index(DOG) < view.class_ids.index(BELL)
        assert BELL not in view.in_place and len(set(view.class_ids)) == len(view.class_ids)
    assert min(kinds.values()) > 20 and len(kinds) == 4
    bells = sum(kinds.values()) - kinds["no bell"]
    assert abs(kinds["bell alone"] / bells - (1 - HELD)) < 0.1


def test_distractors_are_backgrounds_in_the_outline_of_an_object(tmp_path):
    plain = read_material(write_sources(tmp_path))["train"]
    material = read_material(write_sources(tmp_path, distractors=2))["train"]
    drawn = views(material)
    assert {len(view.distractors) for view in drawn} == {0, 1, 2}
    for class_id, outline, filling in (distractor for view in drawn for distractor in view.distractors):
        assert outline in material.cutouts[class_id] and filling in material.backgrounds
    # All else is as without any.
    assert [replace(view, distractors=()) for view in drawn] == views(plain) and material.digest != plain.digest


def test_nothing_is_held_where_its_holder_may_not_be(tmp_path):
    rule = {"sound": "dog", "photographs_of": ["background"]}
    material = read_material(write_sources(tmp_path, held_by={"dog": "bell"}, never_together=[rule]))["train"]
    held = [view for view in views(material) if view.held is not None]
    assert held and all(view.photograph.kind == "scene" for view in held)


def test_rules_that_leave_nothing_to_see(tmp_path):
    rule = {"sound": list(CLASSES), "photographs_of": "background"}
    pictures = [{"format": "cutouts", "path": "train/cutouts", "split": "train"}]
    material = with_rules(tmp_path, rule, pictures=pictures)
    with pytest.raises(ValueError, match="never_together leaves nothing that may be seen on the photographs of train"):
        draw_view(material, rng())


def test_scenes_alone_are_enough(tmp_path):
    material = read_material(write_sources(tmp_path, backgrounds=None))["train"]
    assert all(view.in_place for view in views(material, 50))


def test_who_sounds_is_drawn_without_the_pictures_and_alike_for_all():
    seconds, count = 5, 2000
    playing = np.zeros(3)
    kinds = Counter()
    for number in range(count):
        audio_kind, spans = draw_spans(3, seconds, rng(number))
        kinds[audio_kind] += 1
        if audio_kind not in ("objects", "off_screen"):
            assert not spans
        if audio_kind == "off_screen":
            assert {span.source for span in spans} <= {OFF_SCREEN}
        for span in spans:
            assert 0 <= span.start < span.end <= seconds
            if span.source != OFF_SCREEN:
                playing[span.source] += span.end - span.start
    for kind, share in AUDIO_KINDS.items():
        assert abs(kinds[kind] / count - share) < 0.02
    assert playing.max() < 1.1 * playing.min() and 0.2 < playing.mean() / (count * seconds) < 0.5


def test_sounds_begin_within_seconds_too():
    starts = [span.start for number in range(200) for span in draw_spans(2, 5, rng(number))[1] if span.start > 0]
    assert np.histogram(np.mod(starts, 1), bins=4, range=(0, 1))[0].min() > 0.1 * len(starts)
