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


def mended(value: str) -> str:
    """Return the value of a header field with a question mark for each half of a surrogate pair.

    A field may hold any bytes (RFC 9110 §5.5), and what is no UTF-8 has no place in JSON. Such a half cannot be
    written as UTF-8, so a function that sent it on would fail.
    """
    return value.encode("utf-8", "replace").decode()


def malformed(problem: str) -> InvalidRequest:
    """The error for an event that cannot be answered otherwise."""
    return InvalidRequest(problem, code="event")
