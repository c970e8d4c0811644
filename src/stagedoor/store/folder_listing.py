"""Listing the names below a folder, in the order of their UTF-8 bytes, a page at a time.

Every page costs about the same, and memory does not grow with the number of files: only folders that can hold a name
of the page are read, and of a large folder a window of names is kept for the next pages. Folders are opened segment by
segment, so that no link is followed, even one that replaces a folder in the meantime.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ..core.errors import StoreUnavailable
from ..core.paths import MAX_KEY_BYTES
from .names import is_usable, report_left_out

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NO_NAMES = frozenset((b"", b".", b".."))

WINDOW_BYTES = 4 * 1_048_576
"""Most bytes of names that are kept of one folder at a time."""
REMEMBERED_BYTES = 16 * 1_048_576
"""Most bytes of all windows that are kept for later pages."""
WORTH_REMEMBERING = 1024
"""Folders with fewer entries are read again for each page, which takes about a millisecond."""

SLOW_READ = 0.1
"""Seconds from which on reading a folder, tens of thousands of names, counts as slow."""
PAGE_WITHIN = 5.0
"""Seconds after which a page ends with what it has, if it has anything."""

AT_A_TIME = 1000
"""Names that are taken from a folder before it is closed and the folders among them are opened."""

_BATCH = 8192
_END = "\U0010ffff".encode()
_NO_END = b"\xff" * 256  # sorts after every possible file name
_NAME_COST = 49  # bytes that a name in a list takes beyond its own
_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))
_SPELLING = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def descend(root: int, segments: Sequence[bytes]) -> int:
    """Open a folder below another segment by segment, so that no link is followed.

    Returns:
        A descriptor for the caller to close; `root` itself if there are no segments.
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
    """A file or a folder.

    Attributes:
        name: its path from the root; a folder's ends with a slash.
        status: of a file; None for a folder.
        is_listed: False for a folder that only marks how far the page has come.
    """

    name: bytes
    status: os.stat_result | None = None
    is_listed: bool = True


class _Window(NamedTuple):
    start: bytes
    names: list[bytes]  # the first ones from `start` on
    size: int
    complete: bool  # no further names follow in the folder

    def covers(self, start: bytes) -> bool:
        return self.start <= start and (self.complete or start <= self.names[-1])


class _Changing(NamedTuple):
    folder: tuple[int, ...]
    window: _Window
    until: float


class Windows:
    """Names of large folders, kept so that the next page need not read the folder again.

    They are valid while the folder is unchanged: adding, removing or renaming an entry changes the folder's times. Of a
    very large folder that changes all the time the last window is used for as long as it took to read, or all its names
    would be read for each thousand of them.

    Args:
        settled: did the last change happen so long ago that another one would change the times?
        clock: seconds that never go back.
    """

    def __init__(self, settled: Callable[[os.stat_result], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._settled, self._clock = settled, clock
        self._changing: _Changing | None = None
        self._lock = threading.Lock()
        self._kept: dict[tuple[int, ...], list[_Window]] = {}  # in the order of their last use
        self._size = 0

    def names(self, descriptor: int, folder: bytes, start: bytes, count: int) -> tuple[list[bytes], bool]:
        """The next names in an open folder; names of folders end with a slash.

        Args:
            descriptor: the folder.
            folder: its name, for the log.
            start: the first possible name.
            count: how many at most.

        Returns:
            The names, at least one unless none is left; and whether these are the last.
        """
        status = os.fstat(descriptor)
        identity = _identity(status)
        window = self._find(identity, start)
        if window is None:
            settled = self._settled(status)  # asked before reading, so that a change while reading changes the times
            began = self._clock()
            window, entries = _read(descriptor, folder, start)
            if entries > WORTH_REMEMBERING and settled:
                self._keep(identity, window)
            elif (now := self._clock()) - began > SLOW_READ:
                self._changing = _Changing(identity[:2], window, now + (now - began))
        first = bisect_left(window.names, start)
        names = window.names[first : first + count]
        return names, window.complete and first + count >= len(window.names)

    def _find(self, identity: tuple[int, ...], start: bytes) -> _Window | None:
        with self._lock:
            windows = self._kept.pop(identity, None)
            if windows is not None:
                self._kept[identity] = windows
                return next((window for window in windows if window.covers(start)), None)
        last = self._changing
        usable = last is not None and last.folder == identity[:2] and self._clock() < last.until
        return last.window if last is not None and usable and last.window.covers(start) else None

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
    """Read an open folder; return its first names from `start` on, and how many entries it has."""
    first = _FirstNames()
    count, undecodable = 0, b""
    with os.scandir(descriptor) as entries:
        for entry in entries:
            count += 1
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
                undecodable = name
    if undecodable:
        report_left_out(f"names in the folder {folder!r}", f"they are not UTF-8, such as {undecodable!r}")
    first.sort()
    return _Window(start, first.names, first.size, first.last == _NO_END), count


class _FirstNames:
    """Collects the first names, as many as a window may hold. A name after `last` is too late to be among them."""

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.size = 0
        self.last = _NO_END
        self._unsorted: list[bytes] = []

    def add(self, name: bytes) -> None:
        self._unsorted.append(name)
        self.size += len(name) + _NAME_COST
        if len(self._unsorted) >= _BATCH:
            self.sort()

    def sort(self) -> None:
        """Called for small batches, because every other thread waits while one is sorted."""
        self._unsorted.sort()
        self.names += self._unsorted
        self.names.sort()  # merges two sorted runs
        self._unsorted.clear()
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
    """One page of a listing.

    Args:
        root: descriptor of the folder that paths start from.
        windows: remembered names of large folders.
        prefix: names start with it.
        after: names sort after it.
        limit: how many entries at most.
    """

    def __init__(self, root: int, windows: Windows, prefix: bytes, after: bytes, limit: int) -> None:
        self._root, self._windows, self._prefix, self._left = root, windows, prefix, limit
        self._start = max(prefix, after + b"\0")  # the first possible name
        self._passed = after[: -len(_END)] if after.endswith(b"/" + _END) else b""  # a folder to skip
        self._top = prefix[: prefix.rfind(b"/") + 1]
        self._ends = time.monotonic() + PAGE_WITHIN

    def page(self, *, folders: bool) -> tuple[list[Entry], bool]:
        """The entries, and whether more follow.

        Args:
            folders: list files and folders of one level, instead of the files of every level.
        """
        if not self._start.startswith(self._prefix):
            return [], False
        entries: list[Entry] = []
        for entry in self._one_level() if folders else self._below(self._top):
            if not self._left or (entries and time.monotonic() > self._ends):
                return entries, True
            entries.append(entry)
            self._left -= 1
        return entries, False

    def _below(self, folder: bytes) -> Iterator[Entry]:
        """All files below a folder. An empty folder yields an entry too, so that it counts towards the page's limit."""
        if folder and folder == self._passed:
            return
        slash = self._start.find(b"/", len(folder))
        empty = self._start <= folder
        for entry in self._entries(folder, self._start[: slash + 1] or self._start):
            empty = False
            if entry.status is not None:
                yield entry
            elif is_usable(entry.name.decode()):
                yield from self._below(entry.name)
            elif self._start <= entry.name:
                yield entry._replace(is_listed=False)
        if empty:
            yield Entry(folder, None, is_listed=False)

    def _one_level(self) -> Iterator[Entry]:
        for entry in self._entries(self._top, self._start):
            if entry.status is not None:
                yield entry
            else:
                yield entry._replace(is_listed=is_usable(entry.name.decode()) and self._has_file(entry.name))

    def _has_file(self, top: bytes) -> bool:
        """Is there a file below this folder at any depth? Yes if the page has no time to find that out."""
        levels = [iter((Entry(top),))]
        while levels:
            if time.monotonic() > self._ends:
                return True
            folder = next(levels[-1], None)
            if folder is None:
                levels.pop()
            elif len(folder.name) < MAX_KEY_BYTES:
                if self._has_own_file(folder.name):
                    return True
                levels.append(self._entries(folder.name, b""))
        return False

    def _has_own_file(self, folder: bytes) -> bool:
        with self._opened(folder) as descriptor:
            if descriptor is None:
                return False
            with os.scandir(descriptor) as entries:
                return any(
                    entry.is_file(follow_symlinks=False) and _is_text(entry.name.encode(*_SPELLING))
                    for entry in entries
                )

    def _entries(self, folder: bytes, start: bytes) -> Iterator[Entry]:
        """The files and folders in a folder from `start` on. The folder is closed while they are yielded."""
        start = start[len(folder) :] if start.startswith(folder) else b""
        end = False
        while not end:
            with self._opened(folder) as descriptor:
                if descriptor is None:
                    return
                names, end = self._windows.names(descriptor, folder, start, AT_A_TIME)
                if names and not (folder + names[-1]).startswith(self._prefix):
                    names, end = [name for name in names if (folder + name).startswith(self._prefix)], True
                needed = self._needed(names)
                found = [entry for name in names[:needed] if (entry := _entry(descriptor, folder, name))]
            yield from found
            end = end and needed == len(names)
            start = names[needed - 1] + b"\0" if needed else b""

    def _needed(self, names: Sequence[bytes]) -> int:
        """How many of these names to look at: up to the last file that the page still has room for."""
        files = [index for index, name in enumerate(names) if not name.endswith(b"/")]
        wanted = max(self._left, 1)
        return files[wanted] if len(files) > wanted else len(names)

    @contextlib.contextmanager
    def _opened(self, folder: bytes) -> Iterator[int | None]:
        """Open a folder; None if it does not exist."""
        segments = folder.split(b"/")[:-1]
        descriptor: int | None = None
        try:
            if b"\0" not in folder and NO_NAMES.isdisjoint(segments):
                descriptor = descend(self._root, segments)
        except OSError as error:
            if error.errno == errno.EACCES and segments:  # for example lost+found
                report_left_out(f"the folder {folder!r}", "it cannot be read")
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
    """The entry of a name in an open folder; None if the name is no longer a file."""
    if name.endswith(b"/"):
        return Entry(folder + name)
    try:
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Entry(folder + name, status) if stat.S_ISREG(status.st_mode) else None


def _unreadable(folder: bytes, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"the folder {os.fsdecode(folder) or '.'!r} cannot be listed: {error.strerror}")
