"""What is done with a mutated folder, and what came of it."""

import json
import os
import resource
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from small_model import SMALL_NETWORK

from ccformer_hf.inference import isolation

from . import proc

SAMPLES = "CCFORMER_ROBUSTNESS_SAMPLES"  # variable that tells where the whole ones lie
SECONDS = 20.0  # of work by one CPU that no case may take
PATIENCE = 90.0  # seconds by the clock after which it is ended
MEGABYTES = 1000.0  # that no case may take on top of what Python and PyTorch have
WARM = 16  # children that wait for the next case with a file of the same name: two for each container
LONGEST = 100  # sampled frames that a clip of 2 s may have


@dataclass
class Outcome:
    """What came of a case.

    Attributes:
        kind: "answered"; "refused", by an OSError or ValueError of one line that names the file; "traceback", by any
            other error; "crashed".
        text: the error's.
        seconds: of work.
        megabytes: the most memory at any time on top of that at the start, of this process or of one of its children.
        leftovers: files that should not be there.
        long: whether the answer is of a length that the clip has not got.
    """

    kind: str
    text: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0
    leftovers: tuple[str, ...] = ()
    long: bool = False

    def faults(self) -> list[str]:
        """What of this must not be."""
        found = {
            "traceback": self.kind == "traceback",
            "crash": self.kind == "crashed",
            "hang": self.kind == "hang" or self.seconds > SECONDS,
            "over 1 GB": self.megabytes > MEGABYTES,
            "left-over": bool(self.leftovers),
            "wrong length": self.long,
        }
        return [name for name, is_so in found.items() if is_so]


def try_media(folder: Path, work: Path) -> bool:
    from ccformer_hf.inference.segmenting import segment_video

    file = next(folder.iterdir(), folder / "clip.mp4")
    result = segment_video(file, work / "out", _loaded(Path(os.environ[SAMPLES]) / "model"), progress=False)
    return len(result.segments["frames"]) > LONGEST


@cache
def _loaded(model: Path) -> tuple:
    from ccformer_hf.inference.loading import load

    return load(model, "cpu")


def try_processor(folder: Path, work: Path) -> bool:
    """What travels to the Hub reads in its own process."""
    from ccformer_hf import AudioVisualProcessor, CCFormerImageProcessor

    file = next(folder.iterdir(), folder / "clip.mp4")
    processor = AudioVisualProcessor(CCFormerImageProcessor(size={"height": 64, "width": 64}))
    return processor(str(file))["pixel_values"].shape[1] > LONGEST


def try_models(folder: Path, work: Path) -> bool:
    from ccformer_hf.inference.loading import load, trained_on
    from ccformer_hf.model_card import read_record

    read_record(folder)
    model, processor = load(folder, "cpu")
    trained_on(model)
    frames, sound = np.zeros((2, 48, 64, 3), np.uint8), np.ones(32000, np.float32)
    with torch.inference_mode():
        outputs = model(**processor(frames, audio=sound, sampling_rate=16000, fps=1))
    processor.post_process_semantic_segmentation(outputs, target_sizes=[(48, 64)])
    return False


def try_data(folder: Path, work: Path) -> bool:
    """`ccformer data check`, every row of every split, and `ccformer data convert`."""
    from datasets import config

    from ccformer_hf.data.check import check_data
    from ccformer_hf.data.convert import convert
    from ccformer_hf.data.loading import load_setting
    from ccformer_hf.data.shards import is_converted

    config.HF_DATASETS_CACHE = work / "cache"
    reports = check_data(folder, progress=False)
    for report in {report.setting for report in reports}:
        for clips in load_setting(report, folder).values():
            for row in clips:
                assert len(row["frames"]) == len(row["annotated"])
    if not is_converted(folder):
        convert(folder, work / "out", workers=1, progress=False)
    return False


def make_small_set(folder: Path) -> None:
    """Six drawn clips of ms3."""
    from ccformer_hf.data.synthetic.clips import write_synthetic_set

    write_synthetic_set(folder, "ms3", clips=6, seed=0, workers=1, progress=False, size=32)


def train_small(data: Path, output: Path, resume: bool) -> None:
    """Four steps of a small network; with `resume` those that are left."""
    from ccformer_hf.data.loading import load_setting
    from ccformer_hf.training.initial_model import initial_model
    from ccformer_hf.training.loop import train
    from ccformer_hf.training.recipe import recipe_from

    values = {"setting": "ms3", "size": 32, "model": SMALL_NETWORK, "epochs": 2, "batch_size": 2, "save_minutes": 0}
    recipe = recipe_from(values | {"augmentation": {"frames": [1, 2]}}, "the recipe")
    clips = load_setting("ms3", data, "train")
    model, processor = initial_model(recipe, clips.features["labels"].names)
    train(recipe, model, processor, clips, None, output, resume=resume, workers=0)


def try_states(folder: Path, work: Path) -> bool:
    train_small(Path(os.environ[SAMPLES]) / "data", folder, resume=True)
    return False


TRIALS = {
    "media": (try_media, try_processor),
    "models": (try_models,),
    "data": (try_data,),
    "states": (try_states,),
}


def outcome_of(trial: Callable[[Path, Path], bool], folder: Path, work: Path) -> Outcome:
    """Tries a folder in this process."""
    before, kept = _seconds(), tempfile.tempdir
    (work / "temporary").mkdir(parents=True)
    tempfile.tempdir = str(work / "temporary")
    start = _reset_peak()
    outcome = Outcome("answered")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome.long = trial(folder, work)
    except (OSError, ValueError) as error:
        text = str(error)
        plain = type(error).__name__ != "JSONDecodeError" and "\n" not in text.strip()
        named = str(folder) in text or str(work) in text or any(file.name in text for file in folder.rglob("*.*"))
        outcome.kind = "refused" if plain and named else "traceback"
        outcome.text = text if outcome.kind == "refused" else traceback.format_exc()
    except Exception:
        outcome.kind, outcome.text = "traceback", traceback.format_exc()
    finally:
        tempfile.tempdir = kept
    outcome.megabytes = max(_peak("self") - start, _children_peak())
    outcome.seconds = _seconds() - before
    outcome.leftovers = tuple(_leftovers(work, outcome.kind == "answered"))
    return outcome


def try_each(kind: str, connection: Connection) -> None:
    """What a process does that tries cases: each that comes by the pipe, whose outcome goes back as JSON."""
    trials = {trial.__name__: trial for trial in TRIALS[kind]}
    torch.set_num_threads(1)
    isolation.MOST_IDLE = WARM  # the start of one takes longer than a case
    os.setsid()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    with suppress(EOFError):
        while True:
            trial, folder, work = connection.recv()
            connection.send_bytes(json.dumps(asdict(outcome_of(trials[trial], folder, work))).encode())


def end_group(process: int) -> None:
    """Ends a process that has a group of its own, with its children."""
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def table(counts: Counter, cases: int) -> str:
    """Counts as a line of a Markdown table, see `HEAD`."""
    names = ("answered", "refused", "traceback", "crash", "hang", "over 1 GB", "left-over", "wrong length")
    return " | ".join(str(value) for value in (cases, *(counts[name] for name in names)))


HEAD = "cases | answered | refused in one line | tracebacks | crashes | hangs over 20 s | over 1 GB | left-over files | wrong lengths"  # noqa: E501


def _leftovers(work: Path, answered: bool):
    """What lies where it should not: temporary files, and an output after a refusal."""
    for path in (work / "temporary").iterdir():
        yield str(path.relative_to(work))
    for path in (work / "out").rglob("*") if (work / "out").exists() else ():
        if path.name.endswith((".partial", ".old", ".part")):
            yield str(path.relative_to(work))
    # A conversion keeps what is whole, for the next run.
    if not answered and (work / "out").exists() and not (work / "out" / "shards.json").exists():
        yield "out"


def _seconds() -> float:
    """Work of this process and of those that it has started, whether they have ended or not."""
    ended = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    # user and system time of a process, and of those that it has started itself
    times = [proc.told(child, "stat").rpartition(")")[2].split()[11:15] for child in proc.children()]
    going = sum(int(ticks) for child in times for ticks in child) / os.sysconf("SC_CLK_TCK")
    return going + sum(usage.ru_utime + usage.ru_stime for usage in ended)


def _reset_peak() -> float:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak("self")


def _peak(process: str) -> float:
    """The most memory of a process since the last reset, MB; 0 where it has ended."""
    lines = proc.told(process, "status").splitlines()
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM")), 0.0)


def _children_peak() -> float:
    return max([resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000, *map(_peak, proc.children())])
