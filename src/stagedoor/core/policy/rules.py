"""Rules: which callers one applies to, and how `[[rules]]` tables are read into them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from ..caller import Caller, email_reading, lower_ascii
from ..errors import RuleError
from .patterns import ANY_DEPTH, Claim, Glob, Segment, check_claim_name, parse_pattern

CONDITIONS = ("groups", "claims", "issuer", "emails")
GROUPS_LEFT_OUT = " (the provider left the groups out of the token)"

MAX_FLOATING = 200
"""Rules that may float without a fixed beginning or end of their last segment, such as `**/drafts/**`."""

Who = Literal["anyone", "signed-in", "matching"]


class Rule(NamedTuple):
    """One rule, compiled. All its conditions must hold for it to apply.

    Attributes:
        position: 0-based index in the policy.
        name: `rules[0]`, for messages and logs.
        pattern: the path pattern as written.
        segments: the pattern, parsed.
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

    def table(self) -> dict[str, object]:
        """The rule as `[[rules]]` has it: `read_rules` makes the same rule of it."""
        if self.who != "matching":
            return {"path": self.pattern, self.effect: self.who}
        conditions = {"groups": self.groups, "issuer": self.issuers, "emails": self.emails}
        who: dict[str, object] = {name: sorted(values) for name, values in conditions.items() if values}
        if self.claims:
            who["claims"] = {name: sorted(values) for name, values in self.claims.items()}
        return {"path": self.pattern, self.effect: who}

    @property
    def condition(self) -> Hashable:
        """Equal for rules that have the same effect for the same callers."""
        return self.allows, self.who, self.groups, frozenset(self.claims.items()), self.issuers, self.emails

    @property
    def bound(self) -> frozenset[Claim]:
        """The claims in the pattern."""
        return frozenset(segment for segment in self.segments if isinstance(segment, Claim))

    @property
    def head(self) -> int:
        """How many segments stand before the first `**`."""
        return self.segments.index(ANY_DEPTH) if ANY_DEPTH in self.segments else len(self.segments)

    @property
    def is_found(self) -> bool:
        """Do the beginning or the end of a key lead to the rule, so that it need not be tried?"""
        last = self.segments[-1]
        floats = self.head < len(self.segments) - 1
        return not floats or (last.is_found if isinstance(last, Glob) else last != ANY_DEPTH)

    def needs(self) -> Iterator[tuple[str, frozenset[str]]]:
        """The conditions on values, by name: the caller must have one of the values of each."""
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
        unknown = caller.groups_left_out and not self.allows  # a deny that cannot be judged applies
        if self.groups and not unknown and self.groups.isdisjoint(caller.values("groups")):
            return "the caller is in none of the groups" + (GROUPS_LEFT_OUT if caller.groups_left_out else "")
        for name, accepted in self.claims.items():
            if accepted.isdisjoint(caller.values(name)):
                return f"the caller's claim {name!r} has none of the values"
        if self.emails and self.allows and not _email_matches(caller.email, self.emails):
            return email_problem(caller) or "the caller has no verified e-mail address that matches"
        if self.emails and not self.allows and self.emails.isdisjoint(caller.claimed_emails):
            return "the caller has no e-mail address that matches"
        return ""


def email_problem(caller: Caller) -> str:
    """Why the caller's e-mail address does not count; "" if it does, or if there is none."""
    if caller.email or not caller.values("email"):
        return ""
    said = caller.values("email_verified")
    if not said:
        return "the issuer does not say whether the e-mail address is verified: email_verified is absent"
    return "the issuer says that the e-mail address is not verified" if said == {"false"} else ""


def _email_matches(email: str, accepted: frozenset[str]) -> bool:
    mailbox, at, domain = email.rpartition("@")
    return bool(mailbox and at and domain) and "@" not in mailbox and (email in accepted or f"@{domain}" in accepted)


def read_rules(tables: Sequence[Mapping[str, object]]) -> tuple[Rule, ...]:
    """Read `[[rules]]` tables.

    Raises:
        RuleError: with attribute `index` set to the table's index.
    """
    rules: list[Rule] = []
    floating = 0
    for index, table in enumerate(tables):
        try:
            rules.append(_rule(index, table))
            floating += not rules[-1].is_found
            if floating > MAX_FLOATING:
                raise _too_many(rules[-1].pattern)
        except RuleError as error:
            error.index = index
            raise
    return tuple(rules)


def _too_many(pattern: str) -> RuleError:
    return RuleError(
        f"{pattern!r} is one of more than {MAX_FLOATING} rules that each request is tried on, because they float and "
        "their last segment has no fixed beginning or end",
        field="path",
        mend='let the path begin with its folder, as in "courses/drafts/**", or end it as in "**/drafts/*.pdf"',
    )


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
    unknown = sorted(set(who) - set(CONDITIONS))
    if unknown:
        raise RuleError(f"unknown condition {unknown[0]!r}", field=effect, mend=f"conditions: {', '.join(CONDITIONS)}")
    claims = who.get("claims", {})
    if not isinstance(claims, Mapping) or ("claims" in who and not claims):
        raise RuleError("claims is a table", field=effect, mend='claims = { "custom:plan" = ["pro"] }')
    for claim in claims:
        check_claim_name(claim, effect)
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
    """A list of accepted values. An empty list is refused, because it would silently mean "no condition"."""
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
            f"{text!r} is not an e-mail address", field=effect, mend='write "ann@example.com" or "@example.com"'
        )
    return lower_ascii(text) if effect == "allow" else email_reading(text)
