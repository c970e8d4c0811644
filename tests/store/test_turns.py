"""Who may ask the store: keys that hang take nothing from keys that answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from stagedoor.store import turns as module
from stagedoor.store.turns import Turn, Turns


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("AT_ONCE", 4), ("MOST", 8), ("PER_KEY", 2), ("PER_ANSWERING_KEY", 3), ("SLOW_AFTER", 0.1)):
        monkeypatch.setattr(module, name, value)


class Callers:
    """Callers that take turns and keep them until they are ended."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.asking: list[str] = []
        self.given_up: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, *names: str) -> None:
        """Names are keys with a number behind a dot, so that each is another caller."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._ask(name)))
        await asyncio.sleep(0.01)

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
        await asyncio.sleep(0.01)

    async def cancel(self, name: str) -> None:
        self._tasks[list(self._ends).index(name)].cancel()
        await asyncio.sleep(0.01)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert (self.turns._keys, len(self.turns._asking), len(self.turns._slow)) == ({}, 0, 0), "all turns are back"

    async def _ask(self, name: str) -> None:
        turn: Turn | None = None
        answered = False
        try:
            async with asyncio.timeout(60) as limit:
                turn = await self.turns.take(name.partition(".")[0], limit)
                self.asking.append(name)
                await self._ends[name].wait()
                answered = True
        except TimeoutError:
            self.given_up.append(name)
        finally:
            if turn is not None:
                self.asking.remove(name)
                self.turns.give_back(turn, answered)


@pytest.fixture
async def callers() -> AsyncIterator[Callers]:
    made = Callers()
    yield made
    await made.close()


async def test_as_many_ask_as_may_and_the_rest_in_their_order(callers: Callers) -> None:
    await callers.begin("a", "b", "c", "d", "e", "f")
    assert callers.asking == ["a", "b", "c", "d"]
    await callers.end("c")
    assert callers.asking == ["a", "b", "d", "e"]
    await callers.end("a", "b")
    assert callers.asking == ["d", "e", "f"]


async def test_one_key_has_few_turns_until_it_answers(callers: Callers) -> None:
    await callers.begin("a.1", "a.2", "a.3", "a.4", "a.5", "b")
    assert callers.asking == ["a.1", "a.2", "b"]
    await callers.end("a.1")
    assert callers.asking == ["a.2", "b", "a.3", "a.4"], "it answers, so it may have one more"
    await callers.end("a.2", "a.3", "a.4")
    assert callers.asking == ["b", "a.5"]


async def test_keys_that_hang_make_room_for_others(callers: Callers) -> None:
    await callers.begin("a", "b", "c", "d", "e")
    assert callers.asking == ["a", "b", "c", "d"]
    await asyncio.sleep(0.15)
    assert callers.asking == ["a", "b", "c", "d", "e"]
    assert callers.given_up == []


async def test_where_too_many_hang_the_one_that_has_waited_longest_is_given_up(callers: Callers) -> None:
    await callers.begin("a", "b", "c", "d")
    await asyncio.sleep(0.15)
    await callers.begin("e", "f", "g", "h")
    assert callers.given_up == []
    await asyncio.sleep(0.15)
    await callers.begin("i", "j")
    assert callers.given_up == ["a", "b"]
    assert callers.asking == ["c", "d", "e", "f", "g", "h", "i", "j"]


async def test_who_leaves_while_waiting_takes_no_turn(callers: Callers) -> None:
    await callers.begin("a.1", "a.2", "a.3", "a.4", "b", "c", "d")
    assert callers.asking == ["a.1", "a.2", "b", "c"]
    await callers.cancel("a.3")
    await callers.cancel("d")
    await callers.end("a.1", "b")
    assert callers.asking == ["a.2", "c", "a.4"]


async def test_who_left_is_not_counted_when_there_is_room_again(callers: Callers) -> None:
    await callers.begin("a.1", "a.2", "a.3", "a.4", "a.5", "a.6")
    for name in ("a.3", "a.4"):
        await callers.cancel(name)
    callers.turns._keys["a"].answered = float("-inf")
    await callers.cancel("a.1")
    await callers.cancel("a.2")
    assert callers.asking == ["a.5", "a.6"]


async def test_who_leaves_with_a_turn_gives_it_back(callers: Callers) -> None:
    await callers.begin("a", "b", "c", "d", "e")
    await callers.cancel("a")
    assert callers.asking == ["b", "c", "d", "e"]


async def test_a_turn_that_comes_too_late_is_given_back(callers: Callers) -> None:
    """The caller is cancelled in the same turn of the event loop in which it is admitted."""
    await callers.begin("a", "b", "c", "d", "e", "f")
    callers._ends["a"].set()
    callers._tasks[4].cancel()
    await asyncio.sleep(0.01)
    assert callers.asking == ["b", "c", "d", "f"]
