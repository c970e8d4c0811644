"""The catalogue in a SQLite file, for sites on one machine.

Requests use read-only connections, which are kept while the file is unchanged. After it was written or replaced, the
next request opens it again.

The file uses a rollback journal rather than WAL. With WAL, readers must be allowed to write next to the file, and a
replaced file could meet the log of the old one. To lock the file only briefly, `put` collects the new entries in a
temporary table first.
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
from .entry import checked, checked_fields, is_id

READ_WAIT = 3.0
"""Seconds that a request waits for a writer; writing a million entries locks the file for about two."""
WRITE_WAIT = 30.0
"""Seconds that a command of the owner waits for another writer."""

# WITHOUT ROWID stores entries in the order of their ids, so that one search finds an entry.
_CREATE = """
CREATE TABLE IF NOT EXISTS contents (
    id TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    title TEXT NOT NULL,
    content_type TEXT NOT NULL,
    attributes TEXT NOT NULL
) WITHOUT ROWID
"""
_STAGE = "CREATE TEMP TABLE staged (id, key, title, content_type, attributes)"
_MERGE = """
INSERT OR REPLACE INTO contents (id, key, title, content_type, attributes)
SELECT id, key, title, content_type, attributes FROM staged ORDER BY id, staged.rowid
"""
_FIND = "SELECT id, key, title, content_type, attributes FROM contents WHERE id = ?"
_NEXT = "SELECT id, key, title, content_type, attributes FROM contents WHERE id > ? ORDER BY id LIMIT 200"
"""One page of an export. Between pages writers may write."""


class _Version(NamedTuple):
    """Changes whenever the file is written or replaced."""

    device: int
    inode: int
    size: int
    modified: int


class SqliteCatalogue:
    """Entries in the table `contents` of a file.

    Args:
        path: of the file, which need not exist yet.
        create: let `put` create the file and the table.
    """

    def __init__(self, path: str, *, create: bool = False) -> None:
        self._path, self._create = Path(path).absolute(), create
        self._idle: deque[tuple[_Version, sqlite3.Connection]] = deque()  # append and pop are thread-safe
        self._closed = False

    def find(self, content_id: str) -> Content | None:
        if not is_id(content_id):
            return None
        rows = self._read(_FIND, content_id)
        return _entry(rows[0], content_id) if rows else None

    def entries(self) -> Iterator[Content]:
        """Yield entries in the order of their ids. One written meanwhile may be missing, but is never partial."""
        after = ""
        while rows := self._read(_NEXT, after):
            for row in rows:
                yield _entry(row, row[0])
            after = rows[-1][0]

    def put(self, entries: Iterable[Content]) -> int:
        """Write all entries or none; an entry replaces an earlier one with its id, here or in the file."""
        with self._writing(create=self._create) as db:
            db.execute(_STAGE)
            db.execute("BEGIN")
            count = db.executemany("INSERT INTO staged VALUES (?, ?, ?, ?, ?)", map(_row, entries)).rowcount
            if self._create:
                db.execute(_CREATE)
            db.execute(_MERGE)
            db.execute("COMMIT")
        return max(count, 0)  # -1 for no entries

    def remove(self, content_id: str) -> bool:
        with self._writing() as db:
            try:
                return db.execute("DELETE FROM contents WHERE id = ?", (content_id,)).rowcount > 0
            except UnicodeEncodeError:  # half a character, which no database holds
                return False

    def close(self) -> None:
        self._closed = True
        self._drain()

    # --- connections

    def _read(self, query: str, *values: str) -> list[Any]:
        with self._explaining_errors(), self._reading() as db:
            return db.execute(query, values).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to the file as it is now, for one thread."""
        version = _version(self._path)  # read first, so that the connection is never older
        db = self._take_idle(version) or self._open_complete(version)
        try:
            yield db
        except BaseException:
            db.close()
            raise
        self._idle.append((version, db))
        if self._closed:
            self._drain()

    def _take_idle(self, version: _Version) -> sqlite3.Connection | None:
        while self._idle:
            try:
                known, db = self._idle.pop()
            except IndexError:  # another thread took the last one
                break
            if known == version:
                return db
            db.close()
        return None

    @contextmanager
    def _writing(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection that may write; what is not committed is rolled back."""
        with self._explaining_errors():
            if not create:
                _version(self._path)
            elif not self._path.parent.is_dir():
                raise CatalogueUnavailable(f"there is no folder {self._path.parent}; make it and try again")
            with closing(self._open("rwc" if create else "rw", WRITE_WAIT)) as db:
                yield db

    def _open_complete(self, version: _Version) -> sqlite3.Connection:
        """Open the file, unless it ends within a page: SQLite notices missing pages, but not a partial one."""
        db = self._open("ro", READ_WAIT)
        try:
            db.execute("PRAGMA schema_version")  # reads the header, which holds the page size
            (page,) = db.execute("PRAGMA page_size").fetchone()
            if version.size % page:
                raise sqlite3.DatabaseError("the file is cut off")
        except BaseException:
            db.close()
            raise
        return db

    def _open(self, mode: str, wait: float) -> sqlite3.Connection:
        uri = f"{self._path.as_uri()}?mode={mode}"
        # With `isolation_level` None only our own BEGIN and COMMIT start and end transactions.
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
    def _explaining_errors(self) -> Iterator[None]:
        """Turn errors of SQLite into ours, so that a faulty file never looks like an unknown id."""
        try:
            yield
        except sqlite3.Error as error:
            raise CatalogueUnavailable(f"{self._path}: {_explanation(error)}") from error


def _version(path: Path) -> _Version:
    try:
        now = path.stat()
    except FileNotFoundError as error:
        raise CatalogueUnavailable(f"there is no {path}; make it with: stagedoor catalogue import FILE") from error
    except OSError as error:
        raise CatalogueUnavailable(f"{path}: {error.strerror}") from error
    return _Version(now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)


def _explanation(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another program is writing to it"
    if code in (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY):
        return "a write was cut off; the next command that writes repairs it: stagedoor catalogue import, put, remove"
    if str(error).startswith("no such table"):
        return "it has no table of entries; make it with: stagedoor catalogue import FILE"
    return str(error)


def _row(entry: Content) -> tuple[str, ...]:
    entry = checked(entry)
    return *entry[:4], json.dumps(dict(entry.attributes), ensure_ascii=False, separators=(",", ":"))


def _entry(row: Any, content_id: str) -> Content:
    """Check a row, which other programs may have written."""
    *texts, attributes = row
    try:
        table = json.loads(attributes)
    except (TypeError, ValueError, RecursionError):
        raise InvalidContent(f"entry {content_id!r}: its attributes are not JSON") from None
    entry = checked_fields((*texts, table))
    if entry.id != content_id:
        raise InvalidContent(f"entry {content_id!r}: the table returned {entry.id!r} instead")
    return entry


def _text(stored: bytes) -> str:
    return stored.decode(errors="surrogateescape")  # so that `checked` refuses it and names the entry
