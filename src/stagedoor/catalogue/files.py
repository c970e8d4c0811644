"""Reading and writing entries as files: CSV (RFC 4180), a JSON array or JSON Lines.

An exported file can be imported unchanged, whatever its texts hold; cells that look like formulas (`=1+1`) are not
altered. Only one entry is in memory at a time, however long the file is.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from ..core.errors import CatalogueUnavailable, InvalidContent
from ..core.messages import Content
from .entry import COLUMNS, RESERVED, checked_fields

MAX_COLUMNS = 1000
"""Most columns of a CSV file; JSON has no such limit."""
MAX_TEXT = 1_000_000
"""Characters of one entry in JSON: enough for the longest entry with every character escaped."""
CHUNK = 65_536

MEMBERS = ("id", "key", "title", "contentType", "attributes")
_SPACE = re.compile(r"[ \t\r\n]*")


def read(path: Path) -> Iterator[Content]:
    """Yield the entries of a file.

    Args:
        path: CSV, a JSON array or JSON Lines in UTF-8; the first character shows which.

    Raises:
        InvalidContent: what is wrong, with file and line.
        OSError: the file cannot be read.
    """
    # Bytes that are not UTF-8 become surrogates, which `checked` refuses, so that the error names the line.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        begin = file.read(1024).lstrip()[:1]
        file.seek(0)
        found = _read_json(file) if begin in ("[", "{") else _read_csv(file)
        try:
            for _, entry in found:
                yield entry
        except _LineError as error:
            raise InvalidContent(f"{path}:{error.line}: {error}") from None


def write_csv(entries: Callable[[], Iterable[Content]], out: TextIO) -> int:
    """Write CSV with a column for each attribute that any entry has; return how many entries.

    Args:
        entries: called twice, because the first line names the columns.
        out: opened with `newline=""`, so that line ends within texts are kept.
    """
    names = _attribute_names(entries())
    # The line end of RFC 4180; with "\n" the writer would not quote a lone CR.
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow((*COLUMNS, *names))
    count = 0
    for entry in entries():
        if not entry.attributes.keys() <= set(names):
            raise CatalogueUnavailable("the catalogue was written while it was read; export it again")
        table.writerow((*entry[:4], *(entry.attributes.get(name, "") for name in names)))
        count += 1
    return count


def write_json(entries: Callable[[], Iterable[Content]], out: TextIO) -> int:
    """Write a JSON array, one entry per line; return how many entries."""
    count = 0
    for entry in entries():
        out.write(",\n" if count else "[\n")
        out.write(json.dumps(as_object(entry), ensure_ascii=False))
        count += 1
    out.write("\n]\n" if count else "[]\n")
    return count


def as_object(entry: Content) -> dict[str, Any]:
    """The JSON object of an entry."""
    return dict(zip(MEMBERS, (*entry[:4], dict(entry.attributes)), strict=True))


class _LineError(InvalidContent):
    def __init__(self, line: int, problem: object) -> None:
        super().__init__(str(problem))
        self.line = line


_Numbered = tuple[int, Content]
"""The number of an entry's first line, and the entry."""


# --- CSV


def _read_csv(file: TextIO) -> Iterator[_Numbered]:
    rows = csv.reader(file, strict=True)
    line = 1
    columns: Sequence[str] = ()
    try:
        for row in rows:
            if not columns:
                columns = _columns(row, line)
            elif row:  # empty lines are skipped
                yield line, _row_entry(columns, row, line)
            line = rows.line_num + 1
    except csv.Error as error:
        raise _LineError(line, f"not CSV: {error}; is a quote missing?") from None
    if not columns:
        raise _LineError(1, f"the file is empty; its first line is {','.join(COLUMNS)}")


def _columns(row: Sequence[str], line: int) -> Sequence[str]:
    if not {"id", "key"} <= set(row):
        if len(row) == 1 and re.search("[;\t]", row[0]):
            raise _LineError(line, "the columns are not separated by commas; export the file as CSV with commas")
        raise _LineError(line, f"the first line names the columns, {','.join(COLUMNS)}; id and key must be among them")
    if len(row) > MAX_COLUMNS:
        raise _LineError(line, f"{len(row)} columns are too many; import JSON instead")
    for number, name in enumerate(row, start=1):
        if not name or name in row[: number - 1]:
            raise _LineError(line, f"column {number} has {'the same name as another' if name else 'no name'}")
        if name in RESERVED.difference(COLUMNS):
            raise _LineError(line, f"an attribute cannot be called {name!r}; the media type's column is content_type")
    return row


def _row_entry(columns: Sequence[str], row: Sequence[str], line: int) -> Content:
    if len(row) != len(columns):
        raise _LineError(line, f"{len(row)} cells for {len(columns)} columns; does a comma need quotes?")
    cells = dict(zip(columns, row, strict=True))
    texts = [cells.pop(name, "") for name in COLUMNS]
    return _entry(line, (*texts, cells))


def _attribute_names(entries: Iterable[Content]) -> Sequence[str]:
    names: set[str] = set()
    for entry in entries:
        names.update(entry.attributes)
        if len(names) > MAX_COLUMNS - len(COLUMNS):
            raise InvalidContent(f"there are more than {MAX_COLUMNS - len(COLUMNS)} different attributes; export JSON")
    return sorted(names)


# --- JSON


def _read_json(file: TextIO) -> Iterator[_Numbered]:
    text = _JsonText(file)
    if not text.accept("["):
        while text.peek():
            yield _json_entry(text)
        return
    if not text.accept("]"):
        yield _json_entry(text)
        while text.accept(","):
            yield _json_entry(text)
        if not text.accept("]"):
            raise _LineError(text.line, "not JSON: expected a comma or the end of the array")
    if text.peek():
        raise _LineError(text.line, "not JSON: something follows the end of the array")


def _json_entry(text: _JsonText) -> _Numbered:
    if text.peek() != "{":
        raise _LineError(text.line, "expected an entry, { … }")
    line = text.line
    value = text.value()
    unknown = sorted(set(value) - set(MEMBERS))
    if unknown:
        raise _LineError(line, f"{unknown[0]!r} is not one of {', '.join(MEMBERS)}; your own go into attributes")
    fields = (*(value.get(name, "") for name in MEMBERS[:4]), value.get("attributes", {}))
    return line, _entry(line, fields)


def _entry(line: int, fields: Iterable[Any]) -> Content:
    try:
        return checked_fields(fields)
    except InvalidContent as error:
        raise _LineError(line, error) from None


class _JsonText:
    """A long JSON text, of which only the part that is being read is in memory."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._at = file, "", 0
        self.line = 1

    def peek(self) -> str:
        """Return the next character that is not white space; "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None
            self._advance(match.end())
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_more():
                return ""

    def accept(self, character: str) -> bool:
        """Skip this character if it is the next one; return whether it was."""
        if self.peek() != character:
            return False
        self._advance(self._at + 1)
        return True

    def value(self) -> Any:
        """Read the value that starts here."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:  # unless the value continues beyond what has been read
                line = self.line + self._text.count("\n", self._at, error.pos)
                if len(self._text) - self._at > MAX_TEXT or not self._read_more():
                    raise _LineError(line, f"not JSON: {error.msg}") from None
            except (ValueError, RecursionError) as error:
                raise _LineError(self.line, f"unusable JSON: {error}") from None
            else:
                self._advance(end)
                return value

    def _advance(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _read_more(self) -> bool:
        chunk = self._file.read(CHUNK)
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice in one object")  # JSON does not say which one counts
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_members)
