"""The dataset card of a converted folder: what the Hub shows, and where `datasets` finds settings and splits."""

import os

from .avsbench import FOLDER, SETTINGS
from .shards import read_plan, shard_files

_TITLES = {
    "s4": "AVSBench S4: one source per clip",
    "ms3": "AVSBench MS3: several sources per clip",
    "avss": "AVSBench AVSS: 71 classes",
    FOLDER: "clips of a folder",
}
_LICENSE = """
## License

**Keep copies private.** AVSBench (Zhou et al., <https://github.com/OpenNLPLab/AVSBench>) is given out by its
authors on request, and they state no license with it; a third-party note gives CC BY-NC 4.0. Do not share this copy,
or make its repository public, unless they agree.
"""


def dataset_card(out: str | os.PathLike) -> str:
    """The text of `README.md` for the settings in `out` that are converted to their end."""
    plan = {setting: entry for setting, entry in read_plan(out).items() if _is_whole(out, setting)}
    official = any(setting in SETTINGS for setting in plan)
    license = "license: other\nlicense_name: on-request-from-the-authors-of-avsbench\n" if official else ""
    configs = "".join(
        f"- config_name: {setting}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {setting}/{split}-*.parquet\n" for split in entry["clips_per_shard"])
        for setting, entry in plan.items()
    )
    counts = "".join(
        f"| `{setting}` | {_TITLES[setting]} | "
        + ", ".join(f"{split} {sum(clips)}" for split, clips in entry["clips_per_shard"].items())
        + " |\n"
        for setting, entry in plan.items()
    )
    classes = "".join(
        f"\n`{setting}`: {', '.join(f'{number} {name}' for number, name in enumerate(entry['class_names']))}\n"
        for setting, entry in plan.items()
    )
    first = next(iter(plan))
    load = "load_folder(" if first == FOLDER else f'load_avsbench("{first}", '
    return f"""---
pretty_name: {"AVSBench" if official else "Audio-visual segmentation clips"}
{license}task_categories:
- image-segmentation
tags:
- audio-visual-segmentation
configs:
{configs}---

# {"AVSBench" if official else "Audio-visual segmentation clips"} as Parquet

Clips with sound, one frame per second, and for each annotated frame a map of which pixels make the sound. Written by
`ccformer data convert`; everything is embedded.

| setting | what | clips |
|---|---|---|
{counts}
```python
from datasets import load_dataset
clip = load_dataset("<this folder or repository>", "{first}", split="{next(iter(plan[first]["clips_per_shard"]))}")[0]

from ccformer_hf import {load.partition("(")[0]}  # the same clips, label maps and sound as arrays
clips = {load}"<this folder>")
```

## Columns

One row is one clip of `T` frames.

| column | type | meaning |
|---|---|---|
| `id` | string | name of the clip, unique in its setting and split |
| `setting` | string | {", ".join(f"`{setting}`" for setting in plan)} |
| `classes` | list of strings | what sounds, by the official tables: s4 its category, avss and ms3 avss' 70 classes |
| `annotated` | `T` bools | whether the frame has a label map; in training clips with one source only the first has |
| `frames` | `T` images | the frames; pictures are the original files, frames of videos are PNG |
| `labels` | `T` images or null | label map: 8-bit PNG, values are class ids, 255 = ignore; null: not annotated |
| `sound` | `waveform` floats, `sampling_rate` int | mono, -1..1; null for a clip without |
| `log_mel` | floats `(T', 1, 96, 64)` | official log-mel examples of the sound; null where the source has none |
| `size` | 2 ints | height and width of the first frame |

## Class ids
{classes}{_LICENSE if official else ""}"""


def _is_whole(out: str | os.PathLike, setting: str) -> bool:
    try:
        shard_files(out, setting)
    except FileNotFoundError:
        return False
    return True
