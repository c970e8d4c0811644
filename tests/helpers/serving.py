"""Servers for tests: `stagedoor serve` as a process, a gateway inside the test's own event loop, and a wire to both.

HTTP clients tidy up what they send, so whatever is about the form of requests goes over `Wire`: bytes out, bytes in.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import stagedoor
from stagedoor.gateway.app import Gateway
from stagedoor.gateway.protocol import protocol_of
from stagedoor.gateway.tls import make_context
from stagedoor.settings import parse
from stagedoor.store.port import Store
from tests.helpers import linting
from tests.helpers.support import CLIENT, ISSUER, claims, key_set, rsa_signer, token

SOURCE = Path(stagedoor.__file__).parents[1]
PATIENCE = 60.0
"""Seconds until what must happen counts as not happening."""
SITE = "http://127.0.0.1:8080"

RULES = """
[[rules]]
path = "public/**"
allow = "anyone"

[[rules]]
path = "users/{sub}/**"
allow = "signed-in"

[[rules]]
path = "team/**"
allow = "signed-in"

[[rules]]
path = "team/secret/**"
deny = "anyone"
"""


TLS = '[gateway]\ntls = { certificate = "cert.pem", key = "key.pem" }'
"""What `certificate` writes, as a setting."""


def settings_text(site: str = 'store = "./files"', more: str = "", *, jwks: str = "./jwks.json") -> str:
    """A settings file: the usual issuer and rules."""
    return f"""
[site]
url = "{SITE}"
{site}

[[issuers]]
name = "staff"
issuer = "{ISSUER}"
audience = ["{CLIENT}"]
jwks = "{jwks}"

[tokens]
from = ["header", "cookie", "query"]
{RULES}
{more}
"""


def fresh_token(**more: Any) -> str:
    """A token that is good now, not at the time that the core's tests stand still at."""
    return token(claims(**{"exp": time.time() + 86_400, **more}))


def prepare(folder: Path, files: Mapping[str, bytes] | None = None) -> Path:
    """Put the issuer's keys and these files where `settings_text` expects them; return the folder of the files."""
    (folder / "jwks.json").write_bytes(key_set(rsa_signer()))
    root = folder / "files"
    root.mkdir(exist_ok=True)
    for key, body in (files or {}).items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return root


def certificate(folder: Path, *hosts: str) -> ssl.SSLContext:
    """Write cert.pem and key.pem for 127.0.0.1 and these names; returns what a client needs to trust them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stagedoor test")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *(x509.DNSName(host) for host in hosts)]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(encoding))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    (folder / "key.pem").chmod(0o600)
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


def until(happened: Callable[[], Any], what: str, within: float = PATIENCE) -> Any:
    """Wait until it is so; what it returns then."""
    deadline = time.monotonic() + within
    while not (found := happened()):
        assert time.monotonic() < deadline, f"{what}: not within {within:g} s"
        time.sleep(0.02)
    return found


async def eventually(happened: Callable[[], Any], what: str, within: float = PATIENCE) -> Any:
    """The same for tests that share the event loop with the server."""
    deadline = time.monotonic() + within
    while not (found := happened()):
        assert time.monotonic() < deadline, f"{what}: not within {within:g} s"
        await asyncio.sleep(0.02)
    return found


class Served:
    """A running `stagedoor serve`."""

    def __init__(
        self, process: subprocess.Popen[bytes], folder: Path, port: int, trust: ssl.SSLContext | None = None
    ) -> None:
        self.process, self.port, self.trust = process, port, trust
        self._out, self._err = folder / "stdout", folder / "stderr"

    @property
    def stdout(self) -> str:
        return self._out.read_text("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self._err.read_text("utf-8", "replace")

    def lines(self) -> list[dict[str, Any]]:
        """The access log so far; it must hold nothing else."""
        whole = self.stdout.rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def wire(self, *, receive_buffer: int = 0) -> contextlib.AbstractAsyncContextManager[Wire]:
        """Connect, over TLS if that is what it speaks."""
        return wire(self.port, receive_buffer=receive_buffer, trust=self.trust)

    async def ask(self, target: str | bytes, method: str = "GET", *lines: str, body: bytes = b"") -> Heard:
        """One request on a connection of its own."""
        return await ask(self.port, target, method, *lines, body=body, trust=self.trust)

    def workers(self) -> list[int]:
        """Process ids of the children, the workers among them."""
        return children(self.process.pid)

    def stop(self, within: float = PATIENCE) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)


def children(pid: int) -> list[int]:
    """Process ids of the children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from stagedoor.cli import main; sys.exit(main())", *arguments]


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STAGEDOOR_", "AWS_"))}
    return {**kept, "PYTHONPATH": str(SOURCE), **more}


@contextlib.contextmanager
def serve(
    folder: Path, text: str, *, port: int = 0, trust: ssl.SSLContext | None = None, **environ: str
) -> Iterator[Served]:
    """Run `stagedoor serve` with these settings until the block ends.

    Args:
        folder: of the settings.
        text: the settings.
        port: 0: the system chooses one.
        trust: what a client needs if the settings name TLS files.
        environ: more variables.
    """
    settings = folder / "stagedoor.toml"
    settings.write_text(text)
    arguments = command("serve", "--settings", str(settings), "--listen", f"127.0.0.1:{port}")
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(arguments, stdout=out, stderr=err, cwd=folder, env=environment(**environ))
    served = Served(process, folder, port, trust)
    try:

        def listening() -> re.Match[str] | None:
            assert process.poll() is None, f"it ended at once: {served.stderr}"
            return re.search(r"listening on https?://127\.0\.0\.1:(\d+)", served.stderr)

        served.port = int(until(listening, "stagedoor serve says where it listens")[1])
        until(lambda: _connects(served.port), "somebody listens there")
        yield served
    finally:
        workers = served.workers()
        try:
            served.stop()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            raise


def _connects(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class InProcess(NamedTuple):
    """A gateway in the test's own process and event loop. `log` grows with the access log's text."""

    gateway: Gateway
    port: int
    log: bytearray
    trust: ssl.SSLContext | None = None

    def wire(self, *, receive_buffer: int = 0) -> contextlib.AbstractAsyncContextManager[Wire]:
        return wire(self.port, receive_buffer=receive_buffer, trust=self.trust)

    async def ask(self, target: str | bytes, method: str = "GET", *lines: str, body: bytes = b"") -> Heard:
        return await ask(self.port, target, method, *lines, body=body, trust=self.trust)

    def lines(self) -> list[dict[str, Any]]:
        """The access log; what is logged from now on is lost."""
        self.gateway._log.close()
        return [json.loads(line) for line in self.log.decode().splitlines()]


def make_gateway(
    folder: Path, text: str | None = None, *, store: Store | None = None, log: bytearray | None = None, **more: Any
) -> Gateway:
    """A gateway with these settings, read as if they stood in the folder."""
    log = bytearray() if log is None else log

    def write(text: bytes) -> int:
        log.extend(text)
        return len(text)

    settings = parse(settings_text() if text is None else text, folder / "stagedoor.toml")
    return Gateway(settings, store=store, write_log=write, **more)


@contextlib.asynccontextmanager
async def listening(
    app: Any, protocol: str = "strict", *, tls: ssl.SSLContext | None = None, **more: Any
) -> AsyncIterator[int]:
    """Run an application in uvicorn, in this event loop, with our protocol or one of uvicorn's; yields the port."""
    config = uvicorn.Config(
        app,
        http="httptools" if protocol == "strict" else protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        **more,
    )
    config.load()
    config.ssl = tls
    if protocol == "strict":
        config.http_protocol_class = protocol_of(lambda: app)
    server = uvicorn.Server(config)
    bound = socket.create_server(("127.0.0.1", 0), backlog=2048)
    bound.setblocking(False)
    running = asyncio.create_task(server._serve([bound]))
    try:
        await eventually(lambda: server.started or running.done(), "the server starts")
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        await running
        bound.close()


@contextlib.asynccontextmanager
async def serving(
    folder: Path, text: str | None = None, *, store: Store | None = None, tls: bool = False, **more: Any
) -> AsyncIterator[InProcess]:
    """The real gateway behind the real protocol, where its limits can be patched; with a new certificate for TLS."""
    log = bytearray()
    gateway = make_gateway(folder, text, store=store, log=log, **more)
    trust = certificate(folder) if tls else None
    context = make_context((folder / "cert.pem", folder / "key.pem")) if tls else None
    async with listening(gateway, tls=context) as port:
        yield InProcess(gateway, port, log, trust)


class Heard(NamedTuple):
    """One answer, as it came over the wire."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def field(self, name: str) -> str | None:
        values = [value for found, value in self.fields if found == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def code(self) -> str:
        """The `code` of a problem."""
        code: str = json.loads(self.body)["code"]
        return code


class Ended(Exception):
    """The other end closed the connection where an answer was expected, or in the middle of one."""


class Wire:
    """A connection on which exactly the given bytes are sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, list[tuple[str, str]]]:
        """Status and header fields of the next answer."""
        try:
            raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Ended(getattr(error, "partial", b"")) from error
        status, *lines = raw[:-4].decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) ?.*", status)
        assert match, status
        fields = [line.partition(":") for line in lines]
        return int(match[1]), [(name.lower(), value.strip(" ")) for name, _, value in fields]

    async def answer(self, method: str = "GET", target: str = "", lines: Sequence[str] = ()) -> Heard:
        """The next answer, with as much body as its length says; httplint must find no fault in it."""
        status, fields = await self.head()
        named = dict(fields)
        assert "transfer-encoding" not in named, "every answer of ours knows its length"
        length = 0 if method == "HEAD" or status in (204, 304) else int(named["content-length"])
        try:
            body = await asyncio.wait_for(self.reader.readexactly(length), PATIENCE)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Ended(getattr(error, "partial", b"")) from error
        asked = [(name, value.strip(" ")) for name, _, value in (line.partition(":") for line in lines)]
        linting.lint(linting.Asked(method, target, asked), status, fields, body)
        return Heard(status, fields, body)

    async def ask(self, target: str | bytes, method: str = "GET", *lines: str, body: bytes = b"") -> Heard:
        """Send a request for this very target and hear the answer."""
        await self.send(message(target, method, *lines, body=body))
        return await self.answer(method, target if isinstance(target, str) else target.decode("latin-1"), lines)

    async def ended(self, within: float = PATIENCE) -> bytes:
        """What still comes until the other end closes; it must close."""
        try:
            return await asyncio.wait_for(self.reader.read(), within)
        except ConnectionError:
            return b""


def message(target: str | bytes, method: str = "GET", *lines: str, body: bytes = b"") -> bytes:
    raw = target if isinstance(target, bytes) else target.encode()
    fields = list(lines)
    if not any(line.lower().startswith("host:") for line in fields):
        fields.insert(0, "Host: 127.0.0.1:8080")
    return b"%s %s HTTP/1.1\r\n%s\r\n\r\n%s" % (method.encode(), raw, "\r\n".join(fields).encode("latin-1"), body)


@contextlib.asynccontextmanager
async def wire(port: int, *, receive_buffer: int = 0, trust: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """Connect, over TLS if there is something to trust.

    With a small receive buffer the other end soon notices that nobody reads.
    """
    raw = socket.socket()
    if receive_buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    raw.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    except OSError:
        raw.close()
        raise
    limit = max(receive_buffer, 65_536) if receive_buffer else 1_048_576
    host = "127.0.0.1" if trust else None
    reader, writer = await asyncio.open_connection(sock=raw, limit=limit, ssl=trust, server_hostname=host)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(
    port: int,
    target: str | bytes,
    method: str = "GET",
    *lines: str,
    body: bytes = b"",
    trust: ssl.SSLContext | None = None,
) -> Heard:
    """One request on a connection of its own."""
    async with wire(port, trust=trust) as connection:
        return await connection.ask(target, method, *lines, body=body)


@contextlib.asynccontextmanager
async def raw_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A server that does this with each connection, until the client has gone or the block ends."""
    handling: set[asyncio.Task[None] | None] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                await handle(reader, writer)
            finally:
                writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in filter(None, handling):
            task.cancel()
        await asyncio.gather(*filter(None, handling), return_exceptions=True)


Recorded = list[bytes]


@contextlib.asynccontextmanager
async def scripted(
    answer: Callable[[bytes], Awaitable[bytes] | bytes], seen: Recorded, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A server that notes the head of every request and answers with exactly these bytes, then closes."""

    handling: set[asyncio.Task[Any] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.add(asyncio.current_task())
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                seen.append(head)
                made = answer(head)
                writer.write(made if isinstance(made, bytes) else await made)
                await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in filter(None, handling):
            task.cancel()
        await asyncio.gather(*filter(None, handling), return_exceptions=True)


def plain_answer(status: str, body: bytes = b"", *lines: str) -> bytes:
    head = "\r\n".join((f"HTTP/1.1 {status}", *lines, f"content-length: {len(body)}", "connection: close"))
    return head.encode("latin-1") + b"\r\n\r\n" + body


def bearer_line(text: str) -> str:
    return f"Authorization: Bearer {text}"


def targets(heads: Sequence[bytes]) -> list[bytes]:
    """The request targets of recorded heads."""
    return [head.split(b" ", 2)[1] for head in heads]
