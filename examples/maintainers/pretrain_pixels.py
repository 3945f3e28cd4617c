"""Teaches the pixel decoder what things look like before a model learns which of them sound.

    python examples/maintainers/pretrain_pixels.py sources.yaml --config composed-small --output runs/pixels \\
        --set backbone_weights=lite0.safetensors audio_weights=runs/audio/audio.safetensors

Composes pictures and learns the class of every pixel of every object, sounding or not, by linear heads on the feature
maps that the queries will read; they are thrown away at the end. The sound is random, so that the maps do not depend
on one. Writes a model folder, which a recipe names as its `start_from`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from ccformer_hf.data.composing.material import Material, read_material
from ccformer_hf.data.composing.pairing import draw_view
from ccformer_hf.data.composing.scene import compose_scene
from ccformer_hf.data.reading import IGNORE_LABEL
from ccformer_hf.model.layers_ccformer import time_embedding
from ccformer_hf.training.initial_model import initial_model
from ccformer_hf.training.loop import warm_up_and_cosine
from ccformer_hf.training.recipe import read_recipe

WARM_UP = 50  # steps


class Pictures(IterableDataset):
    """Endless frames `(S, S, 3)` uint8, each with the class of every pixel `(S, S)`; 255 where nobody knows."""

    def __init__(self, material: Material, seed: int):
        self.material, self.seed = material, seed

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        while True:
            view = draw_view(self.material, rng)
            scene = compose_scene(self.material, view, rng)
            for time, frame in enumerate(scene.frames):
                labels = np.zeros(frame.shape[:2], dtype=np.uint8)
                for class_id, mask in zip(view.class_ids, scene.masks, strict=True):
                    labels[mask[time]] = class_id
                labels[scene.unsure[time]] = IGNORE_LABEL
                yield frame, labels


class PixelClasses(nn.Module):
    """Linear heads on the pixel decoder's maps."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.heads = nn.ModuleList([nn.Linear(model.config.hidden_size, model.config.num_labels) for _ in range(4)])

    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        """Frames `(F, 3, S, S)` -> logits `(F, K, h, w)` at strides 4, 8, 16 and 32."""
        maps = self.model.encode_frames(pixel_values[:, None], None)  # four of (F, h, w, D)
        audio = torch.randn(len(pixel_values), 1, self.model.config.hidden_size)  # as normalised as real sound
        if self.model.eim is not None:
            maps, _ = self.model.eim(maps, audio, time_embedding(audio), None)
        multi_scale_features, mask_features = self.model.pixel_decoder(maps)
        return [
            head(features).permute(0, 3, 1, 2)
            for head, features in zip(self.heads, (mask_features, *multi_scale_features), strict=True)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", help="a sources file, as `ccformer data compose` takes it")
    parser.add_argument("--config", default="composed-small", help="recipe of the model (default %(default)s)")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="change lines of the recipe")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--steps", type=int, default=1000, help="(default %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="frames of a step (default %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="at its highest (default %(default)s)")
    args = parser.parse_args()

    recipe = read_recipe(args.config, args.set)
    torch.manual_seed(recipe.seed)
    material = read_material(args.sources)["train"]
    model, processor = initial_model(recipe, material.sources.class_names)
    network = PixelClasses(model.model)
    model.model.backbone.requires_grad_(False).eval()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, args.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up_and_cosine(step, args.steps, WARM_UP))
    loader = iter(DataLoader(Pictures(material, recipe.seed), args.batch_size, num_workers=1))
    mean, std = (torch.tensor(values)[:, None, None] for values in (recipe.image_mean, recipe.image_std))
    for _ in (bar := tqdm(range(args.steps), unit="step")):
        frames, labels = next(loader)
        losses = []
        for logits in network((frames.permute(0, 3, 1, 2) / 255 - mean) / std):
            small = F.interpolate(labels[:, None].float(), logits.shape[-2:], mode="nearest-exact")[:, 0].long()
            losses.append(F.cross_entropy(logits, small, ignore_index=IGNORE_LABEL))
        optimizer.zero_grad()
        sum(losses).backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix({f"stride {4 * 2**i}": f"{loss.item():.3f}" for i, loss in enumerate(losses)})
    model.save_pretrained(args.output)
    processor.save_pretrained(args.output)


if __name__ == "__main__":
    main()
