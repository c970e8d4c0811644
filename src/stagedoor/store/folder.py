"""Objects in a folder: only regular files, never through a symbolic link, and only for reading."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import stat
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from ..core.errors import StoreUnavailable
from ..core.messages import Item, List, Listed
from ..outside.threads import Threads
from .folder_listing import FOLDER, NO_NAMES, Entry, Walk, Windows, descend
from .media_types import content_type
from .names import as_bytes, resume_after, usable
from .port import Head, Meta, Open, Opened, extent

CHUNK = 65_536
"""Bytes that are read and sent at a time."""
SMALL = 131_072
"""Objects of up to this many bytes are read and sent whole, and remembered."""
REMEMBERED_BYTES = 16 * 1_048_576
"""Most bytes of remembered objects. Before one is used, the file system is asked whether it changed."""
SETTLED_AFTER = 1_000_000_000
"""Nanoseconds after its last change from which on a file may be remembered."""
LISTERS = 4
"""Threads that read folders for listings, so that reading files never waits for them."""

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


class FolderStore:
    """The files below a folder; keys are their paths.

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
        self._small: dict[str, _Remembered] = {}
        self._small_size = 0
        self._just_checked: set[str] = set()
        self._windows = Windows(_settled)
        self._closing = threading.Lock()
        self._listers = Threads(LISTERS, "listing", StoreUnavailable)
        if _ignores_case(self._path):
            os.close(self._root)
            raise StoreUnavailable(
                f"{root} is on a file system that ignores case: a key would have several names there"
            )

    def head_now(self, wish: Head) -> Meta | None:
        remembered = self._remembered(wish.key)
        if remembered is not None:
            return remembered.meta
        descriptor = self._open(wish.key)
        if descriptor is None:
            return None
        try:
            return _meta(wish.key, os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def open_now(self, wish: Open) -> Opened | None:
        remembered = self._remembered(wish.key)
        if remembered is not None:
            if wish.span is None and wish.etag is None:
                return remembered.opened
            start, stop = extent(remembered.meta, wish)
            return Opened(remembered.meta, start, stop, remembered.body[start:stop])
        descriptor = self._open(wish.key)
        if descriptor is None:
            return None
        keep = False
        try:
            status = os.fstat(descriptor)
            meta = _meta(wish.key, status)
            start, stop = extent(meta, wish)
            whole = _read_now(descriptor, start, stop - start) if stop - start <= SMALL else None
            if whole is not None and len(whole) == stop - start:
                opened = Opened(meta, start, stop, whole)
                if len(whole) == meta.size and _settled(status):
                    path = wish.key.encode()
                    folders = tuple(path[:i] for i, byte in enumerate(path) if byte == ord("/"))
                    self._remember(wish.key, _Remembered(path, folders, _identity(status), meta, whole, opened))
                return opened
            keep = True
            return Opened(
                meta,
                start,
                stop,
                None,
                lambda: _chunks(descriptor, start, stop),
                lambda: os.close(descriptor),
                descriptor,
            )
        finally:
            if not keep:
                os.close(descriptor)

    async def head(self, wish: Head) -> Meta | None:
        return self.head_now(wish)

    async def open(self, wish: Open) -> Opened | None:
        return self.open_now(wish)

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
        """A descriptor of its own for each listing: it has its own position, and `aclose` does not close it."""
        with self._closing:
            try:
                return os.open(b".", FOLDER, dir_fd=self._root)
            except OSError as error:
                raise StoreUnavailable(f"the folder {self._path} cannot be listed: {error.strerror}") from error

    async def ready(self) -> None:
        if not self._path.is_dir():
            raise StoreUnavailable(f"the folder {self._path} is gone")
        if not os.path.samestat(self._path.stat(), os.fstat(self._root)):
            raise StoreUnavailable(
                f"the folder {self._path} was replaced by another; reload the settings to serve that"
            )

    async def aclose(self) -> None:
        self._listers.close()
        if self._root != _CLOSED:
            with self._closing:
                root, self._root = self._root, _CLOSED  # the number may soon belong to another folder
                os.close(root)

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
        folder = self._root
        try:
            folder = descend(folder, folders)
            descriptor = os.open(name, _FILE, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in _NOT_A_FILE:
                return None
            raise StoreUnavailable(f"{key!r} cannot be read: {error.strerror}") from error
        finally:
            if folder != self._root:
                os.close(folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return descriptor


def _meta(key: str, status: os.stat_result) -> Meta:
    return Meta(status.st_size, _etag(status), int(status.st_mtime), content_type(key))


def _etag(status: os.stat_result) -> bytes:
    return b'"%x-%x"' % (status.st_mtime_ns, status.st_size)


def _listed(entry: Entry) -> Item | str:
    name, status = entry.name.decode(), entry.status
    if status is None:
        return name
    return Item(name, _etag(status).decode(), int(status.st_mtime), status.st_size)


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
            chunk = await asyncio.to_thread(os.pread, descriptor, size, start)
        if not chunk:
            raise StoreUnavailable("the file became shorter while it was read")
        yield chunk
        start += len(chunk)
