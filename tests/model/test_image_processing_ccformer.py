from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend

from ccformer_hf.model.image_processing_ccformer import CCFormerImageProcessor


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_pictures_of_any_mode_become_rgb(mode):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)).convert(mode)
    processor = CCFormerImageProcessor(size={"height": 32, "width": 64})
    wanted = processor(picture.convert("RGB"), return_tensors="pt")["pixel_values"]
    assert torch.equal(processor(picture, return_tensors="pt")["pixel_values"], wanted)


def test_a_misspelt_setting_is_an_error(tmp_path):
    CCFormerImageProcessor().save_pretrained(tmp_path)
    for load in (CCFormerImageProcessor, partial(CCFormerImageProcessor.from_pretrained, tmp_path)):
        with pytest.raises(TypeError, match="no setting 'sise'; did you mean 'size'"):
            load(sise=64)


def ours_and_the_librarys(picture, size=(32, 64), **settings):
    """Pixels `(3, H, W)` of a picture `(H, W, 3)`, from our processor and from the library's of Pillow."""
    ours = CCFormerImageProcessor(size=dict(zip(("height", "width"), size, strict=True)), **settings)
    library = PilBackend.from_dict({**ours.to_dict(), "do_convert_rgb": True})
    pixels = [part(picture, input_data_format="channels_last").pixel_values[0] for part in (ours, library)]
    assert [values.shape for values in pixels] == [(3, *size)] * 2
    assert [values.dtype for values in pixels] == [np.float32] * 2
    return pixels


def random_picture(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_pixels_of_one_size_are_to_the_last_bit_those_of_the_library():
    np.testing.assert_array_equal(*ours_and_the_librarys(random_picture(32, 64)))


@pytest.mark.parametrize(("height", "width"), [(40, 24), (720, 1280), (20, 300), (1, 1)])
def test_resized_pixels_are_those_of_pillow_but_for_one_level_in_a_few(height, width):
    picture = random_picture(height, width)
    picture.flags.writeable = False  # as one that lies in a file
    ours, pillows = ours_and_the_librarys(picture, (224, 160), do_normalize=False, rescale_factor=1.0)
    assert np.abs(ours - pillows).max() <= 1
    assert np.mean(ours != pillows) < 0.02


def test_whatever_else_is_resized_as_the_library_does_it():
    picture = random_picture(40, 24)
    np.testing.assert_array_equal(*ours_and_the_librarys(picture, resample=Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(*ours_and_the_librarys(picture.astype(np.float32) / 255, do_rescale=False))
    with pytest.raises(ValueError, match="Size must contain"):
        CCFormerImageProcessor()(picture, size={"height": 0, "width": 64})
