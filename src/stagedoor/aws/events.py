"""What the events of both functions have in common: they are JSON, and one of the wrong shape is refused with 400."""

from __future__ import annotations

from typing import Any, TypeAlias

from ..core.errors import InvalidRequest

Event: TypeAlias = dict[str, Any]


def text(value: object) -> str:
    """Return a member of an event that must be a string.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, str):
        raise TypeError
    return value


def malformed(problem: str) -> InvalidRequest:
    """The error for an event that cannot be answered otherwise."""
    return InvalidRequest(problem, code="event")
