"""Looks a model folder over before any of it is loaded: sizes and numbers against bounds, files that could run code.

A folder may come from anywhere. What `config.json` asks for is found by building the network on the `meta` device,
where tensors have a shape and no memory, and is stopped as soon as it is beyond a bound.
"""

import json
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import BatchFeature
from transformers import initialization as init

from ..model.configuration_ccformer import CCFormerConfig
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from ..model.timing_ccformer import SAMPLING_RATE

RECORD_FILE = "checkpoint.json"  # in a model folder: how the model was made, see `ccformer_hf.model_card`
CONFIG, PROCESSOR = "config.json", "processor_config.json"
SETTINGS = (CONFIG, PROCESSOR, "preprocessor_config.json")  # the last by an older transformers
WEIGHTS, INDEX = (
    "model.safetensors",
    "model.safetensors.index.json",
)  # of large models, whose weights are several files
PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")

MOST_GIGABYTES = 4.0  # of weights, each 1e9 bytes: in the files, and in memory
LARGEST_SETTINGS = 4 << 20  # bytes of a JSON file
LARGEST_NUMBER = 1 << 16  # that may stand in a JSON file: layers, widths, points, ids
MOST_PARTS = 20_000  # modules, parameters and buffers of a network
MOST_QUERIES = 1024
LONGEST_FAULT = 400  # characters of what another library says
LARGEST_PICTURE = 2048  # pixels of a side of what the model sees
# What config.json might say to have other code or other files loaded than the model's own.
NO_BUSINESS = (
    "attn_implementation",
    "distributed_config",
    "experts_implementation",
    "fusion_config",
    "quantization_config",
    "transformers_weights",
)


def read_settings(file: Path) -> dict[str, Any]:
    """The content of a JSON file of a model folder.

    Raises:
        OSError: where it is larger than `LARGEST_SETTINGS`, or is not a JSON object.
    """
    if file.stat().st_size > LARGEST_SETTINGS:
        megabytes = file.stat().st_size / 1e6
        raise OSError(f"{file}: has {megabytes:.0f} MB, expected at most {LARGEST_SETTINGS / 1e6:.0f} MB of JSON")
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise OSError(f"{file}: is not a JSON file; copy or save it again") from None
    if not isinstance(settings, dict):
        raise OSError(f"{file}: holds {_short(settings)}, expected names and values, {{...}}; copy or save it again")
    return settings


def check_model_folder(path: Path, most_gigabytes: float = MOST_GIGABYTES) -> None:
    """Refuses a folder that `load` cannot load, or should not, by its files alone.

    Raises:
        OSError: where a file is missing, cut short, or too large to be what its name says.
        ValueError: where the weights are a pickle or larger than `most_gigabytes`, or the settings name other code or
            files, or numbers beyond the bounds above.
    """
    wanted = "name one that save_pretrained of the model and of its processor wrote"
    if not (path / CONFIG).is_file():
        inside = [path / name for name in ("best", "last") if (path / name / CONFIG).is_file()]
        if inside:
            raise FileNotFoundError(f"{path}: is the folder of a training run; name its model, {inside[0]}")
        raise FileNotFoundError(f"{path}: has no {CONFIG}, so it is not a model folder; {wanted}")
    weights = weight_files(path)
    pickles = sorted(file.name for file in path.iterdir() if file.suffix in PICKLES)
    if pickles and not weights[0].is_file():
        raise ValueError(
            f"{path}: its weights are a pickle, {pickles[0]}, which can run any code when it is opened; "
            "if you trust it, write them as safetensors: "
            "model.load_state_dict(torch.load(FILE, weights_only=True)), then model.save_pretrained(FOLDER)"
        )
    for file in (*weights, path / PROCESSOR):
        if not file.is_file():
            raise FileNotFoundError(f"{path}: has no {file.name}, so it is not a whole model folder; {wanted}")
    if (path / "adapter_config.json").is_file():
        raise ValueError(
            f"{path}: holds an adapter of peft beside the model; merge them (`merge_and_unload`) and save the model"
        )
    gigabytes = sum(file.stat().st_size for file in weights) / 1e9
    if gigabytes > most_gigabytes:
        raise ValueError(
            f"{path}: its weights have {gigabytes:.1f} GB, expected at most {most_gigabytes:g} GB; if it is meant to "
            "be so large, load it with load(..., most_gigabytes=...)"
        )
    for file in weights:
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError as error:
            raise OSError(f"{file}: is not a whole safetensors file ({error}); copy or save it again") from None
    for name in SETTINGS:
        if (path / name).is_file():
            _check_numbers(path / name, read_settings(path / name))
    _check_config(path / CONFIG, read_settings(path / CONFIG))
    trained_on(path)


def weight_files(path: Path) -> list[Path]:
    """The files of a model folder that hold its weights: those that its index names where there is one and no
    `model.safetensors`.

    Raises:
        OSError: where the index is damaged, or names a file outside the folder.
    """
    index = path / INDEX
    if (path / WEIGHTS).is_file() or not index.is_file():
        return [path / WEIGHTS]
    fault = f"{index}: is not a list of weight files; copy or save it again"
    try:
        names = sorted(set(read_settings(index)["weight_map"].values()))
    except (LookupError, TypeError, AttributeError):
        raise OSError(fault) from None
    plain = [name for name in names if isinstance(name, str) and name.endswith(".safetensors") and is_plain(name)]
    if not names or plain != names:
        raise OSError(fault)
    return [path / name for name in names]


def check_network(path: Path, config: CCFormerConfig, most_gigabytes: float = MOST_GIGABYTES) -> None:
    """Refuses a network that is too large, or whose numbers are not all in the folder's weights.

    Raises:
        OSError: where the weights lack parts.
        ValueError: where the network has more than `most_gigabytes` or `MOST_PARTS`, or the weights have other shapes.
    """
    with _bounded(path, most_gigabytes):
        network = build_without_memory(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    held = {}
    for file in weight_files(path):
        with safe_open(file, "pt") as weights:
            held |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}
    for part in sorted(wanted.keys() & held.keys()):
        if wanted[part] != held[part]:
            raise does_not_fit(path, part, held[part], wanted[part])
    if sum(map(math.prod, wanted.values())) > sum(map(math.prod, held.values())):
        raise lacks_parts(path, sorted(wanted.keys() - held.keys()))
    # Names that an older transformers gave are told apart by `from_pretrained`.


def lacks_parts(model: Any, missing: Sequence[str]) -> OSError:
    """The error of weights that are not all there."""
    return OSError(f"{model}: its weights lack {len(missing)} parts, such as {missing[0]}; save the whole model again")


def does_not_fit(model: Any, part: str, found: Sequence[int], wanted: Sequence[int]) -> ValueError:
    """The error of weights that are another network's."""
    return ValueError(
        f"{model}: its weights do not fit its config.json, {part} has the shape {tuple(found)} and not "
        f"{tuple(wanted)}; take both from one model"
    )


def check_processor(path: Path, processor: AudioVisualProcessor, config: CCFormerConfig) -> BatchFeature:
    """Refuses a processor that makes pictures of more than `LARGEST_PICTURE` pixels a side, that one black picture
    and one second of silence cannot go through, or whose sounds are another network's than that of `config`.

    Returns:
        What it makes of these two, for the network to look at.

    Raises:
        ValueError: names the setting, where it is known.
    """
    for name in ("size", "crop_size", "pad_size"):
        sides = getattr(processor.image_processor, name, None)
        if sides is not None and max(side or 0 for side in dict(sides).values()) > LARGEST_PICTURE:
            raise ValueError(
                f"{path / PROCESSOR}: {name} is {dict(sides)}, expected at most {LARGEST_PICTURE} pixels a side"
            )
    made, taken = processor.feature_extractor.example_shape, config.audio_example
    if made != taken:
        raise ValueError(
            f"{path / PROCESSOR}: makes a frame's sound {made[0]} columns by {made[1]} bands, and the audio encoder "
            f"of {CONFIG} takes {taken[0]} by {taken[1]}; take both from one model"
        )
    # The network takes no picture of that size unless the processor resizes it.
    black, silence = np.zeros((1, 48, 80, 3), np.uint8), np.zeros(SAMPLING_RATE, np.float32)
    try:
        with np.errstate(all="ignore"):
            inputs = processor(black, audio=silence, sampling_rate=SAMPLING_RATE, fps=1.0)
    except Exception as error:  # whatever transformers, NumPy and PyTorch make of settings that are none
        text = " ".join((str(error) or type(error).__name__).split())[:LONGEST_FAULT]
        raise ValueError(
            f"{path / PROCESSOR}: no picture can be made ready with its settings ({text}); copy or save it again"
        ) from error
    for name in ("pixel_values", "input_features"):
        if not torch.isfinite(inputs[name]).all():
            raise ValueError(
                f"{path / PROCESSOR}: its settings make NaN or infinity of a black picture or of silence ({name}); "
                "copy or save it again"
            )
    return inputs


def trained_on(path: Path) -> str | None:
    """What the model of a folder was trained on: `trained_on` in its `checkpoint.json`; None where that says nothing.

    Raises:
        OSError: where the file is damaged.
    """
    if not (path / RECORD_FILE).is_file():
        return None
    value = read_settings(path / RECORD_FILE).get("trained_on")
    if value is not None and not isinstance(value, str):
        raise OSError(f"{path / RECORD_FILE}: trained_on is {_short(value)}, expected words; fix or remove it")
    return value


def build_without_memory(config: CCFormerConfig) -> CCFormerForAudioVisualSegmentation:
    """The network of `config` in evaluation mode on the `meta` device: shapes, no numbers."""
    with torch.device("meta"), init.no_init_weights():
        return CCFormerForAudioVisualSegmentation(config).requires_grad_(False).eval()


def frame_cost(config: CCFormerConfig, processor: AudioVisualProcessor) -> tuple[int, int]:
    """What one frame at the processor's size costs (*ours*): bytes of the largest tensor, and floating-point
    operations. Nothing is computed."""
    network = build_without_memory(config)
    size = processor.image_processor.size
    pixels = torch.empty(1, 1, 3, size["height"], size["width"], device="meta")
    examples = processor.feature_extractor.examples_per_frame
    sound = torch.empty(1, 1, examples, *config.audio_example, device="meta")
    largest, operations = _Largest(), FlopCounterMode(display=False)
    with torch.inference_mode(), torch.device("meta"), operations, largest:
        network(pixel_values=pixels, input_features=sound)
    return largest.bytes, operations.get_total_flops()


class _Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that an operation gives."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.bytes = max(self.bytes, *(tensor.numel() * tensor.element_size() for tensor in tensors), 0)
        return result


@contextmanager
def _bounded(path: Path, most_gigabytes: float) -> Iterator[None]:
    """Stops the building of a network, in this thread, as soon as it is larger than it may be."""
    thread, parts, numbers = threading.get_ident(), 0, 0

    def count(_: torch.nn.Module, name: str, value: Any) -> None:
        nonlocal parts, numbers
        if threading.get_ident() != thread or value is None:
            return
        parts += 1
        if isinstance(value, torch.Tensor):
            numbers += value.numel()
        if numbers * 4 > most_gigabytes * 1e9:  # float32
            raise ValueError(
                f"{path / CONFIG}: asks for a network of more than {most_gigabytes:g} GB; if it is meant to be so "
                "large, load it with load(..., most_gigabytes=...)"
            )
        if parts > MOST_PARTS:
            raise ValueError(f"{path / CONFIG}: asks for a network of more than {MOST_PARTS} parts")

    registered = [
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_buffer_registration_hook(count),
        hooks.register_module_module_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in registered:
            hook.remove()


def _check_config(file: Path, settings: dict[str, Any]) -> None:
    if settings.get("model_type") != CCFormerConfig.model_type:
        raise ValueError(
            f"{file}: is of a model of type {_short(settings.get('model_type'))}; expected a CCFormer, "
            f"{CCFormerConfig.model_type!r}"
        )
    parts = [settings.get(name) for name in ("backbone_config", "audio_config")]
    for part in (settings, *(part for part in parts if isinstance(part, dict))):
        found = [name for name in NO_BUSINESS if part.get(name) is not None]
        if found:
            raise ValueError(f"{file}: sets {found[0]}, which a model folder must not; remove it there")
    for name in ("num_queries", "num_video_queries"):
        value = settings.get(name, 1)
        if isinstance(value, int) and value > MOST_QUERIES:
            raise ValueError(f"{file}: {name} is {value}, expected at most {MOST_QUERIES}")


def _check_numbers(file: Path, settings: dict[str, Any]) -> None:
    for name, value in _leaves(settings):
        if isinstance(value, (int, float)) and not abs(value) <= LARGEST_NUMBER:  # NaN too
            raise ValueError(
                f"{file}: {name} is {_short(value)}, expected a number of at most {LARGEST_NUMBER}; "
                "copy or save it again"
            )


def _leaves(settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """All values of a JSON object that are not lists or objects, each with the name that it stands under."""
    left = list(settings.items())
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left += value.items()
        elif isinstance(value, list):
            left += ((name, item) for item in value)
        else:
            yield name, value


def is_plain(name: str) -> bool:
    """Whether a name is that of a file in the folder itself, on any system."""
    return name not in ("", ".", "..") and PurePosixPath(name).name == name == PureWindowsPath(name).name


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
