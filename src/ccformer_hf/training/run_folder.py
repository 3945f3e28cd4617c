"""The folder of a training run: what lies where, and how it gets there whole."""

import json
import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..atomic import atomic_file, put_back, sole_writer
from .recipe import Recipe

# May differ between the first start and a resumption: how long, where and how often. The steps stay what they are, but
# for the learning rate of a longer run, and for `accumulate` where batch norms train or something is dropped at
# random.
FREE = (
    "epochs",
    "accumulate",
    "save_minutes",
    "keep_states",
    "validate_every",
    "gradient_checkpointing",
    "sound_shifts",  # of the finished model
)


class RunFolder:
    """Names in a run's folder, see `ccformer_hf.training.loop.train`."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.best, self.last, self.logs = self.path / "best", self.path / "last", self.path / "logs"
        self.states = self.path / "states"

    def kept(self) -> AbstractContextManager[None]:
        """Makes the folder, and keeps other processes from training into it, see `sole_writer`."""
        self.path.mkdir(parents=True, exist_ok=True)
        return sole_writer(self.path)

    def begin(self, recipe: Recipe, resume: bool, data: str = "") -> dict[str, tuple[Any, Any]]:
        """Makes the folder with the recipe in `recipe.json`, or checks that it is of this recipe and these clips.

        Args:
            data: tells the clips apart from others.

        Returns:
            What differs from the recipe before, though it may: name -> old and new value.

        Raises:
            FileExistsError: where there is a run already and `resume` is not asked for.
            ValueError: where the run was begun with another recipe or other clips.
        """
        file = self.path / "recipe.json"
        now = json.loads(json.dumps(recipe.as_dict() | {"data": data}))
        for folder in (self.best, self.last):
            put_back(folder)
        if not file.is_file():
            self.path.mkdir(parents=True, exist_ok=True)
            _write_json(file, now)
            return {}
        # A setting that there was not yet was as it is by default.
        before = json.loads(json.dumps(Recipe().as_dict())) | self._recipe()
        differing = [name for name in now if name not in FREE and before.get(name) != now[name]]
        if differing:
            name = differing[0]
            raise ValueError(
                f"{self.path}: was begun with {name} = {before.get(name)!r}, now it is {now[name]!r}; take the recipe "
                "and the clips it was begun with, or another output folder"
            )
        if not resume and self.newest_state() is not None:
            raise FileExistsError(
                f"{self.path}: holds a run already; --resume goes on with it, another output folder starts anew"
            )
        changed = {name: (before[name], now[name]) for name in FREE if before[name] != now[name]}
        if changed:
            _write_json(file, now)
        return changed

    def data(self) -> str:
        """What tells the clips of this run apart from others."""
        return self._recipe()["data"]

    def _recipe(self) -> dict[str, Any]:
        file = self.path / "recipe.json"
        try:
            recipe = json.loads(file.read_text())
            if isinstance(recipe, dict) and isinstance(recipe.get("data"), str):
                return recipe
        except (ValueError, RecursionError):
            pass
        raise ValueError(
            f"{file}: is damaged, and tells no longer what this run was begun with; copy it from a backup, or train "
            "into another output folder"
        )

    def state(self, step: int) -> Path:
        return self.states / f"step-{step:08d}"

    @staticmethod
    def temporary(target: Path) -> Path:
        return target.with_name(f".{target.name}.part")

    def saved_states(self) -> list[Path]:
        """The whole states, oldest first."""
        return sorted(self.states.glob("step-*"))

    def newest_state(self) -> Path | None:
        states = self.saved_states()
        return states[-1] if states else None

    def prune(self, keep: int) -> None:
        """Removes all but the newest `keep` states, and what was left half written."""
        for folder in self.saved_states()[:-keep]:
            shutil.rmtree(folder)
        for folder in self.states.glob(".step-*"):
            shutil.rmtree(folder, ignore_errors=True)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")
