import argparse

import pytest

from ccformer_hf.cli import arguments
from ccformer_hf.cli.arguments import at_least, needs_extra, rate, rate_or_all, share, tell, tell_error


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (rate, "0.5", 0.5),
        (rate, "1000", 1000),
        (rate_or_all, "all", "all"),
        (rate_or_all, "30", 30),
        (share, "0", 0),
        (share, "1", 1),
        (at_least(2), "2", 2),
        (at_least(-3), "-3.0", -3),
    ],
)
def test_what_can_be_used_is_a_number(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (rate, "0", "0: expected a number greater than 0, and at most 1000"),
        (rate, "1001", "1001: expected a number greater than 0"),
        (rate_or_all, "most", "'most': expected a number"),
        (share, "1.01", "1.01: expected a number from 0 to 1"),
        (share, "nan", "nan: expected a finite number"),
        (at_least(2), "1", "1: expected a whole number, at least 2"),
        (at_least(2), "2.5", "2.5: expected a whole number, at least 2"),
        (at_least(2), "inf", "inf: expected a finite number"),
    ],
)
def test_what_cannot_is_told_with_what_is_expected(kind, text, told):
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{told}"):
        kind(text)


def test_missing_modules_are_named_with_their_extra(monkeypatch):
    needs_extra("train", "ccformer train", "os", "json")
    monkeypatch.setattr(arguments, "find_spec", lambda name: None if name == "onnx" else name)
    with pytest.raises(ValueError, match=r'^`ccformer x` needs onnx: pip install "ccformer-hf\[onnx\]"$'):
        needs_extra("onnx", "ccformer x", "onnx", "torch")


def test_an_error_is_one_printable_line(capsys):
    assert tell_error(ValueError("a\n  \x1b[31mb")) == 2 and tell_error(ValueError("c"), 1) == 1
    tell("warning", "d")
    assert capsys.readouterr().err == "ccformer: error: a \\x1b[31mb\nccformer: error: c\nccformer: warning: d\n"
