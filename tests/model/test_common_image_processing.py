"""The image processor under the common tests of transformers."""

import unittest

import torch
from transformers_source import common_tests

from ccformer_hf import CCFormerImageProcessor

common = common_tests("test_image_processing_common")


class Pictures(common.ImageProcessingTester):
    """Small pictures, and settings other than the defaults: all of them, as the base class's vary by version."""

    batch_size = 7
    num_channels = 3
    min_resolution = 30
    max_resolution = 60
    size = {"height": 18, "width": 20}

    def __init__(self):
        pass

    def prepare_image_processor_dict(self) -> dict:
        return {
            "size": self.size,
            "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.3, 0.4, 0.5],
            "do_rescale": True,
            "rescale_factor": 1 / 127,
        }


class TestImageProcessor(common.ImageProcessingTestMixin, unittest.TestCase):
    image_processing_classes = {"pil": CCFormerImageProcessor}
    test_cast_dtype = torch.float16

    def setUp(self):
        self.image_processor_tester = Pictures()

    @property
    def image_processor_dict(self) -> dict:
        return self.image_processor_tester.prepare_image_processor_dict()

    @unittest.skip("one backend, on purpose: the same pixels on every machine, torchvision installed or not")
    def test_new_models_require_torchvision_backend(self):
        """The library asks new models for a second backend."""

    @unittest.skip("its fresh process gives no trust_remote_code; all tests here run without torchvision")
    def test_pil_can_run_without_torchvision(self):
        """A slow test of the library's, for models inside it."""

    @unittest.skip(
        "of older releases (5.20 has it, 5.24 does not): it imports transformers.models.<folder of the test>, which a "
        "model from outside does not have"
    )
    def test_pil_can_load_without_torchvision(self):
        """All tests here load without torchvision."""
