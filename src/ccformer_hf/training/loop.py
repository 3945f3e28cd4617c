"""The training loop, on `accelerate`: the same steps for any number of processes, and the same again after a stop."""

import json
import math
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, ProjectConfiguration, broadcast_object_list
from datasets import Dataset
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file
from tqdm import tqdm

from ..atomic import AtomicFolder, replace_folder
from ..data.collator import AudioVisualCollator
from ..data.listing import file_name_of
from ..data.training_clips import ClipOrder, ShareOfSteps, TrainingClips
from ..data.workers import read_ahead
from ..evaluation.evaluate import evaluate_avsbench
from ..model.loss_ccformer import FramePairs
from ..model.modeling_ccformer import CCFormerForAudioVisualSegmentation
from ..model.processing_ccformer import AudioVisualProcessor
from ..model_card import model_card, package_commit
from ..stop_signals import Stopped
from .batch_norms import share_batch_norms, training_batch_norms, uncounted
from .ema import ExponentialMovingAverage
from .recipe import Recipe
from .report import model_record, prediction_sheets, write_training_report
from .run_folder import RunFolder
from .state import Progress, TrainingState

SMOOTHED = 50  # steps whose mean loss is shown


def parameter_groups(model: CCFormerForAudioVisualSegmentation, recipe: Recipe) -> list[dict[str, Any]]:
    """The backbones and the rest, each in two: matrices and kernels decay; norms, biases, tokens, queries do not.

    A backbone whose rate is 0 is in none, and gets no gradient.
    """
    # Learned queries and tokens are tables of vectors: two dimensions, but no matrix that anything is multiplied by.
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    part_of = {}
    for part, module in (("backbone", model.model.backbone), ("audio", model.model.audio_backbone)):
        module.requires_grad_(_rate(recipe, part) > 0)  # without a gradient, the pass back ends before it
        part_of |= {id(parameter): part for parameter in module.parameters()}
    groups = {(part, decayed): [] for part in ("backbone", "audio", "rest") for decayed in (True, False)}
    for parameter in model.parameters():
        # What learns nothing is not given to the optimizer, which would keep two moments of it.
        if parameter.requires_grad:
            part = part_of.get(id(parameter), "rest")
            groups[part, parameter.ndim >= 2 and id(parameter) not in embeddings].append(parameter)
    # `part` is ours: by it `step` finds the rate of a group.
    return [
        {"params": parameters, "part": part, "weight_decay": recipe.weight_decay if decayed else 0.0}
        for (part, decayed), parameters in groups.items()
        if parameters
    ]


def _rate(recipe: Recipe, part: str) -> float:
    return {"backbone": recipe.backbone_rate, "audio": recipe.audio_rate, "rest": 1.0}[part]


def warm_up_and_cosine(step: int, steps: int, warmup: int) -> float:
    """Share of the learning rate at a step (from 0): rises over `warmup` steps, then falls as a cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup  # + 1: no step is without effect
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def learning_rate_factor(step: int, steps: int, frozen: int, recipe: Recipe, part: str) -> float:
    """Share of the learning rate at a step (from 0): warm-up, then a cosine down to 0; the backbones later and lower.

    Frozen backbones get no rate rather than no gradient: taking them out would need another distributed set-up for
    each phase, and the phase after it sets what memory is needed anyway.
    """
    if part != "rest" and step < frozen:
        return 0.0
    return warm_up_and_cosine(step, steps, recipe.warmup_steps) * _rate(recipe, part)


def train(
    recipe: Recipe,
    model: CCFormerForAudioVisualSegmentation,
    processor: AudioVisualProcessor,
    clips: Dataset,
    validation: Dataset | None,
    output: str | os.PathLike,
    resume: bool = False,
    tracker: str | None = None,
    workers: int = 2,
    compile_model: bool = False,
    mixed_precision: str | None = None,
    command: str = "",
) -> Progress:
    """Trains a model. In `output`, each whole or not there at all (but for the logs and a bad batch):

        recipe.json        the recipe
        states/step-N/     what `resume` needs; the newest few
        best/              model folder with its card: the weights that scored best on `validation`
        last/              the same of the weights at the end
        pictures/          predictions for a few clips of `validation`, the latest
        logs/              of the tracker
        log-mel/           of sound that is the same every time
        report.md          losses and validations, with their curves
        bad-batch-N/       the clips of a step whose loss was no number

    A step is the same for any number of processes and, as long as no batch norms train (`frozen_norms`) and there is
    no dropout, for any number of accumulated parts. Dropout draws by seed, step and part, whichever process has that
    part.

    Launch it with `accelerate launch` or `torchrun` for several processes; `accelerate config` sets DDP, FSDP and
    precision.

    Args:
        model: with the labels of the data.
        processor: of that model; goes into the model folders.
        clips: to train on, as `load_avsbench` gives them.
        validation: to choose the best weights by; None: `best` is not made.
        resume: go on from the newest state in `output`; where there is none, start at step 0 and say so.
        tracker: `"tensorboard"`, `"trackio"` or None.
        workers: processes that make clips ready, for each training process.
        compile_model: whether to `torch.compile` the network.
        mixed_precision: `"no"`, `"bf16"`, `"fp16"`; None: as `accelerate` is configured.
        command: that started the run, for the cards.

    Returns:
        Losses and validations.

    Raises:
        ValueError: for a batch that cannot be shared out, an `output` that belongs to another recipe, a state that is
            not whole, fewer epochs than are done, or a clip that cannot be used.
        FileExistsError: for an `output` with a run in it, without `resume`.
        FloatingPointError: when the loss is no longer a finite number.
        TrainingStopped: after SIGTERM or Ctrl-C, once the state is saved.
        OSError: for a clip that cannot be read, a full disk, or an `output` that another process trains into; the
            states saved before stay.
    """
    run = RunFolder(output)
    # 1. Where and how: `accelerate` knows from its launcher.
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        gradient_accumulation_steps=recipe.accumulate,
        mixed_precision=mixed_precision,
        log_with=tracker,
        project_config=ProjectConfiguration(project_dir=str(run.path), logging_dir=str(run.logs)),
        step_scheduler_with_optimizer=False,  # there is no scheduler, see `step`
    )
    if accelerator.distributed_type == DistributedType.FSDP and recipe.ema_decay:
        raise ValueError(
            "the moving average is kept whole in one process, which FSDP's shards are not; set ema_decay: 0, or use "
            "DDP"
        )
    # 2. How long, and whether this run may have the folder.
    # The main process writes the folder before the others check theirs against it, and only where nobody trains in it.
    kept = run.kept if accelerator.is_main_process else nullcontext
    with accelerator.main_process_first(), kept():
        changed = run.begin(recipe, resume, f"{len(clips)} clips, ids {_fingerprint(clips)}")

    # Epochs are fractions of steps here: a step takes the next clips of an endless order, so no epoch ends in a
    # smaller batch.
    steps_per_epoch = len(clips) / recipe.batch_size
    steps = max(1, round(recipe.epochs * steps_per_epoch))
    frozen = round(recipe.frozen_epochs * steps_per_epoch)
    validate_every = max(1, round(recipe.validate_every * steps_per_epoch))

    # 3. The network, its optimizer and its moving average.
    # A process sees only its share of a batch: norms that train must count the frames of all of them.
    if accelerator.num_processes > 1 and not recipe.frozen_norms:
        share_batch_norms(model.model.backbone)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe), lr=recipe.learning_rate)
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    # The inner model alone: the loss around it matches queries on the CPU, which no graph can hold.
    if compile_model:
        model.model.compile()
    # The loader is not prepared: `ShareOfSteps` shares clips out already, such that a step does not depend on the
    # number of processes.
    model, optimizer = accelerator.prepare(model, optimizer)
    ema = ExponentialMovingAverage(accelerator.unwrap_model(model), recipe.ema_decay)
    state = TrainingState(model, optimizer, ema, Progress(), accelerator.scaler)
    loop = _Loop(accelerator, state, processor, recipe, run, steps, frozen, command, package_commit())
    # 4. On from the newest state, or from step 0.
    newest = run.newest_state() if resume else None
    if newest is not None:
        state.read(newest)
    done = state.progress.step
    if done > steps:
        raise ValueError(
            f"epochs is {recipe.epochs}, which is {steps} steps, but {done} are done in {run.path}; expected "
            f"{done / steps_per_epoch:g} epochs or more"
        )
    # Only now: which clips come next follows from the step that the state was at.
    steps_to_come = loop.parts(clips, workers)
    loop.set_training()
    if resume and newest is None:
        accelerator.print(f"nothing to resume in {run.path}: starting from step 0")
    elif newest is not None:
        accelerator.print(f"going on from {newest}: {done} of {steps} steps are done")
    for name, (old, new) in changed.items():
        accelerator.print(f"{name} was {old}, from here on it is {new}")
    for line in loop.described():
        accelerator.print(line)
    if tracker:
        accelerator.init_trackers("ccformer", config={"recipe": json.dumps(recipe.as_dict())})
    with kept(), StopRequest() as stopped:
        loop.run(steps_to_come, validate_every, validation, workers, stopped)
    return state.progress


class TrainingStopped(Stopped):
    """SIGTERM or Ctrl-C, after the state was saved; the text says how to go on."""


class StopRequest:
    """Remembers SIGTERM and Ctrl-C, so that the state is saved after the current step; a second Ctrl-C stops at once.

    `number` is that of the signal, None where none came.
    """

    def __init__(self):
        self.number: int | None = None

    def __enter__(self) -> "StopRequest":
        # SIGINT is Ctrl-C; SIGTERM is what a cluster sends before it takes the machine away.
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        # Who presses Ctrl-C again does not want to wait for the step.
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


@dataclass
class _Loop:
    accelerator: Accelerator
    state: TrainingState
    processor: AudioVisualProcessor
    recipe: Recipe
    run_folder: RunFolder
    steps: int
    frozen: int  # steps in which the backbones do not learn
    command: str
    commit: str

    @property
    def model(self) -> torch.nn.Module:
        return self.state.model

    @property
    def progress(self) -> Progress:
        return self.state.progress

    @property
    def network(self) -> CCFormerForAudioVisualSegmentation:
        return self.accelerator.unwrap_model(self.state.model)

    def parts(self, clips: Dataset, workers: int) -> Iterator[list[dict[str, torch.Tensor]]]:
        """The steps still to come, each as this process' share of the clips in as many parts as are accumulated."""
        recipe, accelerator = self.recipe, self.accelerator
        share = ShareOfSteps(
            ClipOrder(len(clips), recipe.batch_size, recipe.seed),
            range(self.progress.step, self.steps),
            accelerator.process_index,
            accelerator.num_processes,
            recipe.accumulate,
        )
        # Log-mel of sound that is the same every time is made once. Beside the states, as it is of these clips alone.
        cache = self.run_folder.path / "log-mel"
        batches = read_ahead(
            TrainingClips(clips, self.processor, recipe.augmentation, recipe.seed, recipe.batch_size, cache),
            AudioVisualCollator(self.processor),
            workers,
            batch_sampler=share,
            generator=torch.Generator(),  # its own, so that torch's is left alone
            pin_memory=accelerator.device.type == "cuda",  # `non_blocking` copies need it
        )
        # `batched` of itertools comes with Python 3.12.
        return iter(lambda: list(islice(batches, recipe.accumulate)), [])

    def described(self) -> Iterator[str]:
        """What a user wants to see before hours are spent: where it runs, and what a batch is made of."""
        recipe, processes = self.recipe, self.accelerator.num_processes
        part = recipe.batch_size // (processes * recipe.accumulate)
        yield (
            f"training on {self.accelerator.device.type}, {processes} process(es), mixed precision "
            f"{self.accelerator.mixed_precision}; batch_size {recipe.batch_size} = {processes} process(es) x "
            f"{recipe.accumulate} accumulated part(s) x {part} clip(s); {self.steps} steps"
        )
        if processes == 1 and several_were_asked_for(os.environ):
            yield (
                "warning: the launcher was asked for several processes, but this is one by itself, as `accelerate "
                "launch --cpu` starts it. On CPUs take: ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m "
                "ccformer_hf train ..."
            )
        if recipe.accumulate > 1 and training_batch_norms(self.network):
            yield (
                f"batch norms train (frozen_norms: false): each of the {recipe.accumulate} accumulated parts is "
                "normalised by itself, so that a step depends on their number"
            )

    def run(
        self,
        steps_to_come: Iterator[list[dict[str, torch.Tensor]]],
        validate_every: int,
        validation: Dataset | None,
        workers: int,
        stopped: StopRequest,
    ) -> None:
        progress, main, steps = self.progress, self.accelerator.is_main_process, self.steps
        bar = tqdm(total=steps, initial=progress.step, desc="training", unit="step", disable=not main, mininterval=2)
        waited = 0.0  # seconds in which the clips were not ready: more workers would help
        # `seconds` are those of earlier runs; a rate is told of this run alone.
        begun, begun_at, seconds = time.perf_counter(), progress.step, progress.seconds
        saved = begun
        while progress.step < steps:
            start = time.perf_counter()
            parts = next(steps_to_come)
            waited += time.perf_counter() - start
            # By the clock of the main process: the others follow it, see `step`.
            due = main and time.perf_counter() - saved >= 60 * self.recipe.save_minutes
            found, stop, save = self.step(parts, stopped.number is not None, due)
            self._show(bar, found, waited / (time.perf_counter() - begun), begun, begun_at)
            last = progress.step == steps
            validate = validation is not None and (progress.step % validate_every == 0 or last)
            if validate:  # of this very step: the card of `last` tells its scores only then
                self.validate(validation, workers)
            progress.seconds = seconds + time.perf_counter() - begun
            # Saved after a validation, so that a resumed run neither repeats nor misses one.
            if save or validate or last or stop:
                self.save_state()
                saved = time.perf_counter()
            # A run that is at its end anyway is finished in spite of the signal.
            if stop and not last:
                bar.close()
                raise TrainingStopped(
                    stopped.number or signal.SIGTERM,  # None: another process got the signal, and all stop
                    f"stopped at step {progress.step} of {steps}; --resume goes on from "
                    f"{self.run_folder.newest_state()}",
                )
        bar.close()
        with self.state.ema.swapped_in():  # what was validated is what is kept
            self.save_model(self.run_folder.last)
        if main:
            write_training_report(self.run_folder.path, progress.losses, progress.validations, progress.seconds)
        self.accelerator.end_training()

    def step(
        self, parts: list[dict[str, torch.Tensor]], asked_to_stop: bool, save_is_due: bool
    ) -> tuple[dict[str, float], bool, bool]:
        """One optimizer step.

        Returns:
            Its losses, the mean over everything; whether any process was asked to stop, and whether for any a state is
            due.
        """
        accelerator, device, optimizer = self.accelerator, self.accelerator.device, self.state.optimizer
        # Each tensor is (B, T, ...): B clips of a part, T frames.
        parts = [{name: tensor.to(device, non_blocking=True) for name, tensor in part.items()} for part in parts]
        # The loss is a sum over all clips of the step divided by what there is to count in all of them. A mean of the
        # means of parts would weigh a part with few sounding objects as much as one with many.
        names = ("labels", "frame_mask", "audio_mask", "label_mask")
        counts = sum(self.network.count_loss_items(**{name: part[name] for name in names}) for part in parts)
        counts = accelerator.reduce(counts, "sum")  # over processes
        # Sound and picture are contrasted with those of all parts, but a part alone fits into memory.
        pairs = self._frame_pairs(parts)
        for group in optimizer.param_groups:
            # From the step alone rather than by a scheduler, whose state a resumed, longer run would have to undo.
            factor = learning_rate_factor(self.progress.step, self.steps, self.frozen, self.recipe, group["part"])
            group["lr"] = self.recipe.learning_rate * factor
        found: dict[str, torch.Tensor] = {}
        for number, part in enumerate(parts):
            # Until the last part the gradients of the processes are not averaged: once a step is enough.
            with accelerator.accumulate(self.model):
                self._seed(number)
                # One seed for all parts: the points at which masks are read are then the same for every split of the
                # batch.
                output = self.model(
                    **part,
                    loss_counts=counts,
                    loss_seed=self.recipe.seed + self.progress.step,
                    loss_others=pairs[:number] + pairs[number + 1 :],
                )
                # Sums over the parts: each has been divided by the counts of the whole step.
                for name, value in ({"loss": output.loss.detach()} | output.loss_dict).items():
                    found[name] = found.get(name, 0) + value.float()
                # `backward` divides by the number of parts, but the counts have done so already.
                accelerator.backward(output.loss * len(parts))
                if accelerator.sync_gradients:
                    # The last part: the gradients are those of the whole step now, in every process.
                    found["gradient"] = accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
                    self._check_finite(found["loss"], parts)
                optimizer.step()  # does nothing until the last part
                optimizer.zero_grad()
        self.state.ema.update()
        # One process may have got the signal, or see the time, alone: all agree by the same reduction that averages
        # the losses.
        found |= {"stop": torch.tensor(float(asked_to_stop)), "save": torch.tensor(float(save_is_due))}
        mean = accelerator.reduce(
            torch.stack([torch.as_tensor(v, device=device).float() for v in found.values()]), "mean"
        )
        values = dict(zip(found, mean.tolist(), strict=True))
        stop, save = values.pop("stop") > 0, values.pop("save") > 0
        self.progress.step += 1
        self.progress.losses.append(values["loss"])
        return values, stop, save

    def _seed(self, part: int) -> None:
        """Seeds dropout by seed, step and part alone: the same after a stop, and whichever process has the part."""
        # Parts are numbered through all processes.
        part += self.accelerator.process_index * self.recipe.accumulate
        seed = np.random.SeedSequence([self.recipe.seed, self.progress.step, part])
        torch.manual_seed(int(seed.generate_state(1)[0]))

    @torch.no_grad()
    def _frame_pairs(self, parts: list[dict[str, torch.Tensor]]) -> tuple[FramePairs, ...]:
        """What the contrastive loss of a part has to know of the others (*lineage*: GradCache); empty for one part."""
        if len(parts) == 1 or not self.network.config.contrastive_weight:
            return ()
        pairs = []
        # Every part goes through the backbones twice; its norms must not count it twice.
        with uncounted(self.network):
            for number, part in enumerate(parts):
                self._seed(number)  # dropout in the backbones draws as it will in the pass with gradients
                pairs.append(self.model(**part, only_frame_pairs=True).frame_pairs)
        return tuple(pairs)

    def _check_finite(self, loss: torch.Tensor, parts: list[dict[str, torch.Tensor]]) -> None:
        """Stops all processes before a loss that is not finite reaches the weights, and keeps the batch of it."""
        # NaN in one process makes the mean NaN: all see it, and none waits for the others.
        whole = self.accelerator.reduce(loss, "mean")
        if torch.isfinite(whole):
            return
        step = self.progress.step + 1
        folder = self.run_folder.path / f"bad-batch-{step}"
        if not torch.isfinite(loss):
            folder.mkdir(parents=True, exist_ok=True)
            tensors = {
                f"{number}.{name}": tensor for number, part in enumerate(parts) for name, tensor in part.items()
            }
            save_file(tensors, folder / f"process-{self.accelerator.process_index}.safetensors")
            # Weights are not kept too: training goes there again from the state before, bit for bit.
            (folder / "weights.txt").write_text(f"as in {self.run_folder.newest_state()}, some steps later\n")
        self.accelerator.wait_for_everyone()
        raise FloatingPointError(
            f"the loss is {whole.item()} at step {step}; the batch is kept in {folder}, saved states are as they "
            "were. Try a lower learning_rate, more warmup_steps, or bf16 instead of fp16"
        )

    def set_training(self) -> None:
        """Training mode; batch norms of the backbone keep their statistics where the recipe says so."""
        self.model.train()
        if self.recipe.frozen_norms:
            # `train()` has switched them to the statistics of the batch, as it does each time after a validation.
            for module in self.network.model.backbone.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def validate(self, validation: Dataset, workers: int) -> None:
        """Scores the (averaged) weights on the validation split and keeps them where they are the best so far."""
        accelerator, progress = self.accelerator, self.progress
        self.model.eval()
        with self.state.ema.swapped_in():
            network = self.network
            result = evaluate_avsbench(network, self.processor, validation, size=self.recipe.size, workers=workers)
            # The main process has the scores, but all must agree on whether these weights are the best: saving them is
            # a joint effort.
            (scores,) = broadcast_object_list([result.scores if accelerator.is_main_process else None])
            score = _selection_score(scores)
            progress.validations.append({"step": progress.step, **scores})
            if progress.best is None or score > progress.best:
                progress.best = score
                self.save_model(self.run_folder.best)
            # Still with the averaged weights, so that the pictures are those that the scores are of.
            if accelerator.is_main_process:
                self._show_predictions(prediction_sheets(result, network, self.processor, validation))
            accelerator.wait_for_everyone()
        shown = {f"validation/{name}": value for name, value in scores.items() if value is not None}
        accelerator.log(shown, progress.step)
        accelerator.print(f"step {progress.step}: validation mIoU {score:.4f}, the best so far {progress.best:.4f}")
        self.set_training()

    def save_model(self, folder: Path) -> None:
        """A model folder for `from_pretrained`, of the weights that are in the model now."""
        weights = self.accelerator.get_state_dict(self.model)  # all processes: FSDP gathers its shards
        if self.accelerator.is_main_process:
            # `best` is replaced many times, and one that is loaded meanwhile is whole.
            with AtomicFolder(folder) as temporary:
                self.network.save_pretrained(temporary, state_dict=weights)
                self.processor.save_pretrained(temporary)
                self._write_card(temporary)
        self.accelerator.wait_for_everyone()

    def _write_card(self, folder: Path) -> None:
        """Writes the card of the current weights and its record; with scores only if these weights were validated."""
        progress = self.progress
        validated = progress.validations and progress.validations[-1]["step"] == progress.step
        scores = progress.validations[-1] if validated else {}
        record = model_record(self.recipe, self.run_folder.data(), progress.step, scores, self.command, self.commit)
        # Record and card lie beside the weights, so that whoever copies the folder has both.
        record.write(folder)
        title = self.run_folder.path.resolve().name
        (folder / "README.md").write_text(model_card(record, self.network, self.processor, title), encoding="utf-8")

    def _show_predictions(self, sheets: dict[str, Image.Image]) -> None:
        with AtomicFolder(self.run_folder.path / "pictures") as folder:
            for name, sheet in sheets.items():
                sheet.save(folder / f"{file_name_of(name)}.png", compress_level=3)
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                # (1, H, W, 3): tensorboard takes several pictures under one name.
                images = {f"predictions/{name}": np.asarray(sheet)[None] for name, sheet in sheets.items()}
                tracker.log_images(images, step=self.progress.step, dataformats="NHWC")

    def save_state(self) -> None:
        """Everything that `resume` needs, whole or not at all; the oldest states beyond those to keep are removed."""
        # Under a temporary name first: a state that a kill cut short would be taken for the newest.
        target = self.run_folder.state(self.progress.step)
        temporary = self.run_folder.temporary(target)
        if self.accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        try:
            self.state.write(temporary, self.accelerator.is_main_process)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise OSError(
                f"{target}: the state could not be saved ({error}); make room, then --resume goes on from "
                f"{self.run_folder.newest_state()}"
            ) from error
        self.accelerator.wait_for_everyone()  # whole in every process before it gets its name
        if self.accelerator.is_main_process:
            replace_folder(temporary, target)
            self.run_folder.prune(self.recipe.keep_states)
        self.accelerator.wait_for_everyone()

    def _show(self, bar: tqdm, found: dict[str, float], wait: float, begun: float, begun_at: int) -> None:
        progress = self.progress
        recent = progress.losses[-SMOOTHED:]  # the loss of one batch says little
        per_second = (progress.step - begun_at) * self.recipe.batch_size / (time.perf_counter() - begun)
        rate = max(group["lr"] for group in self.state.optimizer.param_groups)
        parts = {name: f"{value:.3f}" for name, value in found.items() if name not in ("loss", "gradient")}
        shown = {
            "loss": f"{sum(recent) / len(recent):.3f}",
            **parts,
            "lr": f"{rate:.1e}",
            "clips/s": f"{per_second:.1f}",
        }
        if self.accelerator.device.type == "cuda":
            # At the peak: what another batch size has to stay below.
            shown["GB"] = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}"
        bar.set_postfix(shown | {"waiting": f"{wait:.0%}"}, refresh=False)
        bar.update()
        about = {"learning_rate": rate, "clips_per_second": per_second, "waiting": wait}
        self.accelerator.log({f"training/{name}": value for name, value in (found | about).items()}, progress.step)


def several_were_asked_for(environment: Mapping[str, str]) -> bool:
    """Whether the launcher was asked for several processes, by the variables it sets.

    `accelerate launch --cpu --num_processes 2` sets an address for them to meet at, but starts one, without a word.
    """
    # A launcher that starts them sets WORLD_SIZE too.
    return int(environment.get("WORLD_SIZE", 1 + ("MASTER_ADDR" in environment))) > 1


def _fingerprint(clips: Dataset) -> str:
    return blake2b("\n".join(clips["id"][:]).encode(), digest_size=8).hexdigest()


def _selection_score(scores: dict[str, float | None]) -> float:
    """mIoU of a validation; of several classes over those seen, since few sets show all."""
    return scores.get("miou_seen", scores["miou"]) or 0.0
