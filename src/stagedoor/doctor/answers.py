"""Questions about what answers contain: cache rules, header fields, cookies, credentials, faults of the server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from .cookies import SHORTEST_SESSION, is_harmless, lines
from .evidence import Evidence, SkipError
from .visit import BROWSER, REDIRECTS, Visit
from .wire import Answer, Fields

_SHARED = re.compile(r"(?:^|[,\s])(public|s-maxage=(?!0\b)\d+)", re.IGNORECASE)
_UNSHARED = re.compile(r"(?:^|[,\s])(private|no-store|no-cache)\b", re.IGNORECASE)
_SAFE_REFERRER = ("no-referrer", "same-origin", "origin", "strict-origin", "strict-origin-when-cross-origin")


# --- caches


def cache_control(visit: Visit) -> Iterator[Evidence]:
    if _SHARED.search(control := _original(visit).field("cache-control")):
        yield Evidence(f"GET {visit.path}, with the token", f"Cache-Control: {control}")
    first = visit.first_answer
    refused = first is not None and first.status in (401, 403, *REDIRECTS)
    if first and refused and _SHARED.search(control := first.field("cache-control")):
        got = f"{first.status}, Cache-Control: {control}: a cache would serve the refusal to the owner, too"
        yield Evidence(f"GET {visit.path}, without a token", got)


def cache_silence(visit: Visit) -> Iterator[Evidence]:
    control = _original(visit).field("cache-control")
    if not _SHARED.search(control) and not _UNSHARED.search(control):
        yield Evidence(f"GET {visit.path}, with the token", f"Cache-Control: {control or '(none)'}")


def query_token(visit: Visit) -> Iterator[Evidence]:
    if "query" not in visit.sources:
        raise SkipError("no token was accepted in the query")
    assert visit.subject.token is not None
    target, _ = visit.carry(visit.subject.token, "query")
    answer = visit.ask(target, detail="with the token in the query")
    control, referrer = answer.field("cache-control"), answer.field("referrer-policy").lower()
    if not _UNSHARED.search(control) or _SHARED.search(control):
        yield visit.evidence(answer, target, detail=f"Cache-Control: {control or '(none)'}")
    if referrer and referrer not in _SAFE_REFERRER:
        yield visit.evidence(answer, target, detail=f"Referrer-Policy: {referrer}")


# --- content


def response_override(visit: Visit) -> Iterator[Evidence]:
    original = _original(visit)
    disposition = quote(f"attachment; filename={visit.nonce}")
    query = f"response-content-type=text/html%3B{visit.nonce}&response-content-disposition={disposition}"
    for more in (query, f"{query}&response-cache-control=public"):
        target = f"{visit.path}?{more}"
        answer = visit.ask_as_owner(target)
        changed = visit.nonce in answer.field("content-type") + answer.field("content-disposition")
        if answer.status == 200 and changed and visit.nonce not in original.field("content-type"):
            yield visit.evidence(answer, target, detail="with the token")


def nosniff(visit: Visit) -> Iterator[Evidence]:
    path, public = visit.subject.path or visit.subject.public or "/", visit.subject.public
    answers = [(visit.original, f"GET {path}, with the token")] if visit.original else []
    answers.append((visit.ask(path), f"GET {path}, without a token"))
    if visit.pass_target is not None:
        answers.append((visit.ask(visit.pass_target), f"GET {visit.pass_target}, a signed URL"))
    if public and public != path:
        answers.append((visit.ask(public), f"GET {public}"))
    for answer, asked in answers:
        options = answer.field("x-content-type-options")
        if answer.status and options.lower() != "nosniff":
            got = f"{visit.summary(answer)}, X-Content-Type-Options: {options or '(none)'}"
            yield Evidence(visit.redact(asked), got)


def sandbox(visit: Visit) -> Iterator[Evidence]:
    original, settings = _original(visit), visit.subject.settings
    if not re.search(r"html|svg|\bxml\b|\+xml", original.field("content-type")):
        raise SkipError("the object is not a page: name one with --path")
    if settings is not None and settings.trust_html:
        raise SkipError("the settings say that pages are trusted: site.trust_html")
    if "sandbox" not in original.field("content-security-policy"):
        yield visit.evidence(original, visit.path, detail="with the token; no Content-Security-Policy: sandbox")


def inside(visit: Visit) -> Iterator[Evidence]:
    """Ask for what only operators may see; a page that every name gets does not count."""
    key = quote(visit.key if visit.subject.path is not None else "x", safe="")
    for target in ("/metrics", "/-/metrics", f"/-/explain?key={key}", "/stagedoor.toml", "/.env", "/.git/config"):
        answer = visit.ask(target, detail="without a token")
        if answer.status == 200 and "html" not in answer.field("content-type"):
            control = re.sub(r"(\w)(?=\?|$)", rf"\1-{visit.nonce}", target, count=1)
            if visit.compare(answer, partial(visit.ask, control)) == "different":
                yield visit.evidence(answer, target, detail="without a token")


# --- credentials


def session_cookie(visit: Visit) -> Iterator[Evidence]:
    """Look at the session cookie of the site, and at the cookies that other answers have set so far."""
    if visit.subject.token is not None:
        _, fields = visit.carry(visit.subject.token, "header", "/-/session")
        answer = visit.ask("/-/session", "POST", fields)
        for cookie in lines(answer) if 200 <= answer.status < 300 else ():
            name, _, value = cookie.partition(";")[0].partition("=")
            visit.secrets.add(value)
            if not visit.subject.session or name == visit.subject.session:
                visit.session = (name, value)
            yield from unprotected(visit, cookie, "POST /-/session", sure=True)
    if not visit.cookies:
        raise SkipError("no answer set a cookie")
    for cookie, asked in list(visit.cookies.values()):
        value = cookie.partition(";")[0].partition("=")[2]
        seen_above = asked.startswith("POST /-/session")
        if len(value) >= SHORTEST_SESSION and not is_harmless(cookie) and not seen_above:
            yield from unprotected(visit, cookie, asked, sure=False)


def unprotected(visit: Visit, cookie: str, asked: str, *, sure: bool) -> Iterator[Evidence]:
    """Say what a cookie lacks that keeps scripts, other sites and other hosts away from it.

    Args:
        visit: of the site.
        cookie: a Set-Cookie line.
        asked: what was asked for.
        sure: False if it may be no session.
    """
    name = cookie.partition("=")[0]
    flags = {part.strip().lower() for part in cookie.split(";")[1:]}
    lacks = [] if "httponly" in flags else ["HttpOnly"]
    lacks += [] if {"samesite=lax", "samesite=strict"} & flags else ["SameSite"]
    if visit.subject.origin.scheme == "https" or (visit.subject.settings and visit.subject.settings.secure):
        lacks += [] if "secure" in flags else ["Secure"]
    problems = [f"lacks {', '.join(lacks)}"] if lacks else []
    problems += ["is set for a whole domain"] if any(flag.startswith("domain=") for flag in flags) else []
    if problems:
        yield Evidence(asked, f"the cookie {name!r} {' and '.join(problems)}", sure)


def token_shown(visit: Visit) -> Iterator[Evidence]:
    """Send a made-up token through every source, and report all answers so far that repeat a credential."""
    fake = visit.secrets.add(f"doctor{visit.nonce}.{visit.nonce}doctor.{visit.nonce}doctor")
    name = visit.subject.query or "token"
    path = visit.subject.path or f"/no-such-{visit.nonce}"
    requests: list[tuple[str, Fields]] = [(path, (("Authorization", f"Bearer {fake}"),))]
    requests += [(path, (("Cookie", f"{visit.subject.cookie}={fake}"),)), (f"{path}?{name}={fake}", ())]
    requests += [(f"{path}/?{name}={fake}", ()), (f"/?{name}={fake}", ())]
    for target, fields in requests:
        visit.ask(target, fields=fields, detail="with a bad token")
        visit.ask(target, fields=(*fields, *BROWSER), detail="with a bad token, as a browser")
    yield from dict.fromkeys(visit.leaks)


# --- the server itself


def server_fault(visit: Visit) -> Iterator[Evidence]:
    """Send odd input, and report all answers so far that showed a fault."""
    path, long = visit.subject.path or "/", "x" * 7000
    targets = ["/%", "/%zz", "/%00", "/%ff%fe", "/\u00fc", f"/{long}", f"/?{long}", "/?%", "/?=&&=", "*"]
    targets += ["/" + "a/" * 500, "/%ed%a0%80", "/-/", "/-/explain?key=%00", "/-/s3objects?limit=x"]
    targets += ["/-/contents/%2e%2e", "/-/s3objects?cursor=x"]
    for target in targets:
        visit.ask(target)
    for fields in (
        (("Authorization", "Bearer e30.e30.e30"),),
        (("Cookie", f"{visit.subject.cookie}=\xff\xfe; =; ;;"),),
        (("Cookie", "; ".join(f"c{number}=x" for number in range(300))),),
        (("Range", "bytes=" + ",".join("0-0" for _ in range(500))),),
        (("If-None-Match", "," * 2000),),
        (("Accept-Language", "[" * 5000),),
        (("X-Long", "x" * 40000),),
    ):
        visit.ask(path, fields=fields, detail=f"an odd {fields[0][0]}")
    for body in (b"{", b"\xff", b"[]", b'{"file": 1}', b'{"file": "\\ud800"}'):
        visit.ask("/-/urls", "POST", body=body, detail="an odd body")
    yield from dict.fromkeys(visit.faults)


def still_answers(visit: Visit) -> Iterator[Evidence]:
    if visit.throttled:
        yield Evidence("all questions", f"{visit.throttled} answers were 429 (too many requests)")
    if visit.passes_only and visit.pass_target:
        expected, detail = 200, "with a signed URL, which opened it at first"
        answer = visit.ask(visit.pass_target, detail=detail)
    elif visit.subject.token and visit.states.get("opens") == "good":
        expected, detail = 200, "with the token, which opened it at first"
        answer = visit.ask_as_owner()
    elif visit.first_answer is not None:
        expected = visit.first_answer.status
        detail = f"without a token, which got {expected} at first"
        answer = visit.ask(visit.path, detail="without a token")
    else:
        return
    if answer.status != expected:
        yield visit.evidence(answer, visit.path, detail=detail)


def _original(visit: Visit) -> Answer:
    if visit.original is None:
        raise SkipError("no token or signed URL opened the object, so there is no answer to look at")
    return visit.original
