"""What a training run reports at its end: pictures of its predictions, a report, and the record of its weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image

from .. import __version__
from ..atomic import atomic_file
from ..checkpoints import model_place
from ..evaluation.evaluate import Evaluation
from ..evaluation.report import clip_sheet
from ..inference.visualize import curve_picture
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from ..model_card import CODE_LICENSE, ModelRecord, read_record
from .recipe import Recipe

PICTURED = 4  # clips of the validation split
SHOWN = ("miou", "miou_seen", "f_score", "f_score_seen")  # figures of a validation that the card shows
SETTING_NAMES = {"s4": "AVSBench S4", "ms3": "AVSBench MS3", "avss": "AVSBench AVSS", "folder": "a folder of clips"}


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


def model_record(
    recipe: Recipe, data: str, step: int, scores: dict[str, float | None], command: str, commit: str
) -> ModelRecord:
    """What the folder of a run's weights keeps for their card.

    Args:
        data: tells the clips apart from others, as `recipe.json` has it.
        step: of the run that the weights are from.
        scores: of the validation split; empty: there is none.
        command: that trained them.
        commit: of this package, see `ccformer_hf.model_card.package_commit`.
    """
    name = SETTING_NAMES[recipe.setting]
    return ModelRecord(
        trained_on=f"the training split of {name} ({data})",
        dataset=recipe.setting,
        dataset_name=name,
        split="validation",
        scores={figure: scores[figure] for figure in SHOWN if scores.get(figure) is not None},
        scored="On the validation split, which also chose the weights to keep, so they flatter; the test split is for "
        "`ccformer evaluate`.",
        commands=command,
        steps=step,
        recipe=json.loads(json.dumps(recipe.as_dict())),
        license=_kept_license(recipe.start_from),
        version=__version__,
        commit=commit,
    )


def _kept_license(start_from: str | None) -> str:
    """The licence of a model's folder to start from, which the weights keep; "" where it is that of the code or
    unknown, as that of a Hub id is here.
    """
    before = read_record(str(model_place(start_from))) if start_from else None
    return "" if before is None or before.license == CODE_LICENSE else before.license


def write_training_report(
    folder: Path, losses: Sequence[float], validations: Sequence[dict[str, Any]], seconds: float
) -> None:
    """Writes `report.md` and `report.png`, the curves of loss and validation mIoU."""
    curves = {"loss": (np.arange(1, len(losses) + 1), np.asarray(losses))}
    if validations:
        steps = np.array([entry["step"] for entry in validations])
        curves["validation mIoU"] = (steps, np.array([entry["miou"] or 0.0 for entry in validations]))
    with atomic_file(folder / "report.png") as path:
        curve_picture(curves).save(path, format="PNG")
    recent = losses[-50:]
    lines = [
        "# Training report",
        "",
        "![loss and validation mIoU by step](report.png)",
        "",
        f"{len(losses)} steps in {seconds / 60:.1f} minutes; mean loss of the last {len(recent)}: "
        f"{sum(recent) / len(recent):.3f}.",
        "",
    ]
    if validations:
        names = [name for name, value in validations[0].items() if name != "step" and not isinstance(value, list)]
        lines += ["| step | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for entry in validations:
            cells = ("-" if entry[name] is None else f"{entry[name]:.4f}" for name in names)
            lines.append(f"| {entry['step']} | " + " | ".join(cells) + " |")
    with atomic_file(folder / "report.md") as path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
