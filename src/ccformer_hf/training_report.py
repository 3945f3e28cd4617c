"""What a training run tells in the end: pictures of its predictions, a report, and the model card of its weights (ours)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets import Dataset
from huggingface_hub import EvalResult, ModelCardData
from PIL import Image

from . import __version__
from .evaluation import Evaluation
from .evaluation_report import clip_sheet
from .modeling_ccformer import CCFormerForAudioVisualSegmentation
from .processing_ccformer import AudioVisualProcessor
from .recipe import Recipe
from .visualize import curve_picture
from .whole_files import written_whole

PICTURED = 4  # clips of the validation split
SETTING_NAMES = {"s4": "AVSBench S4", "ms3": "AVSBench MS3", "avss": "AVSBench AVSS", "own": "clips of one's own"}

CARD = """\
---
{header}
---

# {title}

A CCFormer of {parameters:.1f} million parameters for audio-visual segmentation: which pixels of a video are making the sound. Trained with
[ccformer-hf](https://pypi.org/project/ccformer-hf/) {version} on the training split of {data}, chosen on its validation split.

Classes: {classes}

## Scores

On the validation split, which also chose these weights, so they flatter; the test split is for `ccformer evaluate`.

{scores}

## Use

```python
from ccformer_hf import segment_video

segment_video("clip.mp4", "results", model="{title}")
```

## How it was trained

```bash
{command}
```

{steps} steps of {batch_size} clips. The whole recipe:

```yaml
{recipe}```

What the weights may be used for also depends on the licence of the clips they were trained on; this card does not know it.
"""


def prediction_sheets(
    evaluation: Evaluation,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    clips: Dataset,
) -> dict[str, Image.Image]:
    """Clip id -> frames, label maps and predictions, of a few clips spread over the split: the same ones each time."""
    places = np.unique(np.linspace(0, len(evaluation.per_clip) - 1, PICTURED).round().astype(int))
    rows = [evaluation.per_clip[place] for place in places]
    return {row["id"]: clip_sheet(evaluation, row, model, processor, clips) for row in rows}


def model_card(
    recipe: Recipe,
    model: CCFormerForAudioVisualSegmentation,
    step: int,
    scores: dict[str, float | None] | None,
    title: str,
    command: str,
) -> str:
    """The card of a run's weights, with the scores as the Hub reads them.

    Args:
        step: of the run that the weights are from.
        scores: of the validation split; None: there is none.
        title: name of the model.
        command: that trained it.
    """
    data = SETTING_NAMES[recipe.setting]
    known = {name: value for name, value in (scores or {}).items() if value is not None}
    results = [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=recipe.setting,
            dataset_name=data,
            dataset_split="validation",
            metric_type=name,
            metric_value=round(value, 4),
        )
        for name, value in known.items()
    ]
    header = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-segmentation",
        tags=["audio-visual-segmentation", "ccformer"],
        **({"model_name": title, "eval_results": results} if results else {}),
    )
    table = "\n".join(
        ["| figure | value |", "|---|---|", *(f"| {name} | {value:.4f} |" for name, value in known.items())]
    )
    return CARD.format(
        header=header.to_yaml(),
        title=title,
        parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        version=__version__,
        data=data,
        classes=", ".join(name for number, name in sorted(model.config.id2label.items()) if number),
        scores=table if known else "None were taken: the data has no validation split.",
        command=command,
        steps=step,
        batch_size=recipe.batch_size,
        recipe=yaml.safe_dump(json.loads(json.dumps(recipe.as_dict())), sort_keys=False),
    )


def write_report(folder: Path, losses: Sequence[float], validations: Sequence[dict[str, Any]], seconds: float) -> None:
    """Writes `report.md` and `report.png`, the curves of loss and validation mIoU."""
    curves = {"loss": (np.arange(1, len(losses) + 1), np.asarray(losses))}
    if validations:
        steps = np.array([entry["step"] for entry in validations])
        curves["validation mIoU"] = (steps, np.array([entry["miou"] or 0.0 for entry in validations]))
    with written_whole(folder / "report.png") as path:
        curve_picture(curves).save(path, format="PNG")
    recent = losses[-50:]
    lines = [
        "# Training report",
        "",
        "![loss and validation mIoU by step](report.png)",
        "",
        f"{len(losses)} steps; mean loss of the last {len(recent)}: {sum(recent) / len(recent):.3f}; this part of the run took "
        f"{seconds / 60:.1f} minutes.",
        "",
    ]
    if validations:
        names = [name for name, value in validations[0].items() if name != "step" and not isinstance(value, list)]
        lines += ["| step | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for entry in validations:
            cells = ("-" if entry[name] is None else f"{entry[name]:.4f}" for name in names)
            lines.append(f"| {entry['step']} | " + " | ".join(cells) + " |")
    with written_whole(folder / "report.md") as path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
