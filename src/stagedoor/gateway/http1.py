"""`serve` without TLS: HTTP/1.1 through uvicorn, with our strict protocol."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable

import uvicorn
from uvicorn.supervisors.multiprocess import Multiprocess

from ..settings import Settings
from .protocol import IDLE_AFTER, StrictProtocol

GRACE = 30
"""Seconds that requests under way have to finish when the server stops."""
BACKLOG = 2048


def serve_http1(settings: Settings, bound: socket.socket, on_ready: Callable[[], None]) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit code.

    Args:
        settings: without `tls`.
        bound: the listening socket.
        on_ready: called once: by a single worker when it answers requests, else before the workers are started.
    """
    config = uvicorn.Config(
        "stagedoor.gateway.server:create_app",
        factory=True,
        http=StrictProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        workers=settings.workers,
        backlog=BACKLOG,
        timeout_keep_alive=int(IDLE_AFTER),
        timeout_graceful_shutdown=GRACE,
    )
    if settings.workers == 1:
        server = _Server(config, on_ready)
        # uvicorn raises the signal again when it has stopped; ending as asked is no failure.
        signal.signal(signal.SIGTERM, lambda *_: None if server.started else sys.exit(0))
        server.run(sockets=[bound])
        return 0 if server.started else 1
    on_ready()
    _Supervisor(config, [bound]).run()
    return 0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


class _Supervisor(Multiprocess):
    """uvicorn's parent process; SIGHUP goes on to the workers, which reload in place."""

    def handle_hup(self) -> None:
        for process in self.processes:
            if process.pid is not None:
                os.kill(process.pid, signal.SIGHUP)

    def terminate_all(self) -> None:
        for bound in self.sockets:  # or newcomers would wait for workers that take no more connections
            bound.close()
        super().terminate_all()
