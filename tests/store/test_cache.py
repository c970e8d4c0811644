"""The cache of small objects: what it keeps, for how long, and what never gets into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from stagedoor.core.errors import StoreUnavailable
from stagedoor.core.messages import List, Listed
from stagedoor.store import cache as module
from stagedoor.store.cache import ENTRY_SIZE, CachedStore
from stagedoor.store.memory import MemoryStore
from stagedoor.store.port import Changed, Head, InstantStore, Meta, NotNow, NotSatisfiable, Open, Opened, Range, Store
from tests.helpers.stores import body, read

LARGE = module.MAX_OBJECT + 1


class Counted:
    """A store that counts what it is asked, and fails or waits where it is told to."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.asked: list[str] = []
        self.closed = 0
        self.fails = False
        self.gate: asyncio.Event | None = None
        self.as_stream = 65_536

    def put(self, key: str, content: bytes, **more: bytes) -> None:
        headers = tuple((name.replace("_", "-").encode(), value) for name, value in more.items())
        self.store.put(key, content, headers, modified=1_700_000_000)

    async def head(self, wish: Head) -> Meta | None:
        await self._ask(f"HEAD {wish.key}")
        return await self.store.head(wish)

    async def open(self, wish: Open) -> Opened | None:
        span = f" {wish.span.first}-{wish.span.last}" if wish.span else ""
        await self._ask(f"GET {wish.key}{span}{' if changed' if wish.known else ''}")
        opened = await self.store.open(wish)
        if opened is None or len(opened.whole or b"") <= self.as_stream:
            return opened
        return opened._replace(whole=None, chunks=lambda: self._chunks(opened.whole or b""), close=self._close)

    async def list(self, wish: List) -> Listed:
        return await self.store.list(wish)

    async def ready(self) -> None:
        await self._ask("ready")

    async def aclose(self) -> None:
        pass

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise StoreUnavailable("it is away")

    async def _chunks(self, content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100_000):
            await asyncio.sleep(0)
            if self.fails:
                raise StoreUnavailable("it broke off")
            yield content[start : start + 100_000]

    def _close(self) -> None:
        self.closed += 1


class Site:
    def __init__(self, size: int = 10_000_000) -> None:
        self.counted, self.now = Counted(), 1000.0
        self.cached = CachedStore(self.counted, size, 5.0, clock=lambda: self.now)

    def asked(self) -> list[str]:
        """What the store was asked since the last time."""
        asked, self.counted.asked = self.counted.asked, []
        return asked

    async def how(self, key: str) -> str:
        """What the log would say."""
        opened = await self.cached.open(Open(key))
        assert opened is not None
        opened.close()
        return opened.meta.cache


@pytest.fixture
def site() -> Site:
    return Site()


# --- freshness


async def test_an_object_is_asked_for_once_while_it_is_fresh(site: Site) -> None:
    site.counted.put("a", b"hello")
    assert await site.how("a") == "miss"
    assert site.asked() == ["GET a"]
    for seconds in (0, 2, 2.9):
        site.now += seconds
        assert await body(site.cached, "a") == b"hello"
        assert await body(site.cached, "a", Range(1, 2)) == b"el"
        assert await site.how("a") == "hit"
        meta = await site.cached.head(Head("a"))
        assert meta is not None
        assert (meta.size, meta.cache) == (5, "hit")
    assert site.asked() == []


async def test_then_the_store_is_asked_whether_it_changed(site: Site) -> None:
    site.counted.put("a", b"hello")
    await body(site.cached, "a")
    site.now += 5
    assert await site.how("a") == "revalidated"
    assert await site.how("a") == "hit"
    assert site.asked() == ["GET a", "GET a if changed"]
    site.now += 5
    site.counted.put("a", b"another")
    assert await site.how("a") == "miss"
    assert await body(site.cached, "a") == b"another"
    assert site.asked() == ["GET a if changed"]


async def test_freshness_counts_from_the_question(site: Site) -> None:
    site.counted.put("a", b"hello")
    site.counted.gate = asyncio.Event()
    asking = asyncio.create_task(body(site.cached, "a"))
    await asyncio.sleep(0.01)
    site.now += 4
    site.counted.gate.set()
    await asking
    site.asked()
    site.now += 1
    await body(site.cached, "a")
    assert site.asked() == ["GET a if changed"]


async def test_a_missing_object_is_missing_for_as_long_as_an_object_is_fresh(site: Site) -> None:
    for _ in range(3):
        assert await body(site.cached, "a") is None
        assert await site.cached.head(Head("a")) is None
    assert site.asked() == ["GET a"]
    site.counted.put("a", b"hello")
    site.now += 5
    assert await body(site.cached, "a") == b"hello"


async def test_an_object_that_is_gone_is_gone_when_it_is_no_longer_fresh(site: Site) -> None:
    site.counted.put("a", b"hello")
    await body(site.cached, "a")
    del site.counted.store._objects["a"]
    assert await body(site.cached, "a") == b"hello"
    site.now += 5
    assert await body(site.cached, "a") is None
    assert await site.cached.head(Head("a")) is None


async def test_without_freshness_the_store_is_always_asked() -> None:
    site = Site()
    site.cached = CachedStore(site.counted, 10_000_000, 0.0, clock=lambda: site.now)
    site.counted.put("a", b"hello")
    assert [await site.how("a") for _ in range(3)] == ["miss", "revalidated", "revalidated"]


# --- at once


async def test_what_is_fresh_is_answered_at_once_and_all_else_is_not(site: Site) -> None:
    assert isinstance(site.cached, InstantStore)
    site.counted.put("a", b"hello")
    asked: tuple[Callable[[], object], ...] = (
        lambda: site.cached.open_now(Open("a")),
        lambda: site.cached.head_now(Head("a")),
        lambda: site.cached.open_now(Open("none")),
    )
    for ask in asked:
        with pytest.raises(NotNow):
            ask()
    await body(site.cached, "a")
    assert await body(site.cached, "none") is None
    opened, meta, nothing = (ask() for ask in asked)
    assert isinstance(opened, Opened)
    assert opened.whole == b"hello"
    assert isinstance(meta, Meta)
    assert nothing is None
    site.now += 5
    for ask in asked:
        with pytest.raises(NotNow):
            ask()


async def test_conditions_hold_for_what_is_kept(site: Site) -> None:
    site.counted.put("a", b"hello")
    meta = await site.cached.head(Head("a"))
    assert meta is not None
    assert await body(site.cached, "a", None, meta.etag) == b"hello"
    for wish, error in ((Open("a", etag=b'"x"'), Changed), (Open("a", Range(5, None)), NotSatisfiable)):
        with pytest.raises(error):
            site.cached.open_now(wish)
    site.now += 5
    for wish, error in ((Open("a", etag=b'"x"'), Changed), (Open("a", Range(5, None)), NotSatisfiable)):
        with pytest.raises(error):
            await site.cached.open(wish)


# --- together


async def test_a_thousand_callers_of_a_cold_object_make_one_question(site: Site) -> None:
    site.counted.put("a", b"hello")
    site.counted.gate = asyncio.Event()
    callers = [asyncio.create_task(body(site.cached, "a")) for _ in range(1000)]
    heads = [asyncio.create_task(site.cached.head(Head("b"))) for _ in range(100)]
    await asyncio.sleep(0.01)
    callers[0].cancel()
    callers[500].cancel()
    await asyncio.sleep(0)
    site.counted.gate.set()
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert sum(one == b"hello" for one in found) == 998
    assert await asyncio.gather(*heads) == [None] * 100
    assert site.asked() == ["GET a", "HEAD b"]


async def test_a_question_ends_with_its_last_caller(site: Site) -> None:
    site.counted.put("a", b"hello")
    site.counted.gate = asyncio.Event()
    callers = [asyncio.create_task(body(site.cached, "a")) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (asking,) = site.cached._objects._asking.values()
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await asyncio.sleep(0)
    assert asking.task.cancelled()
    site.counted.gate.set()
    assert await body(site.cached, "a") == b"hello", "the next caller asks anew"


# --- what is not kept


async def test_nothing_of_a_failure_is_kept(site: Site) -> None:
    site.counted.put("a", b"hello")
    site.counted.put("large", bytes(300_000))
    site.counted.fails = True
    for key in ("a", "large"):
        with pytest.raises(StoreUnavailable):
            await body(site.cached, key)
    assert site.cached._entries == {}
    site.counted.fails = False
    assert await body(site.cached, "a") == b"hello"
    site.counted.fails = True
    assert await body(site.cached, "a") == b"hello", "it goes on while it is fresh"
    site.now += 5
    with pytest.raises(StoreUnavailable):
        await body(site.cached, "a")
    site.counted.fails = False
    assert await site.how("a") == "revalidated"


async def test_an_object_that_breaks_off_is_not_kept(site: Site) -> None:
    site.counted.put("a", bytes(300_000))

    async def cut() -> AsyncIterator[bytes]:
        yield bytes(100_000)

    plain = site.counted.open

    async def open_(wish: Open) -> Opened | None:
        opened = await plain(wish)
        return None if opened is None else opened._replace(chunks=cut)

    site.counted.open = open_  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await body(site.cached, "a")
    assert site.cached._entries == {}
    assert (site.counted.closed, site.cached._loading) == (1, 0)


@pytest.mark.parametrize("control", [b"no-store", b"max-age=60, No-Store", b'private="x", no-store'])
async def test_no_store_is_respected(site: Site, control: bytes) -> None:
    site.counted.put("a", b"hello", cache_control=control)
    for _ in range(2):
        assert await site.how("a") == "miss"
        await site.cached.head(Head("a"))
    assert site.asked() == ["GET a", "HEAD a", "GET a", "HEAD a"]
    site.counted.put("b", b"hello")
    await body(site.cached, "b")
    site.counted.put("b", b"hallo", cache_control=control)
    site.now += 5
    assert [await site.how("b") for _ in range(2)] == ["miss", "miss"]


async def test_large_objects_pass_through_as_they_come(site: Site) -> None:
    site.counted.put("a", bytes(LARGE))
    for _ in range(2):
        opened = await site.cached.open(Open("a"))
        assert opened is not None
        assert (opened.whole, opened.meta.cache) == (None, "miss")
        assert await read(opened) == bytes(LARGE)
    assert await body(site.cached, "a", Range(0, 9)) == bytes(10)
    assert site.cached._size < 10_000
    assert site.counted.closed == 3
    site.asked()
    site.counted.put("a", b"small")
    site.now += 5
    assert await body(site.cached, "a") == b"small"
    assert [await site.how("a"), await site.how("a")] == ["miss", "hit"]


async def test_parts_of_what_is_not_kept_pass_through(site: Site) -> None:
    site.counted.put("a", b"hello")
    assert await body(site.cached, "a", Range(1, 2)) == b"el"
    assert site.asked() == ["GET a 1-2"]
    assert site.cached._entries == {}


async def test_objects_of_a_megabyte_are_kept_and_not_too_many_are_read_at_a_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOADING", 1_500_000)
    for name in "abc":
        site.counted.put(name, bytes(1_000_000))
    found = await asyncio.gather(*(body(site.cached, name) for name in "abc"))
    assert found == [bytes(1_000_000)] * 3
    assert sum(entry.opened is not None for entry in site.cached._entries.values()) == 1
    assert site.cached._loading == 0


# --- bounds


async def test_the_bytes_that_are_kept_are_bounded_and_the_least_recently_used_leave_first() -> None:
    site = Site(size=4 * (1000 + ENTRY_SIZE + 1))
    for name in "abcd":
        site.counted.put(name, bytes(1000))
        await body(site.cached, name)
    await body(site.cached, "a")
    site.counted.put("e", bytes(1000))
    await body(site.cached, "e")
    assert list(site.cached._entries) == ["c", "d", "a", "e"]
    for number in range(1000):
        assert await body(site.cached, f"none/{number}") is None
        assert site.cached._size == sum(entry.size for entry in site.cached._entries.values())
        assert site.cached._size <= 4 * (1000 + ENTRY_SIZE + 1)


async def test_an_object_larger_than_the_cache_is_served_and_not_kept() -> None:
    site = Site(size=1000)
    site.counted.put("a", bytes(5000))
    assert await body(site.cached, "a") == bytes(5000)
    assert (site.cached._entries, site.cached._size) == ({}, 0)


def test_it_is_a_store() -> None:
    store: Store = CachedStore(MemoryStore(), 1, 1.0)
    assert store is not None
