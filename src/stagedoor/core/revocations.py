"""What was taken back: people, sessions and single tokens that are refused although they verify.

The door looks every caller up in memory. The list is filled by its driver, from a state that several gateways share;
if that could not be read for too long, nobody who needs to be somebody is let in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from .caller import Caller
from .errors import InvalidToken, Revoked, StateUnavailable
from .jose import json_object

Kind: TypeAlias = Literal["person", "session", "token"]
KINDS: tuple[Kind, ...] = ("person", "session", "token")


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
        """What there is one entry of: another one of the same name takes its place."""
        return f"{self.kind} {self.issuer} {self.id}"


class Revocations:
    """The list in memory.

    Args:
        leeways: issuer's exact URL -> seconds by which its clock may differ.
        stale: seconds that the list counts after it was read last.
    """

    def __init__(self, leeways: Mapping[str, float], stale: float) -> None:
        self._leeways, self.stale = leeways, stale
        self._found: dict[str, tuple[float, float]] = {}
        self._read = -math.inf

    def __len__(self) -> int:
        return len(self._found)

    def adopt(self, other: Revocations) -> None:
        """Take over the list of earlier settings, until the state has been read."""
        self._found, self._read = dict(other._found), other._read

    def replace(self, found: Iterable[Revocation], now: float) -> None:
        """Take this list instead of the one before; `now` is when it was read, in epoch seconds."""
        self._found = {one.name: (one.before, one.ends) for one in found if one.ends > now}
        self._read = now

    def add(self, found: Iterable[Revocation], now: float | None = None) -> None:
        """Add what is new since; `now` is when it was read, None if it was not."""
        for one in found:
            self._found[one.name] = (one.before, one.ends)
        self._read = self._read if now is None else now

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
        if not self._found:
            return
        self._check_person(caller, now)
        if any(self._holds(name, now) for name in _sessions_of(caller)):
            raise Revoked("the session was ended", code="revoked-session")
        token = caller.claims.get("jti")
        if isinstance(token, str) and self._holds(f"token {caller.issuer_url} {token}", now):
            raise Revoked("the token was taken back", code="revoked-token")

    def _holds(self, name: str, now: float) -> bool:
        found = self._found.get(name)
        return found is not None and now < found[1]

    def _check_person(self, caller: Caller, now: float) -> None:
        found = self._found.get(f"person {caller.issuer_url} {caller.subject}")
        if found is None or now >= found[1]:
            return
        before = found[0] + self._leeways.get(caller.issuer_url, 0.0)
        proved = [caller.claims.get("iat", 0), caller.claims.get("auth_time", math.inf)]
        if any(not isinstance(moment, int | float) or moment <= before for moment in proved):
            raise Revoked("the access of this person was taken back", code="revoked-person")
        if now <= found[0]:
            raise Revoked("this person may not come in for a time", code="revoked-person")


def _sessions_of(caller: Caller) -> Iterator[str]:
    """The names of entries about the session of a caller: by our `sid`, and by the issuer's."""
    ours, theirs = caller.claims.get("sid"), caller.claims.get("op_sid")
    if isinstance(ours, str):
        yield f"session  {ours}"
        yield f"session {caller.issuer_url} {ours}"  # of a token
    if isinstance(theirs, str):
        yield f"session {caller.issuer_url} {theirs}"


def to_text(one: Revocation) -> str:
    """An entry as a state keeps it."""
    return json.dumps(one._asdict(), separators=(",", ":"), ensure_ascii=False)


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
    return Revocation(kind, issuer, id_, before, ends)
