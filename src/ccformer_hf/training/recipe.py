"""A training recipe: a YAML file that says what decides a run, beside the folder of the data.

A recipe names another one as its `base` and says only what differs: `base: resnet50` is a recipe of this package,
`base: mine.yaml` a file beside it. Unknown names and values of a wrong kind are refused, so that a misspelt line
cannot be trained past.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..data.augmentation import Augmentation, expect
from ..data.avsbench import ALL_SETTINGS
from ..data.yaml_files import parse_yaml, read_yaml
from ..model.argument_names_ccformer import unknown_names
from ..model.feature_extraction_ccformer import checked_shifts
from ..model.timing_ccformer import ALIGNMENTS

RECIPES = Path(__file__).with_name("recipes")


@dataclass(frozen=True)
class Recipe:
    """What decides a training run.

    Args:
        setting: of the data: `"s4"`, `"ms3"`, `"avss"` or `"folder"`.
        size: side (pixels) of the square frames, a multiple of 32.
        image_mean, image_std: of red, green and blue (0..1) in the frames that `backbone_weights` were trained on; by
            default ImageNet's.
        alignment: which sound belongs to a frame, see `ccformer_hf.model.timing_ccformer`.
        sound_shifts: further sounds (s, sooner or later) that the finished model hears around each frame, see
            `CCFormerFeatureExtractor`; it is trained with a frame's own alone.
        model: fields of `CCFormerConfig`; the labels follow from the data.
        backbone_weights: ImageNet weights of the backbone: a Hub id, a folder or a file, see
            `ccformer_hf.training.pretrained_weights`.
        audio_weights: a file with weights of VGGish, such as the public `vggish-10086976.pth`; where `model` has an
            `audio_config`, a Hub id, a folder or a file of such an encoder.
        start_from: model folder or Hub id to start from, which brings its own architecture, weights, mean and
            deviation of the frames, and shifts of the sound: `model`, `backbone_weights`, `audio_weights`,
            `image_mean`, `image_std` and `sound_shifts` are ignored then. What depends on the labels starts at random
            where the data has others.
        epochs: how often each clip is seen. A run that is resumed may get more: the cosine of `learning_rate` is that
            of the longer run from then on.
        batch_size: clips per optimizer step, over all processes.
        accumulate: parts in which each process works through its share of a batch, to save memory. Changes no result,
            as long as batch norms do not train (`frozen_norms`), which normalise each part by itself, and nothing is
            dropped at random, which is drawn for each part. The contrastive loss sees all parts, which takes one more
            pass through the backbones.
        learning_rate: of AdamW after the warm-up; then along a cosine to 0.
        backbone_rate, audio_rate: factors of the learning rate of the visual and of the audio backbone. 0: it stays as
            it is, and a step is cheaper, as no gradient passes it.
        frozen_epochs: epochs in which the two backbones do not learn.
        frozen_norms: whether the backbone's batch norms keep their statistics, as pretrained ones should; otherwise
            they normalise by the frames of all processes.
        weight_decay: of matrices and kernels.
        warmup_steps: in which the learning rate rises from 0.
        max_grad_norm: gradients are clipped to this norm.
        ema_decay: of the exponential moving average of the weights, which is then what is validated and kept; 0: the
            weights themselves are.
        gradient_checkpointing: computes activations twice, to save memory.
        seed: of weights, order and augmentation.
        validate_every: epochs between validations; the best one by mIoU on the validation split is kept.
        save_minutes: minutes between saved states; one is saved at each validation and at the end as well.
        keep_states: how many of them are kept.
        augmentation: see `Augmentation`.
    """

    setting: str = "avss"
    size: int = 224
    image_mean: tuple[float, ...] = tuple(IMAGENET_DEFAULT_MEAN)
    image_std: tuple[float, ...] = tuple(IMAGENET_DEFAULT_STD)
    alignment: str = "frame"
    sound_shifts: tuple[float, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)
    backbone_weights: str | None = None
    audio_weights: str | None = None
    start_from: str | None = None
    epochs: float = 30.0
    batch_size: int = 8
    accumulate: int = 1
    learning_rate: float = 1e-4
    backbone_rate: float = 0.1
    audio_rate: float = 0.1
    frozen_epochs: float = 0.0
    frozen_norms: bool = True
    weight_decay: float = 0.05
    warmup_steps: int = 500
    max_grad_norm: float = 1.0
    ema_decay: float = 0.0
    gradient_checkpointing: bool = False
    seed: int = 0
    validate_every: float = 1.0
    save_minutes: float = 5.0
    keep_states: int = 2
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self):
        expect(self.setting in ALL_SETTINGS, "setting", self.setting, f"one of {', '.join(ALL_SETTINGS)}")
        expect(self.size > 0 and self.size % 32 == 0, "size", self.size, "a multiple of 32")
        expect(self.alignment in ALIGNMENTS, "alignment", self.alignment, f"one of {', '.join(ALIGNMENTS)}")
        checked_shifts(self.sound_shifts)
        for name in ("image_mean", "image_std"):
            expect(len(getattr(self, name)) == 3, name, getattr(self, name), "three numbers: red, green and blue")
        expect(min(self.image_std) > 0, "image_std", self.image_std, "more than 0")
        for name in ("epochs", "batch_size", "accumulate", "learning_rate", "max_grad_norm", "validate_every"):
            expect(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        expect(self.keep_states >= 1, "keep_states", self.keep_states, "1 or more")
        for name in (
            "backbone_rate",
            "audio_rate",
            "frozen_epochs",
            "weight_decay",
            "warmup_steps",
            "seed",
            "save_minutes",
        ):
            expect(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        expect(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "a decay from 0 to below 1, such as 0.999")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and for `recipe_from`."""
        return asdict(self)


def recipe_names() -> list[str]:
    """The names of the recipes inside the package; some are meant as a `base` only."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def read_recipe(name: str | os.PathLike, changes: Sequence[str] = ()) -> Recipe:
    """Reads a recipe, its bases first.

    Args:
        name: of a recipe inside the package, such as `"ms3-resnet50"`, or a YAML file.
        changes: `name=value` each, for single values; `augmentation.flip=0.5` and `model.hidden_size=128` reach
            inside.

    Raises:
        FileNotFoundError: where the file or a base of it is missing.
        ValueError: for a name no recipe has, or a value of another kind.
    """
    values = _read(_recipe_file(name, Path()), ())
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"{change!r} changes nothing; expected name=value, such as batch_size=4")
        inner = values
        *groups, last = key.split(".")
        for group in groups:
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{change!r} reaches into {group}, which is {inner!r} and holds no names")
        inner[last] = parse_yaml(text, repr(change))
    return recipe_from(values, str(name))


def recipe_from(values: Mapping[str, Any], where: str) -> Recipe:
    """A recipe of plain values; errors say `where` they come from.

    Raises:
        ValueError: for a name no recipe has, or a value of another kind.
    """
    values = _merged({}, values)
    augmentation = values.pop("augmentation", {})
    if not isinstance(augmentation, Mapping):
        raise ValueError(f"{where}: augmentation is {augmentation!r}; expected names and values")
    try:
        recipe = _typed(Recipe, values, "")
        return replace(recipe, augmentation=_typed(Augmentation, augmentation, "augmentation."))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _recipe_file(name: str | os.PathLike, folder: Path) -> Path:
    """The file that a recipe's name means: a `.yaml` seen from `folder`, or else one inside the package."""
    return folder / name if Path(name).suffix in (".yaml", ".yml") else RECIPES / f"{name}.yaml"


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if not path.is_file():
        asked = f", which {seen[-1]} names as its base" if seen else ""
        known = f"a .yaml file, or one of {', '.join(recipe_names())}"
        name = path.stem if path.parent == RECIPES else path
        raise FileNotFoundError(f"{name}: there is no such recipe{asked}; expected {known}")
    path = path.resolve()
    if path in seen:
        raise ValueError(f"{path}: is its own base, by way of {', '.join(map(str, seen))}")
    values = read_yaml(path)
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ValueError(f"{path}: base is {base!r}; expected the name of another recipe")
    return _merged(_read(_recipe_file(base, path.parent), (*seen, path)), values)


def _merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values over those of their base, in plain dicts."""
    merged = dict(base)
    for name, value in values.items():
        if isinstance(value, Mapping):
            # Backbones are replaced as a whole: settings of one kind mean nothing to another.
            # All other mappings, such as `augmentation`, are merged line by line.
            inside = isinstance(merged.get(name), Mapping) and name not in ("backbone_config", "audio_config")
            value = _merged(merged[name] if inside else {}, value)
        merged[name] = value
    return merged


def _typed(kind: type, values: Mapping[str, Any], prefix: str):
    defaults = kind()
    known = {entry.name: getattr(defaults, entry.name) for entry in fields(kind)}
    unknown = unknown_names((f"{prefix}{name}" for name in values), [prefix + name for name in known])
    if unknown:
        raise ValueError(f"has no setting {unknown}; expected one of {', '.join(known)}")
    return kind(**{name: _value(prefix + name, value, known[name]) for name, value in values.items()})


def _value(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        expect(isinstance(value, (list, tuple)) and all(map(_is_number, value)), name, value, "a list of numbers")
        return tuple(value)
    if default is None:
        expect(value is None or isinstance(value, str), name, value, "a text, or null")
        return value
    if isinstance(default, bool):
        expect(isinstance(value, bool), name, value, "true or false")
        return value
    if isinstance(default, float):
        number = _number(value)
        expect(number is not None, name, value, "a number")
        return number
    if isinstance(default, int):
        expect(_is_number(value) and value == int(value), name, value, "a whole number")
        return int(value)
    expect(
        isinstance(value, type(default)), name, value, "names and values" if isinstance(default, dict) else "a text"
    )
    return value


def _number(value: Any) -> float | None:
    # YAML 1.1 reads 1e-4 as a text; 1.0e-4 would be a number.
    try:
        value = float(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return float(value) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
