import pickle

import numpy as np
import pytest
from made_sources import CLASSES, write_sources
from PIL import Image

from ccformer_hf.data.composing import composed
from ccformer_hf.data.composing.composed import compose_clip, compose_sound
from ccformer_hf.data.composing.material import read_material


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return read_material(write_sources(tmp_path_factory.mktemp("sources")))


@pytest.fixture(scope="module")
def clips(material):
    return [compose_clip(material["train"], 0, index) for index in range(120)]


def test_a_clip_is_what_it_says(clips):
    for clip in clips:
        assert clip.frames.shape == (3, 64, 64, 3) and clip.frames.dtype == np.uint8
        assert clip.labels.shape == (3, 64, 64) and clip.labels.dtype == np.uint8
        assert (
            clip.waveform.shape == (48000,) and clip.waveform.dtype == np.float32 and np.abs(clip.waveform).max() <= 1
        )
    assert len({clip.name for clip in clips}) == len(clips)


def test_the_sound_of_a_clip_can_be_had_without_its_pictures(clips, material, monkeypatch):
    monkeypatch.setattr(composed, "compose_scene", None)  # not to be called
    monkeypatch.setattr(Image, "open", None)
    for index, clip in enumerate(clips[:20]):
        sound = compose_sound(material["train"], 0, index)
        for name in ("waveform", "audible", "off_screen_audible"):
            np.testing.assert_array_equal(getattr(sound, name), getattr(clip, name))
        assert (sound.class_ids, sound.audio_kind, sound.off_screen) == (
            clip.class_ids,
            clip.audio_kind,
            clip.off_screen,
        )
        assert clip.files[-len(sound.files) :] == sound.files or not sound.files


def test_labels_mark_just_what_sounds(clips):
    marked = 0
    for clip in clips:
        expected = np.zeros(clip.labels.shape, np.uint8)
        for class_id, mask, audible in zip(clip.class_ids, clip.masks, clip.audible, strict=True):
            for frame in np.flatnonzero(audible):
                expected[frame][mask[frame]] = class_id if audible[frame] == 1 else 255
        told = (clip.labels != 255) & (expected != 255)
        np.testing.assert_array_equal(clip.labels[told], expected[told])
        marked += ((clip.labels > 0) & (clip.labels < 255)).any()
        if not clip.audible.any():
            assert not clip.labels.any(), "nothing is to be marked, nor ignored"
    assert marked > 60 and np.mean([(clip.labels == 255).mean() for clip in clips]) < 0.03


def test_nothing_is_marked_in_noise_silence_and_under_sounds_from_elsewhere(clips):
    assert {clip.audio_kind for clip in clips} >= {"objects", "off_screen", "noise"}
    for clip in clips:
        assert clip.audio_kind == "objects" or not clip.labels.any()
        assert (clip.audio_kind == "silence") == (not clip.waveform.any())


def test_what_sounds_is_of_the_class_that_is_marked_and_what_is_off_screen_is_not_in_view(clips):
    for clip in clips:
        sounding = {
            CLASSES[class_id - 1]
            for class_id, audible in zip(clip.class_ids, clip.audible, strict=True)
            if audible.any()
        }
        sounds = {file.split("/")[-2] for file in clip.files if file.endswith(".wav")}
        assert sounding <= sounds <= {CLASSES[class_id - 1] for class_id in clip.class_ids} | {clip.off_screen, "rain"}
        assert clip.off_screen not in {CLASSES[class_id - 1] for class_id in clip.class_ids}


def test_nothing_about_an_object_tells_whether_it_sounds(clips, material):
    rows = np.array(
        [
            (number >= clip.in_place, mask.mean(), (audible == 1).mean())
            for clip in [*clips, *(compose_clip(material["train"], 1, index) for index in range(80))]
            if clip.audio_kind == "objects"
            for number, (mask, audible) in enumerate(zip(clip.masks, clip.audible, strict=True))
        ]
    )
    pasted, area, sounding = rows[:, 0] == 1, rows[:, 1], rows[:, 2]
    for chosen in (pasted, area < np.median(area)):
        share, other = sounding[chosen], sounding[~chosen]
        three_standard_errors = 3 * np.sqrt(share.var() / len(share) + other.var() / len(other))
        assert three_standard_errors < 0.25
        assert abs(share.mean() - other.mean()) < three_standard_errors


def test_a_clip_depends_on_seed_and_number_alone(material, clips):
    fresh = pickle.loads(pickle.dumps(material["train"]))
    for index in (7, 3):
        again = compose_clip(fresh, 0, index)
        for name in ("frames", "labels", "waveform"):
            np.testing.assert_array_equal(getattr(again, name), getattr(clips[index], name))
        assert again.name == clips[index].name
    assert not np.array_equal(compose_clip(fresh, 1, 3).frames, clips[3].frames)
    assert not np.array_equal(compose_clip(material["test"], 0, 3).frames, clips[3].frames)


def test_splits_have_no_file_in_common(material):
    assert set(material) == {"train", "validation", "test"}
    for split, of in material.items():
        files = {file for index in range(8) for file in compose_clip(of, 0, index).files}
        assert files and all(f"/{split}/" in file for file in files)


def test_a_clip_names_the_pictures_of_its_distractors(tmp_path):
    material = read_material(write_sources(tmp_path, distractors=2))["train"]
    found = 0
    for index in range(20):
        clip = compose_clip(material, 0, index)
        for _, outline, filling in clip.view.distractors:
            found += 1
            assert {outline.file, filling.file} <= set(clip.files)
    assert found
