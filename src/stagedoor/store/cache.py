"""A memory of small objects in front of a store. The door has decided before it is asked, every time.

What is kept belongs to a key and to nobody: no header field of a request is a part of it. For a few seconds (`fresh`)
an object is answered without asking the store; then the store is asked whether it changed.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from ..core.errors import StoreUnavailable
from ..core.messages import List, Listed
from .port import Head, Meta, NotNow, Open, Opened, Store, Unchanged, extent

MAX_OBJECT = 1_048_576
"""Bytes of the largest object that is kept."""
MAX_LOADING = 16 * 1_048_576
"""Bytes of objects that are being read into memory at a time; further ones are passed through."""
LOAD_WITHIN = 10.0
"""Seconds for all of a small object."""
ENTRY_SIZE = 1024
"""Bytes that an entry takes beyond its object and its key."""

T = TypeVar("T")


class _Entry(NamedTuple):
    """What is known of a key. Without `meta` there is no such object; without `opened` its bytes are not here."""

    until: float
    size: int
    meta: Meta | None = None
    opened: Opened | None = None


class CachedStore:
    """A store whose small objects are kept in memory.

    Args:
        store: the store itself.
        size: most bytes that are kept.
        fresh: seconds that an object is answered without asking the store.
        clock: seconds that never go back.
    """

    def __init__(self, store: Store, size: int, fresh: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._most, self._fresh, self._clock = store, size, fresh, clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = self._loading = 0
        self._objects: _Shared[Meta | Opened | None] = _Shared()
        self._heads: _Shared[Meta | None] = _Shared()

    def head_now(self, wish: Head) -> Meta | None:
        return self._current(wish.key).meta

    def open_now(self, wish: Open) -> Opened | None:
        entry = self._current(wish.key)
        if entry.meta is None:
            return None
        if entry.opened is None:
            raise NotNow
        return _part(entry.opened, wish)

    async def head(self, wish: Head) -> Meta | None:
        try:
            return self.head_now(wish)
        except NotNow:
            pass
        entry = self._entries.get(wish.key)
        if entry is None or entry.opened is None:
            return await self._heads.join(wish.key, lambda: self._ask_head(wish))
        found = await self._load(wish.key)
        return found.meta if isinstance(found, Opened) else found

    async def open(self, wish: Open) -> Opened | None:
        try:
            return self.open_now(wish)
        except NotNow:
            pass
        entry = self._entries.get(wish.key)
        is_large = entry is not None and entry.meta is not None and entry.meta.size > MAX_OBJECT
        if not is_large and (wish.span is None or (entry is not None and entry.opened is not None)):
            found = await self._load(wish.key)
            if found is None:
                return None
            if isinstance(found, Opened):
                return _part(found, wish)
        opened = await self._store.open(wish)
        if is_large and (opened is None or opened.meta.size <= MAX_OBJECT):
            self._forget(wish.key)
        return None if opened is None else opened._replace(meta=replace(opened.meta, cache="miss"))

    async def list(self, wish: List) -> Listed:
        return await self._store.list(wish)

    async def ready(self) -> None:
        await self._store.ready()

    async def aclose(self) -> None:
        await self._store.aclose()

    def _current(self, key: str) -> _Entry:
        """What is known of a key and still fresh.

        Raises:
            NotNow: nothing.
        """
        entry = self._entries.get(key)
        if entry is None or self._clock() >= entry.until:
            raise NotNow
        self._entries.move_to_end(key)
        return entry

    async def _load(self, key: str) -> Meta | Opened | None:
        """The object with all its bytes, asked for once for all who wait; `Meta` alone if it is too large."""
        return await self._objects.join(key, lambda: self._ask(key))

    async def _ask(self, key: str) -> Meta | Opened | None:
        asked, entry = self._clock(), self._entries.get(key)
        old = entry.opened if entry is not None else None
        try:
            opened = await self._store.open(Open(key, known=old.meta.etag if old is not None else None))
        except Unchanged:
            if old is None:
                raise StoreUnavailable(f"{key!r}: the store says unchanged of what it was not asked for") from None
            self._keep(key, asked, old.meta, old)
            return old._replace(meta=replace(old.meta, cache="revalidated"))
        if opened is None:
            self._keep(key, asked, None, None)
            return None
        meta, whole = opened.meta, await self._whole(opened)
        if whole is None:
            self._keep(key, asked, meta, None)
            return meta
        if _may_be_kept(meta):
            hit = replace(meta, cache="hit")
            self._keep(key, asked, hit, Opened(hit, 0, meta.size, whole))
        else:
            self._forget(key)
        return Opened(replace(meta, cache="miss"), 0, meta.size, whole)

    async def _ask_head(self, wish: Head) -> Meta | None:
        asked = self._clock()
        meta = await self._store.head(wish)
        if meta is None or _may_be_kept(meta):
            self._keep(wish.key, asked, replace(meta, cache="hit") if meta is not None else None, None)
        return None if meta is None else replace(meta, cache="miss")

    async def _whole(self, opened: Opened) -> bytes | None:
        """All the bytes of a small object; None if it is large, or too many are being read already."""
        if opened.whole is not None:
            return opened.whole
        size = opened.meta.size
        try:
            if size > MAX_OBJECT or self._loading + size > MAX_LOADING:
                return None
            self._loading += size
            try:
                async with asyncio.timeout(LOAD_WITHIN):
                    whole = b"".join([piece async for piece in opened.chunks()])
            except TimeoutError:
                raise StoreUnavailable(f"the object did not come within {LOAD_WITHIN:g} s") from None
            finally:
                self._loading -= size
        finally:
            opened.close()
        if len(whole) != size:
            raise StoreUnavailable("the object is longer or shorter than was said")
        return whole

    def _keep(self, key: str, asked: float, meta: Meta | None, opened: Opened | None) -> None:
        self._forget(key)
        body = len(opened.whole or b"") if opened is not None else 0
        entry = _Entry(asked + self._fresh, body + len(key) + ENTRY_SIZE, meta, opened)
        self._entries[key] = entry
        self._size += entry.size
        while self._size > self._most:
            self._forget(next(iter(self._entries)))

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.size


class _Shared(Generic[T]):
    """Questions that are asked once for all who wait for the same; the last one who leaves ends them."""

    def __init__(self) -> None:
        self._asking: dict[str, _Asking[T]] = {}

    async def join(self, name: str, ask: Callable[[], Awaitable[T]]) -> T:
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = _Asking(asyncio.ensure_future(ask()))
            asking.task.add_done_callback(lambda _: self._end(name, asking))
        asking.waiting += 1
        try:
            return await asyncio.shield(asking.task)
        finally:
            asking.waiting -= 1
            if not asking.waiting and not asking.task.done():
                self._end(name, asking)
                asking.task.cancel()

    def _end(self, name: str, asking: _Asking[T]) -> None:
        if self._asking.get(name) is asking:
            del self._asking[name]


class _Asking(Generic[T]):
    def __init__(self, task: asyncio.Future[T]) -> None:
        self.task, self.waiting = task, 0


def _part(opened: Opened, wish: Open) -> Opened:
    if wish.span is None and wish.etag is None and wish.known is None:
        return opened
    start, stop = extent(opened.meta, wish)
    whole = opened.whole or b""
    return Opened(opened.meta, start, stop, whole[start:stop])


def _may_be_kept(meta: Meta) -> bool:
    """Not if its own Cache-Control says no-store (RFC 9111 §5.2.2.5)."""
    return not any(name == b"cache-control" and b"no-store" in value.lower() for name, value in meta.headers)
