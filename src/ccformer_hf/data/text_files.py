"""Reads the text files of a data set, with an error that names the file where one is not text in UTF-8."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def open_text(path: str | os.PathLike) -> Iterator[TextIO]:
    """Opens a text file as UTF-8, with or without the mark that spreadsheets put first; line ends are kept, for `csv`.

    Raises:
        OSError: where it cannot be opened.
        ValueError: in the `with` block, where what is read is not UTF-8.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            yield file
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: is not text in UTF-8 ({error.reason}); save it as such") from None


def read_lines(path: str | os.PathLike) -> list[str]:
    """The lines of a text file that are not blank, without blanks at their ends. Errors: see `open_text`."""
    with open_text(path) as file:
        return [line.strip() for line in file.read().splitlines() if line.strip()]


def read_csv(path: str | os.PathLike) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, each with the number of the line that it ends on, from 1.

    Raises:
        OSError: where it cannot be opened.
        ValueError: where it is not text in UTF-8, or not CSV.
    """
    with open_text(path) as file:
        reader = csv.reader(file)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {reader.line_num}: is not CSV ({error}); save it as such, with commas"
            ) from None
