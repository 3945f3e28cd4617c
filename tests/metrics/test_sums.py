import numpy as np
import pytest

from ccformer_hf.metrics.sums import (
    ONE,
    SummedMetric,
    check_choice,
    check_frame_mask,
    check_labels,
    check_maps,
    check_num_labels,
    check_same_shape,
    check_scores,
    f_beta,
    share,
    to_fixed,
)

MAPS = np.zeros((2, 3, 4), np.uint8)


class Counted(SummedMetric):
    """The mean of a number per clip."""

    def __init__(self, unit: str = "m"):
        super().__init__(3, unit=unit)

    def add(self, number: float) -> None:
        self.sums += [1, 2, to_fixed(number)]

    def scores(self) -> dict:
        return {"mean": self.sums[2] / self.sums[0] / ONE}


def test_fixed_point_adds_up_alike_in_every_order():
    shares = np.array([0.1, 0.2, 0.3, 0.7] * 1000)
    assert to_fixed(shares).sum() == to_fixed(shares[::-1]).sum() and to_fixed(1.0) == 2**40
    assert abs(to_fixed(0.1) / ONE - 0.1) < 1e-12


def test_f_and_shares_by_hand():
    found = f_beta(np.array([1.0, 0.5, 0.0]), np.array([1.0, 0.25, 0.0]))
    np.testing.assert_allclose(found, [1, 1.3 * 0.125 / 0.4, 0])
    assert share(np.array([1, 3, 0]), np.array([2, 4, 0])).tolist() == [0.5, 0.75, 0]


def test_a_metric_counts_sends_and_merges():
    one, two = Counted(), Counted()
    with pytest.raises(ValueError, match="no clip was added"):
        one.compute()
    one.add(0.5)
    two.add(0.25)
    one.merge(two)
    assert one.compute() == {"mean": 0.375, "clips": 2, "frames": 4} and two.compute()["mean"] == 0.25
    state = one.state()
    one.add(1)
    two.add_state(state)
    assert two.sums[0] == 3, "what was sent is a copy"


def test_only_the_same_metric_is_merged():
    with pytest.raises(ValueError, match="expected the same options in both"):
        Counted().merge(Counted("km"))
    with pytest.raises(ValueError, match=r"the state has the shape \(2,\)"):
        Counted().add_state(np.zeros(2, np.int64))


@pytest.mark.parametrize(
    ("check", "given", "told"),
    [
        (check_choice, ("f_from", "x", ("scores", "masks")), "f_from is 'x'; expected one of 'scores', 'masks'"),
        (check_num_labels, (1,), "num_labels is 1, expected 2 or more"),
        (check_maps, ("target", MAPS[0]), r"target has the shape \(3, 4\), expected one clip"),
        (check_maps, ("target", MAPS[:0]), "at least one pixel"),
        (check_same_shape, ("a", MAPS, "b", MAPS[:1]), "expected the same frames and size"),
        (check_scores, (MAPS,), "scores are uint8, expected floats"),
        (check_scores, (MAPS - 0.5,), "scores reach from -0.5 to -0.5, expected probabilities"),
        (check_scores, (MAPS * np.nan,), "scores reach from nan"),
        (check_labels, ("target", MAPS / 2, 3), "target is float64, it must hold whole numbers"),
        (check_labels, ("target", MAPS + 3, 3), r"holds the ids \[3\], they must lie in 0..2"),
        (check_labels, ("target", MAPS + 3, 3, 255), r"0..2 or be 255 \(ignored\)"),
        (check_frame_mask, ([1, 0], 2), "frame_mask is int64 of shape"),
        (check_frame_mask, ([True], 2), r"expected bool \(2,\)"),
        (check_frame_mask, ([False, False], 2), "False everywhere"),
    ],
)
def test_what_cannot_be_scored_is_told(check, given, told):
    with pytest.raises(ValueError, match=told):
        check(*given)


def test_what_can_be_scored_comes_as_an_array():
    assert check_scores(MAPS.tolist() + 0.5 * np.ones_like(MAPS)).dtype == np.float32
    assert check_labels("target", MAPS + 255, 3, 255).max() == 255
    assert check_frame_mask(None, 2).tolist() == [True, True]
