"""Frames of a clip -> pixels of the model: squashed to one size, 0..1, ImageNet mean and deviation (lineage)."""

from transformers.image_processing_backends import PilBackend
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling


class CCFormerImageProcessor(PilBackend):
    """Images -> `pixel_values (N, 3, H, W)` float32. PIL and NumPy only: torchvision is not needed.

    Every argument of a transformers image processor can be given; the ones that matter are `size` (default
    `{"height": 224, "width": 224}`, both multiples of 32), `image_mean` and `image_std`.
    """

    model_input_names = ["pixel_values"]
    do_resize = True
    size = {"height": 224, "width": 224}
    resample = PILImageResampling.BILINEAR
    do_rescale = True
    do_normalize = True
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
