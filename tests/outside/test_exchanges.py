"""Threads and tasks that wait for the same URL share one exchange."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from stagedoor.core.messages import Fetch, Fetched
from stagedoor.outside import exchanges
from stagedoor.outside.exchanges import Exchanges

WISH, OTHER = Fetch("https://id.example.com/keys"), Fetch("https://id.example.com/other")
GOOD = Fetched(b"keys")


class Gate:
    """Stands in for the network: answers when it is opened.

    `asked` lists every exchange; `arrived` is released by each thread that has come to wait for one.
    """

    def __init__(self) -> None:
        self.asked: list[Fetch] = []
        self.open = threading.Event()
        self.arrived = threading.Semaphore(0)

    def __call__(self, wish: Fetch, *, tls: object) -> Fetched:
        assert tls is None
        self.asked.append(wish)
        assert self.open.wait(30)
        return GOOD


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()

    class Noted(Future[Fetched]):
        def result(self, timeout: float | None = None) -> Fetched:
            made.arrived.release()
            return super().result(timeout)

    monkeypatch.setattr(exchanges, "fetch", made)
    monkeypatch.setattr(exchanges, "Future", Noted)
    return made


def waited(shared: Exchanges, wish: Fetch) -> Fetched:
    return shared.wait(shared.begin(wish))


def test_threads_share_one_exchange(gate: Gate) -> None:
    shared = Exchanges()
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(waited, shared, WISH) for _ in range(7)]
        other = threads.submit(waited, shared, OTHER)
        for _ in range(8):
            assert gate.arrived.acquire(timeout=30)
        gate.open.set()
        assert [one.result() for one in (*waiting, other)] == [GOOD] * 8
    assert sorted(gate.asked) == sorted((WISH, OTHER))


def test_what_is_asked_later_is_asked_anew(gate: Gate) -> None:
    shared = Exchanges()
    gate.open.set()
    assert [waited(shared, WISH), waited(shared, WISH)] == [GOOD, GOOD]
    assert gate.asked == [WISH, WISH]


async def test_a_task_that_is_cancelled_leaves_the_others_their_answer(gate: Gate) -> None:
    shared = Exchanges()
    impatient, patient = (asyncio.create_task(shared.later(shared.begin(WISH))) for _ in range(2))
    thread = asyncio.create_task(asyncio.to_thread(waited, shared, WISH))
    assert await asyncio.to_thread(gate.arrived.acquire, timeout=30)
    impatient.cancel()
    await asyncio.sleep(0)
    gate.open.set()
    assert (await patient, await thread) == (GOOD, GOOD)
    assert impatient.cancelled()
    assert gate.asked == [WISH]


async def test_an_exchange_that_a_fork_has_lost_is_given_up_and_begun_again(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the child nothing runs that could end it; here it only takes too long."""
    monkeypatch.setattr(exchanges, "GRACE", 0.01)
    shared, short = Exchanges(), WISH._replace(timeout=0.01)
    assert waited(shared, short) == Fetched(b"", "no answer in time")
    assert await shared.later(shared.begin(short)) == Fetched(b"", "no answer in time")
    gate.open.set()
    assert waited(shared, short._replace(timeout=30.0)) == GOOD
    assert gate.asked[:2] == [short, short]
