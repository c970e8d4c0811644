"""The HTTP client: whatever a server sends, no answer is taken for another's."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from stagedoor.outside import http
from stagedoor.outside.http import Answer, Broken, Connections, Origin
from tests.helpers.serving import eventually, raw_server

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


@contextlib.asynccontextmanager
async def asking(handle: Handle, most: int = 8) -> AsyncIterator[Connections]:
    async with raw_server(handle) as port:
        connections = Connections(Origin("127.0.0.1", port), most)
        try:
            yield connections
        finally:
            connections.close()


def sending(*pieces: bytes, pause: float = 0.0) -> Handle:
    """Answers every request with these bytes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)

    return handle


def request(path: str = "/", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: here\r\n\r\n".encode()


async def read(answer: Answer) -> bytes:
    try:
        return b"".join([piece async for piece in answer.pieces()])
    finally:
        answer.close()


# --- ordinary answers


@pytest.mark.parametrize(
    "raw",
    [
        GOOD,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\ntrailer: late\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n" + GOOD,
    ],
    ids=["length", "chunked", "interim answers"],
)
@pytest.mark.parametrize("by", [1, 7, 1000])
async def test_an_answer_is_read_however_its_bytes_come(raw: bytes, by: int) -> None:
    pieces = [raw[start : start + by] for start in range(0, len(raw), by)]
    async with asking(sending(*pieces)) as connections:
        for whole in (0, 5):
            answer = await connections.ask(request(), whole=whole)
            assert (answer.status, await read(answer), answer.complete) == (200, b"hello", True)
            assert b"trailer" not in answer.headers
            assert b"link" not in answer.headers


async def test_a_body_that_ends_with_the_connection_is_read_to_its_end() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhel")
        await writer.drain()
        writer.write(b"lo")

    async with asking(handle) as connections:
        answer = await connections.ask(request())
        assert (answer.length, await read(answer)) == (None, b"hello")


@pytest.mark.parametrize("status", ["200 OK", "304 Not Modified", "404 Not Found"])
async def test_an_answer_to_head_has_no_body_whatever_its_length_says(status: str) -> None:
    async with asking(sending(f"HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\n".encode())) as connections:
        answer = await connections.ask(request(method="HEAD"), bodiless=True)
        assert (answer.complete, answer.length, answer.whole) == (True, 5, b"")


async def test_values_of_a_repeated_field_are_joined() -> None:
    raw = b"HTTP/1.1 200 OK\r\nCache-Control: a\r\ncache-control: b\r\ncontent-length: 0\r\n\r\n"
    async with asking(sending(raw)) as connections:
        assert (await connections.ask(request())).headers[b"cache-control"] == b"a, b"


async def test_a_connection_is_kept_and_rests_before_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await sending(GOOD)(reader, writer)

    monkeypatch.setattr(http, "REST", 0.05)
    async with asking(handle) as connections:
        for _ in range(3):
            await connections.ask(request(), whole=5)
        assert opened == 3, "none has rested"
        await asyncio.sleep(0.1)
        for _ in range(3):
            await connections.ask(request(), whole=5)
        assert opened == 3
        await connections.ask(request(), whole=5, fresh=True)
        assert opened == 4
    async with asking(handle, most=1) as connections:
        await connections.ask(request(), whole=5)
        await connections.ask(request(), whole=5)
        assert opened == 5, "there is no room for another one"


# --- bytes that nobody asked for


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("GET", GOOD + GOOD),
        ("GET", GOOD + b"x"),
        ("GET", GOOD + b"\x00" * 70_000),
        ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" + GOOD),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + GOOD),
        ("HEAD", GOOD),
        ("HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("GET", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + GOOD),
    ],
)
async def test_an_answer_with_more_behind_it_does_not_count(method: str, raw: bytes) -> None:
    async with asking(sending(raw)) as connections:
        with pytest.raises(Broken):
            await connections.ask(request(method=method), bodiless=method == "HEAD", whole=70_000)


@pytest.mark.parametrize(
    "raw",
    [
        b"no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 50_000,
    ],
    ids=["no HTTP", "two lengths", "length and chunks", "below zero", "odd chunk", "101", "long field", "many fields"],
)
async def test_what_is_no_answer_does_not_count(raw: bytes) -> None:
    async with asking(sending(raw)) as connections:
        with pytest.raises(Broken):
            await connections.ask(request(), whole=200_000)


async def test_bytes_that_come_late_close_the_connection_that_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await sending(GOOD, GOOD.replace(b"hello", b"other"), pause=0.05)(reader, writer)

    monkeypatch.setattr(http, "REST", 0.01)
    async with asking(handle) as connections:
        for number in range(1, 4):
            assert (await connections.ask(request(), whole=5)).whole == b"hello"
            await asyncio.sleep(0.15)
            assert opened == number


async def test_bytes_that_wait_to_be_read_close_the_connection_that_rests() -> None:
    """Those, too, that the event loop has had no time to read."""
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await sending(GOOD)(reader, writer)

    async with asking(handle) as connections:
        await connections.ask(request(), whole=5)
        await asyncio.sleep(http.REST * 2)
        resting = connections._resting[0]
        writers[0].get_extra_info("socket")._sock.send(GOOD.replace(b"hello", b"other"))
        assert (await connections.ask(request(), whole=5)).whole == b"hello"
        assert resting.transport.is_closing()
        assert len(writers) == 2


async def test_an_answer_before_its_question_does_not_count() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GOOD)
        await reader.readuntil(b"\r\n\r\n")

    async with asking(handle) as connections:
        with pytest.raises(Broken, match="before anything was asked"):
            await connections.ask(request(), whole=5)


async def test_among_many_callers_no_one_gets_what_another_asked_for() -> None:
    """A server that answers every third request twice, the second time with another object."""
    asked = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            path = re.match(rb"GET (\S+) ", await reader.readuntil(b"\r\n\r\n"))
            assert path is not None
            asked += 1
            for body in (path[1], b"/secret") if asked % 3 == 0 else (path[1],):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()

    got = 0
    async with asking(handle, most=64) as connections:

        async def one(number: int) -> None:
            nonlocal got
            for turn in range(5):
                path = f"/{number}/{turn}"
                with contextlib.suppress(Broken):
                    assert (await connections.ask(request(path), whole=100)).whole == path.encode()
                    got += 1

        await asyncio.gather(*(one(number) for number in range(40)))
    assert got > 100


# --- answers that do not come


async def test_a_body_that_ends_early_is_broken() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GOOD[:-1])

    async with asking(handle) as connections:
        with pytest.raises(Broken, match="closed"):
            await connections.ask(request(), whole=5)
        answer = await connections.ask(request())
        with pytest.raises(Broken, match="closed"):
            await read(answer)


async def test_a_body_that_stalls_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GOOD[:-1])
        await reader.read()

    monkeypatch.setattr(http, "PIECE_WITHIN", 0.05)
    async with asking(handle) as connections:
        answer = await connections.ask(request())
        with pytest.raises(Broken, match="nothing came"):
            await read(answer)
        assert answer.status == 200
        await eventually(lambda: not connections._all, "the connection is closed")


async def test_a_kept_connection_that_the_server_closed_is_stale() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GOOD)
        await reader.readuntil(b"\r\n\r\n")

    async with asking(handle) as connections:
        with pytest.raises(Broken) as first:
            await Connections(Origin("127.0.0.1", 1), 1).ask(request())
        assert not first.value.stale
        await connections.ask(request(), whole=5)
        await asyncio.sleep(http.REST * 2)
        with pytest.raises(Broken) as second:
            await connections.ask(request(), whole=5)
        assert second.value.stale


async def test_who_gives_up_closes_the_connection() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with asking(never) as connections:
        task = asyncio.create_task(connections.ask(request()))
        await eventually(lambda: connections._all, "it is connected")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not connections._all


async def test_who_gives_up_when_the_answer_has_come_ends_nobody_elses_question() -> None:
    """The connection is asked again already when the first caller is cancelled."""
    one, second = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await one.wait()
        writer.write(GOOD)
        await reader.readuntil(b"\r\n\r\n")
        await second.wait()
        writer.write(GOOD.replace(b"hello", b"other"))
        await reader.read()

    async with asking(handle, most=1) as connections:
        first = asyncio.create_task(connections.ask(request(), whole=5))
        await eventually(lambda: connections._all, "it is connected")
        (connection,) = connections._all
        received = connection.data_received

        def then_ask(data: bytes) -> None:
            received(data)
            tasks.append(asyncio.create_task(connections.ask(request(), whole=5)))
            first.cancel()

        tasks: list[asyncio.Task[Answer]] = []
        connection.data_received = then_ask  # type: ignore[method-assign]
        one.set()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        connection.data_received = received  # type: ignore[method-assign]
        await asyncio.sleep(0.02)
        second.set()
        assert (await tasks[0]).whole == b"other"


async def test_an_answer_that_is_read_late_does_not_hurry_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the first has come, so the connection belongs to the second, which nobody reads yet."""
    monkeypatch.setattr(http, "REST", 0.0)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in (b"hello", bytes(10_000_000)):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await reader.read()

    async with asking(handle, most=1) as connections:
        first = await connections.ask(request())
        await eventually(lambda: first.complete, "all of the first has come")
        second = await connections.ask(request())
        (connection,) = connections._all
        await eventually(lambda: connection._paused, "so much of the second has come that it waits")
        assert await read(first) == b"hello"
        assert connection._paused
        second.close()


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "200 OK"])
async def test_a_connection_that_is_to_close_is_not_asked_again(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    """Also after an answer without a body (RFC 9112 §9.6)."""
    monkeypatch.setattr(http, "REST", 0.0)
    asked: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(asked)
        while await reader.readuntil(b"\r\n\r\n"):
            asked.append(number)
            length = "content-length: 0\r\n" if status == "200 OK" else ""
            writer.write(f"HTTP/1.1 {status}\r\nconnection: close\r\n{length}\r\n".encode())

    async with asking(handle) as connections:
        for _ in range(2):
            await connections.ask(request())
    assert asked == [0, 1], "each on a connection of its own, although the server would go on"


async def test_a_large_body_is_read_no_faster_than_its_reader_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    sent, size = 0, 50_000_000

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode())
        while sent < size:
            writer.write(bytes(100_000))
            await writer.drain()
            sent += 100_000

    async with asking(handle) as connections:
        answer = await connections.ask(request())
        before = -1
        while before != sent:  # until it stands still
            before = sent
            await asyncio.sleep(0.3)
        assert sent < size / 2
        assert answer._held < 2_000_000
        assert len(await read(answer)) == size


async def test_closing_ends_what_is_under_way() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with asking(never) as connections:
        task = asyncio.create_task(connections.ask(request()))
        await eventually(lambda: connections._all, "it is connected")
        await asyncio.sleep(http.REST)
        connections.close()
        with pytest.raises(Broken):
            await task


async def test_an_answer_that_has_come_leaves_nothing_for_the_garbage_collector() -> None:
    async with asking(sending(GOOD)) as connections:
        answer = await connections.ask(request(), whole=5)
        assert answer._parser is None
