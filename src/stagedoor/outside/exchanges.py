"""Fetches for several threads and tasks at once."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

from ..core.messages import Fetch, Fetched
from .fetch_sync import fetch

GRACE = 1.0
"""Seconds beyond its own that a `Fetch` is waited for. It runs out only in a process that was forked meanwhile."""


class Exchanges:
    """Answers wishes; those for the same URL at the same time share one exchange, whichever thread or loop asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Fetch, Future[Fetched]] = {}

    def wait(self, wish: Fetch) -> Fetched:
        """Answer a wish; the thread waits."""
        future = self._begun(wish)
        try:
            return future.result(wish.timeout + GRACE)
        except TimeoutError:
            return self._given_up(wish, future)

    async def later(self, wish: Fetch) -> Fetched:
        """Answer a wish; the event loop goes on."""
        future = self._begun(wish)
        try:
            async with asyncio.timeout(wish.timeout + GRACE):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            return self._given_up(wish, future)

    def _begun(self, wish: Fetch) -> Future[Fetched]:
        with self._lock:
            future = self._under_way.get(wish)
            if future is None:
                future = self._under_way[wish] = Future()
                future.set_running_or_notify_cancel()  # a task that is cancelled does not cancel it for the others
                threading.Thread(target=self._run, args=(wish, future), daemon=True).start()
        return future

    def _run(self, wish: Fetch, future: Future[Fetched]) -> None:
        fetched = fetch(wish)
        self._forget(wish, future)
        future.set_result(fetched)

    def _given_up(self, wish: Fetch, future: Future[Fetched]) -> Fetched:
        self._forget(wish, future)
        return Fetched(b"", "no answer in time")

    def _forget(self, wish: Fetch, future: Future[Fetched]) -> None:
        with self._lock:
            if self._under_way.get(wish) is future:
                del self._under_way[wish]
