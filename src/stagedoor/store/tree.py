"""The names below a folder, in the order of their UTF-8 bytes, a page at a time.

A page costs about the same wherever it lies, and no memory grows with the number of files: only folders that can
hold a name of the page are read, and of a large one a window of names is kept for the pages that follow. No link
is followed, also if one takes a folder's place meanwhile: every folder is opened segment by segment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ..core.errors import StoreUnavailable
from ..core.paths import MAX_KEY_BYTES
from .names import is_usable, note_left_out

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NO_NAMES = frozenset((b"", b".", b".."))

WINDOW_BYTES = 4 * 1_048_576
"""Bound of the names that one reading of a folder keeps."""
REMEMBERED_BYTES = 16 * 1_048_576
"""Bound of all windows together that are kept for later pages."""
WORTH_REMEMBERING = 1024
"""Folders with fewer entries are read again for each page, in about a millisecond."""

AT_A_TIME = 1000
"""Names that are taken from a folder before it is let go and the folders among them are entered."""

_BATCH = 8192
_END = "\U0010ffff".encode()
_NO_END = b"\xff" * 256  # sorts after every name that a file can have
_NAME_COST = 49  # bytes that a name takes beyond its letters, in a list
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))
_SPELLING = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def descend(root: int, segments: Sequence[bytes]) -> int:
    """Open a folder below another, one segment at a time so that no link can lead elsewhere.

    Returns:
        A descriptor that the caller closes, or `root` itself if there are no segments.
    """
    folder = root
    try:
        for segment in segments:
            below = os.open(segment, FOLDER, dir_fd=folder)
            if folder != root:
                os.close(folder)
            folder = below
    except BaseException:
        if folder != root:
            os.close(folder)
        raise
    return folder


class Entry(NamedTuple):
    """A place in the tree.

    Attributes:
        name: from the root; that of a folder ends with a slash.
        status: of a file; None for a folder.
        told: False: nothing that a listing tells; only a place to go on from.
    """

    name: bytes
    status: os.stat_result | None = None
    told: bool = True


class _Window(NamedTuple):
    start: bytes
    names: list[bytes]  # all from `start` on, …
    size: int
    complete: bool  # … to the end of the folder

    def covers(self, start: bytes) -> bool:
        return self.start <= start and (self.complete or start <= self.names[-1])


class Windows:
    """What was read of large folders, so that going through one does not read it anew for every page.

    A window counts only as long as its folder is unchanged: adding, removing or renaming changes the folder's times.

    Args:
        settled: was it changed so long ago that the next change is sure to leave other times?
    """

    def __init__(self, settled: Callable[[os.stat_result], bool]) -> None:
        self._settled = settled
        self._lock = threading.Lock()
        self._kept: dict[tuple[int, ...], list[_Window]] = {}  # the folder that was used last comes last
        self._size = 0

    def names(self, descriptor: int, folder: bytes, start: bytes, count: int) -> tuple[list[bytes], bool]:
        """The next names in an open folder, those of folders with a slash at their end.

        Args:
            descriptor: the folder.
            folder: its name, for the log.
            start: the first name that may come.
            count: how many at most.

        Returns:
            At least one name unless there are no more; and whether there are no more after these.
        """
        status = os.fstat(descriptor)
        identity = _identity(status)
        window = self._find(identity, start)
        if window is None:
            settled = self._settled(status)  # before it is read: a change meanwhile must leave other times
            window, seen = _read(descriptor, folder, start)
            if seen > WORTH_REMEMBERING and settled:
                self._keep(identity, window)
        first = bisect_left(window.names, start)
        names = window.names[first : first + count]
        return names, window.complete and first + count >= len(window.names)

    def _find(self, identity: tuple[int, ...], start: bytes) -> _Window | None:
        with self._lock:
            windows = self._kept.pop(identity, None)
            if windows is None:
                return None
            self._kept[identity] = windows
            return next((window for window in windows if window.covers(start)), None)

    def _keep(self, identity: tuple[int, ...], window: _Window) -> None:
        with self._lock:
            self._kept.setdefault(identity, []).append(window)
            self._size += window.size
            while self._size > REMEMBERED_BYTES:
                oldest = next(iter(self._kept))
                self._size -= self._kept[oldest].pop(0).size
                if not self._kept[oldest]:
                    del self._kept[oldest]


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _read(descriptor: int, folder: bytes, start: bytes) -> tuple[_Window, int]:
    """Go through all of an open folder and keep the first names from `start` on; and count its entries."""
    first = _First()
    seen, strange = 0, b""
    with os.scandir(descriptor) as entries:
        for entry in entries:
            seen += 1
            name = entry.name.encode(*_SPELLING)
            if name + b"/" < start or name > first.last:
                continue
            if entry.is_dir(follow_symlinks=False):
                name += b"/"
            elif not entry.is_file(follow_symlinks=False):
                continue
            if name < start or name > first.last:
                continue
            if _is_text(name):
                first.add(name)
            else:
                strange = name
    if strange:
        note_left_out(f"names in the folder {folder!r}", f"they are not UTF-8, such as {strange!r}")
    first.sort()
    return _Window(start, first.names, first.size, first.last == _NO_END), seen


class _First:
    """The first of all names that come by, as many as a window may hold; names after `last` are not wanted."""

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.size = 0
        self.last = _NO_END
        self._fresh: list[bytes] = []

    def add(self, name: bytes) -> None:
        self._fresh.append(name)
        self.size += len(name) + _NAME_COST
        if len(self._fresh) >= _BATCH:
            self.sort()

    def sort(self) -> None:
        """Sort in small batches, for while one is sorted every other thread waits."""
        self._fresh.sort()
        self.names += self._fresh
        self.names.sort()  # two runs in order, which only have to be merged
        self._fresh.clear()
        while self.size > WINDOW_BYTES:
            self.size -= len(self.names.pop()) + _NAME_COST
            self.last = self.names[-1]


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


class Walk:
    """One page's way through the tree.

    Args:
        root: descriptor of the folder that names start from.
        windows: what is remembered of large folders.
        prefix: what the names start with.
        after: only names that sort after it.
        limit: how many entries at most.
    """

    def __init__(self, root: int, windows: Windows, prefix: bytes, after: bytes, limit: int) -> None:
        self._root, self._windows, self._prefix, self._left = root, windows, prefix, limit
        self._start = max(prefix, after + b"\0")  # the first name that may come
        self._passed = after[: -len(_END)] if after.endswith(b"/" + _END) else b""  # a folder, not to be looked into
        self._top = prefix[: prefix.rfind(b"/") + 1]

    def page(self, *, folders: bool) -> tuple[list[Entry], bool]:
        """The next entries, at most `limit`, and whether there are more.

        Args:
            folders: False: the files, however deep. True: files and folders beside one another.
        """
        if not self._start.startswith(self._prefix):
            return [], False
        entries: list[Entry] = []
        for entry in self._beside() if folders else self._below(self._top):
            if not self._left:
                return entries, True
            entries.append(entry)
            self._left -= 1
        return entries, False

    def _below(self, folder: bytes) -> Iterator[Entry]:
        """All files below a folder. One without any has an entry too, so that a page bounds how far one has to go."""
        if folder and folder == self._passed:
            return
        slash = self._start.find(b"/", len(folder))
        bare = self._start <= folder
        for entry in self._entries(folder, self._start[: slash + 1] or self._start):
            bare = False
            if entry.status is not None:
                yield entry
            elif is_usable(entry.name.decode()):
                yield from self._below(entry.name)
            elif self._start <= entry.name:
                yield entry._replace(told=False)
        if bare:
            yield Entry(folder, None, told=False)

    def _beside(self) -> Iterator[Entry]:
        for entry in self._entries(self._top, self._start):
            if entry.status is not None:
                yield entry
            else:
                yield entry._replace(told=is_usable(entry.name.decode()) and self._holds_file(entry.name))

    def _holds_file(self, top: bytes) -> bool:
        """Is there a file below this folder, however deep?"""
        ways = [iter((Entry(top),))]
        while ways:
            folder = next(ways[-1], None)
            if folder is None:
                ways.pop()
            elif len(folder.name) < MAX_KEY_BYTES:
                if self._holds_file_itself(folder.name):
                    return True
                ways.append(self._entries(folder.name, b""))
        return False

    def _holds_file_itself(self, folder: bytes) -> bool:
        with self._opened(folder) as descriptor:
            if descriptor is None:
                return False
            with os.scandir(descriptor) as entries:
                return any(
                    entry.is_file(follow_symlinks=False) and _is_text(entry.name.encode(*_SPELLING))
                    for entry in entries
                )

    def _entries(self, folder: bytes, start: bytes) -> Iterator[Entry]:
        """Files and folders in a folder, from `start` on; nothing is held open between them."""
        start = start[len(folder) :] if start.startswith(folder) else b""
        end = False
        while not end:
            with self._opened(folder) as descriptor:
                if descriptor is None:
                    return
                names, end = self._windows.names(descriptor, folder, start, AT_A_TIME)
                if names and not (folder + names[-1]).startswith(self._prefix):
                    names, end = [name for name in names if (folder + name).startswith(self._prefix)], True
                enough = self._enough(names)
                found = [entry for name in names[:enough] if (entry := _entry(descriptor, folder, name))]
            yield from found
            end = end and enough == len(names)
            start = names[enough - 1] + b"\0" if enough else b""

    def _enough(self, names: Sequence[bytes]) -> int:
        """How many of these names have as many files among them as the page still needs; to look at more is waste."""
        files = [index for index, name in enumerate(names) if not name.endswith(b"/")]
        enough = max(self._left, 1)
        return files[enough] if len(files) > enough else len(names)

    @contextlib.contextmanager
    def _opened(self, folder: bytes) -> Iterator[int | None]:
        """A folder for reading; None if there is none."""
        segments = folder.split(b"/")[:-1]
        descriptor: int | None = None
        try:
            if b"\0" not in folder and NO_NAMES.isdisjoint(segments):
                descriptor = descend(self._root, segments)
        except OSError as error:
            if error.errno == errno.EACCES and segments:  # such as lost+found; what cannot be read cannot be served
                note_left_out(f"the folder {folder!r}", "it cannot be read")
            elif error.errno not in _GONE:
                raise _unreadable(folder, error) from error
        try:
            yield descriptor
        except OSError as error:
            raise _unreadable(folder, error) from error
        finally:
            if descriptor is not None and descriptor != self._root:
                os.close(descriptor)


def _entry(descriptor: int, folder: bytes, name: bytes) -> Entry | None:
    """What a name in an open folder is now; None if it is neither a file nor a folder any more."""
    if name.endswith(b"/"):
        return Entry(folder + name)
    try:
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Entry(folder + name, status) if stat.S_ISREG(status.st_mode) else None


def _unreadable(folder: bytes, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"the folder {os.fsdecode(folder) or '.'!r} cannot be listed: {error.strerror}")
