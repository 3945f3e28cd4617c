"""`ccformer data`: makes data sets (ours)."""

import argparse

from .cli_arguments import at_least


def add_data(commands) -> None:
    """Adds the command to the parser's commands."""
    data = commands.add_parser("data", help="make training data", description="Makes training data.")
    actions = data.add_subparsers(required=True, metavar="ACTION", title="actions")
    make = actions.add_parser(
        "make",
        help="write a made-up set",
        description="Writes clips whose sound alone decides which of the visible objects is marked, in AVSBench's folder layout.",
        epilog="example:\n  ccformer data make made-up --setting ms3 --clips 200 --seed 1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = make.add_argument
    add("folder", metavar="DIR", help="folder to make; must not exist, or be empty")
    add("--setting", required=True, choices=("s4", "ms3", "avss"), help="one source, several, or several with classes")
    add("--clips", required=True, type=at_least(3), help="how many clips, at least 3")
    add("--seed", type=at_least(0), default=0, help="the same seed writes the same clips (default: %(default)s)")
    add("--workers", type=at_least(1), help="processes (default: one per core)")
    make.set_defaults(run=_make_data)


def _make_data(options: argparse.Namespace) -> int:
    from .data.made_up import write_made_up_set

    folder = write_made_up_set(options.folder, options.setting, options.clips, options.seed, options.workers)
    print(f"{options.clips} clips ({options.setting}, seed {options.seed}) are in {folder}")
    return 0
