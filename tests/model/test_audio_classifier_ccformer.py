import pytest
import torch
import torch.nn.functional as F
from small_model import random_inputs, random_labels, small_config

from ccformer_hf import CCFormerForAudioVisualSegmentation
from ccformer_hf.model.audio_classifier_ccformer import CCFormerAudioClassifier, log_heard


@torch.no_grad()
def test_values_by_hand():
    classifier = CCFormerAudioClassifier(small_config(hidden_size=16, num_labels=3), 1)
    for layer, weight in ((0, 1.0), (2, 1 / 64), (4, 1 / 8)):
        classifier[layer].weight.fill_(weight)
        classifier[layer].bias.zero_()
    classifier[4].bias.copy_(torch.tensor([0.0, -8.0]))
    # Hardswish is x * min(max(x + 3, 0), 6) / 6: of 4 it is 4, of -4 nothing. 64 units of 4 / 64, then 16 of 4 / 8.
    assert classifier(torch.tensor([[4.0], [-4.0]])).tolist() == [[8.0, 0.0], [0.0, -8.0]]
    heard = log_heard(torch.tensor([[[8.0, 0.0]] * 2]), torch.tensor([[True, False]]))  # (1, 2, 1, 3)
    assert heard[0, 0, 0].exp().tolist() == pytest.approx([1, 1 / (1 + torch.tensor(-8.0).exp().item()), 0.5])
    assert heard[0, 1, 0].tolist() == [0, 0, 0]  # a frame without sound has a token that says so


def test_it_learns_from_its_own_loss_alone_which_teaches_the_audio_backbone_too():
    torch.manual_seed(4)
    model = CCFormerForAudioVisualSegmentation(small_config(use_audio_classifier=True, heard_weight=0.0)).train()
    batch = random_inputs() | {"labels": random_labels(), "loss_seed": 3}
    parts = (model.model.audio_classifier, model.model.audio_backbone)

    def gradients() -> tuple[float, ...]:
        model.zero_grad()
        model(**batch).loss.backward()
        return tuple(sum(float(p.grad.abs().sum()) for p in part.parameters()) for part in parts)

    of_classifier, of_backbone = gradients()
    assert of_classifier == 0 < of_backbone
    model.config.heard_weight = 1.0
    of_both = gradients()
    assert of_both[0] > 0 and of_both[1] != of_backbone


@torch.no_grad()
def test_what_it_does_not_hear_is_taken_from_every_query_of_the_frame():
    torch.manual_seed(4)
    model = CCFormerForAudioVisualSegmentation(small_config(use_audio_classifier=True)).eval()
    classifier = model.model.audio_classifier
    assert classifier[-1].bias.tolist() == [2.0] * (model.config.num_labels - 1)  # all are heard at first
    for values in classifier.parameters():
        values.normal_()
    inputs = random_inputs() | {"audio_mask": torch.tensor([[True, True, True], [True, True, False]])}
    with_it = model(**inputs)
    logits = classifier(model.model.audio_backbone(inputs["input_features"].flatten(0, 1))).view(2, 3, -1)
    probability = F.pad(1 / (1 + (-logits).exp()), (1, 0), value=1)  # (B, T, K): of "no object" nothing is taken
    probability[1, 2] = 1  # nor in a frame without sound
    without = CCFormerForAudioVisualSegmentation(small_config()).eval()
    without.load_state_dict({name: w for name, w in model.state_dict().items() if "audio_classifier" not in name})
    plain = without(**inputs)
    taken = plain.class_queries_logits.exp() * probability[:, :, None]
    torch.testing.assert_close(with_it.class_queries_logits.softmax(-1), taken / taken.sum(-1, keepdim=True))
    assert torch.equal(with_it.masks_queries_logits, plain.masks_queries_logits)
    # Of several examples of a frame it is the mean over the first, the first two and all; all else hears the first.
    others = torch.randn(2, 3, 2, 96, 64, generator=torch.Generator().manual_seed(1))
    several = inputs | {"input_features": torch.cat([inputs["input_features"], others], dim=2)}
    embedding = model.model.audio_backbone(several["input_features"].flatten(0, 2)[:, None]).view(2, 3, 3, -1)
    two, three = (classifier(embedding[:, :, :count].sum(dim=2) / count) for count in (2, 3))
    probability = F.pad(((logits + two + three) / 3).sigmoid(), (1, 0), value=1)
    probability[1, 2] = 1
    taken = plain.class_queries_logits.exp() * probability[:, :, None]
    found = model(**several)
    torch.testing.assert_close(found.class_queries_logits.softmax(-1), taken / taken.sum(-1, keepdim=True))
    torch.testing.assert_close(found.masks_queries_logits, plain.masks_queries_logits)
    torch.testing.assert_close(without(**several).logits, plain.logits)
