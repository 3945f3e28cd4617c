"""The `ccformer` command: reads arguments, calls the library, reports. Heavy imports happen inside functions."""

import argparse
import io
import sys
from collections.abc import Sequence

from .. import __version__
from ..stop_signals import stop_exit_code, stopped_by_signals
from .arguments import tell_error
from .benchmark import add_benchmark
from .data import add_data
from .demo import add_demo
from .evaluate import add_evaluate
from .publish import add_publish
from .segment import add_segment
from .train import add_train


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    0: all done. 1: some of several videos failed. 2: all of them, or the command. 128 + the number of the signal that
    stopped it, in every command: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
    """
    for stream in (sys.stdout, sys.stderr):  # no name of a file or class is to end the command where it is printed
        if isinstance(stream, io.TextIOWrapper):  # a caller may have put something else in its place
            stream.reconfigure(errors="backslashreplace")
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:  # argparse itself would show the usage of `ccformer`, not of the command
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        with stopped_by_signals():
            return options.run(options)
    except KeyboardInterrupt as stop:
        print("\nccformer: stopped; nothing half done was left behind", file=sys.stderr)
        return stop_exit_code(stop)
    except (OSError, ValueError) as error:
        return tell_error(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ccformer",
        description="Masks whatever makes the sound in a video.",
        epilog="`ccformer COMMAND --help` has the arguments and examples of each; `ccformer segment` alone shows one.",
    )
    parser.add_argument("--version", action="version", version=f"ccformer {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    add_segment(commands)
    add_demo(commands)
    add_train(commands)
    add_evaluate(commands)
    add_benchmark(commands)
    add_data(commands)
    add_publish(commands)
    return parser
