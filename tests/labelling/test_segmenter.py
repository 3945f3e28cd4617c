from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_networks import save_ast, save_grounding_dino, save_sam2, save_sam3
from transformers.utils import is_torchvision_available

from ccformer_hf.labelling.segmenter import SamImageProcessor, load_segmenter

PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return {
        "sam3": str(save_sam3(folder / "sam3")),
        "dino": str(save_grounding_dino(folder / "dino")),
        "sam2": str(save_sam2(folder / "sam2")),
        "ast": str(save_ast(folder / "ast")),
    }


class Planted:
    """A network that answers with `outputs`, and remembers what it was given."""

    def __init__(self, *outputs):
        self.device, self.outputs, self.given = torch.device("cpu"), iter(outputs), []

    def __call__(self, **inputs):
        self.given.append(inputs)
        return next(self.outputs)

    def get_vision_features(self, pixel_values):
        return pixel_values


def logit(value):
    return torch.logit(torch.tensor(value, dtype=torch.float64)).float()


def quarters(*places):
    """Masks of 2 x 2 logits, each with one quarter of the picture covered."""
    masks = torch.full((len(places), 4), -1.0)
    masks[range(len(places)), list(places)] = 1.0
    return masks.reshape(-1, 2, 2)


def test_sam3_gives_each_pixel_the_highest_score_that_covers_it(networks):
    segmenter = load_segmenter([networks["sam3"]], "cpu")
    found = [
        SimpleNamespace(
            pred_masks=quarters(0, 0, 3)[None],
            pred_logits=logit([[0.5, 0.9, 0.4]]),
            presence_logits=logit([[0.8]]),
        ),
        SimpleNamespace(pred_masks=quarters(1)[None], pred_logits=logit([[0.9]]), presence_logits=logit([[0.1]])),
    ]
    segmenter.model = Planted(*found)
    drawings = segmenter(PICTURE, ["a dog", "piano"], 0.35)
    assert drawings.shape == (2, 40, 60) and drawings.dtype == np.float32
    expected = np.zeros((2, 40, 60))
    expected[0, :20, :30] = 0.72  # 0.9 x 0.8; 0.4 x 0.8 and 0.9 x 0.1 are too low
    corners = np.s_[:, ::39, ::59]
    np.testing.assert_allclose(drawings[corners], expected[corners], atol=1e-6)
    assert np.unique(drawings).tolist() == pytest.approx([0, 0.72])


def test_grounding_dino_s_boxes_are_filled_by_sam2(networks):
    segmenter = load_segmenter([networks["dino"], networks["sam2"]], "cpu")
    tokens = torch.full((3, 16), -20.0)
    tokens[0, 1], tokens[1, 2], tokens[2, 1] = logit(0.9), logit(0.5), logit(0.2)
    boxes = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1]])
    nothing = torch.full((3, 16), -20.0)
    segmenter.finder = Planted(
        SimpleNamespace(logits=nothing[None], pred_boxes=boxes[None]),
        SimpleNamespace(logits=tokens[None], pred_boxes=boxes[None]),
        *[SimpleNamespace(logits=nothing[None], pred_boxes=boxes[None])] * 2,
    )
    segmenter.drawer = Planted(SimpleNamespace(pred_masks=quarters(0, 3)[None, :, None]))
    drawings = segmenter(PICTURE, ["A dog.", "piano"], 0.3)
    given = segmenter.drawer.given[0]
    # Pixels of the square of 64 that SAM 2 sees; the third box has too low a score.
    torch.testing.assert_close(given["input_boxes"], torch.tensor([[[0.0, 0, 32, 64], [16, 16, 48, 48]]]))
    assert not drawings[0].any()
    np.testing.assert_allclose(drawings[1, ::39, ::59], [[0.9, 0], [0, 0.5]], atol=1e-6)
    texts = [segmenter.processor.tokenizer.decode(each["input_ids"][0]) for each in segmenter.finder.given]
    assert texts == ["[CLS] a dog. [SEP]", "[CLS] piano. [SEP]"]
    assert not segmenter(PICTURE, ["a dog", "piano"], 0.3).any()  # and SAM 2 is not asked


@pytest.mark.parametrize("names", [["sam3"], ["dino", "sam2"]])
def test_networks_of_random_weights_draw(networks, names):
    segmenter = load_segmenter([networks[name] for name in names], "cpu")
    drawings = segmenter(PICTURE, ["a dog", "piano"], 0.1)
    assert drawings.shape == (2, 40, 60) and drawings.dtype == np.float32
    assert drawings.min() >= 0 and 0.1 <= drawings.max() <= 1
    assert not segmenter(PICTURE, ["a dog"], 0.99999).any()


def test_boxes_and_scores_are_those_of_the_library(networks):
    segmenter = load_segmenter([networks["dino"], networks["sam2"]], "cpu")
    inputs = segmenter.processor(images=PICTURE, text="a dog.", return_tensors="pt")
    with torch.inference_mode():
        outputs = segmenter.finder(**inputs)
        boxes, scores = segmenter._boxes(PICTURE, "a dog", 0.5)
    found = segmenter.processor.post_process_grounded_object_detection(
        outputs, inputs["input_ids"], threshold=0.5, target_sizes=[(40, 60)]
    )[0]
    assert len(scores)
    torch.testing.assert_close(scores, found["scores"])
    torch.testing.assert_close(
        boxes * torch.tensor([60.0, 40, 60, 40]), found["boxes"].clamp(0).minimum(torch.tensor([60.0, 40, 60, 40]))
    )


@pytest.mark.skipif(not is_torchvision_available(), reason="the library's own need torchvision")
def test_pictures_become_those_of_the_library(networks):
    from transformers import Sam2ImageProcessor

    ours = SamImageProcessor.from_pretrained(networks["sam2"])
    theirs = Sam2ImageProcessor.from_pretrained(networks["sam2"])
    assert ours.size == theirs.size
    given = [np.asarray(each(PICTURE, return_tensors="pt")["pixel_values"]) for each in (ours, theirs)]
    assert given[0].shape == (1, 3, 64, 64) and np.abs(given[0] - given[1]).max() < 0.02


@pytest.mark.parametrize("names", [["sam2"], ["dino"], ["sam2", "dino"], ["ast"], ["sam3", "sam3"]])
def test_what_is_no_segmenter_is_refused(networks, names):
    with pytest.raises(ValueError, match="expected a SAM 3, or a Grounding DINO and then a SAM 2"):
        load_segmenter([networks[name] for name in names], "cpu")
