import copy

import pytest
import torch

from ccformer_hf.training.ema import ExponentialMovingAverage


def line(weight: float) -> torch.nn.Linear:
    model = torch.nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(weight)
        model.bias.fill_(-weight)
    return model


def set_weight(model: torch.nn.Linear, weight: float) -> None:
    with torch.no_grad():
        model.weight.fill_(weight)


def test_average_by_hand():
    """The share kept is (1 + n) / (10 + n) at update n, and never more than the decay."""
    model = line(1.0)
    ema = ExponentialMovingAverage(model, 0.2)
    set_weight(model, 2.0)
    ema.update()
    first = 1 * 2 / 11 + 2 * 9 / 11
    with ema.swapped_in():
        assert model.weight.item() == pytest.approx(first)
        assert model.bias.item() == -1
    set_weight(model, 5.0)
    ema.update()  # 3 / 12 would be more than 0.2
    with ema.swapped_in():
        assert model.weight.item() == pytest.approx(first * 0.2 + 5 * 0.8)
    assert model.weight.item() == 5


def test_swapping_gives_the_weights_back_even_after_an_error():
    model = line(1.0)
    ema = ExponentialMovingAverage(model, 0.5)
    parameter, before = model.weight, model.state_dict()["weight"].clone()
    set_weight(model, 3.0)
    ema.update()
    with pytest.raises(RuntimeError, match="no"), ema.swapped_in():
        assert model.weight.item() != 3
        raise RuntimeError("no")
    assert model.weight is parameter and model.weight.item() == 3 and before.item() == 1
    with ema.swapped_in():
        assert model.weight.item() == pytest.approx(1 * 2 / 11 + 3 * 9 / 11)


def test_without_a_decay_nothing_happens():
    model = line(1.0)
    ema = ExponentialMovingAverage(model, 0)
    set_weight(model, 2.0)
    ema.update()
    with ema.swapped_in():
        assert model.weight.item() == 2
    assert ema.updates == 0 and ema.weights == {}


def test_a_saved_average_goes_on_as_if_it_had_not_stopped():
    model = line(1.0)
    ema = ExponentialMovingAverage(model, 0.9)
    for weight in (2.0, 4.0):
        set_weight(model, weight)
        ema.update()
    resumed_model = copy.deepcopy(model)
    resumed = ExponentialMovingAverage(resumed_model, 0.9)
    resumed.load(copy.deepcopy(ema.weights), ema.updates)
    for one, of in ((model, ema), (resumed_model, resumed)):
        set_weight(one, -3.0)
        of.update()
    assert resumed.weights == ema.weights and resumed.updates == ema.updates == 3


def test_buffers_are_the_models_own():
    model = torch.nn.BatchNorm1d(2)
    ema = ExponentialMovingAverage(model, 0.5)
    model(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    ema.update()
    with ema.swapped_in():
        assert model.running_mean.tolist() == pytest.approx([0.2, 0.4])
        assert model.num_batches_tracked == 1


def test_an_average_of_another_model_is_refused():
    with pytest.raises(
        ValueError, match=r"of another model: 1 missing \(bias\), 1 of another shape \(weight has \(2, 1\)"
    ):
        ExponentialMovingAverage(line(1.0), 0.5).load({"weight": torch.zeros(2, 1)}, 1)
