import numpy as np

from ccformer_hf.inference.objects import SeenObject, object_map, several_of_a_class, small_regions


def test_pixels_belong_to_the_nearest_object_of_their_class():
    class_map = np.zeros((40, 80), np.uint8)
    class_map[:20, :70] = 2
    class_map[25:, :] = 5
    left, right, other = np.zeros((3, 10, 20), bool)
    left[:5, :5], right[:5, 15:], other[7:, :3] = True, True, True
    found = object_map(class_map, [(7, 2, left), (300, 2, right), (9, 5, other)])
    assert found.dtype == np.int32 and ((found == 9) == (class_map == 5)).all()
    assert (found[:20, :36] == 7).all() and (found[:20, 44:70] == 300).all()  # the middle is at 40
    assert not found[class_map == 0].any()
    assert not object_map(class_map, [(9, 5, other)])[:20].any()  # a class without an object


def test_regions_of_a_large_map_are_those_of_the_small_one():
    class_map = np.zeros((200, 400), np.uint8)
    class_map[20:120, 40:100] = class_map[20:60, 200:260] = 3
    class_map[150:190, 40:100] = 1
    found = small_regions(class_map, (50, 100))
    assert [(class_id, mask.sum()) for class_id, mask in found] == [(1, 150), (3, 375), (3, 150)]
    assert found[1][1][5:30, 10:25].all()


def test_several_of_a_class():
    one, other = (SeenObject(n, class_id, 0.5, np.ones((2, 2), bool)) for n, class_id in ((1, 3), (2, 4)))
    assert (
        not several_of_a_class([one, other]) and several_of_a_class([one, other, one]) and not several_of_a_class([])
    )


def test_numbers_beyond_16_bits():
    mask = np.ones((2, 2), bool)
    assert (object_map(np.ones((4, 4), np.uint8), [(70_000, 1, mask)]) == 70_000).all()
