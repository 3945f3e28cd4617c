"""`evaluate` module: AVSBench's class-wise mIoU and F (AVSS)."""

from typing import Any

from ccformer_hf.metrics import evaluate_module
from ccformer_hf.metrics.semantic import SemanticSegmentation


class AvsSemantic(evaluate_module.SummedMetricModule):
    """AVSBench's semantic scores: label ids; options of `SemanticSegmentation`."""

    def __init__(self, **options: Any):
        super().__init__(SemanticSegmentation, **options)
