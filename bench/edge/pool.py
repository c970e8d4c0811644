"""The pool's keys over HTTPS, as Cognito publishes them, from a server on this machine."""

from __future__ import annotations

import datetime as dt
import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class KeyServer(NamedTuple):
    """Where it is, and the certificate to believe."""

    port: int
    certificate: str


@contextmanager
def serve(key_set: bytes, host: str, work: Path) -> Iterator[KeyServer]:
    """Publish a key set.

    Args:
        key_set: the document.
        host: name in the certificate.
        work: folder for the certificate and its key.
    """
    certificate, file = _certificate(host, work)

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError, ssl.SSLError):  # whoever asked was stopped
                super().handle()

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(key_set)))
            self.end_headers()
            self.wfile.write(key_set)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield KeyServer(server.server_port, certificate)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _certificate(host: str, work: Path) -> tuple[str, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)]), dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    file = work / "pool.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(key.private_bytes(*form) + made)
    return made.decode(), file
