"""`GET /-/contents/{id}`: content delivery, the address of a content id at this site, for callers who may read it."""

from __future__ import annotations

from functools import partial

from .. import paths, replies
from ..door import Door, Endpoint
from ..messages import Content, Flow, Lookup, Reply, Request, look_up
from ..policy.reach import Reach
from .arguments import flag, number
from .issuing import Issuing, check_renewed, inactive


def endpoint(issuing: Issuing | None, reach: Reach, *, active: bool) -> Endpoint:
    return Endpoint(("GET",), partial(_answer, issuing, reach, active))


def _answer(
    issuing: Issuing | None, reach: Reach, active: bool, door: Door, request: Request, now: float
) -> Flow[Reply]:
    if not active:
        return door.problem(request, 404, "no-catalogue", "this site has no catalogue")
    id_ = paths.decode(request.path).rpartition("/")[2]
    caller, credential = yield from door.caller(request, now)
    if not caller.signed_in and not reach.prefixes(caller, ""):  # then no id is worth a question
        return door.unauthorized(request, None)
    content = (yield from look_up(Lookup(id_))) if id_ else None
    key = paths.object_key(content.key, door.site.index_file) if content else None
    if content is None or not key:
        return door.problem(request, 404, "unknown-content", "there is no content of this id", caller=caller.label)
    if not door.policy.decide(caller, key):
        return door.refuse(request, caller)
    answer = _about(content, door.site.url + paths.encode(key))
    signed, asked = flag(request.query, "signed"), number(request.query, "expires_in", 0)
    if signed:
        if issuing is None:
            return inactive(door, request)
        check_renewed(door, caller, credential, now)
        expires = int(now) + issuing.lifetime(asked or issuing.max_lifetime)
        refused = issuing.too_many(door, request, caller, now)
        if refused is not None:
            return refused
        answer |= {"url": issuing.url(door, key, expires), "expires": expires}
    return replies.document(200, answer, "content", caller=caller.label)


def _about(content: Content, url: str) -> dict[str, object]:
    return {
        "id": content.id,
        "title": content.title,
        "contentType": content.content_type,
        "attributes": dict(content.attributes),
        "url": url,
    }
