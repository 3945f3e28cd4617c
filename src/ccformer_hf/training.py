"""The training loop, on `accelerate`: AdamW, warm-up and cosine decay, gradient clipping, one progress line."""

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .modeling_ccformer import CCFormerForAudioVisualSegmentation
from .processing_ccformer import AudioVisualProcessor


@dataclass
class TrainingRecipe:
    """What decides a training run, beside model and data.

    Args:
        steps: optimizer steps.
        batch_size: clips per process and step.
        learning_rate: at the end of the warm-up; it then falls to 0 along a cosine.
        weight_decay: of AdamW, on matrices and kernels only.
        warmup_steps: steps in which the learning rate rises from 0.
        max_grad_norm: gradients are clipped to this norm.
        seed: of order and augmentation.
        save_every: steps between saved checkpoints.
    """

    steps: int = 1000
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 100
    max_grad_norm: float = 1.0
    seed: int = 0
    save_every: int = 500


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    """Matrices and kernels are decayed; norms, biases, tokens and embeddings (queries, codes) are not."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    decayed = [p for p in model.parameters() if p.ndim >= 2 and id(p) not in embeddings]
    chosen = {id(p) for p in decayed}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def save_whole(accelerator: Accelerator, model, processor: AudioVisualProcessor, folder: Path) -> None:
    """Saves model and processor under a temporary name, then renames: a folder is whole or not there."""
    if not accelerator.is_main_process:
        return
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    accelerator.unwrap_model(model).save_pretrained(temporary)
    processor.save_pretrained(temporary)
    # A folder cannot be replaced in one step: the old one steps aside.
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)


def train(
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    clips: Dataset,
    collate,
    recipe: TrainingRecipe,
    output: str | Path,
) -> list[float]:
    """Trains `model` on `clips` and saves model and processor in `output/last`, a folder for `from_pretrained`.

    Args:
        collate: list of items of `clips` -> keyword arguments of the model, labels included.

    Returns:
        The loss of every step, the mean over all processes.

    Raises:
        ValueError: for fewer clips than one step takes.
        FloatingPointError: when the loss is no longer a finite number; what was saved before stays.
    """
    if len(clips) < recipe.batch_size:
        raise ValueError(
            f"there are {len(clips)} clips for a batch of {recipe.batch_size}; give more clips or a smaller batch_size"
        )
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), step_scheduler_with_optimizer=False)
    set_seed(recipe.seed, device_specific=True)
    loader = DataLoader(clips, recipe.batch_size, shuffle=True, drop_last=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate)

    def rate(step: int) -> float:
        if step < recipe.warmup_steps:
            return (step + 1) / recipe.warmup_steps
        progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * progress))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    model.train()
    losses: list[float] = []
    progress = tqdm(
        total=recipe.steps, desc="training", unit="step", disable=not accelerator.is_main_process, mininterval=5
    )
    while len(losses) < recipe.steps:
        for batch in loader:
            result = model(**batch)
            losses.append(float(accelerator.reduce(result.loss.detach(), "mean")))
            if not math.isfinite(losses[-1]):  # on all processes alike, before it reaches the weights
                raise FloatingPointError(f"the loss is {losses[-1]} at step {len(losses)}: try a lower learning rate")
            accelerator.backward(result.loss)
            accelerator.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            parts = {name: f"{float(value):.3f}" for name, value in result.loss_dict.items()}
            progress.set_postfix(loss=f"{sum(losses[-50:]) / len(losses[-50:]):.3f}", **parts, refresh=False)
            progress.update()
            if len(losses) % recipe.save_every == 0 or len(losses) == recipe.steps:
                save_whole(accelerator, model, processor, output / "last")
            if len(losses) == recipe.steps:
                break
    progress.close()
    return losses
