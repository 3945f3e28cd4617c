"""The feature extractor under the common tests of transformers."""

import unittest

import numpy as np
from transformers_source import common_tests

from ccformer_hf import CCFormerFeatureExtractor

common = common_tests("test_sequence_feature_extraction_common")


class Features:
    """What the common tests ask for: features `(length, 64)` of rising length."""

    batch_size = 7
    min_seq_length = 40
    max_seq_length = 200
    seq_length_diff = (max_seq_length - min_seq_length) // (batch_size - 1)
    feature_size = 64

    def prepare_feat_extract_dict(self) -> dict:
        return {
            "feature_size": self.feature_size,
            "sampling_rate": 16000,
            "padding_value": 0.0,
            "alignment": "avsbench",
            "silence_threshold": 0.01,
        }

    def prepare_inputs_for_common(self, equal_length: bool = False, numpify: bool = False) -> list:
        generator = np.random.default_rng(0)
        lengths = [self.min_seq_length + i * self.seq_length_diff for i in range(self.batch_size)]
        features = [
            generator.random((self.max_seq_length if equal_length else length, self.feature_size))
            for length in lengths
        ]
        return features if numpify else [example.tolist() for example in features]


class TestFeatureExtractor(common.SequenceFeatureExtractionTestMixin, unittest.TestCase):
    feature_extraction_class = CCFormerFeatureExtractor
    feat_extract_tester = Features()
