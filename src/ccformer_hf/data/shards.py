"""The folder that `ccformer data convert` writes: Parquet shards per setting and split, and a plan of them.

OUT/shards.json                          the plan: class names, and how many clips each shard holds
OUT/s4/train-00000-of-00006.parquet ...  clips with everything embedded
OUT/README.md                            the dataset card; `datasets.load_dataset(OUT, "s4")` reads it
"""

import json
import os
from pathlib import Path
from typing import Any

PLAN_FILE = "shards.json"
CARD_FILE = "README.md"  # written last


def is_converted(root: str | os.PathLike) -> bool:
    """Whether `root` is a folder that `ccformer data convert` wrote, or began to write."""
    return (Path(root) / PLAN_FILE).is_file()


def read_plan(root: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """The plan of a converted folder.

    `{"s4": {"class_names": [...], "clips_per_shard": {"train": [410, ...], ...}}}`.
    """
    return json.loads((Path(root) / PLAN_FILE).read_text(encoding="utf-8"))


def shard_name(split: str, number: int, count: int) -> str:
    """`train-00003-of-00012.parquet`"""
    return f"{split}-{number:05d}-of-{count:05d}.parquet"


def planned_files(
    root: str | os.PathLike, setting: str, clips_per_shard: dict[str, list[int]]
) -> dict[str, list[str]]:
    """The shards of each split that a plan asks for, there or not."""
    return {
        split: [os.path.join(root, setting, shard_name(split, number, len(clips))) for number in range(len(clips))]
        for split, clips in clips_per_shard.items()
    }


def shard_files(root: str | os.PathLike, setting: str) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The shards of each split of a setting, and the names of its class ids.

    Raises:
        FileNotFoundError: where the setting was not converted, or not to its end.
    """
    plan = read_plan(root)
    if setting not in plan:
        raise FileNotFoundError(f"{root}: holds no {setting}, but {', '.join(plan)}; convert it into this folder too")
    files = planned_files(root, setting, plan[setting]["clips_per_shard"])
    absent = [path for paths in files.values() for path in paths if not os.path.isfile(path)]
    if absent:
        raise FileNotFoundError(
            f"{root}: the conversion of {setting} was not finished, {len(absent)} of its shards are not there, the "
            "first "
            f"is {absent[0]}; run the same `ccformer data convert` again, it goes on where it stopped"
        )
    return files, tuple(plan[setting]["class_names"])


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Removes what a killed run left under temporary names."""
    for path in Path(folder).glob(".*.partial"):
        path.unlink(missing_ok=True)
