from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

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
