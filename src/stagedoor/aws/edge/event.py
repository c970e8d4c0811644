"""Lambda@Edge events: from CloudFront's shape to a `Request`, and from an answer to CloudFront's shape.

Source: CloudFront Developer Guide, "Lambda@Edge event structure" and "Restrictions on edge functions".
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

from ...core import replies
from ...core.errors import StagedoorError
from ...core.messages import Reply, Request, collect

Event: TypeAlias = dict[str, Any]

MAX_ANSWER_BYTES = 40_960
"""An answer made at viewer-request, header fields included."""
_NOT_OURS = frozenset((b"content-length", b"connection", b"keep-alive", b"transfer-encoding", b"via"))
"""Header fields that CloudFront sets itself, or lets no function set."""
_HTTPS_ALONE = (b"strict-transport-security", b"max-age=31536000")
"""As the distribution's response-headers policy says it of objects; what a function answers is not CloudFront's."""


class Malformed(StagedoorError):
    """An event that is none of CloudFront's viewer requests."""

    code = "event"


def read(event: object) -> tuple[Request, Event, str]:
    """Read a viewer-request event.

    Returns:
        The request; CloudFront's own form of it, to be sent on; the distribution's domain name.

    Raises:
        Malformed: anything about it is not as CloudFront makes it, or the function was attached to another event.
    """
    try:
        cf = event["Records"][0]["cf"]  # type: ignore[index]  # whatever it is, the next lines would say
        raw, config = cf["request"], cf["config"]
        kind, domain = _text(config["eventType"]), _text(config["distributionDomainName"])
        lines = [
            (name.lower().encode("latin-1"), _text(field["value"]).encode())
            for name, fields in raw["headers"].items()
            for field in fields
        ]
        path, query = _text(raw["uri"]).encode(), _text(raw["querystring"]).encode()
        request = Request(_text(raw["method"]), path, query, collect(lines), b"", _text(raw["clientIp"]))
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise Malformed(f"this is no viewer request of CloudFront: {type(error).__name__}") from None
    if kind != "viewer-request":  # behind the cache, whoever comes second would be asked nothing
        raise Malformed("attach this function to viewer-request, and to no other event")
    return request, raw, domain


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def written(reply: Reply, method: str) -> Event:
    """An answer that CloudFront sends without asking anybody else; a longer one than it takes becomes a bare 414."""
    answer = _written(reply, method)
    if len(json.dumps(answer)) <= MAX_ANSWER_BYTES:
        return answer
    return _written(replies.problem(414, "target-too-long", "this address is too long to be answered"), method)


def _written(reply: Reply, method: str) -> Event:
    headers: dict[str, list[dict[str, str]]] = {}
    for name, value in (*reply.headers, _HTTPS_ALONE):
        if name not in _NOT_OURS:
            field = {"key": name.decode("latin-1"), "value": value.decode("latin-1")}
            headers.setdefault(name.decode("latin-1"), []).append(field)
    answer: Event = {"status": str(reply.status), "statusDescription": replies.phrase(reply.status), "headers": headers}
    if reply.body and method != "HEAD":
        answer |= {"body": reply.body.decode("utf-8"), "bodyEncoding": "text"}
    return answer
