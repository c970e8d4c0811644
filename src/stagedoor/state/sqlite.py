"""State in a SQLite file, for gateways on one machine.

The file uses a rollback journal: readers of a few entries every two seconds do not need more, and its folder need not
be writable for them beside it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ..core.errors import StateUnavailable
from ..core.messages import Entry
from .port import MAX_ENTRIES, PAGE

WAIT = 5.0
"""Seconds that a question waits for others who write; SQLite lets them in as it happens, not in their order."""

# AUTOINCREMENT never gives a number twice, also after the newest entry is gone.
_CREATE = """
CREATE TABLE IF NOT EXISTS entries (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    ends REAL NOT NULL
)
"""


class SqliteState:
    """Entries in the table `entries` of a file.

    Args:
        path: of the file; it is made with the first entry.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()

    def put(self, name: str, text: str, ends: float, now: float) -> int:
        with self._opened("rwc") as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(_CREATE)
            db.execute("DELETE FROM entries WHERE ends <= ? OR name = ?", (now, name))
            (count,) = db.execute("SELECT count(*) FROM entries").fetchone()
            if count >= MAX_ENTRIES:
                raise StateUnavailable(f"{self._path} is full: it holds {count:,} entries", code="state-full")
            put = db.execute("INSERT INTO entries (name, text, ends) VALUES (?, ?, ?)", (name, text, ends))
            db.execute("COMMIT")
            assert put.lastrowid is not None
            return put.lastrowid

    def after(self, sequence: int) -> Sequence[Entry]:
        if not self._path.parent.is_dir():
            raise StateUnavailable(f"there is no folder {self._path.parent}")
        if not self._path.exists() or self._path.stat().st_size == 0:  # nothing was remembered yet
            return ()
        with self._opened("ro") as db:
            asked = "SELECT sequence, name, text, ends FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?"
            return [Entry(*row) for row in db.execute(asked, (sequence, PAGE))]

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
            raise StateUnavailable(f"{self._path}: {error}") from error
