"""What is left out of a model's probabilities before they become a map (*ours*): unsure classes and specks.

AVSS counts a class in a frame once, however few of its pixels are marked: a few wrong ones cost as much as a missed
object, and are as wrong a name to whoever reads it.

Letters: `K` classes, background first; `h w` the model's map; `N` frames.
"""

import numpy as np
import torch

try:
    from scipy import ndimage
except ImportError:  # models without a `component_threshold` need no scipy
    ndimage = None

CERTAIN = 1e-6  # sounding probability below which nothing can be shared out
EIGHT = np.ones((3, 3), dtype=bool)  # cells that touch at a corner are connected


def without_unsure_classes(probabilities: torch.Tensor, least: float) -> torch.Tensor:
    """Probabilities without the classes that reach `least` nowhere in their frame.

    What the others have goes to those that stay, as far as these are likely in that place themselves: where they have
    the part r of what sounds, they get r of the rest, together 1 - (1 - r)^2. What then remains is background.

    Args:
        probabilities: `(..., K, h, w)`, 0..1, summing to 1 over K.
        least: 0..1.
    """
    classes = probabilities[..., 1:, :, :]  # (..., K - 1, h, w)
    sure = classes * (classes.amax((-2, -1), keepdim=True) >= least)
    sounding, stays = classes.sum(-3, keepdim=True), sure.sum(-3, keepdim=True)  # (..., 1, h, w)
    gain = 2 - stays / sounding.clamp(min=CERTAIN)  # sounding * (1 - (1 - r)^2) is stays * (2 - r)
    return torch.cat([1 - stays * gain, sure * gain], dim=-3)


def without_specks(probabilities: torch.Tensor, threshold: float, share: float) -> torch.Tensor:
    """Probabilities with background in place of what a class marks beside its largest connected component.

    A component stays where it has at least `share` of the area of the largest one of its class in its frame: two dogs
    that bark stay two, and a stray cell makes no box reach across the picture.

    Args:
        probabilities: `(..., K, h, w)`, 0..1, summing to 1 over K.
        threshold: a cell sounds where 1 - P(background) is above it.
        share: 0..1.

    Raises:
        ImportError: without scipy.
    """
    if ndimage is None:
        raise ImportError("leaving out specks needs scipy: pip install scipy")
    frames = probabilities.reshape(-1, *probabilities.shape[-3:])  # (N, K, h, w)
    sounding = 1 - frames[:, 0] > threshold
    likeliest = 1 + frames[:, 1:].max(1).indices  # a fifth of the time of argmax
    marked = (likeliest * sounding).cpu().numpy()  # (N, h, w)
    specks = np.zeros(marked.shape, dtype=bool)
    for frame, class_map in zip(specks, marked, strict=True):
        frame[:] = _specks(class_map, share)
    at = torch.from_numpy(specks).to(probabilities.device)[:, None]  # (N, 1, h, w)
    background = torch.zeros_like(frames[:1, :, :1, :1])  # (1, K, 1, 1)
    background[:, 0] = 1
    return torch.where(at, background, frames).reshape(probabilities.shape)


def _specks(class_map: np.ndarray, share: float) -> np.ndarray:
    """Bool `(h, w)`: cells of components that are smaller than this share of the largest one of their class."""
    specks = np.zeros(class_map.shape, dtype=bool)
    for class_id in set(np.unique(class_map).tolist()) - {0}:
        numbers, _ = ndimage.label(class_map == class_id, EIGHT)
        sizes = np.bincount(numbers.ravel())
        sizes[0] = 0  # what is not of the class
        small = sizes < share * sizes.max()
        small[0] = False
        specks |= small[numbers]
    return specks
