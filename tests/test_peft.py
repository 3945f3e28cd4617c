"""Adapters of PEFT on the decoder."""

import pytest
import torch
from small_model import random_inputs, random_labels, small_model

from ccformer_hf import CCFormerForAudioVisualSegmentation

peft = pytest.importorskip("peft")

PROJECTIONS = r"model\.mtm\.layers\..*_attn\.(query|value)"


@pytest.fixture(scope="module")
def adapted() -> torch.nn.Module:
    torch.manual_seed(0)
    return peft.get_peft_model(
        small_model(use_audio_classifier=True), peft.LoraConfig(r=2, target_modules=PROJECTIONS)
    )


def test_one_step_changes_the_adapters_and_nothing_else(adapted):
    before = {name: value.clone() for name, value in adapted.state_dict().items()}
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    assert len(trained) == 3 * 2 * 2 * 2  # layers, attentions, projections, matrices
    adapted.train()
    for norm in adapted.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.eval()  # its running statistics are no parameters
    optimizer = torch.optim.SGD(trained, lr=1.0)
    for _ in range(2):  # one of the two matrices of each adapter starts at 0, so the other has no gradient at first
        optimizer.zero_grad()
        adapted(**random_inputs(), labels=random_labels()).loss.backward()
        optimizer.step()
    adapted.eval()
    changed = {name for name, value in adapted.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "lora_" in name}


def test_adapters_are_saved_and_loaded(adapted, tmp_path):
    inputs = random_inputs()
    with torch.no_grad():
        expected = adapted(**inputs).logits
        adapted.save_pretrained(tmp_path)
        again = peft.PeftModel.from_pretrained(small_model(use_audio_classifier=True), tmp_path).eval()
        written, read = adapted.state_dict(), again.state_dict()
        assert written.keys() == read.keys() and all(torch.equal(written[name], read[name]) for name in written)
        torch.testing.assert_close(again(**inputs).logits, expected, atol=1e-4, rtol=1e-4)
        assert not torch.equal(small_model(use_audio_classifier=True)(**inputs).logits, expected)
        merged = again.merge_and_unload()
        assert isinstance(merged, CCFormerForAudioVisualSegmentation)
        torch.testing.assert_close(merged(**inputs).logits, expected, atol=1e-4, rtol=1e-4)


def test_adapters_train_with_gradient_checkpointing_of_the_old_kind():
    """It drops the gradient where no input of a layer requires one, as in a frozen model; the input embeddings do."""
    model = small_model()
    model.gradient_checkpointing_enable({"use_reentrant": True})
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=PROJECTIONS)).train()
    model(**random_inputs(), labels=random_labels()).loss.backward()
    without = [name for name, value in model.named_parameters() if "lora_B" in name and not value.grad.any()]
    assert without == []
