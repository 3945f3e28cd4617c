"""Averages the weights of two models of one line of training: better than either on clips unlike those trained on.

    python examples/maintainers/average_weights.py runs/earlier/last runs/later/last --share 0.7 --output runs/average

Known as a model soup (Wortsman et al. 2022). All else of the output is that of the later model, whose
architecture the earlier one must have too.
"""

import argparse

import torch

from ccformer_hf import load
from ccformer_hf.model_card import read_record


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("earlier", help="a model folder")
    parser.add_argument("later", help="a model folder, trained on from the first")
    parser.add_argument("--share", type=float, default=0.5, help="of the later one (default %(default)s)")
    parser.add_argument("--output", required=True, help="model folder to write")
    args = parser.parse_args()

    (earlier, _), (later, processor) = load(args.earlier, "cpu"), load(args.later, "cpu")
    before = earlier.state_dict()
    for name, values in later.state_dict().items():
        if values.is_floating_point():
            values.lerp_(before[name], 1 - args.share)
    later.save_pretrained(args.output)
    processor.save_pretrained(args.output)
    if record := read_record(args.later):
        record.write(args.output)  # steps and recipe of the training, for its card


if __name__ == "__main__":
    main()
