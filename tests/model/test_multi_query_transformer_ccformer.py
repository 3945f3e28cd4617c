import pytest
import torch
import torch.nn.functional as F
from small_model import random_inputs, small_config

from ccformer_hf import CCFormerForAudioVisualSegmentation
from ccformer_hf.model.multi_query_transformer_ccformer import join_queries


def test_resized_features_give_the_resized_mask():
    """The decoder's attention masks come from resized features: resizing and the product commute."""
    torch.manual_seed(0)
    embedding, fine = torch.randn(2, 5, 8), torch.randn(2, 8, 16, 24)
    for size in ((8, 12), (4, 6), (2, 3)):
        resized_masks = F.interpolate((embedding @ fine.flatten(2)).unflatten(2, (16, 24)), size=size, mode="bilinear")
        resized_features = F.interpolate(fine, size=size, mode="bilinear")
        product = (embedding @ resized_features.flatten(2)).unflatten(2, size)
        torch.testing.assert_close(product, resized_masks, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_queries_attend_only_inside_their_masks():
    torch.manual_seed(2)
    model = CCFormerForAudioVisualSegmentation._from_config(small_config(), attn_implementation="eager").eval()
    given = []
    model.model.mtm.layers[2].register_forward_pre_hook(lambda module, args: given.append(args[5]))
    attention = model(**random_inputs(), output_attentions=True).attentions[2]  # (B*T, heads, Q, 64)
    allowed = (given[0] == 0).expand_as(attention)
    assert 0 < (~allowed).sum() and allowed.any(-1).all()  # some cells are shut, no query is blind
    assert attention[~allowed].max() == 0 and attention[allowed].min() > 0


def test_join_queries_of_one_query_is_mask2formers_map():
    torch.manual_seed(0)
    class_queries_logits, masks_queries_logits = torch.randn(1, 4), torch.randn(1, 3, 5)
    joined = join_queries(class_queries_logits, masks_queries_logits).exp()
    foreground = class_queries_logits.softmax(-1)[0, 1:, None, None] * masks_queries_logits.sigmoid()
    torch.testing.assert_close(joined[1:], foreground, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(joined[0], 1 - foreground.sum(0), rtol=1e-4, atol=1e-6)


def test_join_queries_by_hand():
    """Query 0 says label 1 (0.8) on half a mask, query 1 label 2 (0.5) on all of it."""
    class_queries_logits = torch.tensor([[0.2, 0.8, 1e-9], [0.5, 1e-9, 0.5]]).log()
    masks_queries_logits = torch.tensor([[[0.0]], [[30.0]]])
    joined = join_queries(class_queries_logits, masks_queries_logits).exp().flatten().tolist()
    background = (1 - 0.4) * (1 - 0.5)
    wanted = [background, (1 - background) * 0.4 / 0.9, (1 - background) * 0.5 / 0.9]
    assert joined == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("scale", [1, 30, 1000])
def test_join_queries_sums_to_one_with_finite_gradients(scale):
    torch.manual_seed(0)
    class_queries_logits = (scale * torch.randn(2, 3, 30, 5)).requires_grad_()
    masks_queries_logits = (scale * torch.randn(2, 3, 30, 4, 6)).requires_grad_()
    joined = join_queries(class_queries_logits, masks_queries_logits)
    assert joined.shape == (2, 3, 5, 4, 6) and joined.isfinite().all()
    torch.testing.assert_close(joined.exp().sum(2), torch.ones(2, 3, 4, 6), rtol=0, atol=1e-5)
    joined[:, :, 1].sum().backward()
    assert class_queries_logits.grad.isfinite().all() and masks_queries_logits.grad.isfinite().all()
