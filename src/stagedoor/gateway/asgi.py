"""ASGI messages: a request's body is read from them, and an answer is sent as them, whatever server is under us.

Under our own protocol an answer may take a shorter way: `Connection`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, NamedTuple, TypeAlias

from ..core.endpoints.arguments import MAX_BODY_BYTES
from ..core.errors import InvalidRequest
from ..store.port import Opened
from .objects import Answer

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

PIECE_WITHIN = 300.0
"""Seconds that one piece of a body may take to leave, under whatever server; `protocol` is stricter."""
TURN_AFTER = 1_048_576
"""Bytes of one answer after which others have a turn."""
BODY_WITHIN = 10.0
"""Seconds that the body of a request may take."""
CONNECTION = "stagedoor.connection"
"""ASGI scope key: a `Connection`, where the server is our own."""
SendFile: TypeAlias = Callable[[int, int, int], Awaitable[int]]
"""Sends a part of a file, of descriptor, start and stop, and returns the bytes that it sent."""


class Connection(NamedTuple):
    """What our own protocol can do for a request beyond ASGI.

    Attributes:
        send_file: sends a part of a file.
        when_gone: calls a function when the client goes away.
        break_off: closes the connection, so that the client sees that the answer is not complete.
    """

    send_file: SendFile | None = None
    when_gone: Callable[[Callable[[], object]], None] | None = None
    break_off: Callable[[], None] | None = None


def raw_path(scope: Scope) -> bytes:
    """The path exactly as it was sent, below the place where the application is mounted.

    A server that tells only the decoded path has lost what the policy must see; such a request names no key.
    """
    raw: bytes = scope.get("raw_path") or b""
    mounted = scope.get("root_path", "").rstrip("/").encode()
    if mounted:
        raw = raw[len(mounted) :] if raw.startswith(mounted + b"/") else b""
    return raw.partition(b"?")[0]


async def nothing_more() -> Message:
    """ASGI's `receive` of a request whose body is of no interest."""
    return {"type": "http.disconnect"}


class Sent:
    """How much of an answer has left."""

    size = 0
    """Bytes of body."""
    whole = False


@contextlib.contextmanager
def ended_with(connection: Connection) -> Iterator[None]:
    """End the work on a request when its client goes away."""
    task = asyncio.current_task()
    if connection.when_gone is None or task is None:
        yield
        return
    gone: list[bool] = []

    def end() -> None:
        gone.append(True)
        task.cancel()

    connection.when_gone(end)
    try:
        yield
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()


async def send_answer(
    answer: Answer, receive: Receive, send: Send, connection: Connection, bodiless: bool, sent: Sent
) -> None:
    """Send the answer. An error here breaks the connection off."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    if answer.opened is None:
        body = b"" if bodiless else answer.body
        await send({"type": "http.response.body", "body": body})
        sent.size, sent.whole = len(body), True
        return
    opened = answer.opened
    if connection.send_file is not None and opened.descriptor is not None:
        sent.size = await connection.send_file(opened.descriptor, opened.start, opened.stop)
    elif connection.when_gone is not None:  # our own protocol sees to clients who stall or go
        turn_at = TURN_AFTER
        async for chunk in opened.chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            sent.size += len(chunk)
            if sent.size >= turn_at:  # neither a store nor a client that is always ready must be the only one
                turn_at = sent.size + TURN_AFTER
                await asyncio.sleep(0)
    else:
        # To a client that has gone servers take every piece at once: nobody else would have a turn until the last one.
        gone = asyncio.create_task(_hung_up(receive))
        try:
            await _send_pieces(opened, send, sent, gone.done)
        finally:
            gone.cancel()
    sent.whole = sent.size == opened.stop - opened.start
    if sent.whole or connection.break_off is None:
        await send({"type": "http.response.body", "body": b""})
    else:
        connection.break_off()


async def _send_pieces(opened: Opened, send: Send, sent: Sent, is_gone: Callable[[], bool]) -> None:
    async for chunk in opened.chunks():
        async with asyncio.timeout(PIECE_WITHIN):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        sent.size += len(chunk)
        await asyncio.sleep(0)
        if is_gone():
            return


async def read_body(receive: Receive) -> bytes | None:
    """The body of a request to an endpoint of ours; None if it is longer than any of them takes.

    Raises:
        InvalidRequest: it did not come in time, or not whole.
    """
    body: bytes = b""
    try:
        async with asyncio.timeout(BODY_WITHIN):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise InvalidRequest("the body broke off", code="body")
                body += message.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    return None
                if not message.get("more_body", False):
                    return body
    except TimeoutError:
        raise InvalidRequest(f"the body did not come within {BODY_WITHIN:g} s", code="body") from None


async def _hung_up(receive: Receive) -> None:
    """Return when the client has closed the connection; what it sends meanwhile is nobody's business."""
    while (await receive())["type"] != "http.disconnect":
        pass
