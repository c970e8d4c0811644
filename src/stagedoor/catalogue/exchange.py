"""The catalogue as a file to exchange with spreadsheets and programs: CSV (RFC 4180), a JSON array, JSON Lines.

What is exported can be imported again and is the same, whatever the texts hold. Cells that look like formulas
(`=1+1`) stay what they are, in both directions. An entry is one thing in memory at a time, however long the file is.
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
from .entry import COLUMNS, RESERVED, made

MAX_COLUMNS = 1000
"""More different attributes than this make no table; JSON has no such limit."""
MAX_TEXT = 1_000_000
"""Characters of one entry in JSON: more than the longest entry takes, with every character escaped."""
CHUNK = 65_536

MEMBERS = ("id", "key", "title", "contentType", "attributes")
_SPACE = re.compile(r"[ \t\r\n]*")


def read(path: Path) -> Iterator[Content]:
    """The entries of a file, one after the other.

    Args:
        path: CSV, a JSON array or JSON Lines, in UTF-8; how it begins tells which.

    Raises:
        InvalidContent: what is wrong, with file and line.
        OSError: the file cannot be read.
    """
    # Bytes that are no UTF-8 become surrogates here, which `checked` refuses with the line they stand in.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        begin = file.read(1024).lstrip()[:1]
        file.seek(0)
        found = _read_json(file) if begin in ("[", "{") else _read_csv(file)
        try:
            for _, entry in found:
                yield entry
        except _AtLine as error:
            raise InvalidContent(f"{path}:{error.line}: {error}") from None


def write_csv(entries: Callable[[], Iterable[Content]], out: TextIO) -> int:
    """Write a table with one column for each attribute that some entry has; return how many entries.

    Args:
        entries: called twice, for the names of the columns come first.
        out: opened with `newline=""`, so that line ends within texts stay what they are.
    """
    names = _names(entries())
    # RFC 4180's line end, also because the writer quotes a lone CR only if the line end holds one.
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
    """Write an array with one entry in each line; return how many entries."""
    count = 0
    for entry in entries():
        out.write(",\n" if count else "[\n")
        out.write(json.dumps(as_object(entry), ensure_ascii=False))
        count += 1
    out.write("\n]\n" if count else "[]\n")
    return count


def as_object(entry: Content) -> dict[str, Any]:
    """An entry as JSON has it."""
    return dict(zip(MEMBERS, (*entry[:4], dict(entry.attributes)), strict=True))


class _AtLine(InvalidContent):
    def __init__(self, line: int, problem: object) -> None:
        super().__init__(str(problem))
        self.line = line


_Placed = tuple[int, Content]
"""The line that an entry begins in, and the entry."""


# --- CSV


def _read_csv(file: TextIO) -> Iterator[_Placed]:
    rows = csv.reader(file, strict=True)
    line = 1
    columns: Sequence[str] = ()
    try:
        for row in rows:
            if not columns:
                columns = _columns(row, line)
            elif row:  # an empty line is none
                yield line, _of_row(columns, row, line)
            line = rows.line_num + 1
    except csv.Error as error:
        raise _AtLine(line, f"no CSV: {error}; is a quote missing?") from None
    if not columns:
        raise _AtLine(1, f"the file is empty; its first line is {','.join(COLUMNS)}")


def _columns(row: Sequence[str], line: int) -> Sequence[str]:
    if not {"id", "key"} <= set(row):
        if len(row) == 1 and re.search("[;\t]", row[0]):
            raise _AtLine(line, "the columns are separated by something else than commas; export it as CSV with commas")
        raise _AtLine(line, f"the first line names the columns, {','.join(COLUMNS)}; id and key must be among them")
    if len(row) > MAX_COLUMNS:
        raise _AtLine(line, f"{len(row)} columns are too many; import JSON instead")
    for number, name in enumerate(row, start=1):
        if not name or name in row[: number - 1]:
            raise _AtLine(line, f"column {number} has {'the name of another one' if name else 'no name'}")
        if name in RESERVED.difference(COLUMNS):
            raise _AtLine(line, f"no attribute can be called {name!r}; the media type's column is content_type")
    return row


def _of_row(columns: Sequence[str], row: Sequence[str], line: int) -> Content:
    if len(row) != len(columns):
        raise _AtLine(line, f"{len(row)} cells, and {len(columns)} columns; is there a comma that needs quotes?")
    cells = dict(zip(columns, row, strict=True))
    texts = [cells.pop(name, "") for name in COLUMNS]
    return _placed(line, (*texts, cells))


def _names(entries: Iterable[Content]) -> Sequence[str]:
    names: set[str] = set()
    for entry in entries:
        names.update(entry.attributes)
        if len(names) > MAX_COLUMNS - len(COLUMNS):
            raise InvalidContent(f"there are more than {MAX_COLUMNS - len(COLUMNS)} different attributes; export JSON")
    return sorted(names)


# --- JSON


def _read_json(file: TextIO) -> Iterator[_Placed]:
    text = _Window(file)
    if not text.accept("["):
        while text.peek():
            yield _of_json(text)
        return
    if not text.accept("]"):
        yield _of_json(text)
        while text.accept(","):
            yield _of_json(text)
        if not text.accept("]"):
            raise _AtLine(text.line, "no JSON: here is neither a comma nor the end of the array")
    if text.peek():
        raise _AtLine(text.line, "no JSON: something follows the end of the array")


def _of_json(text: _Window) -> _Placed:
    if text.peek() != "{":
        raise _AtLine(text.line, "here should stand an entry, { … }")
    line = text.line
    value = text.value()
    unknown = sorted(set(value) - set(MEMBERS))
    if unknown:
        raise _AtLine(line, f"{unknown[0]!r} is none of {', '.join(MEMBERS)}; your own go into attributes")
    fields = (*(value.get(name, "") for name in MEMBERS[:4]), value.get("attributes", {}))
    return line, _placed(line, fields)


def _placed(line: int, fields: Iterable[Any]) -> Content:
    try:
        return made(fields)
    except InvalidContent as error:
        raise _AtLine(line, error) from None


class _Window:
    """The part of a long JSON text that is being read; it moves on, and what lies behind is forgotten."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._at = file, "", 0
        self.line = 1

    def peek(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None
            self._go(match.end())
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def accept(self, character: str) -> bool:
        """Go past this character, if it is the next."""
        if self.peek() != character:
            return False
        self._go(self._at + 1)
        return True

    def value(self) -> Any:
        """Read the value that begins here."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:  # or it goes on beyond what has been read
                line = self.line + self._text.count("\n", self._at, error.pos)
                if len(self._text) - self._at > MAX_TEXT or not self._more():
                    raise _AtLine(line, f"no JSON: {error.msg}") from None
            except (ValueError, RecursionError) as error:
                raise _AtLine(self.line, f"no JSON that can be used: {error}") from None
            else:
                self._go(end)
                return value

    def _go(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        chunk = self._file.read(CHUNK)
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice in one object")  # which of them counts is anybody's guess
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_members)
