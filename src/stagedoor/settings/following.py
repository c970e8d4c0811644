"""What was taken back, for a program with threads: one of its own reads the list again and again."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable

from ..core.caller import Caller
from ..core.errors import StateUnavailable
from ..core.revocations import Revocation, Revocations, from_text
from ..state.port import PAGE, State

READ_EVERY = 2.0
"""Seconds between two looks at what was added."""
READ_ALL_EVERY = 60.0
"""Seconds between two looks at the whole list."""
FIRST_WITHIN = 5.0
"""Seconds that the first caller waits for the list."""

_log = logging.getLogger("stagedoor")


class Following:
    """Follows a state from the first question on. It reads alone, and writes nothing.

    Args:
        state: that the site's gateways share.
        revocations: is kept up to date. Nothing leaves it before its end.
        clock: epoch seconds.
    """

    def __init__(self, state: State, revocations: Revocations, clock: Callable[[], float]) -> None:
        self._state, self._revocations, self._clock = state, revocations, clock
        self._read_once, self._process = threading.Event(), 0
        self._sequence, self._all_read, self._away = 0, 0.0, False
        self._unreadable = dict[int, float]()  # sequence number -> end

    def check(self, caller: Caller, now: float) -> None:
        """Let a caller pass of whom nothing was taken back; see `Revocations.check`."""
        self._revocations.check(caller, now)

    def is_ready(self) -> bool:
        """Has the list been read? The first time that this is asked the reading begins, in a fork again."""
        if self._process != os.getpid():
            self._process = os.getpid()
            threading.Thread(target=_follow, args=(weakref.ref(self),), name="state", daemon=True).start()
        return self._read_once.is_set()

    def wait(self) -> None:
        """Wait until the list was read for the first time, or could not be."""
        self._read_once.wait(FIRST_WITHIN)

    def read(self) -> None:
        """Read what was added, or everything if it is time for that. What goes wrong is one line in the log."""
        begun, now = time.monotonic(), self._clock()
        whole = begun - self._all_read >= READ_ALL_EVERY
        try:
            self._add_from(0 if whole else self._sequence)
            self._all_read = begun if whole else self._all_read
            unreadable = [number for number, ends in self._unreadable.items() if ends > now]
            if unreadable:
                raise StateUnavailable(f"entry {unreadable[0]} cannot be read; is it of a newer version?")
        except Exception as error:
            if not self._away:
                _log.error("state: %s; the last known list is used for %g s", error, self._revocations.stale)
            self._away = True
        else:
            self._revocations.add((), now)
            self._away = False
        self._read_once.set()

    def _add_from(self, sequence: int) -> None:
        """Add what came after a number. What can be read counts, also if something else cannot."""
        more, unreadable = True, dict[int, float]() if sequence == 0 else self._unreadable
        while more:
            page, found = self._state.after(sequence), list[Revocation]()
            for entry in page:
                try:
                    found.append(from_text(entry.text))
                except ValueError:
                    unreadable[entry.sequence] = entry.ends
            self._revocations.add(found)
            sequence, more = page[-1].sequence if page else sequence, len(page) >= PAGE
        self._sequence, self._unreadable = sequence, unreadable


def _follow(followed: weakref.ref[Following]) -> None:
    """Read until nobody asks any more."""
    while (one := followed()) is not None:
        one.read()
        del one
        time.sleep(READ_EVERY)
