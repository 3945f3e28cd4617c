"""The folder that `ccformer data convert` writes: Parquet shards per setting and split, and a plan of them.

OUT/shards.json                          the plan: class names, and how many clips each shard holds
OUT/s4/train-00000-of-00006.parquet ...  clips with everything embedded
OUT/README.md                            the dataset card; `datasets.load_dataset(OUT, "s4")` reads it
"""

import json
import os
from pathlib import Path
from typing import Any

from .avsbench import ALL_SETTINGS, SPLITS

PLAN_FILE = "shards.json"
LARGEST_PLAN = 1 << 24  # bytes
CARD_FILE = "README.md"  # written last


def is_converted(root: str | os.PathLike) -> bool:
    """Whether `root` is a folder that `ccformer data convert` wrote, or began to write."""
    return (Path(root) / PLAN_FILE).is_file()


def read_plan(root: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """The plan of a converted folder.

    `{"s4": {"class_names": [...], "clips_per_shard": {"train": [410, ...], ...}}}`.

    Raises:
        OSError: where the file cannot be opened.
        ValueError: where it is damaged, or something else.
    """
    file = Path(root) / PLAN_FILE
    try:
        if file.stat().st_size > LARGEST_PLAN:
            raise ValueError(f"it has more than {LARGEST_PLAN / 1e6:.0f} MB")
        plan = json.loads(file.read_text(encoding="utf-8"))
        _check_plan(plan)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{file}: cannot be read as the plan of a converted folder ({error}); delete the folder, then run "
            "`ccformer data convert` again"
        ) from None
    return plan


def _check_plan(plan: Any) -> None:
    def expect(holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"expected {what}")

    expect(isinstance(plan, dict), "settings by name")
    for setting, entry in plan.items():
        expect(setting in ALL_SETTINGS, f"{', '.join(ALL_SETTINGS)} as names of settings, not {setting!r}")
        expect(isinstance(entry, dict) and entry.keys() == {"class_names", "clips_per_shard"}, f"the two of {setting}")
        names, splits = entry["class_names"], entry["clips_per_shard"]
        expect(isinstance(names, list) and all(isinstance(name, str) for name in names), "names of classes")
        expect(len(names) >= 2, "at least two classes, the first of them the background")
        expect(isinstance(splits, dict) and splits and splits.keys() <= set(SPLITS), "numbers of clips by split")
        for counts in splits.values():
            whole = isinstance(counts, list) and all(type(count) is int and 0 < count < 10**9 for count in counts)
            expect(whole and counts, "numbers of clips, one per shard")


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
