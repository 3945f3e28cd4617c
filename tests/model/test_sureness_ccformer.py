import pytest
import torch

from ccformer_hf.model import sureness_ccformer
from ccformer_hf.model.sureness_ccformer import without_specks, without_unsure_classes


def test_a_class_that_is_sure_nowhere_goes_to_those_beside_it_and_to_the_background():
    """Two cells, in which what sounds is 3 : 1 and 1 : 4 of class 1, at most 0.6, and of class 2, at most 0.4."""
    frame = torch.tensor([[[0.2, 0.5]], [[0.6, 0.1]], [[0.2, 0.4]]])  # (3, 1, 2)
    sure = without_unsure_classes(frame, 0.45)
    wanted = torch.tensor([0.8 * (1 - 0.25**2), 0.5 * (1 - 0.8**2)])
    torch.testing.assert_close(sure, torch.stack([1 - wanted, wanted, torch.zeros(2)])[:, None])
    torch.testing.assert_close(without_unsure_classes(sure, 0.45), sure)  # once more changes nothing
    # Of each frame by itself; without a sure class all is background.
    other = torch.tensor([[[0.7, 0.7]], [[0.1, 0.1]], [[0.2, 0.2]]])
    both = without_unsure_classes(torch.stack([frame, other]), 0.45)
    torch.testing.assert_close(both, torch.stack([sure, torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 1, 2)]))
    # What lowers the threshold brings the class back.
    torch.testing.assert_close(without_unsure_classes(frame, 0.36), frame)


def probabilities_of(rows: list[str]) -> torch.Tensor:
    """`(3, h, w)`: a digit marks its class with 0.6, a dot is background with 0.7."""
    ids = torch.tensor([[int(letter.replace(".", "0")) for letter in row] for row in rows])
    values = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.3, 0.1, 0.6]])
    return values[ids].permute(2, 0, 1)


def marked(probabilities: torch.Tensor) -> list[str]:
    ids = probabilities.argmax(0)
    return ["".join(".12"[number] for number in row) for row in ids.tolist()]


FRAME = [
    "11....1.",
    "11...1..",
    "......22",
    "1....222",
    "..2.....",
]


@pytest.mark.parametrize(
    ("share", "wanted"),
    [
        # The largest of class 1 has 4 cells, one across a corner 2, a lone one 1; of class 2 they have 5 and 1.
        (0.2, FRAME),
        (0.3, ["11....1.", "11...1..", "......22", ".....222", "........"]),
        (0.51, ["11......", "11......", "......22", ".....222", "........"]),
        (1.0, ["11......", "11......", "......22", ".....222", "........"]),
    ],
)
def test_components_too_small_beside_the_largest_of_their_class_are_background(share, wanted):
    frame = probabilities_of(FRAME)
    kept = without_specks(frame, 0.5, share)
    assert marked(kept) == wanted
    left_out = torch.tensor([[a != b for a, b in zip(*rows, strict=True)] for rows in zip(FRAME, wanted, strict=True)])
    assert torch.equal(kept[:, ~left_out], frame[:, ~left_out])
    assert (kept[:, left_out] == torch.tensor([1.0, 0, 0])[:, None]).all()
    # Frames do not count for each other, whatever lies around them.
    alone = probabilities_of(["........"] * 4 + ["..2....."])
    both = without_specks(torch.stack([frame, alone])[None], 0.5, share)
    assert torch.equal(both, torch.stack([kept, alone])[None])


def test_what_does_not_sound_is_no_component():
    """With a threshold that only the left cell reaches, the right ones are left as they are."""
    frame = torch.tensor([[[0.1, 1.0, 0.4, 0.4]], [[0.9, 0.0, 0.6, 0.6]]])
    assert torch.equal(without_specks(frame, 0.8, 1.0), frame)
    assert without_specks(frame, 0.5, 1.0)[0].tolist() == [[1.0, 1.0, pytest.approx(0.4), pytest.approx(0.4)]]


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sureness_ccformer, "ndimage", None)
    with pytest.raises(ImportError, match="leaving out specks needs scipy: pip install scipy"):
        without_specks(probabilities_of(FRAME), 0.5, 0.1)
