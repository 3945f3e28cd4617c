"""`evaluate` module: dataset-level J, F and J&F (CAVP, DDESeg, BYOAVP)."""

from typing import Any

from ccformer_hf.metrics import evaluate_module
from ccformer_hf.metrics.dataset_level import DatasetLevelSegmentation


class AvsDataset(evaluate_module.SummedMetricModule):
    """Dataset-level scores: label ids; options of `DatasetLevelSegmentation`."""

    def __init__(self, **options: Any):
        super().__init__(DatasetLevelSegmentation, **options)
