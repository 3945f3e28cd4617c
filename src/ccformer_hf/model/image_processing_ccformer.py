"""Frames of a clip -> pixels of the model: squashed to one size, 0..1, ImageNet mean and deviation."""

from typing import Any

import numpy as np
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling, SizeDict

from .argument_names_ccformer import refuse_misspelt


class CCFormerImageProcessor(PilBackend):
    """Images -> `pixel_values (N, 3, H, W)` float32. PIL and NumPy only: torchvision is not needed.

    Args:
        **settings: every argument of a transformers image processor; the ones that matter are `size` (default
            `{"height": 224, "width": 224}`, both multiples of 32), `image_mean` and `image_std`.

    Raises:
        TypeError: for a misspelt argument.
    """

    model_input_names = ["pixel_values"]
    do_convert_rgb = True
    do_resize = True
    size = {"height": 224, "width": 224}
    resample = PILImageResampling.BILINEAR
    do_rescale = True
    do_normalize = True
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD

    def __init__(self, **settings):
        refuse_misspelt(settings, self.settings(), type(self).__name__)
        super().__init__(**settings)

    def resize(self, image: np.ndarray, size: SizeDict, **settings) -> np.ndarray:
        """As the library's, of a picture `(3, H, W)`; one of that size already stays, as it would, at no cost."""
        return image if image.shape[-2:] == (size.height, size.width) else super().resize(image, size, **settings)

    def normalize(self, image: np.ndarray, mean: list[float], std: list[float], **settings) -> np.ndarray:
        """As the library's, of a picture `(3, H, W)`, to the last bit, without turning it about and back again."""
        # Channel by channel in memory too: over three numbers in a row NumPy is ten times as slow.
        image = np.ascontiguousarray(image if image.dtype.kind == "f" else image.astype(np.float32))
        mean, std = (np.asarray(values, image.dtype).reshape(-1, 1, 1) for values in (mean, std))  # (3, 1, 1)
        image = image - mean
        image /= std
        return image

    @classmethod
    def from_dict(cls, image_processor_dict: dict[str, Any], **kwargs) -> "CCFormerImageProcessor":
        """The last step of `from_pretrained`: refuses misspelt arguments."""
        refuse_misspelt(kwargs, cls.settings(), cls.__name__)
        return super().from_dict(image_processor_dict, **kwargs)

    @classmethod
    def settings(cls) -> set[str]:
        """Names of all that can be set."""
        return set(cls.valid_kwargs.__annotations__)
