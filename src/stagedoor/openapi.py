"""The OpenAPI document of what lies under `/-/`; the text is `openapi.json` beside this file."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def description() -> dict[str, Any]:
    """The document, but for its `servers`: those are the site's."""
    content: dict[str, Any] = json.loads((files(__package__) / "openapi.json").read_text(encoding="utf-8"))
    return content
