"""Weights that others published: how their files are read, and what they call the tensors of our backbones.

The layouts: ResNet as torchvision and timm have it; PVT-v2 as its authors published it, and as timm has it;
transformers' own. A loader asks the file for each tensor of the model by the name it has there, so nothing that is
missing, left over or of another shape goes unseen. A ResNet then computes the same to the last bit. In PVT-v2
transformers has eps = 1e-6 in all norms, its authors have 1e-5 in those of patch embedding and spatial reduction: that
changes the maps by less than 1e-4 of their range.
"""

import json
import os
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Size, Tensor
from transformers import ASTConfig, ASTModel, ClapAudioConfig, ClapAudioModel, ClapConfig, PreTrainedModel
from transformers.utils import logging

from ..model.configuration_ccformer import TIMM
from ..model.mobilenet_ccformer import CCFormerMobileNet

logger = logging.get_logger(__name__)

FIX = "change backbone_config under model, or backbone_weights"
FIX_AUDIO = "change audio_config under model, or audio_weights"
FILES = ("model.safetensors", "pytorch_model.bin")  # in a folder or on the Hub; the first that is there
FILE_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
HEADS = ("fc.", "head.", "classifier.")  # of the ImageNet classes: all that may be left over
RESNET = "a ResNet as torchvision and timm have it"
PVT = "a PVT-v2 as its authors published it"
PVT_OF_TIMM = "a PVT-v2 as timm has it"
OF_TIMM = "a network of timm"
# A tensor that tells the layout, the layout, and transformers' type of that network.
LAYOUTS = (
    ("layer1.0.conv1.weight", RESNET, "resnet"),
    ("block1.0.attn.kv.weight", PVT, "pvt_v2"),
    ("stages.0.blocks.0.attn.kv.weight", PVT_OF_TIMM, "pvt_v2"),
)
# timm has networks with the same tensors that compute something else, such as resnetblur50.
PLAIN_NETWORKS = r"(tv_)?resnet\d+|pvt_v2_b\d(_li)?"
# Of the published networks, what no tensor tells.
UNSEEN = {
    "resnet": {"hidden_act": "relu", "downsample_in_first_stage": False, "downsample_in_bottleneck": False},
    "pvt_v2": {"hidden_act": "gelu", "num_attention_heads": [1, 2, 5, 8], "strides": [4, 2, 2, 2]},
}
# Of audio encoders, what no tensor tells.
UNSEEN_OF_AUDIO = {
    ASTConfig.model_type: ("num_attention_heads", "frequency_stride", "time_stride", "hidden_act"),
    ClapAudioConfig.model_type: ("window_size", "spec_size", "patch_stride", "hidden_act"),
}
POSITIONS = "embeddings.position_embeddings"
# Of a fused CLAP: what only sounds longer than its window go through.
FUSION = ("audio_encoder.patch_embed.fusion_model.", "audio_encoder.patch_embed.mel_conv2d.")
# In a block of PVT-v2: what transformers calls a part, and what its authors do.
PVT_PARTS = {
    "layer_norm_1": "norm1",
    "attention.query": "attn.q",
    "attention.key": "attn.kv",
    "attention.value": "attn.kv",
    "attention.proj": "attn.proj",
    "attention.spatial_reduction": "attn.sr",
    "attention.layer_norm": "attn.norm",
    "layer_norm_2": "norm2",
    "mlp.dense1": "mlp.fc1",
    "mlp.dwconv.dwconv": "mlp.dwconv.dwconv",
    "mlp.dense2": "mlp.fc2",
}


def load_pretrained_weights(backbone: PreTrainedModel, source: str | os.PathLike) -> None:
    """Loads published ImageNet weights of any known layout into a backbone of transformers, all of them or none.

    Args:
        backbone: such as `ResNetBackbone` or `PvtV2Backbone`; the layouts of others can load into these two, and those
            of timm into a `TimmBackbone`.
        source: a file, a folder or a Hub id, see `read_weights`.

    Raises:
        OSError: where there are no such weights.
        ValueError: where a tensor is missing, left over (but for the head of the classes) or of another shape, or the
            weights are of another network; the text says of which layout they are.
    """
    tensors, config = read_weights(source)
    kind = backbone.config.model_type
    if kind == TIMM:
        state, wrong = _of_timm(tensors, backbone.state_dict())
        _load(backbone, state, wrong, source, OF_TIMM)
        return
    own = {name.removeprefix(f"{backbone.base_model_prefix}.") for name in tensors} & backbone.state_dict().keys()
    foreign = [(layout, of) for mark, layout, of in LAYOUTS if mark in tensors]
    if own or "model_type" in config:
        of = config.get("model_type", kind)
        layout = f"a {of} of transformers"
    elif foreign:
        layout, of = foreign[0]
    else:
        raise ValueError(
            f"{source}: its tensors ({_few(tensors)}) are in no layout that is known; expected {RESNET}, {PVT}, "
            f"{PVT_OF_TIMM}, or a {kind} of transformers"
        )
    if not re.fullmatch(PLAIN_NETWORKS, config.get("architecture", "resnet50")):
        raise ValueError(f"{source}: is a {config['architecture']} of timm, for which transformers has no network")
    if of != kind:
        raise ValueError(f"{source}: holds {layout}, the backbone of the recipe is a {kind}; {FIX}")
    for name, published in UNSEEN.get(kind, {}).items():
        theirs, ours = config.get(name, published), getattr(backbone.config, name)
        if (list(ours) if isinstance(ours, tuple) else ours) != theirs:
            raise ValueError(
                f"{source}: holds {layout} with {name} {theirs}, the backbone of the recipe has {ours}; {FIX}"
            )
    if layout in (RESNET, PVT, PVT_OF_TIMM):
        state, wrong = _translated(tensors, backbone.state_dict(), layout)
    else:
        state, wrong = _read_by_transformers(tensors, backbone)
    _load(backbone, state, wrong, source, layout)


def load_audio_encoder(encoder: ASTModel | ClapAudioModel | CCFormerMobileNet, source: str | os.PathLike) -> None:
    """Loads published weights of AST, of a CLAP or of EfficientAT's MobileNets into the audio encoder, all or none.

    An AST for longer sounds gives the middle of its position embeddings along time, as its authors take for shorter
    ones (lineage). A whole CLAP gives its audio model, a fused one without what is for sounds beyond its window.

    Args:
        encoder: of the model.
        source: a file, a folder or a Hub id, see `read_weights`.

    Raises:
        OSError: where there are no such weights.
        ValueError: where a tensor is missing, left over (but for heads) or of another shape, or the weights are of
            another network.
    """
    tensors, settings = read_weights(source)
    kind, ours = encoder.config.model_type, encoder.config
    of, theirs = settings.get("model_type", kind), settings
    if of == ClapConfig.model_type:  # of sound and text
        of, theirs = ClapAudioConfig.model_type, settings.get("audio_config", {})
    if of != kind:
        raise ValueError(f"{source}: holds a {of}, the audio encoder of the recipe is a {kind}; {FIX_AUDIO}")
    published = type(ours)()  # a config.json leaves out what is so by default
    for name in UNSEEN_OF_AUDIO.get(kind, ()) if settings else ():
        given, taken = map(_plain, (theirs.get(name, getattr(published, name)), getattr(ours, name)))
        if given != taken:
            raise ValueError(
                f"{source}: holds a {kind} with {name} {given}, the audio encoder of the recipe has {taken}; "
                f"{FIX_AUDIO}"
            )
    if kind == ClapAudioConfig.model_type:
        tensors = {name.removeprefix("audio_model."): tensor for name, tensor in tensors.items()}
        tensors = {n: t for n, t in tensors.items() if n.startswith("audio_encoder.") and not n.startswith(FUSION)}
    elif kind == ASTConfig.model_type:
        tensors = {name.removeprefix("audio_spectrogram_transformer."): tensor for name, tensor in tensors.items()}
        tensors = {n: _middle_of_time(t, encoder) if n == POSITIONS else t for n, t in tensors.items()}
    state, wrong = _read_by_transformers(tensors, encoder)
    if wrong:
        raise ValueError(f"{source}: does not fit the audio encoder of the recipe, a {kind}: {wrong}; {FIX_AUDIO}")
    encoder.load_state_dict(state)
    logger.info(f"{source}: holds a {kind}; all {len(state)} tensors of the audio encoder are loaded")


def _middle_of_time(positions: Tensor, encoder: ASTModel) -> Tensor:
    """Position embeddings `(1, 2 + bands * times, D)` of an AST -> those of the middle of its time for ours; as they
    are where that cannot be, for the shapes to be compared."""
    bands, times = encoder.embeddings.get_shape(encoder.config)  # patches along frequency and time
    if positions.ndim != 3 or (positions.shape[1] - 2) % bands or positions.shape[1] - 2 < bands * times:
        return positions
    grid = positions[:, 2:].unflatten(1, (bands, -1))  # (1, bands, their times, D)
    start = grid.shape[2] // 2 - times // 2
    return torch.cat([positions[:, :2], grid[:, :, start : start + times].flatten(1, 2)], dim=1)


def _plain(value: Any) -> Any:
    """A value of a configuration as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def _load(
    backbone: PreTrainedModel, state: dict[str, Tensor], wrong: str, source: str | os.PathLike, layout: str
) -> None:
    if wrong:
        raise ValueError(f"{source}: holds {layout}, which does not fit the backbone of the recipe: {wrong}; {FIX}")
    backbone.load_state_dict(state)
    logger.info(f"{source}: holds {layout}; all {len(state)} tensors of the backbone are loaded")


def read_weights(source: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads published weights, on the CPU. No code in them is run: a pickle that needs more than tensors is refused.

    Args:
        source: a file (`.safetensors`, or what `torch.save` wrote), or a folder or Hub id that has `model.safetensors`
            or `pytorch_model.bin`.

    Returns:
        the tensors by name, and what the `config.json` beside them says (`{}` where there is none).

    Raises:
        OSError: where there are no such weights.
        ValueError: for a file that holds anything but named tensors.
    """
    if Path(source).is_file():
        file, config = Path(source), Path(source).with_name("config.json")
    elif Path(source).is_dir():
        there = [Path(source, name) for name in FILES if Path(source, name).is_file()]
        if not there:
            raise FileNotFoundError(f"{source}: has neither {' nor '.join(FILES)}")
        file, config = there[0], Path(source, "config.json")
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)) and not str(source).endswith(FILE_SUFFIXES):
        file, config = _download(str(source), *FILES), _download(str(source), "config.json")
    else:
        raise FileNotFoundError(f"{source}: there is no such file or folder, and it is not a Hub id (owner/name)")
    try:
        return read_tensors(file), json.loads(config.read_text()) if config.is_file() else {}
    except json.JSONDecodeError:
        raise ValueError(f"{config}: is not JSON") from None


def read_json(source: str | os.PathLike, name: str) -> dict[str, Any]:
    """A JSON file beside published weights, see `read_weights`; `{}` where there is none.

    Raises:
        OSError: where the Hub has no such model.
        ValueError: where it is not JSON.
    """
    if Path(source).exists():
        file = Path(source, name) if Path(source).is_dir() else Path(source).with_name(name)
    else:
        try:
            file = Path(hf_hub_download(str(source), name))
        except LocalEntryNotFoundError as error:  # the Hub cannot be reached, and it is not in the cache
            raise OSError(f"{source}: could not get {name} from the Hub: {' '.join(str(error).split())}") from None
        except EntryNotFoundError:
            return {}
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text())
    except json.JSONDecodeError:
        raise ValueError(f"{file}: is not JSON") from None


def _download(repo_id: str, *names: str) -> Path:
    """The first of these files that the repository has."""
    for name in names:
        try:
            return Path(hf_hub_download(repo_id, name))
        except EntryNotFoundError as error:  # also where the Hub cannot be reached and the file is not in the cache
            reason = error
        except OSError as error:
            raise OSError(f"{repo_id}: {' '.join(str(error).split())}") from None
    raise FileNotFoundError(
        f"{repo_id}: could not get {' or '.join(names)} from the Hub: {' '.join(str(reason).split())}"
    )


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Reads the tensors of a file by name; one that needs more than tensors to be read is refused.

    Raises:
        ValueError: for a file that holds anything but named tensors.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, KeyError, ValueError):
        raise ValueError(
            f"{file}: cannot be read as tensors; it is damaged, or a pickle that holds more than tensors, which is "
            "not opened"
        ) from None
    for name in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(
        isinstance(n, str) and isinstance(t, Tensor) for n, t in content.items()
    ):
        raise ValueError(f"{file}: holds no tensors with names; expected weights alone, as state_dict() gives them")
    return dict(content)


def differences(given: Mapping[str, Size], wanted: Mapping[str, Size]) -> str:
    """How two sets of named shapes differ: the number missing, left over and of another shape, the first of each.

    Returns:
        such as `"2 missing (a, b), 1 left over (c), 1 of another shape (d has (8,), expected (16,))"`, or `""`.
    """
    unlike = [
        f"{name} has {tuple(given[name])}, expected {tuple(wanted[name])}"
        for name in wanted.keys() & given.keys()
        if given[name] != wanted[name]
    ]
    found = {
        "missing": wanted.keys() - given.keys(),
        "left over": given.keys() - wanted.keys(),
        "of another shape": unlike,
    }
    return ", ".join(f"{len(names)} {what} ({_few(names)})" for what, names in found.items() if names)


def _few(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:3] + ["..."] * (len(names) > 3))


def _translated(tensors: dict[str, Tensor], ours: dict[str, Tensor], layout: str) -> tuple[dict[str, Tensor], str]:
    """Tensors of another layout by the names of ours, and what does not fit (then the first is empty)."""
    names = {name: _resnet_name(name) if layout == RESNET else _pvt_name(name, layout == PVT_OF_TIMM) for name in ours}
    counters = {name for name in names.values() if name.endswith(".num_batches_tracked")}
    if not counters & tensors.keys():  # files older than the counters; torch takes them for 0, too
        tensors = tensors | {name: torch.tensor(0) for name in counters}
    # The authors of PVT-v2 keep keys and values in one tensor, keys first.
    wanted = {
        names[name]: Size((tensor.shape[0] * 2, *tensor.shape[1:])) if ".kv." in names[name] else tensor.shape
        for name, tensor in ours.items()
    }
    wrong = differences({name: tensor.shape for name, tensor in tensors.items() if not name.startswith(HEADS)}, wanted)
    if wrong:
        return {}, wrong
    return {
        name: tensors[theirs].chunk(2)[".value." in name] if ".kv." in theirs else tensors[theirs]
        for name, theirs in names.items()
    }, ""


def _of_timm(tensors: dict[str, Tensor], ours: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Tensors of a network of timm by the names of its backbone, and what does not fit (then the first is empty).

    timm's backbone may write `stages.0` as `stages_0`, has a plain vision transformer whole as its `model`, and lacks
    what follows the last map.
    """
    theirs = {name: name.removeprefix("_backbone.").removeprefix("model.") for name in ours}
    names = {plain.replace(".", "_"): name for name, plain in theirs.items()}
    parts = {plain.split(".")[0].split("_")[0] for plain in theirs.values()}
    given = {names.get(name.replace(".", "_"), name): tensor for name, tensor in tensors.items()}
    # A deeper network has all that a shallower one has: more of a part that the backbone has too is not its end.
    kept = {name: tensor for name, tensor in given.items() if name in ours or name.split(".")[0] in parts}
    wrong = differences(
        {name: tensor.shape for name, tensor in kept.items()}, {name: tensor.shape for name, tensor in ours.items()}
    )
    return ({}, wrong) if wrong else (kept, "")


def _resnet_name(ours: str) -> str:
    """torchvision's and timm's name for a tensor of `ResNetBackbone`: layer2.0.conv1.weight, ..."""
    name = re.sub(r"^embedder\.embedder\.", "layer.0.", ours)
    name = name.replace("shortcut.convolution", "downsample.0").replace("shortcut.normalization", "downsample.1")
    name = re.sub(r"encoder\.stages\.(\d+)\.layers", lambda found: f"layer{int(found[1]) + 1}", name)
    name = re.sub(r"layer\.(\d)\.convolution", lambda found: f"conv{int(found[1]) + 1}", name)
    return re.sub(r"layer\.(\d)\.normalization", lambda found: f"bn{int(found[1]) + 1}", name)


def _pvt_name(ours: str, of_timm: bool) -> str:
    """The name of a tensor of `PvtV2Backbone` with PVT-v2's authors, or timm.

    block2.0.attn.q.weight, stages.1.blocks.0.attn.q.weight.
    """
    _, _, stage, part, *rest, kind = ours.split(".")
    index, number = int(stage), int(stage) + 1
    if part == "layer_norm":
        return f"stages.{index}.norm.{kind}" if of_timm else f"norm{number}.{kind}"
    if part == "patch_embedding":
        before = "patch_embed" if index == 0 else f"stages.{index}.downsample"
        return f"{before if of_timm else f'patch_embed{number}'}.{'proj' if rest == ['proj'] else 'norm'}.{kind}"
    block, inner = rest[0], PVT_PARTS[".".join(rest[1:])]
    if of_timm:
        return f"stages.{index}.blocks.{block}.{inner.replace('dwconv.dwconv', 'dwconv')}.{kind}"
    return f"block{number}.{block}.{inner}.{kind}"


def _read_by_transformers(tensors: dict[str, Tensor], backbone: PreTrainedModel) -> tuple[dict[str, Tensor], str]:
    """Tensors by the names that `backbone` has now (transformers knows older ones), and what does not fit."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # else a table of all names hides the one error
    try:
        loaded, info = type(backbone).from_pretrained(
            None, config=backbone.config, state_dict=tensors, output_loading_info=True, ignore_mismatched_sizes=True
        )
    finally:
        logging.set_verbosity(verbosity)
    wanted = {name: tensor.shape for name, tensor in backbone.state_dict().items()}
    # The one norm before the head goes with it; some backbones put norms of their own on their maps, which ImageNet
    # weights lack.
    last_norm = r"(\w+\.)?(pooler\.)?(layer_?)?norm\.(weight|bias)"
    left_over = {n for n in info["unexpected_keys"] if not n.startswith(HEADS) and not re.fullmatch(last_norm, n)}
    missing = {name for name in info["missing_keys"] if not name.startswith("hidden_states_norms.")}
    given = {name: shape for name, shape in wanted.items() if name not in missing}
    given |= {name: Size() for name in left_over} | {name: Size(shape) for name, shape, _ in info["mismatched_keys"]}
    return loaded.state_dict(), differences(given, wanted)
