"""What deny rules ask about callers, for sessions, which keep no more of a caller than rules ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .patterns import Claim
from .rules import Rule


def asked_of(rules: Iterable[Rule], issuer: tuple[str, str]) -> Mapping[str, object]:
    """What deny rules ask about the callers of one issuer, as plain data that can be compared.

    A session that was made when they asked something else may lack the value that one of them is looking for.

    Args:
        rules: of the policy.
        issuer: its name and its URL; rules may use either.
    """
    bound: set[str] = set()
    values: dict[str, set[str]] = {}
    emails = False
    for rule in rules:
        if rule.allows or (rule.issuers and rule.issuers.isdisjoint(issuer)):
            continue
        bound.update(segment.name for segment in rule.segments if isinstance(segment, Claim))
        for name, accepted in (("groups", rule.groups), *rule.claims.items()):
            if accepted:
                values.setdefault(name, set()).update(accepted)
        emails = emails or bool(rule.emails)
    return {
        "bound": sorted(bound),
        "values": {name: sorted(accepted) for name, accepted in sorted(values.items())},
        "emails": emails,
    }
