"""The catalogue in one SQLite file, for sites that run on one machine.

Requests only read. Their connections are read-only and live as long as the file stays what it is: one that was
written, swapped or put there later is opened anew with the next request.

The file keeps SQLite's rollback journal. WAL would let requests read while its owner writes, but readers of it have
to write beside the file, which a gateway should not be allowed to, and a file that is swapped could meet the log of
its predecessor. So `put` first gathers what is new in a temporary table; the file is locked for the last step alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import CatalogueUnavailable, InvalidContent
from ..core.messages import Content
from .entry import checked, is_id, made

READ_WAIT = 3.0
"""Seconds that a request waits for a writer; one that writes a million entries locks the file for about two."""
WRITE_WAIT = 30.0
"""Seconds that the owner's command waits for the lock of another one."""

# Without a rowid the entries lie in the order of their ids: one search finds one.
_MAKE = """
CREATE TABLE IF NOT EXISTS contents (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    title TEXT NOT NULL,
    content_type TEXT NOT NULL,
    attributes TEXT NOT NULL
) WITHOUT ROWID
"""
_STAGE = "CREATE TEMP TABLE staged (id, key, title, content_type, attributes)"
_TAKE_OVER = """
INSERT OR REPLACE INTO contents (id, key, title, content_type, attributes)
SELECT id, key, title, content_type, attributes FROM staged ORDER BY id, staged.rowid
"""
_FIND = "SELECT id, key, title, content_type, attributes FROM contents WHERE id = ?"
_NEXT = "SELECT id, key, title, content_type, attributes FROM contents WHERE id > ? ORDER BY id LIMIT 200"
"""A page of an export; between two pages the file is free for writers."""


class _Version(NamedTuple):
    """What changes when a file is written or another one takes its place."""

    device: int
    inode: int
    size: int
    modified: int


class SqliteCatalogue:
    """Entries in the table `contents` of a file.

    Args:
        path: of the file; it need not be there yet.
        create: True: `put` makes the file and the table where they are missing.
    """

    def __init__(self, path: str, *, create: bool = False) -> None:
        self._path, self._create = Path(path).absolute(), create
        self._idle: deque[tuple[_Version, sqlite3.Connection]] = deque()  # append and pop are safe in threads
        self._closed = False

    def find(self, id_: str) -> Content | None:
        if not is_id(id_):
            return None
        rows = self._read(_FIND, id_)
        return _entry(rows[0], id_) if rows else None

    def entries(self) -> Iterator[Content]:
        """In the order of their ids. An entry that is written meanwhile may be seen or not, but never by half."""
        after = ""
        while rows := self._read(_NEXT, after):
            for row in rows:
                yield _entry(row, row[0])
            after = rows[-1][0]

    def put(self, entries: Iterable[Content]) -> int:
        """Write entries, all or none, each in the place of the one that had its id; the last of an id counts."""
        with self._writing(create=self._create) as db:
            db.execute(_STAGE)
            db.execute("BEGIN")
            count = db.executemany("INSERT INTO staged VALUES (?, ?, ?, ?, ?)", map(_row, entries)).rowcount
            if self._create:
                db.execute(_MAKE)
            db.execute(_TAKE_OVER)
            db.execute("COMMIT")
        return max(count, 0)  # -1: there was nothing to execute

    def remove(self, id_: str) -> bool:
        with self._writing() as db:
            try:
                return db.execute("DELETE FROM contents WHERE id = ?", (id_,)).rowcount > 0
            except UnicodeEncodeError:  # half a character: there is no such text in a database
                return False

    def close(self) -> None:
        self._closed = True
        self._drain()

    # --- connections

    def _read(self, query: str, *values: str) -> list[Any]:
        with self._told(), self._reading() as db:
            return db.execute(query, values).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to the file as it is now, used by one thread at a time."""
        version = _version(self._path)  # asked first: what it names is never newer than the connection
        db = self._take(version) or self._open_whole(version)
        try:
            yield db
        except BaseException:
            db.close()
            raise
        self._idle.append((version, db))
        if self._closed:
            self._drain()

    def _take(self, version: _Version) -> sqlite3.Connection | None:
        while self._idle:
            try:
                known, db = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if known == version:
                return db
            db.close()
        return None

    @contextmanager
    def _writing(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection of the owner's; whatever was not committed at the end is rolled back."""
        with self._told():
            if not create:
                _version(self._path)
            elif not self._path.parent.is_dir():
                raise CatalogueUnavailable(f"there is no folder {self._path.parent}; make it, then try again")
            with closing(self._open("rwc" if create else "rw", WRITE_WAIT)) as db:
                yield db

    def _open_whole(self, version: _Version) -> sqlite3.Connection:
        """Refuse a file that ends within a page: SQLite notices missing pages, but takes a part of one as it is."""
        db = self._open("ro", READ_WAIT)
        try:
            db.execute("PRAGMA schema_version")  # reads the header, where the size of a page stands
            (page,) = db.execute("PRAGMA page_size").fetchone()
            if version.size % page:
                raise sqlite3.DatabaseError("the file is cut off")
        except BaseException:
            db.close()
            raise
        return db

    def _open(self, mode: str, wait: float) -> sqlite3.Connection:
        """`isolation_level` None: transactions begin and end where it is written, and nowhere else."""
        uri = f"{self._path.as_uri()}?mode={mode}"
        db = sqlite3.connect(uri, wait, uri=True, isolation_level=None, check_same_thread=False)
        db.text_factory = _text
        return db

    def _drain(self) -> None:
        while self._idle:
            try:
                self._idle.pop()[1].close()
            except IndexError:
                break

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what is wrong with the file; whatever it is, nobody may be told that an id is unknown."""
        try:
            yield
        except sqlite3.Error as error:
            raise CatalogueUnavailable(f"{self._path}: {_words(error)}") from error


def _version(path: Path) -> _Version:
    try:
        now = path.stat()
    except FileNotFoundError as error:
        raise CatalogueUnavailable(f"there is no {path}; make it with: stagedoor catalogue import FILE") from error
    except OSError as error:
        raise CatalogueUnavailable(f"{path}: {error.strerror}") from error
    return _Version(now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)


def _words(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another program is writing to it, and is not done"
    if code in (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY):
        return (
            "a write was cut off; the next command that writes sets it right: stagedoor catalogue import, put, remove"
        )
    if str(error).startswith("no such table"):
        return "there is no table of entries in it; make it with: stagedoor catalogue import FILE"
    return str(error)


def _row(entry: Content) -> tuple[str, ...]:
    entry = checked(entry)
    return *entry[:4], json.dumps(dict(entry.attributes), ensure_ascii=False, separators=(",", ":"))


def _entry(row: Any, id_: str) -> Content:
    """The entry of a row that somebody else may have written."""
    *texts, attributes = row
    try:
        table = json.loads(attributes)
    except (TypeError, ValueError, RecursionError):
        raise InvalidContent(f"entry {id_!r}: its attributes are not JSON") from None
    entry = made((*texts, table))
    if entry.id != id_:
        raise InvalidContent(f"entry {id_!r}: the table has {entry.id!r} in its place")
    return entry


def _text(stored: bytes) -> str:
    return stored.decode(errors="surrogateescape")  # `checked` refuses what is no UTF-8, and names the entry
