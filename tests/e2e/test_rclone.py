"""A second store that speaks S3: rclone, over a folder.

Known faults of it, which the store has to live with: it calls every part 200, does not look at If-Match, lists entity
tags without quotes, and refuses keys with empty segments.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stagedoor.core.errors import StoreRefused, UnusableKey
from stagedoor.core.messages import Item, List
from stagedoor.outside import aws
from stagedoor.store.port import Changed, Head, NotSatisfiable, Open, Range, Unchanged
from stagedoor.store.s3 import S3Store
from tests.helpers.servers import HOST, Server, environment, free_port, poll
from tests.helpers.stores import FLAT_KEYS, ODD_KEYS, body, expected, let_in, listed

KEYS = [*ODD_KEYS, *(f"many/{number:04}" for number in range(1500)), "large"]
LARGE = bytes(range(256)) * 20_000


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("rclone"), free_port()
    for key in KEYS:
        path = folder / "buckets" / "bucket" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(LARGE if key == "large" else f"bytes of {key}".encode())
    program = Path(sys.executable).with_name("rclone")
    command = [str(program), "serve", "s3", "--auth-key", "AKIAEXAMPLE,secret", "--addr", f"{HOST}:{port}", "buckets"]
    server = Server(command, folder, environment(folder), "rclone")
    try:
        poll(lambda: "Starting s3 server" in server.err, 30, "rclone listens")
        yield f"http://{HOST}:{port}"
    finally:
        server.stop()


@pytest.fixture
async def store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3Store]:
    let_in(monkeypatch)
    made = S3Store("bucket", endpoint=endpoint)
    yield made
    await made.aclose()


async def test_every_key_is_read_exactly_as_asked(store: S3Store) -> None:
    for key in ODD_KEYS:
        assert await body(store, key) == f"bytes of {key}".encode(), key
        meta = await store.head(Head(key))
        assert meta is not None
        assert meta.size == len(f"bytes of {key}".encode())
    for key in ("none", "many", "many/", "A b+c%.txt"):
        assert await body(store, key) is None, key
        assert await store.head(Head(key)) is None, key


async def test_keys_that_it_cannot_have_are_none_of_its_objects(store: S3Store) -> None:
    """It says so in one of two ways, whatever was asked before."""
    for key in FLAT_KEYS:
        with contextlib.suppress(UnusableKey):
            assert await body(store, key) is None, key
        with contextlib.suppress(UnusableKey):
            assert await store.head(Head(key)) is None, key


async def test_parts_are_the_right_ones(store: S3Store) -> None:
    for span in (Range(0, None), Range(0, 0), Range(5, 99_999), Range(None, 70_000), Range(5_000_000, None)):
        extent = span.resolve(len(LARGE))
        assert extent is not None
        opened = await store.open(Open("large", span))
        assert opened is not None
        assert ((opened.start, opened.stop), opened.meta.size) == (extent, len(LARGE))
        opened.close()
        assert await body(store, "large", span) == LARGE[slice(*extent)]
    with pytest.raises(NotSatisfiable):
        await body(store, "large", Range(len(LARGE), None))


async def test_versions_are_told_apart(store: S3Store) -> None:
    meta = await store.head(Head("large"))
    assert meta is not None
    assert await body(store, "large", None, meta.etag) == LARGE
    with pytest.raises(Changed):
        await body(store, "large", None, b'"other"')
    with pytest.raises(Unchanged):
        await store.open(Open("large", known=meta.etag))


async def test_listings_have_every_name_once(store: S3Store) -> None:
    for prefix, folders in (("", False), ("", True), ("many/", False), ("deep/", True), ("none/", False)):
        assert await listed(store, prefix, folders=folders) == expected(KEYS, prefix, folders=folders)
    (found,) = (await store.list(List("large"))).found
    meta = await store.head(Head("large"))
    assert meta is not None
    assert isinstance(found, Item)
    assert (found.size, found.etag.encode()) == (len(LARGE), meta.etag)


async def test_it_lets_nobody_in_with_another_secret(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what it accepted above was signed rightly."""
    let_in(monkeypatch)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    aws.forget_session()
    store = S3Store("bucket", endpoint=endpoint)
    with pytest.raises(StoreRefused, match="SignatureDoesNotMatch"):
        await body(store, "large")
    await store.aclose()
    aws.forget_session()
