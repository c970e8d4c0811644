"""Deciding: may this caller read this key? What no rule allows is denied, and a deny rule wins over allow rules.

Rules are compiled once into trees over the segments of their patterns, so the time for a decision depends on the
length of the key, not on the number of rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import islice, repeat
from typing import Literal, NamedTuple

from .. import paths
from ..caller import ANONYMOUS, Caller
from ..errors import InvalidTarget
from .patterns import Claim
from .rules import GROUPS_LEFT_OUT, Rule, read_rules
from .tree import Tree

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


class Policy:
    """Compiled rules. `decide` answers one question; `explain` gives the reason of every rule.

    Attributes:
        rules: in the order of the settings.
        tree: the rules, found by the segments of their patterns.

    Args:
        rules: in the order of the settings.
        remember: how many decisions are remembered.
        others: decide about no key; sessions hold what they ask for, too.
    """

    def __init__(self, rules: Iterable[Rule], remember: int = DECISIONS, others: Sequence[Rule] = ()) -> None:
        self.rules = tuple(rules)
        self._asking = (*self.rules, *others)
        self.tree = Tree(self.rules)
        # The decision follows from caller and key. In the instance, so that a remembered one costs a single call.
        self.decide = lru_cache(maxsize=remember)(self._decide)  # type: ignore[method-assign]
        self.opened = lru_cache(maxsize=remember)(self._opened)  # type: ignore[method-assign]

    @cached_property
    def claim_names(self) -> frozenset[str]:
        """Our names of the claims that rules look at; a session needs no others."""
        names = {"sub"}
        for rule in self._asking:
            names.update(segment.name for segment in rule.segments if isinstance(segment, Claim))
            names.update(rule.claims)
            names.update(("groups",) if rule.groups else ())
            names.update(("email", "email_verified") if rule.emails else ())
        return frozenset(names)

    @cached_property
    def _asked_values(self) -> Mapping[str, frozenset[str]]:
        """The values of which rules ask, of the claims that no path binds."""
        bound = {segment.name for rule in self.rules for segment in rule.segments if isinstance(segment, Claim)}
        asked: dict[str, set[str]] = {
            name: set() for name in self.claim_names - bound - {"sub", "email", "email_verified"}
        }
        for rule in self._asking:
            for name, values in rule.needs():
                if name in asked:
                    asked[name] |= values
        return {name: frozenset(values) for name, values in asked.items()}

    def session_claims(self, caller: Caller) -> dict[str, list[str]]:
        """The values of the caller's claims that rules can ask for, by our names: what a session must hold."""
        held = {name: caller.values(name) for name in self.claim_names}
        for name, values in self._asked_values.items():
            held[name] &= values
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
        for ends in self.tree.find(key.split("/"), caller):
            for rule in ends.candidates(caller):
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
        segments = key.split("/")
        opening = [ends.opens for ends in self.tree.find(segments, ANONYMOUS) if ends.opens is not None]
        if not opening or any(ends.denies for ends in self.tree.find(segments, None)) or not _is_key(key):
            return None
        return Allow(min(opening, key=lambda rule: rule.position))

    def explain(self, caller: Caller, key: str, most: int | None = None) -> tuple[Explained, ...]:
        """Report for every rule, in order, whether it applies to this caller and key, and if not why.

        Args:
            caller, key: as for `decide`.
            most: where there are more rules, report this many at most, of those whose path matches.
        """
        from heapq import merge  # the edge explains nothing, and starts without it

        few = most is None or len(self.rules) <= most
        if not _is_key(key):
            return tuple(Explained(rule, False, _NO_KEY) for rule in self.rules) if few else ()
        segments = key.split("/")
        bound = {id(ends) for ends in self.tree.find(segments, caller)}
        found = (zip(ends.rules, repeat(id(ends) in bound)) for ends in self.tree.find(segments, None))
        reached = islice(merge(*found, key=lambda pair: pair[0].position), None if few else most)
        reasons = {
            rule.position: rule.refusal(caller) if matches else _unbound(rule, caller) for rule, matches in reached
        }
        shown = self.rules if few else [self.rules[position] for position in reasons]
        explained = ((rule, reasons.get(rule.position, "the path does not match")) for rule in shown)
        return tuple(Explained(rule, not reason, reason) for rule, reason in explained)


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
