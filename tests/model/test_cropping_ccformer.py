"""What is cropped is in `test_media_ccformer`; here, what cannot be."""

import numpy as np
import pytest
from made_media import VideoTrack, set_clean_aperture, set_matroska_crop, write_media

from ccformer_hf.model.cropping_ccformer import UNCROPPED, cropping


@pytest.mark.parametrize(
    ("width", "height", "right", "down", "expected"),
    [
        (40, 32, 4, -2, (16, 6, 8, 10)),
        (64, 48, 0, 0, UNCROPPED),
        (640, 480, 0, 0, UNCROPPED),
        (40, 32, 400, 0, UNCROPPED),
        (0, 0, 0, 0, UNCROPPED),
    ],
)
def test_an_aperture_counts_where_it_lies_in_the_picture(tmp_path, width, height, right, down, expected):
    path = write_media(tmp_path / "a.mp4", VideoTrack())
    set_clean_aperture(path, width, height, right, down)
    assert cropping(str(path), 1, 0, 64, 48) == expected
    assert cropping(str(path), 2, 0, 64, 48) == UNCROPPED  # of another track


def test_damaged_headers_crop_nothing(tmp_path):
    path = write_media(tmp_path / "a.mkv", VideoTrack())
    set_matroska_crop(path, 16, 8)
    assert cropping(str(path), 0, 0, 64, 48) == (16, 8, 0, 0)
    whole = np.frombuffer(path.read_bytes()[:600], np.uint8)
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = whole.copy()
        damaged[random.integers(4, len(whole), 8)] = random.integers(0, 256, 8)
        path.write_bytes(damaged.tobytes()[: random.integers(4, len(whole))])
        left, top, right, bottom = cropping(str(path), 0, 0, 64, 48)
        assert min(left, top, right, bottom) >= 0 and left + right < 64 and top + bottom < 48


def test_a_file_of_nothing_but_tiny_boxes_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes([0, 0, 0, 8]) + b"free" + (bytes([0, 0, 0, 8]) + b"free") * 100_000)
    assert cropping(str(path), 1, 0, 64, 48) == UNCROPPED
