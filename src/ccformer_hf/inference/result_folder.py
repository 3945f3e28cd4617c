"""The folder that holds the result of a video: what it is called, whose result it is, and what it was made with."""

import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Container
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import PreTrainedModel

from .. import __version__
from ..atomic import cut_name, temporary_name
from ..model.inference_settings_ccformer import InferenceSettings
from ..model.processing_ccformer import AudioVisualProcessor
from .results import FORMATS

# In the folder of a result: a checksum of its video's path, by which a later run of the same video knows the result as
# its own; on the second line one of all that decides what the result is.
SOURCE_FILE = ".source"
LONGEST_NAME = 255  # bytes of a name, on most file systems
# Names that Windows keeps for devices, with any ending.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def result_folder(output_dir: Path, source: Path, taken: Container[Path] = ()) -> Path:
    """The folder for the result of a video: that of its earlier result, or else the first of its names that is free.

    See `segment_video`. A name that cannot be one everywhere is changed: `_con` for `con`, no dots or blanks at either
    end. A folder of `taken` is not free.
    """
    names = dict.fromkeys((_usable(source.stem), _usable(source.name)))
    numbered = (f"{cut_name(_usable(source.name), LONGEST_NAME - 12)} ({number})" for number in itertools.count(2))
    for name in itertools.chain(names, numbered):
        folder = output_dir / name
        if folder not in taken and (_is_free(folder) or _is_result_of(folder, source)):
            return folder
    raise AssertionError("numbers do not end")


def claim_folder(output_dir: Path, source: Path, made_with: str) -> Path:
    """Takes the folder of `result_folder` for a result that is ready: marked, and with nothing else in it where it was
    free.

    Of several processes that want a name at the same moment, one gets it. The folder gets its name with the mark in
    it: one that is killed leaves no folder that nobody's later run knows as its own.
    """
    taken = set()  # empty folders that cannot be replaced: of another user, or in use
    while True:
        folder = result_folder(output_dir, source, taken)
        if _is_result_of(folder, source):
            return folder
        marked = temporary_name(folder)
        marked.mkdir()
        try:
            mark_result(marked, source, made_with)
            with suppress(OSError):  # there is none, or it is no longer empty
                folder.rmdir()
            os.rename(marked, folder)
            return folder
        except OSError:
            if not os.path.lexists(folder):  # it is not that another process was faster
                raise
            if _is_free(folder):
                taken.add(folder)
        finally:
            shutil.rmtree(marked, ignore_errors=True)


def mark_result(folder: Path, source: Path, made_with: str) -> None:
    """Writes down whose result a folder holds, and what it was made with."""
    (folder / SOURCE_FILE).write_text(f"{_checksum(source)}\n{made_with}\n")


def earlier_result(output_dir: Path, source: Path, made_with: str) -> tuple[Path, list[str]]:
    """The folder for the result of a video, and which formats are in it already, made with the same."""
    folder = result_folder(output_dir, source)
    if not folder.is_dir() or _marks(folder)[1:] != [made_with]:
        return folder, []
    return folder, [name for name, file in FORMATS.items() if (folder / file).exists()]


def made_with(
    source: Path, model: PreTrainedModel, processor: AudioVisualProcessor, settings: InferenceSettings, masks: str
) -> str:
    """A checksum of what decides the result of a video: its size and time of change, the weights, the processor (its
    calibrations are scores), the settings, us."""
    weights = hashlib.sha256()
    for values in model.state_dict().values():
        weights.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    file = source.stat()
    facts = [file.st_size, file.st_mtime_ns, asdict(settings), masks, weights.hexdigest(), model.config.id2label]
    facts += [processor.to_json_string(), __version__]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _usable(name: str) -> str:
    name = name.strip(". ") or "video"
    return f"_{name}" if DEVICES.match(name) else name


def _is_free(folder: Path) -> bool:
    """Whether there is nothing of that name, or an empty folder: nothing is lost with it."""
    if not os.path.lexists(folder):
        return True
    try:
        return not folder.is_symlink() and not any(folder.iterdir())
    except OSError:
        return False


def _is_result_of(folder: Path, source: Path) -> bool:
    """Whether a folder holds a result of this video, and nothing else that would be lost with it."""
    try:
        if {item.name for item in folder.iterdir()} - {SOURCE_FILE, *FORMATS.values()}:
            return False
    except OSError:
        return False
    return _marks(folder)[:1] == [_checksum(source)] and folder.resolve() not in source.resolve().parents


def _marks(folder: Path) -> list[str]:
    try:
        return (folder / SOURCE_FILE).read_text(errors="replace").splitlines()
    except OSError:
        return []


def _checksum(source: Path) -> str:
    """Of the path and not of the content, which may be large; and not the path itself: results are given away."""
    return hashlib.sha256(os.fsencode(source.resolve())).hexdigest()
