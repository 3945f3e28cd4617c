import pytest
from PIL import Image

from ccformer_hf.training.recipe import recipe_from
from ccformer_hf.training.report import model_record, write_training_report


def test_the_report_tells_losses_and_validations(tmp_path):
    validations = [
        {"step": 2, "miou": 0.25, "f_score": None, "classes": [1, 2]},
        {"step": 4, "miou": 0.5, "f_score": 0.75, "classes": [1, 2]},
    ]
    write_training_report(tmp_path, [4.0, 3.0, 2.0, 1.0], validations, 90.0)
    told = (tmp_path / "report.md").read_text().splitlines()
    assert "4 steps in 1.5 minutes; mean loss of the last 4: 2.500." in told
    assert told[-4:] == [
        "| step | miou | f_score |",
        "|---|---|---|",
        "| 2 | 0.2500 | - |",
        "| 4 | 0.5000 | 0.7500 |",
    ]
    with Image.open(tmp_path / "report.png") as picture:
        assert min(picture.size) > 100


def test_a_run_without_validations_has_a_report_too(tmp_path):
    write_training_report(tmp_path, [float(step) for step in range(100)], [], 60.0)
    told = (tmp_path / "report.md").read_text()
    assert "100 steps in 1.0 minutes; mean loss of the last 50: 74.500." in told and "| step" not in told


def test_the_record_says_what_the_weights_are_from():
    recipe = recipe_from({"setting": "ms3", "size": 64}, "here")
    scores = {"miou": 0.5, "f_score": None, "miou_seen": 0.25, "other": 1.0}
    record = model_record(recipe, "3 clips", 7, scores, "ccformer train ...", "abc")
    assert record.trained_on == "the training split of AVSBench MS3 (3 clips)"
    assert (record.scores, record.steps, record.commit) == ({"miou": 0.5, "miou_seen": 0.25}, 7, "abc")
    assert record.license == ""
    assert record.recipe["size"] == 64 and record.recipe["augmentation"]["scale"] == [1.0, 1.0], "as JSON gives it"


@pytest.mark.parametrize("start, license", [("ccformer-small", "cc-by-nc-4.0"), ("ccformer-tiny", ""), ("me/hub", "")])
def test_the_weights_keep_the_licence_of_what_they_started_from(start, license):
    recipe = recipe_from({"start_from": start}, "here")
    assert model_record(recipe, "3 clips", 7, {}, "ccformer train ...", "abc").license == license
