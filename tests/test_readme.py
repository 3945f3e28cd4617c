"""The Python blocks of README and docs/ run as they stand, on the clip that ships with the package."""

import re
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from PIL import Image

from ccformer_hf import __version__
from ccformer_hf.data.synthetic.clips import write_synthetic_set
from ccformer_hf.inference.rle import Rle
from ccformer_hf.inference.segments_json import (
    FrameRecord,
    ModelInfo,
    ObjectRecord,
    SeenRecord,
    Segments,
    SoundingRecord,
    SourceRecord,
)

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = {
    f"{page.name} {number}": block
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder of a reader: a video, a model and data called as on the pages."""
    checkpoints = Path(str(files("ccformer_hf") / "checkpoints"))
    shutil.copy(checkpoints / "example.mp4", tmp_path / "clip.mp4")
    shutil.copytree(checkpoints / "ccformer-tiny", tmp_path / "OWNER" / "NAME")
    for name, setting in (("AVSBench", "ms3"), ("mine", "folder")):
        write_synthetic_set(tmp_path / name, setting, clips=3, seed=0, workers=1, progress=False, size=64)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def segments_a_video(names, folder, printed):
    # the clip is drawn, which the default model does not know: nothing need be printed
    assert (folder / "results" / "clip" / "segments.json").is_file() and len(names["result"].segments["frames"]) == 40


def reads_a_mask(names, folder, printed):
    assert names["dog"].shape == (2, 4) and names["dog"].all()


def decodes_run_lengths(names, folder, printed):
    assert names["pixels"].nonzero()[0].tolist() == [1, 2] and names["pixels"].nonzero()[1].tolist() == [1, 1]


def loads_a_clip(names, folder, printed):
    assert names["clip"]["labels"].shape == (5, 64, 64) and len(names["clip"]["frames"]) == 5


def makes_class_maps(names, folder, printed):
    assert names["maps"].shape == (10, 480, 640)
    assert names["maps"].max() < names["model"].config.num_labels


def prints_what_sounds(names, folder, printed):
    lines = printed.splitlines()
    assert lines[0].startswith("0.0 0.5 ") and any("emergency-car" in line for line in lines)


def trains(names, folder, printed):
    assert (folder / "runs" / "trainer" / "model" / "processor_config.json").is_file()
    assert names["trainer"].state.log_history[0]["eval_loss"] > 0


PROMISES = {
    "README.md 0": segments_a_video,
    "data.md 0": loads_a_clip,
    "output.md 0": reads_a_mask,
    "output.md 1": decodes_run_lengths,
    "train.md 0": trains,
    "use.md 0": makes_class_maps,
    "use.md 1": prints_what_sounds,
}


def test_every_block_has_a_promise():
    assert sorted(BLOCKS) == sorted(PROMISES)


@pytest.mark.parametrize("block", PROMISES)
def test_block_runs(block, folder, capsys):
    names: dict = {}
    if block == "output.md 0":  # a result that is there
        (folder / "results" / "clip" / "masks").mkdir(parents=True)
        Image.new("L", (4, 2), 8).save("results/clip/masks/000000.png")
    exec(compile(BLOCKS[block], block, "exec"), names)
    PROMISES[block](names, folder, capsys.readouterr().out)


def test_no_line_of_the_readme_is_too_long_to_read():
    """But for rows of tables and pictures, which cannot be broken."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith(("|", "!"))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_and_links_exist(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_the_page_of_outputs_names_every_key():
    told = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "output.md").read_text()))
    for record in (Segments, ModelInfo, SourceRecord, ObjectRecord, FrameRecord, SoundingRecord, SeenRecord, Rle):
        assert set(record.__annotations__) <= told, record


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == __version__ and citation["type"] == "software"
