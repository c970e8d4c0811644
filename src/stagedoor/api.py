"""What the site answers under `/-/`: who somebody is, why, what there is for them, and passes to take along.

Each endpoint is a flow like the door's own, so that a gateway and a Lambda function answer alike. Whoever asks is
known from the same credentials as at the door, but for passes, which open objects and nothing here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import gmtime, strftime
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from . import credentials, paths, replies
from .caller import Caller
from .credentials import Places
from .door import Door, Endpoint
from .errors import InvalidRequest, InvalidToken, SessionTooLarge, WrongOrigin
from .jose import json_object
from .limits import Buckets
from .listing import visible
from .messages import Flow, Item, List, Lookup, Reply, Request, look_up
from .policy import Allow, Policy
from .signing import Signer

MAX_BODY_BYTES = 16_384
MAX_COOKIE_PREFIXES = 8
"""Folders for which one answer sets cookies: three or four for each, and browsers keep 180 a site at most."""
MAX_COOKIE_PATH = 1024
"""Browsers pass over a longer Path, and the cookie is none of the folder's (RFC 6265bis §5.6)."""
MAX_COOKIES_BYTES = 32_768
"""Set-Cookie lines of one answer; proxies take less, or must be told to take so much."""
MAX_LISTED = 1000
"""Names on a page (Amazon S3 API, ListObjectsV2)."""

_HEADER_ONLY = Places(("header",), session="")
_DIGITS = re.compile(r"[0-9]{1,9}\Z")


class Seal(Protocol):
    """Hides what a client carries for us. Nobody but us can read or make what `seal` gives."""

    def seal(self, plain: str, purpose: str) -> str: ...

    def unseal(self, sealed: str, purpose: str) -> str | None:
        """What was sealed for this purpose; None for anything else."""
        ...


@dataclass(frozen=True, slots=True)
class Api:
    """The endpoints.

    Attributes:
        entropy: gives that many random bytes.
        seal: hides where a page of a listing ended.
        signer: issues passes; None: this site issues none.
        max_lifetime: seconds that a pass may last; also what it lasts if nobody asks for less.
        per_minute: passes that one caller may have issued in a minute.
        listing: the objects can be listed.
        catalogue: there is a catalogue.
        clock: seconds that pass, to bound the work for a page of a listing.
        description: makes the OpenAPI document for a door; None: this site shows none.
    """

    entropy: Callable[[int], bytes]
    seal: Seal
    signer: Signer | None = None
    max_lifetime: int = 12 * 3600
    per_minute: int = 600
    listing: bool = True
    catalogue: bool = False
    clock: Callable[[], float] = lambda: 0.0
    description: Callable[[Door], Mapping[str, object]] | None = None
    _issued: Buckets = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_issued", Buckets(self.per_minute))

    def endpoints(self) -> Mapping[bytes, Endpoint]:
        """Path -> endpoint, for `Door`."""
        return {
            b"/-/whoami": Endpoint("GET", _whoami),
            b"/-/explain": Endpoint("GET", _explain),
            b"/-/session": Endpoint("POST", self._session),
            b"/-/s3objects": Endpoint("GET", self._s3objects),
            b"/-/urls": Endpoint("POST", self._urls),
            b"/-/cookies": Endpoint("POST", self._cookies),
            b"/-/contents/": Endpoint("GET", self._contents),
            b"/-/openapi.json": Endpoint("GET", self._openapi),
        }

    def _session(self, door: Door, request: Request, now: float) -> Flow[Reply]:
        """Turn the bearer token that a frontend holds into our cookie."""
        _check_origin(door, request)
        credential = credentials.find(request.headers, b"", _HEADER_ONLY)
        if credential is None or credential.kind != "header":
            return door.unauthorized(request, None)
        if door.sessions is None:
            return door.problem(request, 404, "session-inactive", "sessions are not active on this site")
        caller = yield from door.tokens.verify(credential.value, now)
        try:
            cookie = door.sessions.set_cookie(caller, door.policy.session_claims(caller), self.entropy(16), now)
        except SessionTooLarge as error:
            return door.problem(request, 422, error.code, str(error), caller=caller.label)
        headers = (*replies.base_headers(), (b"set-cookie", cookie.encode()))
        return Reply(204, headers, b"", "session", caller.label)

    # --- passes

    def _urls(self, door: Door, request: Request, now: float) -> Flow[Reply]:
        """Sign the URL of one object that the caller may read now."""
        if self.signer is None:
            return _no_passes(door, request)
        _check_origin(door, request)
        caller, _ = yield from door.caller(request, now)
        asked = _body(request, "file", "?expires_in")
        key = _object(door, asked["file"])
        if not isinstance(door.policy.decide(caller, key), Allow):
            return door.refuse(request, caller)
        expires = int(now) + self._lifetime(asked.get("expires_in", self.max_lifetime))
        return self._limited(door, request, caller, now) or _document(
            201, {"signedUrl": self._signed(door, key, expires), "expires": expires}, "pass-issued", caller
        )

    def _cookies(self, door: Door, request: Request, now: float) -> Flow[Reply]:
        """Set cookies that open whole folders, each for its own path."""
        if self.signer is None:
            return _no_passes(door, request)
        _check_origin(door, request)
        caller, _ = yield from door.caller(request, now)
        asked = _body(request, "prefix", "?expires_in")
        folders = folders_of(asked["prefix"])
        for folder in folders:
            reach = door.policy.below(caller, folder)
            if reach != "all":
                if not caller.signed_in:
                    return door.unauthorized(request, None)
                rule = door.policy.exception(caller, folder) if reach == "some" else None
                why = f" ({rule.name} denies {rule.pattern!r})" if rule else ""
                detail = f"you may not read all of {folder!r}{why}; ask for /-/urls of single files"
                return door.problem(request, 403, "denied", detail, caller=caller.label)
        lifetime = self._lifetime(asked.get("expires_in", self.max_lifetime))
        refused = self._limited(door, request, caller, now)
        if refused is not None:
            return refused
        secure = "; Secure" if door.site.url.startswith("https:") else ""
        cookies: list[tuple[bytes, bytes]] = []
        for folder in folders:
            for path in paths.spellings(folder):
                signed = self.signer.cookies(f"{door.site.url}{path}*", int(now) + lifetime)
                attributes = f"Path={path}; Max-Age={lifetime}; HttpOnly; SameSite=Lax{secure}"
                cookies += [(b"set-cookie", f"{name}={value}; {attributes}".encode()) for name, value in signed.items()]
        if sum(len(line) for _, line in cookies) > MAX_COOKIES_BYTES:
            raise InvalidRequest("the cookies of so many folders are too large for one answer", code="body")
        return Reply(204, (*replies.base_headers(), *cookies), b"", "pass-issued", caller.label)

    def _signed(self, door: Door, key: str, expires: int) -> str:
        assert self.signer is not None
        return self.signer.url(door.site.url + paths.encode(key), expires)

    def _lifetime(self, asked: object) -> int:
        if isinstance(asked, float) and asked.is_integer():
            asked = int(asked)  # 60.0 is a whole number (JSON Schema, "integer")
        if type(asked) is not int or asked < 1:
            raise InvalidRequest("expires_in is a number of seconds, at least 1", code="body")
        return min(asked, self.max_lifetime)

    def _limited(self, door: Door, request: Request, caller: Caller, now: float) -> Reply | None:
        """429 for whoever has had enough passes in the last minute (RFC 6585 §4)."""
        wait = self._issued.take(caller.label or _household(request.client), now)
        if not wait:
            return None
        after = ((b"retry-after", b"%d" % (int(wait) + 1)),)
        detail = f"{self.per_minute} passes a minute are issued to one caller"
        return door.problem(request, 429, "too-many-passes", detail, extra=after, caller=caller.label)

    # --- content

    def _s3objects(self, door: Door, request: Request, now: float) -> Flow[Reply]:
        """List what the caller may read, with the names that S3 has for it (API ListObjectsV2)."""
        if not self.listing:
            return door.problem(request, 404, "no-store", "this site has no store, so there is nothing to list")
        caller, _ = yield from door.caller(request, now)
        wish, purpose = self._listing_wish(request, caller)
        if not caller.signed_in and not door.policy.prefixes(caller, ""):
            return door.unauthorized(request, None)
        listed = yield from visible(door.policy, caller, wish, door.site.index_file, self.clock)
        items = [one for one in listed.found if isinstance(one, Item)]
        page: dict[str, object] = {
            "Prefix": wish.prefix,
            "Contents": [as_s3(item) for item in items],
            "CommonPrefixes": [{"Prefix": one} for one in listed.found if isinstance(one, str)],
            "KeyCount": len(listed.found),
            "IsTruncated": listed.resume is not None,
        }
        if listed.resume is not None:
            page["NextCursor"] = self.seal.seal(listed.resume, purpose)
        return _document(200, page, "listing", caller)

    def _listing_wish(self, request: Request, caller: Caller) -> tuple[List, str]:
        """What is to be listed, and what a cursor of this listing is sealed for: it is of use to this caller alone."""
        prefix = (_parameter(request.query, "prefix") or "").removeprefix("/")
        paths.check_key(f"{prefix}x")  # a key may end in what looks like a dot segment only so far
        delimiter = _parameter(request.query, "delimiter") or ""
        if delimiter not in ("", "/"):
            raise InvalidRequest("the delimiter is '/', or none", code="query")
        limit = _number(request.query, "limit", MAX_LISTED, most=MAX_LISTED)
        purpose = f"listing {delimiter}{prefix}\n{caller.label}"  # no prefix holds a line end
        cursor = _parameter(request.query, "cursor")
        after = self.seal.unseal(cursor, purpose) if cursor else ""
        if after is None:
            raise InvalidRequest("the cursor is none of this listing; begin again without one", code="cursor")
        return List(prefix, after, limit, delimiter == "/"), purpose

    def _contents(self, door: Door, request: Request, now: float) -> Flow[Reply]:
        """Content delivery: the address of a content id at this site, for whoever may read it."""
        if not self.catalogue:
            return door.problem(request, 404, "no-catalogue", "this site has no catalogue")
        id_ = paths.decode(request.path).rpartition("/")[2]
        caller, _ = yield from door.caller(request, now)
        if not caller.signed_in and not door.policy.prefixes(caller, ""):  # then no id is worth a question
            return door.unauthorized(request, None)
        content = (yield from look_up(Lookup(id_))) if id_ else None
        key = paths.object_key(content.key, door.site.index_file) if content else None
        if content is None or not key:
            return door.problem(request, 404, "unknown-content", "there is no content of this id", caller=caller.label)
        if not isinstance(door.policy.decide(caller, key), Allow):
            return door.refuse(request, caller)
        told: dict[str, object] = {
            "id": content.id,
            "title": content.title,
            "contentType": content.content_type,
            "attributes": dict(content.attributes),
            "url": door.site.url + paths.encode(key),
        }
        signed, lifetime = _is_wanted(request.query, "signed"), _number(request.query, "expires_in", self.max_lifetime)
        if signed:
            if self.signer is None:
                return _no_passes(door, request)
            expires = int(now) + self._lifetime(lifetime)
            refused = self._limited(door, request, caller, now)
            if refused is not None:
                return refused
            told |= {"url": self._signed(door, key, expires), "expires": expires}
        return _document(200, told, "content", caller)

    def _openapi(self, door: Door, request: Request, now: float) -> Flow[Reply]:  # noqa: ARG002 - as every endpoint
        """Describe all of this (OpenAPI 3.1)."""
        yield from ()
        if self.description is None:
            return door.problem(request, 404, "not-found", "there is nothing of this name")
        return replies.document(200, self.description(door), "openapi")


def _whoami(door: Door, request: Request, now: float) -> Flow[Reply]:
    """Tell the caller how the door sees them."""
    caller, credential = yield from door.caller(request, now)
    if credential is None:
        return replies.document(200, {"signedIn": False}, "whoami")
    about = {
        "signedIn": True,
        "issuer": caller.issuer,
        "sub": caller.subject,
        "groups": sorted(caller.values("groups")),
        "claims": door.policy.session_claims(caller),
        "expires": int(caller.expires),
        "credential": credential.kind,
    }
    return _document(200, about, "whoami", caller)


def _explain(door: Door, request: Request, now: float) -> Flow[Reply]:
    """Tell the caller why they may or may not read a key."""
    caller, _ = yield from door.caller(request, now)
    if not caller.signed_in:  # the rules are nobody's business who has not said who they are
        return door.unauthorized(request, None)
    asked = _parameter(request.query, "key")
    if asked is None:
        raise InvalidRequest("name the key: /-/explain?key=courses/lesson.mp4", code="key-missing")
    key = _object_key(door, asked)
    if not key:
        return door.problem(request, 404, "not-found", "no object can have this key", caller=caller.label)
    return _document(200, explanation(door.policy, caller, key), "explain", caller)


def explanation(policy: Policy, caller: Caller, key: str) -> dict[str, Any]:
    """The decision on one key and what each rule said, as plain data for JSON."""
    decision = policy.decide(caller, key)
    return {
        "key": key,
        "allowed": isinstance(decision, Allow),
        "rule": decision.rule.name if decision.rule else None,
        "reason": decision.reason,
        "caller": caller.label or "anonymous",
        "rules": [
            {
                "rule": one.rule.name,
                "path": one.rule.pattern,
                "effect": one.rule.effect,
                "applies": one.applies,
                "reason": one.reason,
            }
            for one in policy.explain(caller, key)
        ],
    }


# --- what endpoints are asked with


def _check_origin(door: Door, request: Request) -> None:
    """Scripts of other origins may have something made only if `[cors]` lists them (RFC 6454 §7)."""
    origin = request.headers.get(b"origin")
    if origin and origin != [door.site.url.encode()] and door.allowed_origin(request) is None:
        raise WrongOrigin("this origin is not listed in [cors] origins")


def _body(request: Request, *names: str) -> dict[str, object]:
    """The JSON object in the body; it has these members and no others, `?` marks one that may be missing."""
    try:
        asked = json_object(request.body, "body")
    except InvalidToken:
        problem = "the body is no JSON object in UTF-8 that has each member once"
        raise InvalidRequest(f'{problem}; send for example {{"{names[0]}": "…"}}', code="body") from None
    known = {name.removeprefix("?") for name in names}
    other = sorted(asked.keys() - known)
    missing = [name for name in names if name not in asked and not name.startswith("?")]
    if other or missing:
        problem = f"{missing[0]} is missing" if missing else f"{other[0]!r} is not known"
        raise InvalidRequest(f"{problem}; the body has: {', '.join(sorted(known))}", code="body")
    return asked


def _object(door: Door, asked: object) -> str:
    if not isinstance(asked, str):
        raise InvalidRequest("file is the key of an object, as text", code="body")
    key = _object_key(door, asked)
    if not key:
        raise InvalidRequest("no object can have this key", code="body")
    return key


def _object_key(door: Door, asked: str) -> str | None:
    """The key of an object that somebody wrote out, perhaps with the slash that its path starts with."""
    asked = asked.removeprefix("/")
    paths.check_key(asked)
    return paths.object_key(asked, door.site.index_file)


def folders_of(asked: object) -> list[str]:
    """The folders that cookies are wanted for, each with its slash. None lies in another.

    A browser would send the cookies of both, and of two values under one name neither counts.
    """
    texts = [text for text in (asked if isinstance(asked, list) else [asked]) if isinstance(text, str)]
    if not 1 <= len(texts) <= MAX_COOKIE_PREFIXES or (isinstance(asked, list) and len(texts) != len(asked)):
        problem = f"prefix is the name of a folder, or a list of up to {MAX_COOKIE_PREFIXES}"
        raise InvalidRequest(problem, code="body")
    folders = [text.removeprefix("/") for text in texts]
    folders = [folder if folder.endswith("/") or not folder else f"{folder}/" for folder in folders]
    for number, folder in enumerate(folders):
        paths.check_key(folder)
        if folder.startswith(paths.OWN_PREFIX):
            raise InvalidRequest("keys that start with '-/' are never served", code="body")
        if len(paths.encode(folder)) > MAX_COOKIE_PATH:
            raise InvalidRequest(f"the path of {folder[:40]!r}… is too long for a cookie", code="body")
        if any(folder.startswith(other) or other.startswith(folder) for other in folders[:number]):
            raise InvalidRequest("of the folders one lies in another; ask for the outer one", code="prefix-nested")
    return folders


def _parameter(query: bytes, name: str) -> str | None:
    """A query parameter; given twice it is refused, for two readers would take two values."""
    values = [value for found, value in map(_split, query.split(b"&")) if found == name.encode()]
    if not values:
        return None
    if len(values) > 1:
        raise InvalidRequest(f"{name} is there more than once", code="query")
    try:
        return values[0].decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest("the query is not valid UTF-8 after percent-decoding", code="query") from None


def _number(query: bytes, name: str, default: int, *, most: int = 999_999_999) -> int:
    """A query parameter that is a whole number from 1 on, in plain digits."""
    text = _parameter(query, name)
    if text is None:
        return default
    if not _DIGITS.match(text) or not 1 <= int(text) <= most:
        raise InvalidRequest(f"{name} is a number from 1 to {most}", code="query")
    return int(text)


def _is_wanted(query: bytes, name: str) -> bool:
    """A query parameter that says yes by being there, or in so many words."""
    text = _parameter(query, name)
    if text in ("", "1", "true"):
        return True
    if text in (None, "0", "false"):
        return False
    raise InvalidRequest(f"{name} is true or false", code="query")


def _split(part: bytes) -> tuple[bytes, bytes]:
    """Name and value as forms, `URLSearchParams` and most clients write them: `+` is a blank (URL standard §5.1)."""
    name, _, value = part.replace(b"+", b" ").partition(b"=")
    return unquote_to_bytes(name), unquote_to_bytes(value)


# --- what they answer with


def _document(status: int, content: Mapping[str, object], reason: str, caller: Caller) -> Reply:
    return replies.document(status, content, reason, caller=caller.label)


def _household(client: str) -> str:
    """An address, but of IPv6 the network of 64 bits that one customer has all to himself (RFC 6177)."""
    try:
        return str(ipaddress.IPv6Network((client, 64), strict=False))
    except ValueError:
        return client


def _no_passes(door: Door, request: Request) -> Reply:
    return door.problem(request, 404, "passes-inactive", "this site issues no passes: [passes] names no private key")


def as_s3(item: Item) -> dict[str, object]:
    return {
        "Key": item.key,
        "ETag": item.etag,
        "LastModified": _iso(item.modified),
        "Size": item.size,
        "StorageClass": item.storage_class,
    }


def _iso(moment: float) -> str:
    """ISO 8601 in UTC with milliseconds, as S3 writes dates."""
    whole, fraction = divmod(int(moment * 1000), 1000)
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(whole)) + f".{fraction:03d}Z"
