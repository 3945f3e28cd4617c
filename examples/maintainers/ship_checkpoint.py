"""Puts a trained model into the package, with its scores on clips it was never trained on and its model card.

    python examples/maintainers/ship_checkpoint.py runs/tiny
    python examples/maintainers/ship_checkpoint.py            # scores the checkpoint that is there again

Writes `src/ccformer_hf/checkpoints/ccformer-tiny/`, and the same card as `MODEL_CARD.md`. The code files that lie in
a run's folder are not copied: the package has them already.
"""

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from ccformer_hf import load
from ccformer_hf.evaluation.synthetic import evaluate_synthetic
from ccformer_hf.hub import model_folder
from ccformer_hf.inference.loading import BUILT_IN_MODEL
from ccformer_hf.model_card import ModelRecord, model_card, read_record

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "src" / "ccformer_hf" / "checkpoints" / BUILT_IN_MODEL
TRAINED_ON = "synthetic clips (drawn objects with synthesised sounds), made by `ccformer data make`"
ABOUT = """\
This is the checkpoint inside `ccformer-hf`: a real, trained model and an honest demonstration of the whole method.
It knows these drawn classes only, **not the real world**."""
SCORED = """\
Synthetic clips of seed {seed}, which is not trained on, {clips} of each setting, scored at 224 x 224.
`python examples/sound_decides.py` prints this table. How it does on AVSBench is unknown: it was never run on it, and
has none of its classes."""
COMMANDS = """\
ccformer data make synthetic --setting folder --clips 3600
export OMP_NUM_THREADS=1 ACCELERATE_USE_CPU=true
ccformer train --config synthetic-tiny --data synthetic --output runs/tiny \\
    --set start_from=runs/warm batch_size=6 epochs=1.2 learning_rate=5e-4 warmup_steps=40 validate_every=1.2
python examples/maintainers/ship_checkpoint.py {run}"""
ELSEWHERE = ("auto_map", "custom_pipelines")  # settings that point to the code files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "run",
        nargs="?",
        default=TARGET,
        help="folder of a training run, whose best weights are taken, or a model folder; left out: the checkpoint "
        "that is there",
    )
    parser.add_argument(
        "--clips", type=int, default=200, help="clips of each setting to score on (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1_000_000, help="of these clips (default %(default)s)")
    parser.add_argument(
        "--note", help="anything else the card should say about the training; left out: what the model's record says"
    )
    args = parser.parse_args()
    try:
        ship(Path(args.run), args.clips, args.seed, args.note)
    except (OSError, ValueError) as error:
        sys.exit(f"ship_checkpoint.py: error: {error}")


def ship(run: Path, clips: int, seed: int, note: str | None) -> None:
    """Scores the model of a run and puts it, its record and its card in their places."""
    folder = model_folder(run)
    model, processor = load(folder, "cpu")
    scores = asdict(evaluate_synthetic(model, processor, clips, seed))
    # Of the training; runs from before there were records have a recipe only.
    known = read_record(folder) or ModelRecord()
    recipe_file = folder.parent / "recipe.json"
    record = ModelRecord(
        trained_on=TRAINED_ON,
        about=ABOUT,
        dataset="synthetic",
        dataset_name="synthetic clips",
        split="test",
        scores={name: round(value, 4) for name, value in scores.items()},
        scored=SCORED.format(seed=seed, clips=clips),
        commands=COMMANDS.format(run="runs/tiny/last" if run.name == "last" else "runs/tiny"),
        steps=known.steps,
        recipe=known.recipe or (json.loads(recipe_file.read_text()) if recipe_file.is_file() else {}),
        version=known.version,
        commit=known.commit,
        license="apache-2.0",
        note=known.note if note is None else note,
    )
    TARGET.mkdir(parents=True, exist_ok=True)
    if folder.resolve() != TARGET:
        shutil.copyfile(folder / "model.safetensors", TARGET / "model.safetensors")
    for name in ("config.json", "processor_config.json"):
        settings = json.loads((folder / name).read_text())
        for part in (settings, *settings.values()):
            if isinstance(part, dict):
                for pointer in ELSEWHERE:
                    part.pop(pointer, None)
        (TARGET / name).write_text(json.dumps(settings, indent=2) + "\n")
    record.write(TARGET)
    card = model_card(record, model, processor, BUILT_IN_MODEL)
    for path in (TARGET / "README.md", ROOT / "MODEL_CARD.md"):
        path.write_text(card, encoding="utf-8")
    print(card)


if __name__ == "__main__":
    main()
