import json
import shutil

import pytest
import torch
from hub_server import Repository, lend_hub, running_hub
from huggingface_hub import ModelInfo, constants
from safetensors.torch import load_file, save_file

from ccformer_hf.inference import loading as module
from ccformer_hf.inference.loading import load, trained_on


def test_load_says_what_is_wrong(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such model folder"):
        load(tmp_path / "nope")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        load(tmp_path / "empty")
    for name in ("config.json", "processor_config.json", "model.safetensors"):
        (tmp_path / "empty" / name).write_bytes((folder / name).read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "empty" / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(ValueError, match="of type 'bert'"):
        load(tmp_path / "empty")
    with pytest.raises(ValueError, match="device is 'toaster'"):
        load(folder, "toaster")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder, tmp_path, value):
    broken = shutil.copytree(folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    name = sorted(weights)[0]
    weights[name].view(-1)[0] = value
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=f"^{broken}: its weights are not all numbers, .* holds NaN or infinity; take"
    ):
        load(broken)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_no_gpu(folder):
    with pytest.raises(ValueError, match="0 CUDA GPUs"):
        load(folder, "cuda")


def test_trained_on(folder, loaded):
    assert trained_on(loaded[0]) is None
    card = folder / "checkpoint.json"
    card.write_text(json.dumps({"trained_on": "synthetic clips"}))
    try:
        assert trained_on(loaded[0]) == "synthetic clips"
    finally:
        card.unlink()


def test_a_model_of_the_hub_is_a_folder_that_is_fetched_first(folder, tmp_path, monkeypatch):
    fetched = shutil.copytree(folder, tmp_path / "snapshots" / "0a1b2c")
    asked = []

    def download(name, allow_patterns):
        asked.append((name, [pattern for pattern in allow_patterns if pattern.endswith((".py", "*", ".bin"))]))
        if name == "me/none":
            raise OSError("404 Client Error.\n\nMore of it.")
        return str(fetched)

    monkeypatch.setattr(module, "snapshot_download", download)
    monkeypatch.setattr(module.HfApi, "model_info", lambda *_, **__: ModelInfo(id="me/model", siblings=[]))
    model, processor = load("me/model", "cpu")
    assert asked == [("me/model", [])] and processor.image_processor.size["height"] == 64
    assert (model.name_or_path, model.config._commit_hash) == ("me/model", "0a1b2c")
    with pytest.raises(OSError, match=r"^me/none: cannot be fetched from the Hub \(404 Client Error.\); check"):
        load("me/none")
    (fetched / "config.json").write_text("[")
    with pytest.raises(OSError, match="config.json: is not a JSON file"):
        load("me/model")


def test_a_model_of_the_hub_that_is_too_large_is_not_fetched(folder, tmp_path, monkeypatch):
    files = {path.name: ("lfs", path.read_bytes()) for path in folder.iterdir()}
    gigabytes = sum(len(files[name][1]) for name in files if name.endswith((".json", ".safetensors"))) / 1e9
    with running_hub() as hub:
        lend_hub(monkeypatch, hub.address, tmp_path / "cache")
        hub.repositories["model", "me/model"] = Repository(False)
        hub.repositories["model", "me/model"].commit({**files, "film.mp4": ("lfs", bytes(10**6))})
        with pytest.raises(
            ValueError, match=r"^me/model: has 0\.0 GB on the Hub, expected at most .* nothing was fetched"
        ):
            load("me/model", "cpu", most_gigabytes=gigabytes * 0.99)
        assert not (tmp_path / "cache").exists()
        load("me/model", "cpu", most_gigabytes=gigabytes * 1.01)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # now it is in the cache
    load("me/model", "cpu", most_gigabytes=gigabytes * 1.01)
    with pytest.raises(OSError, match="^me/none: cannot be fetched from the Hub"):
        load("me/none", "cpu")
