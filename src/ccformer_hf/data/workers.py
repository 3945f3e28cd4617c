"""Clips read ahead by other processes: how those start and end, and how an error of theirs comes back in one line."""

import atexit
import multiprocessing.util  # before `atexit.register` below: what is registered later runs earlier
import signal
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader, Dataset

# The workers this module has started and that may still be running. No other child of the process is touched.
_started: weakref.WeakSet[BaseProcess] = weakref.WeakSet()


def read_ahead(clips: Dataset, collate: Callable[[list], Any], workers: int, **options: Any) -> Iterator[Any]:
    """The batches of a `DataLoader`. An error of a clip is raised here, as it was raised where the clip was read.

    Args:
        clips: indexed by the keys that the sampler in `options` gives.
        collate: makes a batch of clips.
        workers: processes; 0: clips are read in this one.
        options: others of `DataLoader`, such as `batch_sampler`.

    Raises:
        OSError, ValueError: for a clip that cannot be read or used.
    """
    loader = DataLoader(
        _ErrorsReturned(clips),
        num_workers=workers,
        collate_fn=_CollatedOrError(collate),
        worker_init_fn=_leave_signals_to_the_main_process,
        **options,
    )
    before = set(multiprocessing.active_children())
    batches = iter(loader)  # starts the workers
    _started.update(set(multiprocessing.active_children()) - before)
    for batch in batches:
        if isinstance(batch, Exception):
            raise batch
        yield batch


@contextmanager
def errors_name_the_clip(clip_id: str) -> Iterator[None]:
    """Errors of files and values inside the `with` block say which clip they are of."""
    try:
        yield
    except (OSError, ValueError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"clip {clip_id}: {error}") from error


class _ErrorsReturned(Dataset):
    """A data set whose errors are items: raised in a worker, one would come back as the text of a traceback."""

    def __init__(self, clips: Dataset):
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.clips[key]
        except (OSError, ValueError) as error:
            return error


class _CollatedOrError:
    """A batch, or the first error among its clips."""

    def __init__(self, collate: Callable[[list], Any]):
        self.collate = collate

    def __call__(self, items: list) -> Any:
        errors = [item for item in items if isinstance(item, Exception)]
        if errors:
            return errors[0]
        try:
            return self.collate(items)
        except (OSError, ValueError) as error:
            return error


def _leave_signals_to_the_main_process(worker: int) -> None:
    """Ignores SIGTERM and Ctrl-C in a worker, which ends with the main process all the same.

    They often go to all processes at once, and a dead worker would end the main one before it has saved its state.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def _end_workers() -> None:
    """Kills the workers that are left at exit.

    multiprocessing sends them SIGTERM and waits: for ever, if they ignore it.
    """
    left = [process for process in _started if process.is_alive()]
    if left:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would call a killed worker an error
    for process in left:
        process.kill()
