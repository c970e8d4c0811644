"""What is probably not meant in a policy: rules that bind too little, repeat one another or never count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from .decide import Policy
from .patterns import ANY_DEPTH, Claim, Segment, covers, may_be_equal, overlap
from .rules import Rule

MAX_PAIRS = 400_000
"""Pairs of rules that are compared at most; beyond, only the quick checks are made."""
MAX_SEGMENTS = 64
"""Segments of a pattern up to which rules are compared: the comparison goes one call deeper for each."""


class Finding(NamedTuple):
    """A rule, what is odd about it, and what to do."""

    rule: Rule
    problem: str
    mend: str


def findings(policy: Policy, issuers: int) -> Iterator[Finding]:
    """Look at a policy as its owner would.

    Args:
        policy: the compiled rules.
        issuers: how many issuers are configured; the same `sub` or group of two of them is two people.
    """
    yield from _repeated(policy)
    if issuers > 1:
        yield from _unnamed_issuer(policy)
    denies = [rule for rule in policy.rules if not rule.allows]
    allows = [rule for rule in policy.rules if rule.allows]
    if len(denies) * len(allows) > MAX_PAIRS or any(len(rule.segments) > MAX_SEGMENTS for rule in policy.rules):
        return
    for deny in denies:
        if not any(overlap(deny.segments, allow.segments) for allow in allows):
            yield Finding(deny, "this deny takes nothing away: no allow rule reaches its paths", "remove it")
    for allow in allows:
        for deny in denies:
            if deny.who == "anyone" and covers(deny.segments, allow.segments):
                yield Finding(allow, f"this rule never counts: {deny.name} denies all of it", "remove one of them")


def may_open(policy: Policy, key: str) -> Rule | None:
    """The first rule that may let some caller read a key, if no rule denies it to all.

    Args:
        policy: the compiled rules.
        key: of an object; with a slash at its end, of everything below.
    """
    *folders, name = key.split("/")
    asked: tuple[Segment, ...] = (*folders, name or ANY_DEPTH)
    rules = [rule for rule in policy.rules if len(rule.segments) <= MAX_SEGMENTS]
    if any(not rule.allows and rule.who == "anyone" and covers(rule.segments, asked) for rule in rules):
        return None
    return next((rule for rule in rules if rule.allows and overlap(rule.segments, asked, _may_be_named)), None)


def _may_be_named(one: Segment, other: Segment) -> bool:
    """As `may_be_equal`, but no claim has a value that begins with a dot."""
    claimed = isinstance(one, Claim) and isinstance(other, str) and other.startswith(".")
    return not claimed and may_be_equal(one, other)


def _repeated(policy: Policy) -> Iterator[Finding]:
    seen: dict[object, Rule] = {}
    for rule in policy.rules:
        same = json.dumps(rule.table(), sort_keys=True)
        if same in seen:
            yield Finding(rule, f"this rule repeats {seen[same].name}", "remove one of them")
        seen.setdefault(same, rule)


def _unnamed_issuer(policy: Policy) -> Iterator[Finding]:
    for rule in policy.rules:
        bound = {segment.name for segment in rule.segments if isinstance(segment, Claim)}
        asked = [name for name in ("groups", "claims", "emails") if getattr(rule, name)]
        if rule.allows and not rule.issuers and (bound or asked):
            what = "/".join(sorted(bound)) or asked[0]
            mend = 'name it: allow = { issuer = ["…"] }'
            yield Finding(rule, f"two issuers may both vouch for the same {what}, and mean different people", mend)
