import numpy as np
import pytest

from ccformer_hf.data.composing.masks import check_segmentation, draw_segmentation


def drawn(segmentation, height, width, size=None):
    return draw_segmentation(check_segmentation(segmentation, height, width), height, width, size or (height, width))


def block(height, width, top, bottom, left, right):
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_polygon_covers_the_pixels_whose_centre_is_inside():
    np.testing.assert_array_equal(drawn([[2, 3, 6, 3, 6, 8, 2, 8]], 10, 9), block(10, 9, 3, 8, 2, 6))
    np.testing.assert_array_equal(drawn([[2.3, 3.3, 6.3, 3.3, 6.3, 8.3, 2.3, 8.3]], 10, 9), block(10, 9, 3, 8, 2, 6))
    np.testing.assert_array_equal(drawn([[2.7, 3.7, 6.7, 3.7, 6.7, 8.7, 2.7, 8.7]], 10, 9), block(10, 9, 4, 9, 3, 7))


def test_several_polygons_are_one_mask_and_scale_with_the_picture():
    two = [[0, 0, 4, 0, 4, 4, 0, 4], [8, 8, 12, 8, 12, 12, 8, 12]]
    np.testing.assert_array_equal(drawn(two, 16, 16), block(16, 16, 0, 4, 0, 4) | block(16, 16, 8, 12, 8, 12))
    np.testing.assert_array_equal(drawn(two, 16, 16, (8, 8)), block(8, 8, 0, 2, 0, 2) | block(8, 8, 4, 6, 4, 6))


def test_run_lengths_go_down_the_columns():
    # 3 x 4: seven pixels off, two on (rows 1 and 2 of column 2), three off.
    np.testing.assert_array_equal(drawn({"size": [3, 4], "counts": [7, 2, 3]}, 3, 4), block(3, 4, 1, 3, 2, 3))


def test_compressed_run_lengths():
    # The same by hand: 7 -> "7", 2 -> "2", 3 -> "3" (each + 48). From the third run on the change since the last but
    # one is coded: for [7, 2, 1, 2] that is 1, as it is the third, and 2 - 2 = 0 -> "0".
    np.testing.assert_array_equal(drawn({"size": [3, 4], "counts": "723"}, 3, 4), block(3, 4, 1, 3, 2, 3))
    np.testing.assert_array_equal(check_segmentation({"size": [3, 4], "counts": "7210"}, 3, 4), [7, 2, 1, 2])
    # 40 = 8 + 1 * 32: low five bits with "goes on", 8 + 32 + 48 = "X", then 1 -> "1"; 24 has its sixth bit unset but
    # its fifth set, so a zero follows: 24 + 32 + 48 = "h", "0".
    np.testing.assert_array_equal(check_segmentation({"size": [8, 8], "counts": "X1h0"}, 8, 8), [40, 24])
    # A change below zero: [10, 8, 9, 5]: 5 - 8 = -3 -> 29 = 0b11101, + 48 = "M".
    np.testing.assert_array_equal(check_segmentation({"size": [8, 4], "counts": ":89M"}, 8, 4), [10, 8, 9, 5])


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        ({"size": [4, 4], "counts": [12]}, r"its mask is \[4, 4\] in size, its picture \[3, 4\]"),
        ({"size": [3, 4], "counts": [12, 5]}, "do not add up to 3 x 4 pixels"),
        ({"size": [3, 4], "counts": [14, -2]}, "do not add up"),
        ({"size": [3, 4], "counts": ["a"]}, "do not add up"),
        ({"size": [3, 4], "counts": "\n"}, "are broken"),
        ({"size": [3, 4], "counts": "ooooooooooo"}, "are broken"),
        ({"size": [3, 4], "counts": "o"}, "are cut short"),
        ([[1, 2, 3, 4]], "three points or more"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three points or more"),
        ([[1, 2, 3, 4, 5, "x"]], "holds what is not a number"),
        ([[1, 2, 3, 4, 5, float("inf")]], "not a finite number"),
        ([], "neither a list of polygons nor"),
        (None, "neither a list of polygons nor"),
    ],
)
def test_what_is_no_segmentation(segmentation, told):
    with pytest.raises(ValueError, match=told):
        check_segmentation(segmentation, 3, 4)
