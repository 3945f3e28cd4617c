"""The folder that `ccformer data convert` writes: Parquet shards per setting and split, and a plan that says which there have to be.

OUT/shards.json                          the plan: class names, and per setting and split how many shards and clips
OUT/s4/train-00000-of-00006.parquet ...  clips with everything embedded
OUT/README.md                            the dataset card; `datasets.load_dataset(OUT, "s4")` reads it
"""

import json
import os
from pathlib import Path

PLAN_FILE = "shards.json"


def is_converted(root: str | os.PathLike) -> bool:
    """Whether `root` is a folder that `ccformer data convert` wrote, or began to write."""
    return (Path(root) / PLAN_FILE).is_file()


def shard_name(split: str, number: int, count: int) -> str:
    """`train-00003-of-00012.parquet`"""
    return f"{split}-{number:05d}-of-{count:05d}.parquet"


def shard_files(root: str | os.PathLike, setting: str) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The shards of each split of a setting, and the names of its class ids.

    Raises:
        FileNotFoundError: where the setting was not converted, or not to its end.
    """
    root = Path(root)
    plan = json.loads((root / PLAN_FILE).read_text(encoding="utf-8"))
    if setting not in plan:
        raise FileNotFoundError(f"{root}: holds no {setting}, but {', '.join(plan)}; convert it into this folder too")
    files = {
        split: [str(root / setting / shard_name(split, number, len(clips))) for number in range(len(clips))]
        for split, clips in plan[setting]["clips_per_shard"].items()
    }
    absent = [path for paths in files.values() for path in paths if not Path(path).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{root}: the conversion of {setting} was not finished, {absent[0]} and {len(absent) - 1} more shards are not "
            "there; run the same `ccformer data convert` again, it goes on where it stopped"
        )
    return files, tuple(plan[setting]["class_names"])
