"""Loads a model and its processor: the built-in one, a folder, or from the Hub; what is broken is refused."""

import json
import os
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from .. import auto  # noqa: F401  from_pretrained looks the processor's parts up among the Auto classes
from ..checkpoints import BUILT_IN_MODELS, CHECKPOINTS, DEFAULT_MODEL
from ..model.configuration_ccformer import CCFormerConfig
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor

RECORD_FILE = "checkpoint.json"  # in a model folder: how the model was made, see `ccformer_hf.model_card`
PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


def load(
    model: str | os.PathLike = DEFAULT_MODEL, device: str = "auto"
) -> tuple[CCFormerForAudioVisualSegmentation, AudioVisualProcessor]:
    """Loads a model, ready to use, and its processor.

    Args:
        model: `"ccformer-small"` or `"ccformer-tiny"`, which ship with the package; a folder that `save_pretrained`
            wrote; or a Hub id (`owner/name`).
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, ..., `"mps"`, or `"auto"`: a CUDA GPU where there is one; of several
            processes that a launcher started, each has its own (`LOCAL_RANK`).

    Raises:
        OSError: where there is no such model, or a part of it is missing or damaged.
        ValueError: where it is another kind of model, its weights hold NaN or infinity, or the device is not there.
    """
    place = choose_device(device)
    built_in = str(model) in BUILT_IN_MODELS and not Path(model).is_dir()
    path = CHECKPOINTS / model if built_in else Path(model)
    is_hub_id = isinstance(model, str) and model.count("/") == 1 and not model.startswith((".", "/", "~"))
    if path.is_dir():
        check_model_folder(path)
        name = str(path)
    elif is_hub_id and not path.exists():
        name = str(model)
    elif built_in:
        raise FileNotFoundError(f"{model}: {path} is missing, which ships with the package; install it again")
    else:
        raise FileNotFoundError(
            f"{model}: there is no such model folder; name a folder, a Hub id (owner/name), or "
            f"{' or '.join(BUILT_IN_MODELS)}, which ship with the package"
        )
    try:
        config, _ = CCFormerConfig.get_config_dict(name)
        if config.get("model_type") != CCFormerConfig.model_type:
            raise ValueError(f"{model}: is a model of type {config.get('model_type')!r}; expected a CCFormer")
        processor = AudioVisualProcessor.from_pretrained(name)
        loaded, report = CCFormerForAudioVisualSegmentation.from_pretrained(
            name, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except SafetensorError as error:
        raise OSError(
            f"{model}: its weights are not a whole safetensors file ({error}); fetch or save them again"
        ) from None
    except OSError as error:
        # transformers explains over several lines; the first says what is missing.
        raise OSError(f"{model}: cannot be loaded ({str(error).strip().splitlines()[0]})") from error
    except (ValueError, StrictDataclassError) as error:
        message = " ".join(str(error).split())
        raise ValueError(message if str(model) in message else f"{model}: cannot be loaded ({message})") from None
    if report["missing_keys"]:
        raise OSError(
            f"{model}: its weights lack {len(report['missing_keys'])} parts, "
            f"such as {sorted(report['missing_keys'])[0]}; "
            "save the whole model again"
        )
    if report["mismatched_keys"]:
        part, found, wanted = sorted(report["mismatched_keys"])[0]
        raise ValueError(
            f"{model}: its weights do not fit its config.json, "
            f"{part} has the shape {tuple(found)} and not {tuple(wanted)}; take "
            "both from one model"
        )
    check_weights(loaded, model)
    return loaded.to(place).eval(), processor


def check_weights(loaded: torch.nn.Module, model: str | os.PathLike) -> None:
    """Raises ValueError for NaN or infinity: the masks of such weights look like any others."""
    for name, values in loaded.state_dict().items():
        if not torch.isfinite(values).all():
            raise ValueError(
                f"{model}: its weights are not all numbers, {name} holds NaN or infinity; "
                "take a checkpoint from before training went wrong"
            )


def check_model_folder(path: Path) -> None:
    """Refuses a folder that `load` cannot load, by its files alone: seconds before the weights are read.

    Raises:
        OSError: where a file is missing or cut short.
        ValueError: where the weights are a pickle.
    """
    wanted = "name one that save_pretrained of the model and of its processor wrote"
    if not (path / "config.json").is_file():
        raise FileNotFoundError(f"{path}: has no config.json, so it is not a model folder; {wanted}")
    weights = ["model.safetensors"]
    index = path / "model.safetensors.index.json"  # of large models, whose weights are several files
    if index.is_file() and not (path / weights[0]).is_file():
        try:
            weights = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise OSError(f"{index}: is not a list of weight files; copy or save it again") from None
    pickles = sorted(file.name for file in path.iterdir() if file.suffix in PICKLES)
    if pickles and not (path / weights[0]).is_file():
        raise ValueError(
            f"{path}: its weights are a pickle, {pickles[0]}, which can run any code when it is opened; "
            "if you trust it, write them as safetensors: "
            "model.load_state_dict(torch.load(FILE, weights_only=True)), then model.save_pretrained(FOLDER)"
        )
    for name in (*weights, "processor_config.json"):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path}: has no {name}, so it is not a whole model folder; {wanted}")
    for name in weights:
        try:
            with safe_open(path / name, "pt"):
                pass
        except SafetensorError as error:
            raise OSError(f"{path / name}: is not a whole safetensors file ({error}); copy or save it again") from None


def trained_on(model: CCFormerForAudioVisualSegmentation) -> str | None:
    """What the model was trained on: `trained_on` in its folder's `checkpoint.json`; None where that says nothing."""
    file = Path(model.name_or_path) / RECORD_FILE
    return json.loads(file.read_text(encoding="utf-8")).get("trained_on") if file.is_file() else None


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
