"""`stagedoor serve`: HTTP/1.1 through uvicorn with our strict protocol, over TLS where `[gateway] tls` is set.

SIGHUP reads the settings and the certificate again in every worker; bad ones are reported and the old stay. SIGTERM
and Ctrl-C let requests finish first.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from ..core.errors import StagedoorError
from ..core.session import MIN_KEY_BYTES
from ..outside import aws
from ..settings import MADE_AT_START, PREFIX, Settings, find, load
from ..settings.file import changed, version
from .app import Gateway, lifespan
from .asgi import Receive, Scope, Send
from .log_writer import StandardError
from .protocol import IDLE_AFTER, protocol_of
from .tls import make_context, use_certificate

GRACE = 30
"""Seconds that requests under way have to finish when the server stops."""
BACKLOG = 2048
LAST_CALL = 0.2
"""Seconds after SIGTERM in which what clients have sent already is still accepted and read."""
RELOAD_WITHIN = 30.0
"""Seconds that reading the settings again may take."""
WRITTEN_WITHIN = 0.5
"""Seconds in which a settings file must not change after it was read, because a program may be writing it in place."""

T = TypeVar("T")

LOOK_FOR_BOTOCORE = 1.0
"""Seconds."""

_log = logging.getLogger("stagedoor")


class Reloading:
    """The application of one worker: a gateway that SIGHUP replaces by one with new settings.

    Attributes:
        gateway: the present one.
        tls: what connections are encrypted with; SIGHUP puts the new certificate into it. None without `[gateway] tls`.
        under_serve: is this a process of `stagedoor serve`, whose end is ours to arrange?
    """

    under_serve = False

    def __init__(self, path: Path | None) -> None:
        self._path = path
        settings = load(path)
        self.gateway = Gateway(settings)
        self.tls = None if settings.tls is None else make_context(settings.tls)
        self._closing: set[asyncio.Task[None]] = set()
        self._reloading: asyncio.Task[None] | None = None
        self._asked_again = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send, self._start, self._stop)
        else:
            await self.gateway(scope, receive, send)

    def _start(self) -> None:
        gc.freeze()  # what is there now stays; requests leave few cycles behind, so look for them less often
        gc.set_threshold(20_000, 20, 10)
        loop = asyncio.get_running_loop()
        _freeze_botocore(loop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        if self.under_serve:
            _end_after(LAST_CALL, loop)
            _end_with_parent(loop)
        self.gateway.start()

    async def _stop(self) -> None:
        await self.gateway.aclose()
        for handler in logging.getLogger().handlers:
            handler.flush()  # a worker ends without doing so

    def reload(self) -> None:
        """Read the settings again; the old gateway ends when its last request has."""
        if self._reloading is not None and not self._reloading.done():
            self._asked_again = True  # what is being read may be older than what was asked for now
        else:
            self._reloading = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        again = True
        while again:
            self._asked_again = False
            aws.forget_session()  # credentials may have changed, too
            try:
                # Keys may be at AWS, and AWS or a disk slow.
                gateway = await _in_thread(self._read_again, RELOAD_WITHIN)
                if self.tls is not None and gateway.settings.tls is not None:
                    use_certificate(self.tls, gateway.settings.tls)
            except StagedoorError as error:
                _log.error("%s: %s", _NOT_RELOADED, error)
            except TimeoutError:
                _log.error("%s: they could not be read within %g s", _NOT_RELOADED, RELOAD_WITHIN)
            except Exception:
                _log.exception(_NOT_RELOADED)
            else:
                self._replace(gateway)
            again = self._asked_again

    def _read_again(self) -> Gateway:
        file = find(self._path)
        before = version(file)
        settings = load(self._path)
        if settings.tls is not None:
            make_context(settings.tls)  # raises before anything has changed
        gateway = Gateway(settings)
        time.sleep(WRITTEN_WITHIN)
        if version(file) != before:
            raise changed(file)
        return gateway

    def _replace(self, gateway: Gateway) -> None:
        self.gateway, old = gateway, self.gateway
        gateway.adopt(old)
        gateway.start()
        task = asyncio.create_task(_close_when_idle(old))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        if _bound(old.settings) != _bound(gateway.settings):
            _log.warning("settings reloaded; [gateway] listen, workers, and tls on or off, need a restart")
        else:
            _log.warning("settings reloaded")


_NOT_RELOADED = "the settings were not reloaded, the old ones stay"


async def _in_thread(function: Callable[[], T], within: float) -> T:
    """Call a function in a thread of its own, so that one that hangs holds up no other and no stop.

    Raises:
        TimeoutError: it took longer; what it returns then is lost.
    """
    result: Future[T] = Future()
    result.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result.set_result(function())
        except Exception as error:
            result.set_exception(error)

    threading.Thread(target=run, name="reload", daemon=True).start()
    async with asyncio.timeout(within):
        return await asyncio.wrap_future(result)


def _freeze_botocore(loop: asyncio.AbstractEventLoop) -> None:
    """botocore comes with the first question to AWS, and stays: looking through it again and again takes long."""
    if "botocore.session" in sys.modules:
        gc.freeze()
    else:
        loop.call_later(LOOK_FOR_BOTOCORE, _freeze_botocore, loop)


def _end_after(seconds: float, loop: asyncio.AbstractEventLoop) -> None:
    """Let SIGTERM stop the server a little later, so that requests which are on their way are answered."""
    stop: Any = signal.getsignal(signal.SIGTERM)
    if callable(stop):
        loop.add_signal_handler(signal.SIGTERM, lambda: loop.call_later(seconds, stop, signal.SIGTERM, None))


def _end_with_parent(loop: asyncio.AbstractEventLoop) -> None:
    """Stop when the parent process has ended without a word (SIGKILL), or its port would stay taken."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def end() -> None:
        loop.remove_reader(parent.sentinel)
        _log.error("the parent process has gone, so this worker ends")
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(parent.sentinel, end)


async def _close_when_idle(gateway: Gateway) -> None:
    while gateway.in_flight:  # noqa: ASYNC110 - a counter on the hot path is cheaper than an event
        await asyncio.sleep(1)
    await gateway.aclose()


def _bound(settings: Settings) -> tuple[object, ...]:
    """What only a restart changes."""
    return settings.listen, settings.workers, settings.tls is None


def create_app() -> Reloading:
    """Application factory for workers and for other servers: reads `STAGEDOOR_SETTINGS` or `stagedoor.toml`."""
    log_to_stderr()
    return Reloading(None)


def log_to_stderr() -> None:
    """Everything but the access log goes to standard error."""
    logging.basicConfig(handlers=[StandardError()], format="stagedoor: %(message)s", level=logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of every malformed request


def serve(settings_path: Path | None = None, *, listen: str | None = None, workers: int | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        settings_path: as for `settings.load`.
        listen, workers: instead of `[gateway] listen` and `workers`.

    Returns:
        The exit code.

    Raises:
        SettingsError: before anything is served.
    """
    log_to_stderr()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it is heard: settings are about to be read anyway
    # Workers read their settings themselves, so whatever was said on the command line reaches them this way.
    for name, value in (("SETTINGS", settings_path), ("GATEWAY_LISTEN", listen), ("GATEWAY_WORKERS", workers)):
        if value is not None:
            os.environ[PREFIX + name] = str(value)
    os.environ.setdefault(MADE_AT_START, secrets.token_hex(MIN_KEY_BYTES))
    settings = load(None)
    try:
        Gateway(replace(settings, access_log="off"))  # what a worker would stumble over is said here, once
        if settings.tls is not None:
            make_context(settings.tls)
        bound = _bind(settings)
    except (StagedoorError, OSError) as error:
        print(f"stagedoor: {error}", file=sys.stderr)  # noqa: T201 - nobody has set up anything else yet
        return 1
    return _run(settings, bound)


def _run(settings: Settings, bound: socket.socket) -> int:
    config = _Config(
        "stagedoor.gateway.server:create_app",
        factory=True,
        loop="stagedoor.gateway.tls:Loop",
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
        server = _Server(config, lambda: _announce(settings, bound))
        # uvicorn raises the signal again when it has stopped; ending as asked is no failure.
        signal.signal(signal.SIGTERM, lambda *_: None if server.started else sys.exit(0))
        server.run(sockets=[bound])
        return 0 if server.started else 1
    _announce(settings, bound)
    _Supervisor(config, [bound]).run()
    return 0


class _Config(uvicorn.Config):
    """uvicorn's configuration of one worker, whose connections ask the application that the worker has made."""

    def load(self) -> None:
        super().load()
        application: Reloading = self.loaded_app
        application.under_serve = True
        self.http_protocol_class = protocol_of(lambda: application.gateway)
        self.ssl = application.tls


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

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._to_reload: list[Process] = []

    def handle_hup(self) -> None:
        self._to_reload = list(self.processes)

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        self._to_reload = [process for process in self._to_reload if not self._was_told(process)]

    def _was_told(self, process: Process) -> bool:
        """Tell a worker to reload, but not before it listens: the signal would end it."""
        if process.pid is None or process not in self.processes:
            return True
        if not process.is_ready(timeout=0.5):
            return False
        os.kill(process.pid, signal.SIGHUP)
        return True

    def terminate_all(self) -> None:
        for bound in self.sockets:  # or newcomers would wait for workers that take no more connections
            bound.close()
        super().terminate_all()


def _bind(settings: Settings) -> socket.socket:
    host, port = settings.listen
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        number = error.errno or 0  # negative where the name could not be found
        reason = os.strerror(number) if number > 0 else error.strerror
        raise OSError(f"cannot listen on {host}:{port}: {reason}; choose another [gateway] listen") from error


def _announce(settings: Settings, bound: socket.socket) -> None:
    """Say where the site can be reached; for people, on standard error."""
    host, port = bound.getsockname()[:2]
    scheme = "https" if settings.tls else "http"
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    many = f", {settings.workers} workers" if settings.workers > 1 else ""
    _log.warning("%s from %s, listening on %s%s", settings.url, settings.store or "nowhere", address, many)
