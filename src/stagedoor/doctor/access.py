"""Questions about who gets the object: nobody without a token, its owner, other users, and anyone through a cache."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import get_args
from urllib.parse import quote, unquote

from ..core.credentials import Source
from . import forge, signed_urls
from .evidence import Evidence, SkipError
from .visit import JSON, Visit, parse_json
from .wire import Answer, Fields

REPLAYS = 3
"""Requests after the owner's: a cache may consist of several machines."""
LISTING = re.compile(
    rb"<ListBucketResult|<ListVersionsResult|<EnumerationResults|<title>Index of|<h1>Index of|Directory listing for"
)
"""What the listings of S3, Azure and common web servers contain."""


def no_token(visit: Visit) -> Iterator[Evidence]:
    detail, alone = "without a token", visit.subject.token is None
    answer = visit.first_answer = visit.ask(visit.path, detail=detail)
    for evidence in visit.try_open(visit.path, detail=detail) if answer.success else ():
        uncached = visit.ask(f"{visit.path}?{visit.nonce}", detail=detail)
        if uncached.success:
            yield evidence
        else:
            yield evidence._replace(asked=f"{evidence.asked}; a URL that no cache knows gets {uncached.status}")
    yield from visit.try_pass(None, detail)
    if alone and answer.status in (404, 410):
        got = f"{visit.summary(answer)}: nothing is there, or it is hidden, so a refusal proves nothing. Check the path"
        yield Evidence(f"GET {visit.path}, {detail}", got, sure=False)
    if alone and visit.unclear:
        evidence = visit.unclear[0]
        why = "a missing object gets a similar page that differs each time. Check that this is not the object"
        yield evidence._replace(got=f"{evidence.got}: {why}", sure=False)


def opens(visit: Visit) -> Iterator[Evidence]:
    """Find out through which sources the token opens the object, and what the object is."""
    assert visit.subject.token is not None
    sources: list[Source] = []
    refused = None
    for source in get_args(Source):
        if source == "query" and visit.subject.query is None:
            continue  # URLs end up in logs and histories: only if the site takes tokens there
        detail = f"with the token in the {source}"
        target, fields = visit.carry(visit.subject.token, source)
        answer = visit.ask(target, fields=fields, detail=detail)
        same = visit.original is not None and answer.body == visit.original.body
        if answer.status == 200 and (same or _is_an_object(visit, answer, source)):
            sources.append(source)
            visit.original = visit.original or answer
        else:
            refused = refused or visit.evidence(answer, target, detail=detail)
    if sources:
        visit.sources = sources
    elif refused and not _opens_by_pass(visit):
        yield refused
    if visit.original is not None:
        by_pass = visit.pass_target if visit.passes_only else None
        again = visit.ask(by_pass) if by_pass else visit.ask_as_owner()
        visit.varies = (again.body, again.field("etag")) != (visit.original.body, visit.original.field("etag"))


def _is_an_object(visit: Visit, answer: Answer, source: Source) -> bool:
    """Is it more than the page that every path gets, or every caller who must sign in?"""
    assert visit.subject.token is not None
    target, fields = visit.carry(visit.subject.token, source, visit.missing)
    with_token = partial(visit.ask, target, fields=fields, detail="with the token")
    without_token = partial(visit.ask, visit.missing, detail="without a token")
    return all(visit.compare(answer, control) == "different" for control in (with_token, without_token))


def _opens_by_pass(visit: Visit) -> bool:
    """Behind a CloudFront key group a token opens nothing itself: the API issues passes for it."""
    try:
        target = signed_urls.obtain(visit)
    except SkipError:
        return False
    answer = visit.ask(target, detail="a signed URL that was issued for the token")
    if answer.status == 200 and visit.compare(answer, partial(visit.ask, visit.missing)) == "different":
        visit.passes_only, visit.pass_target, visit.original = True, target, answer
    return visit.passes_only


def cache_replay(visit: Visit) -> Iterator[Evidence]:
    assert visit.subject.token is not None
    requests: list[tuple[str, str, Fields]] = []
    if visit.passes_only and visit.pass_target:
        requests.append(("a signed URL", visit.pass_target, ()))
    requests += [(source, *visit.carry(visit.subject.token, source)) for source in visit.sources]
    for how, target, fields in requests:
        visit.ask(target, fields=fields)
        for _ in range(REPLAYS):
            found = list(visit.try_open(visit.path, detail=f"without a token, after its owner got it ({how})"))
            if found:
                yield from found
                return


def api_replay(visit: Visit) -> Iterator[Evidence]:
    """Do others get an answer about the owner after the owner has asked?"""
    sub = forge.claims_of(visit.subject.token).get("sub")

    def is_about_owner(answer: Answer) -> bool:
        document = parse_json(answer.body)
        named = sub is not None and isinstance(document, dict) and sub in document.values()
        return answer.status == 200 and (named or visit.key in _listed_keys(document))

    for target in ("/-/whoami", "/-/s3objects"):
        if not is_about_owner(visit.ask(target)) and is_about_owner(visit.ask_as_owner(target)):
            answer = visit.ask(target)
            if is_about_owner(answer):
                yield visit.evidence(answer, target, detail="without a token, after the owner asked")


def other_user(visit: Visit) -> Iterator[Evidence]:
    other, detail = visit.subject.other, "the token of another user"
    assert other is not None
    if forge.expired(other):
        raise SkipError("the other token has expired: give a new one")
    if forge.same_person(visit.subject.token, other):
        raise SkipError("the other token is of the same person: give one of a caller who may not read the object")
    if visit.subject.public is not None:  # a site that caches a decision by token alone now has one that says yes
        target, fields = visit.carry(other, visit.sources[0], visit.subject.public)
        visit.ask(target, fields=fields)
    found = list(visit.try_tokens([(detail, other)]))
    folder = json.dumps({"prefix": unquote(visit.folder[1:])}).encode()
    _, fields = visit.carry(other, "header")
    cookies = visit.ask("/-/cookies", "POST", (*fields, *JSON), folder)
    if any(line.startswith("CloudFront-") for line in cookies.values("set-cookie")):
        found.append(visit.evidence(cookies, "/-/cookies", "POST", detail))
    yield from found
    if not found and (reason := _proves_nothing(visit, other)):
        raise SkipError(f"it was refused, which proves nothing: {reason}")


def _proves_nothing(visit: Visit, other: str) -> str:
    """Why the refusal of the other token proves nothing; "" if it does."""
    owners, others = _made_for(visit.subject.token), _made_for(other)
    if owners is not None and owners == others:
        return ""
    if visit.passes_only:
        with_other, without = visit.request_pass(other), visit.request_pass(None)
    else:
        target, fields = visit.carry(other, visit.sources[0])
        with_other, without = visit.ask(target, fields=fields), visit.ask(visit.path)
    if with_other.status != without.status:
        return ""
    return f"a request without a token gets the same ({without.status}), so the site may not accept the token at all"


def _made_for(token: str | None) -> tuple[object, ...] | None:
    """Key, issuer and application of a token; None if it is not a JWT."""
    if token is None or (parts := forge.decode(token)) is None:
        return None
    header, claims = parts
    return (header.get("kid"), *(claims.get(name) for name in ("iss", "aud", "client_id")))


def neighbours(visit: Visit) -> Iterator[Evidence]:
    """If a claim names a folder of the path, ask for folders with similar names."""
    if visit.passes_only:
        raise SkipError("tokens open objects here only through signed URLs")
    values = {value for claim in forge.claims_of(visit.subject.token).values() for value in _texts(claim)}
    segments = visit.path.split("/")
    number = next((number for number, one in enumerate(segments[:-1]) if unquote(one) in values), None)
    if number is None:
        raise SkipError("no folder of the path is named after a claim of the token")

    def ask(name: str) -> tuple[str, Answer]:
        target = "/".join((*segments[:number], name, *segments[number + 1 : -1], f"no-such-{visit.nonce}"))
        return target, visit.ask_as_owner(target)

    own_name = segments[number]
    own = ask(own_name)[1]
    if ask(f"{visit.nonce}x")[1].status == own.status:
        raise SkipError(f"other folders are answered like the caller's own ({own.status}), so this proves nothing")
    names = {f"{own_name}x", own_name[:-1], own_name.swapcase(), f"{own_name}%20"}
    for name in sorted(names - {"", own_name}):
        target, answer = ask(name)
        if answer.status == own.status:
            yield visit.evidence(answer, target, detail="with the token, answered like a name in its own folder")


def _texts(claim: object) -> list[str]:
    return [one for one in (claim if isinstance(claim, list) else [claim]) if isinstance(one, str) and one]


def listing(visit: Visit) -> Iterator[Evidence]:
    targets = ["/", "/?list-type=2", "/?versions", "/?delimiter=%2F&max-keys=5", "/-/s3objects"]
    if visit.subject.path is not None:
        parent = visit.folder.rstrip("/").rpartition("/")[0] + "/"
        targets += [parent, visit.folder, f"{visit.folder}?list-type=2", f"/-/s3objects?prefix={quote(visit.key)}"]
    for caller, credentials in visit.outsiders():
        for target in dict.fromkeys(targets) if not credentials else targets[-1:]:
            answer = visit.ask(target, fields=credentials, detail=caller)
            if answer.status == 200 and _lists_objects(visit, target, answer):
                yield visit.evidence(answer, target, detail=f"{caller}: names of objects")


def _lists_objects(visit: Visit, target: str, answer: Answer) -> bool:
    """Is it a listing of a known server, or a page of the object's folder that contains its name?"""
    document = parse_json(answer.body)
    if target.startswith("/-/"):
        return visit.subject.path is not None and visit.key in _listed_keys(document)
    if LISTING.search(answer.body) or (isinstance(document, list) and any(_is_entry(one) for one in document)):
        return True
    if visit.subject.path is None or target != visit.folder or target == "/":
        return False
    name = visit.path.rpartition("/")[2].encode()
    return len(name) > 3 and name in answer.body


def _is_entry(one: object) -> bool:
    """Is it an entry of a JSON listing of nginx or Caddy?"""
    return isinstance(one, dict) and "name" in one and ("type" in one or "is_dir" in one)


def _listed_keys(document: object) -> list[object]:
    """Keys in a listing of Stagedoor."""
    contents = document.get("Contents") if isinstance(document, dict) else None
    return [one.get("Key") for one in contents if isinstance(one, dict)] if isinstance(contents, list) else []
