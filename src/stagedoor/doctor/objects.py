"""Questions about the object itself: who gets it, in which words, and what a cache remembers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from email.utils import formatdate
from functools import partial
from typing import get_args
from urllib.parse import quote, unquote

from . import forge, passes
from .spellings import spellings
from .visit import BROWSER, EVIL, Evidence, Place, SkipError, Visit, loaded
from .wire import Answer, Fields

REPLAYS = 3
_LISTS = re.compile(
    rb"<ListBucketResult|<ListVersionsResult|<EnumerationResults|<title>Index of|<h1>Index of|Directory listing for"
)


def no_token(visit: Visit) -> Iterator[Evidence]:
    answer = visit.first = visit.ask(visit.path, said="without a token")
    for evidence in visit.opened(visit.path, said="without a token") if answer.given else ():
        fresh = visit.ask(f"{visit.path}?{visit.nonce}", said="without a token")
        if fresh.given:
            yield evidence
        else:
            yield Evidence(f"{evidence.asked}; a URL that no cache has seen is refused ({fresh.status})", evidence.got)
    yield from visit.sold(None, "without a token")
    if visit.subject.token is None and answer.status in (404, 410):
        said = (
            f"{visit.got(answer)}: nothing is there, or it is hidden; so nothing that follows is shown. Check the path"
        )
        yield Evidence(f"GET {visit.path}, without a token", said, sure=False)
    for evidence in visit.unsure[:1] if visit.subject.token is None else ():
        said = f"{evidence.got}: as for what does not exist, but another page each time. Look whether it is the object"
        yield evidence._replace(got=said, sure=False)


def opens(visit: Visit) -> Iterator[Evidence]:
    """Find the places in which the token counts, and what the object is."""
    assert visit.subject.token is not None
    found: list[Place] = []
    seen = None
    for place in get_args(Place):
        if place == "query" and visit.subject.query is None:
            continue  # a token in a URL is seen by many eyes: only where we are told that the site wants it there
        target, fields = visit.bring(visit.subject.token, place)
        answer = visit.ask(target, fields=fields, said=f"with the token in the {place}")
        same = visit.truth is not None and answer.body == visit.truth.body
        if answer.status == 200 and (same or _is_an_object(visit, answer, place)):
            found.append(place)
            visit.truth = visit.truth or answer
        else:
            seen = seen or visit.evidence(answer, target, said=f"with the token in the {place}")
    if found:
        visit.places = found
    elif seen and not _buys(visit):
        yield seen
    if visit.truth is not None:
        again = visit.ask(visit.pass_target) if visit.by_pass and visit.pass_target else visit.with_token()
        visit.changing = (again.body, again.field("etag")) != (visit.truth.body, visit.truth.field("etag"))


def _is_an_object(visit: Visit, answer: Answer, place: Place) -> bool:
    """Is it more than what is sent for every path, or to everybody who must sign in?"""
    assert visit.subject.token is not None

    def nothing() -> Answer:
        assert visit.subject.token is not None
        target, fields = visit.bring(visit.subject.token, place, visit.nothing)
        return visit.ask(target, fields=fields, said="with the token")

    return (
        visit.as_for(answer, nothing) == "no"
        and visit.as_for(answer, lambda: visit.ask(visit.nothing, said="without a token")) == "no"
    )


def _buys(visit: Visit) -> bool:
    """Behind a key group of CloudFront a token opens nothing: it is for the API, which makes passes for it."""
    try:
        target = passes.issued(visit)
    except SkipError:
        return False
    answer = visit.ask(target, said="a signed URL that the token bought")
    if answer.status == 200 and visit.as_for(answer, partial(visit.ask, visit.nothing)) == "no":
        visit.by_pass, visit.pass_target, visit.truth = True, target, answer
    return visit.by_pass


def cache_replay(visit: Visit) -> Iterator[Evidence]:
    assert visit.subject.token is not None
    ways: list[tuple[str, tuple[str, Fields]]] = []
    if visit.by_pass and visit.pass_target:
        ways.append(("a signed URL", (visit.pass_target, ())))
    ways += [(place, visit.bring(visit.subject.token, place)) for place in visit.places]
    for way, (target, fields) in ways:
        visit.ask(target, fields=fields)
        for _ in range(REPLAYS):
            found = list(visit.opened(visit.path, said=f"without a token, after it was sent to its owner ({way})"))
            if found:
                yield from found
                return


def api_replay(visit: Visit) -> Iterator[Evidence]:
    """Is an answer about its owner given to everybody, after they asked?"""
    sub = forge.claims_of(visit.subject.token).get("sub")

    def about_the_owner(answer: Answer) -> bool:
        told = loaded(answer.body)
        named = sub is not None and isinstance(told, dict) and sub in told.values()
        return answer.status == 200 and (named or visit.key in _keys(told))

    for target in ("/-/whoami", "/-/s3objects"):
        if not about_the_owner(visit.ask(target)) and about_the_owner(visit.with_token(target)):
            answer = visit.ask(target)
            if about_the_owner(answer):
                yield visit.evidence(answer, target, said="without a token, after its owner asked")


def other_user(visit: Visit) -> Iterator[Evidence]:
    assert visit.subject.other is not None
    if forge.expired(visit.subject.other):
        raise SkipError("the other token has expired: bring a new one")
    if forge.same_person(visit.subject.token, visit.subject.other):
        raise SkipError("the other token is of the same person: bring one of somebody who may not read it")
    said = "the token of somebody who may not"
    if visit.subject.public is not None:  # a decision that is remembered by the token alone is yes from now on
        target, fields = visit.bring(visit.subject.other, visit.places[0], visit.subject.public)
        visit.ask(target, fields=fields)
    opened = list(visit.tokens_open([(said, visit.subject.other)]))
    wish = json.dumps({"prefix": unquote(visit.folder[1:])}).encode()
    _, fields = visit.bring(visit.subject.other, "header")
    cookies = visit.ask("/-/cookies", "POST", (*fields, ("Content-Type", "application/json")), wish)
    if any(line.startswith("CloudFront-") for line in cookies.all("set-cookie")):
        opened.append(visit.evidence(cookies, "/-/cookies", "POST", said))
    yield from opened
    if not opened and (why := _shows_nothing(visit)):
        raise SkipError(f"it was refused, and shows nothing: {why}")


def _shows_nothing(visit: Visit) -> str:
    """Why it says nothing that the other token was refused; "" if it does."""
    subject = visit.subject
    parts = [forge.read(token) for token in (subject.token, subject.other) if token]
    known = len(parts) == 2 and None not in parts
    if known and all(_of(parts[0], name) == _of(parts[1], name) for name in ("kid", "iss", "aud", "client_id")):
        return ""
    if visit.by_pass:
        told, without = visit.buy(subject.other), visit.buy(None)
    else:
        assert subject.other is not None
        target, fields = visit.bring(subject.other, visit.places[0])
        told, without = visit.ask(target, fields=fields), visit.ask(visit.path)
    if told.status != without.status:
        return ""
    return f"whoever brings no token gets the same ({told.status}), so the site may not take it for a token at all"


def _of(parts: tuple[dict[str, object], dict[str, object]] | None, name: str) -> object:
    return parts and (parts[0].get(name) if name == "kid" else parts[1].get(name))


def neighbours(visit: Visit) -> Iterator[Evidence]:
    """Where a claim names a folder, ask for folders whose names are nearly that."""
    if visit.by_pass:
        raise SkipError("tokens open nothing here but through signed URLs")
    values = {value for claim in forge.claims_of(visit.subject.token).values() for value in _texts(claim)}
    segments = visit.path.split("/")
    number = next((number for number, one in enumerate(segments[:-1]) if unquote(one) in values), None)
    if number is None:
        raise SkipError("no folder of the path is named after a claim of the token")

    def beside(name: str) -> tuple[str, Answer]:
        target = "/".join((*segments[:number], name, *segments[number + 1 : -1], f"no-such-{visit.nonce}"))
        return target, visit.with_token(target)

    own, own_name = beside(segments[number])[1], segments[number]
    if beside(f"{visit.nonce}x")[1].status == own.status:
        raise SkipError(f"folders of others are answered like their own ({own.status}), so nothing can be told")
    names = {f"{own_name}x", own_name[:-1], own_name.swapcase(), f"{own_name}%20"}
    for name in sorted(names - {"", own_name}):
        target, answer = beside(name)
        if answer.status == own.status:
            yield visit.evidence(answer, target, said="with the token, as for a name in its own folder")


def _texts(claim: object) -> list[str]:
    return [one for one in (claim if isinstance(claim, list) else [claim]) if isinstance(one, str) and one]


def spelled(visit: Visit) -> Iterator[Evidence]:
    authority = visit.subject.origin.authority
    pairs = zip(
        spellings(visit.path, authority, visit.subject.public),
        spellings(visit.nothing, authority, visit.subject.public),
        strict=True,
    )
    wanted = {target: instead for target, instead in pairs if target != visit.path}
    for said, fields in visit.outsiders():
        for target, instead in wanted.items():
            yield from visit.opened(target, fields=fields, said=said, instead=instead)


def header_games(visit: Visit) -> Iterator[Evidence]:
    path, open_target = visit.path, visit.subject.public or "/"
    for said, who in visit.outsiders():
        for fields in _about_me(visit):
            yield from visit.opened(path, fields=(*who, *fields), said=f"{said}, {_named(fields)}")
        before = visit.ask(open_target, fields=who)
        for names in _REWRITES:
            yield from _rewritten(visit, open_target, before, names, who, said)
    for fields in _HOSTS:
        answer = visit.ask(path, fields=(*fields, *BROWSER))
        if _leads_there(answer):
            yield visit.evidence(answer, path, said=f"{_named(fields)}: the answer leads there")
        elif answer.given:
            yield from visit.opened(path, fields=fields, said=_named(fields))


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


def _about_me(visit: Visit) -> Iterator[Fields]:
    """Header fields that say who asks, from where and for what; what says the same goes together."""
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
    visit: Visit, target: str, before: Answer, names: tuple[str, ...], who: Fields, said: str
) -> Iterator[Evidence]:
    """Ask for what is open, and name the object in a header field."""

    def naming(path: str) -> Answer:
        return visit.ask(target, fields=(*who, *((name, path) for name in names)), said=said)

    answer = naming(visit.path)
    another = answer.given and (answer.status, answer.body) != (before.status, before.body)
    if another and visit.as_for(answer, lambda: naming(visit.nothing)) == "no":
        yield visit.evidence(answer, target, said=f"{said}, {' and '.join(names)}: {visit.path}")


def _leads_there(answer: Answer) -> bool:
    """Does a redirect, a link or a form of the answer lead to the made-up host? That it is named is no harm."""
    leads = answer.field("location") + answer.field("refresh")
    return EVIL in leads or re.search(_LINK + re.escape(EVIL).encode(), answer.body) is not None


def _named(fields: Fields) -> str:
    return "; ".join(f"{name}: {value}" for name, value in fields)


def head(visit: Visit) -> Iterator[Evidence]:
    for said, who in visit.outsiders():
        yield from visit.opened(visit.path, "HEAD", who, said)


def ranges(visit: Visit) -> Iterator[Evidence]:
    version = _etag(visit) or formatdate(4_000_000_000, usegmt=True)
    tried: list[Fields] = [
        (("Range", span),) for span in ("bytes=0-", "bytes=-1", "bytes=0-0,2-2", "bytes=999999999999-")
    ]
    tried.append((("Range", "bytes=0-0"), ("If-Range", version)))
    for said, who in visit.outsiders():
        for fields in tried:
            yield from visit.opened(visit.path, fields=(*who, *fields), said=f"{said}, {_named(fields)}")


def conditions(visit: Visit) -> Iterator[Evidence]:
    tried = [("If-None-Match", "*"), ("If-Modified-Since", formatdate(4_000_000_000, usegmt=True))]
    tried += [("If-Match", '"no-such-version"'), ("If-Unmodified-Since", formatdate(1, usegmt=True))]
    tried += [("If-None-Match", _etag(visit))] if _etag(visit) else []
    methods = ("GET", "HEAD") if visit.states.get("head") == "good" else ("GET",)
    for said, who in visit.outsiders():
        for one in tried:
            for method in methods if not who else methods[:1]:
                yield from visit.opened(visit.path, method, (*who, one), said=f"{said}, {_named([one])}")


def _etag(visit: Visit) -> str:
    return visit.truth.field("etag") if visit.truth else ""


def methods(visit: Visit) -> Iterator[Evidence]:
    """Writing is tried on a name that does not exist; DELETE comes last, and takes away what PUT may have made."""
    target = f"/no-such-{visit.nonce}" if visit.subject.path is None else visit.nothing
    for credential in [None, visit.subject.token] if visit.subject.token else [None]:
        fields = visit.bring(credential, visit.places[0], target)[1] if credential else ()
        said = "with the token" if credential else "without a token"
        for method in ("PUT", "POST", "PATCH", "MKCOL", "PROPFIND", "DELETE"):
            more = (("If-None-Match", "*"),) if method == "PUT" else ()
            answer = visit.ask(target, method, (*fields, *more), said=said)
            if 200 <= answer.status < 300 and visit.as_for(answer, partial(visit.ask, target, "GET", fields)) == "no":
                yield visit.evidence(answer, target, method, said)
    echo = visit.ask(target, "TRACE", (("X-Doctor", visit.nonce),))
    if echo.status == 200 and visit.nonce.encode() in echo.body.replace(target.encode(), b""):
        yield visit.evidence(echo, target, "TRACE", "the answer shows the request's header fields, cookies too")
    if visit.subject.path is not None and visit.states.get("no-token") == "good":
        for method in ("get", "DOCTOR", "OPTIONS", "POST", "PROPFIND"):
            yield from visit.opened(visit.path, method, said="without a token")


def listing(visit: Visit) -> Iterator[Evidence]:
    targets = ["/", "/?list-type=2", "/?versions", "/?delimiter=%2F&max-keys=5", "/-/s3objects"]
    if visit.subject.path is not None:
        parent = visit.folder.rstrip("/").rpartition("/")[0] + "/"
        targets += [parent, visit.folder, f"{visit.folder}?list-type=2", f"/-/s3objects?prefix={quote(visit.key)}"]
    for said, who in visit.outsiders():
        for target in dict.fromkeys(targets) if not who else targets[-1:]:
            answer = visit.ask(target, fields=who, said=said)
            if answer.status == 200 and _lists(visit, target, answer):
                yield visit.evidence(answer, target, said=f"{said}: names of objects")


def _lists(visit: Visit, target: str, answer: Answer) -> bool:
    """Does it list objects: in words of a server that we know, or with the object's own name in its folder?"""
    listed = loaded(answer.body)
    if target.startswith("/-/"):
        return visit.subject.path is not None and visit.key in _keys(listed)
    if _LISTS.search(answer.body) or (isinstance(listed, list) and any(_is_entry(one) for one in listed)):
        return True
    name = visit.path.rpartition("/")[2].encode() if visit.subject.path is not None else b""
    return target == visit.folder != "/" and len(name) > 3 and name in answer.body if name else False


def _is_entry(one: object) -> bool:
    """Is it a line of a listing of nginx or Caddy, in JSON?"""
    return isinstance(one, dict) and "name" in one and ("type" in one or "is_dir" in one)


def _keys(listed: object) -> list[object]:
    """Keys in a listing of ours."""
    contents = listed.get("Contents") if isinstance(listed, dict) else None
    return [one.get("Key") for one in contents if isinstance(one, dict)] if isinstance(contents, list) else []
