"""Questions about what answers carry: cache rules, headers, cookies, words of the visitor, faults of the server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from urllib.parse import quote, urljoin, urlsplit

from .visit import BROWSER, EVIL, Evidence, Place, SkipError, Visit
from .wire import Answer, Fields, Origin

_SHARED = re.compile(r"(?:^|[,\s])(public|s-maxage=(?!0\b)\d+)", re.IGNORECASE)
_UNSHARED = re.compile(r"(?:^|[,\s])(private|no-store|no-cache)\b", re.IGNORECASE)
_SAFE_REFERRER = ("no-referrer", "same-origin", "origin", "strict-origin", "strict-origin-when-cross-origin")
_REDIRECTS = (301, 302, 303, 307, 308)


def shared_cache(visit: Visit) -> Iterator[Evidence]:
    truth = _truth(visit)
    if _SHARED.search(control := truth.field("cache-control")):
        yield Evidence(f"GET {visit.path}, with the token", f"Cache-Control: {control}")
    refusal = visit.first if visit.first and visit.first.status in (401, 403, *_REDIRECTS) else None
    if refusal and _SHARED.search(control := refusal.field("cache-control")):
        got = f"{refusal.status}, Cache-Control: {control}: a cache gives the refusal to its owner, too"
        yield Evidence(f"GET {visit.path}, without a token", got)


def silent_cache(visit: Visit) -> Iterator[Evidence]:
    truth = _truth(visit)
    control = truth.field("cache-control")
    if not _SHARED.search(control) and not _UNSHARED.search(control):
        yield Evidence(f"GET {visit.path}, with the token", f"Cache-Control: {control or '(none)'}")


def query_token(visit: Visit) -> Iterator[Evidence]:
    if "query" not in visit.places:
        raise SkipError("no token was accepted in the query")
    assert visit.subject.token is not None
    target, _ = visit.bring(visit.subject.token, "query")
    answer = visit.ask(target, said="with the token in the query")
    control, referrer = answer.field("cache-control"), answer.field("referrer-policy").lower()
    if not _UNSHARED.search(control) or _SHARED.search(control):
        yield visit.evidence(answer, target, said=f"Cache-Control: {control or '(none)'}")
    if referrer and referrer not in _SAFE_REFERRER:
        yield visit.evidence(answer, target, said=f"Referrer-Policy: {referrer}")


def overrides(visit: Visit) -> Iterator[Evidence]:
    truth = _truth(visit)
    disposition = f"attachment; filename={visit.nonce}"
    query = f"response-content-type=text/html%3B{visit.nonce}&response-content-disposition={quote(disposition)}"
    for more in (query, f"{query}&response-cache-control=public"):
        answer = visit.with_token(f"{visit.path}?{more}")
        told = answer.field("content-type") + answer.field("content-disposition")
        if answer.status == 200 and visit.nonce in told and visit.nonce not in truth.field("content-type"):
            yield visit.evidence(answer, f"{visit.path}?{more}", said="with the token")


def reflection(visit: Visit) -> Iterator[Evidence]:
    tag = f"<doctor-{visit.nonce}>"
    coded, beside = quote(tag), f"/no-such-{visit.nonce}"
    asked: list[tuple[str, Fields]] = [(f"{beside}?q={tag}", ()), (f"{beside}?q={coded}", ())]
    asked += [(f"{beside}{tag}", ()), (f"{beside}{coded}", ()), (f"{beside}?next={coded}&error={coded}", ())]
    asked += [(f"/login?next={coded}&error={coded}", ()), (f"/-/login?next={coded}", ())]
    asked += [(beside, (("Referer", f"https://{EVIL}/{tag}"),)), (beside, (("User-Agent", tag),))]
    for target, fields in asked:
        answer = visit.ask(target, fields=(*fields, *BROWSER))
        if tag.encode() in answer.body and "html" in answer.field("content-type"):
            yield visit.evidence(answer, target, said=f"{tag} stands in the page as it was sent")
    for target in (f"{beside}%0d%0aX-Doctor:%20{visit.nonce}", f"{beside}?next=%0d%0aX-Doctor:%20{visit.nonce}"):
        answer = visit.ask(target, fields=BROWSER)
        if answer.field("x-doctor"):
            yield visit.evidence(answer, target, said="a line end in it began a header field of the answer")


def token_shown(visit: Visit) -> Iterator[Evidence]:
    """Bring a token that is none, and look where it turns up; so do all other questions meanwhile."""
    fake = visit.keep_secret(f"doctor{visit.nonce}.{visit.nonce}doctor.{visit.nonce}doctor")
    name = visit.subject.query or "token"
    path = visit.subject.path or f"/no-such-{visit.nonce}"
    brought: list[tuple[str, Fields]] = [(path, (("Authorization", f"Bearer {fake}"),))]
    brought += [(path, (("Cookie", f"{visit.subject.cookie}={fake}"),)), (f"{path}?{name}={fake}", ())]
    brought += [(f"{path}/?{name}={fake}", ()), (f"/?{name}={fake}", ())]
    for target, fields in brought:
        visit.ask(target, fields=fields, said="with a bad token")
        visit.ask(target, fields=(*fields, *BROWSER), said="with a bad token, as a browser")
    yield from dict.fromkeys(visit.leaks)


def open_redirect(visit: Visit) -> Iterator[Evidence]:
    """Where a page takes an address to lead to, ask for each way to write one that is taken for the site's own."""
    origin = visit.subject.origin
    own = (f"/doctor-{visit.nonce}", f"{origin}/doctor-{visit.nonce}")
    for path in (*_LOGINS, *_PAGES, *([visit.path] if visit.subject.path is not None else [])):
        follows = path in _LOGINS or any(
            visit.nonce in _leads(visit.ask(_sent_on(path, value), fields=BROWSER)) for value in own
        )
        for value in _elsewhere(origin) if follows else (f"https://{EVIL}/",):
            yield from _leads_away(visit, _sent_on(path, value))
    for target in (f"//{EVIL}/%2e%2e", f"//{EVIL}/..", f"//{EVIL}", f"/%5c{EVIL}/", f"/%2f{EVIL}/", f"/.{EVIL}"):
        yield from _leads_away(visit, target)


_LOGINS = ("/-/login", "/login")
_PAGES = ("/-/logout", "/signin", "/logout", "/oauth2/sign_out", "/")
_NAMES = ("next", "redirect", "redirect_uri", "return_to", "returnUrl", "rd", "url")


def _sent_on(path: str, value: str) -> str:
    coded = quote(value, safe="")
    return f"{path}?{'&'.join(f'{name}={coded}' for name in _NAMES)}"


def _elsewhere(origin: Origin) -> Iterator[str]:
    yield from (f"https://{EVIL}/", f"//{EVIL}/", f"/\\{EVIL}/", f"https:{EVIL}/", f"/\t/{EVIL}/")
    yield from (f"{origin.scheme}://{origin.host}.{EVIL}/", f"{origin}@{EVIL}/", f"https://{EVIL}/{origin.host}")
    yield f"javascript:alert(1)//{EVIL}"


def _leads(answer: Answer) -> str:
    """Where a browser would go from here; "" if nowhere."""
    refresh = re.search(r"(?i)url\s*=\s*[\"']?([^\"';]+)", answer.field("refresh"))
    return answer.field("location") if answer.status in _REDIRECTS else refresh[1] if refresh else ""


def _leads_away(visit: Visit, target: str) -> Iterator[Evidence]:
    answer = visit.ask(target, fields=BROWSER)
    location = re.sub(r"[\t\r\n]", "", _leads(answer)).replace("\\", "/")  # as browsers read it (URL Standard §4.4)
    try:
        there = urlsplit(urljoin(str(visit.subject.origin), location))
    except ValueError:
        return
    if (there.hostname or "").endswith(EVIL) or there.scheme == "javascript":
        yield visit.evidence(answer, target, said="" if answer.field("location") else f"Refresh: {location}")


def cors(visit: Visit) -> Iterator[Evidence]:
    settings, token = visit.subject.settings, visit.subject.token
    listed = settings.origins if settings else ()
    path = visit.subject.path or visit.subject.public or "/"
    for origin in _strangers(visit, *listed):
        fields: Fields = (("Origin", origin),)
        asks = (("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "authorization"))
        for method, target in (("GET", path), ("OPTIONS", path), ("GET", "/-/whoami"), ("GET", "/-/s3objects")):
            sent, more = visit.bring(token, visit.places[0], target) if token and method == "GET" else (target, asks)
            answer = visit.ask(sent, method, (*fields, *more))
            allowed = answer.field("access-control-allow-origin")
            if allowed in (origin, "*") and answer.field("access-control-allow-credentials").lower() == "true":
                asked = f"{method} {target}, Origin: {origin}"
                yield Evidence(asked, f"Access-Control-Allow-Origin: {allowed}, with credentials")


def _strangers(visit: Visit, *listed: str) -> list[str]:
    """Origins of others, above all those that could be taken for one that is welcome."""
    origin = visit.subject.origin
    beside = f"https://{EVIL.partition('.')[0]}{origin.host}"
    origins = [f"https://{EVIL}", "null", f"https://{origin.host}.{EVIL}", beside]
    for one in listed[:1]:
        origins += [f"{one}.{EVIL}", one.replace("https:", "http:")]
    return [one for one in dict.fromkeys(origins) if one not in (*listed, str(origin))]


def forged_form(visit: Visit) -> Iterator[Evidence]:
    """What a page of another site could make a visitor's browser send."""
    assert visit.subject.token is not None
    listed = visit.subject.settings.origins if visit.subject.settings else ()
    sessions: Place = "header"
    place: Place = "cookie" if "cookie" in visit.places and not visit.by_pass else "header"
    body = json.dumps({"file": visit.key}).encode()
    answers = []
    for origin in _strangers(visit, *listed):
        for target, where in (("/-/session", sessions), ("/-/urls", place)):
            _, fields = visit.bring(visit.subject.token, where, target)
            answer = visit.ask(target, "POST", (*fields, ("Origin", origin)), body)
            answers.append(answer)
            if answer.status in (201, 204) or answer.field("set-cookie") or b'"signedUrl"' in answer.body:
                yield visit.evidence(answer, target, "POST", f"Origin: {origin}, the token in the {where}")
    if all(answer.status in (0, 200, 404, 405, 501) for answer in answers):
        raise SkipError("there is no /-/session and no /-/urls")


def sniffing(visit: Visit) -> Iterator[Evidence]:
    path = visit.subject.path or visit.subject.public or "/"
    asked = [(visit.truth, f"GET {path}, with the token")] if visit.truth else []
    asked += [(visit.ask(path), f"GET {path}, without a token")]
    if visit.pass_target is not None:
        asked.append((visit.ask(visit.pass_target), f"GET {visit.pass_target}, a signed URL"))
    if visit.subject.public and visit.subject.public != path:
        asked.append((visit.ask(visit.subject.public), f"GET {visit.subject.public}"))
    for answer, words in asked:
        if answer and answer.status and answer.field("x-content-type-options").lower() != "nosniff":
            yield Evidence(
                visit.told(words),
                f"{visit.got(answer)}, X-Content-Type-Options: {answer.field('x-content-type-options') or '(none)'}",
            )


def session_cookie(visit: Visit) -> Iterator[Evidence]:
    """The site's own session, and whatever else any answer has set."""
    if visit.subject.token is not None:
        _, fields = visit.bring(visit.subject.token, "header", "/-/session")
        answer = visit.ask("/-/session", "POST", fields)
        for cookie in answer.all("set-cookie") if 200 <= answer.status < 300 else ():
            name, _, value = cookie.partition(";")[0].partition("=")
            visit.keep_secret(value)
            if not visit.subject.session or name == visit.subject.session:
                visit.session = (name, value)
            yield from _careless(visit, cookie, "POST /-/session", sure=True)
    if not visit.cookies:
        raise SkipError("no answer set a cookie")
    for cookie, asked in list(visit.cookies.values()):
        if len(cookie.partition(";")[0].partition("=")[2]) > 15 and not _HARMLESS.match(cookie):
            yield from _careless(visit, cookie, asked, sure=False)


_HARMLESS = re.compile(r"(?i)aws(alb|elb)|[\w.-]*(csrf|xsrf)")
"""Names of cookies that load balancers set, or that scripts are to read."""


def _careless(visit: Visit, cookie: str, asked: str, *, sure: bool) -> Iterator[Evidence]:
    name = cookie.partition("=")[0]
    flags = {part.strip().lower() for part in cookie.split(";")[1:]}
    lacks = [] if "httponly" in flags else ["HttpOnly"]
    lacks += [] if {"samesite=lax", "samesite=strict"} & flags else ["SameSite"]
    if visit.subject.origin.scheme == "https" or (visit.subject.settings and visit.subject.settings.secure):
        lacks += [] if "secure" in flags else ["Secure"]
    lacks += ["no Domain"] if any(flag.startswith("domain=") for flag in flags) else []
    if lacks and (sure or not asked.startswith("POST /-/session")):
        yield Evidence(asked, f"the cookie {name!r} lacks {', '.join(lacks)}", sure)


def sandbox(visit: Visit) -> Iterator[Evidence]:
    truth, settings = _truth(visit), visit.subject.settings
    if not re.search(r"html|svg|\bxml\b|\+xml", truth.field("content-type")):
        raise SkipError("the object is no page: name one with --path")
    if settings is not None and settings.trust_html:
        raise SkipError("the settings say that pages are trusted: site.trust_html")
    if "sandbox" not in truth.field("content-security-policy"):
        yield visit.evidence(truth, visit.path, said="with the token; no Content-Security-Policy: sandbox")


def inside(visit: Visit) -> Iterator[Evidence]:
    """Ask for what is the operator's alone; a page that is sent for every name is none of it."""
    key = quote(visit.key if visit.subject.path is not None else "x", safe="")
    for target in ("/metrics", "/-/metrics", f"/-/explain?key={key}", "/stagedoor.toml", "/.env", "/.git/config"):
        answer = visit.ask(target, said="without a token")
        if answer.status == 200 and "html" not in answer.field("content-type"):
            beside = re.sub(r"(\w)(?=\?|$)", rf"\1-{visit.nonce}", target, count=1)
            if visit.as_for(answer, partial(visit.ask, beside)) == "no":
                yield visit.evidence(answer, target, said="without a token")


def faults(visit: Visit) -> Iterator[Evidence]:
    """Odd input of its own; the answers to all other questions count too."""
    path, long = visit.subject.path or "/", "x" * 7000
    odd = ["/%", "/%zz", "/%00", "/%ff%fe", "/\u00fc", f"/{long}", f"/?{long}", "/?%", "/?=&&=", "*", "/" + "a/" * 500]
    odd += [
        "/%ed%a0%80",
        "/-/",
        "/-/explain?key=%00",
        "/-/s3objects?limit=x",
        "/-/contents/%2e%2e",
        "/-/s3objects?cursor=x",
    ]
    for target in odd:
        visit.ask(target)
    deep = "[" * 5000
    for fields in (
        (("Authorization", "Bearer e30.e30.e30"),),
        (("Cookie", f"{visit.subject.cookie}=\xff\xfe; =; ;;"),),
        (("Cookie", "; ".join(f"c{number}=x" for number in range(300))),),
        (("Range", "bytes=" + ",".join("0-0" for _ in range(500))),),
        (("If-None-Match", "," * 2000),),
        (("Accept-Language", deep),),
        (("X-Long", "x" * 40000),),
    ):
        visit.ask(path, fields=fields, said=f"an odd {fields[0][0]}")
    for body in (b"{", b"\xff", b"[]", b'{"file": 1}', b'{"file": "\\ud800"}'):
        visit.ask("/-/urls", "POST", body=body, said="an odd body")
    yield from dict.fromkeys(visit.faults)


def still_answers(visit: Visit) -> Iterator[Evidence]:
    if visit.slowed:
        yield Evidence("all of it", f"{visit.slowed} answers were 429 (too many requests)")
    if visit.by_pass and visit.pass_target:
        answer = visit.ask(visit.pass_target, said="a signed URL, which opened it at first")
        if answer.status != 200:
            yield visit.evidence(answer, visit.path, said="with a signed URL, which opened it at first")
    elif visit.subject.token and visit.states.get("opens") == "good":
        answer = visit.with_token()
        if answer.status != 200:
            yield visit.evidence(answer, visit.path, said="with the token, which opened it at first")
    elif visit.first is not None:
        answer = visit.ask(visit.path, said="without a token")
        if answer.status != visit.first.status:
            yield visit.evidence(answer, visit.path, said=f"without a token, which was {visit.first.status} at first")


def _truth(visit: Visit) -> Answer:
    if visit.truth is None:
        raise SkipError("nobody opened the object, so there is nothing to look at")
    return visit.truth
