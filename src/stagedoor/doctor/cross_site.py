"""Questions about what links and pages of other sites can do to a visitor: scripts, forms, redirects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote, urljoin, urlsplit

from ..core.credentials import Source
from . import cookies
from .evidence import Evidence, SkipError
from .visit import BROWSER, EVIL, REDIRECTS, Visit
from .wire import Answer, Fields, Origin

_PREFLIGHT: Fields = (("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "authorization"))


def cross_site_post(visit: Visit) -> Iterator[Evidence]:
    """What a page of another site could make a visitor's browser send."""
    assert visit.subject.token is not None
    for_passes: Source = "cookie" if "cookie" in visit.sources and not visit.passes_only else "header"
    endpoints: tuple[tuple[str, Source], ...] = (("/-/session", "header"), ("/-/urls", for_passes))
    body = json.dumps({"file": visit.key}).encode()
    answers = []
    for origin in strangers(visit):
        for target, source in endpoints:
            _, fields = visit.carry(visit.subject.token, source, target)
            answer = visit.ask(target, "POST", (*fields, ("Origin", origin)), body)
            answers.append(answer)
            if answer.status in (201, 204) or cookies.lines(answer) or b'"signedUrl"' in answer.body:
                yield visit.evidence(answer, target, "POST", f"Origin: {origin}, the token in the {source}")
    if all(answer.status in (0, 200, 404, 405, 501) for answer in answers):
        raise SkipError("the site has neither /-/session nor /-/urls")


def cors(visit: Visit) -> Iterator[Evidence]:
    token = visit.subject.token
    path = visit.subject.path or visit.subject.public or "/"
    for origin in strangers(visit):
        for method, target in (("GET", path), ("OPTIONS", path), ("GET", "/-/whoami"), ("GET", "/-/s3objects")):
            sent, fields = target, _PREFLIGHT
            if token and method == "GET":
                sent, fields = visit.carry(token, visit.sources[0], target)
            answer = visit.ask(sent, method, (("Origin", origin), *fields))
            allowed = answer.field("access-control-allow-origin")
            if allowed in (origin, "*") and answer.field("access-control-allow-credentials").lower() == "true":
                asked = f"{method} {target}, Origin: {origin}"
                yield Evidence(asked, f"Access-Control-Allow-Origin: {allowed}, with credentials")


def strangers(visit: Visit) -> list[str]:
    """Origins that are not allowed, above all those that look like an allowed one."""
    allowed = tuple(visit.subject.settings.origins) if visit.subject.settings else ()
    own = visit.subject.origin
    with_own_ending = f"https://{EVIL.partition('.')[0]}{own.host}"
    origins = [f"https://{EVIL}", "null", f"https://{own.host}.{EVIL}", with_own_ending]
    for one in allowed[:1]:
        origins += [f"{one}.{EVIL}", one.replace("https:", "http:")]
    return [one for one in dict.fromkeys(origins) if one not in (*allowed, str(own))]


def reflection(visit: Visit) -> Iterator[Evidence]:
    tag = f"<doctor-{visit.nonce}>"
    coded, path = quote(tag), f"/no-such-{visit.nonce}"
    requests: list[tuple[str, Fields]] = [(f"{path}?q={tag}", ()), (f"{path}?q={coded}", ())]
    requests += [(f"{path}{tag}", ()), (f"{path}{coded}", ()), (f"{path}?next={coded}&error={coded}", ())]
    requests += [(f"/login?next={coded}&error={coded}", ()), (f"/-/login?next={coded}", ())]
    requests += [(path, (("Referer", f"https://{EVIL}/{tag}"),)), (path, (("User-Agent", tag),))]
    for target, fields in requests:
        answer = visit.ask(target, fields=(*fields, *BROWSER))
        if tag.encode() in answer.body and "html" in answer.field("content-type"):
            yield visit.evidence(answer, target, detail=f"the page contains {tag}, unescaped")
    for target in (f"{path}%0d%0aX-Doctor:%20{visit.nonce}", f"{path}?next=%0d%0aX-Doctor:%20{visit.nonce}"):
        answer = visit.ask(target, fields=BROWSER)
        if answer.field("x-doctor"):
            yield visit.evidence(answer, target, detail="its line break started a header field of the answer")


# --- redirects

_LOGINS = ("/-/login", "/login")
_PAGES = ("/-/logout", "/signin", "/logout", "/oauth2/sign_out", "/")
_PARAMETERS = ("next", "redirect", "redirect_uri", "return_to", "returnUrl", "rd", "url")


def open_redirect(visit: Visit) -> Iterator[Evidence]:
    """If a page redirects to a URL from its query, try foreign URLs that look like the site's own."""
    origin = visit.subject.origin
    own_urls = (f"/doctor-{visit.nonce}", f"{origin}/doctor-{visit.nonce}")
    for path in (*_LOGINS, *_PAGES, *([visit.path] if visit.subject.path is not None else [])):
        redirects = path in _LOGINS or any(
            visit.nonce in _redirect(visit.ask(_with_next(path, url), fields=BROWSER)) for url in own_urls
        )
        for url in _foreign_urls(origin) if redirects else (f"https://{EVIL}/",):
            yield from _leads_away(visit, _with_next(path, url))
    for target in (f"//{EVIL}/%2e%2e", f"//{EVIL}/..", f"//{EVIL}", f"/%5c{EVIL}/", f"/%2f{EVIL}/", f"/.{EVIL}"):
        yield from _leads_away(visit, target)


def _with_next(path: str, url: str) -> str:
    coded = quote(url, safe="")
    return f"{path}?{'&'.join(f'{name}={coded}' for name in _PARAMETERS)}"


def _foreign_urls(origin: Origin) -> Iterator[str]:
    yield from (f"https://{EVIL}/", f"//{EVIL}/", f"/\\{EVIL}/", f"https:{EVIL}/", f"/\t/{EVIL}/")
    yield from (f"{origin.scheme}://{origin.host}.{EVIL}/", f"{origin}@{EVIL}/", f"https://{EVIL}/{origin.host}")
    yield f"javascript:alert(1)//{EVIL}"


def _redirect(answer: Answer) -> str:
    """Where an answer redirects a browser to; "" if nowhere."""
    refresh = re.search(r"(?i)url\s*=\s*[\"']?([^\"';]+)", answer.field("refresh"))
    return answer.field("location") if answer.status in REDIRECTS else refresh[1] if refresh else ""


def _leads_away(visit: Visit, target: str) -> Iterator[Evidence]:
    answer = visit.ask(target, fields=BROWSER)
    location = re.sub(r"[\t\r\n]", "", _redirect(answer)).replace("\\", "/")  # as browsers do (URL Standard §4.4)
    try:
        url = urlsplit(urljoin(str(visit.subject.origin), location))
    except ValueError:
        return
    if (url.hostname or "").endswith(EVIL) or url.scheme == "javascript":
        yield visit.evidence(answer, target, detail="" if answer.field("location") else f"Refresh: {location}")
