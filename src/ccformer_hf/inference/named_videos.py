"""What a user names as videos -> files: folders, patterns, addresses on the web and on the Hub, standard input.

What is read is always a file here: reading itself refuses addresses, see `contained_media`.
"""

import glob
import hashlib
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from ..data.listing import entries, file_name_of, natural_order
from ..model.download_ccformer import ADDRESSES, DOWNLOAD_PIECE, LARGEST_DOWNLOAD, fetch, too_large
from ..model.media_ccformer import MediaError

STANDARD_INPUT = "-"
HUB = "hf://"
# What is taken for a video in a folder; a file that is named may be called anything.
SUFFIXES = (
    ".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp",
    ".ogv",
)  # fmt: skip
HUB_FILE = re.compile(
    r"hf://(?:(models|datasets|spaces)/)?((?!(?:models|datasets|spaces)/)[^/@]+/[^/@]+)(?:@([^/]+))?/(.+)"
)
TIMEOUT = 60.0  # seconds without an answer


def named_videos(words: Sequence[str]) -> list[str]:
    """The videos that these words name, each once and in order: all of a folder, what a pattern with `*` matches.

    A word that names none stays as it is, for `video_file` to tell.
    """
    videos = []
    for word in words:
        if "://" in word or word == STANDARD_INPUT:
            videos.append(word)
        elif Path(word).is_dir():
            videos += [str(path) for path in entries(word) if path.suffix.lower() in SUFFIXES] or [word]
        elif glob.has_magic(word) and not Path(word).exists():
            videos += [str(path) for path in natural_order(map(Path, glob.glob(word, recursive=True)))] or [word]
        else:
            videos.append(word)
    return list(dict.fromkeys(videos))


@contextmanager
def video_file(video: str, folder: Path) -> Iterator[Path]:
    """The file of one of `named_videos`.

    Args:
        video: a path, an `http://`, `https://` or `hf://` address, or `-` for standard input.
        folder: in which what comes from the web or from standard input lies during the `with` block, always in the
            same place, by which a later result is known to be of the same video. What comes from the Hub stays in its
            cache.

    Raises:
        MediaError: where it cannot be fetched whole, is larger than 4 GiB, or is a folder without a video.
    """
    if video.startswith(HUB):
        yield _from_hub(video)
    elif video.lower().startswith(ADDRESSES) or video == STANDARD_INPUT:
        with _kept_place(video, folder) as path:
            if video == STANDARD_INPUT:
                _read_standard_input(path)
            else:
                with _bar(path.name) as bar:
                    for size, announced in fetch(video, path, TIMEOUT):
                        bar.show(size, announced)
            yield path
    elif "://" in video:
        raise MediaError(f"{video}: cannot be fetched from there; expected a file, or an address of http, https or hf")
    elif Path(video).is_dir():
        raise MediaError(f"{video}: is a folder without a video ({', '.join(SUFFIXES)}); name the files in it")
    else:
        yield Path(video)


@contextmanager
def _kept_place(video: str, folder: Path) -> Iterator[Path]:
    """A path for the file of an address, in a folder of its own that is gone afterwards."""
    name = file_name_of(unquote(PurePosixPath(urlsplit(video).path).name)).strip(". ") or "video"
    place = folder / f".fetched-{hashlib.sha256(video.encode()).hexdigest()[:16]}"
    was_there = folder.is_dir()
    place.mkdir(parents=True, exist_ok=True)
    try:
        yield place / ("stdin" if video == STANDARD_INPUT else name)
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if not was_there:
            with suppress(OSError):  # results are in it by now
                folder.rmdir()


class _bar(tqdm):
    """A progress bar in bytes, on a terminal alone."""

    def __init__(self, name: str):
        super().__init__(desc=name, unit="B", unit_scale=True, unit_divisor=1024, disable=None, leave=False)

    def show(self, size: int, announced: int) -> None:
        self.total = announced or None
        self.update(size - self.n)


def _read_standard_input(path: Path) -> None:
    size = 0
    with path.open("wb") as file:
        while piece := sys.stdin.buffer.read(DOWNLOAD_PIECE):
            size += len(piece)
            if size > LARGEST_DOWNLOAD:
                raise too_large("standard input")
            file.write(piece)
    if not size:
        raise MediaError("standard input: is empty; send a video to it: ccformer segment - < clip.mp4")


def _from_hub(video: str) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HFValidationError, HTTPError

    parts = HUB_FILE.fullmatch(video)
    if parts is None:
        raise MediaError(
            f"{video}: is no file on the Hub; expected hf://OWNER/NAME/FILE or hf://datasets/OWNER/NAME/FILE, with "
            "@REVISION after NAME if need be"
        )
    kind, name, revision, file = parts.groups()
    where = {"repo_id": name, "filename": file, "revision": revision, "repo_type": kind and kind.removesuffix("s")}
    try:
        if (get_hf_file_metadata(hf_hub_url(**where)).size or 0) > LARGEST_DOWNLOAD:
            raise too_large(video)
        return Path(hf_hub_download(**where))
    except (HTTPError, HFValidationError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MediaError(
            f"{video}: cannot be fetched ({reason}); check the name, and log in with `hf auth login` if it is private"
        ) from None
