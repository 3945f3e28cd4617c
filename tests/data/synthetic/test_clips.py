import csv
import hashlib
import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccformer_hf.cli import main as cli
from ccformer_hf.data.avsbench import AVSS_CLASS_NAMES, SETTINGS, avss_palette
from ccformer_hf.data.loading import load_folder
from ccformer_hf.data.synthetic import clips as synthetic
from ccformer_hf.data.synthetic.clips import CLASS_NAMES, FOLDER_KINDS, STANDARD, make_clip, write_synthetic_set
from ccformer_hf.data.synthetic.pictures import LARGEST, LOOKS, SMALLEST
from ccformer_hf.data.synthetic.sounds import TIMBRES

SHARED = Path(__file__).resolve().parents[4] / "shared"
SIZE = 64
NEW = ("train", "saw", "sheep", "frying-food")  # not in alphabetical order, which nothing may rely on


@pytest.fixture(scope="module")
def clips():
    return [make_clip(setting, seed=5, index=index, size=SIZE) for setting in SETTINGS for index in range(40)]


@pytest.fixture(scope="module", params=SETTINGS)
def written(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("sets") / request.param
    write_synthetic_set(root, request.param, clips=8, seed=2, workers=1, progress=False, size=SIZE)
    return request.param, root


def files_below(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# The clip ------------------------------------------------------------------------------------------------------------


def test_every_class_has_a_look_a_timbre_and_a_name_in_avss():
    assert sorted(LOOKS) == sorted(TIMBRES) == sorted((*STANDARD, *NEW)) and len(LOOKS) == 16
    assert set(LOOKS) <= set(AVSS_CLASS_NAMES)
    assert CLASS_NAMES == ("background", *STANDARD) and len(STANDARD) == 12


def test_shapes_types_and_ranges(clips):
    for clip in clips:
        seconds, objects = (10 if clip.label == "v2" else 5), len(clip.object_ids)
        assert clip.frames.shape == (seconds, SIZE, SIZE, 3) and clip.frames.dtype == np.uint8
        assert clip.labels.shape == (seconds, SIZE, SIZE) and clip.labels.dtype == np.uint8
        assert clip.object_masks.shape == (objects, seconds, SIZE, SIZE) and clip.object_masks.dtype == bool
        assert clip.sounding.shape == (objects, seconds)
        assert clip.waveform.shape == (seconds * 16000,) and clip.waveform.dtype == np.float32
        assert clip.object_sounds.shape == (objects, seconds * 16000) and clip.object_sounds.dtype == np.float32
        assert np.abs(clip.waveform).max() <= 1
        assert len(set(clip.object_ids.tolist())) == objects and clip.object_ids.min() >= 1
    assert len({clip.name for clip in clips}) == len(clips)


def test_settings_differ_in_objects_and_sources(clips):
    most = {"v1s": 1, "v1m": 3, "v2": 3}
    for clip in clips:
        assert 2 <= len(clip.object_ids) <= (3 if clip.label == "v1s" else 4)
        assert 1 <= clip.sounding.sum(axis=0).max() <= most[clip.label]
        assert clip.label in {"s4": ("v1s",), "ms3": ("v1m",), "avss": ("v1s", "v1m", "v2")}[clip.setting]
    assert {clip.label for clip in clips if clip.setting == "avss"} == {"v1s", "v1m", "v2"}
    assert max(clip.sounding.sum(axis=0).max() for clip in clips) == 3


def test_labels_are_the_masks_of_what_sounds(clips):
    for clip in clips:
        wanted = np.zeros_like(clip.labels)
        for class_id, masks, sounding in zip(clip.object_ids, clip.object_masks, clip.sounding, strict=True):
            wanted[masks & sounding[:, None, None]] = class_id
        np.testing.assert_array_equal(clip.labels, wanted)


def test_objects_never_share_a_pixel_and_can_always_be_seen(clips):
    for clip in clips:
        assert clip.object_masks.sum(axis=0).max() == 1
        # The slimmest silhouette fills 29 % of its bounding circle's square; 45 % of the smallest one stay visible.
        assert clip.object_masks.sum(axis=(2, 3)).min() > 0.45 * 0.25 * (SMALLEST * SIZE) ** 2
        assert clip.object_masks.sum(axis=(2, 3)).max() < (LARGEST * SIZE + 2) ** 2


def test_the_same_clip_comes_out_whatever_was_made_before():
    first = make_clip("avss", 9, 4, SIZE)
    make_clip("ms3", 1, 1, SIZE)
    again = make_clip("avss", 9, 4, SIZE)
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(again, name))
    assert not np.array_equal(make_clip("avss", 10, 4, SIZE).waveform[:80000], first.waveform[:80000])
    assert not np.array_equal(make_clip("avss", 9, 5, SIZE).frames[0], first.frames[0])


def test_frames_at_other_times_show_the_same_scene():
    clip = make_clip("ms3", 3, 0, SIZE)
    film = make_clip("ms3", 3, 0, SIZE, times=np.arange(5 * 16) / 16)
    np.testing.assert_array_equal(film.frames[15::16], clip.frames)
    np.testing.assert_array_equal(film.labels[15::16], clip.labels)
    np.testing.assert_array_equal(film.waveform, clip.waveform)
    assert not np.array_equal(film.frames[0], film.frames[8])
    with pytest.raises(ValueError, match="times go from 5.0 to 5.0 s"):
        make_clip("ms3", 3, 0, SIZE, times=[5.0])


@pytest.mark.parametrize(
    ("setting", "category", "frames", "labels", "loudness"),
    [
        ("s4", "emergency-car", "4336bf2a7027da8e", "fe8ac96600a4c182", [0, 0.0589549, 0.0318779, 0, 0.0326895]),
        (
            "ms3",
            "bell_trumpet",
            "a1855c0d83332a6e",
            "2398b729f27a64a0",
            [0.0705803, 0.0739236, 0.0800837, 0.0851583, 0.0792904],
        ),
        (
            "avss",
            "flute",
            "4fe500f4783313a6",
            "1e7378487cc1cfae",
            [0.069791, 0.0654511, 0.0757856, 0.0676861, 0.0732286],
        ),
    ],
)
def test_clips_stay_what_they_were(setting, category, frames, labels, loudness):
    """Numbers from before there were other classes; the built-in checkpoint's card rests on such clips."""
    clip = make_clip(setting, 7, 3, SIZE)
    assert clip.category == category and clip.class_names == CLASS_NAMES
    assert hashlib.sha256(clip.frames.tobytes()).hexdigest()[:16] == frames
    assert hashlib.sha256(clip.labels.tobytes()).hexdigest()[:16] == labels
    # No digest of the sound: NumPy's sine differs in the last bit from one kind of processor to the other.
    rms = np.sqrt(np.mean(clip.waveform.reshape(-1, 16000).astype(np.float64) ** 2, axis=1))
    np.testing.assert_allclose(rms, loudness, rtol=1e-4, atol=1e-9)


def test_a_clip_draws_all_its_objects_from_the_classes_asked_for(monkeypatch):
    heard = []
    make = synthetic.make_stem
    monkeypatch.setattr(synthetic, "make_stem", lambda name, *rest: heard.append(name) or make(name, *rest))
    objects = set()
    for index in range(12):
        clip = make_clip("avss", 1, index, 32, classes=NEW)
        assert clip.class_names == ("background", *NEW)
        names = [clip.class_names[number] for number in clip.object_ids]
        *visible, off_screen = heard
        assert visible == names and off_screen in NEW and len(set(heard)) == len(heard)
        assert set(clip.category.split("_")) <= set(names)
        assert set(np.unique(clip.labels)) <= {0, *clip.object_ids}
        objects.add(len(names))
        heard.clear()
    assert objects == {2, 3}
    assert len(make_clip("ms3", 0, 0, 32, classes=NEW[:3]).object_ids) == 2


def test_classes_change_what_is_drawn():
    drawn = [make_clip("ms3", 4, 0, SIZE, classes=classes) for classes in (NEW, NEW[::-1])]
    np.testing.assert_array_equal(drawn[0].object_ids, drawn[1].object_ids)
    assert not np.array_equal(drawn[0].frames, drawn[1].frames)
    assert not np.allclose(drawn[0].waveform, drawn[1].waveform)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("dog", "unicorn", "saw"), "'unicorn', which cannot be drawn; there are bell, .*, frying-food, .*, trumpet"),
        (("dog", "saw"), "classes is dog, saw; expected at least 3 different ones"),
        (("dog", "saw", "bell", "dog"), "classes is dog, saw, bell, dog; expected at least 3 different ones"),
    ],
)
def test_wrong_classes_are_refused(tmp_path, classes, message):
    with pytest.raises(ValueError, match=message):
        make_clip("ms3", 0, 0, 32, classes=classes)
    with pytest.raises(ValueError, match=message):
        write_synthetic_set(tmp_path / "set", "folder", 3, 0, workers=1, progress=False, size=32, classes=classes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("s5", 0, 0), "setting is 's5'"), (("s4", -1, 0), "seed is -1"), (("s4", 0, 0, 16), "size is 16")],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_clip(*arguments)


# Sound alone decides -------------------------------------------------------------------------------------------------


def test_another_schedule_changes_sound_and_labels_but_not_one_pixel(monkeypatch):
    clip = make_clip("ms3", 11, 0, SIZE)
    other = ~clip.sounding
    monkeypatch.setattr(synthetic, "_draw_schedule", lambda *_, **__: (other, np.zeros(5, dtype=bool)))
    swapped = make_clip("ms3", 11, 0, SIZE)
    np.testing.assert_array_equal(swapped.frames, clip.frames)
    np.testing.assert_array_equal(swapped.object_masks, clip.object_masks)
    np.testing.assert_array_equal(swapped.labels > 0, clip.object_masks.any(axis=0) & (clip.labels == 0))
    assert not np.allclose(swapped.waveform, clip.waveform)


def test_neither_order_nor_area_nor_depth_tells_who_sounds(clips):
    first, largest, topmost, all_of_them = [], [], [], []
    for clip in clips:
        frames = np.flatnonzero(clip.sounding.any(axis=0) & ~clip.sounding.all(axis=0))
        areas = clip.object_masks.sum(axis=(2, 3))
        heights = (clip.object_masks.any(axis=3)).argmax(axis=2)
        for frame in frames:
            first.append(clip.sounding[0, frame])
            largest.append(clip.sounding[areas[:, frame].argmax(), frame])
            topmost.append(clip.sounding[heights[:, frame].argmin(), frame])
            all_of_them.append(clip.sounding[:, frame].mean())
    assert len(all_of_them) > 300
    for clue in (first, largest, topmost):
        assert abs(np.mean(clue) - np.mean(all_of_them)) < 0.1


def test_silent_seconds_and_off_screen_sounds_occur_as_often_as_meant(monkeypatch):
    schedules = [synthetic._draw_schedule(np.random.default_rng(seed), 3, 10, most=3) for seed in range(300)]
    sounding, off_screen = np.stack([s for s, _ in schedules]).any(axis=1), np.stack([o for _, o in schedules])
    assert 0.09 < np.mean(~sounding & ~off_screen) < 0.13
    assert 0.04 < np.mean(~sounding & off_screen) < 0.08
    assert 0.05 < np.mean(sounding & off_screen) < 0.09
    changes = np.stack([(s[:, 1:] != s[:, :-1]).any(axis=0) for s, _ in schedules])
    assert 0.3 < changes.mean() < 0.8


def test_waveform_is_the_sum_of_the_stems_that_sound(monkeypatch):
    monkeypatch.setattr(
        synthetic, "make_background_noise", lambda rng, seconds: np.zeros(seconds * 16000, dtype=np.float32)
    )
    checked = 0
    for index in range(6):
        clip = make_clip("ms3", 21, index, SIZE)
        playing = np.repeat(clip.sounding, 16000, axis=1)
        rest = (clip.waveform - (clip.object_sounds * playing).sum(axis=0)).reshape(5, 16000)
        checked += (np.abs(rest).max(axis=1) < 1e-5).sum()  # the others hold a sound from off screen
    assert 20 <= checked < 30


def test_silent_second_holds_nothing_but_faint_noise(clips):
    levels = []
    for clip in clips:
        stems = clip.object_sounds.reshape(len(clip.object_ids), -1, 16000)
        loudness = np.sqrt((stems**2).mean(axis=2)).mean()
        for sound in clip.waveform.reshape(-1, 16000)[~clip.sounding.any(axis=0)]:
            levels.append(np.sqrt((sound**2).mean()) / loudness)
    levels = np.array(levels)
    assert (levels == 0).any(), "digital silence"
    assert ((levels > 0) & (levels < 0.2)).any(), "noise"
    assert (levels > 0.3).any(), "off screen"


# The folder ----------------------------------------------------------------------------------------------------------


def test_folder_has_the_official_layout(written):
    setting, root = written
    made = [make_clip(setting, 2, index, SIZE) for index in range(8)]
    splits = ["train"] * 6 + ["val", "test"]
    wanted = set()
    for clip, split in zip(made, splits, strict=True):
        name, seconds = clip.name, len(clip.frames)
        marked = 1 if split == "train" and clip.label == "v1s" else seconds
        if setting == "s4":
            wanted |= {
                "Single-source/s4_meta_data.csv",
                f"Single-source/s4_data/audio_wav/{split}/{clip.category}/{name}.wav",
            }
            for kind, count in (("visual_frames", seconds), ("gt_masks", marked)):
                place = f"Single-source/s4_data/{kind}/{split}/{clip.category}/{name}/{name}"
                wanted |= {f"{place}_{number}.png" for number in range(1, count + 1)}
        elif setting == "ms3":
            wanted |= {"Multi-sources/ms3_meta_data.csv", f"Multi-sources/ms3_data/audio_wav/{split}/{name}.wav"}
            for number in range(1, 6):
                wanted.add(f"Multi-sources/ms3_data/visual_frames/{name}/{name}.mp4_{number}.png")
                wanted.add(f"Multi-sources/ms3_data/gt_masks/{split}/{name}/{name}_{number}.png")
        else:
            place = f"{clip.label}/{name}_0_{seconds}000"
            wanted |= {"metadata.csv", "label2idx.json", f"{place}/audio.wav"}
            wanted |= {f"{place}/frames/{number}.jpg" for number in range(seconds)}
            wanted |= {
                f"{place}/{kind}/{number}.png"
                for kind in ("labels_rgb", "labels_semantic")
                for number in range(marked)
            }
    assert set(files_below(root)) == wanted
    assert [path.name for path in root.parent.iterdir()] == [root.name], "nothing left beside the set"


def test_tables_have_the_official_columns(written):
    setting, root = written
    table = {"s4": "Single-source/s4_meta_data.csv", "ms3": "Multi-sources/ms3_meta_data.csv", "avss": "metadata.csv"}[
        setting
    ]
    header, *rows = list(csv.reader(open(root / table, newline="")))
    first = make_clip(setting, 2, 0, SIZE)
    uid = f"{first.name}_0_{len(first.frames)}000"
    expected = {
        "s4": (["name", "start", "category", "split"], [first.name, "0", first.category, "train"]),
        "ms3": (["video_id", "split"], [first.name, "train"]),
        "avss": (
            ["vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"],
            [first.name, uid, "0", "0", first.category, "train", first.label],
        ),
    }[setting]
    assert (header, rows[0]) == expected
    assert [row[header.index("split")] for row in rows] == ["train"] * 6 + ["val", "test"]
    official = SHARED / "avsbench_metadata" / Path(table).name
    if official.exists():
        assert header == next(csv.reader(open(official, newline="")))


def test_written_pictures_masks_and_sound_are_those_of_the_clip(written):
    setting, root = written
    clip = make_clip(setting, 2, 7, SIZE)  # of the test split: all masks are there
    first = {
        "s4": f"Single-source/s4_data/{{}}/test/{clip.category}/{clip.name}/{clip.name}_1.png",
        "ms3": f"Multi-sources/ms3_data/{{}}/{clip.name}/{clip.name}{{}}_1.png",
        "avss": f"{clip.label}/{clip.name}_0_{len(clip.frames)}000/{{}}/0",
    }[setting]
    if setting == "avss":
        ids = np.array(Image.open(root / (first.format("labels_semantic") + ".png")))
        names = [AVSS_CLASS_NAMES[i] for i in ids.ravel()]
        assert names == [CLASS_NAMES[i] for i in clip.labels[0].ravel()]
        rgb = np.array(Image.open(root / (first.format("labels_rgb") + ".png")))
        np.testing.assert_array_equal(rgb, avss_palette()[ids])
        frame = np.array(Image.open(root / (first.format("frames") + ".jpg")))
        assert np.abs(frame.astype(int) - clip.frames[0]).mean() < 6
        sound = root / clip.label / f"{clip.name}_0_{len(clip.frames)}000" / "audio.wav"
    else:
        mask_path = first.format("gt_masks") if setting == "s4" else first.format("gt_masks/test", "")
        frame_path = first.format("visual_frames") if setting == "s4" else first.format("visual_frames", ".mp4")
        mask = Image.open(root / mask_path)
        assert mask.mode == "L"
        np.testing.assert_array_equal(np.array(mask), np.where(clip.labels[0] > 0, 255, 0))
        np.testing.assert_array_equal(np.array(Image.open(root / frame_path)), clip.frames[0])
        sound = next(root.rglob(f"{clip.name}.wav"))
    with wave.open(str(sound)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    np.testing.assert_allclose(samples / 32767, clip.waveform, atol=1 / 32767)


def test_two_processes_write_the_same_bytes_as_one(tmp_path):
    for workers in (1, 2):
        write_synthetic_set(
            tmp_path / str(workers), "avss", clips=6, seed=2, workers=workers, progress=False, size=SIZE
        )
    assert files_below(tmp_path / "1") == files_below(tmp_path / "2")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets") / "folder"
    arguments = ["--clips", "8", "--seed", "2", "--size", str(SIZE), "--workers", "1", "--classes", ",".join(NEW)]
    assert cli.main(["data", "make", str(root), "--setting", "folder", *arguments]) == 0
    return root, [make_clip(FOLDER_KINDS[i % 6], 2, i, SIZE, classes=NEW) for i in range(8)]


def test_own_folder_has_the_layout_of_the_users_own_clips(own):
    root, made = own
    splits = ["train"] * 6 + ["validation", "test"]
    wanted = {"classes.txt"}
    for clip, split in zip(made, splits, strict=True):
        wanted.add(f"{split}/{clip.name}/audio.wav")
        for number in range(len(clip.frames)):
            wanted |= {f"{split}/{clip.name}/frames/00000{number}.jpg", f"{split}/{clip.name}/masks/00000{number}.png"}
    assert set(files_below(root)) == wanted
    assert (root / "classes.txt").read_text() == "train\nsaw\nsheep\nfrying-food\n"
    assert [clip.setting for clip in made] == ["avss", "ms3", "avss", "s4", "avss", "ms3", "avss", "ms3"]


def test_own_folder_loads_as_the_clips_it_was_made_of(own):
    root, made = own
    loaded = load_folder(root)
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 6, "validation": 1, "test": 1}
    rows = {row["id"]: row for split in loaded.values() for row in split}
    assert set(rows) == {clip.name for clip in made}
    for clip in made:
        row = rows[clip.name]
        np.testing.assert_array_equal(row["labels"], clip.labels)
        assert row["annotated"] == [True] * len(clip.frames)
        assert np.abs(np.stack(row["frames"]).astype(int) - clip.frames).mean() < 5
        assert row["sound"]["sampling_rate"] == 16000
        np.testing.assert_allclose(row["sound"]["waveform"], clip.waveform, atol=1e-4)
    ids = set(np.concatenate([np.unique(clip.labels) for clip in made]).tolist())
    assert ids == {0, 1, 2, 3, 4}, "every class sounds in these clips"


def test_own_folder_holds_the_standard_classes_unless_others_are_named(tmp_path):
    write_synthetic_set(tmp_path / "set", "folder", 3, 0, workers=1, progress=False, size=32)
    assert (tmp_path / "set" / "classes.txt").read_text().split() == list(STANDARD)
    row = load_folder(tmp_path / "set", "test")[0]
    np.testing.assert_array_equal(row["labels"], make_clip("avss", 0, 2, 32).labels)


def test_a_wrong_class_on_the_command_line_is_one_line(tmp_path, capsys):
    command = [
        "data",
        "make",
        str(tmp_path / "set"),
        "--setting",
        "folder",
        "--clips",
        "3",
        "--classes",
        "dog,cow,saw",
    ]
    assert cli.main(command) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "'cow', which cannot be drawn; there are bell, bird, " in told
    assert list(tmp_path.iterdir()) == []


def test_palette_follows_the_voc_rule():
    palette = avss_palette()
    by_hand = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 7: (128, 128, 128), 8: (64, 0, 0)}
    # 70 = 64 + 4 + 2: bit 6 is the third of red, bits 2 and 1 the first of blue and green.
    by_hand[70] = (32, 128, 128)
    assert {number: tuple(palette[number].tolist()) for number in by_hand} == by_hand
    assert len({tuple(colour) for colour in palette[:71].tolist()}) == 71
    assert len(AVSS_CLASS_NAMES) == 71 and AVSS_CLASS_NAMES[70] == "woman"


def test_names_and_palette_are_those_of_the_real_set():
    sample = SHARED / "avsbench_sample" / "AVSS" / "v2" / "hen_sample" / "labels_semantic" / "0.png"
    if not sample.exists():
        pytest.skip("the real set's metadata is not here")
    ids = json.loads((SHARED / "avsbench_metadata" / "label2idx.json").read_text())
    assert list(ids.items()) == [(name, number) for number, name in enumerate(AVSS_CLASS_NAMES)]
    real = np.array(Image.open(sample).getpalette()).reshape(-1, 3)[:71]
    np.testing.assert_array_equal(real, avss_palette()[: len(real)])


def test_a_folder_in_use_is_refused_and_an_empty_one_taken(tmp_path):
    used, empty = tmp_path / "used", tmp_path / "empty"
    used.mkdir()
    (used / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="used exists already and is not an empty folder; name a new folder"):
        write_synthetic_set(used, "ms3", 3, 0, workers=1, progress=False, size=32)
    assert (used / "mine.txt").read_text() == "keep"
    empty.mkdir()
    write_synthetic_set(empty, "ms3", 3, 0, workers=1, progress=False, size=32)
    splits = [row[1] for row in csv.reader(open(empty / "Multi-sources" / "ms3_meta_data.csv"))][1:]
    assert splits == ["train", "val", "test"]
    shutil.rmtree(empty)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file: cannot be written to .*; name another folder for the output"):
        write_synthetic_set(tmp_path / "file" / "set", "ms3", 3, 0, workers=1, progress=False, size=32)


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail_late(setting, seed, index, size, classes):
        if index == 2:
            raise OSError("disk full")
        return make_clip(setting, seed, index, size, classes=classes)

    monkeypatch.setattr(synthetic, "make_clip", fail_late)
    with pytest.raises(OSError, match="disk full"):
        write_synthetic_set(tmp_path / "set", "s4", 3, 0, workers=1, progress=False, size=32)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"setting": "S4"}, "setting is 'S4'"),
        ({"clips": 2}, "clips is 2"),
        ({"workers": 0}, "workers is 0"),
        ({"classes": NEW}, "classes are given for s4, which has its own; leave them out"),
    ],
)
def test_bad_requests_are_refused(tmp_path, changes, message):
    arguments = {"setting": "s4", "clips": 3, "seed": 0, "workers": 1} | changes
    with pytest.raises(ValueError, match=message):
        write_synthetic_set(tmp_path / "set", **arguments)
    assert list(tmp_path.iterdir()) == []
