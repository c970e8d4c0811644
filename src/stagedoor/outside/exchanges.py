"""Fetches for several threads and tasks at once."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import NamedTuple

from ..core.messages import Fetch, Fetched
from .fetch_sync import fetch

GRACE = 1.0
"""Seconds beyond its own that a `Fetch` is waited for. It runs out only in a process that was forked meanwhile."""


class Exchange(NamedTuple):
    """A fetch under way; whatever waits for it may share it."""

    wish: Fetch
    future: Future[Fetched]


class Exchanges:
    """Fetches under way; those for the same URL at the same time share one exchange, whichever thread or loop asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Fetch, Exchange] = {}

    def begin(self, wish: Fetch) -> Exchange:
        """Begin an exchange, or join the one that is under way. Waits for nothing."""
        with self._lock:
            exchange = self._under_way.get(wish)
            if exchange is None:
                exchange = self._under_way[wish] = Exchange(wish, Future())
                exchange.future.set_running_or_notify_cancel()  # a task that is cancelled leaves it to the others
                threading.Thread(target=self._run, args=(exchange,), daemon=True).start()
        return exchange

    def wait(self, exchange: Exchange) -> Fetched:
        """What comes of an exchange; the thread waits."""
        try:
            return exchange.future.result(exchange.wish.timeout + GRACE)
        except TimeoutError:
            return self._given_up(exchange)

    async def later(self, exchange: Exchange) -> Fetched:
        """What comes of an exchange; the event loop goes on."""
        try:
            async with asyncio.timeout(exchange.wish.timeout + GRACE):
                return await asyncio.wrap_future(exchange.future)
        except TimeoutError:
            return self._given_up(exchange)

    def _run(self, exchange: Exchange) -> None:
        fetched = fetch(exchange.wish)
        self._forget(exchange)
        exchange.future.set_result(fetched)

    def _given_up(self, exchange: Exchange) -> Fetched:
        self._forget(exchange)
        return Fetched(b"", "no answer in time")

    def _forget(self, exchange: Exchange) -> None:
        with self._lock:
            if self._under_way.get(exchange.wish) is exchange:
                del self._under_way[exchange.wish]
