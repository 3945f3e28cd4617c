import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ccformer_hf.benchmarking import measuring
from ccformer_hf.benchmarking.measuring import Row, Work, count_flops, measure, ratio

CPU = torch.device("cpu")


def test_flops_of_layers_that_can_be_counted_by_hand():
    tokens, pixels = torch.zeros(3, 8), torch.zeros(1, 4, 10, 6)
    with torch.inference_mode():
        assert count_flops(lambda: nn.Linear(8, 5)(tokens)) == 2 * 3 * 8 * 5
        assert count_flops(lambda: nn.Conv2d(4, 6, 3, padding=1)(pixels)) == 2 * 10 * 6 * 6 * (4 * 3 * 3)
        assert count_flops(lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4)(pixels)) == 2 * 10 * 6 * 4 * (3 * 3)


@pytest.mark.parametrize("mask", [None, torch.zeros(1, 1, 7, 5)])
def test_flops_of_attention_are_those_of_its_two_products(mask):
    query, other = torch.zeros(2, 3, 7, 8, requires_grad=True), torch.zeros(2, 3, 5, 8, requires_grad=True)
    forward = 2 * (2 * 2 * 3 * 7 * 5 * 8)

    def attend() -> torch.Tensor:
        return F.scaled_dot_product_attention(query, other, other, mask)

    with torch.no_grad():
        assert count_flops(attend) == forward
    # Backward: the weights once more, and two products for each of the forward pass's two.
    assert count_flops(lambda: attend().sum().backward()) == forward + 5 * forward // 2


def test_rounds_are_interleaved_and_the_first_is_not_timed():
    ran = []
    works = [Work(name, lambda name=name: ran.append(name), 1, 1, 64) for name in "abc"]
    rows = measure(works, rounds=2, device=CPU, what="letters")
    assert "".join(ran) == "abc" + 3 * "abc"  # counting FLOPs, warming up, two rounds
    assert [row.name for row in rows] == ["a", "b", "c"] and all(len(row.seconds) == 2 for row in rows)


def test_what_cannot_be_known_is_none():
    layer = nn.Linear(8, 5)
    given = {"counted": [layer], "compiled": [layer], "file": []}
    rows = measure(
        [Work(n, lambda: layer(torch.zeros(3, 8)), 1, 1, 64, m, n == "counted") for n, m in given.items()], 1, CPU, ""
    )
    assert [(row.parameters, row.flops, row.memory) for row in rows] == [
        (45, 240, None),
        (45, None, None),
        (None, None, None),
    ]


def test_ratio_is_of_rounds_not_of_medians():
    # The machine is slow in the second round: the ratio stays 2 throughout.
    floor = Row("floor", 1, 1, 64, [1.0, 10.0, 1.0])
    assert ratio(Row("model", 1, 1, 64, [2.0, 20.0, 2.0]), floor) == (2, 2, 2)
    assert ratio(Row("model", 1, 1, 64, [2.0, 20.0, 4.0]), floor) == (2, 2, 3)


def test_too_little_memory_names_the_input_and_the_way_out():
    def call():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ValueError, match=r"whole model on 16 clips of 5 frames of 224 x 224 .* --batches"):
        measure([Work("whole model", call, 16, 5, 224)], 1, CPU, "")


def test_memory_is_the_growth_and_the_weights(monkeypatch):
    class Cuda:
        held, peak = 1000, 0
        synchronize = reset_peak_memory_stats = staticmethod(lambda device: None)
        memory_allocated = staticmethod(lambda device: Cuda.held)
        max_memory_allocated = staticmethod(lambda device: Cuda.peak)

    def call():
        Cuda.peak = 1700

    monkeypatch.setattr(measuring.torch, "cuda", Cuda)
    work = Work("layer", call, 1, 1, 64, [nn.Linear(8, 5)])
    assert measuring._peak_memory(work, torch.device("cuda")) == 700 + 4 * 45
