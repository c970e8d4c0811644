"""The rules as trees over the segments of their patterns: a key leads to its rules, and is not tried on all of them.

The segments of a pattern before its first `**` are followed from the beginning of a key, the segments behind its last
`**` from the end. So what floats costs a key one walk from each side, however many segments it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..caller import Caller
from .floating import Floating
from .globs import Globs
from .patterns import ANY_DEPTH, Claim, Segment
from .rules import Rule


class Ends:
    """Rules with the same pattern, or anything else in common: each kind of condition once, found by its values.

    Attributes:
        rules: all of them, in order.
        opens: the first that allows anyone, or None.
        denies: one of them denies.
    """

    __slots__ = ("_by_value", "_group_denies", "_kinds", "_unconditional", "denies", "opens", "rules")

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.opens: Rule | None = None
        self.denies = False
        self._kinds: set[object] = set()
        self._unconditional: list[Rule] = []
        self._group_denies: list[Rule] = []
        self._by_value: dict[str, dict[str, list[Rule]]] = {}

    def add(self, rule: Rule, kind: object = None) -> None:
        """Add a rule, in the order of the policy: with the condition and kind of an earlier one it decides nothing."""
        self.rules.append(rule)
        kind = (rule.condition, kind)
        if kind in self._kinds:
            return
        self._kinds.add(kind)
        self.denies = self.denies or not rule.allows
        if self.opens is None and rule.allows and rule.who == "anyone":
            self.opens = rule
        name, values = next(iter(rule.needs()), ("", frozenset[str]()))
        if name == "groups" and not rule.allows:
            self._group_denies.append(rule)
        if not values:
            self._unconditional.append(rule)
        for value in values:
            self._by_value.setdefault(name, {}).setdefault(value, []).append(rule)

    def candidates(self, caller: Caller) -> Iterator[Rule]:
        """The rules that may apply to the caller: without a condition, or with a value that the caller has."""
        yield from self._unconditional
        for name, rules in self._by_value.items():
            for value in _held(caller, name) & rules.keys():
                yield from rules[value]
        if self._group_denies and caller.groups_left_out:  # each of them may apply
            yield from self._group_denies


class Node:
    """A place in a tree: the rules whose patterns end here, and where each kind of segment leads.

    Attributes:
        depth: what floats from here on; None behind a `**`.
        between: in a tree that is followed from the end: what must lie between it and the beginning of the pattern.
    """

    __slots__ = ("between", "claims", "depth", "ends", "globs", "literals")

    def __init__(self) -> None:
        self.literals: dict[str, Node] = {}
        self.claims: dict[Claim, Node] = {}
        self.globs: Globs[Node] | None = None
        self.ends: Ends | None = None
        self.depth: Depth | None = None
        self.between: Floating[Ends] | None = None

    def add(self, rule: Rule) -> None:
        if self.ends is None:
            self.ends = Ends()
        self.ends.add(rule)

    def child(self, segment: Segment) -> Node:
        if isinstance(segment, Claim):
            return self.claims.setdefault(segment, Node())
        if isinstance(segment, str):
            return self.literals.setdefault(segment, Node())
        if self.globs is None:
            self.globs = Globs()
        return self.globs.setdefault(segment, Node())

    def step(self, segment: str, caller: Caller | None, further: list[Node]) -> None:
        """Add the nodes one segment further; without a caller, every claim matches."""
        literal = self.literals.get(segment)
        if literal is not None:
            further.append(literal)
        if self.claims and (caller is None or caller.claims):
            for claim, node in self.claims.items():
                if caller is None or segment in caller.segments(claim.name, claim.digest):
                    further.append(node)
        if self.globs is not None:
            further.extend(self.globs.matching(segment))


class Depth:
    """A `**` that the beginning of a pattern leads to.

    Attributes:
        ends: rules that end with it: everything below is theirs.
        tails: what stands behind the last `**` of the others, as a tree that is followed from the end of a key.
    """

    __slots__ = ("ends", "tails")

    def __init__(self) -> None:
        self.ends: Ends | None = None
        self.tails: Node | None = None

    def find(self, segments: Sequence[str], begin: int, caller: Caller | None, found: list[Ends]) -> None:
        """Add the rules that match, of which `segments[:begin]` match the beginning."""
        if self.ends is not None:
            found.append(self.ends)
        if self.tails is None:
            return
        nodes = [self.tails]
        for number in range(len(segments) - 1, begin - 1, -1):
            further: list[Node] = []
            for node in nodes:
                node.step(segments[number], caller, further)
            for node in further:
                if node.ends is not None:
                    found.append(node.ends)
                if node.between is not None:
                    found.extend(node.between.matching(segments[begin:number], caller))
            if not further:
                break
            nodes = further


class Tree:
    """All rules of a policy.

    Attributes:
        root: of the tree that is followed from the beginning of a key.
        others: rules that neither side leads to; each segment is tried on all of them at once.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.root = Node()
        self.others: Floating[Ends] = Floating()
        for rule in rules:
            self._add(rule)

    def _add(self, rule: Rule) -> None:
        *_, node = self.path(rule)
        depth, floating = node.depth, rule.segments[rule.head :]
        if not floating:
            node.add(rule)
            return
        if depth is None:
            depth = node.depth = Depth()
        if floating == (ANY_DEPTH,):
            if depth.ends is None:
                depth.ends = Ends()
            depth.ends.add(rule)
        elif not rule.is_found:
            self.others.setdefault(rule.segments, Ends()).add(rule)
        else:
            tail = depth.tails = depth.tails or Node()
            last = len(floating) - 1 - floating[::-1].index(ANY_DEPTH)
            for segment in reversed(floating[last + 1 :]):
                tail = tail.child(segment)
            if last == 0:
                tail.add(rule)
            else:
                tail.between = tail.between or Floating()
                tail.between.setdefault(floating[: last + 1], Ends()).add(rule)

    def path(self, rule: Rule) -> Iterator[Node]:
        """The nodes that the pattern leads to, up to its first `**`."""
        node = self.root
        yield node
        for segment in rule.segments[: rule.head]:
            node = node.child(segment)
            yield node

    def find(self, segments: Sequence[str], caller: Caller | None) -> list[Ends]:
        """The rules whose patterns match a key; without a caller, those that match for some caller."""
        found: list[Ends] = []
        nodes = [self.root]
        for number, segment in enumerate(segments):
            further: list[Node] = []
            for node in nodes:
                if node.depth is not None:
                    node.depth.find(segments, number, caller, found)
                node.step(segment, caller, further)
            nodes = further
            if not nodes:
                break
        for node in nodes:
            if node.ends is not None:
                found.append(node.ends)
            if node.depth is not None:
                node.depth.find(segments, len(segments), caller, found)
        if self.others.values:
            found.extend(self.others.matching(segments, caller))
        return found


def _held(caller: Caller, name: str) -> frozenset[str]:
    """The caller's values of the thing that `Rule.needs` names; a claim may be called `emails` too."""
    held = caller.values(name)
    if name == "emails":
        held |= {caller.email, f"@{caller.email.rpartition('@')[2]}"} | caller.claimed_emails
    return held
