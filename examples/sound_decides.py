"""Prints a model's scores on synthetic clips never trained on, and whether it is the sound that decides.

python examples/sound_decides.py                                   # the checkpoint inside the package
python examples/sound_decides.py --model runs/tiny/last --clips 50
"""

import argparse
from dataclasses import asdict

from ccformer_hf.evaluation.synthetic import evaluate_synthetic
from ccformer_hf.inference.loading import load
from ccformer_hf.model_card import FIGURES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ccformer-tiny", help="model folder or Hub id (default %(default)s)")
    parser.add_argument("--clips", type=int, default=200, help="clips of each setting (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the clips (default %(default)s)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    args = parser.parse_args()
    model, processor = load(args.model, args.device)
    scores = evaluate_synthetic(model, processor, args.clips, args.seed)
    print(f"{args.model} on {args.clips} synthetic clips of each setting, seed {args.seed}:")
    for name, value in asdict(scores).items():
        print(f"  {FIGURES[name]:<52} {value:.4f}")


if __name__ == "__main__":
    main()
