"""The model card and the record it is made from."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from ccformer_hf import model_card as module
from ccformer_hf.hub import made_ready
from ccformer_hf.model_card import ModelRecord, model_card, package_commit, read_record


def test_a_record_comes_back_as_it_was_written(tmp_path):
    assert read_record(tmp_path) is None
    record = ModelRecord(trained_on="clips", scores={"miou": 0.5}, steps=3, recipe={"batch_size": 2}, note="ä")
    record.write(tmp_path)
    assert read_record(tmp_path) == record


@pytest.mark.parametrize(
    "content",
    ["[", "[1]", "null", '{"made": 1}', '{"trained_on": 5}', '{"scores": {"miou": "good"}}', '{"steps": "3"}'],
)
def test_a_record_that_is_none(content, tmp_path):
    (tmp_path / "checkpoint.json").write_text(content)
    with pytest.raises(ValueError, match=r"checkpoint\.json: is not a record"):
        read_record(tmp_path)


def test_a_card_without_a_record_says_what_is_not_known(loaded):
    card = ModelCard(model_card(None, *loaded, "me/model"))
    assert card.data.eval_results is None and card.data.license is None
    for told in ("# model", "None are known.", "Its folder does not tell.", "which this card does not know"):
        assert told in card.text.replace("\n", " ") or told in card.text


def test_a_card_somebody_wrote_is_kept(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "README.md").write_text("---\nlicense: mit\ntags: [mine]\n---\nMy own words.\n")
    with made_ready(copy, "me/model") as ready:
        assert ModelCard.load(ready / "README.md").text.strip() == "My own words."
    with made_ready(copy, "me/model", license="cc0-1.0") as ready:
        card = ModelCard.load(ready / "README.md")
    assert card.data.license == "cc0-1.0" and card.data.tags == ["mine"] and "My own words." in card.text


@pytest.mark.parametrize("header", ["[", "- a", "tags: 5", "!!python/object/apply:os.system ['true']", "\xff"])
def test_a_card_with_a_header_that_is_none_is_named(folder, tmp_path, header):
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "README.md").write_text(f"---\n{header}\n---\nMy words.\n", encoding="latin-1")
    with pytest.raises(ValueError, match=f"^{copy}/README.md: has no header that the Hub can read .*; fix or remove"):
        with made_ready(copy, "me/model"):
            pass


def test_a_license_and_the_frames_of_avsbench(folder, tmp_path):
    run = tmp_path / "run"
    best = shutil.copytree(folder, run / "best")
    ModelRecord(dataset="ms3", license="mit").write(best)
    for name in ("report.png", "pictures/clip.png"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(b"png")
    with made_ready(run, "me/model") as ready:
        assert [path.name for path in (ready / "pictures").iterdir()] == ["report.png"]
        card = ModelCard.load(ready / "README.md")
    assert card.data.license == "mit" and "![report](pictures/report.png)" in card.text


def test_the_commit_is_that_of_this_repository(monkeypatch, tmp_path):
    root = Path(__file__).parents[1]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True).stdout.strip()
    if not head:
        pytest.skip("not in a git repository")
    assert package_commit().removesuffix(" and changes") == head
    # Installed in an environment that lies in somebody else's repository.
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "model_card.py"))
    assert package_commit() == ""


def test_the_commit_that_pip_installed(monkeypatch, tmp_path):
    class Installed:
        def read_text(self, name: str) -> str:
            return json.dumps({"vcs_info": {"commit_id": "f00"}})

    monkeypatch.setattr(module, "__file__", str(tmp_path / "model_card.py"))
    monkeypatch.setattr(module, "distribution", lambda name: Installed())
    assert package_commit() == "f00"
