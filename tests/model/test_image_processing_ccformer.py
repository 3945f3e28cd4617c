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


@pytest.mark.parametrize(("height", "width"), [(32, 64), (40, 24)])
def test_pixels_are_to_the_last_bit_those_of_the_library(height, width):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    processor = CCFormerImageProcessor(size={"height": 32, "width": 64})
    library = PilBackend.from_dict({**processor.to_dict(), "do_convert_rgb": True})
    ours, theirs = (part(picture, input_data_format="channels_last").pixel_values[0] for part in (processor, library))
    assert ours.dtype == theirs.dtype == np.float32
    assert ours.shape == (3, 32, 64)
    np.testing.assert_array_equal(ours, theirs)
