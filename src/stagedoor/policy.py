"""The policy: which caller may read which key. Everything that no rule allows is denied, and deny wins.

This module owns the rule syntax. Rules come in as plain tables and are compiled once into a tree over the
segments of their patterns, so that deciding takes time by the length of the key, not by the number of rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple

from .caller import Caller
from .errors import RuleError

_NAME = r"[A-Za-z0-9_:.-]+"
_CLAIM = re.compile(r"\{(" + _NAME + r")(?:\|(sha256|md5))?\}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_CONDITIONS = ("groups", "claims", "issuer", "emails")

DECISIONS = 2048
"""Decisions that are remembered; each keeps its caller and key alive."""
SESSION_MEMBERS = frozenset(("aud", "exp", "iss", "nbf", "sid"))
"""Claims that a session of ours has for itself: a rule on them would judge a session and its token differently."""

_LEFT_OUT = " (the provider left the groups out of the token)"

MAX_PREFIXES = 1000
"""Prefixes that one rule may stand for, for one caller; of a rule with more the place before them is taken."""

Who = Literal["anyone", "signed-in", "matching"]
Reach = Literal["all", "some", "none"]
"""How much of what is below a prefix a caller may read; `some` also where that is hard to say."""


# --- a pattern's segments


class Claim(NamedTuple):
    """`{name}` or `{name|sha256}`: the whole segment equals a value of the caller's claim, or its hash."""

    name: str
    digest: str


class Glob(NamedTuple):
    """A segment with `*` in it."""

    text: str
    parts: tuple[str, ...]

    def matches(self, segment: str) -> bool:
        """Find the parts one after the other, leftmost first: linear in the segment's length for each part."""
        first, *middle, last = self.parts
        if not segment.startswith(first) or not segment.endswith(last) or len(segment) < len(first) + len(last):
            return False
        position, end = len(first), len(segment) - len(last)
        for part in middle:
            position = segment.find(part, position, end)
            if position < 0:
                return False
            position += len(part)
        return True


ANY_DEPTH = "**"
Segment = str | Claim | Glob
"""A literal, a claim, a glob, or `ANY_DEPTH`."""


def parse_pattern(pattern: str) -> tuple[Segment, ...]:
    """Read a path pattern.

    Raises:
        RuleError: not a pattern, or one that can never match a key.
    """
    if not pattern or pattern.startswith("/"):
        raise RuleError(
            "a pattern is a key without leading slash", field="path", mend='for every key write path = "**"'
        )
    if _CONTROL.search(pattern):
        raise RuleError("the pattern holds a control character or a backslash, so it can never match", field="path")
    parts = pattern.split("/")
    if not {".", ".."}.isdisjoint(parts):
        raise RuleError("no key has a '.' or '..' segment, so this can never match", field="path")
    if parts[0] == "-" and len(parts) > 1:
        raise RuleError("keys that start with '-/' are never served, so this can never match", field="path")
    return tuple(_segment(part) for part in parts)


def _own_name(name: str, where: str) -> None:
    if name in SESSION_MEMBERS:
        raise RuleError(
            f"the claim {name!r} means something else in a session",
            field=where,
            mend=f'give it a name of yours, in [[issuers]]: claims = {{ my_{name} = "{name}" }}',
        )


def _segment(text: str) -> Segment:
    if text == ANY_DEPTH:
        return text
    if "**" in text:
        raise RuleError(f"'**' stands for whole segments and must stand alone, not as {text!r}", field="path")
    claim = _CLAIM.match(text)
    if claim:
        _own_name(claim[1], "path")
        return Claim(claim[1], claim[2] or "")
    if "{" in text or "}" in text:
        raise RuleError(
            f"{text!r} is not a claim that fills a whole segment",
            field="path",
            mend="write {name}, {name|sha256} or {name|md5}; a name is letters, digits and _ : . -",
        )
    return Glob(text, tuple(text.split("*"))) if "*" in text else text


# --- rules


class Rule(NamedTuple):
    """One rule, compiled. All its conditions must hold for it to apply.

    Attributes:
        position: 0-based place in the policy.
        name: made of it, for messages and logs.
        pattern: the path pattern as written.
        segments: the same, parsed.
        allows: True for an allow rule, False for a deny rule.
        who: `anyone`, `signed-in`, or `matching` if there are conditions.
        groups, claims, issuers, emails: the conditions; empty means none.
    """

    position: int
    name: str
    pattern: str
    segments: tuple[Segment, ...]
    allows: bool
    who: Who
    groups: frozenset[str] = frozenset()
    claims: Mapping[str, frozenset[str]] = MappingProxyType({})
    issuers: frozenset[str] = frozenset()
    emails: frozenset[str] = frozenset()

    @property
    def effect(self) -> str:
        return "allow" if self.allows else "deny"

    def needs(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Conditions that ask for one of several values, by name: the caller must hold one of each."""
        if self.groups:
            yield "groups", self.groups
        yield from self.claims.items()
        if self.emails:
            yield "emails", self.emails

    def refusal(self, caller: Caller) -> str:
        """Why this rule does not apply to the caller, whatever the key; "" if it does."""
        if self.who == "anyone":
            return ""
        if not caller.signed_in:
            return "nobody is signed in"
        if self.issuers and self.issuers.isdisjoint((caller.issuer, caller.issuer_url)):
            return "the caller comes from another issuer"
        if self.groups and self.groups.isdisjoint(caller.values("groups")):
            return "the caller is in none of the groups" + (_LEFT_OUT if caller.groups_left_out else "")
        for name, accepted in self.claims.items():
            if accepted.isdisjoint(caller.values(name)):
                return f"the caller's claim {name!r} has none of the values"
        if self.emails and not _email_matches(caller.email, self.emails):
            return "the caller has no verified e-mail address that matches"
        return ""


def _email_matches(email: str, accepted: frozenset[str]) -> bool:
    mailbox, at, domain = email.rpartition("@")
    return bool(mailbox and at and domain) and "@" not in mailbox and (email in accepted or f"@{domain}" in accepted)


class Allow(NamedTuple):
    """The caller may read the key, by this rule."""

    rule: Rule

    @property
    def reason(self) -> str:
        return f"{self.rule.name} allows {self.rule.pattern!r}"


class Deny(NamedTuple):
    """The caller may not. `rule` is the deny rule, or None if no rule allows it."""

    reason: str
    rule: Rule | None = None


class Explained(NamedTuple):
    """What one rule says about one caller and key; `reason` says why it does not apply ("" if it does)."""

    rule: Rule
    applies: bool
    reason: str


def compile_rules(tables: Sequence[Mapping[str, object]], *, remember: int = DECISIONS) -> Policy:
    """Compile rules from plain tables, as `[[rules]]` of stagedoor.toml holds them.

    Args:
        tables: one for each rule.
        remember: decisions, for as many pairs of caller and key.

    Raises:
        RuleError: with attribute `index` set to the table's place.
    """
    rules = []
    for index, table in enumerate(tables):
        try:
            rules.append(_rule(index, table))
        except RuleError as error:
            error.index = index
            raise
    return Policy(rules, remember)


def _rule(index: int, table: Mapping[str, object]) -> Rule:
    unknown = sorted(set(table) - {"path", "allow", "deny"})
    if unknown:
        raise RuleError(f"unknown setting {unknown[0]!r}", field=unknown[0], mend="a rule has path and allow or deny")
    pattern = table.get("path")
    if not isinstance(pattern, str):
        raise RuleError("a rule needs a path", field="path", mend='for example path = "courses/**"')
    if ("allow" in table) == ("deny" in table):
        raise RuleError("a rule has exactly one of allow and deny", mend='for example allow = "signed-in"')
    name, effect = f"rules[{index}]", "allow" if "allow" in table else "deny"
    segments = parse_pattern(pattern)
    who = table[effect]
    if who == "anyone" or who == "signed-in":
        return Rule(index, name, pattern, segments, effect == "allow", who)
    if not isinstance(who, Mapping) or not who:
        raise RuleError(
            f"{effect} takes who it is for", field=effect, mend='"anyone", "signed-in", or { groups = ["students"] }'
        )
    unknown = sorted(set(who) - set(_CONDITIONS))
    if unknown:
        raise RuleError(f"unknown condition {unknown[0]!r}", field=effect, mend=f"conditions: {', '.join(_CONDITIONS)}")
    claims = who.get("claims", {})
    if not isinstance(claims, Mapping) or ("claims" in who and not claims):
        raise RuleError("claims is a table", field=effect, mend='claims = { "custom:plan" = ["pro"] }')
    for claim in claims:
        _own_name(claim, effect)
    return Rule(
        index,
        name,
        pattern,
        segments,
        effect == "allow",
        "matching",
        groups=_texts(who, "groups", effect),
        claims={str(claim): _texts(claims, claim, effect) for claim in claims},
        issuers=_texts(who, "issuer", effect),
        emails=frozenset(_email(text, effect) for text in _texts(who, "emails", effect)),
    )


def _texts(table: Mapping[str, object], name: str, effect: str) -> frozenset[str]:
    """A list of accepted values; an empty one would silently mean "no condition" and is refused."""
    if name not in table:
        return frozenset()
    value = table[name]
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str) and item for item in items):
        raise RuleError(f"{name} is a list of texts", field=effect, mend=f'{name} = ["…"]')
    return frozenset(items)


def _email(text: str, effect: str) -> str:
    if "@" not in text or text.endswith("@"):
        raise RuleError(
            f"{text!r} is no e-mail address", field=effect, mend='write "ann@example.com" or "@example.com"'
        )
    return text.lower() if text.isascii() else text


# --- deciding


class _Node:
    """Place in the tree: the rules whose patterns end here, and where each kind of segment leads."""

    __slots__ = ("claims", "depth", "ends", "globs", "literals", "loops")

    def __init__(self, loops: bool = False) -> None:
        self.loops = loops  # this place is a `**`: it stays where it is for any segment
        self.literals: dict[str, _Node] = {}
        self.claims: dict[Claim, _Node] = {}
        self.globs: dict[int, dict[str, dict[Glob, _Node]]] = {}  # length of what stands before the `*` -> that text
        self.depth: _Node | None = None
        self.ends = _Ends()

    def add(self, rule: Rule) -> None:
        node = self
        for segment in rule.segments:
            node = node._child(segment)
        node.ends.add(rule)

    def _child(self, segment: Segment) -> _Node:
        if isinstance(segment, Claim):
            return self.claims.setdefault(segment, _Node())
        if isinstance(segment, Glob):
            start = segment.parts[0]
            return self.globs.setdefault(len(start), {}).setdefault(start, {}).setdefault(segment, _Node())
        if segment != ANY_DEPTH:
            return self.literals.setdefault(segment, _Node())
        if self.loops:  # `**/**` is `**`
            return self
        if self.depth is None:
            self.depth = _Node(loops=True)
        return self.depth

    def step(self, segment: str, caller: Caller | None) -> Iterator[_Node]:
        """The places one segment further; with no caller, any claim is taken to fit."""
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

    def below(self, caller: Caller) -> Iterator[_Node]:
        """The places that some segment leads to, as far as the caller's claims can lead there."""
        yield from self.literals.values()
        yield from (node for claim, node in self.claims.items() if caller.segments(claim.name, claim.digest))
        yield from (node for starts in self.globs.values() for ends in starts.values() for node in ends.values())
        if self.depth is not None:
            yield self.depth


class _Ends:
    """The rules that end at one place, found by a value that their first condition needs, if they have one."""

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
            for value in _held(caller, name) & rules.keys():
                yield from rules[value]


class Policy:
    """Compiled rules. `decide` answers one question; `explain` says for every rule why."""

    def __init__(self, rules: Iterable[Rule], remember: int = DECISIONS) -> None:
        self.rules = tuple(rules)
        self._root = _Node()
        for rule in self.rules:
            self._root.add(rule)
        # A caller is one object as long as its token is remembered, and the decision follows from caller and key.
        self._remembered = lru_cache(maxsize=remember)(self._decide)
        self._reaches = lru_cache(maxsize=remember)(self._reach)
        self._starts = lru_cache(maxsize=64)(self._prefixes)
        self._known_effects = lru_cache(maxsize=16)(_nothing_known)

    @property
    def claim_names(self) -> frozenset[str]:
        """Our names of the claims that some rule looks at; a session needs to hold no others."""
        names = {"sub"}
        for rule in self.rules:
            names.update(segment.name for segment in rule.segments if isinstance(segment, Claim))
            names.update(rule.claims)
            names.update(("groups",) if rule.groups else ())
            names.update(("email", "email_verified") if rule.emails else ())
        return frozenset(names)

    def session_claims(self, caller: Caller) -> dict[str, list[str]]:
        """Of the caller's claims those values that some rule can ask for, by our names: what a session must hold."""
        bound = {segment.name for rule in self.rules for segment in rule.segments if isinstance(segment, Claim)}
        held = {name: caller.values(name) for name in self.claim_names}
        for name in held.keys() - bound - {"sub", "email", "email_verified"}:
            held[name] &= frozenset().union(*(values for rule in self.rules for n, values in rule.needs() if n == name))
        return {name: sorted(values) for name, values in sorted(held.items()) if values}

    def decide(self, caller: Caller, key: str) -> Allow | Deny:
        """May the caller read the key?

        Args:
            caller: verified claims, or `ANONYMOUS`.
            key: as `paths.decode` gives it.

        Returns:
            Allow with the first rule that allows it, or Deny with the reason.
        """
        return self._remembered(caller, key)

    def _decide(self, caller: Caller, key: str) -> Allow | Deny:
        allowed: Rule | None = None
        denied: Rule | None = None
        for node in self._places(caller, key):
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
        return Deny("no rule allows it" + (_LEFT_OUT if caller.groups_left_out else ""))

    def explain(self, caller: Caller, key: str) -> tuple[Explained, ...]:
        """Say for every rule, in order, whether it applies to this caller and key, and if not why."""
        matching = {rule.position for node in self._places(caller, key) for rule in node.ends.rules}
        reachable = {rule.position for node in self._places(None, key) for rule in node.ends.rules}
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

    def below(self, caller: Caller, prefix: str) -> Reach:
        """How much of what is below a folder may the caller read?

        Args:
            caller: verified claims, or `ANONYMOUS`.
            prefix: ends with a slash; or "" for everything.
        """
        return self._reaches(caller, prefix)

    def exception(self, caller: Caller, prefix: str) -> Rule | None:
        """A rule that denies the caller something below a folder; None: no rule does. Arguments as for `below`."""
        places = list(self._folder(caller, prefix))
        while places:
            place = places.pop()
            below = tuple(place.below(caller))
            for node in (*below, place) if place.loops else below:
                for rule in node.ends.rules:
                    if not rule.allows and not rule.refusal(caller):
                        return rule
            places += (node for node in below if False in self._effects(node, caller))
        return None

    def nothing_below(self, caller: Caller, key: str, known: str) -> str:
        """The largest folder on the way to a key in which the caller may read nothing; "" if there is none.

        Args:
            caller: verified claims, or `ANONYMOUS`.
            key: as in `decide`.
            known: what the key starts with; folders that are not longer are not asked about.
        """
        places, end = _with_depth({self._root: None}), 0
        for segment in key.split("/")[:-1]:
            places = self._step(places, segment, caller)
            end += len(segment) + 1
            if end > len(known) and self._reach_of(places, caller) == "none":
                return key[:end]
        return ""

    def _reach(self, caller: Caller, prefix: str) -> Reach:
        return self._reach_of(self._folder(caller, prefix), caller)

    def _folder(self, caller: Caller, prefix: str) -> Iterable[_Node]:
        return self._places(caller, prefix[:-1]) if prefix else _with_depth({self._root: None})

    def _reach_of(self, places: Iterable[_Node], caller: Caller) -> Reach:
        whole = {
            rule.allows for place in places if place.loops for rule in place.ends.rules if not rule.refusal(caller)
        }
        if False in whole:
            return "none"
        within = frozenset[bool]().union(*(self._effects(place, caller) for place in places))
        if whole and False not in within:
            return "all"
        return "some" if True in within else "none"

    def _effects(self, place: _Node, caller: Caller) -> frozenset[bool]:
        """Of the rules for the caller that speak of something below a place: does one allow, does one deny?"""
        known = self._known_effects(caller)
        effects = known.get(place)
        if effects is None:
            found = (
                {rule.allows for rule in place.ends.rules if not rule.refusal(caller)} if place.loops else set[bool]()
            )
            for below in place.below(caller):
                if len(found) < 2:
                    found |= self._effects(below, caller)
                    found |= {rule.allows for rule in below.ends.rules if not rule.refusal(caller)}
            effects = known[place] = frozenset(found)
        return effects

    def prefixes(self, caller: Caller, prefix: str) -> tuple[str, ...]:
        """Where the keys that the caller may read can only be: prefixes in order, none of which starts another.

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

    def _prefixes(self, caller: Caller) -> list[str]:
        starts = {
            start for rule in self.rules if rule.allows and not rule.refusal(caller) for start in _starts(rule, caller)
        }
        return sorted(starts)

    def _places(self, caller: Caller | None, key: str) -> Iterable[_Node]:
        """All places of the tree that the key leads to: the patterns are walked side by side, segment by segment."""
        places = _with_depth({self._root: None})
        for segment in key.split("/"):
            places = self._step(places, segment, caller)
            if not places:
                break
        return places

    def _step(self, places: Iterable[_Node], segment: str, caller: Caller | None) -> dict[_Node, None]:
        return _with_depth({node: None for place in places for node in place.step(segment, caller)})


def _nothing_known(_: Caller) -> dict[_Node, frozenset[bool]]:
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


def _with_depth(places: dict[_Node, None]) -> dict[_Node, None]:
    """`**` also stands for no segment at all: from a place its `**` child is reached for nothing."""
    for place in tuple(places):
        if place.depth is not None:
            places[place.depth] = None
    return places


def _unbound(rule: Rule, caller: Caller) -> str:
    """Why a pattern with claims matches this path for somebody, but not for the caller."""
    claims = [segment for segment in rule.segments if isinstance(segment, Claim)]
    missing = [claim.name for claim in claims if not caller.segments(claim.name, claim.digest)]
    if missing:
        return f"the caller has no {', '.join(missing)} that could be a folder's name"
    return f"the path has another value than the caller's {', '.join(claim.name for claim in claims)}"


def _held(caller: Caller, name: str) -> frozenset[str]:
    """What the caller has of the thing that `Rule.needs` names; a claim may be called `emails` too."""
    held = caller.values(name)
    if name == "emails":
        held |= {caller.email, f"@{caller.email.rpartition('@')[2]}"}
    return held
