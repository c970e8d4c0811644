"""The OpenAPI document of what lies under `/-/`; the text is `openapi.json` beside this file."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from .door import Door

_PASSES = ("signed-url", "signed-cookies")


@cache
def document() -> dict[str, Any]:
    """The document for any site."""
    content: dict[str, Any] = json.loads((files(__package__) / "openapi.json").read_text(encoding="utf-8"))
    return content


def description(door: Door) -> dict[str, Any]:
    """The document with a site's address, and of the credentials those that its door looks for, by their names."""
    general, places = document(), door.site.places
    names = {"cookie": places.cookie, "query": places.query, "session": places.session}
    taken = {*places.order, *(["session"] if door.sessions else []), *(_PASSES if door.passes.keys else [])}

    def here(operation: object) -> object:
        if not isinstance(operation, dict) or "security" not in operation:
            return operation
        ways = [way for way in operation["security"] if taken.issuperset(way)]
        return {**operation, "security": ways or operation["security"]}  # a session is made with a header everywhere

    schemes = {
        kind: {**scheme, "name": names[kind]} if kind in names else scheme
        for kind, scheme in general["components"]["securitySchemes"].items()
        if kind in taken or kind == "header"
    }
    return {
        **general,
        "servers": [{"url": door.site.url}],
        "security": [way for way in general["security"] if taken.issuperset(way)],
        "paths": {
            path: {name: here(operation) for name, operation in item.items()} for path, item in general["paths"].items()
        },
        "components": {**general["components"], "securitySchemes": schemes},
    }
