"""Path patterns: how one is read into segments, and how two of them compare."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from ..errors import RuleError

_NAME = r"[A-Za-z0-9_:.-]+"
_CLAIM = re.compile(r"\{(" + _NAME + r")(?:\|(sha256|md5))?\}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")

SESSION_CLAIMS = frozenset(
    ("aud", "auth_time", "digest", "exp", "iat", "iss", "jti", "made", "nbf", "op_sid", "renew", "sid")
)
"""Claims that a session sets itself: a rule on one of them would judge a session and its token differently."""


class Claim(NamedTuple):
    """`{name}` or `{name|sha256}`: the whole segment equals a value of the caller's claim, or its hash."""

    name: str
    digest: str


class Glob(NamedTuple):
    """A segment with `*` in it; `parts` is the text between the stars."""

    text: str
    parts: tuple[str, ...]

    @property
    def is_found(self) -> bool:
        """Has it a fixed beginning or end, by which it is found?"""
        return self.parts[0] != "" or self.parts[-1] != ""

    @property
    def middle(self) -> str:
        """The longest text between two stars."""
        return max(self.parts[1:-1], key=len, default="")

    def matches(self, segment: str) -> bool:
        """Find the parts from left to right: the time is linear in the segment's length for each part."""
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
    segments = [_segment(part) for part in parts]
    return tuple(one for one, before in zip(segments, ["", *segments], strict=False) if not one == before == ANY_DEPTH)


def check_claim_name(name: str, field: str) -> None:
    """Refuse a rule on a claim that means something else in a session.

    Raises:
        RuleError: with `field` as given.
    """
    if name in SESSION_CLAIMS:
        raise RuleError(
            f"the claim {name!r} means something else in a session",
            field=field,
            mend=f'give it a name of your own, in [[issuers]]: claims = {{ my_{name} = "{name}" }}',
        )


def _segment(text: str) -> Segment:
    if text == ANY_DEPTH:
        return text
    if "**" in text:
        raise RuleError(f"'**' stands for whole segments and must stand alone, not as {text!r}", field="path")
    claim = _CLAIM.match(text)
    if claim:
        check_claim_name(claim[1], "path")
        return Claim(claim[1], claim[2] or "")
    if "{" in text or "}" in text:
        raise RuleError(
            f"{text!r} is not a claim that fills a whole segment",
            field="path",
            mend="write {name}, {name|sha256} or {name|md5}; a name is letters, digits and _ : . -",
        )
    return Glob(text, tuple(text.split("*"))) if "*" in text else text


def may_be_equal(a: Segment, b: Segment) -> bool:
    """Can one segment of a key match both? Yes where that is hard to say."""
    if isinstance(a, str) and isinstance(b, str):
        return a == b
    if isinstance(a, Glob) and isinstance(b, str):
        return a.matches(b)
    if isinstance(b, Glob) and isinstance(a, str):
        return b.matches(a)
    return True


@lru_cache(maxsize=65536)
def overlap(
    a: tuple[Segment, ...], b: tuple[Segment, ...], alike: Callable[[Segment, Segment], bool] = may_be_equal
) -> bool:
    """Can one key match both patterns?

    Args:
        a, b: the patterns.
        alike: compares a segment of `a` with one of `b`; neither is `ANY_DEPTH`.
    """
    if not a or not b:
        return all(segment == ANY_DEPTH for segment in a or b)
    if a[0] == ANY_DEPTH:
        return overlap(a[1:], b, alike) or overlap(a, b[1:], alike)
    if b[0] == ANY_DEPTH:
        return overlap(a, b[1:], alike) or overlap(a[1:], b, alike)
    return alike(a[0], b[0]) and overlap(a[1:], b[1:], alike)


@lru_cache(maxsize=65536)
def covers(wide: tuple[Segment, ...], narrow: tuple[Segment, ...]) -> bool:
    """Does every key that matches `narrow` match `wide` too? No where that is hard to say."""
    if not wide or not narrow:
        return all(segment == ANY_DEPTH for segment in wide) and not narrow
    if wide[0] == ANY_DEPTH:
        return covers(wide[1:], narrow) or covers(wide, narrow[1:])
    same = wide[0] == narrow[0] or (
        isinstance(wide[0], Glob) and (wide[0].text == "*" or _is_match_of(wide[0], narrow[0]))
    )
    return same and narrow[0] != ANY_DEPTH and covers(wide[1:], narrow[1:])


def _is_match_of(glob: Glob, segment: Segment) -> bool:
    return isinstance(segment, str) and segment != ANY_DEPTH and glob.matches(segment)
