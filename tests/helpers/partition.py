"""A wire between one gateway and its state that a test can cut, slow down and mend."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Literal, TypeAlias

from tests.helpers.servers import HOST, free_port

Way: TypeAlias = Literal["lost", "held", "refused", "slow"]
"""How bytes fare: thrown away; kept until the wire is mended, as a network that sends again does; each connection
ended, and no new one taken; all of them `SLOW` seconds late."""
WAYS: tuple[Way, ...] = ("lost", "held", "refused", "slow")
SLOW = 0.1
"""Seconds that each piece takes, in each direction."""


class Partition:
    """A TCP proxy in a thread of its own. It forwards until it is told otherwise.

    Args:
        target: port of 127.0.0.1 that connections are led to.
    """

    def __init__(self, target: int) -> None:
        self._target, self.port = target, free_port()
        self._way: Way | None = None
        self._mended = asyncio.Event()
        self._ends = set[asyncio.StreamWriter]()
        self._lost = set[asyncio.StreamWriter]()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def cut(self, way: Way) -> None:
        """Treat all bytes in this way from now on, also if it was another one before."""
        self._do(self._cut(way))

    def heal(self) -> None:
        """Forward again. A connection of which bytes were thrown away ends, because it cannot go on."""
        self._do(self._heal())

    async def _cut(self, way: Way) -> None:
        if way == "slow":
            await self._heal()
        else:
            self._mended.clear()
        self._way = way
        if way == "refused":
            await self._refuse()
        else:
            await self._listen()

    async def _heal(self) -> None:
        self._way = None
        self._mended.set()
        for end in self._lost:
            end.close()
        self._lost.clear()
        await self._listen()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connect, HOST, self.port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in self._ends:
            end.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):  # cancelled at the end alone
            there = await asyncio.open_connection(HOST, self._target)
            ends = {writer, there[1]}
            self._ends |= ends
            try:
                await asyncio.gather(self._pass_on(reader, there[1]), self._pass_on(there[0], writer))
            finally:
                self._ends -= ends
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if self._way == "lost":
                    self._lost.add(writer)
                    continue
                if self._way == "held":
                    await self._mended.wait()
                elif self._way == "slow":
                    await asyncio.sleep(SLOW)
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _end(self) -> None:
        await self._refuse()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[Partition]:
        """Forward until the block ends."""
        self._thread.start()
        try:
            self.heal()
            yield self
        finally:
            self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
