import pytest

from ccformer_hf.data.yaml_files import MOST_BYTES, parse_yaml, read_yaml


def test_mappings_know_their_lines():
    values = parse_yaml("a: 1\nb:\n- {c: 2,\n   d: x}\n1: yes", "here")
    assert values == {"a": 1, "b": [{"c": 2, "d": "x"}], "1": True}
    assert (values.line, values.lines) == (1, {"a": 1, "b": 2, "1": 5})
    assert (values["b"][0].line, values["b"][0].lines) == (3, {"c": 3, "d": 4})
    assert parse_yaml("1.5", "here") == 1.5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "expected the node content"),
        ("a: {b: 1, b: 2}", "'b' is given twice.*line 1, column 11"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("&a {b: *a}", "found unconstructable recursive node"),
        (b"a: \xff", "invalid start byte"),
        ("a: 2026-06-31", "day is out of range"),
        ("[" * 9999, "maximum recursion"),
    ],
)
def test_what_is_not_yaml_is_refused_in_one_line(text, told):
    with pytest.raises(ValueError, match=f"^here: is not YAML .*{told}") as error:
        parse_yaml(text, "here")
    assert "\n" not in str(error.value)


def test_a_file_holds_names_and_values_or_nothing(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("# nothing\n")
    assert read_yaml(path) == {}
    path.write_text("- a")
    with pytest.raises(ValueError, match=r"a\.yaml: holds a list; expected lines of name: value"):
        read_yaml(path)
    path.write_text("#" * (MOST_BYTES + 1))
    with pytest.raises(ValueError, match=r"a\.yaml: has 1048577 bytes; expected YAML of at most 1048576"):
        read_yaml(path)
