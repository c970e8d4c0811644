"""Files of the catalogue: what was exported is imported as it was, and what cannot be read is named by its line."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.catalogue import files
from stagedoor.catalogue.entry import RESERVED, checked
from stagedoor.catalogue.files import read, write_csv, write_json
from stagedoor.core.errors import CatalogueUnavailable, InvalidContent
from stagedoor.core.messages import Content

Writer = Callable[[Callable[[], Iterable[Content]], TextIO], int]
WRITERS = pytest.mark.parametrize("write", [write_csv, write_json])

LESSONS = (
    Content("lesson-1", "courses/1.mp4", "Lesson 1", "video/mp4", {"level": "beginner"}),
    Content("lesson-2", "courses/2.mp4", attributes={"course": "c1"}),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "courses"


def entries_of(file: Path, content: str | bytes) -> list[Content]:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read(file))


def written(write: Writer, entries: Iterable[Content]) -> str:
    kept = list(entries)
    out = io.StringIO(newline="")
    assert write(lambda: kept, out) == len(kept)
    return out.getvalue()


# --- there and back

_plain = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20)
_texts = st.text(st.characters(codec="utf-8"), max_size=30)
_awkward = st.sampled_from(
    ['"', ",", "\r", "\n", "\r\n", "=1+1", '""', " ", "\x00", "\ufeff", "\u2028", "\x1b", "'", "\t"]
)
_entries = st.builds(
    Content,
    _plain.filter(lambda text: "/" not in text and "\\" not in text and text not in (".", "..")),
    _plain.map(lambda text: f"k{text}".replace("\\", "")).filter(lambda key: not {".", ".."} & set(key.split("/"))),
    st.lists(_texts | _awkward, max_size=4).map("".join),
    _plain,
    st.dictionaries(
        _plain.filter(lambda name: name not in RESERVED),
        st.lists(_texts | _awkward, max_size=3).map("".join),
        max_size=3,
    ),
)


@WRITERS
@given(entries=st.lists(_entries, max_size=6))
def test_what_is_exported_is_imported_as_it_was(
    write: Writer, entries: list[Content], tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = [checked(entry) for entry in entries]
    file = tmp_path_factory.getbasetemp() / "round-trip"
    assert entries_of(file, written(write, kept)) == kept


def test_csv_is_a_table_with_a_column_for_every_attribute() -> None:
    assert written(write_csv, LESSONS).splitlines() == [
        "id,key,title,content_type,course,level",
        "lesson-1,courses/1.mp4,Lesson 1,video/mp4,,beginner",
        "lesson-2,courses/2.mp4,,,c1,",
    ]


def test_json_is_an_array_with_an_entry_in_each_line() -> None:
    text = written(write_json, LESSONS)
    assert len(text.splitlines()) == 4
    assert json.loads(text)[0] == {
        "id": "lesson-1",
        "key": "courses/1.mp4",
        "title": "Lesson 1",
        "contentType": "video/mp4",
        "attributes": {"level": "beginner"},
    }


@WRITERS
def test_an_empty_catalogue_can_be_exchanged_too(write: Writer, file: Path) -> None:
    assert entries_of(file, written(write, ())) == []


def test_formulas_stay_what_they_are(file: Path) -> None:
    formula = Content("a", "k", "=1+1", attributes={"level": "@SUM(A1)"})
    assert "a,k,=1+1,,@SUM(A1)\r\n" in written(write_csv, [formula])
    assert entries_of(file, "id,key,title,level\na,k,=1+1,@SUM(A1)\n") == [formula]


# --- files of other people


@pytest.mark.parametrize(
    "text",
    [
        "id,key,title\r\na,k,x\r\nb,l,\r\n",
        "id,key,title\na,k,x\nb,l,\n",
        "id,key,title\na,k,x\nb,l,",
        "\ufeffid,key,title\na,k,x\nb,l,\n",
        "title,key,id\nx,k,a\n,l,b\n",
        'id,key,title\n"a","k","x"\n\n"b",l,""\n\n',
        '[{"id": "a", "key": "k", "title": "x"}, {"id": "b", "key": "l"}]',
        '\ufeff\n [\r\n{"key": "k", "id": "a",\n "title": "x"}\n,\n{"id": "b", "key": "l", "attributes": {}}\n]\n\n',
        '{"id": "a", "key": "k", "title": "x"}\n{"id": "b", "key": "l"}\n',
        '{"id": "a", "key": "k", "title": "\\u0078"}\r\n\r\n{"id": "b", "key": "l", "contentType": ""}',
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 65_536])
def test_the_same_table_may_be_written_in_many_ways(
    file: Path, text: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CHUNK", chunk)
    assert entries_of(file, text) == [Content("a", "k", "x"), Content("b", "l")]


@pytest.mark.parametrize("text", ["[]", " [ ] ", "id,key\n", "key,id"])
def test_a_file_may_hold_no_entry(file: Path, text: str) -> None:
    assert entries_of(file, text) == []


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "the file is empty"),
        ("\n", 1, "the first line names the columns"),
        ("lesson-1,courses/1.mp4\n", 1, "id and key must be among them"),
        ("id;key;title\na;b;c\n", 1, "not separated by commas"),
        ("id\tkey\na\tb\n", 1, "not separated by commas"),
        ("id,key,id\n", 1, "column 3 has the same name as another"),
        ("id,key,,\n", 1, "column 3 has no name"),
        ("id,key,contentType\na,k,video/mp4\n", 1, "the media type's column is content_type"),
        ("id,key,attributes\n", 1, "an attribute cannot be called 'attributes'"),
        (",".join(["id", "key", *(f"c{i}" for i in range(1000))]), 1, "import JSON"),
        ("id,key\na,k\nb\n", 3, "1 cells for 2 columns"),
        ("id,key,title\na,k,one, two\n", 2, "need quotes"),
        ('id,key,title\na,k,"two\nlines"\n\nb,,x\n', 5, "entry 'b': it has no key"),
        ('id,key\na,k\n"b,l\nc,m\n', 3, "is a quote missing?"),
        ('id,key\na,k\nb,"l" x\n', 3, "is a quote missing?"),
        ("id,key\r\na/b,k\r\n", 2, "an id has no slash"),
        (b"id,key,title\na,k,x\nb,l,caf\xe9\n", 3, "entry 'b': .* not UTF-8"),
        ("id,key\na,k\n".encode("utf-16"), 1, "id and key must be among them"),
        ("[", 1, "expected an entry"),
        ('[{"id": "a", "key": "k"}', 1, "expected a comma or the end"),
        ('[{"id": "a", "key": "k"} {"id": "b", "key": "k"}]', 1, "expected a comma or the end"),
        ('[\n{"id": "a", "key": "k"},\n]', 3, "expected an entry"),
        ('[\n{"id": "a", "key": "k"}\n]\n[]', 4, "something follows"),
        ('[["a", "k"]]', 1, "expected an entry"),
        ("[null]", 1, "expected an entry"),
        ('{"id": "a", "key": "k"},\n{"id": "b", "key": "k"}', 1, "expected an entry"),
        ('{"id": "a", "key": "k"}\n{"id": "b", "key": "k}\n', 2, "not JSON: Unterminated string|Invalid control"),
        ('{"id": "a", "key": "k"}\n{"id": "b",\n "key" "k"}\n', 3, "not JSON: Expecting ':' delimiter"),
        ('{"id": "a", "id": "b", "key": "k"}', 1, "a name stands twice"),
        ('{"id": "a", "key": "k", "attributes": {"x": "1", "x": "2"}}', 1, "a name stands twice"),
        (
            '{"id": "a", "key": "k", "type": "video/mp4"}',
            1,
            "'type' is not one of id, key, title, contentType, attributes",
        ),
        ('{"id": "a", "key": "k", "title": null}', 1, "title is not text"),
        ('{"id": "a", "key": "k", "attributes": {"level": 3}}', 1, "attribute 'level' is not text"),
        ('{"id": "a", "key": "k", "attributes": ["level"]}', 1, "attributes are not a table"),
        ('{"id": 7, "key": "k"}', 1, "id is not text"),
        ('{"key": "k"}', 1, "an id has 1 to 256 characters"),
        ('{"id": "a"}', 1, "no key"),
        ('{"id": "a", "key": "k", "title": "\\ud800"}', 1, "half a character"),
        ('{"id": "a", "key": "k", "title": ' + "9" * 5000 + "}", 1, "unusable JSON"),
        ('{"id": "a", "key": "k", "title": ' + "[" * 100_000, 1, "unusable JSON|not JSON"),
        (b'{"id": "a", "key": "k", "title": "caf\xe9"}', 1, "not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_line(file: Path, text: str | bytes, line: int, words: str) -> None:
    with pytest.raises(InvalidContent, match=words) as caught:
        entries_of(file, text)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert len(str(caught.value)) < 500


def test_lines_are_counted_beyond_the_first_piece(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK", 50)
    good = '{"id": "a",\n "key": "k"}\n' * 40
    with pytest.raises(InvalidContent, match=r":81: "):
        entries_of(file, good + '{"id": "a"}\n' + good)


def test_a_quote_that_never_ends_does_not_swallow_the_file(file: Path) -> None:
    with pytest.raises(InvalidContent, match=r":2: not CSV"):
        entries_of(file, 'id,key\na,"k\n' + "b,l\n" * 100_000)


def test_an_object_that_never_ends_does_not_swallow_the_file(file: Path) -> None:
    size = 5 * files.MAX_TEXT
    file.write_text('{"id": "' + "a" * size)
    with pytest.raises(InvalidContent, match=r":1: not JSON"), measured(2 * files.MAX_TEXT + 1_000_000):
        list(read(file))


def test_what_was_read_before_the_bad_line_was_given_out(file: Path) -> None:
    file.write_text("id,key\na,k\n,k\n")
    found = read(file)
    assert next(found) == Content("a", "k")
    with pytest.raises(InvalidContent):
        next(found)


# --- size


class measured:  # noqa: N801 - reads like the function that it is
    """Fail if more than so many bytes are held at once."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __enter__(self) -> None:
        tracemalloc.start()

    def __exit__(self, *_: object) -> None:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < self.most, f"{peak} bytes were held at once"


def many() -> Iterator[Content]:
    return (Content(f"id-{i}", f"key-{i}", "x" * 1000, attributes={"n": "y"}) for i in range(5000))


@WRITERS
def test_memory_does_not_grow_with_the_file(write: Writer, file: Path) -> None:
    with measured(1_000_000):
        with file.open("w", newline="") as out:
            assert write(many, out) == 5000
        assert sum(1 for _ in read(file)) == 5000
    assert file.stat().st_size > 5_000_000


def test_memory_does_not_grow_with_json_lines(file: Path) -> None:
    with file.open("w") as out:
        out.writelines(json.dumps(files.as_object(entry)) + "\n" for entry in many())
    with measured(1_000_000):
        assert sum(1 for _ in read(file)) == 5000


def test_too_many_different_attributes_are_no_table(file: Path) -> None:
    scattered = [Content(f"id-{i}", "k", attributes={f"a{i}": "x"}) for i in range(997)]
    with pytest.raises(InvalidContent, match="more than 996 different attributes; export JSON"):
        written(write_csv, scattered)
    assert entries_of(file, written(write_csv, scattered[:996])) == scattered[:996]
    assert entries_of(file, written(write_json, scattered)) == scattered


def test_a_catalogue_that_changes_while_it_is_exported_is_noticed() -> None:
    rounds = iter(([Content("a", "k")], [Content("a", "k", attributes={"new": "x"})]))
    with pytest.raises(CatalogueUnavailable, match="export it again"):
        write_csv(lambda: next(rounds), io.StringIO())


def test_other_programs_read_the_same_table(file: Path) -> None:
    odd = Content("a", "k", 'say "hi",\r\nthen\rgo\n', attributes={"ü, x": " y "})
    (row,) = csv.DictReader(io.StringIO(written(write_csv, [odd]), newline=""))
    assert row == {"id": "a", "key": "k", "title": odd.title, "content_type": "", "ü, x": " y "}
