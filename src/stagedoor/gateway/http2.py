"""`serve` with TLS files: HTTP/2 and HTTP/1.1 through Granian.

Granian does not tell the application the authority of a target in absolute form, and has one time limit for
header sections and idle connections (docs/decisions/0003-http-server.md); the decision about an object is the
same, for it depends on neither.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.server import MPServer

from ..settings import Settings
from .app import MAX_HEADER_BYTES
from .http1 import GRACE
from .protocol import HEADER_WITHIN

MAX_STREAMS = 32
"""Requests at a time on one connection: each that is not read holds what Granian has taken from us so far."""
_QUIET: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        name: {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"} for name in ("console", "access")
    },
    "loggers": {
        "_granian": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        "granian.access": {"handlers": ["access"], "level": "WARNING", "propagate": False},
    },
}
"""Granian's own log goes to standard error; standard output belongs to the access log."""


class _Supervisor(MPServer):
    """Granian's parent process; SIGHUP goes on to the workers, which reload in place."""

    def signal_handler_reload(self, *_: Any) -> None:
        for worker in self.wrks:
            os.kill(worker.inner.pid, signal.SIGHUP)


def serve_http2(settings: Settings, bound: socket.socket, on_ready: Callable[[], None]) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit code.

    Args:
        settings: with `tls`.
        bound: proof that the address is free; Granian opens its own socket there.
        on_ready: called once, before Granian starts: it does not tell when it has.
    """
    assert settings.tls is not None
    on_ready()
    bound.close()
    certificate, key = settings.tls
    host, port = settings.listen
    server = _Supervisor(
        "stagedoor.gateway.server:create_app",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        runtime_threads=1,
        loop=Loops.uvloop,
        http=HTTPModes.auto,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(HEADER_WITHIN * 1000), max_buffer_size=MAX_HEADER_BYTES, pipeline_flush=False
        ),
        http2_settings=HTTP2Settings(
            max_headers_size=MAX_HEADER_BYTES,
            max_concurrent_streams=MAX_STREAMS,
            initial_stream_window_size=65_535,
            max_send_buffer_size=65_536,
            keep_alive_interval=30_000,
            keep_alive_timeout=10,
        ),
        websockets=False,
        log_dictconfig=_QUIET,
        log_level=LogLevels.warning,
        log_access=False,
        ssl_cert=certificate,
        ssl_key=key,
        ssl_protocol_min=SSLProtocols.tls12,
        factory=True,
        workers_kill_timeout=GRACE,
        respawn_failed_workers=True,
    )
    logging.getLogger("_granian").setLevel(logging.WARNING)
    server.serve()
    return 0
