"""HTTP API events: from API Gateway's shape to a `Request`, and from a `Reply` to API Gateway's shape.

Source: API Gateway Developer Guide, "Create AWS Lambda proxy integrations for HTTP APIs", payload format 2.0.

One function answers at two entrances: behind CloudFront, with the site's own paths (`/-/s3objects`), and at the API's
own URL, where the stage comes first (`/v1/s3objects`, `/v1/-/s3objects`).

`rawPath` is not raw: API Gateway has percent-decoded it, `%2F` and `%3F` included, and cut it off at the first question
mark that it decoded. So it is read as decoded text. A percent sign, a question mark and a space are refused, because
each may have been sent in more ways than one. What was cut off cannot be seen here; an answer about content therefore
names its id. `rawQueryString` is as it was sent.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ...core import paths
from ...core.errors import InvalidTarget
from ...core.messages import Headers, Reply, Request, collect
from ..events import Event, malformed, mended, text

ENTRANCE = b"x-stagedoor-entrance"
"""Header field with a secret, which CloudFront adds to its requests to this origin."""
DEFAULT_STAGE = "$default"

_QUERY = re.compile(r"[\x21-\x7e]*\Z")
_AMBIGUOUS = re.compile("[%? ]")
_OWN = f"/{paths.OWN_PREFIX}"


class Incoming(NamedTuple):
    """A request as it came in.

    Attributes:
        request: its body may have any length.
        id: of the request, as in API Gateway's own log.
        refused: why the target is invalid or ambiguous; then `request` has no path, query and body.
        bypassed: True: it came to the site's entrance, but not from CloudFront, so that its firewall did not see it.
    """

    request: Request
    id: str
    refused: InvalidTarget | None = None
    bypassed: bool = False


def read(event: object, entrance: bytes | None = None) -> Incoming:
    """Read an event.

    Args:
        event: as Lambda passes it to the handler.
        entrance: the secret that CloudFront sends in `ENTRANCE`. Who shows it is believed about the client's address,
            and the site's entrance is closed to everyone else. None: everyone may come in, and no one is believed.

    Raises:
        InvalidRequest: it is not an HTTP API event of format 2.0.
    """
    try:
        assert isinstance(event, dict)
        context = event["requestContext"]
        http = context["http"]
        method, peer, stage = text(http["method"]), text(http["sourceIp"]), text(context["stage"])
        headers = collect(_lines(event))
        path, query = text(event["rawPath"]), text(event["rawQueryString"])
        body, version = _body(event), event["version"]
        request_id = str(context.get("requestId", ""))
    except (LookupError, TypeError, AttributeError, ValueError, AssertionError) as error:
        raise malformed(f"this is not an event of an HTTP API: {type(error).__name__}") from None
    if version != "2.0":
        raise malformed("set the payload format version of the integration to 2.0")
    by_cloudfront = _is_from_cloudfront(headers, entrance)
    bypassed = entrance is not None and stage == DEFAULT_STAGE and not by_cloudfront
    client = _viewer(peer, headers) if by_cloudfront else peer
    kept = {name: values for name, values in headers.items() if name != ENTRANCE}
    try:
        request = Request(method, _path(path, stage), _query(query), kept, body, client)
    except InvalidTarget as error:
        return Incoming(Request(method, b"", b"", kept, b"", client), request_id, error, bypassed)
    return Incoming(request, request_id, bypassed=bypassed)


def write(reply: Reply, method: str = "") -> Event:
    """Write the answer for API Gateway. Each cookie is a value of its own; other fields of one name are joined."""
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


def _lines(event: Mapping[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    """The header field lines. API Gateway joins those of one name with commas, except cookies."""
    for name, value in event["headers"].items():
        lower, raw = text(name).lower().encode("ascii"), mended(text(value)).encode()
        # No token holds a comma (RFC 6750 §2.1), so there were several lines; the core refuses those that differ.
        for part in raw.split(b",") if lower == b"authorization" else (raw,):
            yield lower, part.strip(b" \t")
    cookies = event.get("cookies", [])
    if not isinstance(cookies, list):
        raise TypeError
    for cookie in cookies:
        yield b"cookie", mended(text(cookie)).encode()


def _body(event: Mapping[str, Any]) -> bytes:
    body = text(event.get("body", ""))
    if event.get("isBase64Encoded", False) is not True:
        return body.encode()
    return base64.b64decode(body, validate=True)


def _path(decoded: str, stage: str) -> bytes:
    """The path at the site, in the one canonical encoding."""
    if stage != DEFAULT_STAGE:
        path = decoded.removeprefix(f"/{stage}") if decoded.startswith(f"/{stage}/") else decoded
        decoded = path if path.startswith(_OWN) else f"/-{path}"
    if not decoded.startswith("/"):
        raise InvalidTarget("the request target must start with '/'")
    if _AMBIGUOUS.search(decoded):
        raise InvalidTarget("behind API Gateway a path cannot hold '%', '?' or a space, however it is encoded")
    return paths.encode(decoded[1:]).encode()


def _query(raw: str) -> bytes:
    if not _QUERY.match(raw):
        raise InvalidTarget("the query holds a character that must be percent-encoded")
    return raw.encode()


def _is_from_cloudfront(headers: Headers, entrance: bytes | None) -> bool:
    """Only CloudFront knows the secret; anyone can send the header field."""
    secrets = headers.get(ENTRANCE, ())
    return entrance is not None and len(secrets) == 1 and hmac.compare_digest(secrets[0], entrance)


def _viewer(peer: str, headers: Headers) -> str:
    """The address of CloudFront's client.

    CloudFront and then API Gateway append the address of their peer to `X-Forwarded-For`; what precedes these two was
    sent by the client, and is ignored.
    """
    hops = [hop.strip() for hop in b",".join(headers.get(b"x-forwarded-for", ())).decode("latin-1").split(",")]
    if hops[-1] == peer:
        hops.pop()
    return hops[-1] if hops and hops[-1] else peer
