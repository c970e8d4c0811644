"""The catalogue: a table from content ids to keys, so that applications need not know where objects live.

Requests use `find`, the owner's commands the other methods. All of them block, so the gateway calls `find` in a thread.
Another kind of catalogue is one file here and two lines in `open_catalogue`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol
from urllib.parse import unquote, urlsplit

from ..core.messages import Content


class Catalogue(Protocol):
    """The port. It raises only `CatalogueUnavailable`, `StoreRefused` and `InvalidContent`."""

    def find(self, content_id: str) -> Content | None:
        """Return the entry of a content id, or None. Threads may call it at the same time."""
        ...

    def put(self, entries: Iterable[Content]) -> int:
        """Write entries and return how many; an entry replaces the one with its id.

        All or none are written if the database can do that. Memory does not grow with their number.
        """
        ...

    def remove(self, content_id: str) -> bool:
        """Remove an entry; False if it did not exist."""
        ...

    def entries(self) -> Iterator[Content]:
        """Yield all entries; memory does not grow with their number."""
        ...

    def close(self) -> None: ...


def open_catalogue(url: str, *, region: str | None = None, create: bool = False) -> Catalogue:
    """Open a catalogue.

    Args:
        url: `sqlite://` and the absolute path of a file, or `dynamodb://` and the name of a table.
        region: of the DynamoDB table; found as AWS's own tools find it if None.
        create: let `put` create the database or table if it is missing; for the owner's commands.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        from .sqlite import SqliteCatalogue

        return SqliteCatalogue(unquote(parts.path), create=create)
    from .dynamodb import DynamoCatalogue

    return DynamoCatalogue(parts.netloc, region=region, create=create)
