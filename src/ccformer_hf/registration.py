"""Imports `auto` as soon as transformers is imported, by whomever (ours).

To register the Auto classes, `import ccformer_hf` alone would have to import transformers and PyTorch: seconds, for
every `ccformer --help` too. Where nobody imports transformers, nobody misses them.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE = __package__


def register_with_transformers() -> None:
    """Registers the Auto classes now, where transformers is imported already, or else right after it is."""
    if "transformers" in sys.modules:
        import_module(f"{PACKAGE}.auto")
    else:
        sys.meta_path.insert(0, _AfterTransformers())


class _AfterTransformers:
    """Import hook: imports `auto` after transformers, or after the outermost module of this package that imports it.

    Not before: a module of this package may be what imports transformers, and `auto` needs it whole.
    """

    def __init__(self):
        self._depth = 0

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "transformers" and not name.startswith(f"{PACKAGE}."):
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        if spec is not None:
            run = spec.loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                self._depth += 1
                try:
                    run(module)
                finally:
                    self._depth -= 1
                if self._depth == 0 and "transformers" in sys.modules and self in sys.meta_path:
                    sys.meta_path.remove(self)
                    import_module(f"{PACKAGE}.auto")

            spec.loader.exec_module = run_and_register
        return spec
