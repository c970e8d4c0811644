"""Who may ask the store now: keys that hang take nothing from keys that answer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TypeAlias

AT_ONCE = 256
"""Questions that are asked at a time and were asked less than `SLOW_AFTER` ago."""
MOST = 512
"""Questions at a time in all. Where they are that many, the one that has waited longest is given up."""
PER_KEY = 8
"""Questions about one key at a time, as long as none of them is answered."""
PER_ANSWERING_KEY = 64
"""The same, while answers about that key come: at least one in the last `SLOW_AFTER`."""
SLOW_AFTER = 1.0
"""Seconds after which a question without an answer makes room for another one."""


class Turn:
    """The right to ask one question. `limit` ends it if it has to make room."""

    __slots__ = ("key", "limit", "since")

    def __init__(self, key: str, limit: asyncio.Timeout) -> None:
        self.key, self.limit, self.since = key, limit, 0.0


_Waiter: TypeAlias = "tuple[Turn, asyncio.Future[None]]"


class _Key:
    """What is under way about one key; `waiting` are those for whom it has no room."""

    __slots__ = ("answered", "asking", "waiting")

    def __init__(self) -> None:
        self.asking, self.answered = 0, float("-inf")
        self.waiting: deque[_Waiter] = deque()

    def room(self, now: float) -> int:
        most = PER_ANSWERING_KEY if now - self.answered < SLOW_AFTER else PER_KEY
        return max(0, most - self.asking)


class Turns:
    """Gives turns in the order in which they were asked for, but only so many for one key."""

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}
        self._asking: OrderedDict[Turn, None] = OrderedDict()
        self._slow: OrderedDict[Turn, None] = OrderedDict()
        self._waiting: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, key: str, limit: asyncio.Timeout) -> Turn:
        """Wait for a turn.

        Args:
            key: what is asked about.
            limit: of the whole question.
        """
        loop = asyncio.get_running_loop()
        turn, now, of_key = Turn(key, limit), loop.time(), self._key(key)
        has_room = not of_key.waiting and of_key.room(now) > 0
        if has_room and not self._waiting and self._has_room(now):
            self._admit(turn, of_key, now)
            return turn
        admitted: asyncio.Future[None] = loop.create_future()
        (self._waiting if has_room else of_key.waiting).append((turn, admitted))
        self._admit_waiting(now)
        try:
            await admitted
        except asyncio.CancelledError:
            if not admitted.cancelled():
                self.give_back(turn)
            elif not of_key.asking and self._keys.get(key) is of_key:
                del self._keys[key]
            raise
        return turn

    def give_back(self, turn: Turn, answered: bool = False) -> None:
        """Make room for others.

        Args:
            turn: from `take`.
            answered: did the store answer the question?
        """
        now, of_key = asyncio.get_running_loop().time(), self._keys[turn.key]
        self._asking.pop(turn, None)
        self._slow.pop(turn, None)
        of_key.asking -= 1
        if answered:
            of_key.answered = now
        room = of_key.room(now)
        while of_key.waiting and room:
            waiter = of_key.waiting.popleft()
            if not waiter[1].done():
                self._waiting.append(waiter)
                room -= 1
        if not of_key.asking and not of_key.waiting:
            del self._keys[turn.key]
        if self._waiting:
            self._admit_waiting(now)

    def _key(self, key: str) -> _Key:
        of_key = self._keys.get(key)
        if of_key is None:
            of_key = self._keys[key] = _Key()
        return of_key

    def _admit(self, turn: Turn, of_key: _Key, now: float) -> None:
        turn.since = now
        self._asking[turn] = None
        of_key.asking += 1

    def _has_room(self, now: float) -> bool:
        if len(self._asking) < AT_ONCE and len(self._slow) <= MOST - AT_ONCE:
            return True
        while self._asking and (oldest := next(iter(self._asking))).since <= now - SLOW_AFTER:
            del self._asking[oldest]
            self._slow[oldest] = None
        if len(self._asking) >= AT_ONCE:
            return False
        if len(self._asking) + len(self._slow) >= MOST:
            given_up, _ = self._slow.popitem(last=False)
            given_up.limit.reschedule(0.0)
        return True

    def _admit_waiting(self, now: float) -> None:
        """Admit those who wait; if no more can be, look again when the oldest question counts as slow."""
        while self._waiting and self._has_room(now):
            turn, admitted = self._waiting.popleft()
            if admitted.done():
                continue
            of_key = self._key(turn.key)
            if of_key.room(now):
                self._admit(turn, of_key, now)
                admitted.set_result(None)
            else:
                of_key.waiting.appendleft((turn, admitted))
        if self._waiting and self._timer is None:
            when = next(iter(self._asking)).since + SLOW_AFTER
            self._timer = asyncio.get_running_loop().call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiting:
            self._admit_waiting(asyncio.get_running_loop().time())
