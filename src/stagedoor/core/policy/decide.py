"""Deciding: may this caller read this key? What no rule allows is denied, and a deny rule wins over allow rules.

Rules are compiled once into a tree over the segments of their patterns, so the time for a decision depends on the
length of the key, not on the number of rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from .. import paths
from ..caller import ANONYMOUS, Caller
from ..errors import InvalidTarget
from .patterns import ANY_DEPTH, Claim, Glob, Segment
from .rules import GROUPS_LEFT_OUT, Rule, read_rules

_NO_KEY = "no object can have this key"
DECISIONS = 2048
"""Decisions that are remembered; each keeps its caller and key in memory."""


class Allow(NamedTuple):
    """The caller may read the key, by this rule. It is true."""

    rule: Rule

    @property
    def reason(self) -> str:
        return f"{self.rule.name} allows {self.rule.pattern!r}"

    def __bool__(self) -> Literal[True]:
        return True


class Deny(NamedTuple):
    """The caller may not read the key. It is false, so that `if policy.decide(...)` lets nobody in by mistake.

    Attributes:
        reason: for people.
        rule: the deny rule; None if no rule allows the key.
    """

    reason: str
    rule: Rule | None = None

    def __bool__(self) -> Literal[False]:
        return False


class Explained(NamedTuple):
    """What one rule means for one caller and key; `reason` is why it does not apply, "" if it does."""

    rule: Rule
    applies: bool
    reason: str


def compile_rules(tables: Sequence[Mapping[str, object]], *, remember: int = DECISIONS) -> Policy:
    """Compile rules from plain tables, as `[[rules]]` of stagedoor.toml holds them.

    Args:
        tables: one for each rule.
        remember: how many decisions are remembered, one for each pair of caller and key.

    Raises:
        RuleError: with attribute `index` set to the table's index.
    """
    return Policy(read_rules(tables), remember)


class Node:
    """A node of the tree: the rules whose patterns end here, and where each kind of segment leads."""

    __slots__ = ("claims", "depth", "ends", "globs", "literals", "loops")

    def __init__(self, loops: bool = False) -> None:
        self.loops = loops  # the node of a `**`: every segment leads back to it
        self.literals: dict[str, Node] = {}
        self.claims: dict[Claim, Node] = {}
        self.globs: dict[int, dict[str, dict[Glob, Node]]] = {}  # by length of the text before the `*`, then the text
        self.depth: Node | None = None
        self.ends = _Ends()

    def add(self, rule: Rule) -> None:
        node = self
        for segment in rule.segments:
            node = node._child(segment)
        node.ends.add(rule)

    def _child(self, segment: Segment) -> Node:
        if isinstance(segment, Claim):
            return self.claims.setdefault(segment, Node())
        if isinstance(segment, Glob):
            start = segment.parts[0]
            return self.globs.setdefault(len(start), {}).setdefault(start, {}).setdefault(segment, Node())
        if segment != ANY_DEPTH:
            return self.literals.setdefault(segment, Node())
        if self.loops:  # `**/**` is `**`
            return self
        if self.depth is None:
            self.depth = Node(loops=True)
        return self.depth

    def step(self, segment: str, caller: Caller | None) -> Iterator[Node]:
        """The nodes one segment further; without a caller, every claim matches."""
        if self.loops:
            yield self
        literal = self.literals.get(segment)
        if literal is not None:
            yield literal
        for claim, node in self.claims.items():
            if caller is None or segment in caller.segments(claim.name, claim.digest):
                yield node
        for length, by_start in self.globs.items():
            for glob, node in by_start.get(segment[:length], {}).items():
                if glob.matches(segment):
                    yield node

    def children(self, caller: Caller) -> Iterator[Node]:
        """The nodes that some segment leads to, if the caller's claims can lead there."""
        yield from self.literals.values()
        yield from (node for claim, node in self.claims.items() if caller.segments(claim.name, claim.digest))
        yield from (node for starts in self.globs.values() for ends in starts.values() for node in ends.values())
        if self.depth is not None:
            yield self.depth


class _Ends:
    """The rules that end at one node, indexed by a value that their first condition needs, if they have one."""

    __slots__ = ("by_value", "rules", "unconditional")

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.unconditional: list[Rule] = []
        self.by_value: dict[str, dict[str, list[Rule]]] = {}

    def add(self, rule: Rule) -> None:
        self.rules.append(rule)
        name, values = next(iter(rule.needs()), ("", frozenset[str]()))
        if not values:
            self.unconditional.append(rule)
        for value in values:
            self.by_value.setdefault(name, {}).setdefault(value, []).append(rule)

    def candidates(self, caller: Caller) -> Iterator[Rule]:
        yield from self.unconditional
        for name, rules in self.by_value.items():
            every = name == "groups" and caller.groups_left_out  # a deny on any of them may apply
            for value in rules.keys() if every else _held(caller, name) & rules.keys():
                yield from rules[value]


class Policy:
    """Compiled rules. `decide` answers one question; `explain` gives the reason of every rule.

    Attributes:
        rules: in the order of the settings.
        root: of the tree.
    """

    def __init__(self, rules: Iterable[Rule], remember: int = DECISIONS) -> None:
        self.rules = tuple(rules)
        self.root, self._open, self._denies = Node(), Node(), Node()
        for rule in self.rules:
            self.root.add(rule)
            if not rule.allows:
                self._denies.add(rule)
            elif rule.who == "anyone":
                self._open.add(rule)
        # The decision follows from caller and key. In the instance, so that a remembered one costs a single call.
        self.decide = lru_cache(maxsize=remember)(self._decide)  # type: ignore[method-assign]
        self.opened = lru_cache(maxsize=remember)(self._opened)  # type: ignore[method-assign]

    @property
    def claim_names(self) -> frozenset[str]:
        """Our names of the claims that rules look at; a session needs no others."""
        names = {"sub"}
        for rule in self.rules:
            names.update(segment.name for segment in rule.segments if isinstance(segment, Claim))
            names.update(rule.claims)
            names.update(("groups",) if rule.groups else ())
            names.update(("email", "email_verified") if rule.emails else ())
        return frozenset(names)

    def session_claims(self, caller: Caller) -> dict[str, list[str]]:
        """The values of the caller's claims that rules can ask for, by our names: what a session must hold."""
        bound = {segment.name for rule in self.rules for segment in rule.segments if isinstance(segment, Claim)}
        held = {name: caller.values(name) for name in self.claim_names}
        for name in held.keys() - bound - {"sub", "email", "email_verified"}:
            held[name] &= frozenset().union(*(values for rule in self.rules for n, values in rule.needs() if n == name))
        if caller.groups_left_out:
            held["_claim_names"] = frozenset(("groups",))
        return {name: sorted(values) for name, values in sorted(held.items()) if values}

    def decide(self, caller: Caller, key: str) -> Allow | Deny:
        """May the caller read the key?

        Args:
            caller: verified claims, or `ANONYMOUS`.
            key: the name of an object. What no object can be asked for by (`a/../b`, `/a`, `-/a`, "") is denied.

        Returns:
            Allow, which is true, with the first rule that allows the key; or Deny, which is false, with the reason.
        """
        return self._decide(caller, key)

    def _decide(self, caller: Caller, key: str) -> Allow | Deny:
        if not _is_key(key):
            return Deny(_NO_KEY)
        allowed: Rule | None = None
        denied: Rule | None = None
        for node in walk(self.root, caller, key):
            for rule in node.ends.candidates(caller):
                best = allowed if rule.allows else denied
                if (best is None or rule.position < best.position) and not rule.refusal(caller):
                    if rule.allows:
                        allowed = rule
                    else:
                        denied = rule
        if denied is not None:
            return Deny(f"{denied.name} denies {denied.pattern!r}", denied)
        if allowed is not None:
            return Allow(allowed)
        return Deny("no rule allows it" + (GROUPS_LEFT_OUT if caller.groups_left_out else ""))

    def opened(self, key: str) -> Allow | None:
        """Is the key open: may anybody read it, whoever they turn out to be?

        Args:
            key: one that an object can be asked for by.

        Returns:
            What `decide` returns for each and every caller; None if some caller is denied, or could be.
        """
        return self._opened(key)

    def _opened(self, key: str) -> Allow | None:
        opening = [rule for node in walk(self._open, ANONYMOUS, key) for rule in node.ends.rules]
        if not opening or any(node.ends.rules for node in walk(self._denies, None, key)) or not _is_key(key):
            return None
        return Allow(min(opening, key=lambda rule: rule.position))

    def explain(self, caller: Caller, key: str) -> tuple[Explained, ...]:
        """Report for every rule, in order, whether it applies to this caller and key, and if not why."""
        if not _is_key(key):
            return tuple(Explained(rule, False, _NO_KEY) for rule in self.rules)
        matching = {rule.position for node in walk(self.root, caller, key) for rule in node.ends.rules}
        reachable = {rule.position for node in walk(self.root, None, key) for rule in node.ends.rules}
        explained = []
        for rule in self.rules:
            if rule.position in matching:
                reason = rule.refusal(caller)
            elif rule.position in reachable:
                reason = _unbound(rule, caller)
            else:
                reason = "the path does not match"
            explained.append(Explained(rule, not reason, reason))
        return tuple(explained)


def walk(root: Node, caller: Caller | None, key: str) -> Iterable[Node]:
    """All nodes that a key leads to: the patterns are followed side by side, segment by segment."""
    nodes = with_depth({root: None})
    for segment in key.split("/"):
        nodes = step(nodes, segment, caller)
        if not nodes:
            break
    return nodes


def step(nodes: Iterable[Node], segment: str, caller: Caller | None) -> dict[Node, None]:
    """All nodes one segment further."""
    return with_depth({further: None for node in nodes for further in node.step(segment, caller)})


def with_depth(nodes: dict[Node, None]) -> dict[Node, None]:
    """Add the nodes that no segment at all leads to, because `**` also stands for none."""
    for node in tuple(nodes):
        if node.depth is not None:
            nodes[node.depth] = None
    return nodes


def _is_key(key: str) -> bool:
    try:
        paths.check_key(key)
    except InvalidTarget:
        return False
    return key != "" and not key.startswith(paths.OWN_PREFIX)


def _unbound(rule: Rule, caller: Caller) -> str:
    """Why a pattern with claims matches this path for some callers, but not for this one."""
    claims = [segment for segment in rule.segments if isinstance(segment, Claim)]
    missing = [claim.name for claim in claims if not caller.segments(claim.name, claim.digest)]
    if missing:
        return f"the caller has no {', '.join(missing)} that could be a folder's name"
    return f"the path has another value than the caller's {', '.join(claim.name for claim in claims)}"


def _held(caller: Caller, name: str) -> frozenset[str]:
    """The caller's values of the thing that `Rule.needs` names; a claim may be called `emails` too."""
    held = caller.values(name)
    if name == "emails":
        held |= {caller.email, f"@{caller.email.rpartition('@')[2]}"} | caller.claimed_emails
    return held
