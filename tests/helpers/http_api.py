"""Events of an API Gateway HTTP API, payload format 2.0, as API Gateway makes them of a request.

The shape is from the API Gateway Developer Guide, "Create AWS Lambda proxy integrations for HTTP APIs". Recordings of
live events add that `rawPath` is decoded, and cut off at a decoded question mark.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

PEER = "192.0.2.1"


def event(
    target: str,
    method: str = "GET",
    *lines: str,
    body: bytes | None = None,
    stage: str = "$default",
    peer: str = PEER,
    packed: bool = False,
) -> dict[str, Any]:
    """The event of a request.

    Args:
        target: path, which at the API's own URL begins with the stage, and query.
        method, lines: as for `serving.ask`.
        body: None: the event has no such member.
        stage: of the API.
        peer: address of the client of API Gateway.
        packed: True: the body is in base64.
    """
    path, _, query = target.partition("?")
    decoded = unquote(path).partition("?")[0]
    fields: dict[str, str] = {"host": "api-id.execute-api.us-east-1.amazonaws.com", "x-forwarded-proto": "https"}
    cookies: list[str] = []
    for line in (*lines, f"X-Forwarded-For: {peer}"):
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        if name == "cookie":
            cookies += value.split("; ")
        else:
            fields[name] = f"{fields[name]},{value}" if name in fields else value
    made = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": decoded,
        "rawQueryString": query,
        **({"cookies": cookies} if cookies else {}),
        "headers": fields,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api-id",
            "domainName": "api-id.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "api-id",
            "http": {
                "method": method,
                "path": decoded,
                "protocol": "HTTP/1.1",
                "sourceIp": peer,
                "userAgent": "agent",
            },
            "requestId": "request-1",
            "routeKey": "$default",
            "stage": stage,
            "time": "12/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1583348638390,
        },
        "isBase64Encoded": packed,
    }
    if body is not None:
        made["body"] = base64.b64encode(body).decode() if packed else body.decode()
    return made


def pairs(answer: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """The header fields that a client gets."""
    return [*answer["headers"].items(), *(("set-cookie", cookie) for cookie in answer.get("cookies", ()))]
