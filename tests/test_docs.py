"""The site that mkdocs makes of docs/ and of the pages outside it."""

import re
from html import unescape
from pathlib import Path

import pytest

import ccformer_hf

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_on_the_page_of_names():
    told = re.findall(r"^::: ccformer_hf\.([\w.]+)\.(\w+)$", (ROOT / "docs" / "python.md").read_text(), re.MULTILINE)
    assert sorted(name for _, name in told) == sorted(set(ccformer_hf.__all__) - {"__version__"})
    assert all(getattr(ccformer_hf, name).__module__.startswith(f"ccformer_hf.{home}") for home, name in told)


def test_the_site_is_built_without_a_warning(tmp_path, monkeypatch):
    """A link or an anchor that leads nowhere, a page that is in no menu and a name that is not there are warnings."""
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings_handlers.python")
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    start = unescape((tmp_path / "index.html").read_text())  # the README
    assert 'href="card-small/"' in start and 'href="train/"' in start and "NOTICE (<code>NOTICE</code>)" in start
    assert (tmp_path / "examples" / "pictures" / "friday.jpg").is_file()
    assert "pipeline_tag" not in (tmp_path / "card-small" / "index.html").read_text()  # the card's head for the Hub
    assert "Segments a video and writes" in (tmp_path / "python" / "index.html").read_text()
    assert not (tmp_path / "pages_from_outside.py").exists()
