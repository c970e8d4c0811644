"""What every state does: the same tests for a SQLite file and for a real Redis."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stagedoor.core.errors import StateUnavailable
from stagedoor.state import open_state
from stagedoor.state.port import State
from tests.helpers.servers import free_port

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


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.needs("redis"))])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same state again and again, as several gateways do."""
    made: list[State] = []
    if request.param == "sqlite":
        url = f"sqlite://{tmp_path}/state.db"
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
    assert state.put("ben", "1", NOW + 60, NOW + 2) > last


def test_what_is_over_is_swept_by_those_who_add(opened: Open) -> None:
    state = opened()
    for number in range(20):
        state.put(f"over {number}", "x", NOW + 1, NOW)
    state.put("ann", "1", NOW + 60, NOW + 2)
    assert [one.name for one in state.after(0)] == ["ann"]


def test_a_full_state_refuses_loudly_and_keeps_what_it_has(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlite", "redis"):
        monkeypatch.setattr(f"stagedoor.state.{module}.MAX_ENTRIES", 3)
    state = opened()
    for name in "abc":
        state.put(name, "x", NOW + 60, NOW)
    with pytest.raises(StateUnavailable) as caught:
        state.put("d", "x", NOW + 60, NOW)
    assert caught.value.code == "state-full"
    state.put("a", "again", NOW + 60, NOW)  # needs no more room
    assert [one.name for one in state.after(0)] == ["b", "c", "a"]
    state.put("e", "x", NOW + 99, NOW + 61)  # the others are over


def test_long_lists_come_in_pages(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlite", "redis"):
        monkeypatch.setattr(f"stagedoor.state.{module}.PAGE", 7)
    state = opened()
    for number in range(20):
        state.put(str(number), "x", NOW + 60, NOW)
    names, after = [], 0
    while page := state.after(after):
        assert len(page) <= 7
        names += [one.name for one in page]
        after = page[-1].sequence
    assert names == [str(number) for number in range(20)]


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
    assert {name for name in vars(State) if not name.startswith("_")} == {"put", "after", "close"}


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
    import sqlite3

    sqlite3.connect(tmp_path / "state.db").execute("CREATE TABLE other (x)")
    with pytest.raises(StateUnavailable, match="no such table"):
        open_state(f"sqlite://{tmp_path}/state.db").after(0)


# --- Redis


def test_a_redis_that_is_away_is_an_error_without_its_password() -> None:
    state = open_state(f"redis://user:secret@127.0.0.1:{free_port()}/0")
    with pytest.raises(StateUnavailable) as caught:
        state.after(0)
    assert "secret" not in str(caught.value)
