"""The model of CloudFront as a web server with TLS on 127.0.0.1, for tests over a network."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.helpers.cloudfront_model import CloudFront

HOST = "127.0.0.1"
_ITS_OWN = ("host", "connection", "content-length", "transfer-encoding", "x-cache")


@contextmanager
def serving(front: CloudFront, folder: Path) -> Iterator[str]:
    """Serve it with the certificate in a folder (`cert.pem`, `key.pem`); yield its origin."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    one_by_one = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def setup(self) -> None:
            self.request = tls.wrap_socket(self.request, server_side=True)
            super().setup()

        def finish(self) -> None:
            super().finish()
            self.request.close()

        def handle_one_request(self) -> None:
            """Take any method, and the target as it was sent."""
            self.close_connection = True
            self.raw_requestline = self.rfile.readline(65_537)
            if self.raw_requestline and self.parse_request():
                self._answer(self.raw_requestline.decode("latin-1").split(" ")[1])

        def _answer(self, target: str) -> None:
            if not (target.startswith("/") and target.isascii() and len(target) <= 8192):
                return self.send_error(400)
            fields: dict[str, Any] = {}
            for name, value in self.headers.items():
                if name.lower() not in ("host", "connection"):
                    fields.setdefault(name.lower(), []).append(value)
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            with one_by_one:
                answer = front.ask(target, self.command, body=body, **fields)
            lines = [f"HTTP/1.1 {answer.status} {responses.get(answer.status, '')}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in answer.headers if name.lower() not in _ITS_OWN]
            if answer.status not in (204, 304):
                lines.append(f"Content-Length: {len(answer.body)}")
            self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body)
            return None

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: object) -> None:
            """Ignore viewers that leave or do not speak TLS."""

    with Server((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"https://{HOST}:{server.server_port}"
        server.shutdown()
        thread.join()
