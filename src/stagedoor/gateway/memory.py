"""What the site remembers, as a gateway sees it: the list of what was taken back is read from time to time.

No request waits for the state: it is asked in a thread of its own, and the door looks into memory.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from ..core.errors import StagedoorError, StateUnavailable
from ..core.messages import Entry, Keep, Recall, Recalled
from ..core.revocations import Revocation, Revocations, from_text
from ..outside.threads import Threads
from ..state.port import PAGE, State

READ_EVERY = 2.0
"""Seconds between two looks at what was added."""
READ_ALL_EVERY = 60.0
"""Seconds between two looks at the whole list."""

_log = logging.getLogger("stagedoor")


class Memory:
    """Keeps a list of revocations up to date, and remembers what the door wishes.

    Args:
        state: that gateways share.
        revocations: the door's list.
        clock: epoch seconds.

    Attributes:
        was_read: the list has been read at least once.
    """

    def __init__(self, state: State, revocations: Revocations, clock: Callable[[], float]) -> None:
        self._state, self.revocations, self._clock = state, revocations, clock
        self._threads = Threads(1, "state", StateUnavailable)
        self._sequence, self._all_read = 0, 0.0
        self._away = False
        self.was_read = False

    async def follow(self) -> None:
        """Read the list again and again, until the task is cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(READ_EVERY)

    async def read(self) -> None:
        """Read what was added, or everything if it is time for that."""
        begun = time.monotonic()
        whole = not self.was_read or begun - self._all_read >= READ_ALL_EVERY
        try:
            await self._threads.call(self._read, 0 if whole else self._sequence, self._clock())
        except Exception as error:
            if not self._away:
                _log.error("state: %s; the last known list is used for %g s", error, self.revocations.stale)
            self._away = True
            return
        if self._away:
            _log.warning("state: it answers again")
        self._away, self.was_read = False, True
        if whole:
            self._all_read = begun

    def _read(self, after: int, now: float) -> None:
        """In a thread: ask for all pages, and put them into the list."""
        sequence, found = after, list[Revocation]()
        while True:
            page = self._state.after(sequence)
            found.extend(_revocations(page))
            sequence = page[-1].sequence if page else sequence
            if len(page) < PAGE:
                break
        if after == 0:
            self.revocations.replace(found, now)
        else:
            self.revocations.add(found, now)
        self._sequence = sequence

    async def keep(self, wish: Keep) -> None:
        """Remember something, and obey it here at once.

        Raises:
            StateUnavailable: it was not remembered.
        """
        try:
            await self._threads.call(self._state.put, wish.name, wish.text, wish.ends, self._clock())
        except StagedoorError as error:
            _log.error("%s: %s; %s was not taken back", error.code, error, wish.name.partition(" ")[0])
            raise
        self.revocations.add([from_text(wish.text)])

    async def recall(self, wish: Recall) -> Recalled:
        """Return a page of what is remembered.

        Raises:
            StateUnavailable: the state did not answer.
        """
        page = await self._threads.call(self._state.after, wish.after)
        return Recalled(tuple(page), len(page) == PAGE)

    def close(self) -> None:
        self._threads.close()
        self._state.close()


def _revocations(entries: Sequence[Entry]) -> Iterator[Revocation]:
    """What the entries take back. One that cannot be read must not be passed over, because somebody wrote it."""
    for entry in entries:
        try:
            yield from_text(entry.text)
        except ValueError as error:
            raise StateUnavailable(
                f"entry {entry.sequence} cannot be read: {error}; is it of a newer version?"
            ) from error
