"""The models that ship with the package, each in a folder of its own."""

from pathlib import Path

CHECKPOINTS = Path(__file__).parent
DEFAULT_MODEL = "ccformer-small"  # knows sounding things of the real world
TINY_MODEL = "ccformer-tiny"  # knows drawn things alone: for tests and teaching
BUILT_IN_MODELS = (DEFAULT_MODEL, TINY_MODEL)


def model_place(model: object) -> object:
    """The folder of a model that ships with the package, where `model` is the name of one; anything else as it is.

    A folder of that name in the current one goes first.
    """
    return str(CHECKPOINTS / model) if model in BUILT_IN_MODELS and not Path(model).is_dir() else model
