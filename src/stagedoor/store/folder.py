"""Objects in a folder. No symlink is followed, nothing but regular files exists, nothing is ever written."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

from ..errors import StoreUnavailable
from . import Changed, Meta, NotSatisfiable, Opened, Range, no_chunks, nothing
from .types import content_type

CHUNK = 262_144
"""Bytes read and sent at a time."""
SMALL = 262_144
"""Up to this size an object is read at once and sent in one piece."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not make us wait
_NO_WAIT = getattr(os, "RWF_NOWAIT", None)


class FolderStore:
    """The files below a folder; a key is the path of a file, segment by segment.

    Args:
        root: the folder.

    Raises:
        StoreUnavailable: the folder cannot be read, or its file system takes two names for one file.
    """

    def __init__(self, root: str) -> None:
        self._path = Path(root)
        try:
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreUnavailable(f"the folder {root} cannot be read: {error.strerror}") from error
        if _ignores_case(self._path):
            raise StoreUnavailable(
                f"{root} is on a file system that ignores case: a key would have several names there"
            )

    async def head(self, key: str) -> Meta | None:
        descriptor = self._open(key)
        if descriptor is None:
            return None
        try:
            return _meta(key, os.fstat(descriptor))
        finally:
            os.close(descriptor)

    async def open(self, key: str, span: Range | None = None, etag: bytes | None = None) -> Opened | None:
        descriptor = self._open(key)
        if descriptor is None:
            return None
        keep = False
        try:
            meta = _meta(key, os.fstat(descriptor))
            if etag is not None and etag != meta.etag:
                raise Changed
            part = span.resolve(meta.size) if span else (0, meta.size)
            if part is None:
                raise NotSatisfiable(meta.size)
            start, stop = part
            if stop - start <= SMALL:
                whole = await _read(descriptor, start, stop - start)
                return Opened(meta, start, stop, whole, no_chunks, nothing)
            keep = True
            return Opened(
                meta, start, stop, None, lambda: _chunks(descriptor, start, stop), lambda: os.close(descriptor)
            )
        finally:
            if not keep:
                os.close(descriptor)

    async def ready(self) -> None:
        if not self._path.is_dir():
            raise StoreUnavailable(f"the folder {self._path} is gone")

    async def aclose(self) -> None:
        os.close(self._root)

    def _open(self, key: str) -> int | None:
        """Open the file that a key names, going down one segment at a time so that no link can lead elsewhere."""
        *folders, name = key.encode().split(b"/")
        if not name or b"" in folders:
            return None
        folder = self._root
        try:
            for segment in folders:
                below = os.open(segment, _FOLDER, dir_fd=folder)
                if folder != self._root:
                    os.close(folder)
                folder = below
            descriptor = os.open(name, _FILE, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                return None
            raise StoreUnavailable(f"{key!r} cannot be read: {error.strerror}") from error
        finally:
            if folder != self._root:
                os.close(folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return descriptor


_NO_SUCH_FILE = frozenset((errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ENXIO, errno.ENOTDIR))


def _meta(key: str, status: os.stat_result) -> Meta:
    etag = b'"%x-%x"' % (status.st_mtime_ns, status.st_size)
    return Meta(status.st_size, etag, int(status.st_mtime), content_type(key))


async def _read(descriptor: int, offset: int, size: int) -> bytes:
    """Read exactly `size` bytes; at once if they are in the page cache, else in a thread."""
    parts = []
    while size > 0:
        part = _read_now(descriptor, offset, min(size, CHUNK))
        if part is None:
            part = await asyncio.to_thread(os.pread, descriptor, min(size, CHUNK), offset)
        if not part:
            raise StoreUnavailable("the file became shorter while it was read")
        parts.append(part)
        offset += len(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_now(descriptor: int, offset: int, size: int) -> bytes | None:
    """Read what is in the page cache without waiting for a disk; None: somebody has to wait."""
    if _NO_WAIT is None:
        return None
    buffer = bytearray(size)
    try:
        count = os.preadv(descriptor, (buffer,), offset, _NO_WAIT)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
            return None
        raise StoreUnavailable(f"a file cannot be read: {error.strerror}") from error
    return bytes(memoryview(buffer)[:count])


def _ignores_case(folder: Path) -> bool:
    """Does the file system take `NAME` and `name` for the same file?"""
    swapped = folder.with_name(folder.name.swapcase())
    return swapped.name != folder.name and swapped.exists() and swapped.samefile(folder)


async def _chunks(descriptor: int, start: int, stop: int) -> AsyncIterator[bytes]:
    while start < stop:
        part = await _read(descriptor, start, min(CHUNK, stop - start))
        yield part
        start += len(part)
