import copy

import torch
import torch.distributed as dist
from processes import in_two_processes

from ccformer_hf.training.batch_norms import (
    BatchNormOfAllProcesses,
    share_batch_norms,
    training_batch_norms,
    uncounted,
)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.ReLU(), torch.nn.BatchNorm2d(5)
    )
    for norm in (layers[1], layers[3]):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return layers


PICTURES = 2 + 3 * torch.randn(5, 3, 8, 6, generator=torch.Generator().manual_seed(1))
WANTED = torch.randn(5, 5, 6, 4, generator=torch.Generator().manual_seed(2))


def results(layers: torch.nn.Module, part: slice) -> dict[str, torch.Tensor]:
    """Output, gradients (those of the pictures, too) and statistics after two passes."""
    pictures = PICTURES[part].clone().requires_grad_()
    layers(pictures)
    layers.zero_grad()
    output = layers(pictures)
    ((output - WANTED[part]) ** 2).sum().backward()
    gradients = {f"gradient of {name}": value.grad for name, value in layers.named_parameters()}
    return {
        "output": output.detach(),
        "gradient of pictures": pictures.grad,
        **gradients,
        **dict(layers.named_buffers()),
    }


def one_of_two(folder) -> None:
    dist.init_process_group("gloo")
    layers = network()
    share_batch_norms(layers)
    rank = dist.get_rank()
    torch.save(results(layers, (slice(0, 4), slice(4, 5))[rank]), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_normalise_like_one_with_all_pictures(tmp_path):
    """Four pictures in one, one in the other."""
    in_two_processes(one_of_two, tmp_path, folder=tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, value in results(network(), slice(0, 5)).items():
        if name in ("output", "gradient of pictures"):
            found = torch.cat([first[name], second[name]])
        elif name.startswith("gradient"):
            found = first[name] + second[name]
        else:
            found = first[name]
            assert torch.equal(found, second[name])
        torch.testing.assert_close(found, value, rtol=1e-4, atol=2e-5, msg=name)


def test_a_shared_norm_is_the_same_module_and_evaluates_as_before():
    layers = network().eval()
    shared = copy.deepcopy(layers)
    share_batch_norms(shared)
    assert [type(layer) is BatchNormOfAllProcesses for layer in shared] == [False, True, False, True]
    assert list(shared.state_dict()) == list(layers.state_dict())
    assert torch.equal(shared(PICTURES), layers(PICTURES))


def test_what_is_uncounted_is_normalised_alike_but_leaves_no_trace():
    layers = network()
    layers[3].eval()
    assert training_batch_norms(layers) == [layers[1]]
    before = copy.deepcopy(layers.state_dict())
    with uncounted(layers):
        uncounted_output = layers(PICTURES)
    assert all(torch.equal(value, before[name]) for name, value in layers.state_dict().items())
    assert torch.equal(layers(PICTURES), uncounted_output)
    assert layers[1].num_batches_tracked == 1 and layers[3].num_batches_tracked == 0
