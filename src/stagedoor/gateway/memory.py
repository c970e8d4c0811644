"""What the site remembers, as a gateway sees it: the list of what was taken back is read from time to time.

No request waits for the state: it is asked in threads of its own, and the door looks into memory. Nothing that was
taken back leaves the memory before its end, whatever the state says later; what the state lacks is written to it, be
it because it was away or full when something was taken back, or because it has lost what it had.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, ParamSpec, TypeVar

from ..core.errors import StagedoorError, StateUnavailable
from ..core.messages import Keep, Recall, Recalled
from ..core.revocations import Revocation, Revocations, from_text, to_text
from ..outside.threads import Threads
from ..state.port import BATCH, KEPT, MAX_ENTRIES, PAGE, State

READ_EVERY = 2.0
"""Seconds between two looks at what was added."""
READ_ALL_EVERY = 60.0
"""Seconds between two looks at the whole list."""
PAUSE = 0.02
"""Seconds between two pages of the whole list, in which requests have the processor."""
ASK_WITHIN = 10.0
"""Seconds that one question to the state may take, whatever limits it has itself."""
KEEP_WITHIN = 5.0
"""Seconds that a request waits until something is remembered."""
MAX_SESSIONS = MAX_ENTRIES * 3 // 4
"""Entries beyond which no ended sessions are remembered: people end as many as they like, and admins need room, too."""
MAX_UNSAVED = 10_000
"""Entries that wait for the state at most."""
CLOCKS_DIFFER = 30.0
"""Seconds by which this clock and the state's may differ before that is logged."""

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("stagedoor")


class _Page(NamedTuple):
    """A page of the list.

    Attributes:
        found: what was taken back.
        unreadable: sequence number -> end of what cannot be read, perhaps because it is of a newer version.
        last: the last sequence number, None if there is no entry.
        more: whether there may be more.
    """

    found: Sequence[Revocation]
    unreadable: dict[int, float]
    last: int | None
    more: bool


class _Unsaved(NamedTuple):
    """What is obeyed here and not yet remembered, and the requests that wait for that."""

    wish: Keep
    waiting: list[asyncio.Future[None]]


class _Seen:
    """What was found in the list, by marks of four bytes, because the names would double the memory of the list.

    Of a hundred thousand that are lost one may be overlooked every few hundred times.
    """

    def __init__(self) -> None:
        self._marks = [array("I") for _ in range(4096)]

    def add(self, one: Revocation) -> None:
        mark = hash(one[:3])
        self._marks[mark & 0xFFF].append(mark >> 12 & 0xFFFFFFFF)

    def __contains__(self, one: Revocation) -> bool:
        mark = hash(one[:3])
        return mark >> 12 & 0xFFFFFFFF in self._marks[mark & 0xFFF]


class Memory:
    """Keeps a list of revocations up to date, and remembers what the door wishes.

    Args:
        state: that gateways share.
        revocations: the door's list.
        clock: epoch seconds.

    Attributes:
        was_read: the list has been read at least once.
    """

    def __init__(self, state: State, revocations: Revocations, clock: Callable[[], float]) -> None:
        self._state, self.revocations, self._clock = state, revocations, clock
        self._threads = Threads(4, "state", StateUnavailable)
        self._sequence = 0
        self._unreadable: dict[int, float] = {}
        self._seen: _Seen | None = None  # what was found in the list while all of it is read
        self._unsaved: dict[str, _Unsaved] = {}
        self._writing: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()
        self._too_old: asyncio.TimerHandle | None = None
        self._away = self._refuses = self._loses = self._differs = False
        self._behind = 0.0
        self.was_read = False

    async def follow(self) -> None:
        """Read the list again and again, until the task is cancelled."""
        whole = asyncio.create_task(self._follow_all())
        self._count_until(time.monotonic() + self.revocations.stale)  # of the list of earlier settings
        try:
            while True:
                await self.read()
                await asyncio.sleep(READ_EVERY)
        finally:
            for task in filter(None, (whole, self._writing)):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _follow_all(self) -> None:
        while True:
            soon = self._loses and not self._refuses and not self._away
            await asyncio.sleep(READ_EVERY if soon else READ_ALL_EVERY)
            await self.read_all()

    # --- reading

    async def read(self) -> None:
        """Read what was added; the first time that is everything."""
        async with self._reading:
            begun = time.monotonic()
            try:
                now = self._clock()
                if not self.was_read:
                    await self._look_at_clock()
                await self._read_on()
                unreadable = [number for number, ends in self._unreadable.items() if ends > now]
                if unreadable:
                    raise StateUnavailable(f"entry {unreadable[0]} cannot be read; is it of a newer version?")
            except Exception as error:
                if not self._away:
                    _log.error("state: %s; the last known list is used for %g s", error, self.revocations.stale)
                self._away = True
                return
            self.revocations.add((), now)
            if self._away:
                _log.warning("state: it answers again")
            self._away, self.was_read = False, True
            self._count_until(begun + self.revocations.stale)
        self._write_on()

    def _count_until(self, end: float) -> None:
        """Let the list count until then by the process's own clock, because the machine's may be put back."""
        if self._too_old is not None:
            self._too_old.cancel()
        loop = asyncio.get_running_loop()
        self._too_old = loop.call_later(end - time.monotonic(), self.revocations.forget_reading)

    async def _read_on(self) -> None:
        """Add what came after the last number. What can be read counts, also if something else cannot."""
        more = True
        while more:
            page = await self._ask(self._page, self._sequence)
            self._unreadable |= page.unreadable
            self._note(page.found)
            if self._unsaved:
                self._saved_by_others(page.found)
            self._sequence, more = page.last or self._sequence, page.more

    async def read_all(self) -> None:
        """Read the whole list, and write to it what it has lost: a restart, an older backup, a replica that lagged."""
        self._seen = _Seen()
        try:
            await self._look_at_clock()
            await self._compare(self._seen)
            now = self._clock()
            lost, over = await self._threads.call(self._lost_and_over, self._seen, now)
        except Exception as error:  # `read` says so if it lasts
            _log.debug("state: not all of it could be read: %s", error)
            return
        finally:
            self._seen = None
        self.revocations.forget(over)
        for one in lost[: MAX_UNSAVED - len(self._unsaved)]:
            self._unsaved.setdefault(one.name, _Unsaved(Keep(one.name, to_text(one), one.ends), []))
        if lost and not self._loses:
            _log.error("state: it has lost %d entries that are known here; they are written again", len(lost))
        self._loses = bool(lost)
        self._write_on()

    async def _compare(self, seen: _Seen) -> None:
        unreadable, after, more = dict[int, float](), 0, True
        while more:
            page = await self._ask(self._page, after)
            unreadable |= page.unreadable
            for one in page.found:
                if self.revocations.get(one) != one:
                    self.revocations.add((one,))
                if self.revocations.get(one) == one:  # else it is from an older backup
                    seen.add(one)
            after, more = page.last or after, page.more
            await asyncio.sleep(PAUSE)
        self._unreadable = unreadable | {number: e for number, e in self._unreadable.items() if number > after}

    def _page(self, after: int) -> _Page:
        """In a thread: ask for a page. What is over and cannot be read concerns nobody."""
        entries = self._state.after(after)
        found, unreadable = list[Revocation](), dict[int, float]()
        for entry in _giving_way(entries):
            try:
                found.append(from_text(entry.text))
            except ValueError:
                unreadable[entry.sequence] = entry.ends
        return _Page(found, unreadable, entries[-1].sequence if entries else None, len(entries) >= PAGE)

    def _lost_and_over(self, seen: _Seen, now: float) -> tuple[list[Revocation], list[Revocation]]:
        """In a thread: what the list has lost, and what may be forgotten."""
        lost, over = list[Revocation](), list[Revocation]()
        for one in _giving_way(self.revocations):
            if one.ends <= now - KEPT:
                over.append(one)
            elif one.ends > now and one not in seen and one.name not in self._unsaved:
                lost.append(one)
        return lost, over

    def _note(self, found: Sequence[Revocation]) -> None:
        if self._seen is not None:
            for one in found:
                self._seen.add(one)
        self.revocations.add(found)

    async def _ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            async with asyncio.timeout(ASK_WITHIN):
                return await self._threads.call(function, *args, **kwargs)
        except TimeoutError:
            raise StateUnavailable(f"it did not answer within {ASK_WITHIN:g} s") from None

    async def _look_at_clock(self) -> None:
        ahead = self._clock() - await self._ask(self._state.time)
        self._behind = max(0.0, -ahead) if abs(ahead) > 2 else 0.0
        if abs(ahead) > CLOCKS_DIFFER and not self._differs:
            where = "ahead of" if ahead > 0 else "behind"
            _log.error("state: this machine's clock is %d s %s the state's; set one of them", abs(ahead), where)
        self._differs = abs(ahead) > CLOCKS_DIFFER

    # --- writing

    async def keep(self, wish: Keep) -> None:
        """Obey something here at once, and remember it.

        Raises:
            StateUnavailable: it is not remembered yet; that is tried again and again.
        """
        one = self._by_the_later_clock(from_text(wish.text))
        wish = Keep(one.name, to_text(one), one.ends)
        unsaved = self._unsaved.get(wish.name)
        if one.kind != "person" and self._is_known(one):
            if unsaved is None:
                return
            wish = unsaved.wish
        elif unsaved is not None:
            wish = max(wish, unsaved.wish, key=lambda one: one.ends)
        if unsaved is None and len(self._unsaved) >= MAX_UNSAVED:
            if len(self.revocations) < MAX_ENTRIES:
                self._note([one])  # and written when the whole list is read
            raise StateUnavailable(f"{MAX_UNSAVED:,} entries wait to be remembered")
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsaved[wish.name] = _Unsaved(wish, [*(unsaved.waiting if unsaved else ()), waiting])
        self._note([one])
        self._write_on()
        try:
            async with asyncio.timeout(KEEP_WITHIN):
                await waiting
        except TimeoutError:
            raise StateUnavailable("it could not be remembered yet") from None

    def _is_known(self, one: Revocation) -> bool:
        """Has this session or token been taken back before? Then nothing newer can have come from it."""
        known = self.revocations.get(one)
        return known is not None and known.ends > self._clock()

    def _by_the_later_clock(self, one: Revocation) -> Revocation:
        """As it would be if this clock were not behind the state's, by which others go."""
        before = one.before + self._behind if 0 < one.before <= self._clock() else one.before
        return one._replace(before=before, ends=one.ends + self._behind)

    def _write_on(self) -> None:
        if self._unsaved and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Write what is unsaved, many entries at a time, until there is none or the state takes no more."""
        while self._unsaved:
            names, most = self._batch()
            batch = [self._unsaved[name].wish for name in names]
            try:
                await self._ask(self._state.put_all, batch, self._clock(), most)
            except Exception as error:
                await self._not_written(error)
                return
            for wish in batch:
                if wish.name in self._unsaved and self._unsaved[wish.name].wish == wish:
                    self._saved(wish.name)
            if self._refuses:
                _log.warning("state: it takes entries again")
                self._refuses = False

    def _batch(self) -> tuple[list[str], int]:
        """What is written next: ended sessions last, and only as long as there is room for them."""
        others = [name for name in self._unsaved if not name.startswith("session ")]
        return (others or list(self._unsaved))[:BATCH], MAX_ENTRIES if others else MAX_SESSIONS

    def _saved_by_others(self, found: Iterable[Revocation]) -> None:
        for one in found:
            if one.name in self._unsaved and self._unsaved[one.name].wish.text == to_text(one):
                self._saved(one.name)

    def _saved(self, name: str) -> None:
        for waiting in self._unsaved.pop(name).waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def _not_written(self, error: Exception) -> None:
        """Answer all who wait. One line in the log: if the state is away that is the line."""
        if not self._away and not self._refuses:
            await self.read()
        if not self._away and not self._refuses:
            _log.error("state: %s; what was taken back is obeyed here alone until it can be written", error)
            self._refuses = True
        code = error.code if isinstance(error, StagedoorError) else None
        for unsaved in self._unsaved.values():  # also those who came in the meantime
            for waiting in unsaved.waiting:
                if not waiting.done():
                    waiting.set_exception(StateUnavailable(str(error), code=code))
            unsaved.waiting.clear()

    async def recall(self, wish: Recall) -> Recalled:
        """Return a page of what is remembered.

        Raises:
            StateUnavailable: the state did not answer.
        """
        page = await self._ask(self._state.after, wish.after)
        return Recalled(tuple(page), len(page) >= PAGE)

    def close(self) -> None:
        if self._too_old is not None:
            self._too_old.cancel()
        if self._unsaved:
            _log.error("state: %d entries that were taken back here were never remembered", len(self._unsaved))
        self._threads.close()
        self._state.close()


def _giving_way(found: Iterable[T]) -> Iterator[T]:
    """Let the event loop have the interpreter now and then: it would wait five milliseconds for it, again and again."""
    for at, one in enumerate(found):
        if at % 50 == 0:
            select.select((), (), (), 0.00005)  # a sleep by no clock, which may be set in the meantime
        yield one
