"""The `ccformer` command: reads arguments, calls the library, reports (ours). Heavy imports happen inside functions."""

import argparse
import sys
from collections.abc import Sequence

from . import __version__
from .cli_arguments import tell_error
from .cli_data import add_data
from .cli_demo import add_demo
from .cli_evaluate import add_evaluate
from .cli_publish import add_publish
from .cli_segment import add_segment

STOPPED = 130  # exit code of a shell command that was stopped by Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0; 1: some of several videos failed; 2: an error; 130: Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("\nccformer: stopped; nothing half done was left behind", file=sys.stderr)
        return STOPPED
    except (OSError, ValueError) as error:
        return tell_error(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ccformer", description="Masks whatever makes the sound in a video.")
    parser.add_argument("--version", action="version", version=f"ccformer {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    add_segment(commands)
    add_demo(commands)
    add_evaluate(commands)
    add_data(commands)
    add_publish(commands)
    return parser
