import pytest
from made_sources import write_sources, write_yaml

from ccformer_hf.data.composing.sources import SHARES, read_sources


def read(tmp_path, text):
    (tmp_path / "here").mkdir(exist_ok=True)
    (tmp_path / "sources.yaml").write_text(text)
    return read_sources(tmp_path / "sources.yaml")


def source(tmp_path, **entry):
    (tmp_path / "here").mkdir(exist_ok=True)
    entry = {"format": "folders", "path": "here", **entry}
    return read_sources(write_yaml(tmp_path / "s.yaml", {"classes": ["cat", "dog"], "sounds": [entry]})).sounds[0]


def test_a_sources_file_is_read(tmp_path):
    sources = read_sources(
        write_sources(tmp_path, never_together=[{"sound": "cat", "photographs_of": ["background"]}])
    )
    assert sources.class_names == ("background", "bell", "cat", "dog") and sources.size == 64 and sources.seconds == 3
    assert [entry.format for entry in sources.pictures[:2]] == ["cutouts", "folder"]
    assert sources.sounds[0].names == {"other": ("rain",)} and sources.backgrounds[0].splits == ("train",)
    assert sources.rules[0].sounds == {"cat"} and sources.rules[0].photographs_of == {"background"}


def test_who_holds_what(tmp_path):
    sources = read_sources(write_sources(tmp_path, held_by={"dog": ["bell", "cat"]}))
    assert sources.holders == {"bell": "dog", "cat": "dog"}
    assert read_sources(write_sources(tmp_path)).holders == {}


def test_how_many_distractors_there_are_at_most(tmp_path):
    assert read_sources(write_sources(tmp_path, distractors=3)).distractors == 3
    assert read_sources(write_sources(tmp_path)).distractors == 0


def test_what_is_oftener_off_screen(tmp_path):
    assert read_sources(write_sources(tmp_path, off_screen={"dog": 15})).off_screen == {"dog": 15}
    assert read_sources(write_sources(tmp_path)).off_screen == {}


def test_classes_may_lie_in_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("background\ncat\n\ndog\n")
    assert read(tmp_path, "classes: names.txt").classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "classes: [cat]\npicures: []",
            "line 2: a sources file has no 'picures' (did you mean 'pictures'?); expected",
        ),
        ("classes: [cat, cat]", "line 1: classes is ('cat', 'cat'); expected 1 to 254 different names"),
        ("classes: [cat, other]", "none of them background, other or bed"),
        ("size: 64", "line 1: classes is None; expected a text or a list"),
        ("classes: [yes, cat]", "(quote yes, no and numbers)"),
        ("classes: [cat]\nclasses: [dog]", "'classes' is given twice"),
        (
            "classes: [cat]\nsounds:\n- {path: here, format: wav}",
            "line 3: format is 'wav'; expected one of csv, esc50",
        ),
        ("classes: [cat]\nsounds:\n- {format: folders}", "line 3: has no path"),
        ("classes: [cat]\nsounds:\n- {format: folders, path: here, split: trian}", "line 3: split is 'trian'"),
        (
            "classes: [cat]\nsounds:\n- format: folders\n  path: here\n  map: {cta: meow}",
            "line 5: map has no class 'cta' (did you mean 'cat'?); expected one of `classes`",
        ),
        (
            "classes: [cat]\nsounds:\n- {format: folders, path: here, map: [cat]}",
            "map is ['cat']; expected {our class",
        ),
        ("classes: [cat]\nsize: big", "line 2: size is 'big'; expected a whole number from 32 to 2048"),
        ("classes: [cat]\nclips: {train: -1}", "train is -1; expected a whole number from 0"),
        ("classes: [cat]\nnever_together:\n- {sound: cow, in_view: [cat]}", "line 3: sound is 'cow'"),
        ("classes: [cat]\nnever_together:\n- {sound: cat}", "line 3: expected {sound: CLASS, photographs_of"),
        ("classes: [cat]\nheld_by: {man: [cat]}", "line 2: held_by names 'man'; expected one of `classes`"),
        ("classes: [cat]\nheld_by: {cat: [cow]}", "line 2: held_by names 'cow'; expected one of `classes`"),
        ("classes: [cat]\nheld_by: {cat: cat}", "cat is held by itself; expected {who holds: [what is held, ...]}"),
        ("classes: [a, b, c]\nheld_by: {a: c, b: c}", "c is held by a already; expected {who holds"),
        ("classes: [cat]\nheld_by: cat", "line 2: held_by is 'cat'; expected {who holds: [what is held, ...]}"),
        (
            "classes: [cat]\noff_screen: {cow: 2}",
            "line 2: off_screen has 'cow'; expected one of `classes`",
        ),
        ("classes: [cat]\ndistractors: 9", "line 2: distractors is 9; expected a whole number from 0 to 8"),
        ("classes: [cat]\noff_screen: {cat: 0.5}", "line 2: cat is 0.5; expected a whole number from 1 to 1000"),
        ("classes: [cat]\noff_screen: cat", "off_screen is 'cat'; expected {class: how many times as often, ...}"),
        ("classes: [cat]\nsounds: cat", "sounds is 'cat'; expected a list"),
        ("- cat", "expected lines of name: value"),
        ("classes: [cat", "is not YAML"),
    ],
)
def test_a_fault_is_told_with_its_line_and_cure(tmp_path, text, told):
    with pytest.raises(ValueError, match="sources.yaml") as error:
        read(tmp_path, text)
    assert told in " ".join(str(error.value).split())


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="line 3: .*nowhere is not there; copy it there"):
        read(tmp_path, "classes: [cat]\nsounds:\n- {format: folders, path: nowhere}")
    with pytest.raises(FileNotFoundError, match="there is no such sources file"):
        read_sources(tmp_path / "no.yaml")


def test_a_huge_file_is_not_read(tmp_path):
    (tmp_path / "sources.yaml").write_text("#" * (1 << 20) + "\n")
    with pytest.raises(ValueError, match="expected YAML of at most"):
        read_sources(tmp_path / "sources.yaml")


def test_names_become_classes_by_the_map_and_else_by_themselves(tmp_path):
    entry = source(tmp_path, map={"dog": ["bark*", "howl"], "other": "rain"})
    assert [entry.class_of(name) for name in ("barking", "howl", "rain", "cat", "dog", "snow")] == [
        "dog",
        "dog",
        "other",
        "cat",
        "dog",
        None,
    ]


def test_a_name_that_the_source_does_not_know(tmp_path):
    entry = source(tmp_path, map={"dog": ["barknig"]})
    with pytest.raises(ValueError, match="line 5: map says dog: barknig, but .* knows no such name; near are barking"):
        entry.check_names(["barking", "meow"])


def test_files_outside_the_root_are_refused(tmp_path):
    entry = source(tmp_path)
    assert entry.inside("a/b.wav") == tmp_path / "here" / "a" / "b.wav"
    for name in ("../b.wav", "/etc/passwd", "a/../../b.wav", ""):
        with pytest.raises(ValueError, match="expected a file below"):
            entry.inside(name)


def test_splits_are_shared_out_by_name(tmp_path):
    names = [f"{number}.wav" for number in range(2000)]
    entry, shared = source(tmp_path), source(tmp_path, split=["validation", "test", "test"])
    drawn = [entry.split_of(name) for name in names]
    for split, share in SHARES.items():
        assert abs(drawn.count(split) / len(names) - share) < 0.03
    assert drawn[:9] == [entry.split_of(name) for name in names[:9]]
    drawn = [shared.split_of(name) for name in names]
    assert 1250 < drawn.count("test") < 1420 and "train" not in drawn
    assert source(tmp_path).split_of("1.wav", "test") == "test", "the source's own split"
    assert source(tmp_path, split="train").split_of("1.wav", "test") == "train", (
        "what the sources file says goes first"
    )
