"""`ccformer data`: makes, checks and converts data sets."""

import argparse
import sys
from collections import Counter

from .arguments import SETTINGS, add_command, at_least, needs_extra
from .compose import add_compose
from .label import add_label


def add_data(commands) -> None:
    """Adds the command to the parser's commands."""
    data = commands.add_parser("data", help="make training data", description="Makes training data.")
    actions = data.add_subparsers(required=True, metavar="ACTION", title="actions")
    make = add_command(
        actions,
        "make",
        help="write a synthetic set",
        description="Writes clips whose sound alone decides which of the visible objects is marked, in AVSBench's "
        "folder layout, or in that of your own clips.",
        epilog="examples:\n  ccformer data make synthetic --setting ms3 --clips 200 --seed 1\n"
        "  ccformer data make four --setting folder --clips 300 --size 128 --classes frying-food,saw,sheep,train",
    )
    add = make.add_argument
    add("folder", metavar="DIR", help="folder to make; must not exist, or be empty")
    add(
        "--setting",
        required=True,
        choices=SETTINGS,
        help="one source, several, several with classes, or a folder as of your own clips with all three by turns",
    )
    add("--clips", required=True, type=at_least(3), help="how many clips, at least 3")
    add("--seed", type=at_least(0), default=0, help="the same seed writes the same clips (default: %(default)s)")
    add("--size", type=at_least(32), default=224, help="side of the frames in pixels (default: %(default)s)")
    add(
        "--classes",
        metavar="NAME,NAME,...",
        type=lambda names: names.split(","),
        help="for the setting folder: what to draw, in the order of the class ids (default: the 12 that ccformer-tiny "
        "knows)",
    )
    add("--workers", type=at_least(1), help="processes (default: one per core)")
    make.set_defaults(run=_make_data)
    _add_check(actions)
    _add_convert(actions)
    add_compose(actions)
    add_label(actions)


def _add_check(actions) -> None:
    check = add_command(
        actions,
        "check",
        help="find missing, unreadable and odd files",
        description="Checks every file of AVSBench's folders, of your own clips, or of converted shards, without "
        "decoding it, and says what is missing, unreadable or odd, and how to fix it.",
        epilog="exit code: 0 all is fine (notes do not count), 1 something is missing, unreadable or odd, 2 the "
        "folder is wrong\n\n"
        "example:\n  ccformer data check AVSBench --setting s4",
    )
    add = check.add_argument
    add("root", metavar="ROOT", help="folder with the official download, with your own clips, or with shards")
    add("--setting", choices=SETTINGS, help="what to check (default: all there is)")
    check.set_defaults(run=_check_data)


def _add_convert(actions) -> None:
    convert = add_command(
        actions,
        "convert",
        help="write Parquet shards with everything in them",
        description="Converts AVSBench's folders, or your own, to Parquet shards that `datasets.load_dataset(OUT, "
        "SETTING)` reads without this package. After a stop the same command goes on; another setting may be added "
        "later.",
        epilog="examples:\n  ccformer data convert AVSBench avsbench-parquet --setting s4 ms3\n"
        "  accelerate launch -m ccformer_hf data convert AVSBench avsbench-parquet    shards shared out to machines",
    )
    add = convert.add_argument
    add("root", metavar="ROOT", help="folder with the official download, or with your own clips")
    add("out", metavar="OUT", help="folder to write; new, empty, or from an earlier run")
    add("--setting", nargs="+", choices=SETTINGS, help="what to convert (default: all there is)")
    add("--workers", type=at_least(1), help="processes (default: one per core)")
    add(
        "--push-to-hub",
        metavar="OWNER/NAME",
        help="then upload OUT to this dataset repository of the Hugging Face Hub; a new one is private",
    )
    convert.set_defaults(run=_convert_data)


def _make_data(options: argparse.Namespace) -> int:
    from ..data.synthetic.clips import split_of, write_synthetic_set

    folder = write_synthetic_set(
        options.folder,
        options.setting,
        options.clips,
        options.seed,
        options.workers,
        size=options.size,
        classes=options.classes,
    )
    sizes = Counter(split_of(index, options.clips) for index in range(options.clips))
    told = ", ".join(f"{count} {split}" for split, count in sizes.items())
    print(f"{options.clips} clips ({told}; {options.setting}, seed {options.seed}) are in {folder}")
    return 0


def _check_data(options: argparse.Namespace) -> int:
    from ..data.check import check_data

    reports = check_data(options.root, options.setting)
    print(f"{'setting':8} {'split':10} {'clips':>6} {'whole':>6} {'missing':>8} {'unreadable':>11} {'odd':>5}")
    for report in reports:
        missing, unreadable, odd = (report.count(group) for group in ("missing", "unreadable", "odd"))
        print(
            f"{report.setting:8} {report.split:10} {report.clips:6} {report.whole:6} {missing:8} {unreadable:11} "
            f"{odd:5}"
        )
    for report in reports:
        for kind, finding in report.findings.items():
            print(f"\n{kind.group}, {report.setting} {report.split}: {kind.what}; {kind.fix}")
            for example in finding.examples:
                print(f"  {example}")
            if finding.count > len(finding.examples):
                print(f"  and {finding.count - len(finding.examples)} more")
    fine = all(report.fine for report in reports)
    if fine:
        print("\nAll is fine.")
    return 0 if fine else 1


def _convert_data(options: argparse.Namespace) -> int:
    needs_extra("train", "ccformer data convert", "datasets")
    if sys.stderr.isatty():  # like the progress bar, which comes when all files are known
        print(f"reading {options.root} ...", file=sys.stderr, flush=True)
    if options.push_to_hub:
        from ..hub import check_repo_id, publish  # only now: it needs PyTorch, which takes seconds

        check_repo_id(options.push_to_hub)
    from ..data.convert import convert

    settings = convert(options.root, options.out, options.setting, options.workers)
    if settings is None:  # the main one of several processes reports
        return 0
    print(
        f"{', '.join(settings)}: whole in {options.out}; read with datasets.load_dataset({options.out!r}, "
        f"{settings[0]!r})"
    )
    if options.push_to_hub:
        print(f"uploaded to {publish(options.out, options.push_to_hub, 'dataset')}")
    return 0
