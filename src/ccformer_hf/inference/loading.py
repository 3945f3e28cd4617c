"""Loads a model and its processor: the built-in one, a folder, or from the Hub; what is broken is refused."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import torch
from huggingface_hub import HfApi, ModelInfo, snapshot_download
from huggingface_hub.errors import HTTPError
from safetensors import SafetensorError

from .. import auto  # noqa: F401  from_pretrained looks the processor's parts up among the Auto classes
from ..checkpoints import BUILT_IN_MODELS, DEFAULT_MODEL, model_place
from ..model.configuration_ccformer import CCFormerConfig
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from . import model_folder
from .model_folder import (
    LONGEST_FAULT,
    MOST_GIGABYTES,
    check_model_folder,
    check_network,
    check_processor,
    does_not_fit,
    lacks_parts,
)

# Weights and settings; no code of a model is fetched, let alone run.
HUB_FILES = [*model_folder.SETTINGS, model_folder.RECORD_FILE, "model*.safetensors", model_folder.INDEX]
HUB_TIMEOUT = 20.0  # s without an answer of the Hub


def load(
    model: str | os.PathLike = DEFAULT_MODEL, device: str = "auto", most_gigabytes: float = MOST_GIGABYTES
) -> tuple[CCFormerForAudioVisualSegmentation, AudioVisualProcessor]:
    """Loads a model, ready to use, and its processor.

    Nothing in a folder runs code, and nothing large is allocated before `model_folder` has checked what it asks for.

    Args:
        model: `"ccformer-small"` or `"ccformer-tiny"`, which ship with the package; a folder that `save_pretrained`
            wrote; or a Hub id (`owner/name`).
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, ..., `"mps"`, or `"auto"`: a CUDA GPU where there is one; of several
            processes that a launcher started, each has its own (`LOCAL_RANK`).
        most_gigabytes: that the weights may have, each 1e9 bytes; on the Hub all files together, before any of them is
            fetched.

    Raises:
        OSError: where there is no such model, or a part of it is missing or damaged.
        ValueError: where it is another kind of model or too large, its weights hold NaN or infinity, or the device is
            not there.
    """
    place = choose_device(device)
    folder = Path(model_place(str(model)))
    is_hub_id = isinstance(model, str) and model.count("/") == 1 and not model.startswith((".", "/", "~"))
    if is_hub_id and not folder.exists():
        folder = _fetch(model, most_gigabytes)
    elif not folder.is_dir():
        raise FileNotFoundError(
            f"{model}: {folder} is missing, which ships with the package; install it again"
            if folder != Path(model)
            else f"{model}: there is no such model folder; name a folder, a Hub id (owner/name), or "
            f"{' or '.join(BUILT_IN_MODELS)}, which ship with the package"
        )
    check_model_folder(folder, most_gigabytes)
    with _told_in_one_line(folder):
        config = CCFormerConfig.from_pretrained(str(folder))
        processor = AudioVisualProcessor.from_pretrained(str(folder))
        inputs = check_processor(folder, processor, config)
        check_network(folder, config, most_gigabytes)
        loaded, report = CCFormerForAudioVisualSegmentation.from_pretrained(
            str(folder), config=config, output_loading_info=True, ignore_mismatched_sizes=True
        )
        if report["missing_keys"]:
            raise lacks_parts(folder, sorted(report["missing_keys"]))
        if report["mismatched_keys"]:
            raise does_not_fit(folder, *sorted(report["mismatched_keys"])[0])
        check_weights(loaded, folder)
        loaded.model.check_inputs(inputs["pixel_values"], inputs["input_features"])
    if is_hub_id and folder != Path(model):
        loaded.name_or_path = loaded.config.name_or_path = model
        loaded.config._commit_hash = folder.name
    return loaded.to(place).eval(), processor


def hub_files(info: ModelInfo) -> dict[str, int]:
    """What `load` takes of a model on the Hub: bytes by name.

    Args:
        info: what the Hub says of it, with `files_metadata`.
    """
    names = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    return {name: size for name, size in names.items() if any(fnmatch(name, pattern) for pattern in HUB_FILES)}


def _fetch(model: str, most_gigabytes: float) -> Path:
    """The folder with the files of a model on the Hub; no code is fetched, and nothing where it is too large."""
    try:
        info = HfApi().model_info(model, files_metadata=True, timeout=HUB_TIMEOUT)
        gigabytes = sum(hub_files(info).values()) / 1e9
    except (HTTPError, OSError, ValueError):
        gigabytes = 0.0  # the Hub cannot be asked: what follows takes the model from the cache, or says why
    if gigabytes > most_gigabytes:
        raise ValueError(
            f"{model}: has {gigabytes:.1f} GB on the Hub, expected at most {most_gigabytes:g} GB; nothing was "
            "fetched; if it is meant to be so large, load it with load(..., most_gigabytes=...)"
        )
    try:
        return Path(snapshot_download(model, allow_patterns=HUB_FILES))
    except (HTTPError, OSError, ValueError) as error:
        # The Hub's client explains over several lines; the first says what is missing.
        fault = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(
            f"{model}: cannot be fetched from the Hub ({fault}); check the name and the connection"
        ) from None


@contextmanager
def _told_in_one_line(folder: Path) -> Iterator[None]:
    """Whatever transformers and timm raise for a folder that they did not expect becomes an OSError or a ValueError
    that names it."""
    try:
        yield
    except Exception as error:
        text = " ".join((str(error) or type(error).__name__).split())[:LONGEST_FAULT]
        kind = OSError if isinstance(error, (OSError, SafetensorError)) else ValueError
        if text.startswith(str(folder)):  # it is ours
            raise kind(text) from None
        raise kind(f"{folder}: cannot be loaded ({text}); copy or save it again") from error


def check_weights(loaded: torch.nn.Module, model: str | os.PathLike) -> None:
    """Raises ValueError for NaN or infinity: the masks of such weights look like any others."""
    for name, values in loaded.state_dict().items():
        if not torch.isfinite(values).all():
            raise ValueError(
                f"{model}: its weights are not all numbers, {name} holds NaN or infinity; "
                "take a checkpoint from before training went wrong"
            )


def trained_on(model: CCFormerForAudioVisualSegmentation) -> str | None:
    """What the model was trained on, as its folder says; None where that says nothing."""
    return model_folder.trained_on(Path(model.name_or_path))


def choose_device(device: str) -> torch.device:
    """The device of a name as `load` takes it.

    Raises:
        ValueError: where it is not there.
    """
    if device == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device is {device!r}; expected 'auto', 'cpu', 'cuda', 'cuda:1', ... or 'mps'") from None
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(
            f"device is 'mps', but PyTorch {torch.__version__} sees no GPU of Apple's here; use 'cpu' or 'auto'"
        )
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {device!r}, but PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA GPUs here; "
            "use 'cpu' or "
            "'auto'"
        )
    return place
