"""`ccformer evaluate`: scores of a model on AVSBench or on clips of one's own."""

import argparse
import shlex
from pathlib import Path

from .arguments import SETTINGS, add_command, add_device, at_least, needs_extra, quiet_transformers

EVALUATE_EXAMPLES = """\
examples:
  ccformer evaluate ccformer-tiny --data AVSBench --setting s4            the test split of S4, by AVSBench's protocol
  ccformer evaluate runs/mine/last --data AVSBench --setting avss --split val
  ccformer evaluate owner/name --data AVSBench --setting ms3 --robust     also with silence, noise and wrong sounds
  ccformer evaluate runs/mine/last --data my-clips --setting folder --pictures 5
  accelerate launch -m ccformer_hf evaluate runs/mine/last --data AVSBench --setting s4         a process per GPU

Prints a table and writes a JSON file with everything needed to repeat the evaluation, and the scores of every clip.
"""


def add_evaluate(commands) -> None:
    """Adds the command to the parser's commands."""
    evaluate = add_command(
        commands,
        "evaluate",
        help="score a model on AVSBench, or on clips of your own",
        description="Scores a model by AVSBench's published protocol, on one of its settings or on clips of your own.",
        epilog=EVALUATE_EXAMPLES,
    )
    add = evaluate.add_argument
    add(
        "model",
        metavar="MODEL",
        help="model folder, Hub id, or ccformer-small or ccformer-tiny, which ship with the package",
    )
    data_help = "folder of the official download, of `data convert`, or your own"
    add("--data", required=True, metavar="ROOT", help=data_help)
    add("--setting", required=True, choices=SETTINGS, help="which set of AVSBench, or your own clips")
    add("--split", default="test", choices=("train", "val", "validation", "test"), help="(default: %(default)s)")
    add("--robust", action="store_true", help="AVSBench-Robust: silence, white noise, off-screen sound; 4 x the time")
    add("-o", "--output", metavar="FILE", help="JSON file (default: ccformer-evaluation/<setting>-<split>.json)")
    add("--pictures", type=at_least(0), default=0, metavar="N", help="draw the N worst and N best clips beside it")
    add("--size", type=at_least(1), default=224, help="masks are compared at SIZE x SIZE (default: %(default)s)")
    add(
        "--group-size",
        type=at_least(1),
        default=1,
        metavar="N",
        help="F of s4 and ms3 as published by code that tests in batches of N (default: %(default)s, the reference)",
    )
    add("--batch-size", type=at_least(1), default=1, help="clips the model sees at a time (default: %(default)s)")
    add("--workers", type=at_least(0), default=2, help="processes that read clips ahead (default: %(default)s)")
    add_device(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    needs_extra("train", "ccformer evaluate", "datasets", "accelerate")
    from accelerate import PartialState

    from ..data.loading import load_setting
    from ..evaluation.evaluate import evaluate_avsbench, process_device
    from ..evaluation.report import check_output, save_pictures, table, write_results
    from ..inference.loading import load

    quiet_transformers()
    split = "validation" if options.split == "val" else options.split
    output = Path(options.output or f"ccformer-evaluation/{options.setting}-{split}.json")
    check_output(output)
    device = process_device(options.device)
    clips = load_setting(options.setting, options.data, split)
    model, processor = load(options.model, device)
    evaluation = evaluate_avsbench(
        model,
        processor,
        clips,
        size=options.size,
        group_size=options.group_size,
        batch_size=options.batch_size,
        workers=options.workers,
        robust=options.robust,
    )
    PartialState().destroy_process_group()
    if evaluation is None:  # the main one of several processes reports
        return 0
    write_results(output, evaluation, model, options.model, options.data, _command(options, split))
    print(f"\n{table(evaluation, options.model)}\n\n{output}")
    if options.pictures:
        for path in save_pictures(
            output.with_name(f"{output.stem}-pictures"), evaluation, options.pictures, model, processor, clips
        ):
            print(path)
    return 0


def _command(options: argparse.Namespace, split: str) -> str:
    words = ["ccformer", "evaluate", options.model, "--data", options.data]
    words += ["--setting", options.setting, "--split", split]
    for name in ("size", "group_size", "batch_size", "device"):
        words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    return shlex.join(words + (["--robust"] if options.robust else []))
