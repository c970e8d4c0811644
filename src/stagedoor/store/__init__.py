"""Where objects live: the port, and one file for each kind of store. Another kind also needs a branch here."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ..core.messages import Item, List, Listed
from .port import Changed, Head, InstantStore, Meta, NotSatisfiable, Open, Opened, Range, Store

if TYPE_CHECKING:
    from .s3_address import Addressing

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


def open_store(
    url: str | None,
    *,
    region: str | None = None,
    endpoint: str | None = None,
    addressing: Addressing = "auto",
    trust: Callable[[], ssl.SSLContext] | None = None,
    cache: int = 0,
    fresh: float = 5.0,
) -> Store:
    """Open a store.

    Args:
        url: `file:///…`, `s3://bucket/prefix` or `memory:`; None is an empty store.
        region: of S3; found as AWS's own tools find it if None.
        endpoint: URL of an S3-compatible store.
        addressing: does the bucket stand in the host name or in the path?
        trust: makes the TLS context for S3; default: with the machine's own authorities.
        cache: bytes of small objects of S3 that are kept in memory; 0: none.
        fresh: seconds that a kept object is answered without asking S3.
    """
    if url is None or url == "memory:":
        from .memory import MemoryStore

        return MemoryStore()
    parts = urlsplit(url)
    if parts.scheme == "file":
        from .folder import FolderStore

        return FolderStore(unquote(parts.path))
    from ..outside.trust import tls_context
    from .cache import CachedStore
    from .s3 import S3Store

    bucket, prefix = parts.netloc, parts.path.strip("/")
    store = S3Store(bucket, prefix, region=region, endpoint=endpoint, addressing=addressing, trust=trust or tls_context)
    return CachedStore(store, cache, fresh) if cache else store
