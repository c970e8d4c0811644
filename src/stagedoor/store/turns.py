"""Who may ask the store now: keys that hang take nothing from keys that answer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

AT_ONCE = 128
"""Questions that are asked at a time and were asked less than `SLOW_AFTER` ago."""
MOST = 256
"""Questions at a time in all. Where they are that many, the one that has waited longest is given up."""
PER_KEY = 8
"""Questions about one key at a time."""
SLOW_AFTER = 1.0
"""Seconds after which a question without an answer makes room for another one."""


class Turn:
    """The right to ask one question. `limit` ends it if it has to make room."""

    __slots__ = ("key", "limit", "since")

    def __init__(self, key: str, limit: asyncio.Timeout) -> None:
        self.key, self.limit, self.since = key, limit, 0.0


class Turns:
    """Gives turns in the order in which they were asked for, but `PER_KEY` for one key."""

    def __init__(self) -> None:
        self._keys: dict[str, int] = {}
        self._asking: OrderedDict[Turn, None] = OrderedDict()
        self._slow: OrderedDict[Turn, None] = OrderedDict()
        self._waiting: deque[tuple[Turn, asyncio.Future[None]]] = deque()
        self._behind: dict[str, deque[tuple[Turn, asyncio.Future[None]]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, key: str, limit: asyncio.Timeout) -> Turn:
        """Wait for a turn.

        Args:
            key: what is asked about.
            limit: of the whole question.
        """
        turn = Turn(key, limit)
        if not self._waiting and self._keys.get(key, 0) < PER_KEY and self._has_room():
            self._admit(turn)
            return turn
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._keys.get(key, 0) >= PER_KEY:
            self._behind.setdefault(key, deque()).append((turn, admitted))
        else:
            self._waiting.append((turn, admitted))
            self._look_again()
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():
                self.give_back(turn)
            raise
        return turn

    def give_back(self, turn: Turn) -> None:
        """The answer has come, or never will."""
        self._asking.pop(turn, None)
        self._slow.pop(turn, None)
        left = self._keys[turn.key] - 1
        if left:
            self._keys[turn.key] = left
        else:
            del self._keys[turn.key]
        behind = self._behind.get(turn.key)
        while behind:
            next_one = behind.popleft()
            if not next_one[1].done():
                self._waiting.append(next_one)
                break
        if behind is not None and not behind:
            del self._behind[turn.key]
        if self._waiting:
            self._look_again()

    def _admit(self, turn: Turn) -> None:
        turn.since = asyncio.get_running_loop().time()
        self._asking[turn] = None
        self._keys[turn.key] = self._keys.get(turn.key, 0) + 1

    def _has_room(self) -> bool:
        if len(self._asking) < AT_ONCE and len(self._slow) + AT_ONCE <= MOST:
            return True
        late = asyncio.get_running_loop().time() - SLOW_AFTER
        while self._asking and (oldest := next(iter(self._asking))).since <= late:
            del self._asking[oldest]
            self._slow[oldest] = None
        if len(self._asking) >= AT_ONCE:
            return False
        if len(self._asking) + len(self._slow) >= MOST:
            given_up, _ = self._slow.popitem(last=False)
            given_up.limit.reschedule(0.0)
        return True

    def _look_again(self) -> None:
        """Admit those who wait; if none can be now, look again when the oldest question counts as slow."""
        while self._waiting and self._has_room():
            turn, admitted = self._waiting.popleft()
            if admitted.done():
                continue
            if self._keys.get(turn.key, 0) >= PER_KEY:
                self._behind.setdefault(turn.key, deque()).append((turn, admitted))
                continue
            self._admit(turn)
            admitted.set_result(None)
        if self._waiting and self._timer is None:
            when = next(iter(self._asking)).since + SLOW_AFTER
            self._timer = asyncio.get_running_loop().call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiting:
            self._look_again()
