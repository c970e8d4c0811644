"""A list that a program's own thread reads: what it does with entries that it cannot read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stagedoor.core.caller import Caller
from stagedoor.core.errors import Revoked, StateUnavailable
from stagedoor.core.messages import Entry, Keep
from stagedoor.core.revocations import Revocation, Revocations, to_text
from stagedoor.settings.following import Following
from stagedoor.state.port import MAX_ENTRIES, PAGE, State
from tests.helpers.support import ISSUER, NOW

STALE = 60.0
NEWER = Keep("x", '{"kind": "planet"}', NOW + 1e6)


class Listed(State):
    """A state in memory, and how many questions it was asked."""

    def __init__(self, *entries: Keep) -> None:
        self.entries: list[Entry] = []
        self.asked = 0
        self.put_all(entries, NOW)

    def put_all(self, entries: Sequence[Keep], now: float, most: int = MAX_ENTRIES) -> int:
        self.entries += [Entry(number, *one) for number, one in enumerate(entries, len(self.entries) + 1)]
        return len(self.entries)

    def after(self, sequence: int) -> Sequence[Entry]:
        self.asked += 1
        return self.entries[sequence : sequence + PAGE]

    def time(self) -> float:
        return NOW

    def close(self) -> None:
        pass


def revoked(sub: str) -> Keep:
    one = Revocation("person", ISSUER, sub, NOW, NOW + 1e6)
    return Keep(one.name, to_text(one), one.ends)


def check(following: Following, sub: str, now: float) -> None:
    following.check(Caller("staff", ISSUER, {"sub": sub, "iat": NOW}), now)


def test_what_can_be_read_counts_beside_what_is_of_a_newer_version() -> None:
    """It counts at once, and not only when the list is too old for anybody to be let in."""
    state, now = Listed(), NOW
    following = Following(state, Revocations({}, STALE), lambda: now)
    following.read()
    check(following, "ann", now)
    state.put_all((NEWER, revoked("ann"), *(revoked(f"{number}") for number in range(PAGE)), revoked("ben")), now)
    following.read()
    for sub in ("ann", "ben"):
        with pytest.raises(Revoked):
            check(following, sub, now)
    state.put_all((revoked("cem"),), now)
    asked = state.asked
    following.read()
    assert state.asked == asked + 1  # what was read is not read again
    with pytest.raises(Revoked):
        check(following, "cem", now)
    now += STALE + 1
    following.read()
    with pytest.raises(StateUnavailable):
        check(following, "dan", now)


def test_what_is_over_and_cannot_be_read_concerns_nobody() -> None:
    state, now = Listed(NEWER._replace(ends=NOW + 5)), NOW
    following = Following(state, Revocations({}, STALE), lambda: now)
    following.read()
    with pytest.raises(StateUnavailable):
        check(following, "ann", now)
    now += 5
    following.read()
    check(following, "ann", now)
