"""Draws what a word names in a picture: SAM 3, or Grounding DINO, which finds boxes, and SAM 2, which fills them.

Letters: `H W` picture, `C` prompts, `N` objects found.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch.nn.functional import interpolate
from transformers import (
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
    AutoTokenizer,
    Sam2Model,
    Sam3Model,
)
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling

from ..inference.loading import choose_device
from .pretrained import load_network, load_processor, model_type

# The checkpoints of SAM are saved as those that follow objects through videos; both kinds hold what is needed here.
SAM3_TYPES, SAM2_TYPES = ("sam3", "sam3_video"), ("sam2", "sam2_video")
DINO_TYPES = ("grounding-dino", "mm-grounding-dino")
SAM3_TOKENS = 32  # of a prompt, as it was trained


class Segmenter(Protocol):
    """Draws what words name.

    Attributes:
        drawn: score from which an object of this kind of network is usually taken for one.
    """

    drawn: float

    def __call__(self, picture: np.ndarray, prompts: Sequence[str], least: float) -> np.ndarray:
        """How sure each prompt is of each pixel: float32 `(C, H, W)`.

        Args:
            picture: uint8 `(H, W, 3)`.
            prompts: what to draw.
            least: 0..1; objects with a lower score are left out.

        Returns:
            The highest score 0..1 of the objects of a prompt that cover a pixel; 0 where none does.
        """


class SamImageProcessor(PilBackend):
    """Picture -> `pixel_values`, for SAM 2 and SAM 3, by Pillow, where transformers' own need torchvision; the numbers
    are read from the same file of the checkpoint."""

    model_input_names = ["pixel_values"]
    do_convert_rgb = True
    do_resize = True
    size = {"height": 1024, "width": 1024}
    resample = PILImageResampling.BILINEAR
    do_rescale = True
    do_normalize = True
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]


class Sam3Segmenter:
    """SAM 3: the score of an object is its own times that of anything of the prompt being in the picture.

    Args:
        name: folder or Hub id.
        device: to run on.

    Raises:
        OSError, ValueError: as `load_network`.
    """

    drawn = 0.5

    def __init__(self, name: str, device: torch.device):
        self.model = load_network(Sam3Model, name, device)
        self.tokenizer = load_processor(AutoTokenizer, name)
        self.images = load_processor(SamImageProcessor, name)

    @torch.inference_mode()
    def __call__(self, picture: np.ndarray, prompts: Sequence[str], least: float) -> np.ndarray:
        """See `Segmenter`."""
        device = self.model.device
        pixels = self.images(picture, return_tensors="pt")["pixel_values"].to(device)  # (1, 3, s, s)
        seen = self.model.get_vision_features(pixel_values=pixels)
        drawings = []
        for prompt in prompts:
            text = self.tokenizer(
                [prompt], padding="max_length", truncation=True, max_length=SAM3_TOKENS, return_tensors="pt"
            )
            found = self.model(
                vision_embeds=seen,
                input_ids=text["input_ids"].to(device),
                attention_mask=text["attention_mask"].to(device),
            )
            scores = found.pred_logits[0].sigmoid() * found.presence_logits[0].sigmoid()  # (N,)
            kept = scores >= least
            drawings.append(_score_map(found.pred_masks[0][kept], scores[kept], picture.shape[:2]))
        return np.stack(drawings)


class GroundedSamSegmenter:
    """Grounding DINO finds boxes with scores, one prompt at a time; SAM 2 draws what each box holds.

    Args:
        finder: folder or Hub id of a Grounding DINO.
        drawer: of a SAM 2.
        device: to run on.

    Raises:
        OSError, ValueError: as `load_network`.
    """

    drawn = 0.35

    def __init__(self, finder: str, drawer: str, device: torch.device):
        self.finder = load_network(AutoModelForZeroShotObjectDetection, finder, device)
        self.processor = load_processor(AutoProcessor, finder)
        self.drawer = load_network(Sam2Model, drawer, device)
        self.images = load_processor(SamImageProcessor, drawer)

    @torch.inference_mode()
    def __call__(self, picture: np.ndarray, prompts: Sequence[str], least: float) -> np.ndarray:
        """See `Segmenter`."""
        found = [self._boxes(picture, prompt, least) for prompt in prompts]
        boxes = torch.cat([boxes for boxes, _ in found])  # (N, 4)
        if not len(boxes):
            return np.zeros((len(prompts), *picture.shape[:2]), np.float32)
        pixels = self.images(picture, return_tensors="pt")["pixel_values"].to(self.drawer.device)  # (1, 3, s, s)
        height, width = pixels.shape[-2:]
        corners = boxes * boxes.new_tensor([width, height, width, height])
        masks = self.drawer(pixel_values=pixels, input_boxes=corners[None], multimask_output=False).pred_masks
        each = masks[0, :, 0].split([len(scores) for _, scores in found])  # C times (n, h, w)
        return np.stack(
            [_score_map(masks, scores, picture.shape[:2]) for masks, (_, scores) in zip(each, found, strict=True)]
        )

    def _boxes(self, picture: np.ndarray, prompt: str, least: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Left, top, right, bottom in shares of the picture `(n, 4)`, and scores `(n,)`, of what a prompt names."""
        inputs = self.processor(images=picture, text=f"{prompt.lower().strip(' .')}.", return_tensors="pt")
        found = self.finder(**inputs.to(self.finder.device))
        scores = found.logits[0].sigmoid().max(dim=-1).values  # (n,), of the tokens of the prompt
        kept = scores >= least
        middle, size = found.pred_boxes[0][kept].split(2, dim=-1)
        return torch.cat([middle - size / 2, middle + size / 2], dim=-1).clamp(0, 1), scores[kept]


def load_segmenter(names: Sequence[str], device: str = "auto") -> Segmenter:
    """The segmenter in one or two folders or of Hub ids.

    Args:
        names: a SAM 3; or a Grounding DINO and a SAM 2.
        device: see `inference.loading.load`.

    Raises:
        OSError: where there is none, or a part of it is missing.
        ValueError: where they are other kinds of models.
    """
    kinds = [model_type(name) for name in names]
    if len(kinds) == 1 and kinds[0] in SAM3_TYPES:
        return Sam3Segmenter(names[0], choose_device(device))
    if len(kinds) == 2 and kinds[0] in DINO_TYPES and kinds[1] in SAM2_TYPES:
        return GroundedSamSegmenter(*names, choose_device(device))
    told = " and ".join(f"{name} (of type {kind!r})" for name, kind in zip(names, kinds, strict=True))
    raise ValueError(f"the segmenter is {told}; expected a SAM 3, or a Grounding DINO and then a SAM 2")


def _score_map(masks: torch.Tensor, scores: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """Of each pixel the highest of the `scores` (N,) of those `masks` (N, h, w), logits, that cover it: `size`."""
    best = np.zeros(size, np.float32)
    for mask, score in zip(masks, scores.tolist(), strict=True):  # one by one: N of them at this size are large
        covered = interpolate(mask[None, None], size, mode="bilinear", align_corners=False)[0, 0] > 0
        np.maximum(best, np.float32(score), out=best, where=covered.cpu().numpy())
    return best
