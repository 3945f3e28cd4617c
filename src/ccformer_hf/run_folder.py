"""The folder of a training run: what lies where, and how it gets there whole."""

import json
import os
import shutil
from pathlib import Path

from .recipe import Recipe

# May differ between the first start and a resumption: they change where and how often, not what.
FREE = ("accumulate", "save_every", "keep_states", "validate_every", "gradient_checkpointing")


class WholeFolder:
    """A folder that is written under a temporary name and takes its place at the end, or leaves what was there before."""

    def __init__(self, target: Path):
        self.target = target
        self.temporary = target.with_name(f".{target.name}.part")

    def __enter__(self) -> Path:
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        return self.temporary

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            replace_folder(self.temporary, self.target)
        shutil.rmtree(self.temporary, ignore_errors=True)


def replace_folder(new: Path, target: Path) -> None:
    """Moves `new` to `target`. A folder cannot be replaced in one step: the old one steps aside first, see `put_back`."""
    old = _aside(target)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(new, target)
    shutil.rmtree(old, ignore_errors=True)


def put_back(target: Path) -> None:
    """Undoes a `replace_folder` that was killed after the old folder had stepped aside."""
    if _aside(target).exists() and not target.exists():
        os.replace(_aside(target), target)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


class RunFolder:
    """Names in a run's folder, see `ccformer_hf.training.train`."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.best, self.last, self.logs = self.path / "best", self.path / "last", self.path / "logs"
        self.states = self.path / "states"

    def begin(self, recipe: Recipe, resume: bool, data: str = "") -> None:
        """Makes the folder, or checks that it is the one of this recipe and these clips.

        Args:
            data: tells the clips apart from others.

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
            temporary = self.path / ".recipe.json.part"
            temporary.write_text(json.dumps(now, indent=2) + "\n")
            os.replace(temporary, file)
            return
        before = json.loads(file.read_text())
        differing = [name for name in now if name not in FREE and before.get(name) != now[name]]
        if differing:
            name = differing[0]
            raise ValueError(
                f"{self.path}: was begun with {name} = {before.get(name)!r}, now it is {now[name]!r}; take the recipe and "
                "the clips it was begun with, or another output folder"
            )
        if not resume and self.newest_state() is not None:
            raise FileExistsError(
                f"{self.path}: holds a run already; --resume goes on with it, another output folder starts anew"
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

    def put_in_place(self, temporary: Path, target: Path) -> None:
        replace_folder(temporary, target)

    def prune(self, keep: int) -> None:
        """Removes all but the newest `keep` states, and what was left half written."""
        for folder in self.saved_states()[:-keep]:
            shutil.rmtree(folder)
        for folder in self.states.glob(".step-*"):
            shutil.rmtree(folder, ignore_errors=True)
