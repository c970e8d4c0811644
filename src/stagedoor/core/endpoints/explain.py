"""`GET /-/explain?key=`: why the caller may or may not read a key, rule by rule."""

from __future__ import annotations

from typing import Any

from .. import replies
from ..caller import Caller
from ..door import Door, Endpoint
from ..errors import InvalidRequest
from ..messages import Flow, Reply, Request
from ..policy.decide import Explained, Policy
from .arguments import object_key, parameter

MAX_RULES = 100
"""Rules in one answer. Of more rules those are shown whose path matches, so that no policy makes it a megabyte."""


def endpoint() -> Endpoint:
    return Endpoint(("GET",), _answer)


def _answer(door: Door, request: Request, now: float) -> Flow[Reply]:
    caller, _ = yield from door.caller(request, now)
    if not caller.signed_in:  # the rules are shown to people who are signed in, and to nobody else
        return door.unauthorized(request, None)
    asked = parameter(request.query, "key")
    if asked is None:
        raise InvalidRequest("name the key: /-/explain?key=courses/lesson.mp4", code="key-missing")
    key = object_key(door, asked)
    if not key:
        return door.problem(request, 404, "not-found", "no object can have this key", caller=caller.label)
    return replies.document(200, explanation(door.policy, caller, key, MAX_RULES), "explain", caller=caller.label)


def explanation(policy: Policy, caller: Caller, key: str, most: int | None = None) -> dict[str, Any]:
    """The decision on one key and the part of each rule in it, as plain data for JSON.

    Args:
        policy, caller, key: what is decided.
        most: how many rules may be shown, besides the one that decides; None: all of them.
    """
    decision, shown = policy.decide(caller, key), policy.explain(caller, key, most)
    if decision.rule and decision.rule.position not in {one.rule.position for one in shown}:
        shown = (*shown, Explained(decision.rule, True, ""))
    left_out = len(policy.rules) - len(shown)
    return {
        "key": key,
        "allowed": bool(decision),
        "rule": decision.rule.name if decision.rule else None,
        "reason": decision.reason,
        "caller": caller.label or "anonymous",
        "rules": [
            {
                "rule": one.rule.name,
                "path": one.rule.pattern,
                "effect": one.rule.effect,
                "applies": one.applies,
                "reason": one.reason,
            }
            for one in shown
        ],
        **({"leftOut": left_out} if left_out else {}),
    }
