"""A store that is far away: hands connections on, and what is answered some milliseconds after it came.

`python delay.py PORT PORT_OF_THE_STORE MILLISECONDS`. The time is the same for all bytes, so one queue holds them in
the order in which they are due, whatever the number of connections. Opening a connection takes no longer than without.
Nothing slows the store down: what it sends meanwhile is held in memory.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import cast

import uvloop


class Later:
    """Writes bytes when they are due; None ends the connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop, self._seconds = loop, seconds
        self._due: deque[tuple[float, asyncio.Transport, bytes | None]] = deque()

    def write(self, transport: asyncio.Transport, data: bytes | None) -> None:
        self._due.append((self._loop.time() + self._seconds, transport, data))
        if len(self._due) == 1:
            self._loop.call_later(self._seconds, self._write_due)

    def _write_due(self) -> None:
        now = self._loop.time()
        while self._due and self._due[0][0] <= now:
            _, transport, data = self._due.popleft()
            if data is None:
                transport.close()
            elif not transport.is_closing():
                transport.write(data)
        if self._due:
            self._loop.call_at(self._due[0][0], self._write_due)


class Side(asyncio.Protocol):
    """One side of a connection; what it gets goes to the other one."""

    def __init__(self, later: Later | None) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self._later = later
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.other is not None:
            self.other.flush()

    def data_received(self, data: bytes) -> None:
        self._early.append(data)
        self.flush()

    def flush(self) -> None:
        """Hand on what has come, if the other side is connected."""
        if self.other is None or self.other.transport is None:
            return
        for data in self._early:
            if self._later is None:
                self.other.transport.write(data)
            else:
                self._later.write(self.other.transport, data)
        self._early.clear()

    def connection_lost(self, _: Exception | None) -> None:
        if self.other is None or self.other.transport is None:
            return
        if self._later is None:
            self.other.transport.close()
        else:
            self._later.write(self.other.transport, None)


async def serve(port: int, store: int, seconds: float) -> asyncio.Server:
    """Listen on `port`, and connect to `store` for each connection."""
    loop = asyncio.get_running_loop()
    later = Later(loop, seconds)
    connecting: set[asyncio.Task[object]] = set()

    def accept() -> Side:
        client, origin = Side(None), Side(later)
        client.other, origin.other = origin, client
        task: asyncio.Task[object] = loop.create_task(loop.create_connection(lambda: origin, "127.0.0.1", store))
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        return client

    return await loop.create_server(accept, "127.0.0.1", port, backlog=1024)


async def main() -> None:
    port, store, milliseconds = (int(argument) for argument in sys.argv[1:])
    await (await serve(port, store, milliseconds / 1000)).serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
