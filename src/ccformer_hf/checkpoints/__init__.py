"""The models that ship with the package, each in a folder of its own."""

from pathlib import Path

CHECKPOINTS = Path(__file__).parent
DEFAULT_MODEL = "ccformer-small"  # knows sounding things of the real world
TINY_MODEL = "ccformer-tiny"  # knows drawn things alone: for tests and teaching
BUILT_IN_MODELS = (DEFAULT_MODEL, TINY_MODEL)
