"""Where objects live: one port with three verbs, and the table that finds the store for a URL.

A store is asked for the key that was authorised and never for another one: a key that it cannot address
exactly does not exist there (`UnusableKey`), it is never renamed. Another kind of store is one file beside
these and one row in `SCHEMES`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from ..messages import Pairs


class Range(NamedTuple):
    """One byte range as asked for (RFC 9110 §14.1.2); `first` None means the last `last` bytes."""

    first: int | None
    last: int | None

    def resolve(self, size: int) -> tuple[int, int] | None:
        """First byte and the byte after the last, of an object of this size; None: nothing to satisfy (416)."""
        if self.first is None:
            length = min(self.last or 0, size)
            return (size - length, size) if length else None
        if self.first >= size:
            return None
        return self.first, size if self.last is None else min(self.last + 1, size)


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of an object without its bytes.

    Attributes:
        size: bytes.
        etag: entity tag with its quotes.
        modified: epoch seconds, whole.
        content_type: media type as stored or guessed.
        headers: stored fields that go out with it: Cache-Control, Content-Disposition, Content-Encoding,
            Content-Language, Expires.
    """

    size: int
    etag: bytes
    modified: int
    content_type: bytes
    headers: Pairs = ()


class Opened(NamedTuple):
    """An object, open for reading bytes `start` to `stop`; whoever opened it calls `close`, read or not.

    `whole` holds all the bytes where the store has them at hand; then `chunks` is never called.
    """

    meta: Meta
    start: int
    stop: int
    whole: bytes | None
    chunks: Callable[[], AsyncIterator[bytes]]
    close: Callable[[], None]


class NotSatisfiable(Exception):
    """No byte of the object lies in the range that was asked for."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Changed(Exception):
    """The object is not the one whose entity tag was given."""


class Store(Protocol):
    """Port to the objects. All errors but these two are `StoreUnavailable`, `StoreRefused` or `UnusableKey`."""

    async def head(self, key: str) -> Meta | None:
        """Describe an object; None if there is none."""

    async def open(self, key: str, span: Range | None = None, etag: bytes | None = None) -> Opened | None:
        """Open an object for reading.

        Args:
            key: the key that was authorised.
            span: the part that is wanted; None: all of it.
            etag: only this version of it.

        Returns:
            The open object, or None if there is none.

        Raises:
            NotSatisfiable: the span lies beyond the object.
            Changed: there is another version by now.
        """

    async def ready(self) -> None:
        """Raise StoreUnavailable or StoreRefused if objects cannot be had at all."""

    async def aclose(self) -> None:
        """Let go of connections."""


def no_chunks() -> AsyncIterator[bytes]:
    """For `Opened` values that hold their bytes already."""
    raise AssertionError("the bytes are in `whole`")


def nothing() -> None:
    """For `Opened` values that hold nothing open."""


def open_store(url: str | None, *, region: str | None = None, endpoint: str | None = None) -> Store:
    """Make the store for a URL from the settings (`file:///…`, `s3://bucket/prefix`, `memory:`; None: empty)."""
    if url is None or url == "memory:":
        from .memory import MemoryStore

        return MemoryStore()
    parts = urlsplit(url)
    if parts.scheme == "file":
        from urllib.parse import unquote

        from .folder import FolderStore

        return FolderStore(unquote(parts.path))
    from .s3 import S3Store

    return S3Store(parts.netloc, parts.path.strip("/"), region=region, endpoint=endpoint)
