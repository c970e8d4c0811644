"""Where objects live. `port.py` is what every store answers; another kind of store is one file and two lines here."""

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
    """Make the store for a URL from the settings (`file:///…`, `s3://bucket/prefix`, `memory:`; None: empty)."""
    if url is None or url == "memory:":
        from .memory import MemoryStore

        return MemoryStore()
    parts = urlsplit(url)
    if parts.scheme == "file":
        from .folder import FolderStore

        return FolderStore(unquote(parts.path))
    from .s3 import S3Store

    return S3Store(parts.netloc, parts.path.strip("/"), region=region, endpoint=endpoint)
