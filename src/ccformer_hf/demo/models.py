"""The checkpoints that the demo has at hand."""

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError, RepositoryNotFoundError

from ..checkpoints import BUILT_IN_MODELS, DEFAULT_MODEL
from ..inference.loading import load, trained_on
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Weights and settings; no code of a model is fetched, let alone run.
FILES = ["*.json", "*.safetensors"]
MOST_GIGABYTES = 1.5
MOST_MODELS = 2


@dataclass(frozen=True)
class DemoModel:
    """A checkpoint in memory.

    Attributes:
        name: as it was asked for.
        model: in evaluation mode, on its device.
        processor: of the model.
        trained_on: what its folder says; None where it says nothing.
        labels: class id -> name, without the background.
    """

    name: str
    model: CCFormerForAudioVisualSegmentation
    processor: AudioVisualProcessor
    trained_on: str | None

    @property
    def labels(self) -> dict[int, str]:
        return {class_id: name for class_id, name in self.model.config.id2label.items() if class_id}


class Models:
    """Loads checkpoints when they are asked for, and keeps the two asked for last.

    Args:
        own: the checkpoint of whoever runs the demo: what `load` takes, a folder among others. Users may name any
            other on the Hub.
        device: see `load`.
    """

    def __init__(self, own: str = DEFAULT_MODEL, device: str = "auto"):
        self.own = own
        self._device = device
        self._loaded: OrderedDict[str, DemoModel] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str = "") -> DemoModel:
        """The checkpoint `name`, a Hub id or one that ships with the package; empty: the demo's own.

        Raises:
            OSError: where it is not on the Hub, or not whole.
            ValueError: where it is not a Hub id, another kind of model, or too large.
        """
        name = name.strip() or self.own
        with self._lock:
            if name not in self._loaded:
                folder = name if name in (self.own, *BUILT_IN_MODELS) else _from_hub(name)
                model, processor = load(folder, self._device)
                self._loaded[name] = DemoModel(name, model, processor, trained_on(model))
            self._loaded.move_to_end(name)
            while len(self._loaded) > MOST_MODELS:
                self._loaded.pop(next(other for other in self._loaded if other != self.own))
            return self._loaded[name]


def _from_hub(name: str) -> Path:
    """Fetches a public checkpoint that a user named: without the host's login, and never from a folder here."""
    if not HUB_ID.fullmatch(name):
        raise ValueError(f"{name}: is not the name of a model on the Hub; expected owner/name")
    try:
        files = HfApi(token=False).model_info(name, files_metadata=True, timeout=20).siblings
        gigabytes = sum(file.size or 0 for file in files if file.rfilename.endswith((".json", ".safetensors"))) / 1e9
        if gigabytes > MOST_GIGABYTES:
            raise ValueError(f"{name}: has {gigabytes:.1f} GB, at most {MOST_GIGABYTES} GB can be loaded here")
        return Path(snapshot_download(name, allow_patterns=FILES, token=False))
    except HFValidationError:
        raise ValueError(f"{name}: is not the name of a model on the Hub; expected owner/name") from None
    except RepositoryNotFoundError:  # gated ones too
        raise OSError(f"{name}: there is no such public model on the Hub; check the name") from None
    except (HTTPError, OSError) as error:
        raise OSError(f"{name}: cannot be fetched from the Hub ({type(error).__name__}); try again later") from None
