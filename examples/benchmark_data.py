"""What a training clip costs before it reaches the model: milliseconds of computing, and clips per second of a worker.

    python examples/benchmark_data.py                       # made clips in AVSBench's folders, read as training reads
    python examples/benchmark_data.py --recipe ms3-resnet50 avss-resnet50 --rounds 5

Frames of s4 and ms3 are PNGs of 224 x 224, as AVSBench has them; those of avss are written as JPEGs of 1280 x 720, as
videos are. The fastest round counts.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import torch
from PIL import Image

from ccformer_hf import AudioVisualProcessor, CCFormerImageProcessor
from ccformer_hf.data.loading import load_setting
from ccformer_hf.data.synthetic.clips import write_synthetic_set
from ccformer_hf.data.training_clips import TrainingClips
from ccformer_hf.training.recipe import read_recipe

CLIPS = 12


def enlarge(folder: Path) -> None:
    """All pictures below a folder at 1280 x 720, label maps without mixing their colours."""
    for path in [*folder.rglob("*.jpg"), *folder.rglob("*.png")]:
        picture = Image.open(path)
        filter = Image.Resampling.BICUBIC if path.suffix == ".jpg" else Image.Resampling.NEAREST
        picture.resize((1280, 720), filter).save(path, **({"quality": 92} if path.suffix == ".jpg" else {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", nargs="+", default=["ms3-resnet50", "avss-resnet50"], help="(default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="over all clips (default %(default)s)")
    args = parser.parse_args()

    torch.set_num_threads(1)  # as in a worker
    warnings.simplefilter("ignore")
    print("| recipe | frames | ms per clip | clips/s |\n|---|---|---|---|")
    for name in args.recipe:
        recipe = read_recipe(name)
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_synthetic_set(root, recipe.setting, CLIPS, seed=0, workers=1, progress=False, size=224)
            if recipe.setting == "avss":
                enlarge(root)
            clips = load_setting(recipe.setting, root, "train")
            processor = AudioVisualProcessor(
                CCFormerImageProcessor(size={"height": recipe.size, "width": recipe.size})
            )
            feed = TrainingClips(clips, processor, recipe.augmentation, seed=0, batch_size=1)
            costs, frames = [], 0
            for round_ in range(args.rounds + 1):
                begin = time.process_time()
                rows = [feed[round_ * len(clips) + index, index] for index in range(len(clips))]
                costs.append((time.process_time() - begin) / len(clips))
                frames = len(rows[0]["frame_mask"])
            cost = min(costs[1:])  # the first round warms up
            print(f"| {name} | {frames} | {1000 * cost:.1f} | {1 / cost:.0f} |", flush=True)


if __name__ == "__main__":
    main()
