"""Where a credential is found, which one decides, and how all of them are taken out.

The order: a pass in the query; then header, cookie and query in the order of `[tokens] from`; then our own session;
then pass cookies. The first that is present decides, also when it is bad: a bad credential is never skipped for a
weaker one. Two different values under one name are refused. Two exceptions: `Authorization` with another scheme than
Bearer is no credential of ours, and the door passes over a bad token cookie beside a good session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from . import cookies, parameters
from .errors import InvalidCredential, InvalidPass
from .messages import Headers

Source: TypeAlias = Literal["header", "cookie", "query"]
Kind: TypeAlias = Literal["header", "cookie", "query", "session", "signed-url", "signed-cookies"]
PASSES: tuple[Kind, ...] = ("signed-url", "signed-cookies")
"""Kinds that open an object, and name nobody."""
PassFields: TypeAlias = Mapping[str, str]
"""The fields of a pass, by the names of its URL parameters."""

PASS_PARAMETERS = frozenset((b"Expires", b"Policy", b"Signature", b"Key-Pair-Id", b"Hash-Algorithm"))
"""Any of them in the query makes the URL a signed URL (CloudFront Developer Guide, "Using signed URLs")."""

COOKIE_PREFIX = "CloudFront-"
PASS_COOKIES = {COOKIE_PREFIX.encode() + name: name for name in PASS_PARAMETERS}
_MISNAMED = "Cookie: "
MAX_PASS_SETS = 8
"""Sets of pass cookies in one request, one for each folder on the way to the object."""

_BEARER = re.compile(rb"bearer(?:[ \t]|\Z)", re.IGNORECASE)
_SCHEME = re.compile(rb"(basic|digest|negotiate|ntlm|dpop|oauth|token|jwt|aws4-hmac-sha256) ", re.IGNORECASE)
_LOST_TOKEN = re.compile(rb"(?:[^\s,]+ +)?ey[\w-]+\.ey[\w-]+\.[\w-]*[ \t]*\Z")
_WITH_SCHEME = re.compile(rb'"?bearer(?: |%20|\+)', re.IGNORECASE)


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
    """The credential that decides.

    Attributes:
        kind: where it was found.
        value: its text; "" for a pass.
        fields: of a pass.
        other_sets: of pass cookies, where there are several.
        beside_bad_token: True for a session beside a token cookie that was passed over.
    """

    kind: Kind
    value: str
    fields: PassFields = MappingProxyType({})
    other_sets: tuple[PassFields, ...] = ()
    beside_bad_token: bool = False


def find(headers: Headers, query: bytes, sources: Sources) -> Credential | None:
    """Return the one credential that decides, or None if the request has none.

    Raises:
        InvalidCredential: the deciding credential is there twice with different values, or is not a token at all.
    """
    authorization, cookie_lines = headers.get(b"authorization", ()), headers.get(b"cookie", ())
    return _find(tuple(authorization), tuple(cookie_lines), query, sources)


def find_session(headers: Headers, sources: Sources) -> Credential | None:
    """Return our session cookie, whatever else there is; None if there is none, or two different ones."""
    values = set(_named(list(cookies.read(headers.get(b"cookie", ()), _cookie_names(sources))), sources.session))
    return Credential("session", values.pop().decode("latin-1")) if len(values) == 1 else None


def other_scheme(headers: Headers, sources: Sources) -> str | None:
    """Say which scheme `Authorization` has, if it is there and is not Bearer; None if that explains nothing.

    Returns:
        For a message. Only well-known schemes are named, because the first word may as well be a password.
    """
    lines = [line for line in headers.get(b"authorization", ()) if not _BEARER.match(line)]
    if not lines or "header" not in sources.order:
        return None
    scheme = _SCHEME.match(lines[0])
    return f"has the scheme {scheme[1].decode()}" if scheme else "does not begin with the word Bearer"


@lru_cache(maxsize=256)
def _find(
    authorization: tuple[bytes, ...], cookie_lines: tuple[bytes, ...], query: bytes, sources: Sources
) -> Credential | None:
    """Parse header fields once: a browser sends the same ones with each request."""
    secret = parameters.find(query, _secret(sources)) if query else ()
    signed = [(one.name, one.value) for one in secret if one.name in PASS_PARAMETERS]
    if signed:
        return Credential("signed-url", "", _pass(signed))
    found = list(cookies.read(cookie_lines, _cookie_names(sources)))
    for source in sources.order:
        if source == "header":
            ours = [line for line in authorization if _BEARER.match(line)]
            if ours:
                return Credential("header", _bearer(_one(ours, "Authorization header", "header")))
        elif source == "cookie":
            values = _named(found, sources.cookie)
            if values:
                return Credential("cookie", _bare(_one(values, f"cookie {sources.cookie!r}", "cookie")))
        else:
            values = [one.value for one in secret if one.name == sources.query.encode()]
            if values:
                return Credential("query", _one(values, f"query parameter {sources.query!r}", "query"))
    values = _named(found, sources.session)
    if values:
        return Credential("session", _one(values, f"cookie {sources.session!r}", "session"))
    signed = [(PASS_COOKIES[name], value) for name, value in found if name in PASS_COOKIES]
    if signed and sources.pass_cookies:
        first, *others = _pass_sets(signed)
        return Credential("signed-cookies", "", first, tuple(others))
    _explain_curl_mistake(found, sources)
    if "header" in sources.order and any(map(_LOST_TOKEN.match, authorization)):
        raise InvalidCredential(
            "the Authorization header holds a token, but not as 'Bearer <token>'",
            code="credential-scheme",
            place="header",
        )
    return None


def in_url(query: bytes, sources: Sources) -> bool:
    """Does the URL carry a credential, even one that does not decide?"""
    return query != b"" and strip_query(query, sources) != query


def is_signed(query: bytes) -> bool:
    """Does the URL carry a pass, or a part of one?"""
    return query != b"" and without_pass(query) != query


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


@lru_cache(maxsize=64)
def _cookie_names(sources: Sources) -> frozenset[bytes]:
    """The names of cookies that mean something to us."""
    ours = (sources.cookie, sources.session, _MISNAMED + sources.cookie)
    return frozenset((*PASS_COOKIES, *(name.encode() for name in ours if name)))


def _named(pairs: Sequence[tuple[bytes, bytes]], name: str) -> list[bytes]:
    wanted = name.encode()
    return [value for found, value in pairs if found == wanted]


def _one(values: Sequence[bytes], what: str, place: Kind) -> str:
    if len(values) > 1 and len(set(values)) > 1:
        raise InvalidCredential(
            f"the {what} came more than once, with different values", code="credential-twice", place=place
        )
    return values[0].decode("latin-1")


def _bearer(value: str) -> str:
    """Read `Bearer <token>` (RFC 6750 §2.1; the scheme's name is case-insensitive, RFC 9110 §11.1)."""
    token = value[len("Bearer") :].strip(" \t")
    if not value[len("Bearer") :].startswith(" ") or not token:
        raise InvalidCredential(
            "the Authorization header is not 'Bearer <token>'", code="credential-scheme", place="header"
        )
    return token


def _bare(value: str) -> str:
    """Refuse `Bearer <token>` in the cookie, because its owner could not guess what is wrong with the token."""
    if _WITH_SCHEME.match(value.encode("latin-1")):
        raise InvalidCredential(
            "its value begins with the word Bearer; store the token alone", code="credential-scheme", place="cookie"
        )
    return value


def _explain_curl_mistake(found: Sequence[tuple[bytes, bytes]], sources: Sources) -> None:
    """`curl --cookie "Cookie: token=…"` sends a cookie that is *named* "Cookie: token"; say so."""
    if "cookie" in sources.order and _named(found, _MISNAMED + sources.cookie):
        raise InvalidCredential(
            f'the cookie is named "Cookie: {sources.cookie}"; with curl write --cookie "{sources.cookie}=…"',
            code="credential-misnamed",
        )
