"""Threads for calls that wait for a disk or a database, with a bound on how many wait for a thread, and how long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ..core.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

WAIT = 2.0
"""Seconds that a call waits for a free thread."""


class Threads:
    """A few threads of one's own, so that what is slow holds up nothing else.

    Args:
        count: how many calls at a time.
        name: of the threads.
        busy: the error for a call that found no free thread in time.
    """

    def __init__(self, count: int, name: str, busy: type[Unavailable]) -> None:
        self._threads = ThreadPoolExecutor(count, name)
        self._free = asyncio.Semaphore(count)
        self._said = f"{name}: {count} questions are under way already"
        self._busy = busy

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a thread.

        Raises:
            Unavailable: as `busy` says; and whatever the function raises.
        """
        try:
            async with asyncio.timeout(WAIT):
                await self._free.acquire()
        except TimeoutError:
            raise self._busy(self._said) from None
        try:
            called = self._threads.submit(function, *args, **kwargs)
        except RuntimeError:  # closed meanwhile
            self._free.release()
            raise self._busy("it is not served any more") from None
        loop = asyncio.get_running_loop()

        def done(_: object) -> None:
            """The thread is free, also if nobody waits for the answer any more."""
            with contextlib.suppress(RuntimeError):  # the loop has ended before it
                loop.call_soon_threadsafe(self._free.release)

        called.add_done_callback(done)
        return await asyncio.wrap_future(called)

    def close(self, *, wait: bool = False) -> None:
        """Take no more calls; those under way come to their end, which `wait` waits for."""
        self._threads.shutdown(wait, cancel_futures=True)
