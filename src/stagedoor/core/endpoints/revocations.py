"""`/-/revocations`: those whom `[admin]` names take access back, and see what was taken back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from .. import replies
from ..caller import Caller
from ..door import Door, Endpoint
from ..errors import InvalidRequest, WrongOrigin
from ..messages import Flow, Keep, Recall, Reply, Request, keep, recall
from ..revocations import Kind, Revocation, from_text, to_text
from .arguments import json_body, number

TOKEN_LIFE = 366 * 86_400.0
"""Seconds that a bearer token may be expected to live; a revocation is kept so long."""
SID_LIFE = 31 * 86_400.0
"""The same for a session, and a token that names one; of the issuer's some thousand may end in a day."""
MAX_NUMBER = 2**53 - 1
"""Sequence numbers are milliseconds since 1970, or greater; readers of JSON keep whole numbers up to this one."""
_NAMES: Mapping[str, Kind] = {"sub": "person", "sid": "session", "jti": "token"}


class Admins(NamedTuple):
    """Who may take access back, and for how long it has to be remembered.

    Attributes:
        refusal: why a caller is no admin; "" if they are one.
        issuers: exact URL of an issuer by its name, and by its URL.
        session: seconds that a session lasts.
    """

    refusal: Callable[[Caller], str]
    issuers: Mapping[str, str]
    session: float


def endpoint(admins: Admins | None) -> Endpoint:
    return Endpoint(("GET", "POST"), partial(_answer, admins))


def revocation(
    kind: Kind, issuer: str, id_: str, now: float, *, until: float | None = None, session: float = 0.0
) -> Revocation:
    """Make an entry that lasts as long as anything that it concerns.

    Args:
        kind, issuer, id_: see `Revocation`.
        now: epoch seconds.
        until: of a person: bar them until then; None: what they have proved until now does not count.
        session: seconds that a session lasts.
    """
    before = (now if until is None else max(now, until)) if kind == "person" else 0.0
    lasts = SID_LIFE if kind == "session" else TOKEN_LIFE
    return Revocation(kind, issuer, id_, before, max(now, before) + max(session, lasts))


def _answer(admins: Admins | None, door: Door, request: Request, now: float) -> Flow[Reply]:
    if door.revocations is None or admins is None:
        detail = "nothing can be taken back at this site; that needs [state] and [admin]"
        return door.problem(request, 404, "revocations-inactive", detail)
    _check_own_origin(door, request)
    caller, _ = yield from door.caller(request, now)
    if not caller.signed_in:
        return door.unauthorized(request, None)
    why = admins.refusal(caller)
    if why:
        return door.problem(request, 403, "denied", f"[admin] does not name you: {why}", caller=caller.label)
    if request.method == "POST":
        return (yield from _revoke(admins, request, caller, now))
    return (yield from _list(request, caller, now))


def _check_own_origin(door: Door, request: Request) -> None:
    """Refuse pages of all other origins, also those that `[cors]` lists."""
    origin, site = request.headers.get(b"origin"), request.headers.get(b"sec-fetch-site", ())
    if (origin and origin != [door.site.url.encode()]) or not {b"same-origin", b"none"}.issuperset(site):
        raise WrongOrigin("access is taken back from the site's own pages alone")


def _revoke(admins: Admins, request: Request, caller: Caller, now: float) -> Flow[Reply]:
    asked = json_body(request, "?sub", "?sid", "?jti", "?issuer", "?until")
    named = [name for name in _NAMES if name in asked]
    values = [asked[name] for name in named]
    if len(named) != 1 or not all(isinstance(value, str) and 0 < len(value) <= 255 for value in values):
        raise InvalidRequest("name one of sub, sid and jti, by a text of up to 255 characters", code="body")
    until = asked.get("until")
    if until is not None and (named != ["sub"] or isinstance(until, bool) or not isinstance(until, int | float)):
        raise InvalidRequest("until goes with sub, and is a time in epoch seconds", code="body")
    if until is not None and until > MAX_NUMBER:  # some states hold no greater one, and could write nothing else then
        raise InvalidRequest(f"until is at most {MAX_NUMBER}", code="body")
    issuer = _issuer(admins, asked.get("issuer"), named[0])
    found = revocation(_NAMES[named[0]], issuer, str(values[0]), now, until=until, session=admins.session)
    yield from keep(Keep(found.name, to_text(found), found.ends))
    return replies.document(201, _shown(found), "revoked", caller=caller.label)


def _issuer(admins: Admins, asked: object, name: str) -> str:
    if asked is None and (name == "sid" or len(set(admins.issuers.values())) == 1):
        return "" if name == "sid" else next(iter(admins.issuers.values()))
    if not isinstance(asked, str) or asked not in admins.issuers:
        raise InvalidRequest("issuer is the name or URL of one of the site's issuers", code="body")
    return admins.issuers[asked]


def _list(request: Request, caller: Caller, now: float) -> Flow[Reply]:
    after = number(request.query, "after", 1, most=MAX_NUMBER) - 1 if b"after" in request.query else 0
    recalled = yield from recall(Recall(after))
    found = []
    for entry in recalled.found:
        try:
            one = from_text(entry.text)
        except ValueError:
            continue
        if one.ends > now:
            found.append(_shown(one))
    last = recalled.found[-1].sequence + 1 if recalled.more else None
    return replies.document(200, {"revocations": found, "after": last}, "revocations", caller=caller.label)


def _shown(one: Revocation) -> dict[str, object]:
    name = next(name for name, kind in _NAMES.items() if kind == one.kind)
    shown: dict[str, object] = {name: one.id, "ends": int(one.ends)}
    if one.issuer:
        shown["issuer"] = one.issuer
    if one.kind == "person":
        shown["before"] = int(one.before)
    return shown
