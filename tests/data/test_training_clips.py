import os
import shutil
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from ccformer_hf import AudioVisualProcessor, CCFormerImageProcessor
from ccformer_hf.data import training_clips
from ccformer_hf.data.audio import ClipAudio, sound_examples
from ccformer_hf.data.augmentation import Augmentation
from ccformer_hf.data.collator import AudioVisualCollator
from ccformer_hf.data.loading import load_folder, load_setting
from ccformer_hf.data.noises import NOISES
from ccformer_hf.data.sounding import LABEL_MAPS, SoundingClasses
from ccformer_hf.data.synthetic.clips import write_synthetic_set
from ccformer_hf.data.training_clips import ClipOrder, ShareOfSteps, TrainingClips
from ccformer_hf.model.feature_extraction_ccformer import CCFormerFeatureExtractor

SIZE = 64
NOTHING = Augmentation()
EVERYTHING = Augmentation(
    flip=0.5, scale=(0.5, 2), colour=0.3, frames=(2, 3), gain=6, noise=0.5, mix=0.5, shift=0.05, silence=0.2,
    noise_only=0.2, off_screen=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def processor():
    return AudioVisualProcessor(CCFormerImageProcessor(size={"height": SIZE, "width": SIZE}))


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for setting in ("s4", "ms3", "avss", "folder"):
        write_synthetic_set(folder / setting, setting, clips=6, seed=0, workers=1, progress=False, size=32)
    return folder


@pytest.fixture(scope="module")
def sets(roots):
    """The training splits: 4 clips each."""
    return {setting: load_setting(setting, roots / setting, "train") for setting in ("s4", "ms3", "avss", "folder")}


def feed(clips, processor, augmentation=NOTHING, cache=None, seed=0, batch_size=4) -> TrainingClips:
    return TrainingClips(clips, processor, augmentation, seed, batch_size, cache)


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def with_column(clips, name: str, values: list):
    return clips.remove_columns(name).add_column(name, values, feature=clips.features[name])


# The order of clips


def test_each_clip_is_shown_equally_often():
    order = ClipOrder(7, 3, seed=0)
    shown = [clip for step in range(14) for clip in order.step(step)]  # 42 showings, six rounds
    assert [number for number, _ in shown] == list(range(42))
    assert Counter(index for _, index in shown) == dict.fromkeys(range(7), 6)
    rounds = [[index for _, index in shown[start : start + 7]] for start in range(0, 42, 7)]
    assert all(sorted(one) == list(range(7)) for one in rounds) and len({tuple(one) for one in rounds}) > 1


def test_the_order_follows_from_the_seed_alone():
    one, two, other = ClipOrder(9, 4, 0), ClipOrder(9, 4, 0), ClipOrder(9, 4, 1)
    late = [one.step(step) for step in (50, 3, 0)]
    assert late == [two.step(step) for step in (50, 3, 0)] == [one.step(50), one.step(3), one.step(0)]
    assert late != [other.step(step) for step in (50, 3, 0)]


def test_a_batch_larger_than_the_set_takes_several_rounds():
    order = ClipOrder(3, 8, seed=0)
    counts = Counter(index for _, index in order.step(0) + order.step(1) + order.step(2))
    assert counts == {0: 8, 1: 8, 2: 8}
    assert len(order.step(0)) == 8


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 1), (1, 2), (1, 8), (2, 1), (2, 2), (4, 2)])
def test_a_step_is_the_same_for_every_split(processes, accumulate):
    order = ClipOrder(11, 8, seed=3)
    shares = [list(ShareOfSteps(order, range(2, 7), process, processes, accumulate)) for process in range(processes)]
    size = 8 // (processes * accumulate)
    for share in shares:
        assert [len(part) for part in share] == [size] * (5 * accumulate)
    for row, step in enumerate(range(2, 7)):
        parts = [part for share in shares for part in share[row * accumulate : (row + 1) * accumulate]]
        assert [clip for part in parts for clip in part] == order.step(step)


def test_a_share_knows_its_length_and_can_be_gone_through_twice():
    share = ShareOfSteps(ClipOrder(5, 4, 0), range(3, 6), process=1, processes=2, accumulate=2)
    assert len(share) == len(list(share)) == 6 and list(share) == list(share)
    assert list(ShareOfSteps(ClipOrder(5, 4, 0), range(3, 3))) == []


def test_a_batch_that_cannot_be_shared_out_is_refused():
    with pytest.raises(ValueError, match=r"batch_size is 8, expected a multiple of 6: 2 process\(es\) times 3 accum"):
        ShareOfSteps(ClipOrder(20, 8, 0), range(3), processes=2, accumulate=3)


# One clip


@pytest.mark.parametrize("setting", ["s4", "ms3", "avss", "folder"])
def test_an_unchanged_clip_is_what_the_processor_makes_of_its_row(setting, sets, processor):
    row = sets[setting][1]
    found = feed(sets[setting], processor)[0, 1]
    wanted = processor(
        row["frames"],
        audio=row["sound"]["waveform"],
        sampling_rate=row["sound"]["sampling_rate"],
        segmentation_maps=row["labels"],
        label_mask=row["annotated"],
    )
    assert found.keys() == wanted.keys() == {
        "pixel_values", "input_features", "frame_mask", "audio_mask", "labels", "label_mask"
    }  # fmt: skip
    for name in found:
        torch.testing.assert_close(found[name], wanted[name][0], rtol=0, atol=0)
    length = len(row["frames"])
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "pixel_values": (length, 3, SIZE, SIZE),
        "input_features": (length, 1, 96, 64),
        "frame_mask": (length,),
        "audio_mask": (length,),
        "labels": (length, SIZE, SIZE),
        "label_mask": (length,),
    }
    assert found["pixel_values"].dtype == found["input_features"].dtype == torch.float32
    assert found["labels"].dtype == torch.int64
    assert {found[name].dtype for name in ("frame_mask", "audio_mask", "label_mask")} == {torch.bool}


def test_frames_that_are_not_annotated_teach_nothing(sets, processor):
    found = feed(sets["s4"], processor)[0, 0]
    assert found["label_mask"].tolist() == [True, False, False, False, False]
    assert set(found["labels"][1:].unique().tolist()) == {255} and 255 not in found["labels"][0]
    assert found["frame_mask"].all()
    # Nothing is known of them in a negative clip either.
    negative = feed(sets["s4"], processor, Augmentation(silence=0.999))[0, 0]
    assert set(negative["labels"][1:].unique().tolist()) == {255} and not negative["labels"][0].any()


def test_a_clip_follows_from_seed_and_showing_whatever_came_before(sets, processor):
    one, two = (feed(sets["avss"], processor, EVERYTHING, seed=5) for _ in range(2))
    keys = [(showing, showing % 4) for showing in range(12)]
    forward = {key: one[key] for key in keys}
    backward = {key: two[key] for key in reversed(keys)}
    assert all(same(forward[key], backward[key]) for key in keys)
    assert not same(one[0, 2], one[4, 2])
    other = feed(sets["avss"], processor, EVERYTHING, seed=6)
    assert not all(same(one[key], other[key]) for key in keys[:3])


def test_workers_change_nothing(sets, processor):
    clips = feed(sets["avss"], processor, EVERYTHING)
    share = ShareOfSteps(ClipOrder(4, 4, 0), range(3), accumulate=2)
    batches = [
        list(
            torch.utils.data.DataLoader(
                clips, batch_sampler=share, collate_fn=AudioVisualCollator(processor), num_workers=workers
            )
        )
        for workers in (0, 2)
    ]
    assert len(batches[0]) == 6 and all(same(one, two) for one, two in zip(*batches, strict=True))


def test_all_clips_of_a_step_are_cut_to_one_number_of_frames(sets, processor):
    clips = feed(sets["avss"], processor, Augmentation(frames=(2, 3, 4)), batch_size=4)
    lengths = [[len(clips[4 * step + place, place]["frame_mask"]) for place in range(4)] for step in range(8)]
    assert all(len(set(of_step)) == 1 for of_step in lengths) and {row[0] for row in lengths} == {2, 3, 4}


def test_a_cut_keeps_frame_sound_and_label_together(sets, processor):
    whole, cut = feed(sets["avss"], processor), feed(sets["avss"], processor, Augmentation(frames=(2,)))
    starts = set()
    for showing in range(12):
        part, full = cut[showing, 0], whole[showing, 0]
        fits = [
            start
            for start in range(len(full["labels"]) - 1)
            if all(torch.equal(part[name], full[name][start : start + 2]) for name in full)
        ]
        assert len(fits) == 1
        starts.add(fits[0])
    assert len(starts) > 2


@pytest.mark.parametrize("kind", ["silence", "noise_only", "off_screen"])
def test_nothing_is_to_be_marked_of_a_negative_clip(kind, sets, processor):
    clips = sets["avss"]
    found = feed(clips, processor, Augmentation(**{kind: 0.999}))[0, 0]
    own = feed(clips, processor)[0, 0]
    assert own["labels"].any() and not found["labels"].any()
    assert torch.equal(found["pixel_values"], own["pixel_values"])
    assert torch.equal(found["label_mask"], own["label_mask"])
    if kind == "silence":
        assert not found["audio_mask"].any() and not found["input_features"].any()
    elif kind == "noise_only":
        assert found["audio_mask"].all() and not torch.equal(found["input_features"], own["input_features"])


def told_classes(clips, classes: list[list[str]]):
    return with_column(clips, "classes", classes)


def sounds_of(clips, processor, length: int) -> list[torch.Tensor]:
    extractor = processor.feature_extractor
    return [sound_examples(extractor, ClipAudio.of(clips[index]), length, False)[0] for index in range(len(clips))]


def test_off_screen_takes_a_clip_with_no_class_in_common(sets, processor):
    clips = told_classes(sets["avss"], [["dog"], ["dog", "bell"], ["bell", "drum"], ["guitar"]])
    found, length = Counter(), len(clips[0]["frames"])
    sounds = sounds_of(clips, processor, length)
    negatives = feed(clips, processor, Augmentation(off_screen=0.999))
    for showing in range(30):
        features = negatives[showing, 0]["input_features"]
        found.update([index for index in range(4) if torch.equal(features, sounds[index])] or ["none"])
    assert found.keys() == {2, 3}


@pytest.mark.parametrize("classes", [[["dog"]] * 4, [[]] * 4, [[], ["dog"], ["bell"], []]])
def test_where_no_clip_is_known_to_differ_off_screen_is_silence(sets, processor, classes):
    clips = told_classes(sets["avss"], classes)
    found = feed(clips, processor, Augmentation(off_screen=0.999))[0, 0]
    assert not found["audio_mask"].any() and not found["labels"].any()


def test_mixing_wants_another_class_too(sets, processor):
    plain = feed(sets["avss"], processor)[0, 0]
    alike = feed(told_classes(sets["avss"], [["dog"]] * 4), processor, Augmentation(mix=1))[0, 0]
    assert same(plain, alike)
    apart = feed(told_classes(sets["avss"], [["dog"], ["bell"], ["bell"], ["bell"]]), processor, Augmentation(mix=1))[
        0, 0
    ]
    assert not torch.equal(plain["input_features"], apart["input_features"])
    assert torch.equal(plain["labels"], apart["labels"]) and torch.equal(plain["pixel_values"], apart["pixel_values"])


def test_the_label_maps_tell_what_sounds_in_clips_of_ones_own(sets, processor):
    clips = sets["folder"]
    classes = SoundingClasses(clips)
    names = clips.features["labels"].names
    shown = [{names[i] for i in np.unique(row["labels"])} - {"background"} for row in clips]
    assert (
        classes.told_by == LABEL_MAPS
        and [classes.of(i) for i in range(4)] == shown
        and len(set(map(frozenset, shown))) > 1
    )
    index = next(i for i in range(4) if any(shown[i].isdisjoint(other) for other in shown))
    length = len(clips[index]["frames"])
    sounds = sounds_of(clips, processor, length)
    negatives = feed(clips, processor, Augmentation(off_screen=0.999))
    heard = [negatives[showing, index]["input_features"] for showing in range(10)]
    found = {other for other in range(4) if any(torch.equal(sounds[other], features) for features in heard)}
    assert found and all(shown[index].isdisjoint(shown[other]) for other in found)
    assert not same(feed(clips, processor, Augmentation(mix=1))[0, index], feed(clips, processor)[0, index])


def test_sounds_of_other_rates_are_mixed_in_too(sets, processor):
    clips = told_classes(sets["avss"], [["dog"], ["bell"], ["bell"], ["bell"]])
    at_rate = feed(clips, processor, Augmentation(mix=1))
    wanted = at_rate[0, 0]["input_features"]

    class AtTwice:
        def __getitem__(self, index: int) -> dict:
            row = at_rate_sounds[index]
            if index == 0:
                return row
            sound = row["sound"]
            return {
                **row,
                "sound": {"waveform": sound["waveform"].repeat(2), "sampling_rate": 2 * sound["sampling_rate"]},
            }

    at_rate_sounds, at_rate.sounds = at_rate.sounds, AtTwice()
    found = at_rate[0, 0]["input_features"]
    plain = feed(clips, processor)[0, 0]["input_features"]
    assert not torch.equal(found, plain) and (found - wanted).abs().mean() < 0.2 * (wanted - plain).abs().mean()


def test_what_needs_classes_is_warned_of_where_there_are_none(sets, processor):
    for changed in ({"mix": 0.1}, {"off_screen": 0.1}):
        with pytest.warns(UserWarning, match="silence stands for off_screen.*metadata.csv into the folder that holds"):
            feed(sets["ms3"], processor, Augmentation(**changed))
    with warnings.catch_warnings(action="error"):
        feed(sets["ms3"], processor, Augmentation(noise_only=0.5))
        for setting in ("s4", "avss", "folder"):
            feed(sets[setting], processor, EVERYTHING)


def test_every_kind_of_noise_comes_up(sets, processor, monkeypatch):
    kinds = Counter()
    monkeypatch.setattr(
        training_clips, "make_noise", lambda kind, rng, seconds: kinds.update([kind]) or np.zeros(16000, np.float32)
    )
    negatives = feed(sets["s4"], processor, Augmentation(noise_only=0.999))
    for showing in range(40):
        assert not negatives._sound(0, 5, slice(0, 5), "noise_only", np.random.default_rng(showing))[1].any()
    assert kinds.keys() == set(NOISES)


def test_a_frame_is_trained_with_its_own_sound_alone(sets, processor, tmp_path):
    several = AudioVisualProcessor(processor.image_processor, CCFormerFeatureExtractor(sound_shifts=[-0.5, 0.5]))
    for cache in (None, tmp_path):
        assert same(feed(sets["avss"], several, cache=cache)[0, 0], feed(sets["avss"], processor)[0, 0])


def test_cached_sound_changes_nothing(sets, processor, tmp_path):
    changed = Augmentation(flip=0.5, scale=(0.5, 2), frames=(2, 3), silence=0.3)
    plain, cached = (feed(sets["avss"], processor, changed, cache) for cache in (None, tmp_path / "log-mel"))
    for _ in range(2):
        assert all(same(plain[showing, showing % 4], cached[showing, showing % 4]) for showing in range(8))
    assert sorted(os.listdir(tmp_path / "log-mel")) == sorted(
        f"{index:06d}-{name}.npz" for index, name in enumerate(sets["avss"]["id"])
    )


def test_the_cache_stays_in_its_folder(sets, processor, tmp_path):
    cached = feed(sets["avss"], processor, NOTHING, tmp_path / "log-mel")
    cached.ids = ["../../secret" for _ in cached.ids]
    cached[0, 0]
    assert [path.name for path in tmp_path.rglob("*.npz")] == ["000000-.._.._secret.npz"]
    assert [path.name for path in tmp_path.iterdir()] == ["log-mel"]


def test_changing_sound_is_not_cached(sets, processor, tmp_path):
    clips = feed(sets["avss"], processor, Augmentation(gain=6), tmp_path / "log-mel")
    assert not torch.equal(clips[0, 0]["input_features"], clips[1, 0]["input_features"])
    assert not (tmp_path / "log-mel").exists()


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_cached_file_that_was_cut_short_is_made_again(sets, processor, tmp_path, share):
    cached = feed(sets["avss"], processor, NOTHING, tmp_path / "log-mel")
    first = cached[0, 0]
    (file,) = (tmp_path / "log-mel").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    assert same(cached[0, 0], first)
    assert len(file.read_bytes()) == len(whole)


def test_a_full_disk_leaves_nothing_half_written_in_the_cache(sets, processor, tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left on device"):
        feed(sets["avss"], processor, NOTHING, tmp_path)[0, 0]
    assert os.listdir(tmp_path) == []


def test_a_clip_without_sound(sets, processor):
    clips = with_column(sets["avss"], "sound", [None] * 4)
    for augmentation in (NOTHING, Augmentation(gain=6, mix=1, noise=1)):
        found = feed(clips, processor, augmentation)[0, 0]
        assert not found["audio_mask"].any() and not found["input_features"].any()
        assert found["labels"].any()  # what the data says stays


def test_official_log_mel_alone(sets, processor, tmp_path):
    """Three examples for five frames: the last one stands in. There is no waveform to change."""
    import pickle

    content = torch.arange(3 * 96 * 64, dtype=torch.float32).reshape(3, 1, 96, 64)
    (tmp_path / "clip.pkl").write_bytes(pickle.dumps(content))
    clips = with_column(sets["s4"], "sound", [None] * 4)
    clips = with_column(clips, "log_mel", [str(tmp_path / "clip.pkl")] * 4)
    for augmentation in (NOTHING, Augmentation(gain=6, noise=1, shift=0.05)):
        found = feed(clips, processor, augmentation)[0, 0]
        assert torch.equal(found["input_features"], content[[0, 1, 2, 2, 2]]) and found["audio_mask"].all()


# What cannot be used


@pytest.fixture
def own(roots, tmp_path):
    """A copy of one's own clips, to break; loaded before that."""
    root = shutil.copytree(roots / "folder", tmp_path / "folder")
    return load_folder(root, "train"), sorted((root / "train").iterdir())[0]


@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
@pytest.mark.parametrize("kind", ["frames", "masks", "audio.wav"])
def test_a_broken_file_is_an_error_that_names_the_clip(own, processor, kind, damage):
    clips, folder = own
    path = folder / kind if kind == "audio.wav" else sorted((folder / kind).iterdir())[1]
    content = path.read_bytes()
    path.unlink() if damage == "missing" else path.write_bytes(
        b"" if damage == "empty" else content[: len(content) // 2]
    )
    if (kind, damage) == ("audio.wav", "cut"):  # what is there of it is heard
        assert feed(clips, processor)[0, 0]["audio_mask"].any()
        return
    with pytest.raises((OSError, ValueError), match=f"^clip {folder.name}: ") as caught:
        feed(clips, processor)[0, 0]
    # Of a frame that was cut short the clip alone is told: PIL does not name the file.
    assert path.name in str(caught.value) or (kind, damage) == ("frames", "cut")


def test_labels_of_another_size(own, processor):
    clips, folder = own
    for path in (folder / "masks").iterdir():
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(path)
    with pytest.raises(ValueError) as caught:
        feed(clips, processor)[0, 0]
    assert str(caught.value) == (
        f"clip {folder.name}: its frames are [(32, 32)] (width, height) in size, its label maps (30, 20); "
        "make them one size"
    )


def test_a_large_jpeg_is_decoded_smaller_and_seen_alike(own, processor):
    clips, folder = own
    masks = np.zeros((4 * SIZE, 6 * SIZE), np.uint8)
    masks[: 2 * SIZE] = 1  # the upper half
    for index, (path, mask) in enumerate(
        zip(*(sorted((folder / kind).iterdir()) for kind in ("frames", "masks")), strict=True)
    ):
        waves = np.sin(np.add.outer(np.arange(4 * SIZE), np.arange(6 * SIZE)) / (20 + index))
        Image.fromarray((127 + 100 * waves).astype(np.uint8)).convert("RGB").save(path, "JPEG", quality=95)
        Image.fromarray(masks).save(mask)
    small = feed(clips, processor)
    assert {frame.size for frame in small.pictures[0]["frames"]} == {(96, SIZE)}
    twice = feed(clips, processor, Augmentation(scale=(1, 2)))
    assert {frame.size for frame in twice.pictures[0]["frames"]} == {(192, 2 * SIZE)}
    whole = feed(clips, processor)
    whole.pictures = clips.select_columns(["frames", "labels", "annotated"])
    assert {frame.size for frame in whole.pictures[0]["frames"]} == {(6 * SIZE, 4 * SIZE)}
    ours, exact = small[0, 0], whole[0, 0]
    assert torch.equal(ours["labels"], exact["labels"])
    difference = (ours["pixel_values"] - exact["pixel_values"]).abs()
    assert 0 < difference.mean() < 0.02  # of about 4 from black to white


def test_a_class_id_outside_the_list(own, processor):
    clips, folder = own
    path = sorted((folder / "masks").iterdir())[0]
    Image.fromarray(np.full((32, 32), 99, np.uint8)).save(path)
    with pytest.raises(ValueError) as caught:
        feed(clips, processor)[0, 0]
    assert path.name in str(caught.value) and "holds the class id 99" in str(caught.value)


def test_a_broken_first_clip_does_not_keep_the_others_back(own, processor):
    clips, folder = own
    shutil.rmtree(folder)
    found = feed(clips, processor)
    with pytest.raises(OSError):
        found[0, 0]
    assert isinstance(found[1, 1], dict)


def test_a_clip_without_an_annotated_frame(own, processor):
    clips, _ = own
    number = len(clips[0]["annotated"])
    clips = with_column(clips, "labels", [[None] * number, *clips.with_format("arrow")[:]["labels"].to_pylist()[1:]])
    clips = with_column(clips, "annotated", [[False] * number, *list(clips["annotated"])[1:]])
    found = feed(clips, processor, EVERYTHING)[0, 0]
    assert set(found["labels"].unique().tolist()) == {255} and not found["label_mask"].any()
