import json
from pathlib import Path

import pytest
import yaml

from ccformer_hf.data.dataset_card import dataset_card
from ccformer_hf.data.shards import PLAN_FILE, planned_files


def planned(root, whole=(), broken=()) -> str:
    """The card of a folder in which only the settings in `whole` have all their shards."""
    clips = {"train": [3, 2], "test": [4]}
    plan = {name: {"class_names": ["background", "dog"], "clips_per_shard": clips} for name in (*broken, *whole)}
    (root / PLAN_FILE).write_text(json.dumps(plan))
    for setting in whole:
        (root / setting).mkdir()
        for paths in planned_files(root, setting, clips).values():
            for path in paths:
                Path(path).touch()
    return dataset_card(root)


def test_the_head_of_the_card_is_what_the_hub_reads(tmp_path):
    card = planned(tmp_path, whole=("ms3", "avss"), broken=("s4",))
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "other" and "Keep copies private" in card
    assert head["configs"] == [
        {
            "config_name": setting,
            "data_files": [{"split": split, "path": f"{setting}/{split}-*.parquet"} for split in ("train", "test")],
        }
        for setting in ("ms3", "avss")
    ]
    assert "| `ms3` | AVSBench MS3: several sources per clip | train 5, test 4 |" in card
    assert "`ms3`: 0 background, 1 dog" in card and 'load_avsbench("ms3", "<this folder>")' in card
    assert "s4" not in card.split("## Columns")[0], "not converted to its end"


@pytest.mark.parametrize("word", ["AVSBench", "license: other", "Keep copies private"])
def test_clips_of_ones_own_have_no_license_of_others(tmp_path, word):
    card = planned(tmp_path, whole=("folder",))
    assert word not in card.replace("AVSBench (", "") and 'load_folder("<this folder>")' in card
