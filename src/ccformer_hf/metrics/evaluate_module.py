"""What the three `evaluate` modules share. Imports `evaluate`, which takes seconds: import it from nowhere else."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import datasets
import evaluate
import numpy as np

from .sums import SummedMetric

CITATION = """@inproceedings{zhou2022avs, title={Audio-Visual Segmentation}, booktitle={ECCV}, year={2022},
author={Zhou, Jinxing and Wang, Jianyuan and Zhang, Jiayi and Sun, Weixuan and Zhang, Jing and Birchfield, Stan and
Guo, Dan and Kong, Lingpeng and Wang, Meng and Zhong, Yiran}}"""


class SummedMetricModule(evaluate.Metric):
    """An `evaluate.Metric` around a metric of sums (*ours*): its Arrow file gets one row per process, never a picture.

    With `num_process` > 1 all processes must call `compute` within `timeout` seconds of each other; process 0 gets the
    scores, the others None.

    Args:
        metric: makes the metric, from the options.
        cache_dir, num_process, process_id, seed, experiment_id, keep_in_memory, config_name, hash,
        max_concurrent_cache_files, timeout: as in `evaluate.Metric`.
        options: of the metric.
    """

    def __init__(
        self,
        metric: Callable[..., SummedMetric],
        *,
        config_name: str | None = None,
        keep_in_memory: bool = False,
        cache_dir: str | None = None,
        num_process: int = 1,
        process_id: int = 0,
        seed: int | None = None,
        experiment_id: str | None = None,
        hash: str | None = None,
        max_concurrent_cache_files: int = 10000,
        timeout: float = 100,
        **options: Any,
    ):
        self.new_metric = partial(metric, **options)
        self.metric = self.new_metric()
        super().__init__(
            config_name=config_name,
            keep_in_memory=keep_in_memory,
            cache_dir=cache_dir,
            num_process=num_process,
            process_id=process_id,
            seed=seed,
            experiment_id=experiment_id,
            hash=hash,
            max_concurrent_cache_files=max_concurrent_cache_files,
            timeout=timeout,
        )

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__,
            citation=CITATION,
            inputs_description=type(self.metric).add.__doc__,
            features=datasets.Features({"state": datasets.List(datasets.Value("int64"))}),
        )

    def add(self, *, predictions: np.ndarray, references: np.ndarray, **of_clip: Any) -> None:
        """Adds one clip: `predictions` and `references` `(T, H, W)`, and what else the metric's `add` takes.

        Raises:
            ValueError: for input of another shape, type or range.
        """
        self.metric.add(predictions, references, **of_clip)

    def add_batch(
        self, *, predictions: Sequence[np.ndarray], references: Sequence[np.ndarray], **of_clips: Sequence[Any]
    ) -> None:
        """Adds clips: lists of `(T, H, W)`, or `(B, T, H, W)`; what else the metric's `add` takes as lists of B.

        Raises:
            ValueError: for lists of different lengths; for input of another shape, type or range.
        """
        lists = {"predictions": predictions, "references": references, **of_clips}
        lengths = {name: len(values) for name, values in lists.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"a batch needs as many of each, one per clip, got {lengths}")
        for clip in zip(*lists.values(), strict=True):
            self.add(**dict(zip(lists, clip, strict=True)))

    def compute(
        self,
        *,
        predictions: Sequence[np.ndarray] | None = None,
        references: Sequence[np.ndarray] | None = None,
        **of_clips: Sequence[Any],
    ) -> dict[str, Any] | None:
        """Scores of the clips added since the last `compute`, here and in the other processes, with these added first.

        Returns:
            The metric's scores; None in the processes other than 0.

        Raises:
            ValueError: where no process added a clip; for predictions without references, or the reverse.
        """
        if (predictions is None) != (references is None):
            raise ValueError("compute() got only one of predictions and references: pass both, or none after add()")
        if predictions is not None:
            self.add_batch(predictions=predictions, references=references, **of_clips)
        states = [self.metric.state()]
        self.metric = self.new_metric()
        if self.num_process > 1:
            evaluate.Metric.add_batch(self, state=states)
            states = evaluate.Metric.compute(self)
        if states is None:
            return None
        whole = self.new_metric()
        for state in states:
            whole.add_state(state)
        return whole.compute()

    def _compute(self, state: list[list[int]]) -> list[list[int]]:
        return state  # what all processes wrote; `compute` adds it up once evaluate has released its files
