"""Listing: every store lists the same names in the same order, in pages without gap or overlap."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import tempfile
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Self
from urllib.parse import parse_qs, quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.core.errors import InvalidTarget, StoreRefused, StoreUnavailable
from stagedoor.core.messages import Item, List
from stagedoor.store import folder as folder_module
from stagedoor.store import folder_listing
from stagedoor.store import s3 as s3_module
from stagedoor.store.folder import FolderStore
from stagedoor.store.port import Head, Store
from stagedoor.store.s3 import S3Store
from tests.helpers.serving import Recorded, plain_answer, scripted, targets
from tests.helpers.stores import (
    FLAT_KEYS,
    KINDS,
    MODIFIED,
    ODD_KEYS,
    client,
    endpoint,
    expected,
    let_in,
    listed,
    make,
    new_bucket,
)

KEYS = (
    *ODD_KEYS,
    *("a", "a-b", "a0", "ab", "a\u00ff", "b-c/1", "b/1", "b/2/3", "b/2/4", "b0", "bc", "\uff5e", "\U0001f3ad.png"),
    *("users/ann/1", "users/ann/2", "users/anna/1", "users/ben/1", "users-all"),
)
"""Among them pairs that sort one way as segments and another as bytes, or as UTF-8 and as UTF-16."""

PREFIXES = (
    *("", "a", "b", "b/", "b/2", "b/2/", "b/2/3", "b/2/34", "users/", "users/a", "users/ann", "users/ann/", "users"),
    *("none", "none/", "none/x", "a/", "..", ".", "../", "/", "//", "b//", "b/./", "-", " ", "\U0001f3ad", "x" * 2000),
)
AFTERS = (
    *("a", "a-b", "a-b ", "b", "b/", "b/1", "b/1/", "b/2/3", "b/2/\U0010ffff", "b/\U0010ffff", "users/", "users/ann"),
    *("users/ann/", "users/ann/1", "users/ann0", "\U0010ffff", "/", "..", " ", "~", "x" * 2000, "a+b%2Fc d"),
)


@pytest.fixture(params=KINDS)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    let_in(monkeypatch)
    made = make(request.param, tmp_path, {key: key.encode() for key in KEYS})
    yield made
    await made.aclose()


# --- the same for all


async def test_all_keys_are_listed_in_the_order_of_their_bytes(store: Store) -> None:
    assert await listed(store) == sorted(KEYS, key=str.encode)


async def test_a_listing_describes_an_object_as_head_does(store: Store) -> None:
    for one in (await store.list(List(""))).found:
        assert isinstance(one, Item)
        meta = await store.head(Head(one.key))
        assert meta is not None
        assert (one.size, one.etag, one.modified) == (meta.size, meta.etag.decode(), meta.modified)
        assert one.storage_class == "STANDARD"


@pytest.mark.parametrize("folders", [False, True])
async def test_a_prefix_need_not_end_with_a_segment(store: Store, folders: bool) -> None:
    for prefix in PREFIXES:
        assert await listed(store, prefix, folders=folders) == expected(KEYS, prefix, folders=folders), prefix


@pytest.mark.parametrize("folders", [False, True])
async def test_any_text_is_a_place_to_go_on_from(store: Store, folders: bool) -> None:
    for prefix in ("", "b", "b/", "users/a"):
        for after in AFTERS:
            names = expected(KEYS, prefix, after=after, folders=folders)
            assert await listed(store, prefix, after=after, folders=folders) == names, (prefix, after)


@pytest.mark.parametrize("folders", [False, True])
async def test_pages_fit_together(store: Store, folders: bool) -> None:
    for prefix in ("", "b", "users/"):
        for limit in (1, 2, 3, 7):
            names = await listed(store, prefix, limit=limit, folders=folders)
            assert names == expected(KEYS, prefix, folders=folders), (prefix, limit)


async def test_a_page_that_holds_the_rest_is_the_last(store: Store) -> None:
    assert (await store.list(List("", limit=len(KEYS)))).resume is None
    assert (await store.list(List("", limit=len(KEYS) - 1))).resume is not None
    assert (await store.list(List("none"))).found == ()


async def test_a_folder_comes_once(store: Store) -> None:
    first = await store.list(List("b", limit=1, folders=True))
    assert first.found == ("b-c/",)
    assert first.resume is not None
    second = await store.list(List("b", first.resume, 1, folders=True))
    assert second.found == ("b/",)
    for after in (second.resume, "b/", "b/1", "b/2/", "b/\U0010ffff"):
        assert after is not None
        third = await store.list(List("b", after, 1, folders=True))
        assert [one.key for one in third.found if isinstance(one, Item)] == ["b0"]


async def test_text_that_no_name_can_be_compared_with_is_refused(store: Store) -> None:
    for wish in (List("\ud800"), List("", "a\udcff"), List("a", "\ud83c\ud83c", folders=True)):
        with pytest.raises(InvalidTarget, match="Unicode"):
            await store.list(wish)


@pytest.mark.parametrize("kind", ["memory", "s3"])
async def test_keys_that_are_not_paths_are_reported(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_in(monkeypatch)
    keys = (*FLAT_KEYS, "trail/x", "x/y")
    store = make(kind, tmp_path, dict.fromkeys(keys, b"x"))
    for limit in (1, 2, 1000):
        for folders in (False, True):
            for prefix in ("", "a/", "a//", "x/", "trail/", "trail"):
                names = await listed(store, prefix, limit=limit, folders=folders)
                assert names == expected(keys, prefix, folders=folders), (prefix, limit, folders)
    await store.aclose()


@pytest.mark.parametrize("kind", ["memory", "s3"])
@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_an_object_with_an_unusable_name_is_left_out_and_logged(
    kind: str, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    let_in(monkeypatch)
    bad = ("a/../b", "x\x01y", "/lead", "a\\b", "./c", "b/..")
    good = ("a/b", "b", "z", "b/c")
    store = make(kind, tmp_path, dict.fromkeys((*bad, *good, "-/evil"), b""))
    assert await listed(store, limit=limit) == sorted(good)
    for name in bad:
        assert any(repr(name) in record.getMessage() for record in caplog.records), name
    assert await listed(store, limit=limit, folders=True) == ["a/", "b", "b/", "z"]
    assert await listed(store, "a/", limit=limit, folders=True) == ["a/b"]
    await store.aclose()


# --- against a plain model, whatever the tree


class Shuffled(list[Any]):
    """A reading of a folder in any order, as file systems have it."""

    def __init__(self, folder: Any, random: Random) -> None:
        with SCANDIR(folder) as entries:
            super().__init__(entries)
        random.shuffle(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


SCANDIR = os.scandir

_SEGMENTS = st.sampled_from(("a", "a!", "a-", "a.", "a0", "b", "..a", " ", "\u00fc", "\U0001f3ad", "\uffee", "~"))
_PATHS = st.lists(_SEGMENTS, min_size=1, max_size=4).map("/".join)
_TEXTS = st.one_of(
    st.just(""), _PATHS, _PATHS.map(lambda path: path + "/"), _PATHS.map(lambda path: path + "/\U0010ffff"), st.text()
).filter(lambda text: not re.search("[\ud800-\udfff]", text))


@settings(deadline=None)
@given(
    st.sets(_PATHS, max_size=25), _TEXTS, _TEXTS, st.sampled_from((1, 2, 3, 1000)), st.booleans(), st.integers(0, 99)
)
def test_folder_and_memory_tell_what_the_model_tells(
    paths: set[str], prefix: str, after: str, limit: int, folders: bool, seed: int
) -> None:
    files = [path for path in paths if not any(other.startswith(path + "/") for other in paths)]
    names = expected(files, prefix, after=after, folders=folders)

    async def compare(store: Store) -> None:
        assert await listed(store, prefix, after=after, limit=limit, folders=folders) == names
        await store.aclose()

    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        for kind in ("memory", "folder"):
            asyncio.run(compare(make(kind, Path(place), dict.fromkeys(files, b""))))
        patch.setattr(folder_listing, "WINDOW_BYTES", 150)  # two or three names, so that every folder is a large one
        patch.setattr(folder_listing, "WORTH_REMEMBERING", 0)
        patch.setattr(folder_listing, "_BATCH", 2)
        patch.setattr(folder_listing, "AT_A_TIME", 2)
        patch.setattr(folder_module, "SETTLED_AFTER", 0)
        patch.setattr(os, "scandir", lambda folder: Shuffled(folder, Random(seed)))
        asyncio.run(compare(FolderStore(str(Path(place) / "store"))))


# --- folders on a disk


class Site:
    def __init__(self, place: Path) -> None:
        self.root, self.outside = place / "site", place / "outside"
        self.root.mkdir()
        self.outside.mkdir()
        (self.outside / "secret").write_bytes(b"secret")
        self.store = FolderStore(str(self.root))

    def write(self, *keys: str) -> None:
        for key in keys:
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")

    async def names(self, prefix: str = "", **wish: Any) -> list[str]:
        return await listed(self.store, prefix, **wish)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    before = descriptors()
    made = Site(tmp_path)
    yield made
    await made.store.aclose()
    assert descriptors() == before, "every descriptor is closed"


def descriptors() -> set[str]:
    """Names of what is open, but for what the event loop and its threads keep."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(entry.readlink()))
    return {name for name in found if name.startswith("/") and not name.startswith(("/proc", "/dev"))}


async def test_links_pipes_and_sockets_are_not_listed(site: Site) -> None:
    site.write("real/a")
    (site.root / "linked").symlink_to(site.outside)
    (site.root / "real/linked").symlink_to(site.outside)
    (site.root / "file").symlink_to(site.outside / "secret")
    (site.root / "inner").symlink_to("real")
    (site.root / "up").symlink_to("..")
    (site.root / "only-links").mkdir()
    (site.root / "only-links/linked").symlink_to(site.outside)
    (site.root / "only-links/file").symlink_to("../real/a")
    os.mkfifo(site.root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(site.root)  # names of sockets are short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        assert await site.names() == ["real/a"]
        assert await site.names(folders=True) == ["real/"]
        for prefix in ("linked/", "linked/s", "up/outside/", "inner/", "real/linked/", "only-links/", "pipe/"):
            for folders in (False, True):
                assert await site.names(prefix, folders=folders) == [], prefix


async def test_times_are_listed_in_whole_seconds_as_head_gives_them(site: Site) -> None:
    site.write("a")
    os.utime(site.root / "a", (MODIFIED + 0.9, MODIFIED + 0.9))
    (one,) = (await site.store.list(List(""))).found
    assert isinstance(one, Item)
    assert one.modified == MODIFIED


async def test_a_folder_without_a_file_below_is_not_listed(site: Site) -> None:
    (site.root / "empty/deep/er").mkdir(parents=True)
    (site.root / "empty/wide").mkdir()
    site.write("full/deep/er/a")
    (site.root / "full/a-empty").mkdir()
    for limit in (1, 2, 1000):
        assert await site.names(folders=True, limit=limit) == ["full/"]
        assert await site.names("full/", folders=True, limit=limit) == ["full/deep/"]
        assert await site.names(limit=limit) == ["full/deep/er/a"]
        assert await site.names("empty/", limit=limit) == []


async def test_one_page_looks_into_no_more_empty_folders_than_it_has_room_for(site: Site) -> None:
    for number in range(20):
        (site.root / f"{number:02}").mkdir()
    site.write("99/a")
    page = await site.store.list(List("", limit=5))
    assert page.found == ()
    assert page.resume == "04/\U0010ffff"
    assert await site.names(limit=5) == ["99/a"]


async def test_names_that_are_not_utf8_are_left_out_and_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.write("a", "z")
    for name in (b"m\xff", b"\xff\xff", b"\xed\xa0\x80", b"folder\xff/a", b"holder/\xff"):
        site.write(os.fsdecode(name))
    for folders in (False, True):
        for limit in (1, 2, 1000):
            assert await site.names(folders=folders, limit=limit) == ["a", "z"]
    assert "not UTF-8" in caplog.text


async def test_names_that_no_request_could_spell_are_left_out_and_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    long = "/".join(["x" * 200] * 6)
    site.write("a", "back\\slash", "new\nline", "fol\\der/a", "fol\\der/b", "b/ok", "-/ours", "z", "\x7f/\x7f", long)
    for limit in (1, 2, 1000):
        assert await site.names(limit=limit) == ["a", "b/ok", "z"]
    for name in ("back\\slash", "new\nline", "fol\\der/", "\x7f/"):
        assert repr(name) in caplog.text
    assert "x" * 200 in caplog.text
    assert "fol\\\\der/a" not in caplog.text, "a folder whose name cannot be asked for is not read"
    assert await site.names(folders=True) == ["a", "b/", "x" * 200 + "/", "z"]


async def test_a_folder_as_deep_as_a_key_can_be_is_walked(site: Site) -> None:
    """Without a descriptor for each folder on the way, and without a stack that ends before."""
    segments = ["a"] * 511
    here = os.open(site.root, os.O_RDONLY)
    for segment in segments:
        os.mkdir(segment, dir_fd=here)
        below = os.open(segment, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("b", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    key = "a/" * 511 + "b"
    assert await site.names() == [key]
    assert await site.names(folders=True) == ["a/"]
    assert await site.names("a/" * 500, folders=True) == ["a/" * 501]
    assert await site.names("a/" * 511) == [key]


async def test_a_folder_that_may_not_be_read_is_left_out_and_logged(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The root of a disk has one, `lost+found`; the rest is listed all the same."""
    site.write("a", "closed/b", "open/c")
    real = os.open

    def refuse(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == b"closed":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    assert await site.names() == ["a", "open/c"]
    assert await site.names(folders=True) == ["a", "open/"]
    assert await site.names("closed/") == []
    assert "closed/" in caplog.text


async def test_a_disk_that_fails_is_a_fault(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is shown less than there is must not think that it is all."""
    site.write("a", "broken/b", "open/c")
    real = os.open

    def fail(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == b"broken":
            raise OSError(5, "Input/output error")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", fail)
    for wish in (List(""), List("", folders=True), List("broken/"), List("broken/", folders=True)):
        with pytest.raises(StoreUnavailable, match=r"broken.*Input/output error"):
            await site.store.list(wish)
    assert await site.names("open/") == ["open/c"]
    assert await site.names(after="broken/\U0010ffff") == ["open/c"], "what is passed over is not looked into"


@pytest.mark.parametrize("folders", [False, True])
async def test_a_link_that_takes_a_folders_place_meanwhile_leads_nowhere(
    site: Site, monkeypatch: pytest.MonkeyPatch, folders: bool
) -> None:
    site.write("a", "b/c/mine", "z")
    real = folder_listing.descend
    swapped = False

    def swap(root: int, segments: Sequence[bytes]) -> int:
        nonlocal swapped
        if b"b" in segments and not swapped:  # just seen as a folder, and about to be opened
            swapped = True
            (site.root / "b").rename(site.root.parent / "moved")
            (site.root / "b").symlink_to(site.outside)
        return real(root, segments)

    monkeypatch.setattr(folder_listing, "descend", swap)
    assert await site.names(folders=folders) == ["a", "z"]
    assert swapped


async def test_a_file_that_became_something_else_meanwhile_is_not_listed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write("a", "b", "c", "d")
    real = folder_listing._read

    def late(descriptor: int, folder: bytes, start: bytes) -> Any:
        read = real(descriptor, folder, start)
        (site.root / "a").unlink()
        (site.root / "b").unlink()
        (site.root / "b").symlink_to(site.outside / "secret")
        (site.root / "c").unlink()
        (site.root / "c").mkdir()
        monkeypatch.setattr(folder_listing, "_read", real)
        return read

    monkeypatch.setattr(folder_listing, "_read", late)
    assert await site.names() == ["d"]


# --- folders with very many files


@contextlib.contextmanager
def readings() -> Iterator[list[int]]:
    """Counts how often a folder is read."""
    count: list[int] = []
    real = os.scandir

    def counted(descriptor: int) -> Any:
        count.append(descriptor)
        return real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", counted)
        yield count


def fill(folder: Path, count: int) -> list[str]:
    """Make many files, in no order; they are links to one, which is quicker."""
    names = [f"file-{number * 7919 % count:06}" for number in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_bytes(b"")
    place = os.open(folder, os.O_RDONLY)
    for name in names[1:]:
        os.link(names[0], name, src_dir_fd=place, dst_dir_fd=place)
    os.close(place)
    return sorted(names)


async def test_a_large_folder_is_read_once_for_many_pages(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "SETTLED_AFTER", 0)
    names = fill(site.root / "large", 3000)
    with readings() as count:
        assert await site.names("large/", limit=100) == [f"large/{name}" for name in names]
        assert len(count) == 1
        await site.store.list(List("large/", "large/file-0015"))
        assert len(count) == 1
    await asyncio.sleep(0.05)  # more than the step in which the file system counts time
    site.write("large/file-001500-new")
    (site.root / f"large/{names[2000]}").unlink()
    changed = sorted({*names, "file-001500-new"} - {names[2000]})
    assert await site.names("large/", limit=1000) == [f"large/{name}" for name in changed]


async def test_a_folder_that_just_changed_is_not_remembered(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its times may not show the next change."""
    monkeypatch.setattr(
        folder_listing, "_identity", lambda status: (status.st_ino,)
    )  # a clock between two of its steps
    names = fill(site.root, 2000)
    first = await site.store.list(List("", limit=10))
    site.write("file-000010-new")
    assert first.resume is not None
    second = await site.store.list(List("", first.resume, limit=2))
    assert [one.key for one in second.found if isinstance(one, Item)] == [names[10], "file-000010-new"]


async def test_a_very_large_folder_that_changes_all_the_time_is_read_no_more_than_half_of_the_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, real, starts = [0.0], folder_listing._read, list[bytes]()

    def slowly(descriptor: int, folder: bytes, start: bytes) -> Any:
        starts.append(start)
        now[0] += 2
        return real(descriptor, folder, start)

    monkeypatch.setattr(folder_listing, "_read", slowly)
    names = fill(site.root, 3000)
    site.store._windows = folder_listing.Windows(lambda _: False, lambda: now[0])
    assert await site.names(limit=100) == names
    assert starts == [b"\0"], "one reading for thirty pages"
    new = f"{names[0]}-new"
    site.write(new)
    now[0] += 1.9
    assert await site.names(limit=2000) == names
    now[0] += 0.2
    assert await site.names(limit=2000) == sorted([*names, new])


async def test_a_page_ends_when_its_time_is_over_and_the_next_one_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_listing, "PAGE_WITHIN", -1.0)
    names = [f"{folder}/{name}" for folder in "ab" for name in fill(site.root / folder, 3)]
    for folders, expected_names in ((False, names), (True, ["a/", "b/"])):
        found, after, pages = list[str](), "", 0
        while True:
            page = await site.store.list(List("", after, 1000, folders))
            found += [one if isinstance(one, str) else one.key for one in page.found]
            pages += 1
            if page.resume is None:
                break
            assert page.resume > after
            after = page.resume
        assert found == expected_names
        assert pages == len(expected_names)


async def test_what_is_remembered_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "SETTLED_AFTER", 0)
    monkeypatch.setattr(folder_listing, "WINDOW_BYTES", 20_000)
    monkeypatch.setattr(folder_listing, "REMEMBERED_BYTES", 50_000)
    monkeypatch.setattr(folder_listing, "_BATCH", 100)
    monkeypatch.setattr(folder_listing, "WORTH_REMEMBERING", 100)
    names = [f"{folder}/{name}" for folder in "abc" for name in fill(site.root / folder, 1500)]
    for _ in range(2):
        assert await site.names(limit=90) == names
    kept = [window for windows in site.store._windows._kept.values() for window in windows]
    assert 0 < sum(window.size for window in kept) == site.store._windows._size <= 50_000
    assert all(len(window.names) < 400 for window in kept)


async def test_memory_does_not_grow_with_the_files_of_a_folder(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """50,000 names would be 3 MB."""
    monkeypatch.setattr(folder_listing, "WINDOW_BYTES", 100_000)
    monkeypatch.setattr(folder_listing, "_BATCH", 500)
    names = fill(site.root, 50_000)
    tracemalloc.start()
    try:
        for after, first in (("", 0), (names[24_999], 25_000)):
            tracemalloc.reset_peak()
            page = await site.store.list(List("", after, 100))
            _, peak = tracemalloc.get_traced_memory()
            assert [one.key for one in page.found if isinstance(one, Item)] == names[first : first + 100]
            assert peak < 600_000
    finally:
        tracemalloc.stop()


# --- folders and the event loop


class Gate:
    """Holds up every reading of a folder until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop, real = asyncio.get_running_loop(), os.scandir
        self.reached, self._open = asyncio.Event(), threading.Event()

        def wait(descriptor: int) -> Any:
            loop.call_soon_threadsafe(self.reached.set)
            assert self._open.wait(10)
            return real(descriptor)

        monkeypatch.setattr(os, "scandir", wait)

    def open(self) -> None:
        self._open.set()


async def test_a_slow_disk_keeps_nobody_waiting_and_closing_meanwhile_is_safe(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write("a", "b/c")
    gate = Gate(monkeypatch)
    under_way = [asyncio.create_task(site.store.list(List(""))) for _ in range(folder_module.LISTERS)]
    await gate.reached.wait()
    waiting = asyncio.create_task(site.store.list(List("")))
    await asyncio.sleep(0)
    assert await asyncio.to_thread(lambda: "other threads go on") == "other threads go on"
    await site.store.aclose()
    elsewhere = os.open(site.outside, os.O_RDONLY)  # takes the number that the folder had
    try:
        gate.open()
        for listing in await asyncio.gather(*under_way, waiting, return_exceptions=True):
            if not isinstance(listing, StoreUnavailable):
                assert not isinstance(listing, BaseException)
                assert [one.key for one in listing.found if isinstance(one, Item)] == ["a", "b/c"]
        assert isinstance(waiting.exception(), StoreUnavailable)
        with pytest.raises(StoreUnavailable, match="not served"):
            await site.store.list(List(""))
    finally:
        os.close(elsewhere)


async def test_the_folder_is_not_closed_while_a_listing_takes_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be reused for another folder, which would be listed then."""
    site.write("a")
    root, real, reached, go_on = site.store._root, os.open, threading.Event(), threading.Event()

    def wait(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == b".":
            reached.set()
            assert go_on.wait(10)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", wait)
    under_way = asyncio.create_task(site.names())
    assert await asyncio.to_thread(reached.wait, 10)
    closing = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(site.store.aclose())))
    await asyncio.sleep(0.05)
    os.fstat(root)
    go_on.set()
    assert await under_way == ["a"]
    await closing


async def test_a_listing_that_is_given_up_leaves_nothing_open(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write("a/b")
    gate = Gate(monkeypatch)
    tasks = [asyncio.create_task(site.store.list(List(""))) for _ in range(10)]
    await gate.reached.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    gate.open()
    assert await site.names() == ["a/b"]
    await asyncio.to_thread(lambda: site.store._listers.close(wait=True))  # `site` looks for open descriptors


# --- S3, as scripted


class Script:
    """A bucket with scripted answers."""

    def __init__(self) -> None:
        self.seen: Recorded = []
        self.answer: bytes | Callable[[dict[str, str]], bytes] = listing()
        self.port = 0

    def __call__(self, head: bytes) -> bytes:
        return self.answer if isinstance(self.answer, bytes) else self.answer(self.asked())

    def asked(self) -> dict[str, str]:
        """The query of the request that came last."""
        query = targets(self.seen)[-1].decode().partition("?")[2]
        return {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}


def listing(*names: str, truncated: bool = False, folders: Sequence[str] = (), more: str = "") -> bytes:
    """A page as S3 writes it: names percent-encoded with a plus for a space, as `EncodingType` asks."""
    objects = "".join(
        f"<Contents><Key>{quote_plus(name, safe='/')}</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified>"
        f"<ETag>&quot;abc&quot;</ETag><Size>5</Size>{more}</Contents>"
        for name in names
    )
    prefixes = "".join(f"<CommonPrefixes><Prefix>{quote_plus(name)}</Prefix></CommonPrefixes>" for name in folders)
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>bucket</Name><EncodingType>url</EncodingType><IsTruncated>{str(truncated).lower()}</IsTruncated>"
        f"{objects}{prefixes}</ListBucketResult>"
    )
    return plain_answer("200 OK", text.encode(), "content-type: application/xml")


def refusal(status: str, code: str, *lines: str) -> bytes:
    text = f"<Error><Code>{escape(code)}</Code><Message>words</Message></Error>"
    return plain_answer(status, text.encode(), "content-type: application/xml", *lines)


@pytest.fixture
async def script(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Script]:
    let_in(monkeypatch)
    monkeypatch.setattr(s3_module, "RETRIES", 0)
    made = Script()
    async with scripted(made, made.seen) as made.port:
        yield made


@contextlib.asynccontextmanager
async def bucket(script: Script, prefix: str = "") -> AsyncIterator[S3Store]:
    store = S3Store("bucket", prefix, endpoint=f"http://127.0.0.1:{script.port}")
    try:
        yield store
    finally:
        await store.aclose()


async def test_s3_is_asked_for_exactly_the_page(script: Script) -> None:
    async with bucket(script, "some/pre fix") as store:
        await store.list(List("a+b ", "a+b \x01\u00fc", 10))
        assert targets(script.seen)[0].partition(b"?")[0] == b"/bucket"
        assert script.asked() == {
            "list-type": "2",
            "encoding-type": "url",
            "prefix": "some/pre fix/a+b ",
            "start-after": "some/pre fix/a+b \x01\u00fc",
            "max-keys": "11",
        }
        await store.list(List("", folders=True))
        assert script.asked()["delimiter"] == "/"
        assert script.asked()["start-after"] == "some/pre fix/"
        assert script.asked()["max-keys"] == "1000"
        await store.list(List("", "\u00fc" * 3000))
        assert len(script.asked()["start-after"].encode()) in (1023, 1024)
        script.seen.clear()
        assert (await store.list(List("x" * 1020))).found == ()
        assert script.seen == [], "no key is that long"


async def test_the_prefix_of_the_store_is_taken_away(script: Script) -> None:
    script.answer = listing("p/", "p/a b+c%.txt", "p/\x01", "p/p/z", "p/\u00fc", folders=["p/d/"])
    async with bucket(script, "p") as store:
        assert await listed(store) == ["a b+c%.txt", "d/", "p/z", "\u00fc"]


async def test_what_s3_says_of_an_object_is_listed(script: Script) -> None:
    async with bucket(script) as store:
        script.answer = listing("a")
        assert (await store.list(List(""))).found == (Item("a", '"abc"', MODIFIED, 5, "STANDARD"),)
        script.answer = listing("a", more="<StorageClass>GLACIER</StorageClass>")
        assert (await store.list(List(""))).found == (Item("a", '"abc"', MODIFIED, 5, "GLACIER"),)


async def test_the_marker_of_the_stores_own_folder_is_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    let_in(monkeypatch)
    name = new_bucket()
    for key in ("p/", "p/\x01", "p/a b+c%.txt", "p", "p-", "q/a"):
        client().put_object(Bucket=name, Key=key, Body=b"")
    store = S3Store(name, "p", endpoint=endpoint())
    assert await listed(store) == await listed(store, folders=True) == ["a b+c%.txt"]
    await store.aclose()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal("403 Forbidden", "AccessDenied"), StoreRefused),
        (refusal("403 Forbidden", "InvalidAccessKeyId"), StoreRefused),
        (refusal("403 Forbidden", "RequestTimeTooSkewed"), StoreRefused),
        (refusal("404 Not Found", "NoSuchBucket"), StoreRefused),
        (refusal("404 Not Found", "NoSuchKey"), StoreRefused),
        (refusal("400 Bad Request", "InvalidArgument"), StoreRefused),
        (plain_answer("403 Forbidden"), StoreRefused),
        (plain_answer("404 Not Found"), StoreRefused),
        (refusal("503 Slow Down", "SlowDown"), StoreUnavailable),
        (refusal("500 Internal Server Error", "InternalError"), StoreUnavailable),
        (refusal("429 Too Many Requests", "TooManyRequests"), StoreUnavailable),
        (plain_answer("502 Bad Gateway"), StoreUnavailable),
        (plain_answer("200 OK", b"<html>no list"), StoreUnavailable),
        (plain_answer("200 OK", b"<html><body>sign in to this network</body></html>"), StoreUnavailable),
        (plain_answer("200 OK"), StoreUnavailable),
        (
            plain_answer("200 OK", b"<ListBucketResult><Contents><Key>\x01</Key></Contents></ListBucketResult>"),
            StoreUnavailable,
        ),
        (
            plain_answer("200 OK", b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>"),
            StoreUnavailable,
        ),
        (listing("a")[:-30], StoreUnavailable),
        (b"", StoreUnavailable),
    ],
)
async def test_no_refusal_is_taken_for_an_empty_bucket(script: Script, answer: bytes, error: type[Exception]) -> None:
    script.answer = answer
    async with bucket(script) as store:
        for wish in (List(""), List("a/", folders=True)):
            with pytest.raises(error):
                await store.list(wish)
        assert store._turns._keys == {}, "no turn is held"


async def test_a_listing_follows_no_redirect(script: Script) -> None:
    seen: Recorded = []
    async with scripted(lambda _: listing("elsewhere"), seen) as port:
        for status in ("301 Moved Permanently", "307 Temporary Redirect", "302 Found"):
            line = f"location: http://127.0.0.1:{port}/bucket?list-type=2"
            script.answer = refusal(status, "PermanentRedirect", line)
            async with bucket(script) as store:
                with pytest.raises((StoreRefused, StoreUnavailable)):
                    await store.list(List(""))
    assert seen == []


async def test_names_that_were_not_asked_for_are_not_listed(script: Script) -> None:
    """A server that forgets the prefix would show what lies beside the store."""
    async with bucket(script, "mine") as store:
        for answer in (listing("mine/a", "other/b"), listing("b"), listing(folders=["mine/a/", "other/"])):
            script.answer = answer
            with pytest.raises(StoreUnavailable, match="not asked for"):
                await store.list(List(""))
        script.answer = listing("mine/b")
        with pytest.raises(StoreUnavailable, match="not asked for"):
            await store.list(List("a"))


async def test_a_folder_that_the_server_tells_again_does_not_come_again(script: Script) -> None:
    """S3 resumes by keys, and a key after `after` may be in a folder that was listed already."""
    script.answer = listing("c", folders=["b/"], truncated=True)
    async with bucket(script) as store:
        page = await store.list(List("", "b/\U0010ffff", 1, folders=True))
        assert [one.key for one in page.found if isinstance(one, Item)] == ["c"]
        assert page.resume == "c"


async def test_a_server_that_goes_round_in_circles_is_a_fault(script: Script) -> None:
    script.answer = listing("a", "b", truncated=True)
    async with bucket(script) as store:
        assert (await store.list(List(""))).resume == "b"
        with pytest.raises(StoreUnavailable, match="go on"):
            await store.list(List("", "b"))
        script.answer = listing(truncated=True)
        with pytest.raises(StoreUnavailable, match="go on"):
            await store.list(List(""))


async def test_a_page_of_unusable_names_is_empty_and_has_a_next_one(script: Script) -> None:
    """Where a usable name is among them the next page goes on from that, for not every server takes the others."""
    async with bucket(script) as store:
        script.answer = listing("a\x01", "a\x02", truncated=True)
        assert await store.list(List("")) == ((), "a\x02")
        script.answer = listing("a", "a\x02", truncated=True)
        page = await store.list(List(""))
        assert (len(page.found), page.resume) == (1, "a")
