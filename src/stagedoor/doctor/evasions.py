"""Questions about ways to ask for the object that may get around the check: spellings, header fields, methods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import formatdate
from functools import partial

from . import forge
from .evidence import Evidence
from .spellings import spellings
from .visit import BROWSER, EVIL, Visit
from .wire import Answer, Fields


def path_spelling(visit: Visit) -> Iterator[Evidence]:
    authority, public = visit.subject.origin.authority, visit.subject.public
    pairs = zip(spellings(visit.path, authority, public), spellings(visit.missing, authority, public), strict=True)
    controls = {target: control for target, control in pairs if target != visit.path}
    for caller, credentials in visit.outsiders():
        for target, control in controls.items():
            yield from visit.try_open(target, fields=credentials, detail=caller, control=control)


# --- header fields

_REWRITES = (
    ("X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Forwarded-Uri"),
    ("X-Forwarded-Path", "X-Forwarded-Prefix"),
)
_HOSTS: tuple[Fields, ...] = (
    (("Host", EVIL),),
    (("Host", "localhost"),),
    (("X-Forwarded-Host", EVIL),),
    (("Forwarded", f"host={EVIL};proto=https"),),
    (("X-Forwarded-Server", EVIL),),
)
_ADDRESSES = ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP")
_PEOPLE = ("X-Forwarded-User", "X-Remote-User", "Remote-User", "X-Auth-Request-User", "X-User", "X-Amzn-Oidc-Identity")
_MAILS = ("X-Forwarded-Email", "X-Auth-Request-Email", "Cf-Access-Authenticated-User-Email")
_LINK = rb"""(?i)(?:href|src|action|url|content)\s*=\s*["']?[^"'>\s]{0,200}?"""


def header_tricks(visit: Visit) -> Iterator[Evidence]:
    open_target = visit.subject.public or "/"
    for caller, credentials in visit.outsiders():
        for fields in _claims_about_the_client(visit):
            detail = f"{caller}, {_in_words(fields)}"
            yield from visit.try_open(visit.path, fields=(*credentials, *fields), detail=detail)
        before = visit.ask(open_target, fields=credentials)
        for names in _REWRITES:
            yield from _rewritten(visit, open_target, before, names, caller, credentials)
    for fields in _HOSTS:
        answer = visit.ask(visit.path, fields=(*fields, *BROWSER))
        if _leads_to_evil_host(answer):
            detail = f"{_in_words(fields)}: the answer leads to that host"
            yield visit.evidence(answer, visit.path, detail=detail)
        elif answer.success:
            yield from visit.try_open(visit.path, fields=fields, detail=_in_words(fields))


def _claims_about_the_client(visit: Visit) -> Iterator[Fields]:
    """Header fields that say who asks, from where and for what; those that say the same are sent together."""
    claims = forge.claims_of(visit.subject.token)
    sub, mail = (str(claims.get(name) or other) for name, other in (("sub", "admin"), ("email", "admin@localhost")))
    for address in ("127.0.0.1", "10.0.0.1"):
        yield (*((name, address) for name in _ADDRESSES), ("Forwarded", f"for={address}"))
    for person in dict.fromkeys(("admin", sub)):
        yield tuple((name, person) for name in _PEOPLE)
    yield tuple((name, mail) for name in _MAILS)
    yield (("X-Forwarded-Method", "OPTIONS"), ("X-HTTP-Method-Override", "OPTIONS"))
    yield (("X-Forwarded-Uri", "/"), ("X-Original-URI", "/"), ("X-Original-URL", "/"))
    yield (("Referer", f"https://{EVIL}{visit.path}"),)
    yield (("Referer", f"{visit.subject.origin}/"), ("Sec-Fetch-Site", "same-origin"))
    yield (("X-Middleware-Subrequest", "middleware:middleware:middleware:middleware:middleware"),)
    yield (("Connection", "close, Authorization, Cookie"),)


def _rewritten(
    visit: Visit, target: str, before: Answer, names: tuple[str, ...], caller: str, credentials: Fields
) -> Iterator[Evidence]:
    """Ask for an open target, with header fields that name the object."""

    def ask(path: str) -> Answer:
        return visit.ask(target, fields=(*credentials, *((name, path) for name in names)), detail=caller)

    answer = ask(visit.path)
    differs = answer.success and (answer.status, answer.body) != (before.status, before.body)
    if differs and visit.compare(answer, partial(ask, visit.missing)) == "different":
        yield visit.evidence(answer, target, detail=f"{caller}, {' and '.join(names)}: {visit.path}")


def _leads_to_evil_host(answer: Answer) -> bool:
    """Does a redirect, a link or a form of the answer lead to the made-up host? Its name in a text does no harm."""
    redirect = answer.field("location") + answer.field("refresh")
    return EVIL in redirect or re.search(_LINK + re.escape(EVIL).encode(), answer.body) is not None


def _in_words(fields: Fields) -> str:
    return "; ".join(f"{name}: {value}" for name, value in fields)


# --- methods, ranges and conditions


def head(visit: Visit) -> Iterator[Evidence]:
    for caller, credentials in visit.outsiders():
        yield from visit.try_open(visit.path, "HEAD", credentials, caller)


def range_(visit: Visit) -> Iterator[Evidence]:
    version = _etag(visit) or formatdate(4_000_000_000, usegmt=True)
    spans = ("bytes=0-", "bytes=-1", "bytes=0-0,2-2", "bytes=999999999999-")
    tries: list[Fields] = [(("Range", span),) for span in spans]
    tries.append((("Range", "bytes=0-0"), ("If-Range", version)))
    for caller, credentials in visit.outsiders():
        for fields in tries:
            detail = f"{caller}, {_in_words(fields)}"
            yield from visit.try_open(visit.path, fields=(*credentials, *fields), detail=detail)


def conditional(visit: Visit) -> Iterator[Evidence]:
    tries = [("If-None-Match", "*"), ("If-Modified-Since", formatdate(4_000_000_000, usegmt=True))]
    tries += [("If-Match", '"no-such-version"'), ("If-Unmodified-Since", formatdate(1, usegmt=True))]
    tries += [("If-None-Match", _etag(visit))] if _etag(visit) else []
    for caller, credentials in visit.outsiders():
        methods = ("GET", "HEAD") if visit.states.get("head") == "good" and not credentials else ("GET",)
        for condition in tries:
            for method in methods:
                detail = f"{caller}, {_in_words([condition])}"
                yield from visit.try_open(visit.path, method, (*credentials, condition), detail)


def _etag(visit: Visit) -> str:
    return visit.original.field("etag") if visit.original else ""


def methods(visit: Visit) -> Iterator[Evidence]:
    """Writing is tried only on a name that does not exist; DELETE comes last, to remove what PUT may have stored."""
    target = f"/no-such-{visit.nonce}" if visit.subject.path is None else visit.missing
    for token in [None, visit.subject.token] if visit.subject.token else [None]:
        yield from _written(visit, target, token)
    echo = visit.ask(target, "TRACE", (("X-Doctor", visit.nonce),))
    if echo.status == 200 and visit.nonce.encode() in echo.body.replace(target.encode(), b""):
        yield visit.evidence(echo, target, "TRACE", "the answer repeats the request's header fields, cookies included")
    if visit.subject.path is not None and visit.states.get("no-token") == "good":
        for method in ("get", "DOCTOR", "OPTIONS", "POST", "PROPFIND"):
            yield from visit.try_open(visit.path, method, detail="without a token")


def _written(visit: Visit, target: str, token: str | None) -> Iterator[Evidence]:
    credentials = visit.carry(token, visit.sources[0], target)[1] if token else ()
    detail = "with the token" if token else "without a token"
    for method in ("PUT", "POST", "PATCH", "MKCOL", "PROPFIND", "DELETE"):
        condition = (("If-None-Match", "*"),) if method == "PUT" else ()
        answer = visit.ask(target, method, (*credentials, *condition), detail=detail)
        control = partial(visit.ask, target, "GET", credentials)
        if 200 <= answer.status < 300 and visit.compare(answer, control) == "different":
            yield visit.evidence(answer, target, method, detail)
