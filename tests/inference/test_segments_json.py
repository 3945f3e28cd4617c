import numpy as np
from scipy import ndimage

from ccformer_hf.inference.segments_json import boxes_of, frame_record
from ccformer_hf.model.sliding_window_ccformer import FrameSegmentation


def test_a_record_is_that_of_the_pipeline_rounded_and_with_boxes():
    class_map = np.zeros((10, 20), dtype=np.uint8)
    class_map[2:4, 5:10] = 3
    frame = FrameSegmentation(1, 1.93750001, 1.0, 2.0, class_map, {3: 0.812345}, True)
    record, names = frame.record({3: "dog"}), {3: "dog"}
    assert (record["sounding"][0]["mask"] == (class_map == 3)).all() and record["sounding"][0]["score"] == 0.812345
    sounding = {"label": "dog", "id": 3, "score": 0.8123, "area": 0.05, "boxes": [[5, 2, 10, 4]]}
    rounded = {"index": 1, "time": 1.9375, "start": 1.0, "end": 2.0, "has_audio": True, "sounding": [sounding]}
    assert frame_record(frame, names) == rounded and list(rounded) == list(record)


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
