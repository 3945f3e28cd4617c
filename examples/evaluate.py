"""Scores a model on AVSBench in one process or several, and writes down everything needed to repeat it.

python examples/evaluate.py ccformer-tiny --data AVSBench --setting ms3
accelerate launch examples/evaluate.py runs/tiny/last --data AVSBench --setting s4 --output s4.json      # a process per GPU
torchrun --nproc_per_node 2 examples/evaluate.py ccformer-tiny --data AVSBench --setting avss

`ccformer evaluate` does the same with more options.
"""

import argparse
import shlex
import sys

from accelerate import PartialState

from ccformer_hf import load
from ccformer_hf.data.loading import load_avsbench
from ccformer_hf.evaluation.evaluate import evaluate_avsbench, process_device
from ccformer_hf.evaluation.report import check_output, table, write_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model folder, Hub id, or ccformer-tiny")
    parser.add_argument("--data", required=True, help="folder of the data set")
    parser.add_argument("--setting", required=True, choices=("s4", "ms3", "avss", "own"))
    parser.add_argument("--split", default="test", help="(default %(default)s)")
    parser.add_argument("--robust", action="store_true", help="AVSBench-Robust's wrong sounds too")
    parser.add_argument("--output", default="evaluation.json", help="(default %(default)s)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    args = parser.parse_args()

    check_output(args.output)
    device = process_device(args.device)
    clips = load_avsbench(args.setting, args.data, args.split)
    model, processor = load(args.model, device)
    evaluation = evaluate_avsbench(model, processor, clips, robust=args.robust)
    if evaluation is not None:  # in the main process
        write_results(args.output, evaluation, model, args.model, args.data, shlex.join(["python", *sys.argv]))
        print(table(evaluation, args.model))
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main()
