"""Who asks: the verified claims of one issuer, read as rules, paths and logs want them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping


class Caller:
    """Who asks: verified claims of one issuer, or `ANONYMOUS`.

    Two callers are equal if everything that a decision can depend on is equal, and their end too.

    Args:
        issuer: the issuer's name in rules and logs; "" for an anonymous caller.
        issuer_url: the exact `iss`.
        claims: claims whose signature was checked.
        names: our name -> the provider's claim.
        expires: epoch seconds after which these claims no longer hold.
    """

    __slots__ = ("_hash", "_segments", "_values", "claims", "expires", "issuer", "issuer_url", "label", "names")

    def __init__(
        self,
        issuer: str,
        issuer_url: str,
        claims: Mapping[str, object],
        names: Mapping[str, str] | None = None,
        expires: float = math.inf,
    ) -> None:
        self.issuer, self.issuer_url, self.claims, self.names, self.expires = (
            issuer,
            issuer_url,
            claims,
            names or {},
            expires,
        )
        self._values: dict[str, frozenset[str]] = {}
        self._segments: dict[tuple[str, str], frozenset[str]] = {}
        self.label = f"{issuer}:{self.subject}" if issuer else ""
        self._hash = hash((issuer_url, self.label, expires))  # once: policies remember decisions by caller

    def __repr__(self) -> str:
        """Issuer and subject alone: a repr may end up in a log, and other claims can be private."""
        return f"<Caller {self.label!r}>" if self.signed_in else "<Caller, anonymous>"

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Caller):
            return NotImplemented
        return (
            self._hash == other._hash
            and (self.issuer, self.issuer_url, self.expires) == (other.issuer, other.issuer_url, other.expires)
            and _alike(dict(self.names), dict(other.names))
            and _alike(dict(self.claims), dict(other.claims))
        )

    @property
    def signed_in(self) -> bool:
        return self.issuer != ""

    @property
    def subject(self) -> str:
        """The one value of `sub`, as rules see it; "" where there is none."""
        subjects = self.values("sub")
        return next(iter(subjects)) if len(subjects) == 1 else ""

    def values(self, name: str) -> frozenset[str]:
        """All values of a claim as text, looked up by our name.

        An object of groups counts by the names of its members. A text of scopes counts whole and scope by scope.
        """
        found = self._values.get(name)
        if found is None:
            value = self.claim(name)
            if name == "groups" and isinstance(value, Mapping):
                value = [role for role, given in value.items() if given is True or (given and not _is_plain(given))]
            elif isinstance(value, str) and self.names.get(name, name) in _SCOPES:
                value = [value, *value.split()]
            found = self._values[name] = frozenset(_texts(value))
        return found

    def claim(self, name: str) -> object:
        """A claim by our name, as the issuer wrote it; None if there is none."""
        return _lookup(self.claims, self.names.get(name, name))

    def segments(self, name: str, digest: str = "") -> frozenset[str]:
        """The values of a claim that may stand as one path segment, hashed (`md5`, `sha256`, hex) if asked."""
        found = self._segments.get((name, digest))
        if found is None:
            usable = (value for value in self.values(name) if is_segment(value))
            if digest:
                usable = (hashlib.new(digest, v.encode(), usedforsecurity=False).hexdigest() for v in usable)
            found = self._segments[name, digest] = frozenset(usable)
        return found

    @property
    def email(self) -> str:
        """The one e-mail address, its ASCII letters in lower case, if the issuer has verified it, else ""."""
        if self.values("email_verified") != {"true"} or len(self.values("email")) != 1:
            return ""
        (email,) = self.values("email")
        return lower_ascii(email)

    @property
    def claimed_emails(self) -> frozenset[str]:
        """Every reading of every address that the caller claims, verified or not, and `@domain` of each.

        Deny rules compare these: nobody gets past one by an unusual spelling, or by a second address.
        """
        return frozenset(reading for email in self.values("email") for reading in _readings(email))

    @property
    def groups_left_out(self) -> bool:
        """True if the provider says that it left the groups out of the token (Entra ID beyond 200 groups)."""
        elsewhere = self.claims.get("_claim_names")
        return isinstance(elsewhere, dict | list) and self.names.get("groups", "groups") in elsewhere


_SCOPES = ("scope", "scp")
"""Claims of scopes, which one text may hold (RFC 8693 §4.2; Microsoft Entra, "Access token claims")."""

ANONYMOUS = Caller("", "", {})


def is_segment(value: str) -> bool:
    """May this claim value stand for one whole path segment? Not if a path or a pattern could read it otherwise."""
    return value not in ("", ".", "..") and not re.search(r"[/\\*?\x00-\x1f\x7f-\x9f\ud800-\udfff]", value)


def lower_ascii(text: str) -> str:
    """The text with its ASCII letters in lower case, and no other: `str.lower` makes a K of the Kelvin sign."""
    return text.translate(_LOWER)


_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def email_reading(text: str) -> str:
    """One form for every spelling of an address, or of `@domain` (RFC 5321 §2.3.11; RFC 5891 §4 for other scripts)."""
    mailbox, at, domain = _folded(text).rpartition("@")
    return f"{mailbox}{at}{_domain(domain)}"


def _readings(email: str) -> Iterator[str]:
    mailbox, *domains = _folded(email).split("@")  # of several, each may be what somebody else reads
    for domain in map(_domain, domains):
        yield f"@{domain}"
        yield f"{mailbox}@{domain}"


def _folded(text: str) -> str:
    if not text.isascii():
        from unicodedata import normalize  # rarely needed, and the edge starts faster without it

        text = normalize("NFKC", text).casefold()
    return text.lower().rpartition("<")[2].strip(" \t\r\n\0\"'>")


def _domain(text: str) -> str:
    text = text.strip(" \t\r\n\0\"'>.,;")
    try:
        return text if text.isascii() else text.encode("idna").decode()
    except UnicodeError:
        return text


def _alike(one: object, other: object) -> bool:
    """Equal, and of the same types all through: to Python `1 == True`, to a rule "1" and "true" are two values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return one == other


def _lookup(claims: Mapping[str, object], path: str) -> object:
    """The claim of exactly this name, else what the dotted path leads to; names with dots go before shorter ones."""
    if path in claims:
        return claims[path]
    end = path.rfind(".")
    while end > 0:
        inner = claims.get(path[:end])
        found = _lookup(inner, path[end + 1 :]) if isinstance(inner, Mapping) else None
        if found is not None:
            return found
        end = path.rfind(".", 0, end)
    return None


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str)


def _texts(value: object) -> Iterator[str]:
    """Strings as they are, numbers in decimal, booleans as true/false; of a list every such member.

    `3.0` is the number 3 (RFC 8259 §6), so it counts as both texts.
    """
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, bool):
            yield "true" if item else "false"
        elif isinstance(item, str | int):
            yield str(item)
        elif isinstance(item, float) and math.isfinite(item):
            yield repr(item)
            if item.is_integer():
                yield str(int(item))
