"""What matters in how ccformer-small is made: one short training four times, each but the first without one thing.

    python examples/maintainers/ablations.py sources-160.yaml --start-from runs/pixels --output runs/ablations

    whole         as the recipe `composed-small` has it
    no pasting    one photograph with what it marks; objects that have no photograph are still pasted on a background
    no teacher    the audio backbone begins with random numbers, not with what it learned from the teacher
    no off-screen nothing sounds that is not in view: no sounds from off screen, of no class, or of a bed of music

All begin with the same weights (of `pretrain_pixels.py`), see as many clips, and are scored on the same ones, of the
test split, which have all of it. A run that is there already is scored only.
"""

import argparse
import json
import multiprocessing
from dataclasses import asdict
from pathlib import Path

import torch

from ccformer_hf import load
from ccformer_hf.cli.main import main as ccformer
from ccformer_hf.data.composing import pairing
from ccformer_hf.evaluation.composed import evaluate_composed
from ccformer_hf.model.audio_encoder_ccformer import CCFormerAudioEncoder

SETTINGS = ("backbone_rate=0", "size=160", "learning_rate=8e-4", "audio_rate=0.5", "warmup_steps=50", "ema_decay=0.99")
NOTHING_OFF_SCREEN = {"objects": 0.87, "off_screen": 0.0, "noise": 0.10, "bed": 0.0, "silence": 0.03}
SHOWN = ("binary_miou", "class_miou", "marked_unknown_sounds", "marked_off_screen", "marked_white_noise")


def no_pasting() -> None:
    pairing.OBJECTS, pairing.IN_PLACE = {1: 1.0}, 1.0


def no_off_screen() -> None:
    pairing.AUDIO_KINDS, pairing.WITH_BED, pairing.SECOND_OFF_SCREEN = NOTHING_OFF_SCREEN, 0.0, 0.0


LEFT_OUT = {"whole": None, "no pasting": no_pasting, "no teacher": None, "no off-screen": no_off_screen}


def train(name: str, start: str, sources: str, run: Path, epochs: float) -> None:
    """One training, in a process of its own, which composes the clips too: their rules are changed for all of it."""
    if LEFT_OUT[name] is not None:
        LEFT_OUT[name]()
    settings = [*SETTINGS, f"start_from={start}", f"epochs={epochs}", f"validate_every={epochs}", "seed=1"]
    command = ["train", "--config", "composed-small", "--data", sources, "--output", str(run), "--workers", "0"]
    raise SystemExit(ccformer([*command, "--set", *settings]))


def without_teacher(start: str, folder: Path) -> str:
    """The model with an audio backbone of random numbers, saved in `folder`."""
    model, processor = load(start, "cpu")
    torch.manual_seed(0)
    model.model.audio_backbone = CCFormerAudioEncoder(model.config.audio_config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", help="a sources file, as `ccformer data compose` takes it")
    parser.add_argument("--start-from", required=True, help="model folder that all begin with")
    parser.add_argument("--output", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--epochs", type=float, default=0.02, help="of each training (default %(default)s)")
    parser.add_argument("--clips", type=int, default=60, help="to score on (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1_000_000, help="of these clips (default %(default)s)")
    args = parser.parse_args()

    args.output.mkdir(parents=True, exist_ok=True)
    scores = {}
    for name in LEFT_OUT:
        run = args.output / name.replace(" ", "-")
        if not (run / "last").is_dir():
            start = args.start_from
            if name == "no teacher":
                start = without_teacher(start, args.output / "random-audio")
            arguments = (name, start, args.sources, run, args.epochs)
            process = multiprocessing.get_context("spawn").Process(target=train, args=arguments)
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{name}: the training ended with exit code {process.exitcode}")
        scores[name] = asdict(evaluate_composed(*load(run / "last", "cpu"), args.sources, args.clips, args.seed))
        print(name, json.dumps(scores[name]), flush=True)
    print("\n| | " + " | ".join(figure.replace("_", " ") for figure in SHOWN) + " |")
    print("|---" * (len(SHOWN) + 1) + "|")
    for name, found in scores.items():
        print(f"| {name} | " + " | ".join(f"{found[figure]:.3f}" for figure in SHOWN) + " |")


if __name__ == "__main__":
    main()
