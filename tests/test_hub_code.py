"""The code that travels with the weights: what a process can load that has transformers but not this package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import Repository, running_hub
from load_without_package import TASK, summary
from transformers import AutoModel, AutoModelForSemanticSegmentation, AutoProcessor, pipeline

from ccformer_hf import AudioVisualProcessor, CCFormerForAudioVisualSegmentation, CCFormerModel

SCRIPT = Path(__file__).with_name("load_without_package.py")
HUB_ID = "someone/small"


@pytest.fixture(scope="module")
def here(folder, video) -> dict:
    """What this process, with the package imported, makes of the model: no flag is needed."""
    return json.loads(json.dumps(summary(str(folder), str(video))))


@pytest.fixture(scope="module")
def fresh(folder, video, tmp_path_factory) -> tuple[dict, Path]:
    """What one fresh process without the package makes of the folder and of the Hub id, and where it saved both to."""
    place = tmp_path_factory.mktemp("fresh")
    with running_hub() as hub:
        repository = hub.repositories["model", HUB_ID] = Repository(private=False)
        repository.commit({path.name: ("regular", path.read_bytes()) for path in folder.iterdir()})
        settings = {"HF_ENDPOINT": hub.address, "HF_HOME": str(place / "hf"), "HF_TOKEN": "any"}
        settings |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, SCRIPT, video, place, folder, HUB_ID],
            env={**os.environ, **settings},
            cwd=place,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), place


def code_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.py")}


def test_save_pretrained_writes_the_code_and_names_it(folder):
    package = Path(sys.modules["ccformer_hf"].__file__).parent
    assert code_in(folder) == {path.name: path.read_bytes() for path in (package / "model").glob("*_ccformer.py")}
    config = json.loads((folder / "config.json").read_text())
    assert set(config["auto_map"]) == {"AutoConfig", "AutoModel", "AutoModelForSemanticSegmentation"}
    assert config["custom_pipelines"][TASK]["impl"] == "pipeline_ccformer.AudioVisualSegmentationPipeline"


@pytest.mark.parametrize("number", [0, 1], ids=["folder", "Hub id"])
def test_a_fresh_process_computes_the_same_bit_by_bit(here, fresh, number):
    told, _ = fresh
    assert told["hidden"]
    assert told["reports"][number]["first"] == here
    assert here["classes"]["AutoModel"] == "CCFormerModel"
    assert len(here["records"]) == 4 + 3 and any(record["sounding"] for record in here["records"])


@pytest.mark.parametrize("number", [0, 1], ids=["folder", "Hub id"])
def test_saved_from_there_it_is_still_the_same(here, fresh, folder, number):
    told, place = fresh
    assert told["reports"][number]["again"] == here
    assert told["reports"][number]["from_pipeline"] == here["records"][:4]
    for saved in (place / str(number), place / f"{number}-pipeline"):
        assert {path.name for path in saved.iterdir()} == {path.name for path in folder.iterdir()}
        assert code_in(saved) == code_in(folder)
        before, after = (json.loads((each / "config.json").read_text()) for each in (folder, saved))
        for name in ("auto_map", "custom_pipelines"):
            assert after[name] == before[name]
        assert HUB_ID not in "".join(path.read_text() for path in saved.glob("*.json"))


def test_with_the_package_its_own_classes_are_taken_without_the_flag(folder):
    assert type(AutoModel.from_pretrained(folder)) is CCFormerModel
    assert type(AutoModelForSemanticSegmentation.from_pretrained(folder)) is CCFormerForAudioVisualSegmentation
    assert type(AutoProcessor.from_pretrained(folder)) is AudioVisualProcessor
    segmenter = pipeline(TASK, model=str(folder), device="cpu", trust_remote_code=True)
    assert type(segmenter).__module__ == "ccformer_hf.model.pipeline_ccformer"


def test_the_network_without_its_head_is_saved_with_code_too(folder, tmp_path):
    CCFormerModel.from_pretrained(folder).save_pretrained(tmp_path)
    assert code_in(tmp_path) == code_in(folder)
    assert type(AutoModelForSemanticSegmentation.from_pretrained(tmp_path)) is CCFormerForAudioVisualSegmentation
