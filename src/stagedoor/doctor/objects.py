"""Questions about the object itself: who gets it, in which words, and what a cache remembers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from email.utils import formatdate
from typing import get_args
from urllib.parse import quote

from . import forge, passes
from .spellings import spellings
from .visit import EVIL, Evidence, Place, SkipError, Visit
from .wire import Fields

REPLAYS = 3
_LISTS = re.compile(rb"<ListBucketResult|<EnumerationResults|<title>Index of|<h1>Index of|Directory listing for")


def no_token(visit: Visit) -> Iterator[Evidence]:
    answer = visit.first = visit.ask(visit.path, said="without a token")
    for evidence in visit.opened(visit.path, said="without a token") if answer.given else ():
        fresh = visit.ask(f"{visit.path}?{visit.nonce}", said="without a token")
        if fresh.given:
            yield evidence
        else:
            yield Evidence(f"{evidence.asked}; a URL that no cache has seen is refused ({fresh.status})", evidence.got)


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
        if answer.status == 200:
            found.append(place)
            visit.truth = visit.truth or answer
        else:
            seen = seen or visit.evidence(answer, target, said=f"with the token in the {place}")
    if found:
        visit.places = found
    elif seen and not _buys(visit):
        yield seen


def _buys(visit: Visit) -> bool:
    """Behind a key group of CloudFront a token opens nothing: it is for the API, which makes passes for it."""
    try:
        target = passes.issued(visit)
    except SkipError:
        return False
    answer = visit.ask(target, said="a signed URL that the token bought")
    if answer.status == 200:
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


def other_user(visit: Visit) -> Iterator[Evidence]:
    assert visit.subject.other is not None
    if forge.expired(visit.subject.other):
        raise SkipError("the other token has expired: bring a new one")
    said = "the token of somebody who may not"
    yield from visit.tokens_open([(said, visit.subject.other)])
    if not visit.by_pass:
        answer = visit.buy(visit.subject.other)
        if answer.status == 201:
            yield visit.evidence(answer, "/-/urls", "POST", said)


def spelled(visit: Visit) -> Iterator[Evidence]:
    authority = visit.subject.origin.authority
    pairs = zip(
        spellings(visit.path, authority, visit.subject.public),
        spellings(visit.nothing, authority, visit.subject.public),
        strict=True,
    )
    wanted = {target: instead for target, instead in pairs if target != visit.path}
    for target, instead in wanted.items():
        yield from visit.opened(target, said="without a token", instead=instead)
    if visit.subject.other is None or visit.states.get("other-user") != "good":
        return
    for target, instead in wanted.items():
        _, fields = visit.bring(visit.subject.other, "header" if "header" in visit.places else "cookie")
        yield from visit.opened(target, fields=fields, said="with the token of somebody who may not", instead=instead)


def header_games(visit: Visit) -> Iterator[Evidence]:
    path = visit.path
    for fields in _about_me(path):
        yield from visit.opened(path, fields=fields, said=_named(fields))
    open_target = visit.subject.public or "/"
    before = visit.ask(open_target)
    for name in _REWRITES:
        fields = ((name, path),)
        answer = visit.ask(open_target, fields=fields, said=f"{name}: {path}")
        same = answer.status == before.status and answer.body == before.body
        if answer.given and not same:
            instead = visit.ask(open_target, fields=((name, visit.nothing),))
            if not visit.alike(answer, instead):
                yield visit.evidence(answer, open_target, said=f"{name}: {path}")
    for fields in _HOSTS:
        answer = visit.ask(path, fields=(*fields, ("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")))
        if EVIL in answer.field("location") or EVIL.encode() in answer.body:
            yield visit.evidence(answer, path, said=f"{_named(fields)}: the answer leads there")
        elif answer.given:
            yield from visit.opened(path, fields=fields, said=_named(fields))


_REWRITES = (
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Original-URI",
    "X-Forwarded-Uri",
    "X-Forwarded-Path",
    "X-Forwarded-Prefix",
)
_HOSTS: tuple[Fields, ...] = (
    (("Host", EVIL),),
    (("Host", "localhost"),),
    (("X-Forwarded-Host", EVIL),),
    (("Forwarded", f"host={EVIL};proto=https"),),
    (("X-Forwarded-Server", EVIL),),
)


def _about_me(path: str) -> Iterator[Fields]:
    for name in ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP"):
        yield ((name, "127.0.0.1"),)
    for name in (
        "X-Forwarded-User",
        "X-Remote-User",
        "Remote-User",
        "X-Auth-Request-User",
        "X-User",
        "X-Amzn-Oidc-Identity",
    ):
        yield ((name, "admin"),)
    yield (("X-Forwarded-Method", "OPTIONS"),)
    yield (("X-HTTP-Method-Override", "OPTIONS"),)
    yield (("X-Forwarded-Uri", "/"), ("X-Original-URI", "/"), ("X-Original-URL", "/"))
    yield (("Referer", f"https://{EVIL}{path}"),)
    yield (("X-Middleware-Subrequest", "middleware:middleware:middleware:middleware:middleware"),)
    yield (("Connection", "close, Authorization, Cookie"),)


def _named(fields: Fields) -> str:
    return "; ".join(f"{name}: {value}" for name, value in fields)


def head(visit: Visit) -> Iterator[Evidence]:
    yield from visit.opened(visit.path, "HEAD", said="without a token")


def ranges(visit: Visit) -> Iterator[Evidence]:
    etag = visit.truth.field("etag") if visit.truth else ""
    for span in ("bytes=0-", "bytes=0-0", "bytes=-1", "bytes=0-0,2-2", "bytes=999999999999-"):
        yield from visit.opened(visit.path, fields=(("Range", span),), said=f"Range: {span}")
    fields = (("Range", "bytes=0-0"), ("If-Range", etag or formatdate(4_000_000_000, usegmt=True)))
    yield from visit.opened(visit.path, fields=fields, said="Range and If-Range")


def conditions(visit: Visit) -> Iterator[Evidence]:
    etag = visit.truth.field("etag") if visit.truth else ""
    tried = [("If-None-Match", "*"), ("If-Modified-Since", formatdate(4_000_000_000, usegmt=True))]
    tried += [("If-Match", '"no-such-version"'), ("If-Unmodified-Since", formatdate(1, usegmt=True))]
    tried += [("If-None-Match", etag)] if etag else []
    for name, value in tried:
        for method in ("GET", "HEAD") if visit.states.get("head") == "good" else ("GET",):
            yield from visit.opened(visit.path, method, ((name, value),), said=f"{name}: {value}")


def methods(visit: Visit) -> Iterator[Evidence]:
    """Writing is tried on a name that does not exist; DELETE comes last, and takes away what PUT may have made."""
    target = f"/no-such-{visit.nonce}" if visit.subject.path is None else visit.nothing
    plain = visit.ask(target)
    for credential in [None, visit.subject.token] if visit.subject.token else [None]:
        fields = visit.bring(credential, visit.places[0], target)[1] if credential else ()
        said = "with the token" if credential else "without a token"
        for method in ("PUT", "POST", "PATCH", "MKCOL", "PROPFIND", "DELETE"):
            more = (("If-None-Match", "*"),) if method == "PUT" else ()
            answer = visit.ask(target, method, (*fields, *more), said=said)
            catch_all = answer.body == plain.body and answer.status == plain.status
            if 200 <= answer.status < 300 and not catch_all:
                yield visit.evidence(answer, target, method, said)
    echo = visit.ask(target, "TRACE", (("X-Doctor", visit.nonce),))
    if echo.status == 200 and visit.nonce.encode() in echo.body.replace(target.encode(), b""):
        yield visit.evidence(echo, target, "TRACE", "the answer shows the request's header fields, cookies too")
    if visit.subject.path is not None and visit.states.get("no-token") == "good":
        for method in ("get", "DOCTOR", "OPTIONS"):
            yield from visit.opened(visit.path, method, said="without a token")


def listing(visit: Visit) -> Iterator[Evidence]:
    targets = ["/", "/?list-type=2", "/?prefix=&delimiter=/", "/?delimiter=%2F&max-keys=5", "/-/s3objects"]
    if visit.subject.path is not None:
        targets += [visit.folder, f"{visit.folder}?list-type=2", f"/-/s3objects?prefix={quote(visit.key)}"]
    for target in dict.fromkeys(targets):
        answer = visit.ask(target, said="without a token")
        told = answer.status == 200 and _LISTS.search(answer.body)
        if told or (target.startswith("/-/") and visit.subject.path is not None and visit.key in _keys(answer.body)):
            yield visit.evidence(answer, target, said="without a token: names of objects")


def _keys(body: bytes) -> list[object]:
    """Keys in a listing of ours."""
    try:
        return [item["Key"] for item in json.loads(body)["Contents"]]
    except (ValueError, KeyError, TypeError):
        return []
