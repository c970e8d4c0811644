"""HTTP/1.1 as a client, of one server: few copies, bounded in bytes, and no answer is taken for another's.

HTTP/1.1 answers have no numbers: what comes first on a connection answers what was asked first. So a connection is
closed, and never asked again, when
- bytes come that nobody asked for: behind an answer, on a connection that rests, or before the question is sent;
- an answer is longer or shorter than it says, or cannot be read to its end;
- whoever asked stops reading.

A connection rests for `REST` before it is asked again, so that late bytes show. An unasked answer that comes even
later, when the next question has been sent, cannot be told apart by any client.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httptools

from .proxies import open_tunnel

MAX_HEAD = 65_536
"""Bytes of an answer's status line and header fields."""
CONNECT_WITHIN = 3.0
"""Seconds for a new connection, TLS included."""
PIECE_WITHIN = 5.0
"""Seconds between two pieces of a body."""
REST = 0.01
"""Seconds that a connection is left alone after an answer, or after it was opened, if another one can be had."""
KEPT_FOR = 60.0
"""Seconds after which a connection that was not used is not used any more."""
HIGH_WATER = 262_144
"""Bytes of a body that wait for their reader; the server waits meanwhile."""


class Broken(Exception):
    """There is no answer, or it broke off.

    Attributes:
        stale: the connection had been kept, and ended before a byte of the answer: asking again at once makes sense.
    """

    def __init__(self, why: str, *, stale: bool = False) -> None:
        super().__init__(why)
        self.stale = stale


class Origin(NamedTuple):
    """The server that is asked.

    Attributes:
        host, port: where it listens.
        tls: how its certificate is checked; None is plain HTTP.
        proxy: URL of the HTTP proxy that is between; only with `tls`.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    proxy: str | None = None


class Answer:
    """The answer to one question. Its bytes are in `whole`, or come from `pieces`; it is closed, read or not.

    Attributes:
        status: three digits.
        headers: names in lower case; values of repeated fields are joined with ", ".
        length: bytes of the body, as announced; None: not announced.
        complete: all of it has come.
    """

    __slots__ = (
        *("_asked_for_body", "_connection", "_error", "_head_bytes", "_head_done", "_held", "_interim", "_left"),
        *("_parser", "_parts", "_ended_twice", "_waiter", "_whole", "complete", "headers", "length", "status"),
        *("_beginning", "_keep"),
    )

    def __init__(self, connection: _Connection, asked_for_body: bool, whole: int) -> None:
        self._connection, self._asked_for_body, self._whole = connection, asked_for_body, whole
        self.status, self.complete = 0, False
        self.length: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self._parts: deque[bytes] = deque()
        self._held = self._head_bytes = 0
        self._left: int | None = None  # bytes of body that are still to come, where they need no parser
        self._head_done = self._interim = self._ended_twice = self._keep = False
        self._waiter: asyncio.Future[None] | None = None
        self._error: Broken | None = None
        self._beginning: bytes | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    # --- for the caller

    @property
    def whole(self) -> bytes | None:
        """The whole body, if it has come and was not read yet."""
        if not self.complete:
            return None
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            Broken: it ended early or stalls.
        """
        while True:
            while self._parts:
                piece = self._parts.popleft()
                self._held -= len(piece)
                if self._held < HIGH_WATER and not self.complete:  # afterwards the connection is another answer's
                    self._connection.go_on()
                yield piece
            if self._error is not None:
                raise self._error
            if self.complete:
                return
            try:
                async with asyncio.timeout(PIECE_WITHIN):
                    await self.came()
            except TimeoutError:
                raise Broken(f"nothing came for {PIECE_WITHIN:g} s") from None

    async def read(self, limit: int) -> bytes:
        """The body, cut off after `limit` bytes."""
        body = b""
        async for piece in self.pieces():
            body += piece
            if len(body) >= limit:
                break
        return body[:limit]

    async def beginning(self, limit: int) -> bytes:
        """As much of the body as comes, up to `limit` bytes, and nothing more of it; asked again, the same."""
        if self._beginning is None:
            try:
                self._beginning = await self.read(limit)
            except Broken:
                self._beginning = b""
            self.close()
        return self._beginning

    def close(self) -> None:
        """Let go of the connection. It is kept if all of the answer has come."""
        self._connection.give_up(self)

    # --- for the connection

    async def came(self) -> None:
        """Wait until there is more."""
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def feed(self, data: bytes) -> str:
        """Take bytes; returns what is wrong with them."""
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                return "the answer is longer than it says"
            self._add(data)
            self.complete = self._left == 0
            return ""
        assert self._parser is not None, "an answer that is complete is fed no more"
        in_head = not self._head_done
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            return "bytes came that nobody asked for" if self.complete else f"this is no answer of HTTP/1.1: {error}"
        if self._ended_twice:
            return "bytes came that nobody asked for"
        if in_head:
            self._head_bytes += len(data) - self._held
            if self._head_bytes > MAX_HEAD:
                return f"the header is longer than {MAX_HEAD} bytes"
        if self.length is not None and not self.complete:
            self._left = self.length - self._held
        return ""

    def wake(self, error: Broken | None = None) -> None:
        """Wake up whoever waits, if there is something for them."""
        self._error = error or self._error
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._error is not None or self.complete or (self._head_done and not self._comes_whole()):
            waiter.set_result(None)

    def let_go(self) -> None:
        """Forget the parser, which leads back here: what has come must not wait for the garbage collector."""
        self._parser = None

    @property
    def begun(self) -> bool:
        """True: some of the answer has come."""
        return self._head_bytes > 0 or self._head_done

    @property
    def waits_for_reader(self) -> bool:
        return self._held >= HIGH_WATER

    @property
    def keeps_alive(self) -> bool:
        return self._keep

    @property
    def error(self) -> Broken | None:
        return self._error

    def ended_by_close(self) -> bool:
        """The server closed the connection: is that the end of this answer?"""
        if self._head_done and self.length is None and b"transfer-encoding" not in self.headers:
            self.complete = True
        return self.complete

    def _comes_whole(self) -> bool:
        """Is the body short enough to wait for all of it?"""
        return (self._held if self.length is None else self.length) <= self._whole

    def _add(self, data: bytes) -> None:
        self._parts.append(data)
        self._held += len(data)

    # --- called by the parser

    def on_message_begin(self) -> None:
        if self.complete:
            self._ended_twice = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:  # a trailer says nothing that we need
            return
        name = name.lower()
        self.headers[name] = self.headers[name] + b", " + value if name in self.headers else value

    def on_headers_complete(self) -> None:
        if self.complete or self._parser is None:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:  # an interim answer (RFC 9110 §15.2)
            self._interim = True
            self.headers.clear()
            return
        self._head_done = True
        self._keep = self._parser.should_keep_alive()
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and len(length) < 19:
            self.length = int(length)
        if not self._asked_for_body or self.status in (204, 304):
            self.complete = True

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self._ended_twice = True
        else:
            self._add(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif self._head_done:
            self.complete = True


class _Connection(asyncio.Protocol):
    def __init__(self, pool: Connections) -> None:
        self._pool, self.loop = pool, asyncio.get_running_loop()
        self._answer: Answer | None = None
        self._asked = self._paused = False
        self.since = 0.0
        """When it began to rest."""

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport
        self.since = self.loop.time()
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    @property
    def is_usable(self) -> bool:
        """False: it is closed, or bytes or its end wait to be read, though nothing was asked."""
        return not self.transport.is_closing() and not self._poll.poll(0)

    async def ask(self, request: bytes, bodiless: bool, whole: int) -> Answer:
        """Send a request, and wait for the head of its answer, or for all of it if it is short."""
        reused, self._asked = self._asked, True
        answer = self._answer = Answer(self, not bodiless, whole)
        try:
            self.transport.write(request)
            await answer.came()
        except BaseException:
            self.give_up(answer)
            raise
        if answer.error is not None:
            raise Broken(str(answer.error), stale=reused and not answer.begun)
        return answer

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.end(None)
            return
        wrong = answer.feed(data)
        if wrong:
            answer.complete = False
            self.end(Broken(wrong))
            return
        if answer.complete:
            self._answer = None
            answer.let_go()
            self.go_on()
            if answer.keeps_alive:
                self.since = self.loop.time()
                self._pool.put_back(self)
            else:
                self.end(None)
        elif answer.waits_for_reader and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        answer.wake()

    def go_on(self) -> None:
        """Read on, after the reader has taken what there was."""
        if self._paused:
            self._paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        answer, self._answer = self._answer, None
        self._pool.forget(self)
        if answer is None:
            return
        answer.let_go()
        if error is None and answer.ended_by_close():
            answer.wake()
        else:
            answer.wake(Broken(f"the connection was closed{f': {error}' if error else ''}"))

    def give_up(self, answer: Answer) -> None:
        """Nobody waits for this answer any more. If all of it has come, the connection may be another one's already."""
        if self._answer is answer:
            self.end(Broken("given up"))

    def end(self, why: Broken | None) -> None:
        """Close it at once; whoever waits for an answer gets the reason."""
        answer, self._answer = self._answer, None
        self._pool.forget(self)
        self.transport.abort()
        if answer is not None:
            answer.let_go()
        if answer is not None and why is not None:
            answer.wake(why)


class Connections:
    """Connections to one server, kept for further questions.

    Args:
        origin: the server.
        most: connections at a time; who asks limits the questions to that number.
    """

    def __init__(self, origin: Origin, most: int) -> None:
        self._origin, self._most = origin, most
        self._resting: deque[_Connection] = deque()
        self._all: set[_Connection] = set()
        self._closed = False

    async def ask(self, request: bytes, *, bodiless: bool = False, whole: int = 0, fresh: bool = False) -> Answer:
        """Ask once.

        Args:
            request: all of its bytes.
            bodiless: the answer has no body, because the method is HEAD.
            whole: bodies of up to this many bytes are waited for.
            fresh: ask over a new connection.

        Raises:
            Broken: there is no answer.
        """
        connection = (None if fresh else self._rested()) or await self._open()
        return await connection.ask(request, bodiless, whole)

    def put_back(self, connection: _Connection) -> None:
        """Keep a connection whose answer has come."""
        if self._closed:
            connection.end(None)
        else:
            self._resting.append(connection)

    def forget(self, connection: _Connection) -> None:
        """Keep it no longer."""
        self._all.discard(connection)
        if connection in self._resting:
            self._resting.remove(connection)

    def close(self) -> None:
        """Close all connections; answers under way break off."""
        self._closed = True
        for connection in tuple(self._all):
            connection.end(Broken("it is not served any more"))

    def retire(self) -> None:
        """Ask no more; answers under way still come."""
        self._closed = True
        for connection in tuple(self._resting):
            connection.end(None)

    def _rested(self) -> _Connection | None:
        """The connection that has rested longest, if that is long enough or there is no room for another."""
        now = asyncio.get_running_loop().time()
        while self._resting:
            rested = now - self._resting[0].since
            if rested < REST and len(self._all) < self._most:
                return None
            connection = self._resting.popleft()
            if rested < KEPT_FOR and connection.is_usable:
                return connection
            connection.end(None)
        return None

    async def _open(self) -> _Connection:
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                connection = await self._connected()
        except TimeoutError:
            raise Broken(f"no connection within {CONNECT_WITHIN:g} s") from None
        except OSError as error:  # also those of TLS
            raise Broken(f"{type(error).__name__}: {error}") from error
        self._all.add(connection)
        await asyncio.sleep(REST / 10)  # bytes that come before the question show
        early = self._origin.tls is None and not connection.is_usable  # TLS sends tickets of its own behind a handshake
        if self._closed or early or connection.transport.is_closing():
            connection.end(None)
            raise Broken("bytes came before anything was asked")
        return connection

    async def _connected(self) -> _Connection:
        host, port, tls, proxy = self._origin
        loop = asyncio.get_running_loop()
        name = host if tls else None
        if proxy is None or tls is None:
            _, connection = await loop.create_connection(
                lambda: _Connection(self), host, port, ssl=tls, server_hostname=name
            )
            return connection
        tunnel = await open_tunnel(proxy, host, port)
        connection = _Connection(self)
        try:
            transport = await loop.start_tls(tunnel, connection, tls, server_hostname=name)
        except BaseException:
            tunnel.abort()
            raise
        connection.connection_made(transport)
        return connection
