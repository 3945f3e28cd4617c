"""Reads single files of a data set: label pictures, sound, official log-mel files.

PyTorch is imported for log-mel files only: without it, and transformers, the processes that check, convert or compose
clips start in 2 s, not 11.
"""

import io
import os
import pickle
import pickletools
import wave
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..model import media_ccformer
from ..model.pictures_ccformer import ID_MODES, IGNORE_LABEL, read_labels
from ..model.timing_ccformer import EXAMPLE_COLUMNS
from .avsbench import AVSS_CLASS_NAMES, avss_palette

MEL_BANDS = 64


def read_label_map(source: str | os.PathLike | io.BytesIO, num_classes: int, binary: bool, name: str) -> np.ndarray:
    """The class ids of a label picture.

    Args:
        source: file to open.
        num_classes: K, background included.
        binary: whether every pixel that is not 0 means class 1, as in the masks of s4 and ms3 (1 bit, 0/255, or RGB).
        name: of the file, for errors.

    Returns:
        uint8 `(H, W)`: 0 = background .. K - 1; 255 = ignore. A picture in colours is read by AVSBench's palette where
            the classes are
        AVSBench's 71; an unknown colour is background there (lineage).

    Raises:
        FileNotFoundError: where the file is not there.
        ValueError: for a picture that cannot be decoded, ids from K on other than 255, or colours that stand for
            nothing.
    """
    image = read_labels(source, name)
    if binary:
        pixels = np.asarray(image if image.mode in ID_MODES else image.convert("RGB"))
        return (pixels.reshape(*pixels.shape[:2], -1) != 0).any(axis=-1).astype(np.uint8)
    if image.mode in ID_MODES:
        ids = np.asarray(image)  # of a picture with a palette the index counts, not the colour
    elif num_classes == len(AVSS_CLASS_NAMES):
        ids = _ids_of_colours(np.asarray(image.convert("RGB")))
    else:
        raise ValueError(
            f"{name}: is a picture in {image.mode}; expected one number per pixel, its class id: grey or palette PNG"
        )
    wrong = ((ids < 0) | (ids >= num_classes)) & (ids != IGNORE_LABEL)
    if wrong.any():
        raise ValueError(
            f"{name}: holds the class id {ids[wrong][0]}; expected 0 (background) to {num_classes - 1}, or 255 for "
            "pixels to ignore"
        )
    return ids.astype(np.uint8)


@lru_cache(maxsize=1)
def _colour_table() -> np.ndarray:
    """Class id `(2**24,)` uint8 of every colour, 0 for those of no class."""
    red, green, blue = avss_palette()[: len(AVSS_CLASS_NAMES)].astype(np.int64).T
    table = np.zeros(1 << 24, dtype=np.uint8)
    table[red << 16 | green << 8 | blue] = np.arange(len(AVSS_CLASS_NAMES))
    return table


def _ids_of_colours(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return _colour_table()[red << 16 | green << 8 | blue]


def read_sound(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """The sound of any media file PyAV reads: mono float32 `(samples,)` in -1..1 at its own rate, and that rate.

    Raises:
        MediaError: where the file cannot be read, has no sound, or states a rate below 1000 (a ValueError too).
    """
    if str(path).lower().endswith(".wav"):
        try:
            samples, rate = _read_pcm(path)
            media_ccformer.check_sound_rate(path, rate)
            return samples, rate
        except (wave.Error, EOFError):  # other codecs in wav, and what is broken, are PyAV's to read or to refuse
            pass
    return media_ccformer.read_sound(path)


def _read_pcm(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """AVSBench's own form, 16-bit wav: 0.3 ms for 5 s where PyAV takes 14 (measured); training reads many."""
    with wave.open(os.fspath(path), "rb") as file:
        channels, rate = file.getnchannels(), file.getframerate()
        content = file.readframes(file.getnframes()) if file.getsampwidth() == 2 else b""
    whole = len(content) // (2 * channels) * (2 * channels)  # a file that was cut short may end within a sample
    if not whole:
        raise wave.Error("no samples of 16 bits")
    samples = np.frombuffer(content[:whole], dtype="<i2").reshape(-1, channels)
    return (samples / np.float32(32768)).mean(axis=1, dtype=np.float32), rate


class _TensorUnpickler(pickle.Unpickler):
    """Rebuilds a tensor and nothing else: a pickle can name any function to call, here only these three are found."""

    def find_class(self, module: str, name: str):
        import torch

        allowed = {
            ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
            ("torch.storage", "_load_from_bytes"): lambda data: torch.load(io.BytesIO(data), weights_only=True),
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a tensor does not need")
        return allowed[module, name]


def _check_memo(content: bytes) -> None:
    """Refuses places in the memo beyond any that are needed: there is memory for all up to the highest."""
    for code, place, _ in pickletools.genops(content):
        if code.name.endswith("PUT") and int(place) > len(content):
            raise pickle.UnpicklingError(f"its memo has the place {place}")


def read_log_mel(path: str | os.PathLike) -> np.ndarray:
    """Log-mel examples of an official `audio_log_mel/*.pkl`, without running any code that a pickle may carry.

    Returns:
        float32 `(T, 1, 96, 64)`: example l starts at 0.96 * l seconds (alignment `"avsbench"`).

    Raises:
        ValueError: for a file that is not the pickle of such a tensor, or one that holds NaN.
    """
    import torch

    wanted = f"expected a pickled float32 tensor (T, 1, {EXAMPLE_COLUMNS}, {MEL_BANDS}) as AVSBench ships it"
    try:
        content = Path(path).read_bytes()
        _check_memo(content)
        tensor = _TensorUnpickler(io.BytesIO(content)).load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(f"{path}: cannot be read ({error}); {wanted}") from None
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != 4 or tensor.shape[1:] != (1, EXAMPLE_COLUMNS, MEL_BANDS):
        what = f"a tensor {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else f"a {type(tensor).__name__}"
        raise ValueError(f"{path}: holds {what}; {wanted}")
    if tensor.numel() * tensor.element_size() > len(content):  # one number can be stretched to any length
        raise ValueError(f"{path}: holds fewer numbers than its shape {tuple(tensor.shape)} says; {wanted}")
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{path}: holds NaN or infinite values; {wanted}")
    return tensor.detach().float().numpy()
