"""Lambda@Edge events: from CloudFront's shape to a `Request`, and from an answer to CloudFront's shape.

Source: CloudFront Developer Guide, "Lambda@Edge event structure" and "Restrictions on edge functions".
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeAlias

from ..errors import StagedoorError
from ..messages import Reply, Request, collect

Event: TypeAlias = dict[str, Any]

MAX_ANSWER_BYTES = 40_960
"""An answer made at viewer-request, header fields included."""
_NOT_OURS = frozenset((b"content-length", b"connection", b"keep-alive", b"transfer-encoding", b"via"))
"""Header fields that CloudFront sets itself, or lets no function set."""


class Malformed(StagedoorError):
    """An event that is none of CloudFront's viewer requests."""

    code = "event"


def read(event: object) -> tuple[Request, Event, str]:
    """Read a viewer-request event.

    Returns:
        The request; CloudFront's own form of it, to be sent on; the distribution's domain name.

    Raises:
        Malformed: anything about it is not as CloudFront makes it.
    """
    try:
        cf = event["Records"][0]["cf"]  # type: ignore[index]  # whatever it is, the next line would say
        raw: Event = cf["request"]
        lines = [
            (name.lower().encode("latin-1"), field["value"].encode("utf-8"))
            for name, fields in raw["headers"].items()
            for field in fields
        ]
        path, query = raw["uri"].encode("utf-8"), raw["querystring"].encode("utf-8")
        request = Request(str(raw["method"]), path, query, collect(lines), b"", str(raw["clientIp"]))
        return request, raw, str(cf["config"]["distributionDomainName"])
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise Malformed(f"this is no viewer request of CloudFront: {type(error).__name__}") from None


def written(reply: Reply, method: str) -> Event:
    """An answer that CloudFront sends without asking anybody else."""
    headers: dict[str, list[dict[str, str]]] = {}
    for name, value in reply.headers:
        if name not in _NOT_OURS:
            field = {"key": name.decode("latin-1"), "value": value.decode("latin-1")}
            headers.setdefault(name.decode("latin-1"), []).append(field)
    answer: Event = {"status": str(reply.status), "statusDescription": _phrase(reply.status), "headers": headers}
    if reply.body and method != "HEAD":
        answer |= {"body": reply.body.decode("utf-8"), "bodyEncoding": "text"}
    return answer


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
