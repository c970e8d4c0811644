"""The catalogue: a table from content ids to keys, so that applications need not know where objects live.

One port with a method for requests and a few for its owner. Another kind of catalogue is one file beside these
and two lines in `open_catalogue`. Calls wait for the database: the gateway makes them in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol
from urllib.parse import unquote, urlsplit

from ..core.messages import Content


class Catalogue(Protocol):
    """Port to the entries. It raises `CatalogueUnavailable` and `InvalidContent` only."""

    def find(self, id_: str) -> Content | None:
        """The entry of a content id; None if there is none. Safe to be called from several threads."""
        ...

    def put(self, entries: Iterable[Content]) -> int:
        """Write entries, each in the place of the one that had its id; return how many. All of them or none
        where the database can do that; memory does not grow with their number."""
        ...

    def remove(self, id_: str) -> bool:
        """Take an entry out; False if there was none."""
        ...

    def entries(self) -> Iterator[Content]:
        """All entries, one after the other; memory does not grow with their number."""
        ...

    def close(self) -> None: ...


def open_catalogue(url: str, *, region: str | None = None, create: bool = False) -> Catalogue:
    """Make the catalogue for a URL from the settings.

    Args:
        url: `sqlite:///` and the path of a file, which is absolute here, or `dynamodb://` and the name of a table.
        region: of the DynamoDB table; default: from AWS's usual chain.
        create: True: make the database or table where it is missing; for its owner's commands.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        from .sqlite import SqliteCatalogue

        return SqliteCatalogue(unquote(parts.path), create=create)
    from .dynamodb import DynamoCatalogue

    return DynamoCatalogue(parts.netloc, region=region, create=create)
