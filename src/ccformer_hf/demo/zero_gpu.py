"""Hugging Face's ZeroGPU, where the demo runs on it. Import this before anything that may touch CUDA."""

from collections.abc import Callable

SECONDS = 60  # asked for each run; the shorter, the sooner it is granted

try:
    import spaces  # there on Hugging Face's machines only
except ImportError:
    spaces = None


def on_gpu(function: Callable) -> Callable:
    """Makes `function` run on ZeroGPU's GPU, with pickled arguments; elsewhere it stays what it is."""
    return function if spaces is None else spaces.GPU(duration=SECONDS)(function)
