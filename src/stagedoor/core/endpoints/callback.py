"""`GET /-/callback`: where the issuer sends the browser back; ends a sign-in with a session.

Whatever is wrong with what comes back, no session begins, and the visitor gets a page with a way on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import partial

from .. import cookies, replies
from ..attempts import Attempt, Returned
from ..caller import ANONYMOUS, Caller
from ..door import Door, Endpoint
from ..errors import InvalidCredential, LoginFailed, Revoked, SessionTooLarge
from ..login import SignedIn
from ..messages import Flow, Pairs, Reply, Request
from ..session import Sessions, name_of
from ..tokens import number_of_seconds
from .arguments import parameter
from .login import SignIn, begin, inactive, login_at, looks_only, status_of
from .logout import MAX_REMEMBERED, forget_person
from .renew import by_issuer

MAX_RESTARTS = 3
"""How often a sign-in is begun again by itself, where other tabs displaced its cookie."""
AGAIN_WITHIN = 60
MAX_AGAIN = 3
"""So many sign-ins for one address within `AGAIN_WITHIN` seconds are a circle."""
MAX_COUNTED = 40
_DONE = re.compile(rb"\.([0-9a-f]{6})-([0-9a-f]{1,12})(?=\.|\Z)")
_ANSWER = ("code", "iss", "error", "error_description")


def endpoint(sign_in: SignIn | None, entropy: Callable[[int], bytes]) -> Endpoint:
    return Endpoint(("GET",), partial(_answer, sign_in, entropy))


def _answer(
    sign_in: SignIn | None, entropy: Callable[[int], bytes], door: Door, request: Request, now: float
) -> Flow[Reply]:
    sessions = door.sessions
    if sign_in is None or sessions is None:
        return inactive(door, request)
    if looks_only(request):
        detail = "only a browser that shows this address can end a sign-in with it"
        return door.problem(request, 400, "login-look", detail)
    state = parameter(request.query, "state") or ""
    returned = sign_in.attempts.find(request.headers, state, now)
    if returned is None or returned.attempt is None:
        return (yield from _without_attempt(sign_in, door, request, returned, now))
    attempt, client = returned.attempt, sign_in.login.clients.get(returned.issuer)
    used_up = sign_in.attempts.end(request.headers, attempt, now)
    if door.revocations is not None:
        door.revocations.check(ANONYMOUS, now)  # no code is spent while nobody knows what was taken back
    if attempt.renews:
        return (yield from by_issuer(sign_in, door, request, attempt, _said(request), used_up, now))
    try:
        if client is None or returned.issuer != attempt.issuer:
            raise LoginFailed("people do not sign in at this issuer any more", code="login-issuer")
        signed_in = yield from sign_in.login.redeem(client, attempt, _said(request), now)
        if door.revocations is not None:
            door.revocations.check(signed_in.caller, now)
        sid = entropy(16)
        session = _begin_session(door, sessions, signed_in, sid, now)
    except (LoginFailed, Revoked) as error:
        return _failed(door, request, error, attempt, used_up)
    except SessionTooLarge as error:
        other = f"{login_at(door, attempt.next)}&prompt=login"
        return door.problem(request, 422, error.code, str(error), extra=used_up, sign_in=other)
    done = _Done(door, request, signed_in.caller, now)
    count = done.cookie(attempt.next, now)
    others = len(session) + len(count) + MAX_REMEMBERED
    kept = sign_in.refresh_tokens.keep(
        signed_in.refresh_token, signed_in.caller, name_of(sid), sessions.lifetime, others
    )
    fields = (
        *sign_in.attempts.end(request.headers, attempt, now, others + sum(len(value) for _, value in kept)),
        *kept,
        (b"set-cookie", session.encode()),
        (b"set-cookie", count.encode()),
        *(door.token_removal if done.same_person else forget_person(door, request)),
    )
    if done.times(attempt.next) >= MAX_AGAIN:
        return _break(door, request, attempt, signed_in, fields, now)
    return replies.redirect(door.site.url + attempt.next, "signed-in", fields, caller=signed_in.caller.label)


def _without_attempt(
    sign_in: SignIn, door: Door, request: Request, returned: Returned | None, now: float
) -> Flow[Reply]:
    """Answer where this browser has no cookie of the sign-in: another tab took its place, or somebody else began it."""
    if _session_problem(door, request, now) == "":
        return replies.redirect(door.site.url + (returned.next if returned else "/"), "login-over")
    client = sign_in.login.clients.get(returned.issuer) if returned else None
    if returned is None or client is None:
        detail = "this address does not belong to a sign-in that was begun at this site"
        return door.problem(request, 400, "login-state", detail, sign_in=login_at(door, "/"))
    keeps_none = returned.restarts > 0 and not sign_in.attempts.any_cookie(request.headers)
    if keeps_none or returned.restarts >= MAX_RESTARTS:
        detail = (
            "your browser does not send back the cookie with which this sign-in began; let it keep cookies of this site"
        )
        return door.problem(request, 400, "login-cookie", detail, sign_in=login_at(door, returned.next))
    if parameter(request.query, "waited") is None and sign_in.attempts.any_open(request.headers, now):
        return _wait(door, parameter(request.query, "state") or "")
    return (yield from begin(sign_in, request._replace(query=b""), client, returned.next, now, returned.restarts + 1))


def _wait(door: Door, state: str) -> Reply:
    """Wait for the tab that displaced this one; many that begin again at once would displace each other without end."""
    from ...pages import sign_in as pages

    address = f"{door.site.url}/-/callback?state={state}&waited=1"  # of our alphabet, because it was unsealed
    seconds = 1 + int(_mark(state), 16) % 3  # not all tabs at the same moment
    refresh = ((b"refresh", f"{seconds}; url={address}".encode()),)
    return replies.html(200, pages.wait(door.name, address), "login-waits", refresh)


def _said(request: Request) -> Mapping[str, str]:
    """What the issuer says in the address."""
    found = {name: parameter(request.query, name) for name in _ANSWER}
    return {name: value for name, value in found.items() if value is not None}


def _begin_session(door: Door, sessions: Sessions, signed_in: SignedIn, sid: bytes, now: float) -> str:
    """The Set-Cookie value of a session."""
    made = number_of_seconds(signed_in.caller.claims, "iat") or 0.0
    origin: dict[str, object] = {"iat": int(min(now, made))}  # our clock may be ahead of theirs who revoke people
    if signed_in.op_sid:
        origin["op_sid"] = signed_in.op_sid
    if signed_in.auth_time is not None:
        origin["auth_time"] = signed_in.auth_time
    claims = door.policy.session_claims(signed_in.caller)
    return sessions.set_cookie(signed_in.caller, claims, sid, now, origin=origin, renews=True)


def _failed(door: Door, request: Request, error: LoginFailed | Revoked, attempt: Attempt, extra: Pairs) -> Reply:
    return door.problem(
        request, status_of(error), error.code, str(error), extra=extra, sign_in=login_at(door, attempt.next)
    )


def _session_problem(door: Door, request: Request, now: float) -> str:
    """Why the session that the browser has sent is none; "" if it is good."""
    try:
        caller = door.callers.session(request, now)
        if caller is not None and door.revocations is not None:
            door.revocations.check(caller, now)
    except InvalidCredential as error:
        return error.code
    return "absent" if caller is None else ""


# --- no circles


class _Done:
    """The sign-ins of the last minute, which a cookie counts, this one included.

    Args:
        door: of the site.
        request: whose cookies are read.
        caller: who has signed in now.
        now: epoch seconds.

    Attributes:
        same_person: nobody else has been signed in at this browser, as far as its cookies say.
    """

    def __init__(self, door: Door, request: Request, caller: Caller, now: float) -> None:
        self._name, self._secure = f"{door.site.sources.session}-done", door.site.url.startswith("https:")
        self._who, self._marks, before = _mark(f"{caller.issuer_url} {caller.subject}"), list[tuple[str, int]](), ""
        for _, value in cookies.read(request.headers.get(b"cookie", ()), frozenset((self._name.encode(),))):
            before = value[:_MARK].decode("latin-1")
            found = ((one[1].decode(), int(one[2], 16)) for one in _DONE.finditer(value))
            self._marks = [(mark, when) for mark, when in found if abs(now - when) < AGAIN_WITHIN]
        self.same_person = self._who == (_signed_in_before(door, request, now) or before)
        if before != self._who:  # somebody else has signed in since, so no circle led here
            self._marks = []

    def cookie(self, next_: str, now: float) -> str:
        """Count a sign-in for an address; returns the Set-Cookie value that says so."""
        self._marks = [*self._marks, (_mark(next_), int(now))][-MAX_COUNTED:]
        value = ".".join((self._who, *(f"{mark}-{when:x}" for mark, when in self._marks)))
        return cookies.write(self._name, value, AGAIN_WITHIN, secure=self._secure)

    def times(self, next_: str) -> int:
        """How often people have signed in for an address."""
        return sum(mark == _mark(next_) for mark, _ in self._marks)


_MARK = 6


def _mark(text: str) -> str:
    """A short hash; that two texts have the same one now and then does no harm."""
    return hashlib.sha256(text.encode()).hexdigest()[:_MARK]


def _signed_in_before(door: Door, request: Request, now: float) -> str:
    """The mark of the person whose session the browser has sent; "" for nobody."""
    before = door.callers.session_owner(request, now)
    return _mark(f"{before.issuer_url} {before.subject}") if before else ""


def _break(door: Door, request: Request, attempt: Attempt, signed_in: SignedIn, fields: Pairs, now: float) -> Reply:
    """Say why the browser comes back again and again, instead of sending it there once more."""
    from ...pages import sign_in as pages

    ways = (("Try again", door.site.url + attempt.next), ("Sign out", f"{door.site.url}/-/logout"))
    why = _WHY_AGAIN.get(_session_problem(door, request, now), _WHY_AGAIN["session"])
    body = pages.again(door.name, why, ways)
    return replies.html(200, body, "login-circle", fields, caller=signed_in.caller.label)


_WHY_AGAIN = {
    "absent": "Your browser does not send back this site's cookie, so it is forgotten at once that you are signed in. "
    "Let it keep cookies of this site, and open the site under this very address.",
    "session-signature": "This site is answered by several servers that do not accept each other's sessions. "
    "Its owner must give them the same session_keys.",
    "session-outdated": "This site is answered by servers with different settings. Try again in a moment.",
    "token-expired": "Sessions of this site are over as soon as they begin. Its owner must set the servers' clocks.",
    "": "You are signed in, and yet the page that you asked for wants you to sign in again.",
    "session": "Your session was not accepted by this site. Its owner must look.",
}
"""What a sign-in that follows another one at once finds out about the session of the one before."""
