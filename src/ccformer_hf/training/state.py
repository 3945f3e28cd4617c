"""What a stopped run goes on from, as safetensors and JSON: reading it runs no code of the folder's.

    model.safetensors      weights and buffers
    optimizer.safetensors  `NAME.exp_avg`, `NAME.exp_avg_sq`, `NAME.step` of each parameter
    ema.safetensors        the moving average of the weights, where there is one
    progress.json          step, losses, validations

Nothing more is needed: the order of the clips, their changes, the learning rate and what dropout draws follow from the
step.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from .ema import ExponentialMovingAverage

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)  # of FSDP's shards too
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # what AdamW keeps for each parameter


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: optimizer steps done.
        best: highest mIoU on the validation split so far; None before the first validation.
        seconds: that training and validation took.
        losses: of every step.
        validations: step and scores of every validation.
    """

    step: int = 0
    best: float | None = None
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class TrainingState:
    """All that changes from step to step.

    Attributes:
        model, optimizer: as `accelerate` prepared them.
        ema: of the weights of `model`.
        scaler: of the gradients in fp16; None: there is none.
    """

    model: torch.nn.Module
    optimizer: AcceleratedOptimizer
    ema: ExponentialMovingAverage
    progress: Progress
    scaler: torch.amp.GradScaler | None

    def write(self, folder: Path, main: bool) -> None:
        """Writes the files from the main process; all processes take part, as the shards of FSDP are gathered."""
        weights, moments = get_state_dict(self.model, self.optimizer.optimizer, options=WHOLE)
        if not main:
            return
        folder.mkdir(parents=True)
        _write_tensors(folder / "model.safetensors", weights)
        tensors = {f"{name}.{key}": values[key] for name, values in moments["state"].items() for key in MOMENTS}
        _write_tensors(folder / "optimizer.safetensors", tensors)
        if self.ema.weights:
            _write_tensors(folder / "ema.safetensors", self.ema.weights)
        about = {
            "progress": asdict(self.progress),
            "groups": [group["params"] for group in moments["param_groups"]],
            "scaler": self.scaler.state_dict() if self.scaler else None,
        }
        (folder / "progress.json").write_text(json.dumps(about))

    def read(self, folder: Path) -> None:
        """Goes back to what `write` wrote; every process reads it.

        Raises:
            ValueError: for a state that is not whole, or of another model.
        """
        try:
            about = json.loads((folder / "progress.json").read_text())
            progress, groups, scaler = _read_progress(about["progress"]), about["groups"], about["scaler"]
            weights, tensors = (load_file(folder / f"{name}.safetensors") for name in ("model", "optimizer"))
            moments = {name: {key: tensors[f"{name}.{key}"] for key in MOMENTS} for names in groups for name in names}
            for name, values in moments.items():
                _check_shapes(name, weights[name], values["exp_avg"], values["exp_avg_sq"])
            # What is the recipe's, such as the weight decay, is not taken from the folder.
            param_groups = [
                {key: value for key, value in group.items() if key != "params"} | {"params": names}
                for group, names in zip(self.optimizer.param_groups, groups, strict=True)
            ]
            set_state_dict(
                self.model,
                self.optimizer.optimizer,
                model_state_dict=weights,
                optim_state_dict={"state": moments, "param_groups": param_groups},
                options=WHOLE,
            )
            if self.ema.weights:
                self.ema.load(load_file(folder / "ema.safetensors"), progress.step)
            if self.scaler:
                self.scaler.load_state_dict(scaler)
        except Exception as error:  # what is damaged raises nearly anything, in torch too
            raise ValueError(
                f"{folder}: is not a whole state of this model ({' '.join(str(error).split())}); remove this folder, "
                "and --resume goes on from the state before it"
            ) from error
        self.progress = progress


def _read_progress(values: dict[str, Any]) -> Progress:
    progress = Progress(**values)
    losses = progress.losses
    whole = (
        type(progress.step) is int
        and progress.step >= 0
        and isinstance(progress.best, int | float | None)
        and isinstance(progress.seconds, int | float)
        and isinstance(losses, list)
        and all(isinstance(loss, int | float) for loss in losses)
        and isinstance(progress.validations, list)
        and all(isinstance(one, dict) and {"step", "miou"} <= one.keys() for one in progress.validations)
    )
    if not whole or len(losses) != progress.step:
        raise ValueError("its progress is damaged")
    return progress


def _write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def _check_shapes(name: str, weight: torch.Tensor, *others: torch.Tensor) -> None:
    for other in others:
        if other.shape != weight.shape:
            raise ValueError(f"{name} is {tuple(weight.shape)}, but the optimizer has {tuple(other.shape)} for it")
