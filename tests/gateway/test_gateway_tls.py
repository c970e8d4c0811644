"""What holds over TLS: whole bodies, flat memory, an end to clients that do not shake hands, read or say goodbye.

The gateway runs here in the event loop that `stagedoor serve` uses. What does not depend on time is asked over TLS in
test_gateway_http.py, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from stagedoor.core.errors import SettingsError
from stagedoor.gateway import protocol, tls
from stagedoor.gateway.app import Gateway
from stagedoor.gateway.protocol import StrictProtocol
from stagedoor.store import folder as folder_store
from tests.helpers.serving import (
    PATIENCE,
    TLS,
    InProcess,
    certificate,
    eventually,
    message,
    prepare,
    serve,
    serving,
    settings_text,
    wire,
)

BODY = random.Random(1).randbytes(5 * 1_048_576 + 7)
HUGE = 64 * 1_048_576


def in_our_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in the event loop of `stagedoor serve`."""

    @functools.wraps(test)
    def run(*args: Any, **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=tls.Loop) as runner:
            runner.run(test(*args, **fixtures))

    return run


@pytest.mark.parametrize(
    ("url", "more", "sent"),
    [
        ("https://assets.example.com", TLS, "max-age=31536000"),
        ("https://assets.example.com:8443", TLS, "max-age=31536000"),
        ("http://127.0.0.1:8080", TLS, "max-age=31536000"),
        ("https://localhost:8443", TLS, None),  # every other server of a developer's machine would be meant, too
        ("https://assets.example.com", "", None),  # whoever ends TLS says so
    ],
)
async def test_browsers_are_told_to_come_by_https_alone_where_tls_ends_here(
    site: Path, url: str, more: str, sent: str | None
) -> None:
    """RFC 6797: on every answer, those of the door and those of objects."""
    certificate(site)
    text = settings_text(more=more).replace("http://127.0.0.1:8080", url)
    async with serving(site, text) as here:
        for target, status in (("/public/a.txt", 200), ("/public/none", 404), ("/team/a", 401), ("/-/healthz", 200)):
            heard = await here.ask(target)
            assert (heard.status, heard.field("strict-transport-security")) == (status, sent)
        assert (await here.ask("/public/a.txt", "POST", "Content-Length: 0")).field("strict-transport-security") == sent


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = prepare(tmp_path, {"public/a.txt": b"hello", "public/body.bin": BODY})
    with (root / "public/huge.bin").open("wb") as huge:
        huge.truncate(HUGE)
    return tmp_path


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEADER_WITHIN", "IDLE_AFTER", "STALLED_AFTER"):
        monkeypatch.setattr(protocol, name, 0.6)
    monkeypatch.setattr(protocol, "SWEEP_EVERY", 0.1)
    monkeypatch.setattr(tls, "HANDSHAKE_WITHIN", 0.6)


def test_the_limits_are_those_that_are_promised() -> None:
    assert (tls.HANDSHAKE_WITHIN, tls.CLOSE_WITHIN) == (10.0, 20.0)


# --- bodies

RANGES = ("bytes=0-0", "bytes=5-70000", "bytes=65530-65545", "bytes=1048570-3000000", "bytes=-9", "bytes=5242880-")


def part(field: str) -> bytes:
    first, _, last = field.removeprefix("bytes=").partition("-")
    return BODY[int(first) : int(last) + 1 if last else None] if first else BODY[-int(last) :]


@in_our_loop
async def test_bodies_and_ranges_arrive_whole_on_one_connection(site: Path) -> None:
    async with serving(site, tls=True) as here, here.wire() as connection:
        for _ in range(2):
            assert (await connection.ask("/public/body.bin")).body == BODY
            head = await connection.ask("/public/body.bin", "HEAD")
            assert (head.field("content-length"), head.body) == (str(len(BODY)), b"")
            for field in RANGES:
                heard = await connection.ask("/public/body.bin", "GET", f"Range: {field}")
                assert (heard.status, heard.body == part(field)) == (206, True), field
            assert (await connection.ask("/public/a.txt")).body == b"hello"


@in_our_loop
async def test_pipelined_bodies_arrive_in_order(site: Path) -> None:
    async with serving(site, tls=True) as here, here.wire() as connection:
        for _ in range(3):
            await connection.send(b"".join(message("/public/body.bin", "GET", f"Range: {field}") for field in RANGES))
            for field in RANGES:
                assert (await connection.answer()).body == part(field)


@in_our_loop
async def test_a_slow_reader_gets_the_whole_body_and_then_the_end(site: Path) -> None:
    async with serving(site, tls=True) as here, here.wire(receive_buffer=65_536) as connection:
        await connection.send(message("/public/body.bin", "GET", "Connection: close"))
        await connection.head()
        body = b""
        while piece := await connection.reader.read(100_000):
            body += piece
            await asyncio.sleep(0.01)
        assert body == BODY


@in_our_loop
async def test_files_are_sent_where_the_page_cache_cannot_be_asked(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_store, "_NO_WAIT", None)
    async with serving(site, tls=True) as here:
        assert (await here.ask("/public/body.bin")).body == BODY


async def test_in_the_event_loop_of_asyncio_bodies_are_the_same(site: Path) -> None:
    async with serving(site, tls=True) as here, here.wire() as connection:
        assert (await connection.ask("/public/body.bin")).body == BODY
        assert (await connection.ask("/public/a.txt")).body == b"hello"


@in_our_loop
async def test_short_answers_need_no_task(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(site, tls=True) as here:
        monkeypatch.delattr(Gateway, "_http")
        assert (await here.ask("/public/a.txt")).body == b"hello"
        assert (await here.ask("/team/a.txt")).status == 401


@in_our_loop
async def test_a_file_that_shrinks_does_not_look_whole(site: Path) -> None:
    async with serving(site, tls=True) as here, here.wire(receive_buffer=65_536) as connection:
        await connection.send(message("/public/huge.bin"))
        await connection.head()
        with (site / "files/public/huge.bin").open("r+b") as file:
            file.truncate(1_000_000)
        assert len(await connection.ended()) < HUGE
        await eventually(lambda: here.gateway.in_flight == 0, "the answer is given up")


# --- who speaks


def versions(trust: ssl.SSLContext, only: ssl.TLSVersion) -> ssl.SSLContext:
    trust.minimum_version = trust.maximum_version = only
    trust.set_ciphers("ALL:@SECLEVEL=0")  # the client would take anything
    return trust


@in_our_loop
async def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(site: Path) -> None:
    async with serving(site, tls=True) as here:
        assert here.trust is not None
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            trust = versions(ssl.create_default_context(cafile=str(site / "cert.pem")), version)
            assert (await here._replace(trust=trust).ask("/public/a.txt")).body == b"hello"
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old = versions(ssl.create_default_context(cafile=str(site / "cert.pem")), ssl.TLSVersion.TLSv1_1)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await here._replace(trust=old).ask("/public/a.txt")


@pytest.mark.parametrize(("offered", "taken"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], None)])
@in_our_loop
async def test_of_the_protocols_that_a_client_offers_http_1_1_is_taken(
    site: Path, offered: list[str], taken: str | None
) -> None:
    async with serving(site, tls=True) as here:
        assert here.trust is not None
        here.trust.set_alpn_protocols(offered)
        async with here.wire() as connection:
            assert connection.writer.get_extra_info("ssl_object").selected_alpn_protocol() == taken
            assert (await connection.ask("/public/a.txt")).body == b"hello"


@in_our_loop
async def test_without_tls_there_is_no_answer(site: Path) -> None:
    async with serving(site, tls=True) as here:
        async with wire(here.port) as connection:
            await connection.send(message("/public/a.txt"))
            assert b"HTTP" not in await connection.ended()
        assert (await here.ask("/public/a.txt")).body == b"hello"


def test_a_client_cannot_make_the_server_shake_hands_again_and_again(site: Path) -> None:
    certificate(site)
    context = tls.make_context((site / "cert.pem", site / "key.pem"))
    assert context.options & ssl.OP_NO_RENEGOTIATION


# --- time


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], ids=["nothing", "a part"])
@in_our_loop
async def test_a_handshake_that_is_not_finished_ends(site: Path, sent: bytes) -> None:
    async with serving(site, tls=True) as here, wire(here.port) as silent:
        await silent.send(sent)
        assert await silent.ended() == b""
        assert (await here.ask("/public/a.txt")).body == b"hello"


@pytest.mark.usefixtures("hurried")
@in_our_loop
async def test_a_handshake_byte_by_byte_ends_while_others_are_served(site: Path) -> None:
    async with serving(site, tls=True) as here, wire(here.port) as slow:
        ending = asyncio.create_task(slow.ended())
        with contextlib.suppress(ConnectionError):
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400):
                await slow.send(bytes((byte,)))
                assert (await here.ask("/public/a.txt")).body == b"hello"
                await asyncio.sleep(0.05)
                if ending.done():
                    break
            else:
                pytest.fail("it goes on")
        assert await ending == b""


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("sent", "answers"), [(b"", 0), (b"GET /public/a.txt HT", 0), (message("/public/a.txt"), 1)], ids=str
)
@in_our_loop
async def test_idle_connections_and_slow_header_sections_end(site: Path, sent: bytes, answers: int) -> None:
    async with serving(site, tls=True) as here, here.wire() as connection:
        await connection.send(sent)
        assert (await connection.ended()).count(b"HTTP/1.1 200") == answers


class Peer:
    """A TLS client that does only what it is told to do, in a thread of its own; it does not read of itself."""

    def __init__(self, here: InProcess) -> None:
        assert here.trust is not None
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(PATIENCE)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = here.trust.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")
        self._port = here.port

    def connect(self) -> None:
        self._socket.connect(("127.0.0.1", self._port))
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._in.write(self._socket.recv(65_536))
            else:
                return self._flush()

    def ask(self, target: str) -> None:
        self._tls.write(message(target))
        self._flush()

    def say_goodbye(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def stop_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def hear_the_end(self) -> bool:
        """Read to the end of the connection; False: it has none."""
        try:
            while self._socket.recv(1_048_576):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    def close(self) -> None:
        self._socket.close()

    def _flush(self) -> None:
        self._socket.sendall(self._out.read())


@contextlib.asynccontextmanager
async def peer(here: InProcess) -> Any:
    one = Peer(here)
    await asyncio.to_thread(one.connect)
    try:
        yield one
    finally:
        one.close()


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("then", ["nothing", "say_goodbye", "stop_sending"])
@in_our_loop
async def test_a_client_that_never_reads_is_let_go_while_others_are_served(site: Path, then: str) -> None:
    async with serving(site, tls=True) as here, peer(here) as deaf:
        await asyncio.to_thread(deaf.ask, "/public/huge.bin")
        await eventually(lambda: here.gateway.in_flight == 1, "the download begins")
        await asyncio.sleep(0.2)
        if then != "nothing":
            await asyncio.to_thread(getattr(deaf, then))
        assert (await here.ask("/public/a.txt")).body == b"hello"
        await eventually(lambda: here.gateway.in_flight == 0, "the download is given up")
        assert await asyncio.to_thread(deaf.hear_the_end)
        line = next(line for line in here.lines() if line["path"] == "/public/huge.bin")
        assert line["bytes"] < HUGE


@pytest.mark.usefixtures("hurried")
@in_our_loop
async def test_an_idle_client_that_does_not_answer_the_goodbye_is_let_go(site: Path) -> None:
    async with serving(site, tls=True) as here, peer(here) as silent:
        assert await asyncio.to_thread(silent.hear_the_end)


def test_a_connection_that_does_not_finish_closing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the client has said goodbye, and then does not take what already left for the kernel."""
    cut: list[bool] = []
    transport = SimpleNamespace(
        get_write_buffer_size=lambda: 0, is_closing=lambda: True, abort=functools.partial(cut.append, True)
    )
    connection = SimpleNamespace(transport=transport, _stalled_since=None, _waiting=0)
    for now in (0.0, 30.0, protocol.STALLED_AFTER):
        StrictProtocol.check_time(connection, now)  # type: ignore[arg-type]
    assert cut == []
    StrictProtocol.check_time(connection, protocol.STALLED_AFTER + 1)  # type: ignore[arg-type]
    assert cut == [True]


@in_our_loop
async def test_stopping_does_not_wait_for_the_goodbye_of_idle_clients(
    site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(protocol, "TAIL_WITHIN", 0.0)
    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        async with serving(site, tls=True) as here:
            silent = Peer(here)
            await asyncio.to_thread(silent.connect)
            await asyncio.to_thread(silent.ask, "/public/a.txt")
            await eventually(here.lines, "it was answered")
    assert caplog.messages == []  # uvicorn would say that it waited in vain
    silent.close()


# --- memory


async def test_memory_stays_flat_while_nobody_reads(site: Path) -> None:
    trust = certificate(site)
    with serve(site, settings_text(more=TLS), trust=trust) as running:
        before = resident(running.process.pid)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(24):
                deaf = await stack.enter_async_context(running.wire(receive_buffer=4096))
                deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
                await deaf.send(message("/public/huge.bin"))
            await asyncio.sleep(0.5)
            assert resident(running.process.pid) - before < 24 * 524_288
            assert (await running.ask("/-/healthz")).status == 200


def resident(pid: int) -> int:
    """Bytes of memory that a process has in use."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


# --- certificates


def test_files_that_cannot_be_used_are_named_with_what_is_wrong(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    certificate(tmp_path)
    certificate(other)
    key = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "sealed.pem").write_bytes(sealed)
    (tmp_path / "empty.pem").write_bytes(b"")
    for certificate_file, key_file, problem in (
        ("cert.pem", "other/key.pem", "is not the key of the certificate"),
        ("cert.pem", "sealed.pem", "without a passphrase"),
        ("cert.pem", "cert.pem", "not a certificate and its key"),
        ("key.pem", "cert.pem", "not a certificate and its key"),
        ("empty.pem", "key.pem", "not a certificate and its key"),
        ("missing.pem", "key.pem", "cannot be read: No such file"),
    ):
        with pytest.raises(SettingsError, match=problem) as raised:
            tls.make_context((tmp_path / certificate_file, tmp_path / key_file))
        assert raised.value.setting == "gateway.tls"
        assert "secret" not in str(raised.value)
        assert str(raised.value).count(str(tmp_path)) >= 1
