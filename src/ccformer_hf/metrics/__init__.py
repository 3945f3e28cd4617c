"""Scores of audio-visual segmentation, from sums only: plain classes (`binary`, ...) and `evaluate` modules."""

from importlib.resources import files
from typing import Any

METRICS = ("avs_binary", "avs_semantic", "avs_dataset")


def load_metric(name: str, **options: Any):
    """Loads one of the metrics as an `evaluate` module (*ours*), offline too.

    `evaluate.load(path)` does the same with the folder of that name beside this file.

    Args:
        name: "avs_binary" (S4, MS3: `binary.BinarySegmentation`), "avs_semantic" (AVSS:
            `semantic.SemanticSegmentation`) or "avs_dataset" (`dataset_level.DatasetLevelSegmentation`).
        options: of that class (`num_labels=71`, `group_size=8`, ...), and those of `evaluate.load` (`num_process`,
            `process_id`, `experiment_id`, `cache_dir`, `keep_in_memory`, `seed`, `timeout`).

    Returns:
        `evaluate.Metric` with `add`, `add_batch` and `compute`.

    Raises:
        ValueError: for another name, or an option's value.
        ImportError: where `evaluate` is not installed.
    """
    if name not in METRICS:
        raise ValueError(f"there is no metric {name!r}, only {', '.join(METRICS)}")
    try:
        import evaluate
    except ImportError as error:
        raise ImportError('load_metric needs evaluate: pip install "ccformer-hf[train]"') from error
    return evaluate.load(str(files(__name__) / name), **options)
