"""The processor under the common tests of transformers.

Not run, because CCFormer has nothing for them to test: test_video_processing_common (no video processor, which would
make torchvision mandatory: frames are pictures to the processor) and test_pipeline_mixin (it runs the library's own
tasks on its own tiny models of the Hub; `audio-visual-segmentation` is not among them and has tests of its own).
"""

import unittest
from unittest import mock

import numpy as np
import torch
from PIL import Image
from transformers_source import common_tests

from ccformer_hf import AudioVisualProcessor, CCFormerFeatureExtractor, CCFormerImageProcessor
from ccformer_hf.model.processing_ccformer import AudioVisualProcessorKwargs

common = common_tests("test_processing_common")
RATE = 16000


class TestAudioVisualProcessor(common.ProcessorTesterMixin, unittest.TestCase):
    processor_class = AudioVisualProcessor

    def setUp(self):
        # The tests give sound without its rate, which the feature extractor refuses: a default instead.
        self.enterContext(mock.patch.dict(AudioVisualProcessorKwargs._defaults, audio_kwargs={"sampling_rate": RATE}))

    @classmethod
    def _setup_image_processor(cls):
        return CCFormerImageProcessor(size={"height": 32, "width": 64})

    @classmethod
    def _setup_feature_extractor(cls):
        return CCFormerFeatureExtractor(alignment="avsbench")

    @staticmethod
    def prepare_processor_dict():
        return {"fps": 2.0}

    def prepare_images_inputs(self, batch_size: int | None = None, nested: bool = False):
        """A clip where the library's tests have an image: that is what the model takes."""
        pictures = np.random.default_rng(0).integers(0, 256, (3, 24, 40, 3), dtype=np.uint8)
        clip = [Image.fromarray(picture) for picture in pictures]
        return clip if batch_size is None else [clip] * batch_size

    def prepare_audio_inputs(self, batch_size: int | None = None):
        sound = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE).astype(np.float32)
        return sound if batch_size is None else [sound] * batch_size

    def test_subprocessor_defaults_1_images(self):
        """The library's own compares without the axis of clips."""
        processor, clip = self.get_processor(), self.prepare_images_inputs()
        alone = processor.image_processor(clip, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(processor(images=clip, return_tensors="pt")["pixel_values"], alone[None])

    def test_subprocessor_defaults_3_audio(self):
        """The library's own passes when the processor refuses sound without pictures, as ours does."""
        processor, sound = self.get_processor(), self.prepare_audio_inputs()
        times = [0.1, 0.9, 2.5]
        alone = processor.feature_extractor(sound, sampling_rate=RATE, timestamps=times, return_tensors="pt")
        inputs = processor(images=self.prepare_images_inputs(), audio=sound, timestamps=times)
        for name, values in alone.items():
            torch.testing.assert_close(inputs[name], values)
