"""Puts a trained model into the package: weights and settings, its scores on clips never seen, and the card that states them.

    python examples/ship_checkpoint.py runs/tiny/last

Writes `src/ccformer_hf/checkpoints/ccformer-tiny/` and the same card as `MODEL_CARD.md`. The code files that lie in a run's folder stay
behind: inside the package they are there already.
"""

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from sound_decides import MEANING

from ccformer_hf import load
from ccformer_hf.sound_decides import evaluate_made_up

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "src" / "ccformer_hf" / "checkpoints" / "ccformer-tiny"
TRAINED_ON = "made-up clips (drawn objects with synthetic sounds), made by `ccformer data make`"

CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: image-segmentation
tags: [audio-visual-segmentation, ccformer]
---

# ccformer-tiny

The checkpoint inside `ccformer-hf`: a CCFormer of {parameters:.2f} million parameters ({megabytes:.1f} MB) for {size} x {size} frames, one
per second, each with its second of sound. It is a real, trained model and an honest demonstration of the whole method. It was
trained on **{trained_on}** and knows these drawn classes only, **not the real world**: {classes}.

## Scores (synthetic)

Made-up clips of seed {seed}, which is not trained on, {clips} of each setting, scored at 224 x 224. `python examples/sound_decides.py`
prints this table.

| figure | value |
|---|---|
{table}

How it does on AVSBench is unknown: it was never run on it, and has none of its classes.

## How to get it again

On two CPU cores, about 75 minutes:

```bash
ccformer data make made-up --setting own --clips 5000
export OMP_NUM_THREADS=1 ACCELERATE_USE_CPU=true
torchrun --nproc_per_node 2 examples/train.py --config examples/recipes/made-up-tiny.yaml --data made-up --output runs/tiny
python examples/ship_checkpoint.py runs/tiny/last
```

{note}

## Use

```python
from ccformer_hf import segment_video

segment_video("clip.mp4", "results")  # this checkpoint is the default
```

Limits: one frame per second is looked at unless told otherwise (`--fps`); two objects of one class cannot be told apart by their
sound; a class is marked where it is seen, also while another of the same class sounds off screen.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model folder that a training run saved")
    parser.add_argument(
        "--clips", type=int, default=200, help="clips of each setting to score on (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1_000_000, help="of these clips (default %(default)s)")
    parser.add_argument("--note", default="", help="anything else the card should say about the training")
    args = parser.parse_args()

    model, processor = load(args.model, "cpu")
    scores = {
        name: round(value, 4)
        for name, value in asdict(evaluate_made_up(model, processor, args.clips, args.seed)).items()
    }
    TARGET.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(args.model) / "model.safetensors", TARGET / "model.safetensors")
    for name in ("config.json", "processor_config.json"):
        settings = json.loads((Path(args.model) / name).read_text())
        for part in (settings, *settings.values()):  # points to the code files, which stay behind
            if isinstance(part, dict):
                part.pop("auto_map", None)
        (TARGET / name).write_text(json.dumps(settings, indent=2) + "\n")
    about = {"trained_on": TRAINED_ON, "evaluation": {"clips": args.clips, "seed": args.seed, **scores}}
    (TARGET / "checkpoint.json").write_text(json.dumps(about, indent=2) + "\n")
    card = CARD.format(
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        megabytes=(TARGET / "model.safetensors").stat().st_size / 1e6,
        size=processor.image_processor.size["height"],
        trained_on=TRAINED_ON,
        classes=", ".join(name for class_id, name in model.config.id2label.items() if class_id),
        seed=args.seed,
        clips=args.clips,
        table="\n".join(f"| {MEANING[name]} | {value:.4f} |" for name, value in scores.items()),
        note=args.note,
    )
    for path in (TARGET / "README.md", ROOT / "MODEL_CARD.md"):
        path.write_text(card)
    print(card)


if __name__ == "__main__":
    main()
