"""HTTP API events: from API Gateway's shape to a `Request`, and from a `Reply` to API Gateway's shape.

Source: API Gateway Developer Guide, "Create AWS Lambda proxy integrations for HTTP APIs", payload format 2.0.

One function answers at two entrances: behind CloudFront, where paths are those of the site (`/-/s3objects`), and at
the API's own URL, whose stage stands before them (`/v1/s3objects`, `/v1/-/s3objects`).

`rawPath` is not raw: API Gateway percent-decodes it, `%2F` and `%3F` included, and ends it at a question mark that it
decoded. So it is read as decoded text, and what could have been written in more ways than one is refused: a percent
sign, a question mark, and a blank, which somebody may have made of a plus sign. What was cut off cannot be seen here;
an answer about content says which id it is about. (`rawQueryString` is as it was sent.)
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from ...core import paths
from ...core.errors import InvalidRequest, InvalidTarget
from ...core.messages import Headers, Reply, Request, collect

Event: TypeAlias = dict[str, Any]

ENTRANCE = b"x-stagedoor-entrance"
"""Header field that CloudFront adds to what it sends to this origin, with a secret that is in its settings."""
DEFAULT_STAGE = "$default"

_QUERY = re.compile(r"[\x21-\x7e]*\Z")
_UNCLEAR = re.compile("[%? ]")
_OWN = f"/{paths.OWN_PREFIX}"


class Read(NamedTuple):
    """An event that was understood.

    Attributes:
        request: `body` is as sent; whoever answers looks at its length.
        id: of the request, as API Gateway's own log has it.
        refused: why the target is none, or could be read in two ways; then `request` has no path.
        bypassed: True: the site's entrance was asked, and not by CloudFront. So its firewall did not see this.
    """

    request: Request
    id: str
    refused: InvalidTarget | None = None
    bypassed: bool = False


def read(event: object, entrance: bytes | None = None) -> Read:
    """Read an event.

    Args:
        event: as Lambda hands it over.
        entrance: the secret that CloudFront sends as `ENTRANCE`: then its word on the client's address counts, and
            the site's entrance is for nobody else. None: anybody may come in, and nobody's word counts.

    Raises:
        InvalidRequest: it is no HTTP API event of format 2.0.
    """
    try:
        assert isinstance(event, dict)
        context = event["requestContext"]
        http = context["http"]
        method, peer, stage = _text(http["method"]), _text(http["sourceIp"]), _text(context["stage"])
        headers = collect(_lines(event))
        path, query = _text(event["rawPath"]), _text(event["rawQueryString"])
        body, version = _body(event), event["version"]
        id_ = str(context.get("requestId", ""))
    except (LookupError, TypeError, AttributeError, ValueError, AssertionError) as error:
        raise InvalidRequest(f"this is no event of an HTTP API: {type(error).__name__}", code="event") from None
    if version != "2.0":
        raise InvalidRequest("set the payload format version of the integration to 2.0", code="event")
    by_cloudfront = _shows(headers, entrance)
    bypassed = entrance is not None and stage == DEFAULT_STAGE and not by_cloudfront
    client = _viewer(peer, headers) if by_cloudfront else peer
    kept = {name: values for name, values in headers.items() if name != ENTRANCE}
    try:
        return Read(Request(method, _path(path, stage), _query(query), kept, body, client), id_, bypassed=bypassed)
    except InvalidTarget as error:
        return Read(Request(method, b"", b"", kept, b"", client), id_, error, bypassed)


def written(reply: Reply, method: str = "") -> Event:
    """The answer for API Gateway; each cookie goes on its own, every other name is there once."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in reply.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name == "set-cookie":
            cookies.append(value)
        else:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    body = "" if method == "HEAD" else reply.body.decode("utf-8")
    answer: Event = {"statusCode": reply.status, "headers": headers, "body": body, "isBase64Encoded": False}
    return {**answer, "cookies": cookies} if cookies else answer


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _lines(event: Mapping[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    """The field lines. API Gateway joins those of one name by commas, but for cookies."""
    for name, value in event["headers"].items():
        lower, raw = _text(name).lower().encode("ascii"), _text(value).encode()
        # No token holds a comma (RFC 6750 §2.1): these were two fields, and two that differ are refused.
        for part in raw.split(b",") if lower == b"authorization" else (raw,):
            yield lower, part.strip(b" \t")
    cookies = event.get("cookies", [])
    if not isinstance(cookies, list):
        raise TypeError
    for cookie in cookies:
        yield b"cookie", _text(cookie).encode()


def _body(event: Mapping[str, Any]) -> bytes:
    text = _text(event.get("body", ""))
    if event.get("isBase64Encoded", False) is not True:
        return text.encode()
    return base64.b64decode(text, validate=True)


def _path(decoded: str, stage: str) -> bytes:
    """The path at the site, in the one canonical encoding."""
    if stage != DEFAULT_STAGE:
        path = decoded.removeprefix(f"/{stage}") if decoded.startswith(f"/{stage}/") else decoded
        decoded = path if path.startswith(_OWN) else f"/-{path}"
    if not decoded.startswith("/"):
        raise InvalidTarget("the request target must start with '/'")
    if _UNCLEAR.search(decoded):
        raise InvalidTarget("behind API Gateway a path cannot hold '%', '?' or a blank, however it is written")
    return paths.encode(decoded[1:]).encode()


def _query(raw: str) -> bytes:
    if not _QUERY.match(raw):
        raise InvalidTarget("the query holds a character that must be percent-encoded")
    return raw.encode()


def _shows(headers: Headers, entrance: bytes | None) -> bool:
    """Is it CloudFront that asks? Without the secret anybody could say so."""
    told = headers.get(ENTRANCE, ())
    return entrance is not None and len(told) == 1 and hmac.compare_digest(told[0], entrance)


def _viewer(peer: str, headers: Headers) -> str:
    """Whom CloudFront names.

    CloudFront and then API Gateway add the address of their peer at the end of `X-Forwarded-For`; what stands before
    these two was sent by the client, and counts for nothing.
    """
    hops = [hop.strip() for hop in b",".join(headers.get(b"x-forwarded-for", ())).decode("latin-1").split(",")]
    if hops[-1] == peer:
        hops.pop()
    return hops[-1] if hops and hops[-1] else peer
