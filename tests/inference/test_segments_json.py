import numpy as np
from scipy import ndimage

from ccformer_hf.inference.segments_json import boxes_of


def test_boxes_by_hand():
    mask = np.zeros((100, 100), dtype=bool)
    mask[10:20, 30:35] = True
    mask[50:80, 50:90] = True
    mask[0, 0] = mask[99, 99] = mask[0, 99] = True
    mask[98:, :2] = True  # 4 pixels: 0.04 %
    mask[90, 10:16] = True
    assert boxes_of(mask) == [[50, 50, 90, 80], [30, 10, 35, 20], [10, 90, 16, 91]]
    many = np.zeros((100, 100), dtype=bool)
    many[::10, 0:8] = many[::10, 20:28] = many[::10, 40:48] = True
    assert ndimage.label(many)[1] == 30
    assert len(boxes_of(many)) == 20
