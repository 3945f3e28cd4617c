import sys
from types import SimpleNamespace

import pytest

from ccformer_hf.cli import arguments
from ccformer_hf.cli.main import main


@pytest.fixture
def launched(monkeypatch) -> list:
    """What the page was started with; no page is."""
    calls = []
    monkeypatch.setitem(
        sys.modules, "ccformer_hf.demo.app", SimpleNamespace(launch=lambda *given: calls.append(given))
    )
    monkeypatch.setattr(arguments, "find_spec", lambda name: object())
    return calls


def test_arguments_reach_the_page(launched):
    assert main(["demo"]) == 0
    assert main(["demo", "--model", "me/mine", "--host", "0.0.0.0", "--port", "8000"]) == 0
    assert launched == [(None, None, None), ("me/mine", "0.0.0.0", 8000)]


def test_without_gradio_it_says_how_to_get_it(launched, monkeypatch, capsys):
    monkeypatch.setattr(arguments, "find_spec", lambda name: None)
    assert main(["demo"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == 'ccformer: error: `ccformer demo` needs gradio: pip install "ccformer-hf[demo]"'
    assert launched == []
