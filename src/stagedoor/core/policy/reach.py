"""Reach: how far a caller's rights go below a folder, and where the keys that they may read can be.

Listings and signed cookies ask this; a decision about one object does not.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain, islice, repeat, takewhile
from typing import Literal, NamedTuple

from ..caller import ANONYMOUS, Caller
from .decide import Policy
from .patterns import ANY_DEPTH, Claim, Glob
from .rules import Rule
from .tree import Depth, Ends, Node

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
        self._others = lru_cache(maxsize=REMEMBERED)(self._all_others)
        self._below: dict[Node | Depth, Ends] = {}
        self._allows = Ends()
        kinds: dict[Hashable, list[Rule]] = {}
        for rule in policy.rules:
            if rule.allows:
                self._allows.add(rule)
                kinds.setdefault(rule.condition, []).append(rule)
        self._kinds = {condition: _Kind(rules) for condition, rules in kinds.items()}
        for rule in policy.rules:
            self._add(rule)

    def _add(self, rule: Rule) -> None:
        """Make the rule known to all folders that its keys can be in; for a caller its claims say whether."""
        *above, last = policy_path = tuple(self.policy.tree.path(rule))
        places: list[Node | Depth] = list(above)
        if rule.head < len(rule.segments):
            assert last.depth is not None
            places = [*policy_path, last.depth]
        for place in places:
            self._below.setdefault(place, Ends()).add(rule, rule.bound)

    def below(self, caller: Caller, prefix: str) -> Extent:
        """How much of a folder may the caller read?

        Args:
            caller: verified claims, or `ANONYMOUS`.
            prefix: ends with a slash; or "" for everything.
        """
        return self._extents(caller, prefix)

    def exception(self, caller: Caller, prefix: str) -> Rule | None:
        """A rule that denies the caller something below a folder, or None. Arguments as for `below`."""
        rules = self._rules_below(self._place(caller, prefix), caller)
        return min((rule for rule in rules if not rule.allows), key=lambda rule: rule.position, default=None)

    def nothing_below(self, caller: Caller, key: str, known: str) -> str:
        """The largest folder on the way to a key in which the caller may read nothing; "" if there is none.

        Args:
            caller: verified claims, or `ANONYMOUS`.
            key: as in `Policy.decide`.
            known: a prefix of the key; folders that are not longer are not looked at.
        """
        end, segments = 0, key.split("/")[:-1]
        for segment, place in zip(segments, self._way(caller, segments), strict=True):
            end += len(segment) + 1
            if end > len(known) and self._extent_of(place, caller) == "none":
                return key[:end]
        return ""

    def prefixes(self, caller: Caller, prefix: str) -> tuple[str, ...]:
        """Where the keys that the caller may read can be: prefixes in order, none of which starts another.

        One that ends with a slash stands for the key without it, too, because `a/**` matches `a`.

        Args:
            caller: verified claims, or `ANONYMOUS`.
            prefix: what the keys start with; each result starts with it.
        """
        found: list[Sequence[str]] = []
        for starts in self._starts(caller):
            first = bisect(starts, prefix)
            if first and prefix.startswith(starts[first - 1]):
                return (prefix,)
            below = list(takewhile(lambda start: start.startswith(prefix), islice(starts, first, None)))
            found += [below] if below else []
        return tuple(found[0] if len(found) == 1 else _outermost(chain(*found)))

    def _extent(self, caller: Caller, prefix: str) -> Extent:
        return self._extent_of(self._place(caller, prefix), caller)

    def _place(self, caller: Caller, prefix: str) -> _Place:
        """Where a folder lies in the rules' trees."""
        root = self.policy.tree.root
        place = _Place([root], [root.depth] if root.depth else [], 0)
        if prefix:
            for place in self._way(caller, prefix[:-1].split("/")):  # noqa: B007 - the last one counts
                pass
        return place

    def _way(self, caller: Caller, segments: Sequence[str]) -> Iterator[_Place]:
        """Where a folder lies, and each folder on the way to it."""
        tree = self.policy.tree
        nodes, depths = [tree.root], [tree.root.depth] if tree.root.depth else []
        others = tree.others.states(segments, caller) if tree.others.values else repeat(0)
        for segment, state in zip(segments, others, strict=False):
            further: list[Node] = []
            for node in nodes:
                node.step(segment, caller, further)
            nodes = further
            depths += (node.depth for node in nodes if node.depth is not None)
            yield _Place(nodes, depths, state)

    def _extent_of(self, place: _Place, caller: Caller) -> Extent:
        wholly = (depth.ends for depth in place.depths if depth.ends is not None)
        whole = {rule.allows for ends in wholly for rule in ends.candidates(caller) if not rule.refusal(caller)}
        whole |= {allows for allows, mask in self._others(caller) if place.others & mask}
        if False in whole:
            return "none"
        within: set[bool] = set()
        for rule in self._rules_below(place, caller):
            within.add(rule.allows)
            if len(within) == 2:
                break
        if whole and False not in within:
            return "all"
        return "some" if True in within else "none"

    def _rules_below(self, place: _Place, caller: Caller) -> Iterator[Rule]:
        """The caller's rules for something below a folder, of those that are alike the first."""
        for one in (*place.nodes, *place.depths):
            if one in self._below:
                for rule in self._below[one].candidates(caller):
                    if not rule.refusal(caller) and all(caller.segments(*claim) for claim in rule.bound):
                        yield rule

    def _all_others(self, caller: Caller) -> tuple[tuple[bool, int], ...]:
        """Of the rules that are tried: the states in which one allows the caller a whole folder, or denies it."""

        def says(allows: bool, ends: Ends) -> bool:
            first = ends.rules[0]
            applying = (rule for rule in ends.candidates(caller) if rule.allows is allows and not rule.refusal(caller))
            return first.segments[-1] == ANY_DEPTH and next(applying, None) is not None

        return tuple((allows, self.policy.tree.others.mask(partial(says, allows))) for allows in (True, False))

    def _all_starts(self, caller: Caller) -> tuple[Sequence[str], ...]:
        """Where the caller's keys can be, in a list for each kind of condition, and in one of what claims lead to."""
        kinds = [self._kinds[rule.condition] for rule in self._allows.candidates(caller) if not rule.refusal(caller)]
        bound = {start for kind in kinds for rule in kind.bound for start in _starts(rule, caller)}
        return (*(kind.starts for kind in kinds), _outermost(bound))


class _Place(NamedTuple):
    """A folder: the nodes that it leads to, each `**` on the way, and the state of the rules that are tried."""

    nodes: list[Node]
    depths: list[Depth]
    others: int


class _Kind:
    """Allow rules with the same condition: what their keys start with, and the rules that claims are bound in."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.bound = [rule for rule in rules if rule.bound]
        self.starts = _outermost({start for rule in rules if not rule.bound for start in _starts(rule, ANONYMOUS)})


def _outermost(starts: Iterable[str]) -> Sequence[str]:
    """Those that no other one starts, in order."""
    found: list[str] = []
    for start in sorted(starts):
        if not found or not start.startswith(found[-1]):
            found.append(start)
    return found


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
