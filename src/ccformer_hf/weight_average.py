"""A moving average of a model's weights, which often scores better than the weights themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class WeightAverage:
    """Exponential moving average of all parameters; buffers stay the model's own.

    Args:
        model: whose parameters are followed; sharded ones are averaged where they lie.
        decay: share of the average that a step keeps, reached gradually over the first steps; 0: no average is kept.
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        self.parameters = list(model.parameters()) if decay else []
        self.decay, self.updates = decay, 0
        self.weights = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after a step."""
        if not self.parameters:
            return
        self.updates += 1
        # The first weights are mere chance: forget them faster.
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.weights, [parameter.detach() for parameter in self.parameters], 1 - decay)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within it the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for index, parameter in enumerate(self.parameters):
            kept = parameter.detach().clone()
            parameter.copy_(self.weights[index])
            self.weights[index] = kept

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        for weight, saved in zip(self.weights, state["weights"], strict=True):
            weight.copy_(saved)
