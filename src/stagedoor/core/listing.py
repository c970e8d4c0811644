"""The objects that one caller may see, in order, page by page.

The rules say where they can be, so keys that belong to others are not walked through; each key that is found there is
decided on its own. A page costs a bounded number of questions to the store, and a bounded time: where much is hidden it
may be short, or even empty, and still have a next one.
"""

from __future__ import annotations

from collections.abc import Callable

from .caller import Caller
from .messages import Flow, Item, List, Listed, list_keys
from .paths import object_key
from .policy.reach import Reach

MAX_QUESTIONS = 24
"""Questions to the store for one page."""
MAX_SECONDS = 0.05
"""Seconds that one page may spend on decisions, during which nothing else runs; the store's time is not counted."""
PAGE_WITHIN = 5.0
"""Seconds after which a page asks the store nothing more."""
MAX_NAMES = 1000
"""Names in one answer of the store (Amazon S3 API, ListObjectsV2, `MaxKeys`)."""

_END = chr(0x10FFFF)
"""Sorts after whatever may follow a prefix."""


class _Full(Exception):
    """The page is full, and there is one more name."""


class _Spent(Exception):
    """The store has been asked often enough."""


def visible(
    reach: Reach,
    caller: Caller,
    wish: List,
    index: str | None = None,
    clock: Callable[[], float] = lambda: 0.0,
) -> Flow[Listed]:
    """List what the caller may read.

    Args:
        reach: where the caller's keys can be; its policy decides about every key.
        caller: for whom.
        wish: what a store would be asked for.
        index: as in `paths.object_key`: keys that it hides cannot be asked for.
        clock: seconds, of which only differences count.

    Returns:
        What is visible. `resume` may be the name of something that is not, so it must be sealed before anybody sees it.
    """
    walk = _Walk(reach, caller, wish, index, clock)
    try:
        yield from walk.go()
    except _Full:
        return Listed(tuple(walk.found), walk.last)
    except _Spent:
        return Listed(tuple(walk.found), walk.after)
    return Listed(tuple(walk.found))


class _Walk:
    """One page in the making. Every name up to `after` has been decided; `last` is where the found ones end."""

    def __init__(
        self,
        reach: Reach,
        caller: Caller,
        wish: List,
        index: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._policy, self._reach = reach.policy, reach
        self._caller, self._wish, self._index = caller, wish, index
        self._clock, self._since, self._spent = clock, clock(), 0.0
        self._ends = self._since + PAGE_WITHIN
        self._questions = MAX_QUESTIONS
        self.found: list[Item | str] = []
        self.after = self.last = wish.after

    def go(self) -> Flow[None]:
        prefix = self._wish.prefix
        for start in self._reach.prefixes(self._caller, prefix):
            if self._wish.folders:
                if "/" not in start[len(prefix) : -1]:
                    yield from self._namesake(start)
                begun = self.after if self.after.startswith(start) else start
                for first in dict.fromkeys((start, begun)):  # a page may have ended in the middle of a folder
                    name, slash, _ = first[len(prefix) :].partition("/")
                    if slash:
                        yield from self._folder(f"{prefix}{name}/", known=False)
                if "/" not in start[len(prefix) :]:
                    yield from self._level(start)
            else:
                yield from self._keys(start)

    def _keys(self, start: str, *, first: bool = False) -> Flow[bool]:
        """Go through all keys from here on; with `first` only to the one that shows that there are some (True)."""
        if (yield from self._namesake(start, first=first)) and first:
            return True
        while self.after < start + _END:
            listed = yield from self._ask(start, folders=False)
            for one in listed.found:
                assert isinstance(one, Item)
                if one.key <= self.after:  # jumped over
                    continue
                if self._is_visible(one.key):
                    if first:
                        return True
                    self._take(one, one.key)
                else:
                    folder = self._reach.nothing_below(self._caller, one.key, start)
                    self.after = folder + _END if folder else one.key
                self._look_at_the_clock()
            self.after = start + _END if listed.resume is None else max(self.after, listed.resume)
        return False

    def _namesake(self, folder: str, *, first: bool = False) -> Flow[bool]:
        """Look for the object that has the name of a folder; with `first` it is not shown."""
        key = folder[:-1]
        if not folder.endswith("/") or self.after >= key or not key.startswith(self._wish.prefix):
            return False
        if not self._is_visible(key):
            return False
        listed = yield from self._ask(key, folders=False, only=True)
        for one in listed.found:
            if isinstance(one, Item) and one.key == key:
                if not first:
                    self._take(one, key)
                return True
        return False

    def _level(self, start: str) -> Flow[None]:
        """Go through the keys and folders of one level."""
        while self.after < start + _END:
            listed = yield from self._ask(start, folders=True)
            for one in listed.found:
                if isinstance(one, str):
                    yield from self._folder(one, known=True)
                elif one.key > self.after:
                    if self._is_visible(one.key):
                        self._take(one, one.key)
                    self.after = one.key
                self._look_at_the_clock()
            self.after = start + _END if listed.resume is None else max(self.after, listed.resume)

    def _folder(self, folder: str, *, known: bool) -> Flow[None]:
        """Show a folder if something in it can be seen; `known`: there is something in it."""
        if self.after >= folder + _END:
            return
        reach = self._reach.below(self._caller, folder)
        seen = reach == "all" and known
        if reach != "none" and not seen:
            for start in self._reach.prefixes(self._caller, folder):
                seen = seen or (yield from self._keys(start, first=True))
        if seen:
            self._take(folder, folder + _END)
        self.after = folder + _END

    def _take(self, one: Item | str, end: str) -> None:
        if len(self.found) == self._wish.limit:
            raise _Full
        self.found.append(one)
        self.after = self.last = end

    def _is_visible(self, key: str) -> bool:
        return object_key(key, self._index) == key and bool(self._policy.decide(self._caller, key))

    def _look_at_the_clock(self) -> None:
        """Called after each name, so that every page gets further by at least one."""
        if self._spent + self._clock() - self._since > MAX_SECONDS:
            raise _Spent

    def _ask(self, start: str, *, folders: bool, only: bool = False) -> Flow[Listed]:
        """Ask for the next names that start so; with `only` for one."""
        if self._questions == 0 or self._clock() > self._ends:
            raise _Spent
        self._questions -= 1
        wanted = self._wish.limit - len(self.found) + 1
        whole = self._questions == MAX_QUESTIONS - 1 and wanted < MAX_NAMES  # most first pages need no more than these
        self._spent += self._clock() - self._since
        most = 1 if only else wanted if whole else MAX_NAMES
        listed = yield from list_keys(List(start, self.after, most, folders))
        self._since = self._clock()
        return listed
