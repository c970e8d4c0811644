"""What was taken back: people, sessions and single tokens that are refused although they verify.

The door looks every caller up in memory. The list is filled by its driver, from a state that several gateways share;
if that could not be read for too long, nobody who needs to be somebody is let in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from time import gmtime, strftime
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from .caller import Caller
from .errors import InvalidToken, Revoked, StateUnavailable
from .jose import json_object

Kind: TypeAlias = Literal["person", "session", "token"]
MAX_PASSED = 4096
"""Callers who were found clear of the list as it is, so that the next request of theirs costs one look."""
KINDS: tuple[Kind, ...] = ("person", "session", "token")


_NONE: Mapping[str, float] = {}
_ENDED = "the session was ended: sign in again"


class Revocation(NamedTuple):
    """One thing that was taken back.

    Attributes:
        kind: `person`: whatever they proved until `before`; `session`: by its `sid`, ours or the issuer's; `token`: by
            its `jti`.
        issuer: exact `iss`; "" for a session by our own `sid`.
        id: `sub`, `sid` or `jti`.
        before: of a person: what goes back to this moment or earlier does not count, in epoch seconds. One in the
            future bars them until then. 0 for the other kinds.
        ends: epoch seconds after which nothing that it concerns can be alive.
    """

    kind: Kind
    issuer: str
    id: str
    before: float
    ends: float

    @property
    def name(self) -> str:
        """What there is one entry of: another one of the same name takes its place, unless it ends sooner."""
        return f"{self.kind} {self.issuer} {json.dumps(self.id)[1:-1]}"  # no half characters, which no state holds


class Revocations:
    """The list in memory: for each kind, issuer -> id -> when it ends. Nothing leaves it before its end.

    Numbers and texts alone, and no tuple where one number does, so that a hundred thousand are some twenty megabytes
    and the garbage collector has nothing to look at.

    Args:
        leeways: issuer's exact URL -> seconds by which its clock may differ.
        stale: seconds that the list counts after it was read last.
    """

    def __init__(self, leeways: Mapping[str, float], stale: float) -> None:
        self._leeways, self.stale = leeways, stale
        self._people: dict[str, dict[str, tuple[float, float]]] = {}
        self._sessions: dict[str, dict[str, float]] = {}
        self._tokens: dict[str, dict[str, float]] = {}
        self._read = -math.inf
        self._passed: dict[int, Caller] = {}

    def __len__(self) -> int:
        return sum(len(ids) for kind in (self._people, self._sessions, self._tokens) for ids in kind.values())

    def __iter__(self) -> Iterator[Revocation]:
        """All of them; others may be added in the meantime, by another thread, too."""
        for kind, issuers in (("session", self._sessions), ("token", self._tokens)):
            for issuer, ids in list(issuers.items()):
                for id_ in list(ids):
                    yield Revocation(cast("Kind", kind), issuer, id_, 0.0, ids[id_])
        for issuer, people in list(self._people.items()):
            for id_ in list(people):
                yield Revocation("person", issuer, id_, *people[id_])

    def get(self, one: Revocation) -> Revocation | None:
        """What is known under the name of a revocation."""
        if one.kind == "person":
            found = self._people.get(one.issuer, {}).get(one.id)
            return None if found is None else one._replace(before=found[0], ends=found[1])
        ends = self._ids(one.kind).get(one.issuer, {}).get(one.id)
        return None if ends is None else one._replace(before=0.0, ends=ends)

    def adopt(self, other: Revocations) -> None:
        """Take over the list of earlier settings, until the state has been read."""
        self._people, self._sessions, self._tokens = other._people, other._sessions, other._tokens
        self._read, self._passed = other._read, {}

    def replace(self, found: Iterable[Revocation], now: float) -> None:
        """Take this list instead of the one before; `now` is when it was read, in epoch seconds."""
        self._people, self._sessions, self._tokens, self._passed = {}, {}, {}, {}
        self.add(found, now)

    def add(self, found: Iterable[Revocation], now: float | None = None) -> None:
        """Add what is new since; what ends later stays. `now` is when it was read, None if it was not all of it."""
        changed = now is not None and now < self._read  # what was over is not over yet
        for kind, issuer, id_, before, ends in found:
            changed = True
            if kind == "person":
                people = self._people.setdefault(issuer, {})
                if ends >= people.get(id_, (0.0, 0.0))[1]:
                    people[id_] = before, ends
            else:
                ids = self._ids(kind).setdefault(issuer, {})
                ids[id_] = max(ends, ids.get(id_, 0.0))
        if changed:  # last, and another one, because a thread that has looked before this may note its caller after it
            self._passed = {}
        self._read = self._read if now is None else now

    def forget_reading(self) -> None:
        """Say that the list is too old, whatever the time is."""
        self._read = -math.inf

    def forget(self, over: Iterable[Revocation]) -> None:
        """Leave out what is over, unless it has another end by now."""
        for one in over:
            if self.get(one) == one:
                issuers: Mapping[str, dict[str, Any]] = self._people if one.kind == "person" else self._ids(one.kind)
                del issuers[one.issuer][one.id]

    def _ids(self, kind: Kind) -> dict[str, dict[str, float]]:
        return self._sessions if kind == "session" else self._tokens

    def check(self, caller: Caller, now: float) -> None:
        """Let a caller pass of whom nothing was taken back.

        Args:
            caller: whose token or session has verified.
            now: epoch seconds.

        Raises:
            Revoked: they, their session or their token were taken back; `code` says which.
            StateUnavailable: the list is too old to say.
        """
        if abs(now - self._read) > self.stale:
            raise StateUnavailable("what was taken back could not be asked for too long")
        passed = self._passed
        if passed.get(id(caller)) is caller:
            return
        issuer, claims = caller.issuer_url, caller.claims
        people, sessions = self._people.get(issuer), self._sessions.get(issuer, _NONE)
        if people and (person := people.get(caller.subject)):
            self._check_person(person, caller, now)
        ours, theirs, token = claims.get("sid"), claims.get("op_sid"), claims.get("jti")
        if isinstance(ours, str) and (
            now < self._sessions.get("", _NONE).get(ours, 0.0)
            or now < sessions.get(ours, 0.0)  # the issuer's, of a token
        ):
            raise Revoked(_ENDED, code="revoked-session")
        if isinstance(theirs, str) and now < sessions.get(theirs, 0.0):
            raise Revoked(_ENDED, code="revoked-session")
        if isinstance(token, str) and now < self._tokens.get(issuer, _NONE).get(token, 0.0):
            raise Revoked("the token was taken back: get a new one", code="revoked-token")
        if len(passed) >= MAX_PASSED:
            passed.clear()
        passed[id(caller)] = caller

    def _check_person(self, found: tuple[float, float], caller: Caller, now: float) -> None:
        if now >= found[1]:
            return
        before = found[0] + self._leeways.get(caller.issuer_url, 0.0)
        proved = [caller.claims.get("iat", 0), caller.claims.get("auth_time", math.inf)]
        if any(not isinstance(moment, int | float) or moment <= before for moment in proved):
            detail = f"what this person had proved by {_moment(before)} was taken back: sign in anew at the issuer"
            raise Revoked(detail if found[0] <= now else _barred(found[0]), code="revoked-person")
        if now <= found[0]:
            raise Revoked(_barred(found[0]), code="revoked-person")


def _barred(until: float) -> str:
    return f"this person may not come in until {_moment(until)}"


def _moment(seconds: float) -> str:
    try:
        return strftime("%Y-%m-%d %H:%M UTC", gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return "a time that no calendar has"


def names_of(caller: Caller) -> list[str]:
    """The names of all entries that `Revocations.check` would refuse a caller for; none for an anonymous one."""
    if not caller.signed_in:
        return []
    issuer, claims = caller.issuer_url, caller.claims
    ours, theirs, token = claims.get("sid"), claims.get("op_sid"), claims.get("jti")
    found: tuple[tuple[Kind, str, object], ...] = (
        ("person", issuer, caller.subject),
        ("session", "", ours),
        ("session", issuer, ours),
        ("session", issuer, theirs),
        ("token", issuer, token),
    )
    return [Revocation(kind, of, id_, 0.0, 0.0).name for kind, of, id_ in found if isinstance(id_, str)]


def to_text(one: Revocation) -> str:
    """An entry as a state keeps it."""
    return json.dumps(one._asdict(), separators=(",", ":"))


def from_text(text: str) -> Revocation:
    """Read an entry of a state.

    Raises:
        ValueError: it is none, or one of a newer version.
    """
    try:
        members = json_object(text.encode(), "entry")
    except InvalidToken as error:
        raise ValueError("not an entry") from error
    kind, issuer, id_ = (members.get(name) for name in ("kind", "issuer", "id"))
    before, ends = members.get("before"), members.get("ends")
    if kind not in KINDS or not isinstance(issuer, str) or not isinstance(id_, str):
        raise ValueError("an entry of another kind")
    if not isinstance(before, int | float) or not isinstance(ends, int | float):
        raise ValueError("an entry without times")
    try:
        return Revocation(kind, issuer, id_, float(before), float(ends))
    except OverflowError as error:
        raise ValueError("an entry whose times are no times") from error
