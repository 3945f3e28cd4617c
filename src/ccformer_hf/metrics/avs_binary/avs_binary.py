"""`evaluate` module: AVSBench's M_J and M_F (S4, MS3)."""

from typing import Any

from ccformer_hf.metrics import evaluate_module
from ccformer_hf.metrics.binary import BinarySegmentation


class AvsBinary(evaluate_module.SummedMetricModule):
    """AVSBench's binary scores of probabilities, against references of 0 or 1; options of `BinarySegmentation`."""

    def __init__(self, **options: Any):
        super().__init__(BinarySegmentation, **options)
