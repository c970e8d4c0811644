"""HTTP/1.1 for the gateway: uvicorn's protocol, made strict, with a short way for answers that need no waiting.

What is added to uvicorn (docs/decisions/0003-http-server.md says why), over plain TCP and over TLS alike:
- the raw request target is judged: another host in absolute form, a fragment, or a missing or second Host is 400;
- header sections are bounded in size (431) and time, idle and stalled connections are closed;
- a GET or HEAD that the door and the store can answer at once is written out without a task of its own (the short
  way); another one gets a task, without the rest of what uvicorn does for it (the middle way).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, cast
from weakref import WeakSet

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ..core import replies
from ..core.errors import StoreUnavailable
from ..core.messages import Pairs, Reply, Request, collect
from ..store.folder import from_disk, in_memory
from .app import Begun, Gateway
from .asgi import CONNECTION, Connection, Message
from .objects import Answer, Fields, of_reply

HEADER_WITHIN = 10.0
"""Seconds from the first byte of a header section to its end."""
IDLE_AFTER = 75.0
"""Seconds that a connection without a request stays open."""
STALLED_AFTER = 60.0
"""Seconds without a byte taken after which a client that does not read is let go."""
SWEEP_EVERY = 1.0
COPIED = 16_384
"""Bodies up to this size are copied behind their head and leave as one piece."""
FILE_PIECE = 1_048_576
SMALL_PIECE = 65_536
"""Bytes of a file that are copied at a time: all of it over TLS, else what the kernel would not take."""
MAX_PIPELINED = 32
"""Requests of one connection that may wait behind the one that is being answered; the rest waits unread."""
MAX_DISCARDED = 4_194_304
LINGER = 1.0
"""Bytes and seconds that are still taken, and thrown away, from a client that was refused."""
TAIL_WITHIN = 10.0
"""Seconds after an answer in which a client of a server that stops may still take the end of it."""
SLICE = 4096
"""Bytes that are parsed at a time where more have come."""
MAX_DRAINED_BODY = 65_536
"""A request body longer than this is not read to its end; the connection ends with the answer."""

_log = logging.getLogger("stagedoor")


class StrictProtocol(HttpToolsProtocol):
    """One connection; see `protocol_of`.

    Args:
        gateway: returns the gateway that answers now; a reload puts another one in its place.
        uvicorns: what uvicorn passes to a protocol.
    """

    _defaults: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")

    def __init__(self, gateway: Callable[[], Gateway], **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._gateway = gateway

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._in_head = self._short = self._body_open = self._first_feed = self._leaving = False
        self._last = self._ends = self._refused = False
        self._head_bytes = self._fed_bytes = 0
        self._backlog = bytearray()
        self._since = self.loop.time()
        self._stalled_since: float | None = None
        self._on_gone: Callable[[], object] | None = None
        self._waiting = 0
        self._encrypted = self.scheme == "https"
        if self._encrypted:
            transport.set_write_buffer_limits(SMALL_PIECE)
        _sweep(self.loop, self)

    # --- reading

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._fed_bytes += len(data)
            if self._fed_bytes > MAX_DISCARDED:
                self.transport.abort()
        elif self._backlog or len(data) > SLICE:
            self._backlog += data
            self._feed_backlog()
        else:
            self._feed(data)

    def _feed_backlog(self) -> None:
        """Parse what has come, but not more requests than may wait; the client waits for the rest."""
        while (
            self._backlog and len(self.pipeline) < MAX_PIPELINED and not (self._refused or self.transport.is_closing())
        ):
            data = bytes(self._backlog[:SLICE])
            del self._backlog[:SLICE]
            self._feed(data)
        if self._backlog:
            self.flow.pause_reading()

    def _feed(self, data: bytes) -> None:
        self._first_feed = False
        super().data_received(data)
        if self._in_head and not self._first_feed and self.parser is not None:
            self._fed_bytes += len(data)  # a line without an end is in no callback yet
            if self._fed_bytes > replies.MAX_HEADER_BYTES:
                self._refuse(self._too_large())

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._in_head, self._short, self._body_open, self._first_feed = True, False, True, True
        self._head_bytes = self._fed_bytes = 0
        self._since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # a trailer: nothing that comes after the body says who asks or for what
            self._fed_bytes += len(name) + len(value) + 4
            if self._fed_bytes > replies.MAX_HEADER_BYTES:
                self.transport.abort()
            return
        self._head_bytes += len(name) + len(value) + 4
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._fed_bytes = 0
        if self.transport.is_closing() or self._last:
            self._short = True  # nothing after a last request is read
            return
        refusal = self._misread()
        if refusal is not None:
            self._refuse(refusal)
            return
        gateway = self._gateway()
        begun = self._try_short_way(gateway)
        if begun is not None:
            self._take_middle_way(gateway, begun)
        elif not self._short:
            self._take_long_way()

    def on_body(self, body: bytes) -> None:
        if not self._short:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_open = False
        if not self._short:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self._on_gone = None
        self._since = self.loop.time()
        if self.pipeline or not isinstance(self.cycle, _Cycle):
            super().on_response_complete()
        else:  # without uvicorn's timer for an idle connection, because `check_time` sees to that
            self.server_state.total_requests += 1
            self.flow.resume_reading()
        if self._backlog:
            self.flow.pause_reading()
            self.loop.call_soon(self._feed_backlog)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's name and words
        self._refuse(replies.problem(400, "request", "this is not an HTTP/1.1 request that can be understood"))

    def _unsupported_upgrade_warning(self) -> None:
        """No upgrade is offered; the request is answered as if none had been asked for (RFC 9110 §7.8)."""

    def _misread(self) -> Reply | None:
        """A refusal if two readers could take this head for different requests (RFC 9112 §3.2)."""
        if self._head_bytes > replies.MAX_HEADER_BYTES:
            return self._too_large()
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            return replies.problem(505, "version", "this server speaks HTTP/1.1 and HTTP/1.0 here")
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            return replies.problem(400, "host", "send exactly one Host header")
        if b"#" in self.url:
            return replies.problem(400, "target", "the request target holds a fragment")
        if not self.url.startswith(b"/"):
            scheme, _, rest = self.url.partition(b"://")
            authority, slash, path = rest.partition(b"/")
            if self.url == b"*" and self.parser.get_method() == b"OPTIONS":
                self.url = b"/"
            elif scheme.lower() in (b"http", b"https") and authority.lower() == self._own_authority():
                self.url = (slash or b"/") + path
            else:
                return replies.problem(400, "target", "the request target is for another host, or no path")
        if not self.url.isascii():
            return replies.problem(400, "target", "the request target holds a character that must be percent-encoded")
        if self.parser.should_upgrade() and self._has_body():  # the parser would read it as the next request
            return replies.problem(400, "upgrade", "a request to upgrade has no body")
        return None

    def _too_large(self) -> Reply:
        """Refuse a head that is too large, by its first line if that alone is, or has not come to its end."""
        is_target = len(self.url) > replies.MAX_TARGET_BYTES or not (self.url or self.headers)
        return replies.target_too_long() if is_target else replies.headers_too_large()

    def _has_body(self) -> bool:
        return any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    def _own_authority(self) -> bytes:
        return self._gateway().settings.url.partition("://")[2].encode()

    def _long_body(self) -> bool:
        for name, value in self.headers:
            if name == b"transfer-encoding" or (name == b"content-length" and int(value) > MAX_DRAINED_BODY):
                return True
        return False

    # --- the short way

    def _try_short_way(self, gateway: Gateway) -> Begun | None:
        """Answer at once if that can be done without waiting; else return what has been begun."""
        method = self.parser.get_method()
        busy = self._leaving or (self.cycle is not None and not self.cycle.response_complete)
        if method not in (b"GET", b"HEAD") or busy or self.flow.write_paused or self.parser.should_upgrade():
            return None
        headers = collect(self.headers)
        if b"content-length" in headers or b"transfer-encoding" in headers:
            return None
        path, _, query = self.url.partition(b"?")
        request = Request(method.decode("ascii"), path, query, headers, b"", self.client[0] if self.client else "")
        answer = gateway.answer_now(request)
        if not isinstance(answer, Answer):
            return answer
        self._short = True
        self.server_state.total_requests += 1
        self._write(answer, method == b"HEAD", self._keeps_alive())
        return None

    def _keeps_alive(self) -> bool:
        """HTTP/1.0 connections end with the answer: their clients wait for that, or for a field that 1.1 has not."""
        return self.parser.get_http_version() != "1.0" and bool(self.parser.should_keep_alive())

    # --- the middle way

    def _take_middle_way(self, gateway: Gateway, begun: Begun) -> None:
        """Go on in a task, because something has to be waited for."""
        self._short = True
        cycle = self.cycle = _Cycle(self._keeps_alive())  # type: ignore[assignment]  # in its place
        self._last = not cycle.keep_alive
        task = self.loop.create_task(gateway.finish(begun, partial(self._send_message, cycle), self._connection(cycle)))
        self.tasks.add(task)
        task.add_done_callback(partial(self._finished, cycle))

    async def _send_message(self, cycle: _Cycle, message: Message) -> None:
        """What ASGI calls `send`."""
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return
        if message["type"] == "http.response.start":
            cycle.head = self._head(message["status"], message["headers"], cycle.keep_alive)
            return
        self._write_body(cycle, message["body"])
        if not message.get("more_body"):
            cycle.response_complete = True
            if not cycle.keep_alive:
                self.transport.close()
            self.on_response_complete()

    def _write_body(self, cycle: _Cycle, body: bytes) -> None:
        head, cycle.head = cycle.head, b""
        if head and len(body) >= COPIED:
            self.transport.writelines((head, body))
        elif head or body:
            self.transport.write(head + body)

    def _finished(self, cycle: _Cycle, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("a fault of ours; the connection was broken off", exc_info=error)
        if not cycle.response_complete:
            self._break_off(cycle)

    # --- the long way

    def _take_long_way(self) -> None:
        """Let uvicorn run the application in a task."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers += headers  # the scope holds this very list
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in headers
        )
        super().on_headers_complete()
        # By the time that this request's cycle sends, `self.cycle` may be a later one's.
        self.scope[CONNECTION] = self._connection(self.cycle)  # type: ignore[literal-required]  # a key of our own
        if self._long_body() or self.expect_100_continue or self.parser.should_upgrade():
            self.cycle.keep_alive = False  # where the next request would start is not sure
        self._last = not self.cycle.keep_alive

    def _connection(self, cycle: RequestResponseCycle | _Cycle) -> Connection:
        return Connection(partial(self._send_file, cycle), self._when_gone, partial(self._break_off, cycle))

    def _write(self, answer: Answer, bodiless: bool, keep_alive: bool) -> None:
        head = self._head(answer.status, answer.headers, keep_alive)
        body = b"" if bodiless else answer.body
        if not _outbox:
            self.loop.call_soon(_send_all)
        _outbox.append((self, head + body if len(body) < COPIED else head, b"" if len(body) < COPIED else body))
        self._leaving = True
        self._last = self._ends = not keep_alive
        self._since = self.loop.time()

    def _head(self, status: int, headers: Pairs, keep_alive: bool) -> bytes:
        fields = headers if isinstance(headers, Fields) else Fields(headers)
        end = b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
        return b"".join((STATUS_LINE[status], self._default_fields(), fields.wire, end))

    def _send(self, head: bytes, body: bytes) -> None:
        self._leaving = False
        if self.transport.is_closing():
            return
        if body:
            self.transport.writelines((head, body))
        else:
            self.transport.write(head)
        if self._refused and self._encrypted:
            self._let_go()  # uvloop reads on while it waits for the other end to close, too
        elif self._refused:
            # Closed while the client still writes, the connection would be reset and the answer lost on its way.
            self.transport.write_eof()
            self.loop.call_later(LINGER, self.transport.close)
        elif self._ends:
            self.transport.close()

    def _default_fields(self) -> bytes:
        """uvicorn's own header fields (Date), written out once for each second."""
        given, wire = StrictProtocol._defaults
        if given is not self.server_state.default_headers:
            given = self.server_state.default_headers
            wire = Fields(given).wire
            StrictProtocol._defaults = given, wire
        return wire

    def _refuse(self, refusal: Reply) -> None:
        """Answer what is not worth a request, and end the connection."""
        if self.transport.is_closing():
            return
        self._in_head, self._short, self._refused = False, True, True
        if self._leaving or (self.cycle is not None and not self.cycle.response_complete):
            self.transport.abort()  # an answer is under way; nothing may be written into it
            return
        answer = of_reply(refusal)
        self._gateway().note_refused(answer, self.client[0] if self.client else "")
        self._write(answer, False, False)

    # --- writing and time

    def _when_gone(self, callback: Callable[[], object]) -> None:
        """Call this if the client goes away before the answer to the request that is worked on is complete."""
        self._on_gone = callback

    def _break_off(self, cycle: RequestResponseCycle | _Cycle) -> None:
        """Let the client see that the answer is not complete."""
        cycle.disconnected = True
        self._on_gone = None
        self.transport.close()

    async def _send_file(self, cycle: RequestResponseCycle | _Cycle, descriptor: int, start: int, stop: int) -> int:
        """Send a part of a file: the kernel takes it from the page cache (sendfile(2)) whenever nothing else waits.

        Over TLS every byte goes through the transport, because what is written to its socket directly is plain text.

        Raises:
            StoreUnavailable: the file became shorter; what was announced cannot be sent any more.
        """
        if isinstance(cycle, _Cycle):
            self._write_body(cycle, b"")
        position = read = start
        send_piece = self._copy_piece
        if not self._encrypted:
            send_piece = self._hand_over_piece
            self.transport.set_write_buffer_limits(high=0)  # from here on, "paused" means that something waits to leave
        while position < stop and not cycle.disconnected and not self.transport.is_closing():
            if self.flow.write_paused:
                await self.flow.drain()
            elif not self._encrypted and self.transport.get_write_buffer_size():
                await asyncio.sleep(0.01)
            else:
                size = min(stop - position, FILE_PIECE)
                if position >= read and not in_memory(descriptor, position + size):
                    await from_disk(descriptor, size, position)
                    read = position + size
                    continue
                sent = send_piece(descriptor, position, size)
                if sent == 0 and not self.transport.is_closing():
                    raise StoreUnavailable("the file became shorter while it was sent")
                position += sent
                if isinstance(cycle, RequestResponseCycle):
                    cycle.expected_content_length -= sent
                await asyncio.sleep(0)  # a client that reads as fast as we send must not be the only one
        if position < stop:  # the client has gone; uvicorn hears of it only in the next turn of the event loop
            cycle.disconnected = True
        return position - start

    def _hand_over_piece(self, descriptor: int, position: int, size: int) -> int:
        try:
            return os.sendfile(self.transport.get_extra_info("socket").fileno(), descriptor, position, size)
        except BlockingIOError:
            # The socket is full. uvloop waits for it as soon as it has something to write.
            return self._copy_piece(descriptor, position, size)
        except OSError:
            self.transport.abort()
            return 0

    def _copy_piece(self, descriptor: int, position: int, size: int) -> int:
        piece = os.pread(descriptor, min(size, SMALL_PIECE), position)
        self.transport.write(piece)
        return len(piece)

    def check_time(self, now: float) -> None:
        """Close this connection if it has had its time; called once a second."""
        waiting, closing = self.transport.get_write_buffer_size(), self.transport.is_closing()
        if not waiting and not closing:
            self._stalled_since = None
        elif self._stalled_since is None or waiting != self._waiting:  # slow, but reading
            self._stalled_since = now
        elif now - self._stalled_since > STALLED_AFTER:
            self.transport.abort()
        self._waiting = waiting
        if waiting or closing:
            return
        if self.cycle is None or self.cycle.response_complete:
            limit = HEADER_WITHIN if self._in_head or self._body_open else IDLE_AFTER
            if now - self._since > limit:
                self._let_go()

    def _let_go(self, within: float = LINGER) -> None:
        """Close a connection that has nothing under way; over TLS the client has this long to close it, too."""
        self.transport.close()
        self.loop.call_later(within, self.transport.abort)

    def shutdown(self) -> None:
        """The server stops: an idle connection is closed now, any other after its answer."""
        super().shutdown()
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self._let_go(max(LINGER, self._since + TAIL_WITHIN - self.loop.time()))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for cycle, _ in self.pipeline:  # requests that nobody will answer any more
            cycle.on_response = None  # type: ignore[assignment]  # it leads back here
            cycle.scope.pop(CONNECTION, None)  # type: ignore[misc]  # a key of our own
        self.pipeline.clear()
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone()


class _Cycle:
    """What uvicorn wants to know of a request that takes the middle way; `head` has not left yet."""

    __slots__ = ("disconnected", "head", "keep_alive", "response_complete")
    message_event = asyncio.Event()
    """Nobody waits for it."""

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive, self.head = keep_alive, b""
        self.disconnected = self.response_complete = False


def protocol_of(gateway: Callable[[], Gateway]) -> type[asyncio.Protocol]:
    """What uvicorn makes its connections with: the protocol, with the gateway that it asks.

    Args:
        gateway: see `StrictProtocol`.
    """
    return cast("type[asyncio.Protocol]", partial(StrictProtocol, gateway))  # uvicorn does nothing but call it


_swept: WeakSet[asyncio.AbstractEventLoop] = WeakSet()


def _sweep(loop: asyncio.AbstractEventLoop, connection: StrictProtocol) -> None:
    """Look at all connections once a second; that is cheaper than a timer for each request."""
    if loop in _swept:
        return
    _swept.add(loop)
    connections: set[Any] = connection.connections

    def sweep() -> None:
        loop.call_later(SWEEP_EVERY, sweep)
        now = loop.time()
        for one in tuple(connections):
            one.check_time(now)

    loop.call_later(SWEEP_EVERY, sweep)


_outbox: list[tuple[StrictProtocol, bytes, bytes]] = []
"""Short answers of this turn of the event loop. They leave together at its end: each write wakes up the program at
the other end, and waking one that is awake already costs little."""


def _send_all() -> None:
    leaving = tuple(_outbox)
    _outbox.clear()
    for connection, head, body in leaving:
        connection._send(head, body)
