"""Threads for calls that wait for a disk or a database; calls that find all of them busy wait a bounded time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from ..core.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

WAIT = 2.0
"""Seconds that a call waits for a free thread."""


class Threads:
    """A pool for one purpose, so that slow calls hold up no others.

    Args:
        count: how many calls run at once.
        name: of the threads, and in messages.
        busy: raised when no thread became free in time.
        discard: takes the result of a call that nobody waits for any more.
    """

    def __init__(
        self, count: int, name: str, busy: type[Unavailable], discard: Callable[[Any], object] = lambda _: None
    ) -> None:
        self._threads = ThreadPoolExecutor(count, name)
        self._free = asyncio.Semaphore(count)
        self._all_busy = f"{name}: {count} questions are under way already"
        self._busy, self._discard = busy, discard

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a thread and return its result.

        Raises:
            Unavailable: of the kind `busy`; besides whatever the function raises.
        """
        try:
            async with asyncio.timeout(WAIT):
                await self._free.acquire()
        except TimeoutError:
            raise self._busy(self._all_busy) from None
        try:
            future = self._threads.submit(function, *args, **kwargs)
        except RuntimeError:  # closed in the meantime
            self._free.release()
            raise self._busy("it is not served any more") from None
        loop = asyncio.get_running_loop()

        def release(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(self._free.release)

        future.add_done_callback(release)  # when the thread is free, even if the caller no longer waits
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(self._throw_away)
            raise

    def _throw_away(self, future: Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._discard(future.result())

    def close(self, *, wait: bool = False) -> None:
        """Take no more calls. Running calls finish; with `wait` this returns only then."""
        self._threads.shutdown(wait, cancel_futures=True)
