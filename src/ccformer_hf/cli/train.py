"""`ccformer train`: trains a model by a recipe, on one CPU or many GPUs, and goes on where it was stopped."""

import argparse
import os
import shlex
from pathlib import Path

from ..stop_signals import stop_exit_code
from .arguments import add_command, at_least, needs_extra, tell_error

# Listed here without importing `training.recipe`, so that --help answers at once.
RECIPE_NAMES = sorted(path.stem for path in Path(__file__).parents[1].glob("training/recipes/*.yaml"))

TRAIN_EXAMPLES = """\
examples:
  ccformer train --config ms3-resnet50 --data AVSBench --output runs/ms3
  ccformer train --config ms3-resnet50 --data AVSBench --output runs/ms3 --resume
  ccformer train --config fine-tune-small --data mine --output runs/mine --set epochs=40 batch_size=4

On several GPUs, or with DDP, FSDP or bf16 as `accelerate config` sets them:
  accelerate launch -m ccformer_hf train --config ms3-resnet50 --data AVSBench --output runs/ms3

In several processes without GPUs (`accelerate launch --cpu` starts one):
  ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m ccformer_hf train --config ...

RUN/best is a model folder: the weights that scored best on the validation split. A finished run becomes longer with
`--resume --set epochs=90`: its learning rate goes on along the cosine of the longer run.
"""


def add_train(commands) -> None:
    """Adds the command to the parser's commands."""
    train = add_command(
        commands,
        "train",
        help="train a model on AVSBench, or on clips of your own",
        description="Trains a model by a recipe. A recipe is a YAML file; these are inside the package, and can be "
        f"the `base` of your own: {', '.join(RECIPE_NAMES)}.",
        epilog=TRAIN_EXAMPLES,
    )
    add = train.add_argument
    add("--config", required=True, metavar="RECIPE", help="name of a recipe inside the package, or a .yaml file")
    add(
        "--data",
        required=True,
        type=Path,
        metavar="ROOT",
        help="folder of the official download, of `data convert`, or your own; or a sources file (.yaml), from whose "
        "pictures and sounds clips are composed as they are needed",
    )
    add("-o", "--output", required=True, type=Path, metavar="RUN", help="folder of the run")
    add("--resume", action="store_true", help="go on from the newest saved state; without one, start")
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="change lines of the recipe: batch_size=4 augmentation.flip=0",
    )
    add("--tracker", choices=("tensorboard", "trackio", "none"), default="tensorboard", help="(default: %(default)s)")
    add("--workers", type=at_least(0), default=2, help="processes that read clips, per GPU (default: %(default)s)")
    add("--compile", action="store_true", help="torch.compile the network")
    add("--push-to-hub", metavar="OWNER/NAME", help="upload the best weights at the end; a new repository is private")
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    needs_extra("train", "ccformer train", "datasets", "accelerate")
    from accelerate import PartialState
    from accelerate.utils import set_seed

    from ..data.loading import load_setting
    from ..hub import check_repo_id, publish
    from ..training.initial_model import initial_model
    from ..training.loop import TrainingStopped, train
    from ..training.recipe import read_recipe
    from ..training.run_folder import RunFolder

    # All that can be wrong in what the user gave is found before hours are spent.
    if options.push_to_hub:
        check_repo_id(options.push_to_hub)
    recipe = read_recipe(options.config, options.set)
    splits = load_setting(recipe.setting, options.data)
    if "train" not in splits:
        raise ValueError(f"{options.data}: has no training split, but {', '.join(splits)}")
    set_seed(recipe.seed)  # before the model draws its weights
    model, processor = initial_model(recipe, splits["train"].features["labels"].names)
    try:
        progress = train(
            recipe,
            model,
            processor,
            splits["train"],
            splits.get("validation"),
            options.output,
            resume=options.resume,
            tracker=None if options.tracker == "none" else options.tracker,
            workers=options.workers,
            compile_model=options.compile,
            command=_command(options),
        )
    except FloatingPointError as error:
        return tell_error(error)
    except TrainingStopped as stop:
        return tell_error(stop, stop_exit_code(stop))
    if options.push_to_hub and PartialState().is_main_process:
        print(f"uploaded to {publish(options.output, options.push_to_hub)}")
    run = RunFolder(options.output)
    if progress.best is None:
        print(f"{progress.step} steps; no validation split; {run.last}")
    else:
        print(f"{progress.step} steps; best validation mIoU {progress.best:.4f}; {run.best}")
    return 0


def _command(options: argparse.Namespace) -> str:
    """What the card says the weights were made with: all that decides them."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    words = [*("accelerate launch -m ccformer_hf" if several else "ccformer").split(), "train"]
    words += ["--config", options.config, "--data", str(options.data), "--output", str(options.output)]
    return shlex.join(words + (["--set", *options.set] if options.set else []))
