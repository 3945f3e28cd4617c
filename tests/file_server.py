"""Files on the loopback address, and some that are not given as they should be."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHANGED = 1_000_000_000  # when all files were changed last, seconds


@contextmanager
def serving(files: Mapping[str, bytes], sizes: Mapping[str, int | None] | None = None) -> Iterator[str]:
    """The address of a server inside the `with` block; of `/slow` it gives nothing for three seconds.

    Args:
        files: content by path, such as `/clip.mp4`.
        sizes: bytes that are announced, where those are others; None: nothing is.
    """

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/slow":
                return time.sleep(3)
            if self.path not in files:
                return self.send_error(404)
            self.send_response(200)
            size = (sizes or {}).get(self.path, len(files[self.path]))
            if size is not None:
                self.send_header("Content-Length", str(size))
            self.send_header("Last-Modified", formatdate(CHANGED, usegmt=True))
            self.end_headers()
            self.wfile.write(files[self.path])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
