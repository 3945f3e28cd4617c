"""The checkpoints that the demo has at hand."""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import HFValidationError, HTTPError, RepositoryNotFoundError

from ..atomic import scratch_folder
from ..checkpoints import BUILT_IN_MODELS, DEFAULT_MODEL
from ..inference.loading import HUB_TIMEOUT, hub_files, load, trained_on
from ..inference.model_folder import frame_cost, is_plain
from ..model.download_ccformer import fetch
from ..model.media_ccformer import MediaError
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Of a checkpoint that a user names. A ResNet-50 model takes 20 GFLOPs and 6 MB for a frame of 224 x 224.
MOST_GIGABYTES = 1.5
MOST_OPERATIONS_PER_FRAME = 250e9
MOST_BYTES_PER_FRAME = 100e6  # of its largest tensor
MOST_MODELS = 4  # in memory, the demo's own among them


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
    """The checkpoints that are loaded: the demo's own, those that ship with the package, and some of the Hub.

    What comes from the Hub is fetched outside of any lock, so that everybody else's page goes on, and is not kept on
    the disk.

    Args:
        own: the checkpoint of whoever runs the demo: what `load` takes, a folder among others.
        device: see `load`.
    """

    def __init__(self, own: str = DEFAULT_MODEL, device: str = "auto"):
        self.own = own
        self._device = device
        self._loaded: OrderedDict[str, DemoModel] = OrderedDict()
        self._lock = threading.Lock()  # of the dict alone
        self._loading = threading.Lock()  # one at a time takes memory for it

    def get(self, name: str = "") -> DemoModel:
        """The checkpoint `name`; empty: the demo's own. Nothing is fetched.

        Raises:
            OSError: where one of the demo's own is not whole.
            ValueError: where it is another one that is not, or no longer, loaded.
        """
        name = name.strip() or self.own
        loaded = self._at_hand(name)
        if loaded is None and name in (self.own, *BUILT_IN_MODELS):
            with self._loading:
                loaded = self._at_hand(name) or self._keep(name, *load(name, self._device))
        if loaded is None:
            raise ValueError(f"{name}: is not loaded here, or no longer; load it as another checkpoint")
        return loaded

    def fetch(self, name: str) -> Iterator[float | DemoModel]:
        """The checkpoint `name` as in `get`, or any public one of the Hub by its id.

        Returns:
            An iterator over the share of its files that is there, 0..1, and the checkpoint at the end. Closing it
            early ends the download.

        Raises:
            OSError: where it is not on the Hub, or not whole.
            ValueError: where it is not a Hub id, another kind of model, or too large.
        """
        name = name.strip()
        if name in ("", self.own, *BUILT_IN_MODELS) or self._at_hand(name):
            yield self.get(name)
            return
        with scratch_folder("ccformer-model") as folder:
            yield from _from_hub(name, folder)
            try:
                with self._loading:
                    model, processor = load(folder, self._device, MOST_GIGABYTES)
                    _check_cost(name, model, processor)
                    loaded = self._keep(name, model, processor)
            except (OSError, ValueError) as error:
                # The name instead of the folder, of which its users know nothing.
                raise type(error)(str(error).replace(str(folder), name)) from None
        yield loaded

    def _at_hand(self, name: str) -> DemoModel | None:
        with self._lock:
            if name in self._loaded:
                self._loaded.move_to_end(name)
            return self._loaded.get(name)

    def _keep(
        self, name: str, model: CCFormerForAudioVisualSegmentation, processor: AudioVisualProcessor
    ) -> DemoModel:
        loaded = DemoModel(name, model, processor, trained_on(model))
        with self._lock:
            self._loaded[name] = loaded
            while len(self._loaded) > MOST_MODELS:
                self._loaded.pop(next(other for other in self._loaded if other != self.own))
        return loaded


def _from_hub(name: str, folder: Path) -> Iterator[float]:
    """Fetches a public checkpoint that a user named: without the host's login, and never from a folder here.

    Piece by piece, as the Hub's own client could not be stopped in between; tells the share that is there.
    """
    if not HUB_ID.fullmatch(name):
        raise ValueError(f"{name}: is not the name of a model on the Hub; expected owner/name")
    try:
        info = HfApi(token=False).model_info(name, files_metadata=True, timeout=HUB_TIMEOUT)
        sizes = {file: size for file, size in hub_files(info).items() if is_plain(file)}
        whole, before = sum(sizes.values()), 0
        if whole > MOST_GIGABYTES * 1e9:
            raise ValueError(f"{name}: has {whole / 1e9:.1f} GB, at most {MOST_GIGABYTES} GB can be loaded here")
        for file, size in sizes.items():
            for there, _ in fetch(hf_hub_url(name, file, revision=info.sha), folder / file, HUB_TIMEOUT):
                if there > size:
                    raise OSError(f"{file} is larger than announced")
                yield (before + there) / whole
            before += size
    except HFValidationError:
        raise ValueError(f"{name}: is not the name of a model on the Hub; expected owner/name") from None
    except RepositoryNotFoundError:  # gated ones too
        raise OSError(f"{name}: there is no such public model on the Hub; check the name") from None
    except (HTTPError, MediaError, OSError) as error:
        raise OSError(f"{name}: cannot be fetched from the Hub ({type(error).__name__}); try again later") from None


def _check_cost(name: str, model: CCFormerForAudioVisualSegmentation, processor: AudioVisualProcessor) -> None:
    """Refuses a network that takes too much memory or time for a frame, however small its weights are."""
    largest, operations = frame_cost(model.config, processor)
    if largest > MOST_BYTES_PER_FRAME or operations > MOST_OPERATIONS_PER_FRAME:
        raise ValueError(
            f"{name}: takes {operations / 1e9:.0f} GFLOPs and {largest / 1e6:.0f} MB at a time for a frame, at most "
            f"{MOST_OPERATIONS_PER_FRAME / 1e9:.0f} GFLOPs and {MOST_BYTES_PER_FRAME / 1e6:.0f} MB can be had here"
        )
