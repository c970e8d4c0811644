"""`GET /-/openapi.json`: the API described (OpenAPI 3.1); the document for any site is `openapi.json` beside this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from .. import replies
from ..door import Door, Endpoint
from ..messages import Flow, Reply, Request

_PASSES = ("signed-url", "signed-cookies")


def endpoint(description: Callable[[Door], Mapping[str, object]] | None) -> Endpoint:
    return Endpoint(("GET",), partial(_answer, description))


def _answer(
    description: Callable[[Door], Mapping[str, object]] | None, door: Door, request: Request, _now: float
) -> Flow[Reply]:
    yield from ()
    if description is None:
        return door.problem(request, 404, "not-found", replies.NOT_FOUND)
    return replies.document(200, description(door), "openapi")


def describe(document: Mapping[str, Any], door: Door) -> dict[str, Any]:
    """Make the document of one site: with its address, and the credentials that its door looks for.

    Args:
        document: what holds for any site.
        door: of the site.
    """
    sources = door.site.sources
    names = {"cookie": sources.cookie, "query": sources.query, "session": sources.session}
    taken = {*sources.order, *(["session"] if door.sessions else []), *(_PASSES if door.passes.keys else [])}

    def here(operation: object) -> object:
        if not isinstance(operation, dict) or "security" not in operation:
            return operation
        ways = [way for way in operation["security"] if taken.issuperset(way)]
        return {**operation, "security": ways or operation["security"]}  # a session is made with a header everywhere

    schemes = {
        kind: {**scheme, "name": names[kind]} if kind in names else scheme
        for kind, scheme in document["components"]["securitySchemes"].items()
        if kind in taken or kind == "header"
    }
    return {
        **document,
        "servers": [{"url": door.site.url}],
        "security": [way for way in document["security"] if taken.issuperset(way)],
        "paths": {
            path: {name: here(operation) for name, operation in item.items()}
            for path, item in document["paths"].items()
        },
        "components": {**document["components"], "securitySchemes": schemes},
    }
