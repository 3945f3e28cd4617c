"""Publishing with the real client of the Hub, in processes of their own: the Hub's address holds for all of one."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hub_server import Hub, running_hub, use_hub
from huggingface_hub import ModelCard
from made_media import make_video
from PIL import Image
from processes import finish, start
from small_model import random_inputs, save_small_model

from ccformer_hf import hub as module
from ccformer_hf.cli import main as cli
from ccformer_hf.hub import files_to_upload, made_ready
from ccformer_hf.inference.loading import load
from ccformer_hf.model_card import ModelRecord


def publish_all(address: str, calls: list[tuple[str, ...]], answers: Path) -> None:
    """Runs `ccformer publish` for each (name, token, arguments...); writes what each told, by name, as JSON."""
    told, sleep = {}, time.sleep
    time.sleep = lambda seconds: sleep(min(seconds, 0.01))  # between the client's tries
    for name, token, *arguments in calls:
        use_hub("http://127.0.0.1:9" if name == "unreachable" else address, token)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main(["publish", *arguments])
        errors = [line for line in err.getvalue().splitlines() if line.startswith("ccformer: error: ")]
        told[name] = {"code": code, "out": out.getvalue(), "errors": errors, "err": err.getvalue()}
    answers.write_text(json.dumps(told))


FETCH = """
import re, sys, torch
from pathlib import Path
from ccformer_hf import AudioVisualProcessor, CCFormerForAudioVisualSegmentation
model = CCFormerForAudioVisualSegmentation.from_pretrained("tester/model")
given = torch.load("given.pt", weights_only=True)
with torch.inference_mode():
    outputs = model(**given["inputs"])
for name, value in given["outputs"].items():
    assert torch.equal(outputs[name], value), name
longer = CCFormerForAudioVisualSegmentation.from_pretrained("tester/model", revision="longer")
assert not torch.equal(next(longer.parameters()), next(model.parameters()))
assert AudioVisualProcessor.from_pretrained("tester/model").image_processor.size["height"] == 64
for block in re.findall(r"```python\\n(.*?)```", Path("README.md").read_text(), flags=re.DOTALL):
    exec(block)
assert Path("results/clip/overlay.mp4").is_file() and maps.shape == (2, 480, 640)
"""


def run_script(script: str, hub: Hub, folder: Path) -> None:
    """Runs it in a new process that knows this Hub and has an empty cache."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_TOKEN": "any",
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished training: two models, pictures, and what must not go up."""
    run = tmp_path_factory.mktemp("runs") / "small"
    best, last = save_small_model(run / "best"), save_small_model(run / "last")
    model, _ = load(last, "cpu")
    torch.nn.init.zeros_(next(model.parameters()))
    model.save_pretrained(last)
    record = ModelRecord(
        trained_on="the training split of clips of one's own",
        dataset="folder",
        dataset_name="clips of one's own",
        split="validation",
        scores={"miou": 0.5123, "f_score": 0.6},
        scored="On the validation split.",
        commands="ccformer train --config x.yaml",
        steps=20,
        recipe={"setting": "folder", "batch_size": 4},
        version="0.1.0",
        commit="abc",
    )
    record.write(best)
    for name in ("states/step-00000020/optimizer.bin", "logs/events.out", "best/optimizer.pt", "best/training.log"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(b"x")
    for name in ("report.png", "pictures/a clip.png"):
        (run / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(run / name)
    return run


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """The look of a converted data set, with something that a killed run left."""
    folder = tmp_path_factory.mktemp("data")
    plan = {"ms3": {"class_names": ["background", "dog"], "clips_per_shard": {"test": [1]}}}
    (folder / "shards.json").write_text(json.dumps(plan))
    (folder / "README.md").write_text("---\npretty_name: set\n---\n")
    (folder / "ms3").mkdir()
    (folder / "ms3" / "test-00000-of-00001.parquet").write_bytes(b"rows")
    (folder / "ms3" / ".test-00001.9.partial").write_bytes(b"half")
    return folder


@pytest.fixture(scope="module")
def older_dataset(dataset, tmp_path_factory) -> Path:
    """The same converted once before, into other shards."""
    folder = shutil.copytree(dataset, tmp_path_factory.mktemp("data") / "older")
    plan = {"ms3": {"class_names": ["background", "dog"], "clips_per_shard": {"test": [1, 1]}}}
    (folder / "shards.json").write_text(json.dumps(plan))
    for number in range(2):
        (folder / "ms3" / f"test-0000{number}-of-00002.parquet").write_bytes(b"other rows")
    (folder / "ms3" / "test-00000-of-00001.parquet").unlink()
    return folder


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("space")
    (folder / "README.md").write_text("---\ntitle: Demo\nsdk: gradio\napp_file: app.py\n---\n# Demo\n")
    (folder / "app.py").write_text("import gradio\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "app.pyc").write_bytes(b"x")
    return folder


@pytest.fixture(scope="module")
def published(run, older_dataset, dataset, space, tmp_path_factory):
    """All that is asked of one Hub, in one process: what each command told, and the Hub afterwards."""
    best, last, demo = str(run), str(run / "last"), str(space)
    calls = [
        ("no token", "", demo, "tester/open", "--space"),
        ("unknown token", "unknown", demo, "tester/open", "--space"),
        ("no right", "reads-only", demo, "tester/open", "--space"),
        ("unreachable", "any", demo, "tester/open", "--space"),
        ("connection cut", "any", demo, "tester/open", "--space", "--public"),
        ("half public", "any", demo, "tester/open", "--space", "--public"),
        ("public", "any", demo, "tester/open", "--space", "--public"),
        ("must be private", "any", demo, "tester/open", "--space", "--private"),
        ("stays public", "any", demo, "tester/open", "--space"),
        ("no right there", "reads-only", demo, "tester/open", "--space"),
        ("older dataset", "any", str(older_dataset), "tester/set", "--dataset"),
        ("dataset", "any", str(dataset), "tester/set", "--dataset"),
        ("dry run", "", best, "tester/model", "--dry-run"),
        ("large file fails", "any", best, "tester/model"),
        ("interrupted", "any", best, "tester/model"),
        ("completed", "any", best, "tester/model"),
        ("branch", "any", last, "tester/model", "--revision", "longer"),
    ]
    with running_hub(readers=("reads-only",)) as hub:
        hub.failing = [
            ("POST /tester/model.git/info/lfs/objects/batch", 500, 6),  # the client tries six times
            ("PUT /_lfs/", 500, 1),
            ("POST /api/models/tester/model/commit/", 500, 1),
            ("POST /api/spaces/tester/open/commit/", 0, 1),
            ("PUT /api/spaces/tester/open/settings", 503, 1),
        ]
        folder = tmp_path_factory.mktemp("publishing")
        answers, printed = folder / "told.json", folder / "printed.txt"
        finish(start(publish_all, hub.address, calls, answers, output=printed), printed)
        yield json.loads(answers.read_text()), hub


CODE = {path.name for path in (Path(module.__file__).parent / "model").glob("*_ccformer.py")}


def test_a_model_goes_up_in_one_commit_and_nothing_else_with_it(published):
    told, hub = published
    assert told["completed"]["code"] == 0, told["completed"]["err"]
    assert f"are at {hub.address}/tester/model, branch main" in told["completed"]["out"]
    repository = hub.repositories["model", "tester/model"]
    assert repository.history == ["private", "commit main", "commit main", "commit longer"]
    files = set(hub.files("model", "tester/model"))
    wanted = {"README.md", "config.json", "model.safetensors", "processor_config.json"}
    pictures = {"pictures/report.png", "pictures/a clip.png"}
    code = {name for name in files if name.endswith(".py")}
    assert files - code == wanted | pictures
    assert {"modeling_ccformer.py", "processing_ccformer.py"} <= code <= CODE
    assert b"auto_map" in hub.files("model", "tester/model")["config.json"]


def test_the_hub_reads_the_card(published):
    card = ModelCard(published[1].files("model", "tester/model")["README.md"].decode())
    results = {(result.metric_type, result.dataset_type): result.metric_value for result in card.data.eval_results}
    assert results == {("miou", "folder"): 0.5123, ("f_score", "folder"): 0.6}
    assert card.data.model_name == "model" and card.data.pipeline_tag == "audio-visual-segmentation"
    for told in ("commit abc", "20 steps of 4 clips", "--config x.yaml", "![a clip](pictures/a%20clip.png)"):
        assert told in card.text
    assert 'model="tester/model"' in card.text and "bell, dog, drum" in card.text


def test_the_dry_run_lists_what_would_go_up(published):
    told, hub = published
    lines = told["dry run"]["out"].splitlines()
    assert {line.split(maxsplit=2)[2] for line in lines[:-1]} == set(hub.files("model", "tester/model"))
    assert f"would go to {hub.address}/tester/model, branch main; nothing was uploaded" in lines[-1]


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("no token", ("does not know who you are", "hf auth login", "HF_TOKEN")),
        ("unknown token", ("does not know who you are", "hf auth login")),
        ("no right", ("no right to write there (403", "a token that may write there")),
        ("no right there", ("tester/open: you have no right to write there (403",)),
        ("unreachable", ("http://127.0.0.1:9 cannot be reached", "run the same command again")),
        ("large file fails", ("the Hub failed (", "500", "run the same command again, it completes")),
        ("interrupted", ("the Hub failed (", "500", "nothing half done is to be seen")),
        ("connection cut", ("cannot be reached (", "run the same command again")),
        ("half public", ("the Hub failed (", "503")),
        ("must be private", ("tester/open: is public; make it private",)),
    ],
)
def test_each_trouble_is_one_line(published, name, wanted):
    told = published[0][name]
    assert told["code"] == 2 and len(told["errors"]) == 1, told["err"]
    for text in wanted:
        assert text in told["errors"][0]
    assert "are at" not in told["out"]


def test_public_only_when_all_is_there(published):
    told, hub = published
    for name in ("public", "stays public"):
        assert told[name]["code"] == 0, told[name]["err"]
    uploads = ["commit main"] * 2  # by the run whose last step failed, and by the second one
    history = hub.repositories["space", "tester/open"].history
    assert history == ["private", "commit main", *uploads, "public", "commit main"]


def test_space_and_dataset_go_up_as_they_are(published, dataset, space):
    told, hub = published
    assert told["older dataset"]["code"] == told["dataset"]["code"] == 0
    assert hub.files("space", "tester/open") == {name: (space / name).read_bytes() for name in ("README.md", "app.py")}
    assert hub.files("dataset", "tester/set") == {
        name: (dataset / name).read_bytes() for name in ("README.md", "shards.json", "ms3/test-00000-of-00001.parquet")
    }
    assert hub.repositories["dataset", "tester/set"].private


def test_a_fresh_process_loads_the_same_model_from_the_hub(published, run, tmp_path):
    _, hub = published
    model, _ = load(run / "best", "cpu")
    inputs = random_inputs()
    with torch.inference_mode():
        outputs = model(**inputs)
    outputs = {name: value for name, value in outputs.items() if isinstance(value, torch.Tensor)}
    torch.save({"inputs": inputs, "outputs": outputs}, tmp_path / "given.pt")
    make_video(tmp_path / "clip.mp4", 2.0)
    (tmp_path / "README.md").write_bytes(hub.files("model", "tester/model")["README.md"])
    assert len(outputs) >= 2
    run_script(FETCH, hub, tmp_path)


def test_large_weights_are_several_files(run, monkeypatch):
    monkeypatch.setattr(module, "SHARD_SIZE", "100KB")
    with made_ready(run / "best", "tester/model") as folder:
        names = [name for name in files_to_upload(folder) if ".safetensors" in name]
        assert "model.safetensors.index.json" in names and len(names) > 2
        model, _ = load(folder, "cpu")
        next(folder.glob("model-00002-of-*")).unlink()
        with pytest.raises(FileNotFoundError, match="has no model-00002-of"):
            load(folder, "cpu")
    assert not folder.exists()
    for name, tensor in load(run / "best", "cpu")[0].state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
