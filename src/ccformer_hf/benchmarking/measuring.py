"""Times calls in interleaved rounds, and counts what they compute and hold; nothing here knows CCFormer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from tqdm import tqdm


def _attention_flops(query, key, value, *_, **__) -> int:
    return sdpa_flop_count(query, key, value)  # shapes (B, heads, tokens, width of a head)


def _attention_backward_flops(gradient, query, key, value, *_, **__) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# The attention that PyTorch runs on a CPU, which its own counter passes over in silence.
ATTENTION_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}


@dataclass(frozen=True)
class Work:
    """A call to measure.

    Attributes:
        name: of what it runs.
        call: runs it once.
        clips, frames, size: of its input: clips of `frames` pictures, each `size` pixels square.
        modules: it runs, for their number of parameters; empty: not known, as of an ONNX file.
        counted: whether FLOPs can be counted, which takes operations that PyTorch runs one by one.
    """

    name: str
    call: Callable[[], object]
    clips: int
    frames: int
    size: int
    modules: Sequence[nn.Module] = ()
    counted: bool = True


@dataclass(frozen=True)
class Row:
    """What was measured of one call.

    Attributes:
        name, clips, frames, size: as of its `Work`.
        seconds: of each round; those of one round stand at the same place in all rows of a table.
        parameters: of what it runs, frozen ones included; None: not known.
        flops: floating-point operations of one call: those of convolutions, matrix products and attention, an addition
            with its multiplication being two; None: not counted.
        memory: bytes of the GPU that one call holds at its peak, its weights included and its input not; None: not on
            a GPU, where nothing measures it.
    """

    name: str
    clips: int
    frames: int
    size: int
    seconds: list[float]
    parameters: int | None = None
    flops: int | None = None
    memory: int | None = None

    @property
    def median(self) -> float:
        """Seconds of the middle round."""
        return float(np.median(self.seconds))


def measure(works: Sequence[Work], rounds: int, device: torch.device, what: str) -> list[Row]:
    """Measures calls in turn, round by round (A B C A B C), so that a slower moment of the machine meets them all.

    Each runs twice before, three times on a GPU: once while its FLOPs are counted, once for its memory.

    Args:
        works: in the order in which they run.
        rounds: times each is timed.
        device: they run on.
        what: the progress bar, which is shown on terminals only, says that this is measured.

    Returns:
        A row per call, in their order.

    Raises:
        ValueError: where one needs more memory than the GPU has.
    """
    seconds: list[list[float]] = [[] for _ in works]
    flops, memory = [], []
    with tqdm(total=len(works) * (rounds + 2), desc=what, leave=False, disable=None) as bar:
        for work in works:
            try:
                if work.counted:
                    flops.append(count_flops(work.call))
                else:
                    work.call()
                    flops.append(None)
                memory.append(_peak_memory(work, device))
            except torch.OutOfMemoryError:
                raise ValueError(
                    f"{work.name} on {work.clips} clips of {work.frames} frames of {work.size} x {work.size} needs "
                    "more memory than the GPU has; expected fewer clips or frames, or smaller ones: "
                    "--batches, --frames, --sizes"
                ) from None
            bar.update()
        for number in range(rounds + 1):
            for work, taken in zip(works, seconds, strict=True):
                value = _timed(work.call, device)
                if number:  # the first round warms up
                    taken.append(value)
                bar.update()
    return [
        Row(work.name, work.clips, work.frames, work.size, taken, _parameters(work), flop, held)
        for work, taken, flop, held in zip(works, seconds, flops, memory, strict=True)
    ]


def ratio(row: Row, floor: Row) -> tuple[float, float, float]:
    """How many times as long as `floor` a row takes: median of the rounds' ratios, lower and upper quartile."""
    low, middle, high = np.quantile(np.array(row.seconds) / np.array(floor.seconds), [0.25, 0.5, 0.75])
    return float(middle), float(low), float(high)


def count_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of a call, see `Row`; what it runs must not have been compiled."""
    with FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_CPU) as counter:
        call()
    return counter.get_total_flops()


def _peak_memory(work: Work, device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work.call()
    torch.cuda.synchronize(device)
    weights = sum(t.nbytes for module in work.modules for t in (*module.parameters(), *module.buffers()))
    return torch.cuda.max_memory_allocated(device) - before + weights


def _timed(call: Callable[[], object], device: torch.device) -> float:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - start


def _parameters(work: Work) -> int | None:
    return sum(p.numel() for module in work.modules for p in module.parameters()) if work.modules else None
