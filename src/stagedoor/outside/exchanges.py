"""Fetches that several threads and event loops wait for."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import NamedTuple

from ..core.messages import Fetch, Fetched
from .fetch_sync import fetch
from .trust import context_for

GRACE = 1.0
"""Seconds beyond its own that a `Fetch` is waited for, in case the process was forked and its thread is gone."""


class Exchange(NamedTuple):
    """A fetch that is under way."""

    wish: Fetch
    future: Future[Fetched]


class Exchanges:
    """Answers wishes. Those for the same URL at the same time share one exchange, from any thread or event loop.

    Args:
        ca: authorities besides the machine's own, in PEM.
    """

    def __init__(self, ca: str = "") -> None:
        self._ca = ca
        self._lock = threading.Lock()
        self._under_way: dict[Fetch, Exchange] = {}

    def begin(self, wish: Fetch) -> Exchange:
        """Begin an exchange, or return the one that is under way. Does not wait."""
        with self._lock:
            exchange = self._under_way.get(wish) if wish.form is None else None
            if exchange is None:
                exchange = Exchange(wish, Future())
                if wish.form is None:  # what one client sends is nobody else's
                    self._under_way[wish] = exchange
                exchange.future.set_running_or_notify_cancel()  # one cancelled task must not cancel it for others
                threading.Thread(target=self._run, args=(exchange,), daemon=True).start()
        return exchange

    def wait(self, exchange: Exchange) -> Fetched:
        """The answer of an exchange; the thread waits."""
        try:
            return exchange.future.result(exchange.wish.timeout + GRACE)
        except TimeoutError:
            return self._given_up(exchange)

    async def later(self, exchange: Exchange) -> Fetched:
        """The answer of an exchange; the event loop goes on."""
        try:
            async with asyncio.timeout(exchange.wish.timeout + GRACE):
                return await asyncio.wrap_future(exchange.future)
        except TimeoutError:
            return self._given_up(exchange)

    def _run(self, exchange: Exchange) -> None:
        fetched = fetch(exchange.wish, tls=context_for(self._ca))
        self._forget(exchange)
        exchange.future.set_result(fetched)

    def _given_up(self, exchange: Exchange) -> Fetched:
        self._forget(exchange)
        return Fetched(b"", "no answer in time")

    def _forget(self, exchange: Exchange) -> None:
        with self._lock:
            if self._under_way.get(exchange.wish) is exchange:
                del self._under_way[exchange.wish]
