"""Cookies that answers set, without those of load balancers and those that scripts must be able to read."""

from __future__ import annotations

import re

from .wire import Answer

SHORTEST_SESSION = 16
"""Characters: a shorter cookie value cannot be a session."""
_HARMLESS = re.compile(r"(?i)aws(alb|elb)|[\w.-]*(csrf|xsrf)")


def is_harmless(line: str) -> bool:
    """Is a Set-Cookie line for such a cookie?"""
    return _HARMLESS.match(line) is not None


def lines(answer: Answer) -> list[str]:
    """The Set-Cookie lines of an answer."""
    return [line for line in answer.values("set-cookie") if not is_harmless(line)]


def named(answer: Answer) -> dict[str, str]:
    """The values by their names; a cookie that is removed has none."""
    pairs = [line.partition(";")[0].partition("=") for line in lines(answer)]
    return {name.strip(): value.strip() for name, _, value in pairs}
