"""What the commands of `ccformer` share: types of arguments, a check of what is installed, how an error is printed."""

import argparse
import math
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec

SETTINGS = ("s4", "ms3", "avss", "folder")  # as in `data.avsbench`, which is too heavy to import for --help


def needs_extra(extra: str, command: str, *modules: str) -> None:
    """Refuses to go on where one of these modules, which an extra of the package installs, is missing.

    Raises:
        ValueError: names what is missing and how to install it.
    """
    absent = [name for name in modules if find_spec(name) is None]
    if absent:
        raise ValueError(f'`{command}` needs {" and ".join(absent)}: pip install "ccformer-hf[{extra}]"')


def add_command(commands, name: str, help: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Adds a command to the parser's `commands`; its `epilog` keeps its lines, and its usage stands in its errors."""
    command = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(parser=command)
    return command


def add_device(parser: argparse.ArgumentParser) -> None:
    """Adds `--device`, as `inference.loading.load` takes it."""
    parser.add_argument(
        "--device",
        type=device,
        default="auto",
        help="auto (a CUDA GPU where there is one), cpu, cuda, cuda:1, ..., or mps (default: auto)",
    )


def quiet_transformers() -> None:
    """No notes and no progress bars of transformers between the lines of a command."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def tell_error(error: BaseException, exit_code: int = 2) -> int:
    """Prints `error` on one line and returns the exit code, by default that of a failed command."""
    tell("error", str(error))
    return exit_code


def tell(kind: str, text: str) -> None:
    """Prints an `"error"` or a `"warning"` on one line; unprintable characters (of file names) are escaped."""
    line = " ".join(text.split())
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
    print(f"ccformer: {kind}: {line}", file=sys.stderr)


def device(text: str) -> str:
    """The name of a device; whether there is one of it is seen when a model is loaded to it."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected auto, cpu, cuda, cuda:1, ... or mps")
    return text


def rate(text: str) -> float:
    """An argument in 0..1000, 0 excluded."""
    value = _number(text)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text}: expected a number greater than 0, and at most 1000")
    return value


def rate_or_all(text: str) -> float | str:
    """A rate, or `"all"`."""
    return text if text == "all" else rate(text)


def share(text: str) -> float:
    """An argument in 0..1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 0 to 1")
    return value


def at_least(lowest: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `lowest` on."""

    def whole_number(text: str) -> int:
        value = _number(text)
        if value < lowest or value != int(value):
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number, at least {lowest}")
        return int(value)

    return whole_number


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text}: expected a finite number")
    return value
