"""Loads networks of transformers that others have trained: whole ones only, and nothing in them is run as code."""

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel

from ..inference.loading import check_weights


def model_type(name: str) -> str:
    """What kind of network a folder or a Hub id holds, as its `config.json` says.

    Raises:
        OSError: where there is none.
        ValueError: where it does not say.
    """
    try:
        config, _ = PreTrainedConfig.get_config_dict(name)
    except OSError as error:
        raise OSError(
            f"{name}: cannot be found ({_first_line(error)}); name a folder, or a Hub id (owner/name), and check the "
            "connection"
        ) from None
    if not isinstance(config.get("model_type"), str):
        raise ValueError(f"{name}: its config.json does not say which kind of model it is; expected a model_type")
    return config["model_type"]


def load_network(network: type[PreTrainedModel], name: str, device: torch.device) -> PreTrainedModel:
    """A trained network in float32, ready to use.

    Args:
        network: its class.
        name: folder or Hub id.
        device: to put it on.

    Raises:
        OSError: where its weights are missing, no safetensors, damaged or not complete.
        ValueError: where they do not fit its config, or hold NaN or infinity.
    """
    try:
        model, report = network.from_pretrained(
            name, use_safetensors=True, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, SafetensorError) as error:
        raise OSError(f"{name}: its weights cannot be loaded ({_first_line(error)}); expected safetensors") from None
    except (ValueError, StrictDataclassError) as error:
        raise ValueError(f"{name}: cannot be loaded ({_first_line(error)})") from None
    wrong = sorted(report["missing_keys"]) + sorted(key for key, *_ in report["mismatched_keys"])
    if wrong:
        raise OSError(f"{name}: its weights lack {len(wrong)} parts, such as {wrong[0]}; take the whole model")
    check_weights(model, name)
    return model.to(device).eval()


def load_processor(processor: type, name: str):
    """Tokenizer, feature extractor, image processor or all of them of a folder or Hub id.

    Args:
        processor: the class whose `from_pretrained` reads it.

    Raises:
        OSError: where a file of it is missing.
        ValueError: where it cannot be used.
    """
    try:
        return processor.from_pretrained(name)
    except OSError as error:
        raise OSError(f"{name}: its processor cannot be loaded ({_first_line(error)}); take the whole model") from None
    except (ValueError, ImportError) as error:
        raise ValueError(f"{name}: its processor cannot be loaded ({_first_line(error)})") from None


def _first_line(error: BaseException) -> str:
    """transformers explains over several lines; the first says what is wrong."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
