import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ccformer_hf.training.ema import ExponentialMovingAverage
from ccformer_hf.training.state import Progress, TrainingState


def made(seed: int, width: int = 3, decay: float = 0.5) -> TrainingState:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.BatchNorm1d(width))
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": weights, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}])
    ema = ExponentialMovingAverage(model, decay)
    return TrainingState(model, SimpleNamespace(optimizer=optimizer, param_groups=optimizer.param_groups), ema,
                         Progress(), None)  # fmt: skip


def steps(state: TrainingState, count: int) -> None:
    for _ in range(count):
        inputs = torch.sin(torch.arange(8.0) + state.progress.step).view(4, 2)
        state.optimizer.optimizer.zero_grad()
        loss = (state.model(inputs) ** 3).mean()
        loss.backward()
        state.optimizer.optimizer.step()
        state.ema.update()
        state.progress.step += 1
        state.progress.losses.append(loss.item())


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_a_state_goes_on_bit_for_bit(tmp_path, decay):
    one, other = made(0, decay=decay), made(1, decay=decay)
    steps(one, 3)
    one.write(tmp_path / "state", main=True)
    assert (tmp_path / "state" / "ema.safetensors").exists() == bool(decay)
    other.read(tmp_path / "state")
    assert other.progress == one.progress and other.progress.step == 3
    steps(one, 2)
    steps(other, 2)
    assert one.progress.losses == other.progress.losses
    for name, values in one.model.state_dict().items():
        assert torch.equal(values, other.model.state_dict()[name])
    for name, values in one.ema.weights.items():
        assert torch.equal(values, other.ema.weights[name])


def test_the_main_process_alone_writes(tmp_path):
    state = made(0)
    steps(state, 1)
    state.write(tmp_path / "state", main=False)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("fault", ["another model", "no file", "cut short", "no JSON"])
def test_a_state_that_cannot_be_gone_on_from_is_named(tmp_path, fault):
    state, folder = made(0), tmp_path / "state"
    steps(state, 1)
    state.write(folder, main=True)
    if fault == "no file":
        (folder / "optimizer.safetensors").unlink()
    elif fault == "cut short":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-3])
    elif fault == "no JSON":
        (folder / "progress.json").write_text("{")
    other = made(1, width=4 if fault == "another model" else 3)
    with pytest.raises(ValueError, match=f"^{folder}: is not a whole state of this model .*; remove this folder"):
        other.read(folder)
    assert other.progress == Progress()


class RunsCode:
    """A pickle of this makes a file when it is read."""

    def __init__(self, mark: Path):
        self._mark = mark

    def __reduce__(self):
        return Path.touch, (self._mark,)


@pytest.mark.parametrize("name", ["custom_checkpoint_0.pkl", "optimizer.bin", "random_states_0.pkl", "model.pt"])
def test_pickles_in_the_folder_are_left_alone(tmp_path, name):
    """`load_state` of accelerate would run the code in them."""
    state, folder = made(0), tmp_path / "state"
    steps(state, 1)
    state.write(folder, main=True)
    torch.save(RunsCode(tmp_path / "ran"), folder / name)
    made(1).read(folder)
    torch.save(RunsCode(tmp_path / "ran"), folder / "optimizer.safetensors")
    with pytest.raises(ValueError, match="is not a whole state"):
        made(1).read(folder)
    assert not (tmp_path / "ran").exists()
    torch.load(folder / name, weights_only=False)
    assert (tmp_path / "ran").exists()  # it would have


@pytest.mark.parametrize(
    "progress",
    [[1], {"made": 1}, {"step": "1", "losses": [1.0]}, {"step": 7, "losses": [1.0]}, {"step": 1, "losses": ["low"]},
     {"step": 1, "losses": [1.0], "validations": [1]}, {"step": 1, "losses": [1.0], "best": "good"}],
)  # fmt: skip
def test_progress_that_is_none_is_named(tmp_path, progress):
    state, folder = made(0), tmp_path / "state"
    steps(state, 1)
    state.write(folder, main=True)
    about = json.loads((folder / "progress.json").read_text())
    for damaged in (about | {"progress": progress}, [1], about | {"groups": 3}):
        (folder / "progress.json").write_text(json.dumps(damaged))
        with pytest.raises(ValueError, match=f"^{folder}: is not a whole state of this model"):
            state.read(folder)
