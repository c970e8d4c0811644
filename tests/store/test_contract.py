"""The contract of a store, the same for all: the key that is asked for is the one that is read, and never another."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stagedoor.core.errors import StoreUnavailable, UnusableKey
from stagedoor.core.paths import decode, encode
from stagedoor.store import open_store
from stagedoor.store.folder import FolderStore
from stagedoor.store.media_types import content_type
from stagedoor.store.memory import MemoryStore
from stagedoor.store.port import Changed, Head, InstantStore, NotSatisfiable, Open, Range, Store
from stagedoor.store.s3 import S3Store
from tests.helpers.stores import FLAT_KEYS, KINDS, MODIFIED, ODD_KEYS, Fields, body, let_in, make, read, size

LARGE = bytes(range(256)) * 4096  # 1 MB, more than any store gives out in one piece
OBJECTS = {**{key: f"this is {key}".encode() for key in ODD_KEYS}, "empty": b"", "ten": b"0123456789", "large": LARGE}


@pytest.fixture(params=KINDS)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    let_in(monkeypatch)
    made = make(request.param, tmp_path, OBJECTS)
    yield made
    await made.aclose()


async def test_every_key_is_read_exactly_as_asked(store: Store) -> None:
    for key in ODD_KEYS:
        assert await body(store, key) == OBJECTS[key], key
        assert await size(store, key) == len(OBJECTS[key]), key


def test_every_odd_key_can_be_asked_for_at_the_door_or_nowhere() -> None:
    for key in (*ODD_KEYS, *FLAT_KEYS):
        if "%2F" not in key:  # the literal text %2F is %252F in a target
            assert decode(encode(key).encode()) == key
    assert decode(b"/a%252Fb") == "a%2Fb"


async def test_neighbours_of_a_key_are_other_keys(store: Store) -> None:
    for key in (
        "a/b",
        "a%252Fb",
        "a b c%.txt",
        "a%20b+c%25.txt",
        "A",
        "TEN",
        "ten/",
        "ten/x",
        "/ten",
        "ten ",
        "ten.",
        "deep",
        "deep/",
        "deep/er/",
        "deep//er/and/deep/er",
        "hidden",
        "/",
        "//",
        "a",
        "q",
        "a#",
        "?m",
        "%",
        "te*",
        "te?",
        "\u00fc.TXT",
        "x" * 1024,
        "ü" * 512,
    ):
        try:
            assert await body(store, key) is None, key
            assert await store.head(Head(key)) is None, key
        except (UnusableKey, StoreUnavailable):
            pytest.fail(f"{key!r} is a key that may be missing, not a fault")


@pytest.mark.parametrize("kind", ["memory", "s3"])
async def test_keys_that_are_no_paths_are_kept_apart(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_in(monkeypatch)
    store = make(kind, tmp_path, {key: key.encode() for key in FLAT_KEYS})
    for key in FLAT_KEYS:
        assert await body(store, key) == key.encode()
    for key in ("x/y", "trail", "x///y", "a/", "a/b", "a//b"):
        assert await body(store, key) is None
    await store.aclose()


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Range(0, None), b"0123456789"),
        (Range(0, 0), b"0"),
        (Range(3, 5), b"345"),
        (Range(9, 9), b"9"),
        (Range(9, 99), b"9"),
        (Range(0, 10**17), b"0123456789"),
        (Range(None, 3), b"789"),
        (Range(None, 10), b"0123456789"),
        (Range(None, 99), b"0123456789"),
        (Range(10, None), None),
        (Range(99, 100), None),
        (Range(None, 0), None),
    ],
)
async def test_ranges(store: Store, span: Range, expected: bytes | None) -> None:
    if expected is None:
        with pytest.raises(NotSatisfiable) as caught:
            await store.open(Open("ten", span))
        assert caught.value.size == 10
    else:
        opened = await store.open(Open("ten", span))
        assert opened is not None
        assert opened.meta.size == 10
        assert OBJECTS["ten"][opened.start : opened.stop] == expected
        assert await read(opened) == expected


async def test_no_range_of_an_empty_object_can_be_had(store: Store) -> None:
    assert await body(store, "empty") == b""
    for span in (Range(0, None), Range(0, 0), Range(None, 5)):
        with pytest.raises(NotSatisfiable) as caught:
            await store.open(Open("empty", span))
        assert caught.value.size == 0


async def test_large_objects_come_in_pieces(store: Store) -> None:
    assert await body(store, "large") == LARGE
    assert await body(store, "large", Range(100_000, 900_000)) == LARGE[100_000:900_001]
    assert await body(store, "large", Range(None, 300_000)) == LARGE[-300_000:]


async def test_closing_without_reading_lets_go(store: Store) -> None:
    for _ in range(300):  # more than there are connections to S3, or descriptors to spare
        opened = await store.open(Open("large"))
        assert opened is not None
        opened.close()
    assert await body(store, "ten") == b"0123456789"


async def test_an_etag_binds_to_one_version(store: Store) -> None:
    meta = await store.head(Head("ten"))
    assert meta is not None
    assert meta.etag.startswith(b'"')
    assert meta.etag.endswith(b'"')
    assert await body(store, "ten", None, meta.etag) == b"0123456789"
    assert await body(store, "ten", Range(1, 2), meta.etag) == b"12"
    for span in (None, Range(1, 2), Range(50, 60)):
        with pytest.raises(Changed):
            await store.open(Open("ten", span, b'"other"'))
    assert await store.open(Open("none", None, meta.etag)) is None


async def test_head_and_open_agree(store: Store) -> None:
    for key in ("empty", "ten", "large"):
        head, opened = await store.head(Head(key)), await store.open(Open(key))
        assert head is not None
        assert opened is not None
        described, held = head, opened.meta
        assert (described.size, described.etag, described.modified) == (held.size, held.etag, held.modified)
        assert (described.content_type, described.headers) == (held.content_type, held.headers)
        opened.close()


async def test_stores_are_ready(store: Store) -> None:
    await store.ready()


@pytest.mark.parametrize("kind", ["memory", "s3"])
async def test_what_is_stored_beside_the_bytes_comes_with_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_in(monkeypatch)
    fields = Fields("text/x-odd; a=b", "max-age=60, public", 'inline; filename="x"', "gzip", "de", "")
    store = make(kind, tmp_path, {"a": b"\x1f\x8bzipped"}, {"a": fields})
    meta = await store.head(Head("a"))
    assert meta is not None
    assert meta.content_type == b"text/x-odd; a=b"
    assert dict(meta.headers) == {
        b"cache-control": b"max-age=60, public",
        b"content-disposition": b'inline; filename="x"',
        b"content-encoding": b"gzip",
        b"content-language": b"de",
    }
    assert await body(store, "a") == b"\x1f\x8bzipped"
    await store.aclose()


def test_modified_is_whole_seconds(tmp_path: Path) -> None:
    store = make("folder", tmp_path, {"a": b""})
    assert isinstance(store, FolderStore)
    os.utime(tmp_path / "store/a", (MODIFIED + 0.9, MODIFIED + 0.9))
    meta = store.head_now(Head("a"))
    assert meta is not None
    assert meta.modified == MODIFIED


# --- the table of stores


def test_urls_name_stores(tmp_path: Path) -> None:
    assert isinstance(open_store("memory:"), MemoryStore)
    assert isinstance(open_store(None), MemoryStore)
    odd = tmp_path / "a b%ü"
    odd.mkdir()
    assert isinstance(open_store(odd.as_uri()), FolderStore)
    bucket = open_store("s3://bucket/some/prefix/", region="eu-central-1")
    assert isinstance(bucket, S3Store)
    assert (bucket._bucket, bucket._prefix) == ("bucket", "some/prefix/")


def test_only_stores_that_never_wait_say_so(tmp_path: Path) -> None:
    assert isinstance(MemoryStore(), InstantStore)
    assert isinstance(FolderStore(str(tmp_path)), InstantStore)
    assert not isinstance(S3Store("bucket"), InstantStore)


# --- media types


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a.png", "image/png"),
        ("a.PNG", "image/png"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.html", "text/html; charset=utf-8"),
        ("a.svg", "image/svg+xml"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mp4", "video/mp4"),
        ("a.webp", "image/webp"),
        ("a.tar.gz", "application/gzip"),
        ("a.epub", "application/epub+zip"),
        ("a.log", "text/plain; charset=utf-8"),
        ("a.yaml", "application/yaml"),
        ("a.yml", "application/yaml"),
        ("a.ipynb", "application/x-ipynb+json"),
        ("a.glb", "model/gltf-binary"),
        ("a.mts", "video/mp2t"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.odt", "application/vnd.oasis.opendocument.text"),
        ("a.ttf", "font/ttf"),
        ("a.ics", "text/calendar; charset=utf-8"),
        ("a.svgz", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("a.html/b", "application/octet-stream"),
        (".html", "text/html; charset=utf-8"),
        ("a.", "application/octet-stream"),
        ("a.no-such-type", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_media_types_follow_the_ending(key: str, expected: str) -> None:
    assert content_type(key).decode() == expected
