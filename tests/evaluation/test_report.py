import pytest

from ccformer_hf.evaluation.evaluate import Evaluation
from ccformer_hf.evaluation.report import check_output, model_identity, table


def evaluation(**changes) -> Evaluation:
    found = {
        "setting": "ms3", "split": "test", "clips": 4, "frames": 20, "scores": {"miou": 0.5, "f_score": 0.62345},
        "dataset_level": {"miou": 0.25, "f_score": None, "j_and_f": 1.0}, "classes": [], "robust": None,
        "per_clip": [], "fingerprint": "f", "sounds": {"waveform": 4}, "protocol": {"size": 64, "options": {}},
        "device": "cpu", "processes": 1, "seconds": 1.25,
    }  # fmt: skip
    return Evaluation(**found | changes)


def cells(text: str) -> dict[str, list[str]]:
    """The columns right of each line's name."""
    return {line[:56].strip(): line[56:].split() for line in text.splitlines() if line.startswith("  ")}


def test_one_class_has_two_lines_of_scores():
    told = table(evaluation(), "m")
    assert told.splitlines()[0] == "m on ms3, test: 4 clips, 20 frames, 1.2 s on cpu"
    found = cells(told)
    assert found["sounding or not"] == ["50.00", "62.34"]
    assert found["areas summed over all clips"] == ["25.00", "-", "100.00"]


def test_groups_and_processes_are_told():
    told = table(evaluation(protocol={"size": 64, "options": {"group_size": 8}}, processes=2), "m")
    assert "in 2 processes" in told and "AVSBench protocol, 64 x 64, F over groups of 8 clips (%)" in told


def test_several_classes_have_a_line_for_each_way_to_count_them():
    scores = {f"{figure}{kind}": 0.1 * number for number, kind in enumerate(
        ("", "_no_last_class", "_no_background", "_seen")) for figure in ("miou", "f_score")}  # fmt: skip
    classes = [{"id": 0, "miou": 0.5}, {"id": 1, "miou": None}, {"id": 2, "miou": 0.1}]
    found = cells(table(evaluation(scores=scores, classes=classes), "m"))
    assert found["all 3 classes, background included"] == ["0.00", "0.00"]
    assert found["the 2 classes seen"] == ["30.00", "30.00"]


def test_where_nothing_can_be_written_is_told_before_anything_is_read(tmp_path):
    check_output(tmp_path / "new" / "deep" / "results.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(IsADirectoryError, match="is a folder; name a file for the results, such as .*results.json"):
        check_output(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written, because .*file is a file, not a folder"):
        check_output(tmp_path / "file" / "results.json")


def test_a_model_of_a_folder_is_told_by_its_weights(loaded):
    found = model_identity("mine", loaded[0])
    assert (found["id"], found["commit"], list(found["sha256"])) == ("mine", None, ["model.safetensors"])
    assert len(found["sha256"]["model.safetensors"]) == 64 and found["labels"][0] == "background"
