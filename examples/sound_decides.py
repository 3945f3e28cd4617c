"""Prints how well a model does on clips it was never trained on, and whether it is the sound that decides.

python examples/sound_decides.py --model ccformer-tiny              # on synthetic clips
python examples/sound_decides.py --model runs/tiny/last --clips 50
python examples/sound_decides.py --sources sources.yaml           # on clips composed of the test split
python examples/sound_decides.py --sources sources.yaml --off-screen person  # speech where no person is in view
"""

import argparse
from dataclasses import asdict

from ccformer_hf import load
from ccformer_hf.evaluation.composed import evaluate_composed
from ccformer_hf.evaluation.synthetic import evaluate_synthetic
from ccformer_hf.model_card import FIGURES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", help="model folder or Hub id (default: ccformer-small with --sources, else ccformer-tiny)"
    )
    parser.add_argument("--sources", help="sources file, as `ccformer data compose` takes it; none: synthetic clips")
    parser.add_argument("--clips", type=int, default=200, help="clips, of each setting (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the clips (default %(default)s)")
    parser.add_argument(
        "--off-screen",
        nargs="+",
        default=(),
        metavar="CLASS",
        help="with --sources: what sounds off screen, by default any",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    args = parser.parse_args()
    if args.off_screen and args.sources is None:
        parser.error("--off-screen is for --sources: who sounds in synthetic clips is in view")
    name = args.model or ("ccformer-tiny" if args.sources is None else "ccformer-small")
    model, processor = load(name, args.device)
    if args.sources is None:
        scores = evaluate_synthetic(model, processor, args.clips, args.seed)
    else:
        scores = evaluate_composed(model, processor, args.sources, args.clips, args.seed, off_screen=args.off_screen)
    print(f"{name} on {args.clips} {'synthetic' if args.sources is None else 'composed'} clips, seed {args.seed}:")
    if args.off_screen:
        print(f"off screen are {', '.join(args.off_screen)} alone")
    for figure, value in asdict(scores).items():
        print(f"  {FIGURES[figure]:<56} {'-' if value is None else format(value, '.4f')}")


if __name__ == "__main__":
    main()
