from pathlib import Path

from ccformer_hf.data.listing import entries, file_name_of, natural_key, natural_order


def test_numbers_in_names_are_ordered_as_numbers():
    names = [
        "1.jpg",
        "2.jpg",
        "10.jpg",
        "a.jpg",
        "a1b2.jpg",
        "a1b10.jpg",
        "a2b1.jpg",
        "a (2).png",
        "a (10).png",
        "clip.9",
        "clip.10",
    ]
    wanted = sorted(names, key=names.index)
    found = [path.name for path in natural_order(map(Path, sorted(names)))]
    for group in (wanted[:3], wanted[4:7], wanted[7:9], wanted[9:]):
        assert [name for name in found if name in group] == group


def test_zeros_do_not_matter_to_the_key_but_to_the_order():
    assert natural_key("f007") == natural_key("f7") != natural_key("f70")
    paths = [Path("7.jpg"), Path("07.jpg")]
    assert natural_order(paths) == natural_order(paths[::-1])


def test_leftovers_are_no_entries(tmp_path):
    for name in ("b10", "b9", ".DS_Store", "._b9", "Thumbs.db", "desktop.ini", "Desktop.ini"):
        (tmp_path / name).touch()
    (tmp_path / "__MACOSX").mkdir()
    assert [path.name for path in entries(tmp_path)] == ["b9", "b10"]
    assert entries(tmp_path / "nowhere") == entries(tmp_path / "b9") == []


def test_no_id_leads_a_file_elsewhere():
    assert file_name_of("-0BIyqJj9ZU_100.5 (2)") == "-0BIyqJj9ZU_100.5 (2)"
    assert file_name_of("../../a\\b:c\0\n") == ".._.._a_b_c__"
    assert len(file_name_of("\N{VIOLIN}" * 300).encode()) == 200
