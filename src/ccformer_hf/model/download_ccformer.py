"""Fetches the file behind an http(s) address: whole, of a bounded size, or with one clear error."""

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from .media_ccformer import MediaError

ADDRESSES = ("http://", "https://")
LARGEST_DOWNLOAD = 4 << 30  # bytes
DOWNLOAD_PIECE = 1 << 20


@contextmanager
def downloaded(address: str, timeout: float) -> Iterator[Path]:
    """The file behind an http(s) address, in a temporary folder that is gone after the `with` block.

    Args:
        address: of the file.
        timeout: seconds without an answer after which it is given up.

    Raises:
        MediaError: where it cannot be fetched whole, is larger than 4 GiB, or, inside the block, cannot be read.
    """
    with TemporaryDirectory(prefix="ccformer-") as folder:
        path = Path(folder) / "video"
        try:
            for _ in fetch(address, path, timeout):
                pass
            yield path
        except MediaError as error:
            raise MediaError(str(error).replace(str(path), address)) from None


def fetch(address: str, path: Path, timeout: float) -> Iterator[tuple[int, int]]:
    """Writes the file behind an http(s) address to `path`, as old as the server says that it is.

    Args:
        address, timeout: see `downloaded`.
        path: of the new file.

    Returns:
        An iterator that fetches a piece at a time: how many bytes are there, and how many there will be (0: not
        known). Closing it early ends the download.

    Raises:
        MediaError: where it cannot be fetched whole, or is larger than 4 GiB.
    """
    request = urllib.request.Request(address, headers={"User-Agent": "ccformer-hf"})
    size = 0
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer, path.open("wb") as file:
            announced = int(answer.headers.get("Content-Length") or 0)
            changed = answer.headers.get("Last-Modified")
            while max(size, announced) <= LARGEST_DOWNLOAD and (piece := answer.read(DOWNLOAD_PIECE)):
                file.write(piece)
                size += len(piece)
                yield size, announced
        if changed:
            seconds = parsedate_to_datetime(changed).timestamp()
            os.utime(path, (seconds, seconds))
    except urllib.error.HTTPError as error:
        raise MediaError(f"{address}: the server answers {error.code} {error.reason}; check the address") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise MediaError(f"{address}: cannot be fetched ({reason}); check the address and the network") from None
    if max(size, announced) > LARGEST_DOWNLOAD:
        raise too_large(address)
    if size < announced:
        raise MediaError(f"{address}: the download stopped after {size} of {announced} bytes; try again")


def too_large(name: str) -> MediaError:
    """The error for a file of more than 4 GiB."""
    return MediaError(
        f"{name}: is larger than {LARGEST_DOWNLOAD >> 30} GiB; download it and give the path of the file"
    )
