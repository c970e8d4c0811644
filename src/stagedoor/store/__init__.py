"""Where objects live: the port, and one file for each kind of store. Another kind also needs a branch here."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from ..core.messages import Item, List, Listed
from .port import Changed, Head, InstantStore, Meta, NotSatisfiable, Open, Opened, Range, Store

__all__ = [
    "Changed",
    "Head",
    "InstantStore",
    "Item",
    "List",
    "Listed",
    "Meta",
    "NotSatisfiable",
    "Open",
    "Opened",
    "Range",
    "Store",
    "open_store",
]


def open_store(url: str | None, *, region: str | None = None, endpoint: str | None = None) -> Store:
    """Open a store.

    Args:
        url: `file:///…`, `s3://bucket/prefix` or `memory:`; None is an empty store.
        region: of S3; found as AWS's own tools find it if None.
        endpoint: URL of an S3-compatible store.
    """
    if url is None or url == "memory:":
        from .memory import MemoryStore

        return MemoryStore()
    parts = urlsplit(url)
    if parts.scheme == "file":
        from .folder import FolderStore

        return FolderStore(unquote(parts.path))
    from .s3 import S3Store

    return S3Store(parts.netloc, parts.path.strip("/"), region=region, endpoint=endpoint)
