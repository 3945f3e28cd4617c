"""Trains on composed clips for so many minutes, whatever the machine: for a GPU that is there for a short time.

    python examples/maintainers/train_by_the_clock.py --data sources.yaml --output runs/clock --minutes 9 \\
        --workers 15 --set start_from=ccformer-small batch_size=48 backbone_rate=0.1 ema_decay=0.998

All pictures and sounds are read at once, by all cores, so that the workers share them in memory. The steps of the
first `--measure` seconds tell how many fit into the minutes; the training goes on to that many, along one cosine. It
is the training of `ccformer train`; at the end of the minutes it is stopped, and the averaged weights of every saved
state lie as float16 in OUTPUT/weights.
"""

import argparse
import json
import os
import signal
import threading
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ccformer_hf.data.composing.material import Material
from ccformer_hf.data.composing.rows import _read_once
from ccformer_hf.data.loading import load_setting
from ccformer_hf.training.initial_model import initial_model
from ccformer_hf.training.loop import TrainingStopped, train
from ccformer_hf.training.recipe import Recipe, read_recipe
from ccformer_hf.training.run_folder import RunFolder

ROOM = 8 << 30  # bytes of pictures and sounds, once for all workers
MARGIN = 0.97  # of the time that is left is planned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a sources file, as `ccformer data compose` takes it")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--minutes", type=float, required=True, help="in all, from the start of this script")
    parser.add_argument("--measure", type=float, default=30.0, metavar="S", help="(default %(default)s)")
    parser.add_argument("--config", default="composed-small", help="(default %(default)s)")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="change lines of the recipe")
    parser.add_argument("--workers", type=int, default=os.cpu_count() - 1, help="(default %(default)s)")
    parser.add_argument("--mixed-precision", choices=("no", "bf16"), default="no", help="(default %(default)s)")
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes
    torch.set_float32_matmul_precision("high")  # TF32, which the convolutions take anyway

    # A pass over all clips, which is longer than the minutes: the cosine is flat while the rate is measured.
    recipe = replace(read_recipe(args.config, args.set), save_minutes=args.measure / 120, keep_states=100)
    clips = load_setting(recipe.setting, args.data)["train"]
    read_everything(_read_once(str(Path(args.data).resolve()))["train"], args.workers)
    print(f"everything read, {end - time.monotonic():.0f} s left", flush=True)

    def go_on(recipe: Recipe, seconds: float, resume: bool) -> None:
        torch.manual_seed(recipe.seed)
        model, processor = initial_model(recipe, clips.features["labels"].names)
        alarm = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
        alarm.start()
        try:
            train(
                recipe,
                model,
                processor,
                clips,
                None,
                args.output,
                resume=resume,
                workers=args.workers,
                mixed_precision=args.mixed_precision,
            )
        except TrainingStopped as stopped:
            print(stopped, flush=True)
        finally:
            alarm.cancel()

    go_on(recipe, args.measure, resume=False)
    states = RunFolder(args.output).saved_states()
    if len(states) < 2:
        raise SystemExit(f"{len(states)} states were saved in {args.measure:g} s, two are needed: raise --measure")
    (first, second), times = states[-2:], [(state / "progress.json").stat().st_mtime for state in states[-2:]]
    done = _steps(second)
    rate = (done - _steps(first)) / (times[1] - times[0])
    left = end - time.monotonic()
    steps = done + int(MARGIN * left * rate)
    print(f"{rate:.2f} steps/s of {recipe.batch_size} clips; {left:.0f} s left: {steps} steps", flush=True)
    recipe = replace(recipe, epochs=steps * recipe.batch_size / len(clips), save_minutes=args.minutes / 5)
    go_on(recipe, left, resume=True)

    weights = args.output / "weights"
    weights.mkdir(exist_ok=True)
    for state in RunFolder(args.output).saved_states()[2:]:
        tensors = load_file(state / "model.safetensors") | load_file(state / "ema.safetensors")
        halves = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
        save_file(halves, weights / f"{state.name}.safetensors")
    newest = RunFolder(args.output).newest_state()
    losses = json.loads((newest / "progress.json").read_text())["progress"]["losses"]
    print(
        "mean loss of each 100 steps:",
        *(f"{sum(losses[i : i + 100]) / 100:.3f}" for i in range(0, len(losses) - 99, 100)),
    )


def read_everything(material: Material, processes: int) -> None:
    """Reads all pictures and sounds of a split in several processes, and keeps them in this one."""
    kept = material._kept
    kept.most = ROOM
    # Under the names by which composing asks for them.
    reads = {sound.file: ("recording", (sound,)) for many in material.sounds.values() for sound in many}
    reads |= {picture.file: ("photograph", (picture,)) for picture in material.backgrounds}
    for class_id, pictures in material.cutouts.items():
        for picture in pictures:
            if picture.kind == "cutout":
                reads[picture.file] = ("cut_out", (picture, class_id))
            else:
                reads[picture.file] = ("photograph", (picture,))
                reads[picture.file, class_id] = ("cut_out", (picture, class_id))
    with get_context("fork").Pool(processes, _keep, (material,)) as pool:
        for thing, key in zip(pool.imap(_read, reads.values(), chunksize=16), reads, strict=True):
            kept.get(key, lambda thing=thing: thing)


_kept: list[Material] = []  # of a process that reads


def _keep(material: Material) -> None:
    _kept.append(material)


def _read(job: tuple[str, tuple]) -> object:
    method, about = job
    return getattr(_kept[0], method)(*about)


def _steps(state: Path) -> int:
    return int(state.name.removeprefix("step-"))


if __name__ == "__main__":
    main()
