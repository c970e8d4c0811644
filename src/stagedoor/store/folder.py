"""Objects in a folder: only regular files, never through a symbolic link, and only for reading."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..core.errors import StoreUnavailable
from ..core.messages import Item, List, Listed
from ..outside.threads import Threads
from .folder_listing import FOLDER, NO_NAMES, Entry, Walk, Windows, descend
from .media_types import content_type
from .names import as_bytes, resume_after, usable
from .port import Head, Meta, NotNow, Open, Opened, extent

CHUNK = 65_536
"""Bytes that are read and sent at a time."""
SMALL = 131_072
"""Objects of up to this many bytes are read and sent whole, and remembered."""
REMEMBERED_BYTES = 16 * 1_048_576
"""Most bytes of remembered objects. Before one is used, the file system is asked whether it changed."""
SETTLED_AFTER = 1_000_000_000
"""Nanoseconds after its last change from which on a file may be remembered."""
READERS = 32
"""Threads that open files, because a disk or a server of files may be slow."""
LISTERS = 4
"""Threads that read folders for listings, so that reading files never waits for them."""
ANSWER_WITHIN = 20.0
"""Seconds in which a file must be open."""
SLOW = 0.5
"""Seconds from which on a look at a file counts as slow."""
SLOW_FOR = 30.0
"""Seconds in which, after a slow look, threads look at remembered files, too."""

LATEST = 253_402_300_799
"""The last second of the year 9999."""

W = TypeVar("W")
T = TypeVar("T")

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # opening a FIFO must not block
_NO_WAIT = getattr(os, "RWF_NOWAIT", None)
_NOT_A_FILE = frozenset((errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ENXIO))
_CLOSED = -1
_ENTRY_SIZE = 1024  # bytes that a remembered object takes beyond its own


class _Remembered(NamedTuple):
    path: bytes
    folders: tuple[bytes, ...]  # above it; none of them may have become a link
    identity: tuple[int, ...]
    meta: Meta
    body: bytes
    opened: Opened


class _Read(NamedTuple):
    opened: Opened
    remembered: _Remembered | None


class FolderStore:
    """The files below a folder; keys are their paths.

    Remembered files are answered at once. Everything else is asked of the disk in threads, so that a disk that hangs
    holds up nothing but its own files.

    Args:
        root: the folder.

    Raises:
        StoreUnavailable: the folder cannot be read, or its file system ignores case, so that one file has many keys.
    """

    def __init__(self, root: str) -> None:
        self._path = Path(root)
        try:
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreUnavailable(f"the folder {root} cannot be read: {error.strerror}") from error
        self._users = 0
        self._closing = threading.Lock()
        self._small: dict[str, _Remembered] = {}
        self._small_size = 0
        self._just_checked: set[str] = set()
        self._slow_until = 0.0
        self._windows = Windows(_settled)
        self._readers = Threads(READERS, "files", StoreUnavailable, _discard)
        self._listers = Threads(LISTERS, "listing", StoreUnavailable)
        if _ignores_case(self._path):
            os.close(self._root)
            raise StoreUnavailable(
                f"{root} is on a file system that ignores case: a key would have several names there"
            )

    def head_now(self, wish: Head) -> Meta | None:
        remembered = self._remembered_now(wish.key)
        if remembered is None:
            raise NotNow
        return remembered.meta

    def open_now(self, wish: Open) -> Opened | None:
        remembered = self._remembered_now(wish.key)
        if remembered is None:
            raise NotNow
        return _of_remembered(remembered, wish)

    async def head(self, wish: Head) -> Meta | None:
        try:
            return self.head_now(wish)
        except NotNow:
            return await self._in_thread(self._head, wish)

    async def open(self, wish: Open) -> Opened | None:
        try:
            return self.open_now(wish)
        except NotNow:
            read = await self._in_thread(self._read, wish)
        if read is None:
            return None
        if read.remembered is not None:
            self._remember(wish.key, read.remembered)
        return read.opened

    async def _in_thread(self, function: Callable[[W], T], wish: W) -> T:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await self._readers.call(function, wish)
        except TimeoutError:
            raise StoreUnavailable(f"the disk of {self._path} did not answer within {ANSWER_WITHIN:g} s") from None

    def _head(self, wish: Head) -> Meta | None:
        descriptor = self._open(wish.key)
        if descriptor is None:
            return None
        try:
            return _meta(wish.key, os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def _read(self, wish: Open) -> _Read | None:
        """Open a file, and read it if it is small."""
        descriptor = self._open(wish.key)
        if descriptor is None:
            return None
        keep = False
        try:
            status = os.fstat(descriptor)
            meta = _meta(wish.key, status)
            start, stop = extent(meta, wish)
            whole = os.pread(descriptor, stop - start, start) if stop - start <= SMALL else None
            if whole is not None and len(whole) == stop - start:
                opened = Opened(meta, start, stop, whole)
                worth = len(whole) == meta.size and _settled(status)
                return _Read(opened, _to_remember(wish.key, status, opened) if worth else None)
            keep = True
            opened = Opened(
                meta,
                start,
                stop,
                None,
                lambda: _chunks(descriptor, start, stop),
                lambda: os.close(descriptor),
                descriptor,
            )
            return _Read(opened, None)
        finally:
            if not keep:
                os.close(descriptor)

    async def list(self, wish: List) -> Listed:
        """List regular files, and folders that hold one at any depth.

        Raises:
            InvalidTarget: the wish is not valid Unicode.
            StoreUnavailable: a folder on the way cannot be read.
        """
        if self._root == _CLOSED:
            raise StoreUnavailable(f"the folder {self._path} is not served any more")
        return await self._listers.call(self._list, wish)

    def _list(self, wish: List) -> Listed:
        prefix, after = as_bytes(wish)
        root = self._reopened_root()
        try:
            entries, more = Walk(root, self._windows, prefix, after, wish.limit).page(folders=wish.folders)
        finally:
            os.close(root)
        found = usable(_listed(entry) for entry in entries if entry.is_listed)
        return Listed(found, resume_after(_listed(entries[-1])) if more else None)

    def _reopened_root(self) -> int:
        """A descriptor of its own for each listing, because it has a position."""
        with self._root_in_use() as root:
            try:
                return os.open(b".", FOLDER, dir_fd=root)
            except OSError as error:
                raise StoreUnavailable(f"the folder {self._path} cannot be listed: {error.strerror}") from error

    @contextlib.contextmanager
    def _root_in_use(self) -> Iterator[int]:
        """The root's descriptor, which is not closed meanwhile: its number may soon belong to another folder."""
        with self._closing:
            root = self._root
            if root == _CLOSED:
                raise StoreUnavailable(f"the folder {self._path} is not served any more")
            self._users += 1
        try:
            yield root
        finally:
            with self._closing:
                self._users -= 1
                if self._root == _CLOSED and not self._users:
                    os.close(root)

    async def ready(self) -> None:
        await self._in_thread(self._check_root, None)

    def _check_root(self, _: None) -> None:
        if not self._path.is_dir():
            raise StoreUnavailable(f"the folder {self._path} is gone")
        with self._root_in_use() as root:
            if not os.path.samestat(self._path.stat(), os.fstat(root)):
                raise StoreUnavailable(
                    f"the folder {self._path} was replaced by another; reload the settings to serve that"
                )

    async def aclose(self) -> None:
        self._listers.close()
        self._readers.close()
        with self._closing:
            root, self._root = self._root, _CLOSED
            if root != _CLOSED and not self._users:
                os.close(root)

    def _remembered_now(self, key: str) -> _Remembered | None:
        """The remembered object of a key, if asking the disk about it costs no time."""
        if key not in self._small:
            return None
        began = time.monotonic()
        if began < self._slow_until:
            return None
        found = self._remembered(key)
        ended = time.monotonic()
        if ended - began > SLOW:
            self._slow_until = ended + SLOW_FOR
        return found

    def _remembered(self, key: str) -> _Remembered | None:
        """The remembered object of a key, if its path still leads to the same unchanged file."""
        found = self._small.get(key)
        if found is None or key in self._just_checked:
            return found
        try:
            no_links = all(stat.S_ISDIR(self._status(folder).st_mode) for folder in found.folders)
            if no_links and _identity(self._status(found.path)) == found.identity:
                self._note_check(key)
                return found
        except OSError:
            pass
        self._forget(key)
        return None

    def _note_check(self, key: str) -> None:
        """Requests in the same turn of the event loop share one check."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if not self._just_checked:
            loop.call_soon(self._just_checked.clear)
        self._just_checked.add(key)

    def _status(self, path: bytes) -> os.stat_result:
        return os.stat(path, dir_fd=self._root, follow_symlinks=False)

    def _remember(self, key: str, file: _Remembered) -> None:
        if key in self._small:
            self._forget(key)
        self._small[key] = file
        self._small_size += len(file.body) + _ENTRY_SIZE
        while self._small_size > REMEMBERED_BYTES:
            self._forget(next(iter(self._small)))

    def _forget(self, key: str) -> None:
        self._small_size -= len(self._small.pop(key).body) + _ENTRY_SIZE

    def _open(self, key: str) -> int | None:
        """Open a key's file segment by segment, so that no link is followed."""
        *folders, name = segments = key.encode().split(b"/")
        if not NO_NAMES.isdisjoint(segments):
            return None
        with self._root_in_use() as root:
            folder = root
            try:
                folder = descend(root, folders)
                descriptor = os.open(name, _FILE, dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                if error.errno in _NOT_A_FILE:
                    return None
                raise StoreUnavailable(f"{key!r} cannot be read: {error.strerror}") from error
            finally:
                if folder != root:
                    os.close(folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return descriptor


def _discard(found: object) -> None:
    if isinstance(found, _Read):
        found.opened.close()


def _of_remembered(remembered: _Remembered, wish: Open) -> Opened:
    if wish.span is None and wish.etag is None:
        return remembered.opened
    start, stop = extent(remembered.meta, wish)
    return Opened(remembered.meta, start, stop, remembered.body[start:stop])


def _to_remember(key: str, status: os.stat_result, opened: Opened) -> _Remembered:
    path = key.encode()
    folders = tuple(path[:i] for i, byte in enumerate(path) if byte == ord("/"))
    return _Remembered(path, folders, _identity(status), opened.meta, opened.whole or b"", opened)


def _meta(key: str, status: os.stat_result) -> Meta:
    return Meta(status.st_size, _etag(status), _modified(status), content_type(key))


def _modified(status: os.stat_result) -> int:
    """A file may have any date, a header field has four digits for the year."""
    return min(max(int(status.st_mtime), 0), LATEST)


def _etag(status: os.stat_result) -> bytes:
    return b'"%x-%x"' % (status.st_mtime_ns, status.st_size)


def _listed(entry: Entry) -> Item | str:
    name, status = entry.name.decode(), entry.status
    if status is None:
        return name
    return Item(name, _etag(status).decode(), _modified(status), status.st_size)


def _settled(status: os.stat_result) -> bool:
    """Is the last change old? File systems count time in steps, and two writes in one step leave the same times."""
    return time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) >= SETTLED_AFTER


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Changes whenever the file is written or replaced, even if its old times are set again."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_now(descriptor: int, offset: int, size: int) -> bytes | None:
    """Read from the page cache; None if that would wait for a disk."""
    return os.pread(descriptor, size, offset) if in_memory(descriptor, offset + size) else None


def in_memory(descriptor: int, stop: int) -> bool:
    """Can everything up to `stop` be read without waiting for a disk?

    Only the last byte is tried, because systems read files ahead from their start.
    """
    if _NO_WAIT is None:
        return False
    try:
        os.preadv(descriptor, (bytearray(1),), max(0, stop - 1), _NO_WAIT)
    except OSError:
        return False
    return True


_disk = ThreadPoolExecutor(8, "disk")


async def from_disk(descriptor: int, size: int, offset: int) -> bytes:
    """Read in one of a few threads that do nothing else, so that a disk that hangs holds up nothing else."""
    return await asyncio.get_running_loop().run_in_executor(_disk, os.pread, descriptor, size, offset)


def _ignores_case(folder: Path) -> bool:
    """Does the file system take `NAME` and `name` for one file? Tried with the folder and some entries of it."""
    with os.scandir(folder) as entries:
        names = {folder.name, *(entry.name for entry in itertools.islice(entries, 100))}
    for path in (folder, *(folder / name for name in names - {folder.name})):
        swapped = path.with_name(path.name.swapcase())
        if swapped.name not in names and swapped.exists() and path.exists() and swapped.samefile(path):
            return True
    return False


async def _chunks(descriptor: int, start: int, stop: int) -> AsyncIterator[bytes]:
    while start < stop:
        size = min(CHUNK, stop - start)
        chunk = _read_now(descriptor, start, size)
        if chunk is None:
            chunk = await from_disk(descriptor, size, start)
        if not chunk:
            raise StoreUnavailable("the file became shorter while it was read")
        yield chunk
        start += len(chunk)
