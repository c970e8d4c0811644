"""What every state does: the same tests for a SQLite file, a real Redis, and a DynamoDB (moto)."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from stagedoor.core.errors import StateUnavailable
from stagedoor.core.messages import Keep
from stagedoor.outside.aws import REQUEST_LIMITS
from stagedoor.state import open_state
from stagedoor.state.port import BATCH, KEPT, State
from tests.helpers.servers import free_port
from tests.helpers.stores import endpoint, let_in, state_table

ROOT = Path(__file__).parents[2]

NOW = 1_700_000_000.0
Open = Callable[[], State]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of our own, on this machine only, that keeps nothing."""
    program, port_ = shutil.which("redis-server"), free_port()
    assert program
    folder = tmp_path_factory.mktemp("redis")
    command = [program, "--port", str(port_), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        url = f"redis://127.0.0.1:{port_}/0"
        ends = time.monotonic() + 20
        while True:
            try:
                open_state(url).after(0)
                break
            except StateUnavailable:
                assert time.monotonic() < ends
                time.sleep(0.02)
        yield url
        server.terminate()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A DynamoDB, and a client for it."""
    let_in(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint())
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    return boto3.client("dynamodb")


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.needs("redis")), "dynamodb"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same state again and again, as several gateways do."""
    made: list[State] = []
    if request.param == "sqlite":
        url = f"sqlite://{tmp_path}/state.db"
    elif request.param == "dynamodb":
        url = f"dynamodb://{state_table(request.getfixturevalue('aws'))}"
    else:
        import redis

        url = request.getfixturevalue("redis_url")
        redis.Redis.from_url(url).flushall()

    def open_() -> State:
        made.append(open_state(url))
        return made[-1]

    yield open_
    for one in made:
        one.close()


def test_a_new_state_holds_nothing(opened: Open) -> None:
    assert list(opened().after(0)) == []


def test_what_one_gateway_adds_another_reads_in_order(opened: Open) -> None:
    first, second = opened(), opened()
    numbers = [first.put(f"name {number} ü\n", f"text {number}", NOW + 60, NOW) for number in range(5)]
    assert numbers == sorted(set(numbers))
    found = second.after(0)
    assert [(one.name, one.text, one.ends) for one in found] == [
        (f"name {number} ü\n", f"text {number}", NOW + 60) for number in range(5)
    ]
    assert [one.sequence for one in second.after(numbers[2])] == numbers[3:]
    assert list(second.after(numbers[-1])) == []


def test_a_newer_entry_takes_the_place_of_the_older_and_is_new_to_everybody(opened: Open) -> None:
    state = opened()
    old = state.put("ann", "1", NOW + 60, NOW)
    state.put("ben", "1", NOW + 60, NOW)
    new = state.put("ann", "2", NOW + 90, NOW)
    assert new > old
    assert [(one.name, one.text) for one in state.after(old)] == [("ben", "1"), ("ann", "2")]
    assert len(state.after(0)) == 2


def test_numbers_are_never_given_twice(opened: Open) -> None:
    """Also when the newest entry is over: a reader who knows its number would miss the next one."""
    state = opened()
    last = state.put("ann", "1", NOW + 1, NOW)
    assert state.put("ben", "1", NOW + KEPT + 60, NOW + KEPT + 2) > last
    assert state.put("ben", "2", NOW + KEPT + 60, NOW) > last + 1  # also by a clock that is behind


def test_what_is_over_for_a_day_is_swept_by_those_who_add(opened: Open) -> None:
    """Not before, because the clock of whoever adds may be ahead of others who still need it."""
    state = opened()
    for number in range(20):
        state.put(f"over {number}", "x", NOW + 1, NOW)
    state.put("ann", "1", NOW + KEPT + 60, NOW + KEPT)
    assert len(state.after(0)) == 21
    state.put("ann", "1", NOW + KEPT + 60, NOW + KEPT + 2)
    assert [one.name for one in state.after(0)] == ["ann"]


def test_a_clock_that_is_ahead_sweeps_nothing_early(opened: Open) -> None:
    state = opened()
    real = time.time()
    state.put("ann", "1", real + 60, real)
    state.put("ben", "1", real + 60, real + 10 * KEPT)
    assert [one.name for one in state.after(0)] == ["ann", "ben"]


def test_several_entries_are_put_at_once(opened: Open) -> None:
    state = opened()
    state.put("b", "old", NOW + 60, NOW)
    last = state.put_all([Keep(name, f"x{at}", NOW + 60) for at, name in enumerate("abcb")], NOW)
    assert [one.name for one in state.after(0)] == ["a", "c", "b"]
    assert state.after(0)[-1].sequence == last
    count = 9 if hasattr(state, "_table") else BATCH  # in DynamoDB each is written by itself, and moto takes its time
    assert state.put_all([Keep(f"{number}", "x" * 300, NOW + 60) for number in range(count)], NOW) > last
    assert len(state.after(last)) == count


def test_who_has_lost_everything_gives_greater_numbers_than_before(tmp_path: Path, opened: Open) -> None:
    """So that those who read on from the last number that they know see what is new at once."""
    first = opened()
    real = time.time()
    last = first.put("ann", "1", real + 60, real)
    time.sleep(0.01)
    wipe(first)
    assert list(first.after(0)) == []
    assert first.put("ben", "1", real + 60, time.time()) > last


def wipe(state: Any) -> None:
    if hasattr(state, "_path"):
        state._path.unlink()
    elif hasattr(state, "_redis"):
        state._redis.flushall()
    else:
        for item in state._table.connected().scan(TableName=state._table.name)["Items"]:
            key = {name: item[name] for name in ("part", "number")}
            state._table.call("delete_item", Key=key)


def test_a_state_knows_what_time_it_is(opened: Open) -> None:
    assert abs(opened().time() - time.time()) < 60


def test_long_and_odd_entries_come_back_as_they_were(opened: Open) -> None:
    state = opened()
    names = ["n" * 20_000, "\u2028 \x00 \U0001f3ad", "'; DROP TABLE entries; --", "%s {} $1"]
    for name in names:
        state.put(name, name * 2, NOW + 60.125, NOW)
    assert [(one.name, one.text, one.ends) for one in state.after(0)] == [(n, n * 2, NOW + 60.125) for n in names]


def test_what_no_state_can_hold_is_refused_and_nothing_else(opened: Open) -> None:
    state = opened()
    with pytest.raises(StateUnavailable):
        state.put("\ud800", "x", NOW + 60, NOW)
    state.put("ann", "1", NOW + 60, NOW)
    assert [one.name for one in state.after(0)] == ["ann"]


def test_a_full_state_refuses_loudly_and_keeps_what_it_has(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stagedoor.state.dynamodb.RECOUNT_EVERY", 0.0)
    state = opened()
    for name in "abc":
        state.put_all((Keep(name, "x", NOW + 60),), NOW, 3)
    with pytest.raises(StateUnavailable) as caught:
        state.put_all((Keep("d", "x", NOW + 60),), NOW, 3)
    assert caught.value.code == "state-full"
    state.put_all((Keep("a", "again", NOW + 60),), NOW, 3)  # needs no more room
    assert [one.name for one in state.after(0)] == ["b", "c", "a"]
    state.put_all((Keep("e", "x", NOW + KEPT + 99),), NOW + KEPT + 61, 4)
    assert [one.name for one in state.after(0)] == ["e"]  # the others are over
    state.put_all((Keep("f", "x", NOW + KEPT + 99),), NOW, 2)


def test_a_page_has_so_many_entries(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlite", "redis", "dynamodb"):
        monkeypatch.setattr(f"stagedoor.state.{module}.PAGE", 7)
    state = opened()
    for number in range(20):
        state.put(str(number % 15), str(number), NOW + 60, NOW)
    pages, after = [], 0
    while page := state.after(after):
        pages.append([int(one.name) for one in page])
        after = page[-1].sequence
    assert pages == [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14, 0, 1, 2, 3], [4]]


def test_a_reader_who_goes_on_from_the_last_number_misses_nothing_that_others_add_at_once(opened: Open) -> None:
    """A number must not show before a smaller one: the reader would never look back."""
    each, seen, after = 15, set[str](), 0

    def add(writer: int) -> None:
        mine = opened()
        for number in range(each):
            mine.put(f"{writer} {number}", "x", NOW + 60, NOW)

    writers = [threading.Thread(target=add, args=(writer,)) for writer in range(3)]
    for writer in writers:
        writer.start()
    reader = opened()
    while any(writer.is_alive() for writer in writers) or reader.after(after):
        for one in reader.after(after):
            seen.add(one.name)
            after = one.sequence
        time.sleep(0.005)
    assert len(seen) == 3 * each


def test_the_port_is_all_there_is() -> None:
    assert {name for name in vars(State) if not name.startswith("_")} == {
        "put",
        "put_all",
        "after",
        "time",
        "close",
    }


# --- SQLite


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    state = open_state(f"sqlite://{tmp_path}/no/state.db")
    with pytest.raises(StateUnavailable, match="no folder"):
        state.after(0)
    with pytest.raises(StateUnavailable):
        state.put("a", "x", NOW, NOW)


def test_what_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database" * 100)
    state = open_state(f"sqlite://{tmp_path}/state.db")
    for ask in (lambda: state.after(0), lambda: state.put("a", "x", NOW, NOW)):
        with pytest.raises(StateUnavailable, match=r"state\.db"):
            ask()


def test_a_database_without_our_table_is_not_an_empty_list(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "state.db").execute("CREATE TABLE other (x)")
    with pytest.raises(StateUnavailable, match="no such table"):
        open_state(f"sqlite://{tmp_path}/state.db").after(0)


def test_a_write_that_was_cut_off_is_taken_back_by_who_reads(tmp_path: Path) -> None:
    """A loss of power leaves a file that is half new, and the journal; nobody may revoke anything for days then."""
    whole, cut = tmp_path / "whole.db", tmp_path / "state.db"
    state = open_state(f"sqlite://{whole}")
    for at in range(0, 2000, BATCH):
        state.put_all([Keep(f"{at + number}", "x" * 500, NOW + 60) for number in range(BATCH)], NOW)
    with sqlite3.connect(whole, isolation_level=None) as other:
        other.execute("PRAGMA cache_size = 5")
        other.execute("BEGIN")
        other.execute("UPDATE entries SET text = 'new'")
        shutil.copyfile(whole, cut)
        shutil.copyfile(f"{whole}-journal", f"{cut}-journal")
        other.execute("ROLLBACK")
    found = open_state(f"sqlite://{cut}").after(0)
    assert {one.text for one in found} == {"x" * 500}


def test_a_file_that_is_locked_is_an_error_after_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stagedoor.state.sqlite.WAIT", 0.05)
    state = open_state(f"sqlite://{tmp_path}/state.db")
    state.put("a", "x", NOW + 60, NOW)
    with sqlite3.connect(tmp_path / "state.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        for ask in (lambda: state.after(0), lambda: state.put("b", "x", NOW + 60, NOW)):
            with pytest.raises(StateUnavailable, match="locked"):
                ask()
        other.execute("ROLLBACK")
    assert len(state.after(0)) == 1


def test_a_full_disk_is_a_full_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = open_state(f"sqlite://{tmp_path}/state.db")
    state.put("a", "x", NOW + 60, NOW)
    connect = sqlite3.connect

    def small(*args: Any, **more: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*args, **more)
        made.execute("PRAGMA max_page_count = 8")
        return made

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(StateUnavailable) as caught:
        state.put("b", "x" * 100_000, NOW + 60, NOW)
    assert caught.value.code == "state-full"
    assert [one.name for one in state.after(0)] == ["a"]


@pytest.mark.parametrize("value", ["NULL", "7", "x'ff41'", "CAST(x'ff41' AS TEXT)"])
@pytest.mark.parametrize("column", ["name", "text", "ends"])
def test_a_row_of_other_hands_is_an_error(tmp_path: Path, column: str, value: str) -> None:
    with sqlite3.connect(tmp_path / "state.db", isolation_level=None) as other:
        other.execute("CREATE TABLE entries (sequence INTEGER PRIMARY KEY, name, text, ends)")
        other.execute("INSERT INTO entries VALUES (1, 'a', 'x', 1.5)")
        other.execute(f"UPDATE entries SET {column} = {value}")
    with pytest.raises(StateUnavailable):
        open_state(f"sqlite://{tmp_path}/state.db").after(0)


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(StateUnavailable, match="Permission denied"):
        open_state(f"sqlite://{tmp_path}/state.db").after(0)


# --- Redis


def test_a_redis_that_is_away_is_an_error_without_its_password() -> None:
    state = open_state(f"redis://user:secret@127.0.0.1:{free_port()}/0")
    with pytest.raises(StateUnavailable) as caught:
        state.after(0)
    assert "secret" not in str(caught.value)


@pytest.mark.needs("redis")
@pytest.mark.parametrize("kept", ["x", "[]", '["x"]', "[1, 2.5]", '["x", "y"]', "[" * 100_000, None])
def test_what_others_wrote_into_redis_is_an_error(redis_url: str, kept: str | None) -> None:
    import redis

    client = redis.Redis.from_url(redis_url)
    client.flushall()
    state = open_state(redis_url)
    state.put("a", "x", NOW + 60, NOW)
    client.hdel("{stagedoor}:entries", "a") if kept is None else client.hset("{stagedoor}:entries", "a", kept)
    with pytest.raises(StateUnavailable, match="no entry of ours"):
        state.after(0)


@pytest.mark.needs("redis")
def test_a_redis_without_memory_is_a_full_state(redis_url: str) -> None:
    import redis

    client = redis.Redis.from_url(redis_url)
    client.flushall()
    state = open_state(redis_url)
    state.put("a", "x", NOW + 60, NOW)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StateUnavailable) as caught:
            state.put("b", "x", NOW + 60, NOW)
        assert caught.value.code == "state-full"
        assert [one.name for one in state.after(0)] == ["a"]
    finally:
        client.config_set("maxmemory", 0)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{port}/0", "dynamodb://table"])
def test_a_state_that_says_nothing_is_an_error_after_a_time(
    url: str, aws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stagedoor.state.redis.WAIT", 0.1)
    monkeypatch.setitem(REQUEST_LIMITS, "read_timeout", 0.1)
    monkeypatch.setitem(REQUEST_LIMITS, "retries", {"total_max_attempts": 1, "mode": "standard"})
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:  # the system takes the connections
        port = silent.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{port}")
        state = open_state(url.format(port=port))
        for ask in (lambda: state.after(0), lambda: state.put("a", "x", NOW + 60, NOW), state.time):
            with pytest.raises(StateUnavailable):
                ask()
        state.close()


# --- DynamoDB


@pytest.fixture
def table(aws: Any) -> Iterator[Callable[[], Any]]:
    """Opens one state in DynamoDB again and again."""
    name, made = state_table(aws), list[State]()

    def open_() -> State:
        made.append(open_state(f"dynamodb://{name}"))
        return made[-1]

    yield open_
    for one in made:
        one.close()


def before(state: Any, verb: str, happens: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something happen right before the next call of this kind, as if another gateway were faster."""
    call, left = state._table.call, [happens]

    def slower(asked: str, **arguments: Any) -> Any:
        if asked == verb and left:
            left.pop()()
        return call(asked, **arguments)

    monkeypatch.setattr(state._table, "call", slower)


def test_a_number_that_is_free_again_is_not_taken_by_a_writer_who_comes_late(
    table: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader has seen the number after it, and would miss this one."""
    slow, fast = table(), table()
    fast.put("first", "x", NOW + 60, NOW)
    seen = []

    def meanwhile() -> None:
        fast.put("ann", "1", NOW + 60, NOW)
        fast.put("ann", "2", NOW + 60, NOW)  # in the place of the one before, whose number must stay taken
        seen.append(fast.after(0)[-1].sequence)

    before(slow, "put_item", meanwhile, monkeypatch)
    assert slow.put("ben", "1", NOW + 60, NOW) > seen[0]
    assert [one.name for one in fast.after(seen[0])] == ["ben"]


def test_a_reader_takes_nothing_that_came_after_it_asked(
    table: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes while a query runs may be there in part: the second of two without the first."""
    reader, writer = table(), table()
    writer.put("ann", "1", NOW + 60, NOW)
    head = reader._head

    def slow() -> Any:
        found = head()
        writer.put("ben", "1", NOW + 60, NOW)
        return found

    monkeypatch.setattr(reader, "_head", slow)
    assert [one.name for one in reader.after(0)] == ["ann"]
    monkeypatch.undo()
    assert [one.name for one in reader.after(0)] == ["ann", "ben"]


def test_writes_whose_answer_was_lost_are_repeated_without_harm(
    table: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client asks again by itself, and its first question may have been obeyed."""
    state = table()
    call = state._table.call

    def twice(verb: str, **arguments: Any) -> Any:
        if verb in ("put_item", "update_item", "delete_item"):
            call(verb, **arguments)
        return call(verb, **arguments)

    monkeypatch.setattr(state._table, "call", twice)
    numbers = [state.put(name, str(at), NOW + 60, NOW) for at, name in enumerate(("ann", "ben", "ann", "cem"))]
    assert numbers == sorted(numbers)
    newest = {one.name: one.sequence for one in state.after(0)}  # an older one of the name may stay before it
    assert newest == {"ben": numbers[1], "ann": numbers[2], "cem": numbers[3]}


def test_who_puts_again_after_a_failure_begins_where_that_was(
    table: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch may take longer than its caller waits, again and again."""
    state, entries = table(), [Keep(name, "x", NOW + 60) for name in "abcdef"]
    asked: list[str] = []
    call = state._table.call

    def breaking(verb: str, **arguments: Any) -> Any:
        asked.append(verb)
        if verb == "put_item" and asked.count("put_item") in (3, 6):
            raise StateUnavailable("it took too long")
        return call(verb, **arguments)

    monkeypatch.setattr(state._table, "call", breaking)
    for _ in range(2):
        with pytest.raises(StateUnavailable):
            state.put_all(entries, NOW)
    last = state.put_all(entries, NOW)
    assert asked.count("put_item") == 8
    assert [one.name for one in state.after(0)] == list("abcdef")
    assert state.after(0)[-1].sequence == last
    state._table.call("delete_item", Key={"part": {"S": "entries"}, "number": {"N": str(last)}})
    state.put("f", "x", NOW + 60, NOW)  # which its name alone does not bring back
    assert [one.name for one in state.after(0)] == list("abcdef")


def test_a_count_that_is_wrong_is_made_anew_when_the_table_seems_to_be_full(table: Callable[[], Any]) -> None:
    """Writers that broke off, or a time to live that was turned on after all, leave it wrong."""
    state = table()
    state.put("ann", "1", NOW + 60, NOW)
    state._add_to_count(500_000)
    state.put("ben", "1", NOW + 60, NOW)
    assert state._held(10) == 2


@pytest.mark.parametrize(
    "item",
    [
        {"text": {"S": "x"}, "ends": {"N": "1"}},
        {"name": {"S": "a"}, "text": {"N": "1"}, "ends": {"N": "1"}},
        {"name": {"S": "a"}, "text": {"S": "x"}},
    ],
)
def test_an_item_of_other_hands_is_an_error(aws: Any, table: Callable[[], Any], item: dict[str, Any]) -> None:
    state = table()
    aws.put_item(TableName=state._table.name, Item={"part": {"S": "entries"}, "number": {"N": "5"}, **item})
    with pytest.raises(StateUnavailable, match="no entry of ours"):
        state.after(0)


def test_a_table_that_is_not_there_or_not_ours_is_an_error(aws: Any) -> None:
    aws.create_table(
        TableName="other",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for name in ("missing", "other"):
        state = open_state(f"dynamodb://{name}")
        for ask in (lambda: state.after(0), lambda: state.put("a", "x", NOW + 60, NOW), state.time):  # noqa: B023 - called at once
            with pytest.raises(StateUnavailable, match=name):
                ask()


def test_the_region_is_that_of_the_settings(aws: Any) -> None:
    name = state_table(aws)
    with pytest.raises(StateUnavailable, match="no table"):
        open_state(f"dynamodb://{name}", region="us-west-2").after(0)


def test_what_ends_later_keeps_its_place(opened: Open) -> None:
    """A person who is barred until next week is not let in before because they are revoked once more."""
    state = opened()
    state.put("ann", "until next week", NOW + 90, NOW)
    state.put("ann", "until now", NOW + 60, NOW)
    assert [one.text for one in state.after(0)] == ["until next week"]
    state.put("ann", "until next month", NOW + 99, NOW)
    assert [one.text for one in opened().after(0)] == ["until next month"]
