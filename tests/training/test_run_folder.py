import json
import os
from dataclasses import replace

import pytest

from ccformer_hf.atomic import AtomicFolder, replace_folder
from ccformer_hf.data.augmentation import Augmentation
from ccformer_hf.training.recipe import Recipe, recipe_from
from ccformer_hf.training.run_folder import RunFolder

RECIPE = Recipe(model={"hidden_size": 16}, augmentation=Augmentation(flip=0.5, frames=(5, 10)))


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "runs" / "mine")
    run.begin(RECIPE, resume=False, data="4 clips")
    return run


def save_state(run: RunFolder, step: int) -> None:
    run.state(step).mkdir(parents=True)
    (run.state(step) / "weights").write_text(str(step))


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_begins_with_its_recipe(run):
    assert names(run.path) == ["recipe.json"]
    begun = json.loads((run.path / "recipe.json").read_text())
    assert begun.pop("data") == "4 clips" and recipe_from(begun, "recipe.json") == RECIPE
    assert run.newest_state() is None and run.saved_states() == []


def test_a_run_without_a_state_begins_again_with_or_without_resume(run):
    run.begin(RECIPE, resume=False, data="4 clips")
    run.begin(RECIPE, resume=True, data="4 clips")


def test_a_setting_that_there_was_not_yet_was_the_default(run):
    begun = json.loads((run.path / "recipe.json").read_text())
    del begun["frozen_norms"], begun["keep_states"]
    (run.path / "recipe.json").write_text(json.dumps(begun))
    changed = replace(RECIPE, keep_states=RECIPE.keep_states + 1)
    assert run.begin(changed, resume=True, data="4 clips") == {"keep_states": (2, 3)}
    other = replace(RECIPE, frozen_norms=not RECIPE.frozen_norms)
    with pytest.raises(ValueError, match=f"was begun with frozen_norms = {RECIPE.frozen_norms}, now it is"):
        run.begin(other, resume=True, data="4 clips")


def test_what_the_finished_model_hears_may_be_another_when_a_run_goes_on(run):
    other = replace(RECIPE, sound_shifts=(0.5,))
    assert run.begin(other, resume=True, data="4 clips") == {"sound_shifts": ([], [0.5])}


def test_a_run_with_a_state_is_only_resumed(run):
    save_state(run, 500)
    run.begin(RECIPE, resume=True, data="4 clips")
    with pytest.raises(FileExistsError, match="mine: holds a run already; --resume goes on with it"):
        run.begin(RECIPE, resume=False, data="4 clips")


@pytest.mark.parametrize("resume", [False, True])
def test_another_recipe_is_refused_by_name(run, resume):
    with pytest.raises(
        ValueError, match="was begun with batch_size = 8, now it is 4; take the recipe and the clips it was begun with"
    ):
        run.begin(replace(RECIPE, batch_size=4), resume, data="4 clips")
    with pytest.raises(ValueError, match="was begun with augmentation = "):
        run.begin(replace(RECIPE, augmentation=Augmentation()), resume, data="4 clips")
    with pytest.raises(ValueError, match="was begun with model = "):
        run.begin(replace(RECIPE, model={"hidden_size": 32}), resume, data="4 clips")


def test_how_long_where_and_how_often_may_differ_and_is_kept(run):
    save_state(run, 1)
    changes = {
        "accumulate": 2,
        "save_minutes": 1.0,
        "keep_states": 5,
        "validate_every": 2.0,
        "gradient_checkpointing": True,
    }
    longer = replace(RECIPE, epochs=50.0, **changes)
    changed = run.begin(longer, True, "4 clips")
    assert set(changed) == {"epochs", *changes} and changed["epochs"] == (30.0, 50.0)
    assert run.begin(longer, True, "4 clips") == {}
    begun = json.loads((run.path / "recipe.json").read_text())
    assert begun.pop("data") == "4 clips" and recipe_from(begun, "recipe.json") == longer


def test_states_are_told_by_their_steps(run):
    for step in (500, 1000, 20, 100000):
        save_state(run, step)
    run.temporary(run.state(200000)).mkdir()
    assert [path.name for path in run.saved_states()] == [
        "step-00000020",
        "step-00000500",
        "step-00001000",
        "step-00100000",
    ]
    assert run.newest_state() == run.state(100000)


def test_pruning_keeps_the_newest_and_clears_what_is_half_written(run):
    for step in (1, 2, 3):
        save_state(run, step)
    run.temporary(run.state(4)).mkdir()
    run.prune(5)
    assert names(run.states) == ["step-00000001", "step-00000002", "step-00000003"]
    run.prune(2)
    assert names(run.states) == ["step-00000002", "step-00000003"]


def test_killed_between_the_two_moves_the_old_best_comes_back(run, monkeypatch):
    with AtomicFolder(run.best) as folder:
        (folder / "old").write_text("old")
    new, moves, move = run.path / "new", [], os.replace
    new.mkdir()

    def killed_at_the_second(source, target):
        moves.append(source)
        if len(moves) == 2:
            raise SystemExit
        move(source, target)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("ccformer_hf.atomic._swapped", lambda *_: False)
        patch.setattr("os.replace", killed_at_the_second)
        replace_folder(new, run.best)
    assert not run.best.exists()
    run.begin(RECIPE, resume=True, data="4 clips")
    assert names(run.best) == ["old"] and names(run.path) == ["best", "new", "recipe.json"]


@pytest.mark.parametrize("content", ["", "{", "[1]", "{}", '{"data": 5}', "[" * 100_000])
def test_a_damaged_recipe_is_named(run, content):
    (run.path / "recipe.json").write_text(content)
    with pytest.raises(ValueError, match=r"recipe.json: is damaged, and tells no longer what this run was begun with"):
        run.begin(RECIPE, resume=True, data="4 clips")
