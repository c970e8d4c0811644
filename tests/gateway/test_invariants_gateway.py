"""The promises of `test_invariants.py` once more, where bytes flow: at the gateway, its protocol and its stores."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stagedoor.core import paths
from stagedoor.core.errors import InvalidTarget, StoreRefused, StoreUnavailable, UnusableKey
from stagedoor.store.cache import CachedStore
from stagedoor.store.memory import MemoryStore
from stagedoor.store.port import Head, Meta, NotSatisfiable, Open, Opened
from tests.helpers.serving import bearer_line, fresh_token, message, prepare, serving, settings_text, wire

SETTINGS = settings_text('store = "memory:"')
PARTS = [
    *("a", "public", "team", "..", ".", "%2e", "%2E%2e", "%2f", "%5c", "\\", "//", "", "%00", "%", "%25", "%2525"),
    *(
        "+",
        "%20",
        "%c3%bc",
        "%C3%BC",
        "u%cc%88",
        "%ff",
        "%F0%9F%8E%AD",
        "-",
        "~",
        "%7e",
        "*",
        "?",
        "#",
        ";",
        "&",
        "=",
        "@",
    ),
]


class Watched(MemoryStore):
    """A store that has every object, holds its own name, and writes down what it was asked for."""

    def __init__(self, fault: Exception | None = None) -> None:
        super().__init__()
        self.asked: list[Head | Open] = []
        self.fault = fault

    def head_now(self, wish: Head) -> Meta | None:
        self._note(wish)
        return super().head_now(wish)

    def open_now(self, wish: Open) -> Opened | None:
        self._note(wish)
        return super().open_now(wish)

    def _note(self, wish: Head | Open) -> None:
        self.asked.append(wish)
        if self.fault is not None:
            raise self.fault
        self.put(wish.key, wish.key.encode(), modified=1)


TOKEN = fresh_token()


@contextlib.asynccontextmanager
async def serving_site(folder: Path, store: MemoryStore) -> AsyncIterator[int]:
    prepare(folder)
    async with serving(folder, SETTINGS, store=store) as here:
        yield here.port


async def test_1_the_store_is_asked_for_the_key_that_was_authorised_and_no_other(tmp_path: Path) -> None:
    chance, store = random.Random(1), Watched()
    async with serving_site(tmp_path, store) as port:
        for _ in range(400):
            target = "/" + "/".join(chance.choices(PARTS, k=chance.randrange(1, 5))).replace("/?", "?", 1)
            store.asked.clear()
            async with wire(port) as connection:
                heard = await connection.ask(target, "GET", bearer_line(TOKEN))
            path = target.encode().partition(b"?")[0]
            if not store.asked:
                assert heard.status in (302, 400, 403, 404), target
                continue
            try:
                key = paths.decode(path)
            except InvalidTarget:
                pytest.fail(f"{target} names no key, and {store.asked} was fetched")
            assert {wish.key for wish in store.asked} == {key}, target
            assert key.split("/")[0] in ("public", "team"), target
            assert (heard.status, heard.body) == (200, key.encode()), target


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (StoreUnavailable("away"), 503),
        (StoreRefused("not you"), 502),
        (UnusableKey("odd"), 404),
        (NotSatisfiable(5), 416),
        (OSError(24, "Too many open files"), 500),
        (MemoryError(), 500),
        (RuntimeError("bug"), 500),
        (KeyError("bug"), 500),
        (TimeoutError(), 500),
        (RecursionError(), 500),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else str(one),
)
async def test_2_whatever_goes_wrong_nothing_is_served(tmp_path: Path, fault: Exception, status: int) -> None:
    async with serving_site(tmp_path, Watched(fault)) as port, wire(port) as connection:
        for method in ("GET", "HEAD"):
            heard = await connection.ask("/public/a", method)
            assert heard.status == status
            assert heard.field("cache-control") == "no-store"
            assert b"public/a" not in heard.body
        assert (await connection.ask("/team/a")).status == 401


async def test_3_on_one_connection_everybody_is_asked_who_they_are(tmp_path: Path) -> None:
    """What has just been served to one is not served to the next, whatever that one already holds of it."""
    store = Watched()
    async with serving_site(tmp_path, store) as port, wire(port) as connection:
        served = await connection.ask("/team/a", "GET", bearer_line(TOKEN))
        assert served.body == b"team/a"
        etag = f"If-None-Match: {served.field('etag')}"
        for lines in ((), (etag,), (etag, "Range: bytes=0-1"), ("If-Match: x",), ("Range: bytes=99-",)):
            for method in ("GET", "HEAD"):
                store.asked.clear()
                assert (await connection.ask("/team/a", method, *lines)).status == 401
                assert (await connection.ask("/team/a", method, bearer_line("a.b.c"), *lines)).status == 401
                assert (await connection.ask("/team/secret/a", method, bearer_line(TOKEN), *lines)).status == 403
                assert store.asked == [], "nobody looks whether it is there"
        await connection.send(message("/team/a", "GET", bearer_line(TOKEN)) + message("/team/a") + message("/public/a"))
        assert [(await connection.answer()).status for _ in range(3)] == [200, 401, 200]


async def test_5_the_store_hears_of_key_range_and_version_only(tmp_path: Path) -> None:
    store = Watched()
    async with serving_site(tmp_path, store) as port, wire(port) as connection:
        lines = (bearer_line(TOKEN), "Cookie: a=b", "X-Amz-Meta: c", "Range: bytes=0-3", "If-Match: *")
        assert (
            await connection.ask(f"/team/a?token={TOKEN}&response-content-type=text/html", "GET", *lines)
        ).status == 206
    assert store.asked
    for wish in store.asked:
        assert wish.key == "team/a"
        assert TOKEN not in repr(wish)
        assert "html" not in repr(wish)


async def test_6_the_host_header_decides_nothing(tmp_path: Path) -> None:
    store = Watched()
    async with serving_site(tmp_path, store) as port, wire(port) as connection:
        for host in ("evil.example", "public", "127.0.0.1", "localhost:99999", "a" * 300):
            assert (await connection.ask("/team/a", "GET", f"Host: {host}")).status == 401
            assert (await connection.ask("/public/a", "GET", f"Host: {host}")).body == b"public/a"
    assert {wish.key for wish in store.asked} == {"public/a"}


async def test_8_an_answer_is_never_longer_in_memory_than_a_piece(tmp_path: Path) -> None:
    """A reader who stops reading stops the store too: no more than a few pieces are under way."""
    produced = 0

    class Measured(MemoryStore):
        def open_now(self, wish: Open) -> Opened | None:
            meta = Meta(2**40, b'"1"', 0, b"video/mp4")
            return Opened(meta, 0, 2**40, None, self.pieces, lambda: None)

        async def pieces(self) -> AsyncIterator[bytes]:
            nonlocal produced
            while True:
                produced += 262_144
                yield bytes(262_144)

    async with serving_site(tmp_path, Measured()) as port, wire(port, receive_buffer=65_536) as connection:
        await connection.send(message("/public/endless"))
        await connection.head()
        for _ in range(100):
            assert (await connection.reader.read(65_536)) != b""
        assert produced < 32 * 1_048_576


async def test_3_the_cache_is_looked_at_only_after_the_decision(tmp_path: Path) -> None:
    """Neither bytes nor 206, 304, 412, 416 or HEAD of what one caller's request put there leave for another."""
    prepare(tmp_path)
    watched = Watched()
    cached = CachedStore(watched, 1_000_000, 3600.0)
    ben = bearer_line(fresh_token(sub="ben"))
    async with serving(tmp_path, SETTINGS, store=cached) as here, wire(here.port) as connection:
        heard = await connection.ask("/users/ann/a.txt", "GET", bearer_line(fresh_token(sub="ann")))
        etag = heard.field("etag")
        assert (heard.status, heard.body) == (200, b"users/ann/a.txt")
        for line in ("Accept: */*", "Range: bytes=0-1", f"If-None-Match: {etag}", 'If-Match: "x"', "Range: bytes=99-"):
            for method in ("GET", "HEAD"):
                assert (await connection.ask("/users/ann/a.txt", method, line, ben)).status == 403
                assert (await connection.ask("/users/ann/a.txt", method, line)).status == 401
        for line, status in (("Range: bytes=0-1", 206), (f"If-None-Match: {etag}", 304), ("Range: bytes=99-", 416)):
            answer = await connection.ask("/users/ann/a.txt", "GET", line, bearer_line(fresh_token(sub="ann")))
            assert answer.status == status
        assert [type(wish) for wish in watched.asked] == [Open], "the store was asked once"
        assert {line["cache"] for line in here.lines() if line["status"] in (401, 403)} == {""}
