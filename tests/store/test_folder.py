"""The folder store: nothing but regular files below the folder, and never half a file that looks whole."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from stagedoor.core.errors import StoreUnavailable
from stagedoor.store import folder as module
from stagedoor.store.folder import SMALL, FolderStore
from stagedoor.store.port import Changed, Head, NotNow, NotSatisfiable, Open, Range
from tests.helpers.serving import eventually
from tests.helpers.stores import body, read

LARGE = os.urandom(SMALL * 8)


class Site:
    def __init__(self, root: Path) -> None:
        self.root, self.outside = root / "site", root / "outside"
        self.root.mkdir()
        self.outside.mkdir()
        (self.outside / "secret").write_bytes(b"secret")
        self.store = FolderStore(str(self.root))

    def write(self, key: str, content: bytes) -> Path:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    async def read(self, key: str) -> bytes | None:
        await asyncio.sleep(0)  # requests in the same turn of the event loop share one look at the file
        opened = await self.store.open(Open(key))
        return None if opened is None else opened.whole


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(module, "SETTLED_AFTER", 0)  # files of these tests are new, and to be remembered all the same
    made, before = Site(tmp_path), descriptors()
    yield made
    assert descriptors() == before, "every descriptor is closed"
    os.close(made.store._root)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def absent(site: Site, key: str) -> None:
    await asyncio.sleep(0)
    assert await site.store.open(Open(key)) is None
    assert await site.store.head(Head(key)) is None


# --- what does not exist


async def test_a_link_does_not_exist(site: Site) -> None:
    inside = site.write("real", b"real")
    (site.root / "absolute").symlink_to(site.outside / "secret")
    (site.root / "relative").symlink_to("../outside/secret")
    (site.root / "inner").symlink_to(inside)
    (site.root / "dangling").symlink_to("nowhere")
    (site.root / "itself").symlink_to("itself")
    for key in ("absolute", "relative", "inner", "dangling", "itself"):
        await absent(site, key)


async def test_nothing_exists_below_a_linked_folder(site: Site) -> None:
    (site.root / "linked").symlink_to(site.outside)
    site.write("deep/a", b"a")
    (site.root / "deep/linked").symlink_to(site.outside)
    (site.root / "up").symlink_to("..")
    for key in ("linked/secret", "deep/linked/secret", "up/outside/secret", "up/site/deep/a", "linked"):
        await absent(site, key)


async def test_dots_lead_nowhere(site: Site) -> None:
    """The door refuses such keys; the store would not be led out by them either."""
    site.write("deep/a", b"a")
    for key in ("../outside/secret", "deep/../../outside/secret", "/etc/hostname", "..", ".", "deep/.."):
        assert await site.read(key) is None


async def test_a_remembered_file_that_becomes_a_link_is_gone(site: Site) -> None:
    path = site.write("a", b"mine")
    assert await site.read("a") == await site.read("a") == b"mine"
    path.unlink()
    path.symlink_to(site.outside / "secret")
    await absent(site, "a")


async def test_a_remembered_file_whose_folder_becomes_a_link_is_gone(site: Site) -> None:
    """Whoever may swap folders must not choose what is served."""
    site.write("folder/secret", b"mine")
    assert await site.read("folder/secret") == b"mine"
    (site.root / "folder").rename(site.root / "moved")
    (site.root / "folder").symlink_to(site.outside)
    await absent(site, "folder/secret")
    (site.root / "folder").unlink()
    (site.root / "moved").rename(site.root / "folder")
    assert await site.read("folder/secret") == b"mine"


async def test_pipes_sockets_and_folders_do_not_exist_and_nobody_waits_for_them(site: Site, tmp_path: Path) -> None:
    os.mkfifo(site.root / "pipe")
    (site.root / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(site.root)  # names of sockets are short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        for key in ("pipe", "socket", "folder", "folder/", "pipe/a", "socket/a"):
            await absent(site, key)


async def test_a_hard_link_is_a_file(site: Site) -> None:
    os.link(site.write("a", b"a"), site.root / "b")
    assert await site.read("b") == b"a"


async def test_names_that_are_not_utf8_cannot_be_asked_for(site: Site) -> None:
    site.write(os.fsdecode(b"\xff\xfe"), b"x")
    for key in ("\xff\xfe", "ÿþ", "\ufffd\ufffd"):
        await absent(site, key)


async def test_names_that_no_file_can_have_do_not_exist(site: Site) -> None:
    for key in ("x" * 256, "x" * 1024, "a/" * 511 + "a", "a" * 300 + "/b"):
        await absent(site, key)


async def test_a_file_that_may_not_be_read_is_a_fault_and_not_missing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write("a", b"a")
    real = os.open

    def refuse(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == b"a":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreUnavailable, match="Permission denied"):
        await site.read("a")


# --- files that change


async def test_a_changed_small_file_is_noticed_at_once(site: Site) -> None:
    path = site.write("a", b"one")
    first = await site.store.head(Head("a"))
    assert await site.read("a") == b"one"
    path.write_bytes(b"two")
    assert await site.read("a") == b"two"
    second = await site.store.head(Head("a"))
    assert first is not None
    assert second is not None
    assert first.etag != second.etag
    new = site.write("b", b"new")
    new.rename(path)
    assert await site.read("a") == b"new"
    path.unlink()
    await absent(site, "a")


async def test_a_change_is_noticed_though_size_and_time_are_the_old_ones(site: Site) -> None:
    path = site.write("a", b"one")
    status = path.stat()
    assert await site.read("a") == b"one"
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert await site.read("a") == b"two"


async def test_a_remembered_file_obeys_ranges_and_versions(site: Site) -> None:
    site.write("a", b"0123456789")
    await site.read("a")
    opened = await site.store.open(Open("a", Range(2, 4)))
    assert opened is not None
    assert opened.whole == b"234"
    with pytest.raises(Changed):
        await site.store.open(Open("a", None, b'"x"'))
    with pytest.raises(NotSatisfiable):
        await site.store.open(Open("a", Range(10, None)))


async def test_a_part_that_was_asked_for_first_is_not_remembered_as_the_whole(site: Site) -> None:
    site.write("a", b"0123456789")
    for span, expected in ((Range(2, 5), b"2345"), (Range(0, 3), b"0123"), (Range(9, None), b"9")):
        part = await site.store.open(Open("a", span))
        assert part is not None
        assert await read(part) == expected
        with pytest.raises(NotNow):
            site.store.open_now(Open("a"))
    assert await site.read("a") == b"0123456789"


async def test_what_is_remembered_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_BYTES", 20_000)
    for number in range(200):
        site.write(f"{number}", b"x" * 1000)
    for _ in range(2):
        for number in range(200):
            assert await site.read(f"{number}") == b"x" * 1000
    assert 0 < sum(len(file.body) for file in site.store._small.values()) <= 20_000
    assert site.store._small_size <= 20_000


async def test_an_open_file_that_is_replaced_is_sent_as_it_was(site: Site) -> None:
    path = site.write("large", LARGE)
    opened = await site.store.open(Open("large"))
    assert opened is not None
    site.write("new", b"new").rename(path)
    assert await read(opened) == LARGE
    assert await site.read("large") == b"new"


@pytest.mark.parametrize("left", [0, 1, SMALL, len(LARGE) - 1])
async def test_a_file_that_shrinks_while_it_is_read_breaks_off(site: Site, left: int) -> None:
    path = site.write("large", LARGE)
    opened = await site.store.open(Open("large"))
    assert opened is not None
    os.truncate(path, left)
    with pytest.raises(StoreUnavailable, match="shorter"):
        await read(opened)


async def test_a_file_that_grows_while_it_is_read_ends_where_it_was_said_to(site: Site) -> None:
    path = site.write("large", LARGE)
    opened = await site.store.open(Open("large"))
    with path.open("ab") as file:
        file.write(b"more")
    assert await read(opened) == LARGE


async def test_a_remembered_file_is_answered_at_once_and_the_rest_is_not(site: Site) -> None:
    site.write("a", b"one")
    for ask in (site.store.head_now, site.store.open_now):
        with pytest.raises(NotNow):
            ask(Open("a"))  # type: ignore[arg-type]  # both have a key
    assert await site.read("a") == b"one"
    opened, meta = site.store.open_now(Open("a")), site.store.head_now(Head("a"))
    assert opened is not None
    assert opened.meta is meta
    site.write("a", b"two!").touch()
    await asyncio.sleep(0)
    with pytest.raises(NotNow):
        site.store.head_now(Head("a"))
    assert await site.read("a") == b"two!"


async def test_a_small_file_that_is_cut_between_two_questions_is_not_served_as_before(site: Site) -> None:
    path = site.write("a", b"0123456789")
    meta = await site.store.head(Head("a"))
    assert meta is not None
    os.truncate(path, 4)
    with pytest.raises(Changed):
        await site.store.open(Open("a", None, meta.etag))
    opened = await site.store.open(Open("a"))
    assert opened is not None
    assert (opened.whole, opened.meta.size, opened.stop) == (b"0123", 4, 4)


async def test_a_small_file_that_is_cut_while_it_is_opened_breaks_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size was announced already; fewer bytes must not look like all of them, and are not remembered."""
    path, real = site.write("a", b"0123456789"), os.pread

    def cut(descriptor: int, size: int, offset: int) -> bytes:
        os.truncate(path, 4)
        return real(descriptor, size, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", cut)
        opened = await site.store.open(Open("a"))
    assert opened is not None
    assert (opened.whole, opened.stop) == (None, 10)
    with pytest.raises(StoreUnavailable, match="shorter"):
        await read(opened)
    assert await site.read("a") == b"0123"


async def test_only_what_has_not_changed_for_a_while_is_remembered(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writes within one step of the file system's clock leave the same times, the one or the other."""
    monkeypatch.setattr(module, "SETTLED_AFTER", 60 * 1_000_000_000)
    now = time.time_ns()
    path = site.write("a", b"one")
    for written in (now, now - 3600 * 1_000_000_000):  # the change of the file itself is new in both cases
        os.utime(path, ns=(now, written))
        assert await site.read("a") == b"one"
        with pytest.raises(NotNow):
            site.store.head_now(Head("a"))
    new, old = now, now - 3600 * 1_000_000_000
    for written, changed, settled in ((old, old, True), (new, old, False), (old, new, False), (new, new, False)):
        status = SimpleNamespace(st_mtime_ns=written, st_ctime_ns=changed)
        assert module._settled(status) is settled  # type: ignore[arg-type]  # all that it looks at


# --- a disk that is slow


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Opening a file called "slow" takes until the event is set."""
    release, real = threading.Event(), os.open

    def slowly(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == b"slow":
            release.wait(30)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", slowly)
    yield release
    release.set()


async def test_a_file_that_hangs_holds_up_no_other(site: Site, stuck: threading.Event) -> None:
    site.write("slow", b"slow")
    site.write("a", b"a")
    site.write("large", LARGE)
    slow = asyncio.create_task(site.store.open(Open("slow")))
    for _ in range(3):
        assert await site.read("a") == b"a"
        assert await read(await site.store.open(Open("large"))) == LARGE
        assert not slow.done()
    stuck.set()
    opened = await slow
    assert opened is not None
    assert opened.whole == b"slow"


async def test_a_file_that_hangs_for_long_is_unavailable_and_its_descriptor_is_closed(
    site: Site, stuck: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_WITHIN", 0.05)
    site.write("slow", LARGE)
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await site.store.open(Open("slow"))
    asked = asyncio.create_task(site.store.open(Open("slow")))
    await asyncio.sleep(0)
    asked.cancel()  # its client has gone
    with pytest.raises(asyncio.CancelledError):
        await asked
    stuck.set()  # the fixture sees that no descriptor stays open
    await eventually(lambda: site.store._users == 0, "the threads are done")
    site.store._readers.close(wait=True)


async def test_after_a_slow_look_threads_look_at_remembered_files_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write("a", b"a")
    assert await site.read("a") == b"a"
    assert site.store.head_now(Head("a")) is not None
    await asyncio.sleep(0)
    monkeypatch.setattr(module, "SLOW", -1.0)
    assert site.store.head_now(Head("a")) is not None
    with pytest.raises(NotNow):
        site.store.head_now(Head("a"))
    assert await site.read("a") == b"a"


async def test_a_store_that_is_closed_while_a_file_is_opened_reads_from_no_other_folder(
    site: Site, stuck: threading.Event
) -> None:
    """The number of its folder's descriptor may be another's by then."""
    site.write("slow", b"slow")
    asked = asyncio.create_task(site.store.open(Open("slow")))
    await eventually(lambda: site.store._users == 1, "a thread is at it")
    root = site.store._root
    await site.store.aclose()
    assert os.path.samestat(os.fstat(root), site.root.stat()), "not closed yet"
    stuck.set()
    opened = await asked
    assert opened is not None
    assert opened.whole == b"slow"
    with pytest.raises(StoreUnavailable, match="not served any more"):
        await site.store.open(Open("slow"))
    site.store._root = os.open(site.root, os.O_RDONLY)  # for the fixture to close


# --- where the page cache cannot be asked


async def test_files_are_read_from_a_cold_cache(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write("small", b"small")
    site.write("empty", b"")
    site.write("large", LARGE)
    monkeypatch.setattr(module, "_NO_WAIT", None)
    assert await body(site.store, "small") == b"small"
    assert await body(site.store, "empty") == b""
    assert await body(site.store, "large") == LARGE
    assert await body(site.store, "large", Range(1000, 700_000)) == LARGE[1000:700_001]
    path = site.root / "large"
    opened = await site.store.open(Open("large"))
    os.truncate(path, 1000)
    with pytest.raises(StoreUnavailable, match="shorter"):
        await read(opened)


# --- the folder itself


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="none"):
        FolderStore(str(tmp_path / "none"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="file"):
        FolderStore(str(tmp_path / "file"))


async def test_a_folder_that_goes_away_is_not_ready(tmp_path: Path) -> None:
    root = tmp_path / "site"
    root.mkdir()
    store = FolderStore(str(root))
    await store.ready()
    root.rmdir()
    with pytest.raises(StoreUnavailable, match="gone"):
        await store.ready()
    await store.aclose()


def test_a_file_system_that_ignores_case_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key would have several names there, and the rule for one would not hold for the other."""
    root = tmp_path / "Site"
    root.mkdir()
    (tmp_path / "sITE").symlink_to(root)  # what such a file system looks like from outside
    before = descriptors()
    with pytest.raises(StoreUnavailable, match="ignores case"):
        FolderStore(str(root))
    assert descriptors() == before


async def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    """It is named by the owner, not by a caller."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a").write_bytes(b"a")
    (tmp_path / "link").symlink_to("real")
    store = FolderStore(str(tmp_path / "link"))
    opened = await store.open(Open("a"))
    assert opened is not None
    assert opened.whole == b"a"
    os.close(store._root)


async def test_a_folder_that_was_replaced_is_not_ready(site: Site) -> None:
    await site.store.ready()
    site.root.rename(site.root.with_name("old"))
    with pytest.raises(StoreUnavailable, match="gone"):
        await site.store.ready()
    site.root.mkdir()
    with pytest.raises(StoreUnavailable, match="replaced"):
        await site.store.ready()


@pytest.mark.parametrize(("stop", "tried"), [(4096, 4095), (1, 0), (0, 0)])
def test_the_last_byte_that_is_read_says_whether_a_disk_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, stop: int, tried: int
) -> None:
    """The byte behind it would be beyond the end of a file, which needs no disk."""
    asked: list[int] = []

    def preadv(_descriptor: int, _buffers: object, offset: int, flags: int) -> int:
        assert flags == module._NO_WAIT
        asked.append(offset)
        raise BlockingIOError

    monkeypatch.setattr(module, "_NO_WAIT", 8)
    monkeypatch.setattr(module, "os", SimpleNamespace(preadv=preadv))
    assert not module.in_memory(3, stop)
    assert asked == [tried]


async def test_requests_in_the_same_turn_of_the_loop_share_one_look(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write("a", b"a")
    assert await site.read("a") == b"a"
    await asyncio.sleep(0)
    looks, look = list[bytes](), FolderStore._status

    def counted(store: FolderStore, path: bytes) -> os.stat_result:
        looks.append(path)
        return look(store, path)

    monkeypatch.setattr(FolderStore, "_status", counted)
    for turn in (1, 2):
        for _ in range(3):
            assert site.store.head_now(Head("a")) is not None
        assert len(looks) == turn
        await asyncio.sleep(0)


async def test_a_store_that_is_closed_leaves_no_descriptor(tmp_path: Path) -> None:
    """Each reload of the settings opens another one."""
    before = descriptors()
    store = FolderStore(str(tmp_path))
    (tmp_path / "a").write_bytes(b"a")
    assert await store.head(Head("a")) is not None
    assert descriptors() > before
    await store.aclose()
    await store.aclose()
    assert descriptors() == before


def test_another_folder_whose_name_differs_in_case_is_no_sign_that_case_is_ignored(tmp_path: Path) -> None:
    for name in ("site", "SITE"):
        (tmp_path / name).mkdir()
    assert not module._ignores_case(tmp_path / "site")
