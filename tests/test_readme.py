"""The README's Python blocks run as they stand, on the clip that ships with the package."""

import re
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from ccformer_hf import __version__
from ccformer_hf.data.synthetic.clips import write_synthetic_set
from ccformer_hf.inference.segments_json import FrameRecord, ModelInfo, Segments, SoundingRecord, SourceRecord

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_readme_has_its_examples():
    assert len(BLOCKS) == 5


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_block_runs(block, tmp_path, monkeypatch, capsys):
    checkpoints = Path(str(files("ccformer_hf") / "checkpoints"))
    shutil.copy(checkpoints / "example.mp4", tmp_path / "clip.mp4")
    shutil.copytree(checkpoints / "ccformer-tiny", tmp_path / "OWNER" / "NAME")
    write_synthetic_set(tmp_path / "AVSBench", "ms3", clips=3, seed=0, workers=1, progress=False, size=64)
    write_synthetic_set(tmp_path / "mine", "folder", clips=3, seed=0, workers=1, progress=False, size=64)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(BLOCKS[block], f"README.md block {block}", "exec"), names)
    if block == 0:  # the clip is drawn, which the default model does not know
        assert (tmp_path / "results" / "clip" / "segments.json").is_file() and len(
            names["result"].segments["frames"]
        ) == 40
    elif block == 2:
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("0.0 0.5 ") and any("emergency-car" in line for line in lines)
    elif block == 3:
        assert names["clip"]["labels"].shape == (5, 64, 64) and len(names["clip"]["frames"]) == 5
    elif block == 4:
        assert (tmp_path / "runs" / "trainer" / "model" / "processor_config.json").is_file()
        assert names["trainer"].state.log_history[0]["eval_loss"] > 0
    else:
        assert names["maps"].shape == (10, 480, 640)
        assert names["maps"].max() < names["model"].config.num_labels


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_pictures_and_links_exist(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_the_page_of_outputs_names_every_key():
    told = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "output.md").read_text()))
    for record in (Segments, ModelInfo, SourceRecord, FrameRecord, SoundingRecord):
        assert set(record.__annotations__) <= told, record


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == __version__ and citation["type"] == "software"
