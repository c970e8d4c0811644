"""Reach: how far a caller's rights go below a folder, and where the keys that they may read can be.

Listings and signed cookies ask this; a decision about one object does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

from ..caller import Caller
from .decide import Node, Policy, step, walk, with_depth
from .patterns import ANY_DEPTH, Claim, Glob
from .rules import Rule

MAX_PREFIXES = 1000
"""At most this many prefixes are derived from one rule per caller; a rule that needs more is searched from its last
common folder.
"""
REMEMBERED = 2048
"""Answers about pairs of caller and folder that are remembered."""

Extent = Literal["all", "some", "none"]
"""How much of a folder a caller may read; `some` also where that is hard to say."""


class Reach:
    """Answers questions about whole folders for one policy.

    Args:
        policy: the compiled rules; also an attribute.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._extents = lru_cache(maxsize=REMEMBERED)(self._extent)
        self._starts = lru_cache(maxsize=64)(self._all_starts)
        self._known_effects = lru_cache(maxsize=16)(_nothing_known)

    def below(self, caller: Caller, prefix: str) -> Extent:
        """How much of a folder may the caller read?

        Args:
            caller: verified claims, or `ANONYMOUS`.
            prefix: ends with a slash; or "" for everything.
        """
        return self._extents(caller, prefix)

    def exception(self, caller: Caller, prefix: str) -> Rule | None:
        """A rule that denies the caller something below a folder, or None. Arguments as for `below`."""
        nodes = list(self._folder(caller, prefix))
        while nodes:
            node = nodes.pop()
            children = tuple(node.children(caller))
            for other in (*children, node) if node.loops else children:
                for rule in other.ends.rules:
                    if not rule.allows and not rule.refusal(caller):
                        return rule
            nodes += (child for child in children if False in self._effects(child, caller))
        return None

    def nothing_below(self, caller: Caller, key: str, known: str) -> str:
        """The largest folder on the way to a key in which the caller may read nothing; "" if there is none.

        Args:
            caller: verified claims, or `ANONYMOUS`.
            key: as in `Policy.decide`.
            known: a prefix of the key; folders that are not longer are not looked at.
        """
        nodes, end = with_depth({self.policy.root: None}), 0
        for segment in key.split("/")[:-1]:
            nodes = step(nodes, segment, caller)
            end += len(segment) + 1
            if end > len(known) and self._extent_of(nodes, caller) == "none":
                return key[:end]
        return ""

    def prefixes(self, caller: Caller, prefix: str) -> tuple[str, ...]:
        """Where the keys that the caller may read can be: prefixes in order, none of which starts another.

        Args:
            caller: verified claims, or `ANONYMOUS`.
            prefix: what the keys start with; each result starts with it.
        """
        found: list[str] = []
        for start in self._starts(caller):
            if start.startswith(prefix) or prefix.startswith(start):
                longer = max(start, prefix, key=len)
                if not found or not longer.startswith(found[-1]):
                    found.append(longer)
        return tuple(found)

    def _extent(self, caller: Caller, prefix: str) -> Extent:
        return self._extent_of(self._folder(caller, prefix), caller)

    def _folder(self, caller: Caller, prefix: str) -> Iterable[Node]:
        return walk(self.policy.root, caller, prefix[:-1]) if prefix else with_depth({self.policy.root: None})

    def _extent_of(self, nodes: Iterable[Node], caller: Caller) -> Extent:
        whole = {rule.allows for node in nodes if node.loops for rule in node.ends.rules if not rule.refusal(caller)}
        if False in whole:
            return "none"
        within = frozenset[bool]().union(*(self._effects(node, caller) for node in nodes))
        if whole and False not in within:
            return "all"
        return "some" if True in within else "none"

    def _effects(self, node: Node, caller: Caller) -> frozenset[bool]:
        """Among the caller's rules below a node: is there one that allows (True), one that denies (False)?"""
        known = self._known_effects(caller)
        effects = known.get(node)
        if effects is None:
            found = {rule.allows for rule in node.ends.rules if not rule.refusal(caller)} if node.loops else set[bool]()
            for child in node.children(caller):
                if len(found) < 2:
                    found |= self._effects(child, caller)
                    found |= {rule.allows for rule in child.ends.rules if not rule.refusal(caller)}
            effects = known[node] = frozenset(found)
        return effects

    def _all_starts(self, caller: Caller) -> list[str]:
        allows = (rule for rule in self.policy.rules if rule.allows and not rule.refusal(caller))
        return sorted({start for rule in allows for start in _starts(rule, caller)})


def _nothing_known(_: Caller) -> dict[Node, frozenset[bool]]:
    return {}


def _starts(rule: Rule, caller: Caller) -> set[str]:
    """What the keys of a rule start with, for one caller: its pattern up to the first wildcard."""
    starts = {""}
    for number, segment in enumerate(rule.segments):
        if isinstance(segment, Glob):
            return {start + segment.parts[0] for start in starts}
        if segment == ANY_DEPTH:
            break
        names = caller.segments(segment.name, segment.digest) if isinstance(segment, Claim) else (segment,)
        if len(starts) * len(names) > MAX_PREFIXES:
            break
        slash = "/" if number < len(rule.segments) - 1 else ""
        starts = {f"{start}{name}{slash}" for start in starts for name in names}
    return starts
