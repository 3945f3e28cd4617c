"""The library's own common tests of models, configs and training, on ours."""

import contextlib
import copy
import unittest
from unittest import mock

import torch
from small_model import SMALL_SWIN, masks_with_padding, random_inputs, random_labels, small_config
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES
from transformers_source import common_tests

from ccformer_hf import CCFormerConfig, CCFormerForAudioVisualSegmentation, CCFormerModel

modeling = common_tests("test_modeling_common")
configuration = common_tests("test_configuration_common")
training = common_tests("test_training_mixin")


class CCFormerModelTester:
    """A small model and a batch for it, under the names that the common tests ask for."""

    is_training = True
    batch_size = 2
    num_hidden_layers = 2
    num_attention_heads = 2
    hidden_size = 16
    # Frame queries: few, for a mask logit near 0 that bfloat16 rounds to the other side changes what a query may
    # attend to, and then eager attention and SDPA differ by more than rounding.
    seq_length = 3
    key_length = 2  # cells of stride 32, which the first decoder layer reads

    def get_config(self, **changes) -> CCFormerConfig:
        return small_config(decoder_layers=self.num_hidden_layers, num_queries=self.seq_length, **changes)

    def prepare_config_and_inputs_for_common(self) -> tuple[CCFormerConfig, dict[str, torch.Tensor]]:
        return self.get_config(), {**random_inputs(height=32, width=64), **masks_with_padding()}


class CCFormerModelTest(modeling.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (CCFormerModel, CCFormerForAudioVisualSegmentation)
    additional_model_inputs = ["input_features"]
    test_resize_embeddings = False  # there are no token embeddings
    test_can_init_all_missing_weights_before_2023 = True
    _is_composite = True

    def setUp(self):
        self.model_tester = CCFormerModelTester()
        for patch in (
            # The list by which the tests tell a bare model, which has no loss, from one with a head.
            mock.patch.dict(MODEL_MAPPING_NAMES, {"ccformer": "CCFormerModel"}),
            # Writes the epsilons of other models into the config; ours has none, and refuses unknown fields.
            mock.patch.object(modeling, "set_config_for_less_flaky_test", lambda config: None),
        ):
            patch.start()
            self.addCleanup(patch.stop)

    def subTest(self, *args, **kwargs):
        """No report of each of the thousands of subtests: they take long. The first that fails ends the test."""
        return contextlib.nullcontext()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = copy.deepcopy(inputs_dict)
        if return_labels and model_class is CCFormerForAudioVisualSegmentation:
            inputs.update(labels=random_labels(), loss_seed=0)
        return inputs

    def test_bc_torch_dtype(self):
        self.all_model_classes = (CCFormerModel,)  # it loads each class 28 times
        # It writes both values of each pair of weights into a message before it compares them.
        with mock.patch.object(torch.Tensor, "__format__", lambda tensor, _: f"a tensor {tuple(tensor.shape)}"):
            super().test_bc_torch_dtype()

    def test_can_set_attention_dynamically(self):
        swin = self.model_tester.get_config(backbone_config=SMALL_SWIN)  # ResNet has no attention to set
        with mock.patch.object(self.model_tester, "get_config", lambda: swin):
            super().test_can_set_attention_dynamically()

    def test_model_get_set_embeddings(self):
        for model_class in self.all_model_classes:
            model = model_class(self.model_tester.get_config())
            assert isinstance(model.get_input_embeddings(), torch.nn.Linear)  # of sound, not of tokens
            new = torch.nn.Linear(8, 16)
            model.set_input_embeddings(new)
            assert model.get_input_embeddings() is new
            assert model.get_output_embeddings() is None

    def test_sdpa_can_dispatch_composite_models(self):
        self.skipTest(
            "The backbone has a config of its own, but there is no language model, which this test looks for"
        )

    def test_sdpa_can_dispatch_non_composite_models(self):
        self._is_composite = False  # all that is checked holds for a model with a backbone too
        super().test_sdpa_can_dispatch_non_composite_models()


class CCFormerConfigTest(unittest.TestCase):
    def test_config(self):
        self.model_tester = CCFormerModelTester()
        properties = ["hidden_size", "num_attention_heads", "num_hidden_layers"]
        tester = configuration.ConfigTester(
            self, config_class=CCFormerConfig, has_text_modality=False, common_properties=properties, hidden_size=32
        )
        tester.run_common_tests()


class OverfitTester(CCFormerModelTester):
    def get_config(self, **changes) -> CCFormerConfig:
        config = super().get_config(contrastive_weight=0, **changes)
        config.vocab_size = 0  # read for a batch of text
        return config


class CCFormerTrainingTest(training.TrainingTesterMixin, unittest.TestCase):
    """The mixin trains on text only so far; but for the batch, what it does and demands holds for clips as well."""

    model_tester = OverfitTester()
    all_model_classes = (CCFormerForAudioVisualSegmentation,)
    training_overfit_steps = 60
    training_overfit_learning_rate = 1e-2

    def _get_model_modality(self) -> str:
        return "text"

    def _create_text_training_batch(self, batch_size, seq_length, vocab_size) -> dict[str, torch.Tensor]:
        return {**random_inputs(batch_size, height=32, width=64), "labels": random_labels(batch_size), "loss_seed": 0}
