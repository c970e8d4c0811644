"""`GET /-/callback`: where the issuer sends the browser back; ends a sign-in with a session.

Whatever is wrong with what comes back, no session begins, and the visitor gets a page with a way on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import quote

from .. import cookies, replies
from ..attempts import Attempt, Returned
from ..door import Door, Endpoint
from ..errors import InvalidCredential, LoginFailed, SessionTooLarge
from ..login import SignedIn
from ..messages import Flow, Pairs, Reply, Request
from ..session import Sessions
from .arguments import parameter
from .login import SignIn, begin, inactive, looks_only
from .logout import forget_person

MAX_RESTARTS = 3
"""How often a sign-in is begun again by itself, where other tabs displaced its cookie."""
AGAIN_WITHIN = 60
MAX_AGAIN = 3
"""So many sign-ins for one address within `AGAIN_WITHIN` seconds are a circle."""
MAX_COUNTED = 40
_COUNTED = re.compile(r"([0-9a-f]{8})-(\d{1,12})")
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
    used_up = sign_in.attempts.end(attempt)
    try:
        if client is None or returned.issuer != attempt.issuer:
            raise LoginFailed("people do not sign in at this issuer any more", code="login-issuer")
        found = {name: parameter(request.query, name) for name in _ANSWER}
        answer = {name: value for name, value in found.items() if value is not None}
        signed_in = yield from sign_in.login.redeem(client, attempt, answer, now)
        session = _begin_session(door, sessions, signed_in, entropy, now)
    except LoginFailed as error:
        return _failed(door, request, error, attempt, used_up)
    except SessionTooLarge as error:
        return door.problem(request, 422, error.code, str(error), extra=used_up)
    fields = (
        *used_up,
        (b"set-cookie", session.encode()),
        *door.token_removal,
        *_of_another(door, request, signed_in, now),
    )
    return _welcome(door, request, attempt, signed_in, fields, now)


def _without_attempt(
    sign_in: SignIn, door: Door, request: Request, returned: Returned | None, now: float
) -> Flow[Reply]:
    """Answer where this browser has no cookie of the sign-in: another tab took its place, or somebody else began it."""
    if _session_problem(door, request, now) == "":
        return replies.redirect(door.site.url + (returned.next if returned else "/"), "login-over")
    client = sign_in.login.clients.get(returned.issuer) if returned else None
    if returned is None or client is None:
        detail = "this address does not belong to a sign-in that was begun at this site"
        return door.problem(request, 400, "login-state", detail, sign_in=_login_at(door, "/"))
    keeps_none = returned.restarts > 0 and not sign_in.attempts.any_cookie(request.headers)
    if keeps_none or returned.restarts >= MAX_RESTARTS:
        detail = (
            "your browser does not send back the cookie with which this sign-in began; let it keep cookies of this site"
        )
        return door.problem(request, 400, "login-cookie", detail, sign_in=_login_at(door, returned.next))
    return (yield from begin(sign_in, request._replace(query=b""), client, returned.next, now, returned.restarts + 1))


def _begin_session(
    door: Door, sessions: Sessions, signed_in: SignedIn, entropy: Callable[[int], bytes], now: float
) -> str:
    """The Set-Cookie value of a session."""
    origin: dict[str, object] = {"iat": int(now)}
    if signed_in.op_sid:
        origin["op_sid"] = signed_in.op_sid
    if signed_in.auth_time is not None:
        origin["auth_time"] = signed_in.auth_time
    return sessions.set_cookie(
        signed_in.caller, door.policy.session_claims(signed_in.caller), entropy(16), now, origin=origin
    )


def _of_another(door: Door, request: Request, signed_in: SignedIn, now: float) -> Pairs:
    """What is to be forgotten if somebody else was signed in before."""
    try:
        before = door.session(request, now)
    except InvalidCredential:
        before = None
    if before is None or (before.issuer_url, before.subject) == (signed_in.caller.issuer_url, signed_in.caller.subject):
        return ()
    return forget_person(door, request)


def _failed(door: Door, request: Request, error: LoginFailed, attempt: Attempt, extra: Pairs) -> Reply:
    status = 502 if error.code in ("login-client", "login-answer") else 403
    return door.problem(request, status, error.code, str(error), extra=extra, sign_in=_login_at(door, attempt.next))


def _login_at(door: Door, next_: str) -> str:
    return f"{door.site.url}/-/login?next={quote(next_, safe='')}"


def _session_problem(door: Door, request: Request, now: float) -> str:
    """Why the session that the browser has sent is none; "" if it is good."""
    try:
        return "" if door.session(request, now) is not None else "absent"
    except InvalidCredential as error:
        return error.code


# --- no circles


def _welcome(door: Door, request: Request, attempt: Attempt, signed_in: SignedIn, fields: Pairs, now: float) -> Reply:
    """Send the browser where it wanted to go; if it comes back again and again, say why instead."""
    counter, caller = f"{door.site.sources.session}-done", signed_in.caller.label
    mark = hashlib.sha256(attempt.next.encode()).hexdigest()[:8]
    counted = [*_counted(request, counter, now), (mark, int(now))][-MAX_COUNTED:]
    value = ".".join(f"{name}-{when}" for name, when in counted)
    secure = door.site.url.startswith("https:")
    fields += ((b"set-cookie", cookies.write(counter, value, AGAIN_WITHIN, secure=secure).encode()),)
    if sum(name == mark for name, _ in counted) < MAX_AGAIN:
        return replies.redirect(door.site.url + attempt.next, "signed-in", fields, caller=caller)
    from ...pages import sign_in as pages

    ways = (("Try again", door.site.url + attempt.next), ("Sign out", f"{door.site.url}/-/logout"))
    why = _WHY_AGAIN.get(_session_problem(door, request, now), _WHY_AGAIN["session"])
    return replies.html(200, pages.again(door.name, why, ways), "login-circle", fields, caller=caller)


def _counted(request: Request, counter: str, now: float) -> Iterator[tuple[str, int]]:
    """The sign-ins of the last minute: a short hash of the address, and when."""
    for _, value in cookies.read(request.headers.get(b"cookie", ()), frozenset((counter.encode(),))):
        for entry in value.decode("latin-1").split("."):
            found = _COUNTED.fullmatch(entry)
            if found and abs(now - int(found[2])) < AGAIN_WITHIN:
                yield found[1], int(found[2])


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
