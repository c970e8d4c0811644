"""From `Serve` to the answer with the object: what S3 and RFC 9110 say, and what keeps private things private."""

from __future__ import annotations

import logging
import re
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from .. import replies
from ..errors import StagedoorError, StoreRefused, Unavailable, UnusableKey
from ..messages import Pairs, Reply, Request, Serve
from ..store import Changed, Meta, NotSatisfiable, Opened, Store
from .conditions import PRECONDITIONS, evaluate, http_date, parse_range, range_holds

_log = logging.getLogger("stagedoor")

SANDBOX = b"sandbox; default-src 'none'; img-src 'self' data:; media-src 'self' data:; style-src 'unsafe-inline'"
"""Content-Security-Policy of objects that could run scripts: they are shown, but in an origin of their own."""

_TYPE = re.compile(rb"[\w.+-]+/[\w.+-]+(?:[ \t]*;[\x20-\x7e]*)?\Z")
_PRIVATE_VARY = (b"vary", b"Cookie, Authorization")


class Answer(NamedTuple):
    """A response on its way: its body is `body`, or comes from `opened` piece by piece.

    `reason` and `caller` are for the log.
    """

    status: int
    headers: Pairs
    body: bytes = b""
    opened: Opened | None = None
    reason: str = ""
    caller: str = ""


async def answer_object(store: Store, serve: Serve, request: Request, *, trust_html: bool) -> Answer:
    """Fetch the object that the door allowed, and nothing else, and make the answer.

    Args:
        store: where the object lives.
        serve: the door's decision.
        request: for its method and conditional headers; nothing of it reaches the store but the range.
        trust_html: False: HTML, SVG and other XML are sandboxed.
    """
    try:
        found = await _object(store, serve, serve.key, request, trust_html)
        if found is None and serve.fallback is not None:
            found = await _object(store, serve, serve.fallback, request, trust_html)
    except Unavailable as error:
        after = ((b"retry-after", str(error.retry_after).encode()),)
        return _failure(serve, request, 503, error, "the file could not be fetched just now", after)
    except StoreRefused as error:
        return _failure(serve, request, 502, error, "the store does not let this site in; its owner must look")
    except UnusableKey as error:
        return _failure(serve, request, 404, error, "there is no such file")
    return found or _problem(serve, request, 404, "not-found", "there is no such file")


async def _object(store: Store, serve: Serve, key: str, request: Request, trust_html: bool) -> Answer | None:
    headers, bodiless = request.headers, request.method == "HEAD"
    span, etag = parse_range(headers), None
    if bodiless or any(name in headers for name in PRECONDITIONS) or (span and b"if-range" in headers):
        meta = await store.head(key)
        if meta is None:
            return None
        outcome = evaluate(headers, meta)
        if outcome == 304:
            return Answer(304, object_headers(serve, meta, request, trust_html), reason="not-modified")
        if outcome == 412:
            return _problem(serve, request, 412, "precondition", "the file is not the version you asked for")
        if span and not range_holds(headers, meta):
            span = None
        if bodiless:
            return _head(serve, meta, request, trust_html)
        etag = meta.etag
    try:
        opened = await store.open(key, span, etag)
    except NotSatisfiable as error:
        return _not_satisfiable(serve, request, error.size)
    except Changed:
        # Replaced between the two questions; asked once more without a condition, for the new version is as good.
        opened = await store.open(key)
    if opened is None:
        return None
    meta, start, stop = opened.meta, opened.start, opened.stop
    fields = (
        *object_headers(serve, meta, request, trust_html),
        (b"content-length", b"%d" % (stop - start)),
        (b"content-type", _content_type(meta)),
    )
    status = 200
    if span is not None:
        status, fields = 206, (*fields, (b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, meta.size)))
    if opened.whole is not None:
        opened.close()
        return Answer(status, fields, opened.whole, reason="served")
    return Answer(status, fields, b"", opened, reason="served")


def _head(serve: Serve, meta: Meta, request: Request, trust_html: bool) -> Answer:
    fields = (
        *object_headers(serve, meta, request, trust_html),
        (b"content-length", b"%d" % meta.size),
        (b"content-type", _content_type(meta)),
    )
    return Answer(200, fields, reason="served")


def object_headers(serve: Serve, meta: Meta, request: Request, trust_html: bool) -> Pairs:
    """Header fields of every answer about an object, 304 included (RFC 9110 §15.4.5)."""
    fields = [
        (b"etag", meta.etag),
        (b"last-modified", http_date(meta.modified)),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
        *serve.headers,
    ]
    stored = [
        (name, value) for name, value in meta.headers if name in _KEPT and b"\r" not in value and b"\n" not in value
    ]
    if serve.public:
        fields += stored
    else:
        cache = b", ".join(value for name, value in stored if name == b"cache-control")
        fields += [(name, value) for name, value in stored if name not in (b"cache-control", b"expires")]
        fields += [(b"cache-control", private_cache_control(cache)), _PRIVATE_VARY]
    if not trust_html and _can_run_scripts(meta.content_type):
        fields.append((b"content-security-policy", SANDBOX))
    if request.query and _wants_download(request.query):
        fields = [field for field in fields if field[0] != b"content-disposition"]
        fields.append((b"content-disposition", attachment(serve.key)))
    return tuple(fields)


_KEPT = frozenset((b"cache-control", b"content-disposition", b"content-encoding", b"content-language", b"expires"))


def private_cache_control(stored: bytes) -> bytes:
    """Cache-Control for an object that not everybody may read.

    The object's own directives are kept but for those that speak of shared caches (RFC 9111 §5.2.2); without a
    max-age the browser has to ask each time.
    """
    kept = []
    for directive in stored.split(b","):
        name = directive.strip().lower().partition(b"=")[0]
        if name and name not in (b"public", b"private", b"s-maxage", b"proxy-revalidate"):
            kept.append(directive.strip())
    if not any(directive.lower().startswith((b"max-age", b"no-cache", b"no-store")) for directive in kept):
        kept.append(b"no-cache")
    return b", ".join((b"private", *kept))


def attachment(key: str) -> bytes:
    """Content-Disposition that saves the object under its own name (RFC 6266 §4)."""
    name = key.rpartition("/")[2]
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}".encode()


def _wants_download(query: bytes) -> bool:
    return any(unquote_to_bytes(part.partition(b"=")[0]) == b"download" for part in query.split(b"&"))


def _content_type(meta: Meta) -> bytes:
    """The stored type if it is one; what is none could be read as anything."""
    return meta.content_type if _TYPE.match(meta.content_type) else b"application/octet-stream"


def _can_run_scripts(content_type: bytes) -> bool:
    lower = content_type.lower()
    return b"html" in lower or b"xml" in lower or b"svg" in lower


def _problem(serve: Serve, request: Request, status: int, code: str, detail: str, extra: Pairs = ()) -> Answer:
    page = replies.is_navigation(request.method, request.headers)
    cors = tuple(field for field in serve.headers if field[0] != b"referrer-policy")
    return of_reply(replies.problem(status, code, detail, page=page, extra=extra + cors))


def _failure(
    serve: Serve, request: Request, status: int, error: StagedoorError, detail: str, extra: Pairs = ()
) -> Answer:
    _log.error("%s for %r: %s", error.code, serve.key, error)
    return _problem(serve, request, status, error.code, detail, extra)


def _not_satisfiable(serve: Serve, request: Request, size: int) -> Answer:
    extra = ((b"content-range", b"bytes */%d" % size),)
    return _problem(serve, request, 416, "range", f"the file has {size} bytes", extra)


def of_reply(reply: Reply) -> Answer:
    """An answer of the door itself, with its length."""
    length = () if reply.status in (204, 304) else ((b"content-length", b"%d" % len(reply.body)),)
    return Answer(reply.status, reply.headers + length, reply.body, reason=reply.reason, caller=reply.caller)
