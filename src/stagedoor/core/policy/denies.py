"""What deny rules mean where not everything about a caller is known: for everybody's files, and for sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from .decide import DECISIONS, Allow, Node, walk
from .patterns import Claim
from .rules import Rule


class OpenKeys:
    """Finds the keys that anybody may read, whoever they turn out to be.

    Args:
        rules: of the policy, in its order.
        remember: how many keys are remembered.
    """

    def __init__(self, rules: Iterable[Rule], remember: int = DECISIONS) -> None:
        self._open, self._denies = Node(), Node()
        for rule in rules:
            if not rule.allows:
                self._denies.add(rule)
            elif rule.who == "anyone":
                self._open.add(rule)
        self.find = lru_cache(maxsize=remember)(self._find)

    def _find(self, key: str) -> Allow | None:
        """Return the rule that opens the key to everybody; None if there is none, or a deny rule could close it.

        Args:
            key: one that an object can be asked for by.
        """
        opening = [rule for node in walk(self._open, None, key) for rule in node.ends.rules]
        if not opening or any(node.ends.rules for node in walk(self._denies, None, key)):
            return None
        return Allow(min(opening, key=lambda rule: rule.position))


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
