"""The folder store: nothing but regular files below the folder, and never half a file that looks whole."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.core.errors import StoreUnavailable
from stagedoor.store import folder as module
from stagedoor.store.folder import SMALL, FolderStore
from stagedoor.store.port import Changed, Head, NotSatisfiable, Open, Range
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

    def read(self, key: str) -> bytes | None:
        opened = self.store.open_now(Open(key))
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


def absent(site: Site, key: str) -> None:
    assert site.store.open_now(Open(key)) is None
    assert site.store.head_now(Head(key)) is None


# --- what does not exist


def test_a_link_does_not_exist(site: Site) -> None:
    inside = site.write("real", b"real")
    (site.root / "absolute").symlink_to(site.outside / "secret")
    (site.root / "relative").symlink_to("../outside/secret")
    (site.root / "inner").symlink_to(inside)
    (site.root / "dangling").symlink_to("nowhere")
    (site.root / "itself").symlink_to("itself")
    for key in ("absolute", "relative", "inner", "dangling", "itself"):
        absent(site, key)


def test_nothing_exists_below_a_linked_folder(site: Site) -> None:
    (site.root / "linked").symlink_to(site.outside)
    site.write("deep/a", b"a")
    (site.root / "deep/linked").symlink_to(site.outside)
    (site.root / "up").symlink_to("..")
    for key in ("linked/secret", "deep/linked/secret", "up/outside/secret", "up/site/deep/a", "linked"):
        absent(site, key)


def test_dots_lead_nowhere(site: Site) -> None:
    """The door refuses such keys; the store would not be led out by them either."""
    site.write("deep/a", b"a")
    for key in ("../outside/secret", "deep/../../outside/secret", "/etc/hostname", "..", ".", "deep/.."):
        assert site.read(key) is None


def test_a_remembered_file_that_becomes_a_link_is_gone(site: Site) -> None:
    path = site.write("a", b"mine")
    assert site.read("a") == site.read("a") == b"mine"
    path.unlink()
    path.symlink_to(site.outside / "secret")
    absent(site, "a")


def test_a_remembered_file_whose_folder_becomes_a_link_is_gone(site: Site) -> None:
    """Whoever may swap folders must not choose what is served."""
    site.write("folder/secret", b"mine")
    assert site.read("folder/secret") == b"mine"
    (site.root / "folder").rename(site.root / "moved")
    (site.root / "folder").symlink_to(site.outside)
    absent(site, "folder/secret")
    (site.root / "folder").unlink()
    (site.root / "moved").rename(site.root / "folder")
    assert site.read("folder/secret") == b"mine"


def test_pipes_sockets_and_folders_do_not_exist_and_nobody_waits_for_them(site: Site, tmp_path: Path) -> None:
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
            absent(site, key)


def test_a_hard_link_is_a_file(site: Site) -> None:
    os.link(site.write("a", b"a"), site.root / "b")
    assert site.read("b") == b"a"


def test_names_that_are_not_utf8_cannot_be_asked_for(site: Site) -> None:
    (Path(os.fsdecode(os.fsencode(site.root) + b"/\xff\xfe"))).write_bytes(b"x")
    for key in ("\xff\xfe", "ÿþ", "\ufffd\ufffd"):
        absent(site, key)


def test_names_that_no_file_can_have_do_not_exist(site: Site) -> None:
    for key in ("x" * 256, "x" * 1024, "a/" * 511 + "a", "a" * 300 + "/b"):
        absent(site, key)


def test_a_file_that_may_not_be_read_is_a_fault_and_not_missing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write("a", b"a")
    real = os.open

    def refuse(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == b"a":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreUnavailable, match="Permission denied"):
        site.read("a")


# --- files that change


def test_a_changed_small_file_is_noticed_at_once(site: Site) -> None:
    path = site.write("a", b"one")
    first = site.store.head_now(Head("a"))
    assert site.read("a") == b"one"
    path.write_bytes(b"two")
    assert site.read("a") == b"two"
    second = site.store.head_now(Head("a"))
    assert first is not None
    assert second is not None
    assert first.etag != second.etag
    new = site.write("b", b"new")
    new.rename(path)
    assert site.read("a") == b"new"
    path.unlink()
    absent(site, "a")


def test_a_change_is_noticed_though_size_and_time_are_the_old_ones(site: Site) -> None:
    path = site.write("a", b"one")
    status = path.stat()
    assert site.read("a") == b"one"
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert site.read("a") == b"two"


def test_a_remembered_file_obeys_ranges_and_versions(site: Site) -> None:
    site.write("a", b"0123456789")
    site.read("a")
    opened = site.store.open_now(Open("a", Range(2, 4)))
    assert opened is not None
    assert opened.whole == b"234"
    with pytest.raises(Changed):
        site.store.open_now(Open("a", None, b'"x"'))
    with pytest.raises(NotSatisfiable):
        site.store.open_now(Open("a", Range(10, None)))


def test_what_is_remembered_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_BYTES", 20_000)
    for number in range(200):
        site.write(f"{number}", b"x" * 1000)
    for _ in range(2):
        for number in range(200):
            assert site.read(f"{number}") == b"x" * 1000
    assert 0 < sum(len(file.body) for file in site.store._small.values()) <= 20_000
    assert site.store._small_size <= 20_000


async def test_an_open_file_that_is_replaced_is_sent_as_it_was(site: Site) -> None:
    path = site.write("large", LARGE)
    opened = site.store.open_now(Open("large"))
    assert opened is not None
    site.write("new", b"new").rename(path)
    assert await read(opened) == LARGE
    assert site.read("large") == b"new"


@pytest.mark.parametrize("left", [0, 1, SMALL, len(LARGE) - 1])
async def test_a_file_that_shrinks_while_it_is_read_breaks_off(site: Site, left: int) -> None:
    path = site.write("large", LARGE)
    opened = site.store.open_now(Open("large"))
    assert opened is not None
    os.truncate(path, left)
    with pytest.raises(StoreUnavailable, match="shorter"):
        await read(opened)


async def test_a_file_that_grows_while_it_is_read_ends_where_it_was_said_to(site: Site) -> None:
    path = site.write("large", LARGE)
    opened = site.store.open_now(Open("large"))
    with path.open("ab") as file:
        file.write(b"more")
    assert await read(opened) == LARGE


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


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    """It is named by the owner, not by a caller."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a").write_bytes(b"a")
    (tmp_path / "link").symlink_to("real")
    store = FolderStore(str(tmp_path / "link"))
    opened = store.open_now(Open("a"))
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
