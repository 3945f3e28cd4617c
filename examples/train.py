"""Trains a CCFormer by a recipe, on one CPU or many GPUs, and goes on where it was stopped.

    accelerate launch examples/train.py --config examples/recipes/ms3-resnet50.yaml --data AVSBench --output runs/ms3
    accelerate launch examples/train.py --config examples/recipes/ms3-resnet50.yaml --data AVSBench --output runs/ms3 --resume
    accelerate launch examples/train.py --config examples/recipes/fine-tune.yaml --data mine --output runs/mine --set epochs=40

`--data` is a folder as downloaded, as `ccformer data convert` wrote it, or with clips of your own; or a sources file, from whose
pictures and sounds clips are composed as they are needed (`ccformer data compose --help`). `runs/ms3/best` is a model folder: the
weights that scored best on the validation split. `accelerate config` once sets the number of GPUs, DDP or FSDP, and bf16. A finished run
becomes longer with `--resume --set epochs=90`: its learning rate goes on along the cosine of the longer run.

Several processes without GPUs (`accelerate launch --cpu` starts one):

    ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 examples/train.py --config ...
"""

import argparse
import shlex
import sys
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import set_seed

from ccformer_hf.data.loading import load_avsbench
from ccformer_hf.hub import check_repo_id, publish
from ccformer_hf.training.initial_model import start_model
from ccformer_hf.training.loop import train
from ccformer_hf.training.recipe import read_recipe


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = arguments.add_argument
    add("--config", type=Path, required=True, help="recipe, such as examples/recipes/s4-resnet50.yaml")
    add("--data", type=Path, required=True, help="folder of the data set, or a sources file (.yaml)")
    add("--output", type=Path, required=True, help="folder of the run")
    add("--resume", action="store_true", help="go on from the newest saved state; without one, start")
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="change lines of the recipe: batch_size=4 model.dropout=0.1",
    )
    add("--tracker", choices=("tensorboard", "trackio", "none"), default="tensorboard", help="default: %(default)s")
    add("--workers", type=int, default=2, help="processes that read clips, for each GPU (default: %(default)s)")
    add("--push-to-hub", metavar="OWNER/NAME", help="upload the best weights in the end; a new repository is private")
    add("--compile", action="store_true", help="torch.compile the network")
    return arguments


def main() -> int:
    args = parser().parse_args()
    try:
        if args.push_to_hub:
            check_repo_id(args.push_to_hub)
        recipe = read_recipe(args.config, args.set)
        splits = load_avsbench(recipe.setting, args.data)
        if "train" not in splits:
            raise ValueError(f"{args.data}: has no training split, but {', '.join(splits)}")
        set_seed(recipe.seed)  # before the model draws its weights
        model, processor = start_model(recipe, splits["train"].features["labels"].names)
        progress = train(
            recipe,
            model,
            processor,
            splits["train"],
            splits.get("validation"),
            args.output,
            resume=args.resume,
            tracker=None if args.tracker == "none" else args.tracker,
            workers=args.workers,
            compile_model=args.compile,
            command=shlex.join(["accelerate", "launch", *sys.argv]),
        )
        if args.push_to_hub and PartialState().is_main_process:
            print(f"uploaded to {publish(args.output, args.push_to_hub)}")
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"train.py: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"train.py: {stop}", file=sys.stderr)
        return 130
    print(f"{progress.step} steps; best validation mIoU {progress.best}; {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
