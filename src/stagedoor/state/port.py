"""The port: what every kind of state can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..core.messages import Entry, Keep

MAX_ENTRIES = 200_000
"""A state that holds more takes no further ones."""
BATCH = 100
"""Entries that are put at once, at most."""
PAGE = 500
"""Entries that one question returns at most."""
KEPT = 86_400.0
"""Seconds that an entry stays after its end, because clocks differ."""


class State(Protocol):
    """The port. It raises only `StateUnavailable`.

    Sequence numbers grow with every entry, also after the newest is gone. They start at milliseconds since 1970, so
    that they grow even if a state has lost what it had: whoever reads on from the last number misses nothing new.
    """

    def put_all(self, entries: Sequence[Keep], now: float, most: int = MAX_ENTRIES) -> int:
        """Remember entries until they end; each takes the place of what has the same name, unless that ends later.

        What is there already may keep its number. What is over is swept.

        Args:
            entries: up to `BATCH`. After an error some may have been put; putting all of them again is safe.
            now: epoch seconds; the state's own clock comes first where it is behind, so that nothing is swept early.
            most: entries that there may be.

        Returns:
            The last sequence number. Whoever read up to a smaller one sees the entries with their next question.

        Raises:
            StateUnavailable: not all are remembered; with the code `state-full` because there is no room.
        """
        ...

    def put(self, name: str, text: str, ends: float, now: float) -> int:
        """Remember one entry; see `put_all`."""
        return self.put_all((Keep(name, text, ends),), now)

    def after(self, sequence: int) -> Sequence[Entry]:
        """The entries with a greater sequence number, in order, `PAGE` at most; over ones may be among them.

        A number never shows before a smaller one that is still to come.
        """
        ...

    def time(self) -> float:
        """The state's own clock, in epoch seconds, by which gateways on several machines notice that theirs is off."""
        ...

    def close(self) -> None: ...
