"""Lambda@Edge events: from CloudFront's shape to a `Request`, and from an answer to CloudFront's shape.

Source: CloudFront Developer Guide, "Lambda@Edge event structure" and "Restrictions on edge functions".
"""

from __future__ import annotations

import json

from ...core import replies
from ...core.messages import Reply, Request, collect
from ..events import Event, malformed, mended, text

MAX_ANSWER_BYTES = 40_960
"""Limit of an answer made at viewer-request, header fields included."""
_NOT_OURS = frozenset((b"content-length", b"connection", b"keep-alive", b"transfer-encoding", b"via"))
"""Header fields that CloudFront sets itself, or that no function may set."""
_HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")
"""Objects get it from the distribution's response-headers policy, which does not cover a function's own answers."""


def read(event: object) -> tuple[Request, Event, str]:
    """Read a viewer-request event.

    Returns:
        The request; the same request in CloudFront's form, to be sent on; the distribution's domain name.

    Raises:
        InvalidRequest: CloudFront makes no such event, or the function is attached to another kind of event.
    """
    try:
        cf = event["Records"][0]["cf"]  # type: ignore[index]  # of any other type it is refused below
        raw, config = _mended(cf["request"]), cf["config"]
        kind, domain = text(config["eventType"]), text(config["distributionDomainName"])
        lines = [
            (name.lower().encode("latin-1"), text(field["value"]).encode())
            for name, fields in raw["headers"].items()
            for field in fields
        ]
        path, query = text(raw["uri"]).encode(), text(raw["querystring"]).encode()
        request = Request(text(raw["method"]), path, query, collect(lines), b"", text(raw["clientIp"]))
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise malformed(f"this is not a viewer request of CloudFront: {type(error).__name__}") from None
    if kind != "viewer-request":  # behind the cache only the first caller would be checked
        raise malformed("attach this function to viewer-request, and to no other event")
    return request, raw, domain


def _mended(raw: Event) -> Event:
    """The request with header fields that can be read and sent on; nearly always, that is the same request."""
    if all(text(field["value"]).isascii() for fields in raw["headers"].values() for field in fields):
        return raw
    headers = {
        name: [{**field, "value": mended(field["value"])} for field in fields]
        for name, fields in raw["headers"].items()
    }
    return {**raw, "headers": headers}


def write(reply: Reply, method: str) -> Event:
    """Write the answer for CloudFront; one that is too long for it becomes a short 414."""
    answer = _write(reply, method)
    if len(json.dumps(answer)) <= MAX_ANSWER_BYTES:
        return answer
    return _write(replies.problem(414, "target-too-long", "this address is too long to be answered"), method)


def _write(reply: Reply, method: str) -> Event:
    headers: dict[str, list[dict[str, str]]] = {}
    for name, value in (*reply.headers, _HTTPS_ONLY):
        if name not in _NOT_OURS:
            field = {"key": name.decode("latin-1"), "value": value.decode("latin-1")}
            headers.setdefault(name.decode("latin-1"), []).append(field)
    answer: Event = {"status": str(reply.status), "statusDescription": replies.phrase(reply.status), "headers": headers}
    if reply.body and method != "HEAD":
        answer |= {"body": reply.body.decode("utf-8"), "bodyEncoding": "text"}
    return answer
