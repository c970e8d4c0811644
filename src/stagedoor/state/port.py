"""The port: what every kind of state can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..core.messages import Entry

MAX_ENTRIES = 200_000
"""A state that holds more takes no further ones."""
PAGE = 2000
"""Entries that one question returns at most."""


class State(Protocol):
    """The port. It raises only `StateUnavailable`."""

    def put(self, name: str, text: str, ends: float, now: float) -> int:
        """Remember something until `ends`; it takes the place of what has the same name.

        Returns:
            Its sequence number. Whoever read up to a smaller one sees it with their next question.

        Raises:
            StateUnavailable: it was not remembered; also if the state is full.
        """
        ...

    def after(self, sequence: int) -> Sequence[Entry]:
        """The entries with a greater sequence number, in order, `PAGE` at most; over ones may be among them."""
        ...

    def close(self) -> None: ...
