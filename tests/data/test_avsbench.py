import csv
import os
import re
from pathlib import Path

import pytest

from ccformer_hf.data.avsbench import (
    AVSS_CLASS_NAMES,
    OFFICIAL_COUNTS,
    SETTINGS,
    SPLITS,
    TABLES,
    avss_palette,
    class_names,
    find_settings,
    list_clips,
)
from ccformer_hf.data.loading import clips_and_class_names
from ccformer_hf.data.synthetic.clips import write_synthetic_set
from ccformer_hf.evaluation.robustness import choose_off_screen

METADATA = Path(__file__).resolve().parents[3] / "shared" / "avsbench_metadata"


@pytest.fixture(scope="module", params=SETTINGS)
def written(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("official") / request.param
    write_synthetic_set(root, request.param, clips=8, seed=3, workers=1, progress=False, size=32)
    return request.param, root


def rewrite(path: Path, change) -> None:
    rows = list(csv.reader(path.open(newline="")))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(change(rows))


def a_table(root: Path, setting: str, *rows: tuple[str, ...]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with (root / TABLES[setting]).open("w", newline="") as file:
        csv.writer(file).writerows([["header"] * len(rows[0]), *rows])
    return root


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_whole_set_is_listed_in_the_order_of_its_table(written):
    setting, root = written
    folder = find_settings(root)[setting]
    clips = list_clips(setting, folder)
    with open(folder / TABLES[setting], newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert [clip.id for clip in clips] == [row[1 if setting == "avss" else 0] for row in rows]
    assert {clip.split for clip in clips} == set(SPLITS)
    for clip in clips:
        assert clip.missing == () and clip.setting == setting
        assert len(clip.frames) == len(clip.labels) and len(clip.frames) in (5, 10)
        assert all(os.path.isfile(path) for path in [*clip.frames, *filter(None, clip.labels), clip.sound])


def test_only_the_first_frame_of_training_clips_with_one_source_is_annotated(written):
    setting, root = written
    clips = list_clips(setting, find_settings(root)[setting])
    for clip in clips:
        annotated = [path is not None for path in clip.labels]
        single = setting == "s4" or "v1s" in Path(clip.frames[0]).parts
        if single and clip.split == "train":
            assert annotated == [True] + [False] * (len(annotated) - 1)
        else:
            assert all(annotated)


@pytest.mark.parametrize("place", ["", "AVSBench"])
def test_a_table_is_found_in_the_root_or_one_folder_below(tmp_path, place):
    a_table(tmp_path / place, "ms3", ("a", "train"))
    assert find_settings(tmp_path) == {"ms3": tmp_path / place}


def test_a_wrong_root_says_what_is_wanted(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no s4_meta_data.csv.*Single-source/"):
        find_settings(tmp_path)
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        find_settings(tmp_path / "nowhere")
    (tmp_path / "classes.txt").touch()
    with pytest.raises(FileNotFoundError, match="as a folder of your own clips, whose setting is 'folder'"):
        find_settings(tmp_path)


def test_what_is_missing_is_named(tmp_path):
    root = write_synthetic_set(tmp_path / "set", "s4", clips=3, seed=0, workers=1, progress=False, size=32)
    clip = list_clips("s4", root / "Single-source")[2]
    os.remove(clip.labels[3])
    os.remove(clip.sound)
    again = list_clips("s4", root / "Single-source")
    assert [len(other.missing) for other in again] == [0, 0, 2]
    place = f"test/{clip.classes[0]}/{clip.id}"
    assert again[2].missing == (
        f"s4_data/gt_masks/{place}/{clip.id}_4.png",
        f"s4_data/audio_wav/{place}.wav",
    )


def test_four_frames_are_enough_for_a_clip_that_starts_at_second_six(tmp_path):
    root = a_table(tmp_path, "s4", ("late", "6", "dog_barking", "test"), ("early", "5", "dog_barking", "test"))
    for name in ("late", "early"):
        for kind in ("visual_frames", "gt_masks"):
            touch(*(root / f"s4_data/{kind}/test/dog_barking/{name}/{name}_{n}.png" for n in (1, 2, 3, 4)))
        touch(root / f"s4_data/audio_wav/test/dog_barking/{name}.wav")
    late, early = list_clips("s4", root)
    assert late.missing == () and len(late.frames) == len(late.labels) == 4
    assert [Path(name).name for name in early.missing] == ["early_5.png"]


def test_the_official_log_mel_file_stands_in_for_the_wav(tmp_path):
    root = a_table(tmp_path, "ms3", ("-a", "val"))
    touch(*(root / f"ms3_data/visual_frames/-a/-a.mp4_{n}.png" for n in range(1, 6)))
    touch(*(root / f"ms3_data/gt_masks/val/-a/-a_{n}.png" for n in range(1, 6)))
    assert list_clips("ms3", root)[0].missing == ("ms3_data/audio_wav/val/-a.wav",)
    touch(root / "ms3_data/audio_log_mel/val/-a.pkl")
    (clip,) = list_clips("ms3", root)
    assert clip.missing == () and clip.sound is None and clip.split == "validation"
    assert clip.log_mel.endswith("audio_log_mel/val/-a.pkl")


def test_names_of_what_sounds_are_cleaned(tmp_path):
    def row(text):
        return (text, text, "0", "0", text, "test", "v2")

    texts = ("dog_emergency-car", "off-the-screen", "background", "h orse", "man_off-the-screen")
    clips = list_clips("avss", a_table(tmp_path, "avss", *map(row, texts)))
    assert [clip.classes for clip in clips] == [("dog", "emergency-car"), (), (), ("horse",), ("man",)]
    with pytest.raises(ValueError, match="row 2 names the class 'unicorn'"):
        list_clips("avss", a_table(tmp_path, "avss", row("unicorn")))


@pytest.mark.parametrize(
    "row, text",
    [
        (("a",), "row 2 has 1 columns; expected 2: video_id, split"),
        (("a", "dev"), "row 2 has the split 'dev'; expected train, val or test"),
    ],
)
def test_a_broken_table_is_refused(tmp_path, row, text):
    with pytest.raises(ValueError, match=text):
        list_clips("ms3", a_table(tmp_path, "ms3", row))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", ".", "", "a/b", "a\\b"])
@pytest.mark.parametrize(
    "setting, column, row",
    [
        ("s4", "name", ("NAME", "0", "dog", "train")),
        ("s4", "category", ("a", "0", "NAME", "train")),
        ("ms3", "video_id", ("NAME", "train")),
        ("avss", "uid", ("a", "NAME", "0", "5", "dog", "train", "v1s")),
    ],
)
def test_no_name_in_a_table_leads_out_of_the_data_set(tmp_path, name, setting, column, row):
    table = a_table(tmp_path, setting, tuple(name if text == "NAME" else text for text in row))
    with pytest.raises(ValueError, match=re.escape(f"row 2 has the {column} {name!r}; expected the name of a file")):
        list_clips(setting, table)


def test_what_is_not_a_table_is_refused_by_name(tmp_path):
    table = a_table(tmp_path, "ms3", ("a" * 140_000, "train"))  # csv reads no field so long
    with pytest.raises(ValueError, match=r"ms3_meta_data.csv, line 2: is not CSV \(field larger"):
        list_clips("ms3", table)
    (table / TABLES["ms3"]).write_bytes(b"video_id,split\n\xff,train\n")
    with pytest.raises(ValueError, match="ms3_meta_data.csv: is not text in UTF-8"):
        list_clips("ms3", table)


@pytest.mark.parametrize("setting", ["s4", "ms3", "avss"])
@pytest.mark.parametrize("content", ["", "some,header\n"])
def test_a_table_that_names_no_clip_is_refused(tmp_path, setting, content):
    (tmp_path / TABLES[setting]).write_text(content)
    with pytest.raises(ValueError, match=f"{TABLES[setting]}: names no clip below its header; take the official"):
        list_clips(setting, tmp_path)


def test_a_clip_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has the clip a twice"):
        list_clips("ms3", a_table(tmp_path, "ms3", ("a", "train"), ("a", "test")))


def test_class_names_and_colours():
    assert class_names("s4") == class_names("ms3") == ("background", "sounding")
    assert len(class_names("avss")) == len(set(AVSS_CLASS_NAMES)) == 71
    assert AVSS_CLASS_NAMES[36] == "hen" and AVSS_CLASS_NAMES[70] == "woman"
    # By hand: 36 = 0b100100, its bits 2 and 5 are blue's bits 7 and 6.
    assert avss_palette()[[0, 1, 2, 4, 8, 36]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [0, 0, 128],
        [64, 0, 0],
        [0, 0, 192],
    ]


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_real_tables_have_the_official_counts(setting, tmp_path):
    if not METADATA.is_dir():
        pytest.skip("the real AVSBench tables are not beside the repository")
    clips = list_clips(setting, METADATA)
    assert tuple(sum(clip.split == split for clip in clips) for split in SPLITS) == OFFICIAL_COUNTS[setting]
    assert all(clip.missing for clip in clips)  # the tables come without pictures
    if setting == "s4":
        assert len({clip.classes for clip in clips}) == 23
    if setting == "avss":
        assert sum(not clip.classes for clip in clips) == 32  # 27 off the screen, 5 background
        assert {name for clip in clips for name in clip.classes} <= set(AVSS_CLASS_NAMES)
        assert sum(clip.id.startswith("-") for clip in clips) > 0


def ms3_and_avss(root: Path) -> Path:
    """Tables of four clips of ms3, and of avss, where they are called v1m; no files."""
    a_table(root / "Multi-sources", "ms3", ("a", "test"), ("b", "test"), ("c", "test"), ("d", "val"))
    rows = {"a": "dog_cat", "b": "background", "c": "man_off-the-screen", "e": "piano"}
    a_table(root, "avss", *(((name, name, "0", "0", classes, "test", "v1m") for name, classes in rows.items())))
    return root


def test_the_table_of_avss_tells_what_sounds_in_ms3(tmp_path):
    root = ms3_and_avss(tmp_path)
    clips, names = clips_and_class_names("ms3", root)
    assert [clip.classes for clip in clips] == [("dog", "cat"), (), ("man",), ()] and names[1] == "sounding"
    (root / TABLES["avss"]).unlink()
    assert {clip.classes for clip in clips_and_class_names("ms3", root)[0]} == {()}


def test_the_real_table_tells_what_sounds_in_nearly_every_clip_of_ms3():
    if not METADATA.is_dir():
        pytest.skip("the real tables are not here")
    clips = list_clips("ms3", METADATA, METADATA)
    assert sum(not clip.classes for clip in clips) <= 5 and len({name for clip in clips for name in clip.classes}) > 15
    test = [clip for clip in clips if clip.split == "test"]
    chosen = choose_off_screen([clip.id for clip in test], [clip.classes for clip in test])
    for clip, choice in zip(test, chosen, strict=True):
        assert set(clip.classes).isdisjoint(test[choice.index].classes)


def test_leftovers_of_systems_change_nothing(tmp_path):
    write_synthetic_set(tmp_path, "avss", clips=3, seed=3, workers=1, progress=False, size=32)
    clips = list_clips("avss", tmp_path)
    semantic = Path(clips[0].labels[0]).parent
    for path in list(semantic.iterdir()):
        path.unlink()
    (semantic / ".DS_Store").touch()  # now the folder is as good as empty
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / TABLES["ms3"]).touch()
    assert Path(list_clips("avss", tmp_path)[0].labels[0]).parent.name == "labels_rgb"
    assert list(find_settings(tmp_path)) == ["avss"]
