"""An issuer over the loopback network, as well or as badly as a test wants it."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator, Mapping


class IssuerServer(http.server.ThreadingHTTPServer):
    """An issuer on this machine: path -> (status, body, seconds to wait).

    `asked` lists the paths that were asked for, `answered` those whose answer was sent to its last byte.
    """

    daemon_threads = True
    pages: Mapping[str, tuple[int, bytes, float]] = {}

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.drips: dict[str, float] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Answers(http.server.BaseHTTPRequestHandler):
    server: IssuerServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        status, body, wait = self.server.pages.get(self.path, (404, b"", 0.0))
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Location", f"{self.server.url}/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            drip = self.server.drips.get(self.path, 0.0)
            parts = [bytes((byte,)) for byte in body] if drip else [body[:1], body[1:2], body[2:]]
            for part in parts:
                time.sleep(drip or wait / 3)
                self.wfile.write(part)
                self.wfile.flush()
            self.server.answered.append(self.path)

    do_POST = do_GET  # noqa: N815 - named by http.server

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[IssuerServer]:
    """A running one."""
    server = IssuerServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
