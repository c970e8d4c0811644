"""Where a credential is found, which one decides, and how all of them are taken out.

The order: a pass in the query; then header, cookie and query in the order of `[tokens] from`; then our own session;
then pass cookies. The first that is present decides, also when it is bad: a bad credential is never skipped for a
weaker one. Two different values under one name are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from . import parameters
from .errors import InvalidCredential, InvalidPass
from .messages import Headers

Source: TypeAlias = Literal["header", "cookie", "query"]
Kind: TypeAlias = Literal["header", "cookie", "query", "session", "signed-url", "signed-cookies"]
PassFields: TypeAlias = Mapping[str, str]
"""The fields of a pass, by the names of its URL parameters."""

PASS_PARAMETERS = frozenset((b"Expires", b"Policy", b"Signature", b"Key-Pair-Id", b"Hash-Algorithm"))
"""Any of them in the query makes the URL a signed URL (CloudFront Developer Guide, "Using signed URLs")."""

COOKIE_PREFIX = "CloudFront-"
PASS_COOKIES = {COOKIE_PREFIX.encode() + name: name for name in PASS_PARAMETERS}
_MISNAMED = "Cookie: "
MAX_PASS_SETS = 8
"""Sets of pass cookies in one request, one for each folder on the way to the object."""


class Sources(NamedTuple):
    """Where credentials may be. A site has one value of it.

    Attributes:
        order: where bearer tokens may be; the first that is present decides.
        cookie: name of the cookie that carries a bare token.
        query: name of the query parameter that carries a token.
        session: name of our own session cookie.
        pass_cookies: True: signed cookies count. Without keys for passes they belong to another site of the domain.
    """

    order: tuple[Source, ...] = ("header", "cookie")
    cookie: str = "token"
    query: str = "token"
    session: str = "__Host-stagedoor"
    pass_cookies: bool = True


class Credential(NamedTuple):
    """The credential that decides: where it was found, and its text; a pass has fields instead.

    Attributes:
        other_sets: of pass cookies, where there are several.
    """

    kind: Kind
    value: str
    fields: PassFields = MappingProxyType({})
    other_sets: tuple[PassFields, ...] = ()


def find(headers: Headers, query: bytes, sources: Sources) -> Credential | None:
    """Return the one credential that decides, or None if the request has none.

    Raises:
        InvalidCredential: the deciding credential is there twice with different values, or is not a token at all.
    """
    authorization, cookies = headers.get(b"authorization", ()), headers.get(b"cookie", ())
    return _find(tuple(authorization), tuple(cookies), query, sources)


@lru_cache(maxsize=256)
def _find(
    authorization: tuple[bytes, ...], cookie_lines: tuple[bytes, ...], query: bytes, sources: Sources
) -> Credential | None:
    """Parse header fields once: a browser sends the same ones with each request."""
    secret = parameters.find(query, _secret(sources)) if query else ()
    signed = [(one.name, one.value) for one in secret if one.name in PASS_PARAMETERS]
    if signed:
        return Credential("signed-url", "", _pass(signed))
    cookies = list(_cookies(cookie_lines, _cookie_names(sources)))
    for source in sources.order:
        if source == "header":
            if authorization:
                return Credential("header", _bearer(_one(authorization, "Authorization header")))
        elif source == "cookie":
            values = _named(cookies, sources.cookie)
            if values:
                return Credential("cookie", _one(values, f"cookie {sources.cookie!r}"))
        else:
            values = [one.value for one in secret if one.name == sources.query.encode()]
            if values:
                return Credential("query", _one(values, f"query parameter {sources.query!r}"))
    values = _named(cookies, sources.session)
    if values:
        return Credential("session", _one(values, f"cookie {sources.session!r}"))
    signed = [(PASS_COOKIES[name], value) for name, value in cookies if name in PASS_COOKIES]
    if signed and sources.pass_cookies:
        first, *others = _pass_sets(signed)
        return Credential("signed-cookies", "", first, tuple(others))
    _explain_curl_mistake(cookies, sources)
    return None


def in_url(query: bytes, sources: Sources) -> bool:
    """Does the URL carry a credential, even one that does not decide?"""
    return query != b"" and strip_query(query, sources) != query


def strip_query(query: bytes, sources: Sources) -> bytes:
    """Return the query without the parameters that carry a credential; the rest is kept byte for byte."""
    return parameters.without(query, _secret(sources))


def without_pass(query: bytes) -> bytes:
    """Return the query without the parameters of a signed URL; the rest is kept byte for byte."""
    return parameters.without(query, PASS_PARAMETERS)


def _pass(found: Sequence[tuple[bytes, bytes]]) -> PassFields:
    fields: dict[str, str] = {}
    for name, value in found:
        text = value.decode("latin-1")
        if fields.setdefault(name.decode(), text) != text:
            raise InvalidPass(f"the pass has two different values of {name.decode()}", code="credential-twice")
    return fields


def _pass_sets(found: Sequence[tuple[bytes, bytes]]) -> list[PassFields]:
    """Sort pass cookies into sets, by position: those of nested paths come one path after the other (RFC 6265 §5.4)."""
    values: dict[str, list[str]] = {}
    for name, value in found:
        values.setdefault(name.decode(), []).append(value.decode("latin-1"))
    if all(len(set(texts)) == 1 for texts in values.values()):
        return [{name: texts[0] for name, texts in values.items()}]
    counts = {len(texts) for texts in values.values()}
    if len(counts) != 1 or max(counts) > MAX_PASS_SETS:
        problem = f"the pass cookies do not make whole sets, or more than {MAX_PASS_SETS}"
        raise InvalidPass(problem, code="credential-twice")
    return [dict(zip(values, texts, strict=True)) for texts in zip(*values.values(), strict=True)]


def _secret(sources: Sources) -> frozenset[bytes]:
    """The names of parameters that carry a credential."""
    return PASS_PARAMETERS | {sources.query.encode()}


def _cookies(lines: Sequence[bytes], names: frozenset[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Name and value of each cookie of these names, as sent; 10,000 others cost next to nothing.

    Parsed by hand, because `http.cookies` drops every cookie after one that it does not understand.
    """
    for line in lines:
        if any(name in line for name in names):
            for match in _cookie_pattern(names).finditer(line):
                yield match[1], match[2].strip(b" \t")


@lru_cache(maxsize=64)
def _cookie_pattern(names: frozenset[bytes]) -> re.Pattern[bytes]:
    return re.compile(rb"(?:^|;)[ \t]*(%s)[ \t]*=([^;]*)" % b"|".join(map(re.escape, sorted(names))))


@lru_cache(maxsize=64)
def _cookie_names(sources: Sources) -> frozenset[bytes]:
    """The names of cookies that mean something to us."""
    ours = (sources.cookie, sources.session, _MISNAMED + sources.cookie)
    return frozenset((*PASS_COOKIES, *(name.encode() for name in ours if name)))


def _named(pairs: Sequence[tuple[bytes, bytes]], name: str) -> list[bytes]:
    wanted = name.encode()
    return [value for found, value in pairs if found == wanted]


def _one(values: Sequence[bytes], what: str) -> str:
    if len(values) > 1 and len(set(values)) > 1:
        raise InvalidCredential(f"the {what} came more than once, with different values", code="credential-twice")
    return values[0].decode("latin-1")


def _bearer(value: str) -> str:
    """Read `Bearer <token>` (RFC 6750 §2.1; the scheme's name is case-insensitive, RFC 9110 §11.1)."""
    scheme, _, token = value.partition(" ")
    token = token.strip(" \t")
    if scheme.lower() != "bearer" or not token:
        raise InvalidCredential("the Authorization header is not 'Bearer <token>'", code="credential-scheme")
    return token


def _explain_curl_mistake(cookies: Sequence[tuple[bytes, bytes]], sources: Sources) -> None:
    """`curl --cookie "Cookie: token=…"` sends a cookie that is *named* "Cookie: token"; say so."""
    if "cookie" in sources.order and _named(cookies, _MISNAMED + sources.cookie):
        raise InvalidCredential(
            f'the cookie is named "Cookie: {sources.cookie}"; with curl write --cookie "{sources.cookie}=…"',
            code="credential-misnamed",
        )
