"""State in a SQLite file, for gateways on one machine.

The file uses a rollback journal: readers of a few entries every two seconds do not need more, and its folder need not
be writable for them beside it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import StateUnavailable
from ..core.messages import Entry, Keep
from .port import KEPT, MAX_ENTRIES, PAGE, State

WAIT = 5.0
"""Seconds that a question waits for others who write; SQLite lets them in as it happens, not in their order."""

# AUTOINCREMENT remembers the greatest number, also after the newest entry is gone.
_CREATE = """
CREATE TABLE IF NOT EXISTS entries (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    ends REAL NOT NULL
)
"""
_BY_END = "CREATE INDEX IF NOT EXISTS by_end ON entries (ends)"
_LAST = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'entries'"
_COUNT = "SELECT count(*) FROM entries"
_AFTER = "SELECT sequence, name, text, ends FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?"
_UNFINISHED = (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY, sqlite3.SQLITE_CANTOPEN)
"""A write was cut off, for example by a loss of power: who may only read cannot take it back."""


class SqliteState(State):
    """Entries in the table `entries` of a file.

    Args:
        path: of the file; it is made with the first entry.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()

    def put_all(self, entries: Sequence[Keep], now: float, most: int = MAX_ENTRIES) -> int:
        with self._opened("rwc") as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(_CREATE)
            db.execute(_BY_END)
            db.execute("DELETE FROM entries WHERE ends <= ?", (min(now, self.time()) - KEPT,))
            (last,) = db.execute(_LAST).fetchone()
            first = max(int(last), int(max(now, self.time()) * 1000)) + 1
            (before,) = db.execute(_COUNT).fetchone()
            for number, entry in enumerate(entries, first):
                db.execute("DELETE FROM entries WHERE name = ? AND ends <= ?", (entry.name, entry.ends))
                db.execute("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?)", (number, *entry))
            (count,) = db.execute(_COUNT).fetchone()
            if count > max(most, before):
                raise StateUnavailable(f"{self._path} is full: it holds {most:,} entries", code="state-full")
            db.execute("COMMIT")
        return first + len(entries) - 1

    def after(self, sequence: int) -> Sequence[Entry]:
        try:
            if not self._path.parent.is_dir():
                raise StateUnavailable(f"there is no folder {self._path.parent}")
            if not self._path.exists() or self._path.stat().st_size == 0:  # nothing was remembered yet
                return ()
        except OSError as error:
            raise StateUnavailable(f"{self._path}: {error.strerror}") from error
        with self._opened("ro") as db:
            try:
                found = db.execute(_AFTER, (sequence, PAGE)).fetchall()
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) not in _UNFINISHED:
                    raise
                with self._opened("rw") as repairing:
                    found = repairing.execute(_AFTER, (sequence, PAGE)).fetchall()
        return [_entry(self._path, row) for row in found]

    def time(self) -> float:
        return time.time()

    def close(self) -> None:
        pass

    @contextmanager
    def _opened(self, mode: str) -> Iterator[sqlite3.Connection]:
        """A connection for one question, so that a file that was replaced or lost is noticed."""
        try:
            uri = f"{self._path.as_uri()}?mode={mode}"
            with closing(sqlite3.connect(uri, WAIT, uri=True, isolation_level=None)) as db:
                yield db
        except sqlite3.Error as error:
            code = "state-full" if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL else None
            raise StateUnavailable(f"{self._path}: {error}", code=code) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise StateUnavailable(f"{self._path} cannot hold this entry") from error


def _entry(path: Path, row: Any) -> Entry:
    """Check a row, which other programs may have written."""
    number, name, text, ends = row
    if not isinstance(name, str) or not isinstance(text, str) or not isinstance(ends, float):
        raise StateUnavailable(f"{path}: row {number} is no entry of ours")
    return Entry(number, name, text, ends)
