"""A moving average of a model's weights, which often scores better than the weights themselves."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from .pretrained_weights import differences


class ExponentialMovingAverage:
    """Exponential moving average of all parameters; buffers stay the model's own.

    Args:
        model: whose parameters are followed.
        decay: share of the average that a step keeps, reached gradually over the first steps; 0: no average is kept.

    Attributes:
        weights: the average, by the names of the parameters; empty where none is kept.
        updates: steps taken in.
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        self.parameters = dict(model.named_parameters()) if decay else {}
        self.decay, self.updates = decay, 0
        self.weights = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after a step."""
        if not self.parameters:
            return
        self.updates += 1
        # The first weights are mere chance: forget them faster.
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        # One fused call for all tensors; a loop over hundreds of small ones would wait for as many GPU kernels.
        now = [parameter.detach() for parameter in self.parameters.values()]
        torch._foreach_lerp_(list(self.weights.values()), now, 1 - decay)

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
        for name, parameter in self.parameters.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.weights[name])
            self.weights[name] = kept

    def load(self, weights: Mapping[str, torch.Tensor], updates: int) -> None:
        """Goes back to an average kept before.

        Raises:
            ValueError: for the average of another model.
        """
        shapes, wanted = ({name: tensor.shape for name, tensor in of.items()} for of in (weights, self.weights))
        if shapes != wanted:
            raise ValueError(f"the average is of another model: {differences(shapes, wanted)}")
        for name, weight in self.weights.items():
            weight.copy_(weights[name])
        self.updates = updates
