"""Several gateways and one state: what one takes back the others refuse, soon; and what happens when it is away."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from stagedoor.core.caller import Caller
from stagedoor.core.endpoints.revocations import revocation
from stagedoor.core.errors import Revoked, StateUnavailable
from stagedoor.core.messages import Entry, Keep
from stagedoor.core.revocations import Revocation, Revocations, from_text, to_text
from stagedoor.gateway import memory
from stagedoor.gateway.memory import Memory
from stagedoor.state import open_state
from stagedoor.state.port import MAX_ENTRIES, PAGE, State
from tests.helpers.serving import InProcess, fresh_token, listening, make_gateway, prepare, serving, settings_text
from tests.helpers.support import ISSUER

STATE = '[state]\nurl = "sqlite:///state.db"\nstale = "10s"\n[login]\nsession_keys = ["file:session.key"]\n'


class Clock:
    """Seconds that gateways are ahead of the time."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


Start = Callable[..., Awaitable[InProcess]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def start(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start one more gateway of the same site."""
    monkeypatch.setattr(memory, "READ_EVERY", 0.05)
    prepare(tmp_path, {"team/a.txt": b"team", "public/a.txt": b"hello"})
    (tmp_path / "session.key").write_bytes(b"k" * 40)
    async with AsyncExitStack() as stack:

        async def started(*, wait: bool = True) -> InProcess:
            text = settings_text(more=STATE)
            gateway = await stack.enter_async_context(serving(tmp_path, text, clock=clock))
            if wait:
                await eventually(lambda: ready(gateway.port))
            return gateway

        yield started


async def ready(port: int) -> bool:
    return await status(port, "/-/readyz") == 200


async def status(port: int, target: str = "/team/a.txt", **fields: str) -> int:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:  # making a TLS context takes long
        return (await client.get(f"http://127.0.0.1:{port}{target}", headers=fields)).status_code


async def eventually(happened: Callable[[], Awaitable[bool]], within: float = 30.0) -> None:
    ends = time.monotonic() + within
    while not await happened():
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)


def mine(**claims: object) -> dict[str, str]:
    return {"authorization": f"Bearer {fresh_token(iat=time.time() - 5, **claims)}"}


async def test_what_is_taken_back_is_refused_by_every_gateway(tmp_path: Path, start: Start) -> None:
    first, second, ann, ben = await start(), await start(), mine(), mine(sub="ben")
    assert [await status(one.port, **ann) for one in (first, second)] == [200, 200]
    found = revocation("person", ISSUER, "ann", time.time())
    open_state(f"sqlite://{tmp_path}/state.db").put(found.name, to_text(found), found.ends, time.time())
    for one in (first, second):

        async def is_refused(port: int = one.port) -> bool:
            return await status(port, **ann) == 401

        await eventually(is_refused)
        assert await status(one.port, **ben) == 200
        assert await status(one.port, "/public/a.txt", **ann) == 200
    third = await start()  # reads the whole list before it is ready
    assert await status(third.port, **ann) == 401


async def test_signing_out_at_one_gateway_counts_at_the_other(start: Start) -> None:
    first, second = await start(), await start()
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        made = await client.post(f"http://127.0.0.1:{first.port}/-/session", headers=mine())
        cookie = made.headers["set-cookie"].partition(";")[0]
        assert await status(second.port, cookie=cookie) == 200
        out = await client.post(f"http://127.0.0.1:{first.port}/-/logout", headers={"cookie": cookie})
        assert out.status_code == 200
    assert await status(first.port, cookie=cookie) == 401  # at once

    async def is_out() -> bool:
        return await status(second.port, cookie=cookie) == 401

    await eventually(is_out)


async def test_another_state_is_told_what_the_one_before_held(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload with another `[state] url` lets nobody in again."""
    monkeypatch.setattr(memory, "READ_ALL_EVERY", 0.05)
    found = revocation("person", ISSUER, "ann", time.time())
    open_state(f"sqlite://{tmp_path}/state.db").put(found.name, to_text(found), found.ends, time.time())
    old = await start()
    assert await status(old.port, **mine()) == 401
    new = make_gateway(tmp_path, settings_text(more=STATE.replace("state.db", "other.db")))
    new.adopt(old.gateway)
    async with listening(new) as port:
        assert await status(port, **mine()) == 401

        async def is_told() -> bool:
            other = open_state(f"sqlite://{tmp_path}/other.db")
            return [one.name for one in other.after(0)] == [found.name]

        await eventually(is_told)
        assert await status(port, **mine()) == 401


async def test_while_the_state_is_away_the_last_list_counts_and_then_nobody_comes_in(
    tmp_path: Path, start: Start, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    gateway, ann = await start(), mine()
    assert await status(gateway.port, **ann) == 200
    (tmp_path / "state.db").write_bytes(b"broken" * 1000)

    async def is_noticed() -> bool:
        return "state:" in caplog.text

    await eventually(is_noticed)
    assert await status(gateway.port, **ann) == 200
    clock.ahead = 11.0
    assert await status(gateway.port, **ann) == 503
    assert await status(gateway.port, "/public/a.txt", **ann) == 200
    assert caplog.text.count("state:") == 1  # however often it is asked
    (tmp_path / "state.db").unlink()

    async def is_back() -> bool:
        return await status(gateway.port, **ann) == 200

    await eventually(is_back)
    assert "it answers again" in caplog.text


async def test_an_entry_of_a_newer_version_is_not_passed_over(
    tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever wrote it wanted to take something back."""
    open_state(f"sqlite://{tmp_path}/state.db").put("x", '{"kind": "planet"}', time.time() + 60, time.time())
    gateway = await start(wait=False)

    async def is_noticed() -> bool:
        return "newer version" in caplog.text

    await eventually(is_noticed)
    assert await status(gateway.port, **mine()) == 503
    assert await status(gateway.port, "/-/readyz") == 503
    assert await status(gateway.port, "/public/a.txt") == 200


# --- one memory, and a state that does what a test wants


class Shared(State):
    """A state in memory.

    Attributes:
        fails, refuses: what every question raises, or those that add.
        slow: seconds that a question takes.
        puts: how often something was added.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.fails: Exception | None = None
        self.refuses: Exception | None = None
        self.slow = 0.0
        self.number = self.puts = 0
        self.lock = threading.Lock()

    def put_all(self, entries: Sequence[Keep], now: float, most: int = MAX_ENTRIES) -> int:
        time.sleep(self.slow)
        with self.lock:
            self.puts += 1
            if self.fails or self.refuses:
                raise self.fails or self.refuses or AssertionError
            if len({*self.entries, *(entry.name for entry in entries)}) > most:
                raise StateUnavailable("full", code="state-full")
            for entry in entries:
                if entry.name in self.entries and self.entries[entry.name].ends > entry.ends:
                    continue
                self.number += 1
                self.entries.pop(entry.name, None)
                self.entries[entry.name] = Entry(self.number, *entry)
            return self.number

    def after(self, sequence: int) -> Sequence[Entry]:
        time.sleep(self.slow)
        with self.lock:
            if self.fails:
                raise self.fails
            return [entry for entry in self.entries.values() if entry.sequence > sequence][:PAGE]

    def time(self) -> float:
        if self.fails:
            raise self.fails
        return time.time()

    def close(self) -> None: ...


AWAY = StateUnavailable("it is away")
FULL = StateUnavailable("it is full", code="state-full")


class Site:
    """Memories of several gateways that share a state."""

    def __init__(self) -> None:
        self.state = Shared()
        self.made: list[Memory] = []

    def gateway(self, ahead: float = 0.0) -> Memory:
        clock = Clock()
        clock.ahead = ahead
        self.made.append(Memory(self.state, Revocations({ISSUER: 0.0}, 300.0), clock))
        return self.made[-1]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(memory, "PAUSE", 0.0)
    return Site()


def session(number: object = 1) -> Revocation:
    return Revocation("session", "", f"s{number}", 0.0, time.time() + 3600)


def person(before: float | None = None) -> Revocation:
    return Revocation("person", ISSUER, "ann", time.time() if before is None else before, time.time() + 9999)


def wish(one: Revocation) -> Keep:
    return Keep(one.name, to_text(one), one.ends)


def is_out(gateway: Memory, **claims: object) -> bool:
    """Is a caller refused by this gateway now? By default one whose session is s1."""
    caller = Caller("staff", ISSUER, {"sub": "ann", "iat": time.time() - 5, "sid": "s1", **claims})
    try:
        gateway.revocations.check(caller, gateway._clock())
    except Revoked:
        return True
    return False


async def written(gateway: Memory) -> None:
    while gateway._writing is not None and not gateway._writing.done():
        await gateway._writing


@contextlib.contextmanager
def lines(caplog: pytest.LogCaptureFixture, *expected: str) -> Iterator[None]:
    """What is logged are these lines, each once, and no other."""
    caplog.clear()
    yield
    said = [record.getMessage() for record in caplog.records if record.name == "stagedoor"]
    assert len(said) == len(expected), said
    for line, part in zip(said, expected, strict=True):
        assert part in line


async def test_what_is_taken_back_while_the_state_is_away_is_obeyed_here_and_written_when_it_answers(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = site.gateway(), site.gateway()
    for one in (here, there):
        await one.read()
    with lines(caplog, "it is away; the last known list is used for 300 s"):
        site.state.fails = AWAY
        for number in (1, 1, 2, 3):
            with pytest.raises(StateUnavailable):
                await here.keep(wish(session(number)))
        for _ in range(5):
            await here.read()
    assert is_out(here)
    with lines(caplog, "it answers again"):
        site.state.fails = None
        await here.read()
        await written(here)
    await there.read()
    assert is_out(there)
    assert set(site.state.entries) == {session(number).name for number in (1, 2, 3)}


async def test_a_state_that_can_be_read_and_not_written_is_one_line_until_it_takes_entries_again(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that may not be written, or a disk that is full."""
    here = site.gateway()
    await here.read()
    with lines(caplog, "obeyed here alone until it can be written"):
        site.state.refuses = FULL
        for number in range(20):
            with pytest.raises(StateUnavailable) as caught:
                await here.keep(wish(session(number)))
            assert caught.value.code == "state-full"
            await here.read()
            await written(here)
    assert is_out(here)
    with lines(caplog, "it takes entries again"):
        site.state.refuses = None
        await here.read()
        await written(here)
    assert len(site.state.entries) == 20


async def test_a_flood_of_sign_outs_is_few_writes_and_nothing_is_lost(site: Site) -> None:
    here, there = site.gateway(), site.gateway()
    await here.read()
    site.state.slow = 0.02
    asked = [here.keep(wish(session(number % 2000))) for number in range(4000)]
    await asyncio.gather(*asked)
    assert len(site.state.entries) == 2000
    assert site.state.puts <= 25
    puts = site.state.puts
    await asyncio.gather(*(here.keep(wish(session(number))) for number in range(2000)))
    assert site.state.puts == puts  # they were ended already
    site.state.slow = 0.0
    await there.read()
    assert len(there.revocations) == 2000


async def test_a_flood_while_the_state_is_away_takes_bounded_memory_and_is_written_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MAX_UNSAVED", 50)
    here = site.gateway()
    await here.read()
    site.state.fails = AWAY
    kept = await asyncio.gather(*(here.keep(wish(session(n))) for n in range(120)), return_exceptions=True)
    assert all(isinstance(one, StateUnavailable) for one in kept)
    assert len(here._unsaved) == 50
    site.state.fails = None
    for _ in range(3):
        await here.read()
        await here.read_all()
        await written(here)
    assert len(site.state.entries) == 120


async def test_however_many_sign_out_admins_have_room(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can end as many sessions as they like to make."""
    monkeypatch.setattr(memory, "MAX_SESSIONS", 10)
    here = site.gateway()
    await here.read()
    for number in range(10):
        await here.keep(wish(session(number)))
    for number in range(10, 15):
        with pytest.raises(StateUnavailable) as caught:
            await here.keep(wish(session(number)))
        assert caught.value.code == "state-full"
    await here.keep(wish(person()))
    assert person().name in site.state.entries
    assert is_out(here, sid="s14")


async def test_who_comes_while_a_failure_is_looked_into_is_answered_too(site: Site) -> None:
    here = site.gateway()
    await here.read()
    site.state.refuses, site.state.slow = AWAY, 0.05
    asked = [asyncio.create_task(here.keep(wish(session(0))))]

    async def is_looked_into() -> bool:
        return here._reading.locked()

    await eventually(is_looked_into)
    asked.append(asyncio.create_task(here.keep(wish(session(1)))))
    await asyncio.wait(asked, timeout=memory.KEEP_WITHIN - 1)
    assert [str(one.exception()) for one in asked] == [str(AWAY)] * 2


async def test_requests_do_not_wait_long_for_a_state_that_is_slow(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory, "KEEP_WITHIN", 0.02)
    monkeypatch.setattr(memory, "ASK_WITHIN", 0.05)
    here = site.gateway()
    await here.read()
    site.state.slow = 0.3
    with lines(caplog, "it did not answer within 0.05 s"):
        with pytest.raises(StateUnavailable):
            await here.keep(wish(session()))
        await written(here)
        await here.read()
    assert is_out(here)
    site.state.slow = 0.0
    await eventually(lambda: caught_up(here))
    await written(here)
    assert session().name in site.state.entries


async def caught_up(gateway: Memory) -> bool:
    await gateway.read()
    return not gateway._away


@pytest.mark.parametrize("loss", ["everything", "the newest", "another version"])
async def test_what_the_state_has_lost_stays_taken_back_and_is_written_again(
    site: Site, loss: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A flush, a restart without its file, an older backup, a replica that lagged when it took over."""
    here = site.gateway()
    await here.read()
    old, new = person(time.time() - 500), person()
    await here.keep(wish(old))
    backup = dict(site.state.entries)
    await here.keep(wish(new))
    for number in range(5):
        await here.keep(wish(session(number)))
    await here.read()
    if loss == "everything":
        site.state.entries = {}
    elif loss == "the newest":
        site.state.entries.pop(session().name)
    else:
        site.state.entries = backup
    await here.read()
    assert is_out(here)
    with lines(caplog, "it has lost"):
        for _ in range(3):
            await here.read_all()
            await written(here)
            await here.read()
    late = site.gateway()
    await late.read()
    assert set(late.revocations) == {new, *(r for r in here.revocations if r.kind == "session")}
    assert is_out(late)


async def test_two_gateways_do_not_go_on_to_write_again_what_both_know(site: Site) -> None:
    here, there = site.gateway(), site.gateway()
    for one in (here, there):
        await one.read()
    await here.keep(wish(session()))
    for _ in range(3):
        for one in (here, there):
            await one.read()
            await one.read_all()
            await written(one)
    assert site.state.puts == 1


async def test_what_comes_while_the_whole_list_is_read_is_not_taken_for_lost(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory, "PAGE", 1)
    monkeypatch.setattr("tests.gateway.test_memory.PAGE", 1)
    here, there = site.gateway(), site.gateway()
    await here.read()
    await there.read()
    for number in range(10):
        await here.keep(wish(session(number)))
    with lines(caplog):
        reading = asyncio.create_task(here.read_all())
        for number in range(20):
            await there.keep(wish(session(f"there {number}")))
            await here.keep(wish(session(f"here {number}")))
            await here.keep(wish(person()))
            await here.read()
        await reading


async def test_a_bar_is_not_lifted_by_a_later_revocation(site: Site) -> None:
    """Nor by the issuer, whose logout of a person is one."""
    here, there = site.gateway(), site.gateway()
    for one in (here, there):
        await one.read()
    await there.keep(wish(person(time.time() + 5000)._replace(ends=time.time() + 20_000)))
    await there.keep(wish(person()))
    for one in (here, there, site.gateway()):
        await one.read_all()
        await one.read()
        assert is_out(one, iat=time.time() + 5)


async def test_a_clock_that_is_put_back_makes_no_list_count_longer(site: Site) -> None:
    """The time stands still here, as for a clock that is put back again and again."""
    here = Memory(site.state, Revocations({}, 0.2), lambda: 0.0)
    await here.read()
    site.state.fails = AWAY
    await here.read()

    async def is_refused() -> bool:
        try:
            here.revocations.check(Caller("staff", ISSUER, {"sub": "ben"}), 0.0)
        except StateUnavailable:
            return True
        return False

    await eventually(is_refused)
    site.state.fails = None
    await here.read()
    assert not await is_refused()
    here.close()


async def test_what_is_over_is_forgotten_a_day_later(site: Site) -> None:
    here = site.gateway()
    await here.read()
    await here.keep(wish(session()._replace(ends=time.time() + 1)))
    for ahead, left in ((0.0, 1), (86_000.0, 1), (86_500.0, 0)):
        here._clock.ahead = ahead  # type: ignore[attr-defined]
        await here.read_all()
        assert len(here.revocations) == left


async def test_a_clock_that_jumps_and_comes_back_loses_nothing(site: Site) -> None:
    here = site.gateway()
    await here.read()
    await here.keep(wish(session()))
    here._clock.ahead = 5000.0  # type: ignore[attr-defined]
    await here.read()
    await here.read_all()
    assert not is_out(here)  # nor is the session alive then
    here._clock.ahead = 0.0  # type: ignore[attr-defined]
    await here.read()
    assert is_out(here)


async def test_a_gateway_whose_clock_is_behind_takes_back_what_was_proved_until_now(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """By its own clock a token that others know is of the future."""
    behind, right = site.gateway(ahead=-3600), site.gateway()
    with lines(caplog, "this machine's clock is 3600 s behind the state's"):
        for one in (behind, right, behind):
            await one.read()
            await one.read_all()
    await behind.keep(wish(person(time.time() - 3600)))
    await behind.keep(wish(session()._replace(ends=time.time() + 100 - 3600)))
    await right.read()
    assert is_out(right, iat=time.time() - 5, sid="x")
    right._clock.ahead = 2.0  # type: ignore[attr-defined]  # two clocks are never quite the same
    assert not is_out(right, iat=time.time() + 5, sid="x")
    assert is_out(right, sub="ben")  # whose session lasts for 100 s


async def test_a_bar_until_a_moment_is_for_that_moment_whatever_the_clock_says(site: Site) -> None:
    behind = site.gateway(ahead=-3600)
    await behind.read()
    until = time.time() + 9000
    await behind.keep(wish(person(until)))
    (entry,) = site.state.entries.values()
    assert from_text(entry.text).before == until


async def test_beside_what_cannot_be_read_the_rest_counts_and_the_list_is_not_taken_for_whole(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    here = site.gateway()
    await here.read()
    site.state.put_all([Keep("x", '{"kind": "planet"}', time.time() + 60), wish(session())], time.time())
    with lines(caplog, "cannot be read"):
        for _ in range(3):
            await here.read()
            await here.read_all()
    assert is_out(here)
    here._clock.ahead = 301.0  # type: ignore[attr-defined]
    with pytest.raises(StateUnavailable):
        is_out(here)
    await here.read()
    site.state.entries.pop("x")
    await here.read_all()
    await here.read()
    assert is_out(here)


async def test_what_cannot_be_read_and_is_over_concerns_nobody(site: Site) -> None:
    here = site.gateway()
    site.state.put_all([Keep("x", "from the future", time.time() - 1)], time.time())
    await here.read()
    assert here.was_read


async def test_a_state_that_is_away_at_the_start_is_read_when_it_comes(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    here = site.gateway()
    site.state.put_all([wish(session())], time.time())
    site.state.fails = AWAY
    with lines(caplog, "it is away"):
        for _ in range(5):
            await here.read()
            await here.read_all()
    with pytest.raises(StateUnavailable):
        is_out(here)
    site.state.fails = None
    with lines(caplog, "it answers again"):
        await here.read()
    assert is_out(here)


async def test_what_was_never_remembered_is_said_at_the_end(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    here = site.gateway()
    await here.read()
    site.state.fails = AWAY
    with pytest.raises(StateUnavailable):
        await here.keep(wish(session()))
    with lines(caplog, "1 entries that were taken back here were never remembered"):
        here.close()
