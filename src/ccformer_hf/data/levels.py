"""How loud sound is: its root mean square, and what decibels do to it."""

import numpy as np


def root_mean_square(samples: np.ndarray) -> float:
    """Of a waveform `(S,)`, computed in float64; 0 for one of no samples."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def factor(decibels):
    """What sound is multiplied by to be so many dB louder (below 0: softer): a number or an array, as given."""
    return 10 ** (decibels / 20)
