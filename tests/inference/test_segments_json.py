import numpy as np
from scipy import ndimage

from ccformer_hf.inference.objects import Look, SeenObject
from ccformer_hf.inference.rle import encoded
from ccformer_hf.inference.segments_json import add_objects, boxes_of, frame_record, look_record
from ccformer_hf.model.sliding_window_ccformer import FrameSegmentation


def test_a_record_is_that_of_the_pipeline_rounded_and_with_boxes():
    class_map = np.zeros((10, 20), dtype=np.uint8)
    class_map[2:4, 5:10] = 3
    frame = FrameSegmentation(1, 1.93750001, 1.0, 2.0, class_map, {3: 0.812345}, True, 0.123456)
    record, names = frame.record({3: "dog"}), {3: "dog"}
    assert (record["sounding"][0]["mask"] == (class_map == 3)).all() and record["sounding"][0]["score"] == 0.812345
    sounding = {"label": "dog", "id": 3, "score": 0.8123, "area": 0.05, "boxes": [[5, 2, 10, 4]]}
    rounded = {"index": 1, "time": 1.9375, "start": 1.0, "end": 2.0, "has_audio": True, "unseen": 0.1235}
    rounded["sounding"] = [sounding]
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


def look(index: int, start: float, end: float, *squares: tuple[int, int, float]) -> Look:
    """Squares of class 3, given as number, left edge and score."""
    class_map, owners, objects = np.zeros((20, 40), np.uint8), np.zeros((20, 40), np.uint16), []
    for number, left, score in squares:
        owners[4:10, left : left + 6] = number
        class_map[owners == number] = 3
        objects.append(SeenObject(number, 3, score, owners == number))
    return Look(index, start, start, end, class_map, {3: 0.5} if squares else {}, True, 0.2, objects, owners)


def test_a_look_has_the_objects_of_each_class():
    record = look_record(look(0, 0, 1, (7, 2, 0.25), (9, 20, 0.75)), {3: "dog"})
    (dogs,) = record["sounding"]
    mask = np.zeros((20, 40), bool)
    mask[4:10, 2:8] = True
    assert dogs["objects"][0] == {"id": 7, "score": 0.25, "box": [2, 4, 8, 10], "rle": encoded(mask)}
    assert dogs["objects"][1]["box"] == [20, 4, 26, 10] and dogs["boxes"] == [[2, 4, 8, 10], [20, 4, 26, 10]]


def test_objects_of_the_video_have_the_mean_score_and_when_they_sound():
    looks = [
        look(0, 0, 1, (1, 2, 0.6)),
        look(1, 1, 1.5, (1, 3, 0.9), (2, 20, 0.5)),
        look(2, 1.5, 2),
        look(3, 2, 3, (2, 20, 0.8)),
    ]
    segments = {"frames": [look_record(one, {3: "dog"}) for one in looks], "objects": []}
    add_objects(segments)
    assert segments["objects"] == [
        {"id": 1, "label": "dog", "class_id": 3, "score": 0.7, "spans": [[0, 1.5]]},
        {"id": 2, "label": "dog", "class_id": 3, "score": 0.7, "spans": [[1, 1.5], [2, 3]]},
    ]
