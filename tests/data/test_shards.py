import json
from pathlib import Path

import pytest

from ccformer_hf.data.shards import (
    LARGEST_PLAN,
    PLAN_FILE,
    is_converted,
    planned_files,
    read_plan,
    remove_leftovers,
    shard_files,
    shard_name,
)

PLAN = {"ms3": {"class_names": ["background", "sounding"], "clips_per_shard": {"train": [3, 2], "test": [4]}}}


@pytest.fixture
def root(tmp_path):
    (tmp_path / PLAN_FILE).write_text(json.dumps(PLAN))
    (tmp_path / "ms3").mkdir()
    for paths in planned_files(tmp_path, "ms3", PLAN["ms3"]["clips_per_shard"]).values():
        for path in paths:
            Path(path).touch()
    return tmp_path


def test_a_plan_names_its_shards(root):
    assert shard_name("train", 3, 12) == "train-00003-of-00012.parquet"
    assert is_converted(root) and not is_converted(root / "ms3") and read_plan(root) == PLAN
    files, names = shard_files(root, "ms3")
    assert names == ("background", "sounding")
    assert {split: [Path(path).name for path in paths] for split, paths in files.items()} == {
        "train": ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
        "test": ["test-00000-of-00001.parquet"],
    }


def test_what_is_not_there_is_told_with_its_cure(root):
    with pytest.raises(FileNotFoundError, match="holds no s4, but ms3; convert it into this folder too"):
        shard_files(root, "s4")
    (root / "ms3" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(
        FileNotFoundError, match="was not finished, 1 of its shards are not there, the first is .*00001"
    ):
        shard_files(root, "ms3")


def test_leftovers_of_a_killed_run_alone_are_removed(root):
    for name in (".train.partial", "mine.partial", ".hidden"):
        (root / "ms3" / name).touch()
    remove_leftovers(root / "ms3")
    assert sorted(path.name for path in (root / "ms3").iterdir() if path.suffix != ".parquet") == [
        ".hidden",
        "mine.partial",
    ]


ENTRY = PLAN["ms3"]


@pytest.mark.parametrize(
    "plan",
    [
        json.dumps({"ms3_": PLAN["ms3"]}),
        "[1]",
        "{",
        "[" * 100_000,
        json.dumps({"ms3": ENTRY | {"class_names": ["background"]}}),
        json.dumps({"ms3": ENTRY | {"class_names": "many"}}),
        json.dumps({"ms3": ENTRY | {"clips_per_shard": []}}),
        json.dumps({"ms3": ENTRY | {"clips_per_shard": {"train": float("nan")}}}),
        json.dumps({"ms3": ENTRY | {"clips_per_shard": {"train": ["../secret"]}}}),
        json.dumps({"ms3": ENTRY | {"clips_per_shard": {"../train": [1]}}}),
        json.dumps({"ms3": 5}),
        json.dumps({"../ms3": ENTRY}),
    ],
)
def test_a_damaged_plan_is_told_in_one_line_that_names_it(root, plan):
    (root / PLAN_FILE).write_text(plan)
    with pytest.raises(ValueError, match=f"^{root / PLAN_FILE}: cannot be read as the plan .*; delete the folder"):
        shard_files(root, "ms3")


def test_a_plan_larger_than_any(root):
    with open(root / PLAN_FILE, "r+b") as file:
        file.truncate(LARGEST_PLAN + 1)
    with pytest.raises(ValueError, match="has more than 17 MB"):
        read_plan(root)
