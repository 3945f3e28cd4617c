"""Batch norms that train: with the frames of all processes, as if one process had them all (ours).

torch's own SyncBatchNorm does the same on GPUs only.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


class _SumOverProcesses(torch.autograd.Function):
    """Every process gets the sum; every summand gets the gradients of all processes."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


class BatchNormOfAllProcesses(torch.nn.BatchNorm2d):
    """A BatchNorm2d whose training statistics are over the pictures `(N, C, H, W)` of all processes; N may differ."""

    def forward(self, pictures: Tensor) -> Tensor:
        if not self.training:
            return super().forward(pictures)
        values = pictures.float()  # sums over many pixels lose too much in bf16
        number = values.new_tensor([values.numel() / values.shape[1]])
        sums = _SumOverProcesses.apply(torch.cat([values.sum((0, 2, 3)), number]))  # (C + 1,)
        count = sums[-1].detach()
        mean = sums[:-1] / count  # (C,)
        # The mean first and then the variance about it: two rounds of messages, but E[x^2] - E[x]^2 in one would
        # cancel.
        centred = values - mean[:, None, None]  # (N, C, H, W)
        variance = _SumOverProcesses.apply(centred.square().sum((0, 2, 3))) / count  # (C,)
        if self.track_running_stats:
            # As torch has it: normalised by the biased variance, the statistics kept are the unbiased one's.
            self._count(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(pictures.dtype)

    @torch.no_grad()
    def _count(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def share_batch_norms(module: torch.nn.Module) -> None:
    """Turns every BatchNorm2d inside `module` into one of all processes; its weights and their names stay."""
    for norm in module.modules():
        if type(norm) is torch.nn.BatchNorm2d:
            # The class alone is changed: a new module would have to take over parameters that an optimizer may hold.
            norm.__class__ = BatchNormOfAllProcesses


def training_batch_norms(module: torch.nn.Module) -> list[torch.nn.BatchNorm2d]:
    """Those inside `module` that normalise by the batch at hand."""
    return [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d) and part.training]


@contextmanager
def uncounted(module: torch.nn.Module) -> Iterator[None]:
    """Within it, what passes through batch norms that train does not count for the statistics they keep."""
    norms = training_batch_norms(module)
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
