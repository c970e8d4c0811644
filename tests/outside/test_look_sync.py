"""A page is looked at once, as it is: redirects are not followed, and neither its size nor its slowness is endured."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stagedoor.outside.look_sync import MAX_BYTES, Seen, look


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    gone = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = int(self.path.strip("/").split("?")[0] or 200)
            if self.path.endswith("?slow"):
                gone.wait(5)
            self.send_response(status)
            if status == 302:
                self.send_header("location", "/elsewhere?x=1")
            self.end_headers()
            self.wfile.write(b"x" * (MAX_BYTES + 1) if self.path.endswith("?long") else b"caf\xc3\xa9 \xff")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that has seen enough goes away."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    gone.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("status", [200, 400, 404, 503])
def test_each_answer_is_seen_with_its_text(site: str, status: int) -> None:
    assert look(f"{site}/{status}") == Seen(status, "", "café \ufffd")


def test_a_redirect_is_seen_and_not_followed(site: str) -> None:
    assert look(f"{site}/302") == Seen(302, "/elsewhere?x=1", "café \ufffd")


def test_a_page_is_read_up_to_a_limit_and_waited_for_up_to_a_limit(site: str) -> None:
    assert len(look(f"{site}/200?long").text) == MAX_BYTES
    assert look(f"{site}/200?slow", within=0.1) == Seen(error="no answer in time")


@pytest.mark.parametrize("url", ["http://id.example.com/", "file:///etc/passwd", "javascript:x", ""])
def test_only_https_is_asked_and_this_machine(url: str) -> None:
    assert look(url) == Seen(error="this is not an https address")


def test_nobody_is_there() -> None:
    assert look("http://127.0.0.1:9/").error == "connection refused"
