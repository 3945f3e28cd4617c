import pytest

from ccformer_hf.benchmarking.benchmark import PARTS, Table
from ccformer_hf.benchmarking.measuring import Row


def test_a_row_is_compared_with_the_floor_of_its_own_input():
    floors = [Row("both backbones", 1, 5, 64, [1.0, 2.0, 4.0]), Row("both backbones", 2, 5, 64, [10.0, 10.0, 10.0])]
    rows = [Row("whole model", 1, 5, 64, [2.0, 4.0, 8.0]), Row("whole model", 2, 5, 64, [10.0, 20.0, 30.0])]
    table = Table(PARTS, [*floors, *rows])
    assert table.against_floor(rows[0]) == (2, 2, 2)
    assert table.against_floor(rows[1]) == pytest.approx((2, 1.5, 2.5))
    assert table.against_floor(floors[1]) == (1, 1, 1)
