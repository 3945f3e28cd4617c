import torch

from ccformer_hf.model.feature_pyramid_ccformer import CCFormerFeaturePyramid, seen_picture


def test_a_patch_stands_for_sixteen_pixels_whatever_its_size():
    frames = torch.randn(2, 3, 64, 96)
    assert seen_picture(frames, 16) is frames
    smaller = seen_picture(frames, 14)
    assert smaller.shape == (2, 3, 56, 84)
    # the left half bright: a resized picture is bright in the same place
    frames[..., :48], frames[..., 48:] = 1, 0
    smaller = seen_picture(frames, 14)
    torch.testing.assert_close(smaller[..., :40], torch.ones(2, 3, 56, 40))
    torch.testing.assert_close(smaller[..., 44:], torch.zeros(2, 3, 56, 40))


def test_four_maps_of_one():
    torch.manual_seed(0)
    pyramid = CCFormerFeaturePyramid(16)
    maps = pyramid(torch.randn(2, 16, 4, 6))
    assert [m.shape[1:] for m in maps] == [(4, 16, 24), (8, 8, 12), (16, 4, 6), (16, 2, 3)]
    assert tuple(m.shape[1] for m in maps) == pyramid.channels


def test_a_cell_stays_in_its_place():
    """A change in one cell of the map changes, in each of the four, the place that it stands for and no other."""
    torch.manual_seed(0)
    pyramid = CCFormerFeaturePyramid(8)
    before = torch.randn(1, 8, 4, 4)
    after = before.clone()
    after[:, :, 1, 2] += 9
    for stride, old, new in zip((4, 8, 16, 32), pyramid(before), pyramid(after), strict=True):
        rows, columns = torch.nonzero((old != new).any(1)[0], as_tuple=True)
        assert {int(row) * stride // 32 for row in rows} == {0} and {int(c) * stride // 32 for c in columns} == {1}
        if stride < 32:
            assert {int(row) * stride // 16 for row in rows} == {1} and {int(c) * stride // 16 for c in columns} == {2}
