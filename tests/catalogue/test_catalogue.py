"""The catalogue: what goes in comes out the same, nothing else gets in, and what fails is never "no such id"."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from stagedoor.catalogue import Catalogue, dynamodb, open_catalogue, sqlite
from stagedoor.catalogue.entry import MAX_BYTES, checked
from stagedoor.core.errors import CatalogueUnavailable, InvalidContent, StagedoorError, StoreRefused
from stagedoor.core.messages import Content
from stagedoor.outside.aws import REQUEST_LIMITS
from tests.helpers.stores import FLAT_KEYS, ODD_KEYS, endpoint, let_in

Opener = Callable[..., Catalogue]
REGION = "us-east-1"
_numbers = itertools.count()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    let_in(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint())
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


@pytest.fixture(params=["sqlite", "dynamodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a catalogue that does not exist yet."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/catalogue.db"
    request.getfixturevalue("aws")
    return f"dynamodb://{new_table()}"


@pytest.fixture
def catalogue(url: str) -> Iterator[Catalogue]:
    with closing(open_catalogue(url, create=True)) as made:
        made.put(())
        yield made


def new_table() -> str:
    return f"catalogue-{next(_numbers)}"


@cache
def aws_client() -> Any:
    return boto3.client(
        "dynamodb",
        endpoint_url=endpoint(),
        region_name=REGION,
        aws_access_key_id="writer",
        aws_secret_access_key="writer",
    )


LESSON = Content("lesson-1", "courses/1.mp4", "Lesson 1", "video/mp4", {"level": "beginner", "course": "c1"})

ODD = (
    Content("a", "a"),
    Content("x" * 256, "k" * 1024),
    Content("\U0001f3ad" * 250, "courses/ü.mp4"),
    *(Content(f"odd-{i}", key) for i, key in enumerate((*ODD_KEYS, *FLAT_KEYS))),
    *(
        Content(name, "k")
        for name in (" ", "a b", "100%", "%2F", "...", "-", "ä", "a\u0308", "A", "a?b#c", "'; --", "*")
    ),
    Content("texts", "k", 'line\nline\r\nline\r"quotes", commas; =1+1 \t\x00\x1b[2J ü 🎭 \u2028', "video/mp4"),
    Content("long", "k", "ü" * 30_000),
    Content("attributes", "k", "", "", {'ü, "x"': "1", "Key": " ", "=1+1": "\n", "a" * 200: "b" * 200, " ": ","}),
)
"""Entries that something on the way might change."""


# --- both kinds


def test_what_was_put_is_found_as_it_was(catalogue: Catalogue) -> None:
    for entry in (LESSON, *ODD):
        assert catalogue.put((entry,)) == 1
    for entry in (LESSON, *ODD):
        assert catalogue.find(entry.id) == entry


def test_all_entries_are_there_however_many(catalogue: Catalogue) -> None:
    many = [Content(f"id-{i}", f"key-{i}", "x" * 5000) for i in range(430)]
    assert catalogue.put(iter((*ODD, *many))) == len(ODD) + 430
    assert sorted(catalogue.entries(), key=lambda entry: entry.id) == sorted((*ODD, *many), key=lambda entry: entry.id)


def test_an_entry_takes_the_place_of_the_one_that_had_its_id(catalogue: Catalogue) -> None:
    catalogue.put((LESSON, Content("other", "k")))
    catalogue.put((Content("lesson-1", "courses/one.mp4"),))
    assert catalogue.find("lesson-1") == Content("lesson-1", "courses/one.mp4")
    assert catalogue.find("other") == Content("other", "k")


def test_the_last_of_an_id_counts(catalogue: Catalogue) -> None:
    catalogue.put([Content(f"id-{i % 7}", f"key-{i}") for i in range(60)])
    assert {entry.id: entry.key for entry in catalogue.entries()} == {f"id-{i % 7}": f"key-{i}" for i in range(53, 60)}


def test_removing_says_whether_there_was_anything(catalogue: Catalogue) -> None:
    catalogue.put((LESSON, Content("other", "k")))
    assert catalogue.remove("lesson-1") is True
    assert catalogue.remove("lesson-1") is False
    assert catalogue.find("lesson-1") is None
    assert catalogue.find("other") is not None


def test_another_id_is_another_id(catalogue: Catalogue) -> None:
    catalogue.put((LESSON,))
    for id_ in ("lesson-2", "Lesson-1", "lesson-1 ", " lesson-1", "lesson-%", "lesson-_", "lesson-*", "lesson"):
        assert catalogue.find(id_) is None, id_


IMPOSSIBLE_IDS = (
    "",
    ".",
    "..",
    "a/b",
    "/",
    "a\\b",
    "a\x00",
    "a\nb",
    "\x7f",
    "\x85",
    "x" * 257,
    "\udcff",
    "\U0001f3ad" * 255,
)


def test_an_id_that_no_entry_can_have_is_not_even_asked_for(url: str) -> None:
    with closing(open_catalogue(url)) as absent:
        assert [absent.find(id_) for id_ in IMPOSSIBLE_IDS] == [None] * len(IMPOSSIBLE_IDS)


WRONG: Sequence[tuple[Content, str]] = (
    *((Content(id_, "k"), "id") for id_ in IMPOSSIBLE_IDS),
    (Content("a", ""), "no key"),
    (Content("a", "/courses/1.mp4"), "leading slash: 'courses/1.mp4', not '/courses/1.mp4'"),
    (Content("a", "-/urls"), "never served"),
    (Content("a", "courses/../secret"), "segment"),
    (Content("a", "courses\\1.mp4"), "backslash"),
    (Content("a", "courses/\x00"), "control character"),
    (Content("a", "k" * 1025), "1024"),
    (Content("a", "\ud800"), "Unicode"),
    (Content("a", "https://bucket.s3.amazonaws.com/k"), "a URL"),
    (Content("a", "S3://bucket/k"), "a URL"),
    (Content("a", "k", "\ud800"), "half a character"),
    (Content("a", "k", "", "text/html\r\nSet-Cookie: x=y"), "control character"),
    (Content("a", "k", attributes={"": "x"}), "''"),
    (Content("a", "k", attributes={"key": "x"}), "'key'"),
    (Content("a", "k", attributes={"contentType": "x"}), "'contentType'"),
    (Content("a", "k", attributes={"a\nb": "x"}), "attribute"),
    (Content("a", "k", attributes={"\udcff": "x"}), "half a character"),
    (Content("a", "k", attributes={"level": 3}), "'level'"),  # type: ignore[dict-item]
    (Content("a", 7), "key is not text"),  # type: ignore[arg-type]
    (Content("a", "k", None), "title is not text"),  # type: ignore[arg-type]
    (Content(None, "k"), "id is not text"),  # type: ignore[arg-type]
    (Content("a", "k", attributes=["x"]), "attributes"),  # type: ignore[arg-type]
    (Content("a", "k", "x" * MAX_BYTES), str(MAX_BYTES)),
    (Content("a", "k", attributes={"a" * 30_000: "ü" * 20_000}), str(MAX_BYTES)),
)


@pytest.mark.parametrize(("entry", "words"), WRONG)
def test_what_no_request_could_name_is_refused_and_named(entry: Content, words: str) -> None:
    with pytest.raises(InvalidContent) as caught:
        checked(entry)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


def test_what_is_refused_is_not_written_and_nothing_beside_it(catalogue: Catalogue) -> None:
    catalogue.put((LESSON,))
    for entry, _ in WRONG:
        with pytest.raises(InvalidContent):
            catalogue.put((Content("before", "k"), entry, Content("after", "k")))
    assert list(catalogue.entries()) == [LESSON]


def test_an_attribute_without_a_value_is_none(catalogue: Catalogue) -> None:
    catalogue.put((Content("a", "k", attributes={"level": "", "course": "c1"}),))
    assert catalogue.find("a") == Content("a", "k", attributes={"course": "c1"})


def test_many_threads_may_ask_at_once(catalogue: Catalogue) -> None:
    catalogue.put(Content(f"id-{i}", f"key-{i}") for i in range(40))

    def ask(number: int) -> bool:
        found = catalogue.find(f"id-{number % 50}")
        return found == (Content(f"id-{number % 50}", f"key-{number % 50}") if number % 50 < 40 else None)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(400)))


def test_nothing_is_made_unless_that_is_asked_for(url: str) -> None:
    with closing(open_catalogue(url)) as absent:
        for ask in (
            lambda: absent.find("a"),
            lambda: list(absent.entries()),
            lambda: absent.put((LESSON,)),
            lambda: absent.remove("a"),
        ):
            with pytest.raises((CatalogueUnavailable, StoreRefused), match="there is no"):
                ask()


def test_what_is_made_later_is_found_without_a_restart(url: str) -> None:
    with closing(open_catalogue(url)) as reader, closing(open_catalogue(url, create=True)) as writer:
        with pytest.raises((CatalogueUnavailable, StoreRefused)):
            reader.find("lesson-1")
        writer.put((LESSON,))
        assert reader.find("lesson-1") == LESSON
        writer.remove("lesson-1")
        assert reader.find("lesson-1") is None


def test_closing_twice_or_unused_is_fine(url: str) -> None:
    unused = open_catalogue(url)
    unused.close()
    unused.close()


# --- SQLite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.db"


@pytest.fixture
def table(path: Path) -> Iterator[Catalogue]:
    """A database with one entry, opened as a gateway does."""
    fill(path, LESSON)
    with closing(open_catalogue(f"sqlite://{path}")) as made:
        yield made


def fill(path: Path, *entries: Content) -> None:
    with closing(open_catalogue(f"sqlite://{path}", create=True)) as made:
        made.put(entries)


def test_a_file_that_is_swapped_is_seen_at_once(table: Catalogue, path: Path, tmp_path: Path) -> None:
    assert table.find("lesson-1") == LESSON
    fill(tmp_path / "new.db", LESSON._replace(key="courses/2.mp4"))
    (tmp_path / "new.db").rename(path)
    assert table.find("lesson-1") == LESSON._replace(key="courses/2.mp4")


def test_a_file_that_is_written_over_is_seen_at_once(table: Catalogue, path: Path, tmp_path: Path) -> None:
    """Of the same length and with as many changes: SQLite alone would take it for the one that it knows."""
    assert table.find("lesson-1") == LESSON
    fill(tmp_path / "new.db", LESSON._replace(key="courses/2.mp4"))
    os.utime(path, ns=(0, 0))
    shutil.copyfile(tmp_path / "new.db", path)
    assert table.find("lesson-1") == LESSON._replace(key="courses/2.mp4")


def test_a_file_that_was_taken_away_is_no_empty_catalogue(table: Catalogue, path: Path) -> None:
    assert table.find("lesson-1") == LESSON
    path.unlink()
    with pytest.raises(CatalogueUnavailable, match=r"there is no .*stagedoor catalogue import"):
        table.find("lesson-1")


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _torn(path: Path) -> None:
    stored = bytearray(path.read_bytes())
    stored[4096:] = b"\xff" * (len(stored) - 4096)
    path.write_bytes(stored)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"id,key\nlesson-1,courses/1.mp4\n" * 100),
        _truncated,
        _torn,
        _folder,
    ],
    ids=["empty", "csv", "truncated", "torn", "folder"],
)
def test_a_spoilt_file_is_no_unknown_id(table: Catalogue, path: Path, spoil: Callable[[Path], None]) -> None:
    table.find("lesson-1")
    spoil(path)
    for id_ in ("lesson-1", "lesson-2"):
        with pytest.raises(CatalogueUnavailable, match=str(path)):
            table.find(id_)


def test_a_file_that_stays_locked_is_unavailable_for_so_long(
    table: Catalogue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "READ_WAIT", 0.05)
    monkeypatch.setattr(sqlite, "WRITE_WAIT", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for ask in (lambda: table.find("lesson-1"), lambda: table.put((LESSON,)), lambda: table.remove("lesson-1")):
            with pytest.raises(CatalogueUnavailable, match="another program is writing"):
                ask()
        other.execute("ROLLBACK")
        assert table.find("lesson-1") == LESSON


def test_a_write_that_was_cut_off_is_never_read(path: Path, tmp_path: Path) -> None:
    """What a crash leaves: a file that is half new, and the journal that takes it back."""
    fill(path, *(Content(f"id-{i}", "old", "x" * 500) for i in range(2000)))
    crashed = tmp_path / "crashed.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA cache_size = 5")
        other.execute("BEGIN")
        other.execute("UPDATE contents SET key = 'new'")
        shutil.copyfile(path, crashed)
        shutil.copyfile(f"{path}-journal", f"{crashed}-journal")
    with closing(open_catalogue(f"sqlite://{crashed}")) as found:
        with pytest.raises(CatalogueUnavailable, match="a write was cut off; the next command that writes"):
            found.find("id-5")
        found.remove("nothing")
        assert {entry.key for entry in found.entries()} == {"old"}


class Foreign(NamedTuple):
    """A row that our commands would not write."""

    values: tuple[object, ...]
    words: str


@pytest.mark.parametrize(
    "row",
    [
        Foreign(("a", None, "", "", "{}"), "key is not text"),
        Foreign(("a", b"k", "", "", "{}"), "key is not text"),
        Foreign(("a", 7, "", "", "{}"), "key is not text"),
        Foreign(("a", "/k", "", "", "{}"), "leading slash"),
        Foreign(("a", "-/urls", "", "", "{}"), "never served"),
        Foreign(("a", "k", None, "", "{}"), "title is not text"),
        Foreign(("a", "k", "", "a\nb", "{}"), "control character"),
        Foreign(("a", "k", "", "", None), "not JSON"),
        Foreign(("a", "k", "", "", "{"), "not JSON"),
        Foreign(("a", "k", "", "", "[" * 100_000), "not JSON"),
        Foreign(("a", "k", "", "", "[]"), "attributes"),
        Foreign(("a", "k", "", "", '{"level": 3}'), "'level'"),
        Foreign(("a", "k", "x" * 70_000, "", "{}"), str(MAX_BYTES)),
        Foreign(("A", "k", "", "", "{}"), "'A' instead"),
    ],
    ids=lambda row: row.words,
)
def test_a_row_of_other_hands_is_judged_as_our_own(path: Path, row: Foreign) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE contents (id TEXT COLLATE NOCASE, key, title, content_type, attributes)")
        other.execute("INSERT INTO contents VALUES (?, ?, ?, ?, ?)", row.values)
    with closing(open_catalogue(f"sqlite://{path}")) as made:
        with pytest.raises(InvalidContent, match=row.words) as caught:
            made.find("a")
        assert "entry 'a'" in str(caught.value)


def test_a_row_that_is_no_utf8_is_named(path: Path) -> None:
    fill(path, LESSON)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE contents SET title = CAST(x'ff41' AS TEXT)")
    with closing(open_catalogue(f"sqlite://{path}")) as made:
        for ask in (lambda: made.find("lesson-1"), lambda: list(made.entries())):
            with pytest.raises(InvalidContent, match=r"entry 'lesson-1': .*not UTF-8"):
                ask()


def test_a_put_that_breaks_off_changes_nothing(table: Catalogue, path: Path) -> None:
    def broken() -> Iterator[Content]:
        yield from (Content(f"id-{i}", "k") for i in range(1000))
        raise InvalidContent("line 1001")

    with pytest.raises(InvalidContent, match="line 1001"):
        table.put(broken())
    assert list(table.entries()) == [LESSON]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_requests_go_on_while_much_is_written(table: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the last step the file is not locked, so reading a slow source holds up no request."""
    monkeypatch.setattr(sqlite, "READ_WAIT", 0.0)
    seen: list[Content | None] = []

    def slow() -> Iterator[Content]:
        for number in range(3000):
            if number % 1000 == 999:
                seen.append(table.find("lesson-1"))
            yield Content(f"id-{number}", "k", "x" * 2000)

    assert table.put(slow()) == 3000
    assert seen == [LESSON] * 3
    assert table.find("id-2999") is not None


def test_a_slow_export_keeps_no_writer_waiting(table: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "WRITE_WAIT", 0.0)
    table.put(Content(f"id-{i:03}", "k") for i in range(500))
    reading = table.entries()
    first = next(reading)
    table.put((Content("id-999", "k"),))
    assert {entry.id for entry in (first, *reading)} == {"lesson-1", *(f"id-{i:03}" for i in range(500)), "id-999"}


def test_requests_write_nothing_beside_the_file(table: Catalogue, path: Path) -> None:
    """Nor could they: a gateway need not have the right to. So it is no database with a write-ahead log."""
    before = path.read_bytes(), path.stat().st_mtime_ns
    table.find("lesson-1")
    list(table.entries())
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@pytest.mark.parametrize("name", ["a?mode=rwc", "a#b", "a%41", "ü b.db", "a&b;c"])
def test_the_name_of_the_file_is_only_a_name(tmp_path: Path, name: str) -> None:
    made = sqlite.SqliteCatalogue(str(tmp_path / name), create=True)
    made.put((LESSON,))
    assert made.find("lesson-1") == LESSON
    made.close()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_closing_lets_go_of_the_file(table: Catalogue, path: Path) -> None:
    def held() -> int:
        links = (file for file in Path("/proc/self/fd").iterdir() if file.is_symlink())
        return sum(os.path.realpath(link) == str(path) for link in links)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(table.find, ["lesson-1"] * 50))
    assert held() >= 1
    table.close()
    assert held() == 0
    assert table.find("lesson-1") == LESSON  # a request that was on its way
    assert held() == 0


def test_a_lookup_searches_and_does_not_read_the_table(path: Path) -> None:
    fill(path, LESSON)
    with closing(sqlite3.connect(path)) as other:
        for query in (sqlite._FIND, sqlite._NEXT):
            (step,) = other.execute(f"EXPLAIN QUERY PLAN {query}", ("a",)).fetchall()
            assert step[3].startswith("SEARCH contents USING PRIMARY KEY")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    made = open_catalogue(f"sqlite://{tmp_path}/no/catalogue.db", create=True)
    with pytest.raises(CatalogueUnavailable, match=r"there is no folder .*/no; make it"):
        made.put((LESSON,))


# --- DynamoDB


FOREIGN_ITEMS: Sequence[tuple[dict[str, Any], str]] = (
    ({}, "no key"),
    ({"key": {"N": "7"}}, "key is not text"),
    ({"key": {"NULL": True}}, "key is not text"),
    ({"key": {"S": "https://bucket.s3.amazonaws.com/k"}}, "a URL"),
    ({"key": {"S": "../k"}}, "segment"),
    ({"key": {"S": "k"}, "title": {"SS": ["x"]}}, "title is not text"),
    ({"key": {"S": "k"}, "attributes": {"S": "{}"}}, "attributes"),
    ({"key": {"S": "k"}, "attributes": {"M": {"level": {"N": "3"}}}}, "'level'"),
)


def test_an_item_of_other_hands_is_judged_as_our_own(aws: None) -> None:
    name = new_table()
    with closing(open_catalogue(f"dynamodb://{name}", create=True)) as made:
        made.put(())
        for item, words in FOREIGN_ITEMS:
            aws_client().put_item(TableName=name, Item={"id": {"S": "a"}, **item})
            for ask in (lambda: made.find("a"), lambda: list(made.entries())):
                with pytest.raises(InvalidContent, match=f"entry 'a': .*{words}"):
                    ask()


def test_what_else_an_item_holds_is_its_owners(aws: None) -> None:
    name = new_table()
    with closing(open_catalogue(f"dynamodb://{name}", create=True)) as made:
        made.put(())
        item = {"id": {"S": "a"}, "key": {"S": "k"}, "title": {"S": ""}, "price": {"N": "7"}}
        aws_client().put_item(TableName=name, Item=item)
        assert made.find("a") == Content("a", "k")


def test_a_long_table_is_read_page_by_page(aws: None) -> None:
    with closing(open_catalogue(f"dynamodb://{new_table()}", create=True)) as made:
        many = [Content(f"id-{i}", "k", "x" * 60_000) for i in range(40)]  # a page of DynamoDB is 1 MB
        made.put(many)
        assert sorted(made.entries()) == sorted(many)


def test_a_table_for_something_else_is_refused(aws: None) -> None:
    name = new_table()
    aws_client().create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "course", "KeyType": "HASH"}, {"AttributeName": "id", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": one, "AttributeType": "S"} for one in ("course", "id")],
        BillingMode="PAY_PER_REQUEST",
    )
    with closing(open_catalogue(f"dynamodb://{name}", create=True)) as made:
        with pytest.raises(StoreRefused, match="not a catalogue"):
            made.put((LESSON,))
        with pytest.raises(StoreRefused):
            made.find("lesson-1")


def test_a_table_that_is_made_is_paid_by_request(aws: None) -> None:
    name = new_table()
    with closing(open_catalogue(f"dynamodb://{name}", create=True)) as made:
        made.put((LESSON,))
    described = aws_client().describe_table(TableName=name)["Table"]
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_the_region_of_the_settings_is_asked(aws: None) -> None:
    name = new_table()
    with closing(open_catalogue(f"dynamodb://{name}", region="eu-central-1", create=True)) as made:
        made.put((LESSON,))
    words = rf"there is no table {name} in this region and account \({REGION}\)"
    with closing(open_catalogue(f"dynamodb://{name}")) as elsewhere, pytest.raises(StoreRefused, match=words):
        elsewhere.find("lesson-1")


# --- a DynamoDB with scripted answers


class Asked(NamedTuple):
    verb: str
    body: dict[str, Any]


class Answer(NamedTuple):
    status: int
    body: object
    type: str = "application/x-amz-json-1.0"


def refusal(code: str, status: int = 400) -> Answer:
    return Answer(status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": f"words of {code}"})


class Script:
    """Answers one after the other; the last one for ever. Notes what was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[Asked] = []

    def next(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serving(script: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = script.next(Asked(self.headers["x-amz-target"].partition(".")[2], body))
            sent = answer.body.encode() if isinstance(answer.body, str) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("content-type", answer.type)
            self.send_header("content-length", str(len(sent)))
            if answer.status == 307:
                self.send_header("location", f"{endpoint()}/")
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - its name there

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def script(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    made = Script()
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with serving(made) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", url)
        yield made


@pytest.fixture
def dynamo(script: Script) -> Iterator[Catalogue]:
    with closing(open_catalogue("dynamodb://table", create=True)) as made:
        yield made


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refusal("ProvisionedThroughputExceededException"), CatalogueUnavailable),
        (refusal("ThrottlingException"), CatalogueUnavailable),
        (refusal("RequestLimitExceeded"), CatalogueUnavailable),
        (refusal("InternalServerError", 500), CatalogueUnavailable),
        (Answer(503, "<html>busy</html>", "text/html"), CatalogueUnavailable),
        (Answer(200, "<html>sign in to this network</html>", "text/html"), CatalogueUnavailable),
        (Answer(200, {}, "application/json"), CatalogueUnavailable),
        (refusal("AccessDeniedException"), StoreRefused),
        (refusal("UnrecognizedClientException"), StoreRefused),
        (refusal("ExpiredTokenException"), StoreRefused),
        (refusal("InvalidSignatureException"), StoreRefused),
        (refusal("ValidationException"), StoreRefused),
        (refusal("ResourceNotFoundException"), StoreRefused),
        (Answer(307, "", "text/plain"), StoreRefused),
    ],
    ids=lambda value: str(getattr(value, "body", getattr(value, "__name__", "")))[:60],
)
def test_no_answer_but_an_answer_counts(
    script: Script, dynamo: Catalogue, answer: Answer, expected: type[StagedoorError]
) -> None:
    script.answers = [answer]
    with pytest.raises(expected, match="table") as caught:
        dynamo.find("lesson-1")
    assert type(caught.value).__mro__.index(expected) <= 1
    assert len(script.asked) <= 2  # a request has no time for more


def test_refusals_say_what_aws_said(script: Script, dynamo: Catalogue) -> None:
    script.answers = [refusal("AccessDeniedException")]
    with pytest.raises(StoreRefused, match="table table: 400 AccessDeniedException words of AccessDeniedException"):
        dynamo.find("lesson-1")


def test_an_empty_answer_is_an_unknown_id(script: Script, dynamo: Catalogue) -> None:
    script.answers = [Answer(200, {})]
    assert dynamo.find("lesson-1") is None
    assert script.asked == [
        Asked("GetItem", {"TableName": "table", "Key": {"id": {"S": "lesson-1"}}, "ConsistentRead": True})
    ]


def test_the_entry_of_another_id_is_none_of_ours(script: Script, dynamo: Catalogue) -> None:
    script.answers = [Answer(200, {"Item": {"id": {"S": "lesson-2"}, "key": {"S": "k"}}})]
    with pytest.raises(InvalidContent, match="'lesson-2' instead"):
        dynamo.find("lesson-1")


ACTIVE = Answer(200, {"Table": {"TableStatus": "ACTIVE", "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}})
MAKING = Answer(200, {"Table": {"TableStatus": "CREATING", "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}})


def puts(*ids: str) -> list[dict[str, Any]]:
    return [{"PutRequest": {"Item": {"id": {"S": id_}, "key": {"S": "k"}}}} for id_ in ids]


def unprocessed(*ids: str) -> Answer:
    return Answer(200, {"UnprocessedItems": {"table": puts(*ids)}})


def batches(script: Script) -> list[list[str]]:
    """The ids of every BatchWriteItem."""
    return [
        [one["PutRequest"]["Item"]["id"]["S"] for one in asked.body["RequestItems"]["table"]]
        for asked in script.asked
        if asked.verb == "BatchWriteItem"
    ]


def test_what_was_not_processed_is_put_again(script: Script, dynamo: Catalogue) -> None:
    script.answers = [ACTIVE, unprocessed("b", "c"), refusal("ThrottlingException"), unprocessed("c"), unprocessed()]
    assert dynamo.put(Content(id_, "k") for id_ in "abc") == 3
    once = [ids for ids, _ in itertools.groupby(batches(script))]  # botocore repeats what was throttled once by itself
    assert once == [["a", "b", "c"], ["b", "c"], ["c"]]


def test_no_batch_names_an_id_twice(script: Script, dynamo: Catalogue) -> None:
    """DynamoDB refuses such a batch; moto does not."""
    script.answers = [ACTIVE, unprocessed()]
    assert dynamo.put((Content("a", "k"), Content("b", "k"), Content("a", "last"))) == 3
    assert batches(script) == [["a", "b"]]
    assert "last" in str(script.asked[-1].body)


def test_batches_are_as_large_as_dynamodb_takes(script: Script, dynamo: Catalogue) -> None:
    script.answers = [ACTIVE, unprocessed()]
    assert dynamo.put(Content(f"{i}", "k") for i in range(60)) == 60
    assert [len(ids) for ids in batches(script)] == [25, 25, 10]


def test_a_table_that_does_not_keep_up_is_not_asked_for_ever(script: Script, dynamo: Catalogue) -> None:
    script.answers = [ACTIVE, unprocessed(), unprocessed("x")]
    with pytest.raises(CatalogueUnavailable, match="25 entries were written; writing all of them again is safe"):
        dynamo.put(Content(f"{i}", "k") for i in range(60))
    assert len(batches(script)) == 1 + len(dynamodb.DELAYS) + 1


def test_an_export_waits_for_a_busy_table(script: Script, dynamo: Catalogue) -> None:
    first = {"Items": [{"id": {"S": "a"}, "key": {"S": "k"}}], "LastEvaluatedKey": {"id": {"S": "a"}}}
    last = {"Items": [{"id": {"S": "b"}, "key": {"S": "k"}}]}
    slow = refusal("ProvisionedThroughputExceededException")
    script.answers = [Answer(200, first), slow, slow, slow, Answer(200, last)]
    assert list(dynamo.entries()) == [Content("a", "k"), Content("b", "k")]
    assert script.asked[-1] == Asked(
        "Scan", {"TableName": "table", "ConsistentRead": True, "ExclusiveStartKey": {"id": {"S": "a"}}}
    )


def test_a_new_table_is_waited_for(script: Script, dynamo: Catalogue) -> None:
    absent, made = refusal("ResourceNotFoundException"), Answer(200, {"TableDescription": {}})
    script.answers = [absent, made, absent, MAKING, ACTIVE, unprocessed()]
    assert dynamo.put((Content("a", "k"),)) == 1
    verbs = ["DescribeTable", "CreateTable", "DescribeTable", "DescribeTable", "DescribeTable", "BatchWriteItem"]
    assert [asked.verb for asked in script.asked] == verbs


def test_two_may_make_the_table_at_once(script: Script, dynamo: Catalogue) -> None:
    script.answers = [
        refusal("ResourceNotFoundException"),
        refusal("ResourceInUseException"),
        MAKING,
        ACTIVE,
        unprocessed(),
    ]
    assert dynamo.put((Content("a", "k"),)) == 1


def test_a_table_that_never_comes_is_given_up(script: Script, dynamo: Catalogue) -> None:
    script.answers = [MAKING]
    with pytest.raises(CatalogueUnavailable, match="still being made; try again"):
        dynamo.put((Content("a", "k"),))


def test_silence_is_no_unknown_id(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REQUEST_LIMITS, "read_timeout", 0.2)
    monkeypatch.setitem(REQUEST_LIMITS, "retries", {"total_max_attempts": 1, "mode": "standard"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # listens, and never answers
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{server.server_port}")
    with closing(open_catalogue("dynamodb://table")) as made:
        with pytest.raises(CatalogueUnavailable, match="ReadTimeoutError"):
            made.find("lesson-1")
        server.server_close()
        with pytest.raises(CatalogueUnavailable, match="EndpointConnectionError"):
            made.find("lesson-1")


def test_a_request_waits_a_few_seconds_at_most(aws: None) -> None:
    with closing(dynamodb.DynamoCatalogue("table")) as made:
        config = made._table.connected().meta.config
    assert (config.connect_timeout, config.read_timeout) == (1, 3)
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("AWS_ACCESS_KEY_ID", "credentials"),
        ("AWS_SECRET_ACCESS_KEY", "credentials"),
        ("AWS_DEFAULT_REGION", "AWS_DEFAULT_REGION"),
    ],
)
def test_what_we_lack_is_our_fault_and_named(
    aws: None, monkeypatch: pytest.MonkeyPatch, missing: str, words: str
) -> None:
    monkeypatch.delenv(missing)
    with closing(open_catalogue("dynamodb://table")) as made, pytest.raises(StoreRefused, match=words):
        made.find("lesson-1")


def test_a_name_that_no_table_has_is_our_fault(aws: None) -> None:
    with closing(dynamodb.DynamoCatalogue("")) as made, pytest.raises(StoreRefused):
        made.find("lesson-1")
