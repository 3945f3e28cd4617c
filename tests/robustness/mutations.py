"""One seeded change to a folder: bytes, numbers in heads, values of JSON, fields of tables, whole files."""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BYTES_OF_HEAD = 4096
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
WRONG_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 7, 10**9, 10**30, 0.5, 1e308, float("nan"), float("inf"), "", "x", "x" * 10_000,
    "../../../etc/passwd", "/etc/passwd", "\ud800", "\x00", [], {}, [1], [[]], {"a": 1}, [None] * 1000,
)  # fmt: skip
WRONG_FIELDS = ("", "-1", "nan", "../../../etc/passwd", "/etc/passwd", "a" * 200_000, "a\x00b", '"', "1e400", "ä/ö")


def nested(depth: int) -> list:
    """A list in a list in a list ..."""
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def mutate(folder: Path, rng: np.random.Generator) -> str:
    """Changes one file below `folder`, and says how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    # As often by the kind of file as by the file: a folder of pictures has one table.
    suffix = rng.choice(sorted({path.suffix for path in files}))
    file = (
        files[rng.integers(len(files))] if rng.random() < 0.5 else rng.choice([f for f in files if f.suffix == suffix])
    )
    text_kind = {".json": _json, ".csv": _table, ".txt": _lines}.get(file.suffix)
    chances: list[tuple[float, Callable]] = [(0.7, text_kind or _bytes), (0.2, _bytes), (0.1, _file)]
    change = chances[rng.choice(3, p=[chance for chance, _ in chances])][1]
    return f"{file.relative_to(folder)}: {change(file, rng)}"


def mutated_bytes(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Some bytes changed, cut, put in, or a number in the head replaced by an extreme one; and which."""
    data, size = bytearray(content), len(content)
    if not size:
        return bytes(rng.integers(0, 256, 100, np.uint8)), "noise in an empty file"
    at = int(rng.integers(min(size, BYTES_OF_HEAD) if rng.random() < 0.6 else size))
    kind = rng.integers(7)
    if kind == 0:
        places = rng.integers(0, size, rng.integers(1, 64))
        for place in places:
            data[place] = rng.integers(256)
        return bytes(data), f"{len(places)} bytes changed"
    if kind == 1:
        return bytes(data[:at]), f"cut after {at} bytes"
    if kind == 2:
        piece = bytes(rng.integers(0, 256, rng.integers(1, 300), np.uint8))
        return bytes(data[:at] + piece + data[at:]), f"{len(piece)} bytes put in at {at}"
    if kind == 3:
        length = int(rng.integers(1, 300))
        return bytes(data[:at] + data[at + length :]), f"{length} bytes taken out at {at}"
    if kind == 4:
        length = int(rng.integers(1, max(2, size // 4)))
        data[at : at + length] = bytes(len(data[at : at + length]))
        return bytes(data), f"{length} bytes set to 0 at {at}"
    if kind == 5:
        length = int(rng.integers(1, max(2, size // 4)))
        return bytes(data[: at + length] + data[at:]), f"{length} bytes twice at {at}"
    width, order = int(rng.choice([1, 2, 4, 8])), str(rng.choice(["big", "little"]))
    number = EXTREMES[rng.integers(len(EXTREMES))] % (1 << 8 * width)
    data[at : at + width] = number.to_bytes(width, order)
    return bytes(data), f"number of {width} bytes at {at} set to {number}"


def mutated_json(value: Any, rng: np.random.Generator) -> tuple[Any, str]:
    """A value somewhere inside replaced by a wrong one, taken out, or called otherwise; and which."""
    places = list(_places(value))
    holder, key, name = places[rng.integers(len(places))] if places else (None, None, "all of it")
    kind = rng.integers(6)
    wrong = nested(400) if kind == 5 else WRONG_VALUES[rng.integers(len(WRONG_VALUES))]
    if holder is None or rng.random() < 0.03:
        return wrong, f"all of it is {_short(wrong)}"
    if kind == 0:
        del holder[key]
        return value, f"{name} taken out"
    if kind == 1 and isinstance(holder, dict):
        holder[f"{key}_"] = holder.pop(key)
        return value, f"{name} called otherwise"
    holder[key] = wrong
    return value, f"{name} is {_short(wrong)}"


def _places(value: Any, name: str = ""):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key, f"{name}/{key}"
        yield from _places(inner, f"{name}/{key}")


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) < 50 else f"{text[:47]}..."


def _bytes(file: Path, rng: np.random.Generator) -> str:
    content, how = mutated_bytes(file.read_bytes(), rng)
    file.write_bytes(content)
    return how


def _json(file: Path, rng: np.random.Generator) -> str:
    try:
        value, how = mutated_json(json.loads(file.read_text()), rng)
    except ValueError:  # changed before
        return _bytes(file, rng)
    file.write_text(json.dumps(value))
    return how


def _table(file: Path, rng: np.random.Generator) -> str:
    try:
        rows = [row for row in csv.reader(io.StringIO(file.read_text())) if row]
        row, how = int(rng.integers(len(rows))), int(rng.integers(6))
    except (ValueError, csv.Error):
        return _bytes(file, rng)
    column = int(rng.integers(len(rows[row])))
    if how == 0:
        rows, said = rows[:1], "header only"
    elif how == 1:
        rows, said = rows + [rows[row]], f"row {row} twice"
    elif how == 2:
        rows, said = [[*r[:column], *r[column + 1 :]] for r in rows], f"column {column} taken out"
    elif how == 3:
        rows[row], said = rows[row][:column], f"row {row} cut after {column} fields"
    else:
        field = WRONG_FIELDS[rng.integers(len(WRONG_FIELDS))]
        rows[row][column], said = field, f"field {row}, {column} is {_short(field)}"
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    file.write_text(text.getvalue())
    return said


def _lines(file: Path, rng: np.random.Generator) -> str:
    lines = file.read_text(errors="replace").splitlines() or [""]
    field = WRONG_FIELDS[rng.integers(len(WRONG_FIELDS))]
    lines[rng.integers(len(lines))] = field
    file.write_text("\n".join(lines), errors="replace")
    return f"a line is {_short(field)}"


def _file(file: Path, rng: np.random.Generator) -> str:
    """The file as a whole: not there, empty, a folder, a link to nowhere, or a copy of another one."""
    kind = rng.integers(5)
    others = sorted(path for path in file.parent.iterdir() if path.is_file() and path != file)
    other = others[rng.integers(len(others))].read_bytes() if others else b"other"
    file.unlink()
    if kind == 0:
        return "not there"
    if kind == 1:
        file.write_bytes(b"")
        return "empty"
    if kind == 2:
        file.mkdir()
        return "a folder"
    if kind == 3:
        os.symlink(file.with_name("nowhere"), file)
        return "a link to nowhere"
    file.write_bytes(other)
    return "the content of another file"


def copy_mutated(source: Path, target: Path, rng: np.random.Generator) -> str:
    """A copy of a folder with one change, or two in three of ten; and which."""
    shutil.copytree(source, target)
    changes = []
    for _ in range(1 if rng.random() < 0.7 else 2):
        if any(path.is_file() and not path.is_symlink() for path in target.rglob("*")):
            changes.append(mutate(target, rng))
    return "; ".join(changes)
