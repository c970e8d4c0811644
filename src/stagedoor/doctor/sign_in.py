"""Questions about sign-in and sign-out at the site itself: `/-/login`, `/-/callback`, `/-/logout`, and sessions.

Nobody signs in here: sign-ins are begun and given up, and what comes back from the provider is made up.
"""

from __future__ import annotations

import base64
import html
import re
import time
from collections.abc import Iterator, Mapping
from functools import partial
from urllib.parse import parse_qs, quote, unquote

from . import cookies as set_cookies
from . import forge
from .answers import unprotected
from .begun import Begun
from .cross_site import strangers
from .evidence import Evidence, SkipError
from .visit import BROWSER, EVIL, REDIRECTS, Visit, parse_json
from .wire import Answer, Fields

LOGIN, CALLBACK, LOGOUT, RENEW = "/-/login", "/-/callback", "/-/logout", "/-/renew"
LONGEST_ATTEMPT = 3600
"""Seconds: a sign-in that takes longer was given up."""
LEEWAY = 60
"""Seconds of clock difference that are forgiven."""
SHORTEST_STATE = 16
"""Characters: a shorter one can be guessed."""
_PREFETCH: Fields = (*BROWSER, ("Sec-Purpose", "prefetch"))
_PICTURE: Fields = (("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image"))
_FRAME: Fields = (*BROWSER, ("Sec-Fetch-Dest", "iframe"))


# --- begin, and come back


def _begun(visit: Visit) -> Begun:
    """The first sign-in of this visit, which shows how the site begins them.

    Raises:
        SkipError: it begins none.
    """
    if visit.sign_in is None:
        visit.sign_in = _first(visit)
    if isinstance(visit.sign_in, str):
        raise SkipError(visit.sign_in)
    return visit.sign_in


def _first(visit: Visit) -> Begun | str:
    answer = visit.ask(LOGIN, fields=BROWSER)
    if answer.status == 200:
        links = re.findall(rb'href="[^"]*/-/login\?([^"]*)"', answer.body)  # several providers: take the first
        chosen = parse_qs(html.unescape(links[0].decode("latin-1"))) if links else {}
        visit.issuer = "".join(chosen.get("issuer", [])[:1])
        answer = visit.ask(_login(visit), fields=BROWSER)
    begun = Begun(_login(visit), answer)
    if answer.status in (404, 405, 410, 501):
        return f"nobody can sign in at the site itself: {LOGIN} gets {answer.status}"
    if answer.status not in REDIRECTS or not begun.parameters("client_id"):
        return f"{LOGIN} does not redirect to a provider: {visit.summary(answer)}"
    return begun


def _login(visit: Visit, next_: str | None = None, more: str = "") -> str:
    """Address that begins a sign-in; `more` is a further query, already encoded."""
    parts = [f"issuer={quote(visit.issuer, safe='')}"] if visit.issuer and "issuer=" not in more else []
    parts += [f"next={quote(next_, safe='')}"] if next_ is not None else []
    query = "&".join((*parts, more) if more else parts)
    return f"{LOGIN}?{query}" if query else LOGIN


def _begin(visit: Visit, next_: str | None = None, more: str = "", fields: Fields = ()) -> Begun:
    """Begin one more; its answer may be another than a redirect."""
    target = _login(visit, next_, more)
    return Begun(target, visit.ask(target, fields=(*BROWSER, *fields)))


def _callback(visit: Visit, state: str) -> str:
    return f"{CALLBACK}?code=doctor-{visit.nonce}&state={quote(state, safe='')}"


def _cookie(cookies: Mapping[str, str]) -> Fields:
    return (("Cookie", "; ".join(f"{name}={value}" for name, value in cookies.items())),) if cookies else ()


def _signs_in(answer: Answer, begun: Begun) -> bool:
    """Does an answer set a cookie that may be a session?"""
    attempts = {_kind(name) for name in begun.cookies}
    return any(
        len(value) >= set_cookies.SHORTEST_SESSION and _kind(name) not in attempts
        for name, value in set_cookies.named(answer).items()
    )


def _kind(name: str) -> str:
    """The name of a cookie of sign-ins without its number."""
    return name.rstrip("0123456789")


def session_name(visit: Visit) -> str:
    """The name of the site's session cookie, as far as it is known."""
    if visit.session:
        return visit.session[0]
    if visit.subject.session:
        return visit.subject.session
    attempts = visit.sign_in.cookies if isinstance(visit.sign_in, Begun) else {}
    named = [_kind(name).removesuffix("-try-") for name in attempts if _kind(name).endswith("-try-")]
    secure = visit.subject.origin.scheme == "https"
    return named[0] if named else "__Host-stagedoor" if secure else f"stagedoor-{visit.subject.origin.port}"


# --- where it leads


def sign_in_next(visit: Visit) -> Iterator[Evidence]:
    """Try return addresses, parameters and hosts that could lead elsewhere, or show where a visitor wants to go."""
    first = _begun(visit)
    marked = f"/doctor-{visit.nonce}?{visit.nonce}"
    for next_ in (marked, *_hostile(str(visit.subject.origin))):
        begun = _begin(visit, next_)
        if problem := _leads_elsewhere(visit, begun, first) or _shows_next(visit, begun):
            yield visit.evidence(begun.answer, begun.target, detail=problem)
        elif visit.session and begun.state:
            yield from _leads_away_later(visit, begun, first)
    requests: list[tuple[str, Fields]] = [(more, ()) for more in _INJECTED]
    requests += [("", (("X-Forwarded-Host", EVIL),)), ("", (("Host", EVIL),))]
    for more, fields in requests:
        begun = _begin(visit, more=more, fields=fields)
        if problem := _leads_elsewhere(visit, begun, first):
            sent = "".join(f"{name}: {value}; " for name, value in fields)
            yield visit.evidence(begun.answer, begun.target, detail=sent + problem)


def _hostile(site: str) -> Iterator[str]:
    """Return addresses that a browser, or a careless check, takes for one of another site (URL Standard §4.4)."""
    yield from (f"https://{EVIL}/", f"//{EVIL}/", f"///{EVIL}/", f"/\\{EVIL}/", f"\\\\{EVIL}/")
    yield from (f"https:{EVIL}/", f"https:/{EVIL}/", f"/\t/{EVIL}/", f"/\n/{EVIL}/", f"\t//{EVIL}/", f" //{EVIL}/")
    yield from (f"{site}@{EVIL}/", f"{site}.{EVIL}/", f"%2f%2f{EVIL}/", f"/%2f{EVIL}/", f"/%5c{EVIL}/")
    yield from (f"/%09/{EVIL}/", f"%252f%252f{EVIL}/", f"/\r\nLocation: https://{EVIL}/", f"javascript:'{EVIL}'")


_INJECTED = (
    f"issuer=https%3A%2F%2F{EVIL}",
    f"redirect_uri=https%3A%2F%2F{EVIL}%2F",
    f"prompt=none%26redirect_uri%3Dhttps%3A%2F%2F{EVIL}%2F",
    f"identity_provider=x%26redirect_uri%3Dhttps%3A%2F%2F{EVIL}%2F",
    "client_id=doctor",
)
"""Parameters that are to reach the provider's address."""


def _leads_elsewhere(visit: Visit, begun: Begun, first: Begun) -> str:
    """What is wrong with the redirect of a sign-in that has begun; "" if nothing."""
    if begun.answer.status not in REDIRECTS or stays(visit, begun.location, first):
        return ""
    if begun.provider != first.provider:
        return "which leads neither to the site nor to its provider"
    for name in ("redirect_uri", "client_id"):
        if begun.parameters(name) != first.parameters(name):
            return f"which has another {name} than usual: {begun.parameters(name)}"
    return ""


def stays(visit: Visit, location: str, first: Begun) -> bool:
    """Does a browser stay on the site, however it reads the address? The host ends at the first slash after it."""
    plain = re.sub(r"[\t\r\n]", "", location.strip("\x00\x1f "))
    homes = (str(visit.subject.origin), "".join(first.parameters("redirect_uri")[:1]).removesuffix(CALLBACK))
    return bool(re.match(r"/(?![/\\])", plain)) or any(home and plain.startswith(f"{home}/") for home in homes)


def _shows_next(visit: Visit, begun: Begun) -> str:
    texts = [unquote(unquote(begun.location))]
    for values in begun.query.values():
        texts += [_decoded(part) for value in values for part in value.split(".")]
    shown = begun.answer.status in REDIRECTS and any(word in text for text in texts for word in (EVIL, visit.nonce))
    return "which shows the provider where the visitor wants to go" if shown else ""


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("latin-1")
    except ValueError:
        return ""


def _leads_away_later(visit: Visit, begun: Begun, first: Begun) -> Iterator[Evidence]:
    """Where would the sign-in have led? A browser that is signed in already may be sent there at once."""
    assert visit.session is not None
    answer = visit.ask(_callback(visit, begun.state), fields=(*BROWSER, *_cookie(dict((visit.session,)))))
    location = answer.field("location")
    known = stays(visit, location, first) or location.partition("?")[0] == first.provider
    if answer.status in REDIRECTS and not known:
        yield visit.evidence(answer, CALLBACK, detail=f"in a browser with a session, after {begun.target}")


# --- whose sign-in it is


def sign_in_state(visit: Visit) -> Iterator[Evidence]:
    """Does `state` bind the sign-in to one browser and one attempt (RFC 6749 §10.12)?"""
    first, second = _begun(visit), _begin(visit)
    for problem in _weak_request(first, second):
        yield visit.evidence(second.answer, second.target, detail=problem)
    if not first.state or not first.cookies:
        return
    ways: tuple[tuple[str, str, Mapping[str, str]], ...] = (
        ("without a cookie, as in another browser", first.state, {}),
        ("with the cookie of another sign-in", first.state, second.cookies),
        ("with a made-up state", f"doctor{visit.nonce}{visit.nonce}", second.cookies),
        ("without a state", "", second.cookies),
    )
    elsewhere = []
    for how, state, cookies in ways:
        answer = visit.ask(_callback(visit, state), fields=(*BROWSER, *_cookie(cookies)), detail=how)
        elsewhere.append((how, answer))
        if _signs_in(answer, first):
            yield visit.evidence(answer, CALLBACK, detail=f"{how}, which sets a session")
    yield from _by_post(visit, first)
    yield from _at_home(visit, first, *elsewhere[0])


def _weak_request(first: Begun, second: Begun) -> Iterator[str]:
    """What the request to the provider lacks (RFC 9700 §2.1)."""
    if len(first.state) < SHORTEST_STATE:
        yield "which has no state that is hard to guess"
    for name in ("state", "nonce", "code_challenge"):
        if first.parameters(name) and first.parameters(name) == second.parameters(name):
            yield f"whose {name} is the same for two sign-ins"
    if first.parameters("code_challenge_method") != ["S256"]:
        yield "which has no code_challenge by S256: a code that leaks can be used by others"
    if not first.cookies:
        yield "which sets no cookie: nothing binds the sign-in to this browser"


def _by_post(visit: Visit, begun: Begun) -> Iterator[Evidence]:
    """A form of another page must not end a sign-in."""
    body = _callback(visit, begun.state).partition("?")[2].encode()
    fields = (("Content-Type", "application/x-www-form-urlencoded"), *_cookie(begun.cookies))
    answer = visit.ask(CALLBACK, "POST", fields, body)
    if answer.status and answer.status < 400:
        yield visit.evidence(answer, CALLBACK, "POST", "with a code and a state")


def _at_home(visit: Visit, begun: Begun, how: str, elsewhere: Answer) -> Iterator[Evidence]:
    """Come back to the right browser with a made-up code, which the provider does not know."""
    detail = "with its cookie and a made-up code"
    answer = visit.ask(_callback(visit, begun.state), fields=(*BROWSER, *_cookie(begun.cookies)), detail=detail)
    if _signs_in(answer, begun):
        yield visit.evidence(answer, CALLBACK, detail=f"{detail}, which sets a session")
        return
    if answer.status >= 500:
        return  # the provider was not asked, so nothing is used up
    removed = {name for name, value in set_cookies.named(answer).items() if not value}
    if not removed & begun.cookies.keys():
        yield visit.evidence(answer, CALLBACK, detail=f"{detail}, which can be used again")
    if (answer.status, answer.body) == (elsewhere.status, elsewhere.body):
        why = f"the same as {how}, so the cookie may not count"
        yield visit.evidence(answer, CALLBACK, detail=f"{detail}: {why}")._replace(sure=False)


def sign_in_fixation(visit: Visit) -> Iterator[Evidence]:
    """Plant cookies in a browser before its sign-in: none of them may be what it is known by afterwards."""
    first = _begun(visit)
    planted = {session_name(visit): f"doctor-{visit.nonce}-{visit.nonce}"}
    again = _begin(visit, fields=_cookie(first.cookies | planted))
    came_back = visit.ask(_callback(visit, again.state), fields=(*BROWSER, *_cookie(again.cookies | planted)))
    if first.state and again.state == first.state:
        yield visit.evidence(again.answer, again.target, detail="with the cookie of an earlier one, whose state it has")
    for answer, target in ((again.answer, LOGIN), (came_back, CALLBACK)):
        if {*first.cookies.values(), *planted.values()} & {*set_cookies.named(answer).values()} - {""}:
            yield visit.evidence(answer, target, detail="it sets a cookie that was there before the sign-in")
    if visit.session is None or visit.subject.token is None:
        return
    _, fields = visit.carry(visit.subject.token, "header", "/-/session")
    for name, value in (visit.session, *planted.items()):
        answer = visit.ask("/-/session", "POST", (*fields, *_cookie({name: value})))
        if 200 <= answer.status < 300 and set_cookies.named(answer).get(name, value) == value:
            yield visit.evidence(answer, "/-/session", "POST", "the session that was there before goes on")


# --- the cookies of a sign-in


def sign_in_cookies(visit: Visit) -> Iterator[Evidence]:
    begun = _begun(visit)
    lines = [line for line in set_cookies.lines(begun.answer) if line.partition(";")[0].partition("=")[2]]
    if not lines:
        raise SkipError("the sign-in sets no cookie")
    for line in lines:
        yield from unprotected(visit, line, f"GET {begun.target}", sure=True)
        for problem in _wrong_place_or_time(visit, line):
            yield Evidence(f"GET {begun.target}", f"the cookie {line.partition('=')[0]!r} {problem}")


def _wrong_place_or_time(visit: Visit, line: str) -> Iterator[str]:
    settings = visit.subject.settings
    secure = visit.subject.origin.scheme == "https" or (settings is not None and settings.secure)
    if secure and not line.startswith("__Host-"):
        yield "can be set by other hosts of the domain: its name does not start with __Host-"
    if not re.search(r"(?i);\s*path=/\s*(?:;|$)", line):
        yield "is not set for the whole site (Path=/)"
    seconds = _max_age(line)
    if seconds is None:
        yield "has no Max-Age: it stays as long as the browser runs"
    elif seconds > LONGEST_ATTEMPT:
        yield f"stays for {seconds} s"


def _max_age(line: str) -> int | None:
    found = re.search(r"(?i);\s*max-age=(\d{1,12})\s*(?:;|$)", line)
    return int(found[1]) if found else None


# --- who asks


def sign_in_unseen(visit: Visit) -> Iterator[Evidence]:
    """Nothing may begin or end where nobody sees a page: HEAD, prefetch, and somebody's frame."""
    begun = _begun(visit)
    requests: tuple[tuple[str, str, Fields], ...] = (
        ("HEAD", "HEAD", BROWSER),
        ("GET", "Sec-Purpose: prefetch", _PREFETCH),
        ("GET", "Sec-Purpose: prefetch;prerender", (*BROWSER, ("Sec-Purpose", "prefetch;prerender"))),
        ("GET", "Purpose: prefetch", (*BROWSER, ("Purpose", "prefetch"))),
        ("GET", "in a frame", _FRAME),
    )
    for target, cookies in ((begun.target, {}), (_callback(visit, begun.state), begun.cookies)):
        for method, how, fields in requests:
            answer = visit.ask(target, method, (*fields, *_cookie(cookies)), detail=how)
            to_provider = answer.status in REDIRECTS and answer.field("location").startswith(begun.provider)
            if to_provider or set_cookies.named(answer):
                yield visit.evidence(answer, target.partition("?")[0], method, how)


def sign_in_scripts(visit: Visit) -> Iterator[Evidence]:
    """Only a page that a person opens may be redirected to sign-in: others would get its HTML, or go in circles."""
    _begun(visit)
    requests: tuple[tuple[str, Fields], ...] = (
        ("a script", (("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"))),
        ("a picture", _PICTURE),
        ("a video", (("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "video"), ("Range", "bytes=0-"))),
        ("a program", ()),
        ("Office", (("User-Agent", "Microsoft Office Word 2014"), ("Accept", "text/html, */*"))),
        ("a prefetch", _PREFETCH),
    )
    for who, fields in requests:
        answer = visit.ask(visit.path, fields=fields, detail=f"asked by {who}")
        if answer.status in REDIRECTS:
            yield visit.evidence(answer, visit.path, detail=f"asked by {who}")


# --- its pages


def sign_in_framed(visit: Visit) -> Iterator[Evidence]:
    """Look at the pages of sign-in and sign-out: their policy, and whether another page can put them into a frame."""
    _begun(visit)
    requests = ((LOGIN, _FRAME), (_callback(visit, visit.nonce), BROWSER), (LOGOUT, BROWSER), (LOGOUT, _FRAME))
    for target, fields in requests:
        answer = visit.ask(target, fields=fields)
        if "html" in answer.field("content-type"):
            for problem in _weak_page(answer, may_be_framed=fields is _FRAME and target == LOGIN):
                yield visit.evidence(answer, target.partition("?")[0], detail=problem)


def _weak_page(answer: Answer, *, may_be_framed: bool) -> Iterator[str]:
    """What is wrong with a page (Content Security Policy Level 3 §6)."""
    policy: dict[str, str] = {}
    for directive in answer.field("content-security-policy").split(";"):
        name, _, value = directive.strip().partition(" ")
        policy.setdefault(name.lower(), value)
    scripts = policy.get("script-src", policy.get("default-src", "'unsafe-inline'"))
    if "'unsafe-" in scripts or "*" in scripts.split():
        yield "its Content-Security-Policy lets any script in"
    ancestors = policy.get("frame-ancestors", "'none'" if answer.field("x-frame-options") else "*")
    if ancestors not in ("'none'", "'self'") and (
        not may_be_framed or re.search(rb"(?i)<(form|script)\b", answer.body)
    ):
        yield "any page may put it into a frame, and lead the visitor's clicks"


# --- sign-out


def sign_out_by_link(visit: Visit) -> Iterator[Evidence]:
    """A link, a picture or a prefetch must not sign anybody out."""
    cookie = _cookie(dict((visit.session,)) if visit.session else {session_name(visit): f"doctor-{visit.nonce}"})
    requests: tuple[tuple[str, str, Fields], ...] = (
        ("GET", "a link", BROWSER),
        ("GET", "a prefetch", _PREFETCH),
        ("GET", "a picture", _PICTURE),
        ("HEAD", "HEAD", BROWSER),
    )
    before = _is_known(visit, cookie)
    answers = [visit.ask(LOGOUT, method, (*fields, *cookie), detail=how) for method, how, fields in requests]
    if not any(answer.status == 200 or answer.status in REDIRECTS for answer in answers):
        raise SkipError(f"{LOGOUT} shows no page: {visit.summary(answers[0])}")
    for (method, how, _), answer in zip(requests, answers, strict=True):
        if _ends_something(visit, answer):
            yield visit.evidence(answer, LOGOUT, method, f"{how}, with a session")
    if before and not _is_known(visit, cookie):
        yield Evidence(f"GET {LOGOUT}, with a session", "the session is over")


def sign_out_cross_site(visit: Visit) -> Iterator[Evidence]:
    """A form on another site must not sign anybody out."""
    cookie = _cookie({session_name(visit): f"doctor-{visit.nonce}"})
    answers = []
    for fields, answer, taken in _from_elsewhere(visit, LOGOUT, cookie):
        answers.append(answer)
        if taken or _ends_something(visit, answer):
            yield visit.evidence(answer, LOGOUT, "POST", ": ".join(fields[0]))
    if all(answer.status in (0, 404, 405, 501) for answer in answers):
        raise SkipError(f"the site has no {LOGOUT}")


def _from_elsewhere(visit: Visit, target: str, cookie: Fields) -> Iterator[tuple[Fields, Answer, bool]]:
    """Post as pages of other sites do: header fields, the answer, and whether it is one that others do not get."""
    requests: list[Fields] = [(("Origin", origin),) for origin in strangers(visit)]
    requests.append((("Sec-Fetch-Site", "cross-site"),))
    for fields in requests:
        ask = partial(visit.ask, method="POST", fields=(*fields, *BROWSER, *cookie))
        answer = ask(target)
        elsewhere = partial(ask, f"{target}-no-such-{visit.nonce}")
        yield fields, answer, 0 < answer.status < 400 and visit.compare(answer, elsewhere) == "different"


def renewal_cross_site(visit: Visit) -> Iterator[Evidence]:
    """A form on another site must not renew a session, be it due or not."""
    if visit.session is None:
        raise SkipError("the site makes no session from a token")
    cookie = _cookie(dict((visit.session,)))
    own = visit.ask(RENEW, "POST", cookie, detail="with a session")
    if own.status in (0, 404, 405, 501):
        raise SkipError(f"no session is renewed at {RENEW}: {visit.summary(own)}")
    for fields, answer, taken in _from_elsewhere(visit, RENEW, cookie):
        if taken or set_cookies.named(answer).get(visit.session[0]):
            yield visit.evidence(answer, RENEW, "POST", f"{': '.join(fields[0])}, with a session")


def _ends_something(visit: Visit, answer: Answer) -> bool:
    """Does an answer remove cookies, or redirect to where the provider's session ends? An empty cache ends nothing."""
    away = answer.status in REDIRECTS and not answer.field("location").startswith(("/", f"{visit.subject.origin}/"))
    cleared = any(one in value for value in answer.values("clear-site-data") for one in ('"cookies"', '"*"'))
    return away or cleared or bool(set_cookies.named(answer))


def _is_known(visit: Visit, cookie: Fields) -> bool:
    """Does the site know who asks?"""
    document = parse_json(visit.ask("/-/whoami", fields=cookie).body)
    return isinstance(document, dict) and document.get("signedIn", "sub" in document) is True


# --- sessions


def session_life(visit: Visit) -> Iterator[Evidence]:
    """A session that was made from a token ends with it."""
    assert visit.subject.token is not None
    _, fields = visit.carry(visit.subject.token, "header", "/-/session")
    answer = visit.ask("/-/session", "POST", fields)
    lines = [line for line in answer.values("set-cookie") if line.partition("=")[0] == session_name(visit)]
    if not 200 <= answer.status < 300 or not lines:
        raise SkipError("the site makes no session from a token")
    asked = "POST /-/session"
    if "no-store" not in answer.field("cache-control").lower():
        yield Evidence(
            asked, f"Cache-Control: {answer.field('cache-control') or '(none)'}: a cache may keep the cookie"
        )
    end = forge.claims_of(visit.subject.token).get("exp")
    if not isinstance(end, int | float):
        raise SkipError("the token does not say when it ends")
    for line in lines:
        visit.secrets.add(line.partition(";")[0].partition("=")[2])
        for what, until in _ends_of(line):
            if until > end + LEEWAY:
                yield Evidence(asked, f"its {what} is {until - end:.0f} s after the end of the token")


def _ends_of(line: str) -> Iterator[tuple[str, float]]:
    """When a session cookie says that it ends, in epoch seconds."""
    seconds = _max_age(line)
    if seconds is not None:
        yield "Max-Age", time.time() + seconds
    end = forge.claims_of(line.partition(";")[0].partition("=")[2]).get("exp")
    if isinstance(end, int | float):
        yield "exp", float(end)
