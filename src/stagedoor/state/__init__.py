"""What the site itself has to remember: a list of entries that several gateways read and add to.

All methods block, so that gateways call them in a thread. Another kind of state is one file here and two lines in
`open_state`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import unquote, urlsplit

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


def open_state(url: str) -> State:
    """Open a state.

    Args:
        url: `sqlite://` and the absolute path of a file, which is made if it is missing; or `redis://`, `rediss://`.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        from .sqlite import SqliteState

        return SqliteState(unquote(parts.path))
    from .redis import RedisState

    return RedisState(url)
