"""The port to the objects: what every store answers, and in which words.

A store is asked for the key that was authorised and never for another one. A key that it cannot address exactly does
not exist there (`UnusableKey`); it is never renamed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from ..core.messages import List, Listed, Pairs


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


@dataclass(frozen=True, slots=True, eq=False)
class Meta:
    """What is known of an object without its bytes. Compared by identity, so that answers can be kept for it.

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

    `whole` holds all the bytes where the store has them at hand; then `chunks` is never called. `descriptor` is the
    open file where there is one, for servers that can send it without reading it.
    """

    meta: Meta
    start: int
    stop: int
    whole: bytes | None
    chunks: Callable[[], AsyncIterator[bytes]]
    close: Callable[[], None]
    descriptor: int | None = None


class NotSatisfiable(Exception):
    """No byte of the object lies in the range that was asked for."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Changed(Exception):
    """The object is not the one whose entity tag was given."""


class Head(NamedTuple):
    """A wish for an object's description; answered by `Meta`, or None if there is no such object."""

    key: str


class Open(NamedTuple):
    """A wish for an object's bytes; answered by `Opened`, or None if there is no such object.

    Attributes:
        key: the key that was authorised.
        span: the part that is wanted; None: all of it. Beyond the object: `NotSatisfiable`.
        etag: only this version of it; another one: `Changed`.
    """

    key: str
    span: Range | None = None
    etag: bytes | None = None


class Store(Protocol):
    """Port to the objects. Besides `NotSatisfiable` and `Changed` it raises errors of `stagedoor.core.errors` only."""

    async def head(self, wish: Head) -> Meta | None: ...

    async def open(self, wish: Open) -> Opened | None: ...

    async def list(self, wish: List) -> Listed:
        """Names in the order of their UTF-8 bytes, strictly after `wish.after`; `is_usable` says which are left out.

        That is also how folders are told: one that sorts before `wish.after` is over, whatever it still holds.
        """
        ...

    async def ready(self) -> None:
        """Raise StoreUnavailable or StoreRefused if objects cannot be had at all."""

    async def aclose(self) -> None:
        """Let go of connections."""


@runtime_checkable
class InstantStore(Store, Protocol):
    """A store that answers without waiting for anything but memory; what would take longer comes in `chunks`."""

    def head_now(self, wish: Head) -> Meta | None: ...

    def open_now(self, wish: Open) -> Opened | None: ...


def extent(meta: Meta, wish: Open) -> tuple[int, int]:
    """First byte and the byte after the last that a wish asks for, of an object that is as `meta` says.

    Raises:
        Changed, NotSatisfiable: as `Open` says.
    """
    if wish.etag is not None and wish.etag != meta.etag:
        raise Changed
    part = wish.span.resolve(meta.size) if wish.span else (0, meta.size)
    if part is None:
        raise NotSatisfiable(meta.size)
    return part


def no_chunks() -> AsyncIterator[bytes]:
    """For `Opened` values that hold their bytes already."""
    raise AssertionError("the bytes are in `whole`")


def nothing() -> None:
    """For `Opened` values that hold nothing open."""
