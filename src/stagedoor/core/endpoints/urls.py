"""`POST /-/urls`: signs the URL of one object that the caller may read now."""

from __future__ import annotations

from functools import partial

from .. import replies
from ..door import Door, Endpoint
from ..errors import InvalidRequest
from ..messages import Flow, Reply, Request
from .arguments import check_origin, json_body, object_key
from .issuing import Issuing, check_renewed, inactive


def endpoint(issuing: Issuing | None) -> Endpoint:
    return Endpoint(("POST",), partial(_answer, issuing))


def _answer(issuing: Issuing | None, door: Door, request: Request, now: float) -> Flow[Reply]:
    if issuing is None:
        return inactive(door, request)
    check_origin(door, request)
    caller, credential = yield from door.caller(request, now)
    check_renewed(door, caller, credential, now)
    asked = json_body(request, "file", "?expires_in")
    key = _object(door, asked["file"])
    if not door.policy.decide(caller, key):
        return door.refuse(request, caller)
    expires = int(now) + issuing.lifetime(asked.get("expires_in", issuing.max_lifetime))
    refused = issuing.too_many(door, request, caller, now)
    if refused is not None:
        return refused
    content = {"signedUrl": issuing.url(door, key, expires), "expires": expires}
    return replies.document(201, content, "pass-issued", caller=caller.label)


def _object(door: Door, asked: object) -> str:
    if not isinstance(asked, str):
        raise InvalidRequest("file is the key of an object, as text", code="body")
    key = object_key(door, asked)
    if not key:
        raise InvalidRequest("no object can have this key", code="body")
    return key
