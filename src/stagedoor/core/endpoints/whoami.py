"""`GET /-/whoami`: the caller as the door sees them."""

from __future__ import annotations

from .. import replies
from ..door import Door, Endpoint
from ..messages import Flow, Reply, Request


def endpoint() -> Endpoint:
    return Endpoint(("GET",), _answer)


def _answer(door: Door, request: Request, now: float) -> Flow[Reply]:
    caller, credential = yield from door.caller(request, now)
    if credential is None:
        return replies.document(200, {"signedIn": False}, "whoami")
    about = {
        "signedIn": True,
        "issuer": caller.issuer,
        "sub": caller.subject,
        "groups": sorted(caller.values("groups")),
        "claims": door.policy.session_claims(caller),
        "expires": int(caller.expires),
        "credential": credential.kind,
    }
    if door.sessions is not None and credential.kind == "session":
        about |= door.sessions.times(caller)
    return replies.document(200, about, "whoami", caller=caller.label)
