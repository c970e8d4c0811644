"""The port to the objects: what every store can be asked, and how it answers.

A store is asked for exactly the key that was authorised. A key that it cannot address exactly is refused
(`UnusableKey`) and never renamed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from ..core.messages import List, Listed, Pairs


class Range(NamedTuple):
    """One byte range of a request (RFC 9110 §14.1.2). If `first` is None, the last `last` bytes."""

    first: int | None
    last: int | None

    def resolve(self, size: int) -> tuple[int, int] | None:
        """Start and stop of the range in an object of this size; None if no byte lies in it (416)."""
        if self.first is None:
            length = min(self.last or 0, size)
            return (size - length, size) if length else None
        if self.first >= size:
            return None
        return self.first, size if self.last is None else min(self.last + 1, size)


@dataclass(frozen=True, slots=True, eq=False)
class Meta:
    """An object without its bytes. Compared by identity, so that answers can be cached for it.

    Attributes:
        size: bytes.
        etag: entity tag with its quotes.
        modified: whole epoch seconds.
        content_type: media type, stored or guessed.
        headers: stored header fields that are sent with it: Cache-Control, Content-Disposition, Content-Encoding,
            Content-Language, Expires.
        cache: for the log: how a cache came by it (`hit`, `revalidated`, `miss`), or empty.
    """

    size: int
    etag: bytes
    modified: int
    content_type: bytes
    headers: Pairs = ()
    cache: str = ""


def _no_chunks() -> AsyncIterator[bytes]:
    raise AssertionError("the bytes are in `whole`")


def _nothing_to_close() -> None:
    pass


class Opened(NamedTuple):
    """Bytes `start` to `stop` of an object, ready to be read. The caller closes it, read or not.

    Attributes:
        meta: the object.
        start, stop: first byte, and the byte after the last.
        whole: all the bytes, if the store has them already; `chunks` must not be called then.
        chunks: reads the bytes piece by piece.
        close: releases what is held open.
        descriptor: the open file if there is one, for servers that can send it without reading it.
    """

    meta: Meta
    start: int
    stop: int
    whole: bytes | None
    chunks: Callable[[], AsyncIterator[bytes]] = _no_chunks
    close: Callable[[], None] = _nothing_to_close
    descriptor: int | None = None


class NotSatisfiable(Exception):
    """No byte of the object lies in the range. `size` is the object's, in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Changed(Exception):
    """The object has another entity tag than the one asked for."""


class Unchanged(Exception):
    """The object still has the entity tag that was known."""


class NotNow(Exception):
    """A store that answers at once has to wait this time; it is asked with `head` or `open`."""


class Head(NamedTuple):
    """A wish for an object without its bytes; answered by `Meta`, or None if it does not exist."""

    key: str


class Open(NamedTuple):
    """A wish for an object's bytes; answered by `Opened`, or None if it does not exist.

    Attributes:
        key: the key that was authorised.
        span: the range wanted; None is the whole object. Outside the object it raises `NotSatisfiable`.
        etag: the only version wanted; any other raises `Changed`.
        known: the version that is not wanted again; it raises `Unchanged`.
    """

    key: str
    span: Range | None = None
    etag: bytes | None = None
    known: bytes | None = None


class Store(Protocol):
    """The port. Besides the exceptions above it raises only errors of `stagedoor.core.errors`."""

    async def head(self, wish: Head) -> Meta | None: ...

    async def open(self, wish: Open) -> Opened | None: ...

    async def list(self, wish: List) -> Listed:
        """List names that pass `is_usable`, in the order of their UTF-8 bytes, strictly after `wish.after`.

        A folder sorts by its own name: if that is not after `wish.after`, it is left out, whatever it holds.
        """
        ...

    async def ready(self) -> None:
        """Raise StoreUnavailable or StoreRefused if the store cannot serve any object."""

    async def aclose(self) -> None:
        """Close connections and files."""


@runtime_checkable
class InstantStore(Store, Protocol):
    """A store that can answer without waiting, or raises `NotNow`; reading that may take longer is left to `chunks`."""

    def head_now(self, wish: Head) -> Meta | None: ...

    def open_now(self, wish: Open) -> Opened | None: ...


def extent(meta: Meta, wish: Open) -> tuple[int, int]:
    """Start and stop of the bytes that a wish asks for.

    Raises:
        Changed, NotSatisfiable, Unchanged: see `Open`.
    """
    if wish.etag is not None and wish.etag != meta.etag:
        raise Changed
    if wish.known is not None and wish.known == meta.etag:
        raise Unchanged
    resolved = wish.span.resolve(meta.size) if wish.span else (0, meta.size)
    if resolved is None:
        raise NotSatisfiable(meta.size)
    return resolved
