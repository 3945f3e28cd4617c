"""Tells what an evaluation found: a table to read, a JSON file to keep, pictures of the worst and best clips."""

import json
import os
from collections.abc import Iterator
from hashlib import file_digest
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image

from .. import __version__
from ..atomic import atomic_file
from ..data.listing import file_name_of
from ..inference.visualize import ComparedFrame, comparison_sheet
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.timing_ccformer import FrameTiming
from .clips import ClipFeed
from .evaluate import Evaluation, class_maps, match_labels, predict

PACKAGES = ("torch", "transformers", "datasets", "accelerate", "numpy")


def check_output(path: str | os.PathLike) -> None:
    """Raises OSError where a file at `path` could not be written; makes nothing."""
    path = Path(path).absolute()
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; name a file for the results, such as {path / 'results.json'}")
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what = "may not be written to" if folder.is_dir() else "is a file, not a folder"
        raise OSError(f"{path}: cannot be written, because {folder} {what}; name another file for the results")


def model_identity(name: str, model: CCFormerForAudioVisualSegmentation) -> dict[str, Any]:
    """Which weights these are: `id` as given, and the Hub `commit` or, for a folder, `sha256` of its weight files."""
    commit = getattr(model.config, "_commit_hash", None)  # set where it was loaded from the Hub
    files = [] if commit else sorted(Path(model.name_or_path).glob("model*.safetensors"))
    digests = {}
    for path in files:
        with open(path, "rb") as file:
            digests[path.name] = file_digest(file, "sha256").hexdigest()
    labels = [model.config.id2label[number] for number in range(len(model.config.id2label))]
    return {"id": name, "commit": commit, "sha256": digests or None, "labels": labels}


def write_results(
    path: str | os.PathLike,
    evaluation: Evaluation,
    model: CCFormerForAudioVisualSegmentation,
    model_name: str,
    data: str | os.PathLike,
    command: str,
) -> None:
    """Writes everything that is needed to repeat the evaluation, and what it found, as JSON; whole or not at all.

    Args:
        model_name: as `load` took it.
        data: folder of the data set.
        command: that repeats the evaluation.
    """
    found = evaluation
    results = {
        "command": command,
        "setting": found.setting,
        "split": found.split,
        "clips": found.clips,
        "frames": found.frames,
        "scores": found.scores,
        "dataset_level": found.dataset_level,
        "robust": found.robust,
        "model": model_identity(model_name, model),
        "data": {"root": str(data), "fingerprint": found.fingerprint, "sounds": found.sounds},
        "protocol": found.protocol,
        "versions": {"ccformer_hf": __version__, "python": python_version()}
        | {name: version(name) for name in PACKAGES},
        "device": found.device,
        "processes": found.processes,
        "seconds": round(found.seconds, 2),
        "classes": found.classes,
        "per_clip": found.per_clip,
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def table(evaluation: Evaluation, model_name: str) -> str:
    """The scores as lines of text, aligned, in percent."""
    size = evaluation.protocol["size"]
    binary = not evaluation.classes
    per_group = evaluation.protocol["options"].get("group_size", 1)
    lines = [
        f"{model_name} on {evaluation.setting}, {evaluation.split}: {evaluation.clips} clips, {evaluation.frames} "
        "frames, "
        f"{evaluation.seconds:.1f} s on {evaluation.device}"
        + (f" in {evaluation.processes} processes" if evaluation.processes > 1 else ""),
        "",
    ]
    if binary:
        group = "" if per_group == 1 else f", F over groups of {per_group} clips"
        lines += [f"AVSBench protocol, {size} x {size}{group} (%)", _row("", "M_J", "M_F")]
        lines += [_row("sounding or not", evaluation.scores["miou"], evaluation.scores["f_score"])]
    else:
        kinds = {
            f"all {len(evaluation.classes)} classes, background included": "",
            "without the last class (published as: no background)": "_no_last_class",
            "without the background": "_no_background",
            f"the {sum(entry['miou'] is not None for entry in evaluation.classes)} classes seen": "_seen",
        }
        lines += [f"AVSBench protocol, {size} x {size} (%)", _row("", "mIoU", "F")]
        lines += [
            _row(text, evaluation.scores[f"miou{kind}"], evaluation.scores[f"f_score{kind}"])
            for text, kind in kinds.items()
        ]
    level = evaluation.dataset_level
    lines += ["", "dataset-level protocol, not comparable with the above (%)", _row("", "J", "F", "J&F")]
    lines += [_row("areas summed over all clips", level["miou"], level["f_score"], level["j_and_f"])]
    if evaluation.robust is not None:
        lines += ["", *_robust_lines(evaluation.robust, "M_J" if binary else "mIoU", "M_F" if binary else "F")]
    return "\n".join(lines)


def _robust_lines(robust: dict[str, Any], miou: str, f_score: str) -> list[str]:
    lines = ["AVSBench-Robust, against the original masks (%)", _row("", miou, f_score, "FPR")]
    for sound, scores in robust["sounds"].items():
        lines.append(_row(sound, scores["miou"], scores["f_score"], scores["fpr"]))
    lines += [_row("G", robust["g_miou"], robust["g_f_score"], robust["g_fpr"])]
    lines += [_row("G of a perfect model", robust["ceiling"]["g_miou"], robust["ceiling"]["g_f_score"])]
    if seen := robust["seen"]:
        lines += [_row(f"G over the {seen['classes']} classes seen", seen["g_miou"], seen["g_f_score"])]
        lines += [_row("G over these of a perfect model", seen["ceiling"]["g_miou"], seen["ceiling"]["g_f_score"])]
    rules = ", ".join(f"{rule} ({count})" for rule, count in robust["off_screen_rules"].items())
    return [
        *lines,
        f"  off-screen sound is of a clip with: {rules}; classes known from: {robust['classes_told_by']}",
        "  FPR: share of pixels marked; of a perfect model: masks right when heard, and empty under every other sound",
    ]


def _row(text: str, *values: str | float | None) -> str:
    cells = ("-" if value is None else value if isinstance(value, str) else f"{100 * value:.2f}" for value in values)
    return f"  {text:<54}" + "".join(f"{cell:>8}" for cell in cells)


def save_pictures(
    folder: str | os.PathLike,
    evaluation: Evaluation,
    count: int,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    clips: Dataset,
) -> list[Path]:
    """Draws the `count` worst and the `count` best clips by their own mean IoU: frames, label maps and predictions.

    Args:
        folder: to write `worst-1-<id>.png`, ... and `best-1-<id>.png`, ... into; older ones of these names are
            replaced.
        model, processor, clips: as they were evaluated; the clips drawn run again.

    Returns:
        The files, worst first. With fewer than `2 * count` clips the best are those that are not among the worst.
    """
    ranked = sorted(evaluation.per_clip, key=lambda row: row["miou"])
    worst = ranked[:count]
    chosen = {"worst": worst, "best": ranked[len(worst) :][-count:][::-1] if count else []}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, rows in chosen.items():
        for place, row in enumerate(rows, 1):
            sheet = clip_sheet(evaluation, row, model, processor, clips, f": {kind} {place} of the {len(ranked)}")
            path = folder / f"{kind}-{place}-{file_name_of(row['id'])}.png"
            with atomic_file(path) as temporary:
                sheet.save(temporary, format="PNG", compress_level=3)
            written.append(path)
    return written


def clip_sheet(
    evaluation: Evaluation,
    row: dict[str, Any],
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    clips: Dataset,
    remark: str = "",
) -> Image.Image:
    """One clip's frames, label maps and predictions.

    Args:
        row: of `evaluation.per_clip`.
        model, processor, clips: as they were evaluated; the clip runs again.
        remark: to follow the clip's scores.
    """
    feed = ClipFeed(clips, evaluation.protocol["size"])
    ids = None if not evaluation.classes else match_labels(model.config.id2label, feed.names, feed.setting)
    about = f"IoU {_percent(row['miou'])}, F {_percent(row['f_score'])} in this clip{remark}"
    return comparison_sheet(
        row["id"],
        f"{about} of {evaluation.setting}, {evaluation.split}",
        list(_compared(feed, row["number"], model, processor, ids)),
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _compared(
    feed: ClipFeed,
    number: int,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    label_ids: np.ndarray | None,
) -> Iterator[ComparedFrame]:
    (batch,) = feed.batches(processor, [feed.numbers.index(number)])
    (probabilities,) = predict(model, processor, batch, "original", feed.size)
    (clip,) = batch.clips
    frames, times = feed.clips[number]["frames"], FrameTiming().frame_times(clip.length)
    names = dict(enumerate(feed.names))
    for place, truth, predicted in zip(
        np.flatnonzero(clip.annotated), clip.labels, class_maps(probabilities, label_ids), strict=True
    ):
        yield ComparedFrame(times[place], np.asarray(frames[place].convert("RGB")), truth, predicted, names)
