"""`POST /-/session`: turns the bearer token that a frontend holds into our cookie."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .. import credentials, replies
from ..caller import Caller
from ..credentials import Sources
from ..door import Door, Endpoint
from ..errors import SessionTooLarge
from ..messages import Flow, Reply, Request
from .arguments import check_origin

_HEADER_ONLY = Sources(("header",), session="")


def endpoint(entropy: Callable[[int], bytes]) -> Endpoint:
    return Endpoint(("POST",), partial(_answer, entropy))


def _answer(entropy: Callable[[int], bytes], door: Door, request: Request, now: float) -> Flow[Reply]:
    check_origin(door, request)
    credential = credentials.find(request.headers, b"", _HEADER_ONLY)
    if credential is None or credential.kind != "header":
        return door.unauthorized(request, None)
    if door.sessions is None:
        return door.problem(request, 404, "session-inactive", "sessions are not active on this site")
    caller = yield from door.callers.verify(credential.value, now)
    try:
        claims, origin = door.policy.session_claims(caller), _origin(caller)
        cookie = door.sessions.set_cookie(caller, claims, entropy(16), now, origin=origin)
    except SessionTooLarge as error:
        return door.problem(request, 422, error.code, str(error), caller=caller.label)
    headers = (*replies.base_headers(), (b"set-cookie", cookie.encode()))
    return Reply(204, headers, b"", "session", caller.label)


def _origin(caller: Caller) -> dict[str, object]:
    """What names the token that a session was made from, so that taking back the one takes back the other."""
    jti, sid = caller.claims.get("jti"), caller.claims.get("sid")
    return {
        "iat": _moment(caller, "iat"),
        **({"auth_time": _moment(caller, "auth_time")} if "auth_time" in caller.claims else {}),
        **({"jti": jti} if isinstance(jti, str) else {}),
        **({"op_sid": sid} if isinstance(sid, str) else {}),
    }


def _moment(caller: Caller, name: str) -> int:
    """A moment in the token. One that it does not say, or not by a number, counts as old, as for the token itself."""
    found = caller.claims.get(name)
    return int(found) if isinstance(found, int | float) and 0 <= found < 2**53 else 0
