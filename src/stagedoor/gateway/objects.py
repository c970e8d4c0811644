"""From `Serve` to the answer with the object: what S3 and RFC 9110 say, and what keeps private things private."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Generator
from functools import cached_property, lru_cache
from typing import NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote

from ..core import parameters, replies
from ..core.drivers import arun, run
from ..core.errors import StagedoorError, StoreRefused, Unavailable, UnusableKey
from ..core.messages import Pairs, Reply, Request, Serve, Signpost
from ..store.port import Changed, Head, InstantStore, Meta, NotSatisfiable, Open, Opened, Store
from .conditions import CONDITIONS, evaluate, http_date, parse_range, range_holds

_log = logging.getLogger("stagedoor")

SANDBOX = b"sandbox; default-src 'none'; img-src 'self' data:; media-src 'self' data:; style-src 'unsafe-inline'"
"""Content-Security-Policy of objects that could run scripts: they are shown, but in an origin of their own."""

T = TypeVar("T")

# No comma, because browsers take the last of several types.
_TYPE = re.compile(rb"[\w.+-]+/[\w.+-]+(?:[ \t]*;[\x20-\x2b\x2d-\x7e]*)?\Z")
_INERT = re.compile(
    rb"(?:image/(?!svg)|audio/|video/|font/|text/(?:plain|css|csv|vtt|markdown|javascript|calendar)\Z"
    rb"|application/(?:json|pdf|zip|gzip|octet-stream|wasm|javascript|rtf|epub\+zip|manifest\+json|x-mpegurl"
    rb"|msword|vnd\.apple\.mpegurl|vnd\.ms-[a-z-]+|vnd\.openxmlformats-officedocument\.[a-z.]+)\Z)(?!.*(?:xml|html)\Z)"
)
_DIRECTIVE = re.compile(rb'(?:[^,"]|"[^"]*")+')  # a quoted value may hold commas (RFC 9111 §5.2)
_BREAKS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # characters that would end a header field or hide in it
_DOWNLOAD = frozenset((b"download",))
_PRIVATE_VARY = (b"vary", b"Cookie, Authorization")


class Fields(tuple[tuple[bytes, bytes], ...]):  # noqa: SLOT001 - `wire` is kept in its __dict__
    """Header fields that are used again and again; `wire` is how HTTP/1.1 writes them."""

    @cached_property
    def wire(self) -> bytes:
        return b"".join(b"%s: %s\r\n" % field for field in self)


class Answer(NamedTuple):
    """A response to be sent: its body is `body`, or comes from `opened` piece by piece.

    `reason`, `caller` and `cache` (see `Meta`) are for the log.
    """

    status: int
    headers: Pairs
    body: bytes = b""
    opened: Opened | None = None
    reason: str = ""
    caller: str = ""
    cache: str = ""


Found: TypeAlias = Meta | Opened | None
StoreFlow: TypeAlias = Generator[Head | Open, Found, T]
"""A conversation with the store."""


async def answer_object(store: Store, serve: Serve, request: Request, *, trust_html: bool) -> Answer:
    """Fetch the object that the door allowed, and nothing else, and make the answer.

    Args:
        store: where the object lives.
        serve: the door's decision.
        request: for its method and conditional headers; nothing of it reaches the store but the range.
        trust_html: False: HTML, SVG and other XML are sandboxed.
    """

    async def ask(wish: Head | Open) -> Found:
        return await (store.head(wish) if isinstance(wish, Head) else store.open(wish))

    return await arun(_answer(serve, request, trust_html), ask)


AskNow: TypeAlias = Callable[[Head | Open], Found]


def asks_now(store: InstantStore) -> AskNow:
    """The function that answers wishes from this store at once; made once, because each request uses it."""

    def ask(wish: Head | Open) -> Found:
        return store.head_now(wish) if isinstance(wish, Head) else store.open_now(wish)

    return ask


def answer_object_now(ask: AskNow, serve: Serve, request: Request, *, trust_html: bool) -> Answer:
    """The same, from a store that answers at once (`asks_now`)."""
    return run(_answer(serve, request, trust_html), ask)


def _answer(serve: Serve, request: Request, trust_html: bool) -> StoreFlow[Answer]:
    """Ask for the object; if there is none, for what stands in for it."""
    try:
        for key in (serve.key,) if serve.fallback is None else (serve.key, serve.fallback):
            found: Answer | Meta | Opened | None = None
            span, etag = parse_range(request.headers), None
            if request.method == "HEAD" or not CONDITIONS.isdisjoint(request.headers):
                meta = yield Head(key)
                if not isinstance(meta, Meta):
                    continue
                found = _judged(serve, meta, request, trust_html)
                if found is not None:
                    return found
                etag = meta.etag
                if not range_holds(request.headers, meta):
                    span = None
            try:
                found = yield Open(key, span, etag)
            except Changed:  # replaced between the two questions
                if b"if-match" in request.headers or b"if-unmodified-since" in request.headers:
                    return _problem(serve, request, 412, "precondition", "the file is not the version you asked for")
                span, found = None, (yield Open(key))
            if isinstance(found, Opened):
                return _opened(serve, found, span is not None, request, trust_html)
    except NotSatisfiable as error:
        extra = ((b"content-range", b"bytes */%d" % error.size),)
        return _problem(serve, request, 416, "range", f"the file has {error.size} bytes", extra)
    except Unavailable as error:
        after = ((b"retry-after", str(error.retry_after).encode()),)
        return _failure(serve, request, 503, error, "the file could not be fetched just now", after)
    except StoreRefused as error:
        return _failure(serve, request, 502, error, "the store refuses this site, or gives no usable answer")
    except UnusableKey as error:
        return _failure(serve, request, 404, error, replies.NOT_FOUND)
    return _problem(serve, request, 404, "not-found", replies.NOT_FOUND)


def _judged(serve: Serve, meta: Meta, request: Request, trust_html: bool) -> Answer | None:
    """The answer, if the object's bytes are not needed for it; else None."""
    outcome = evaluate(request.headers, meta)
    if outcome == 304:
        return Answer(304, _about(serve, meta, request, trust_html, None), reason="not-modified", cache=meta.cache)
    if outcome == 412:
        return _problem(serve, request, 412, "precondition", "the file is not the version you asked for")
    if request.method == "HEAD":
        return Answer(200, _about(serve, meta, request, trust_html, meta.size), reason="served", cache=meta.cache)
    return None


def _opened(serve: Serve, opened: Opened, partial: bool, request: Request, trust_html: bool) -> Answer:
    meta, start, stop, whole = opened[:4]
    status, fields = 200, _about(serve, meta, request, trust_html, stop - start)
    if partial:
        fields = Fields((*fields, (b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, meta.size))))
        status = 206
    if whole is None:
        return Answer(status, fields, b"", opened, "served", cache=meta.cache)
    return Answer(status, fields, whole, None, "served", cache=meta.cache)


def _about(serve: Serve, meta: Meta, request: Request, trust_html: bool, length: int | None) -> Fields:
    """Header fields of every answer about an object; 304 has all but the length and the type (RFC 9110 §15.4.5)."""
    saved_as = serve.key.rpartition("/")[2] if request.query and _wants_download(request.query) else None
    now = int(time.time())
    modified = (
        meta.modified if meta.modified <= now else now - 1
    )  # not after Date, which the server makes once a second
    return _fields(meta, modified, serve.public, serve.headers, trust_html, saved_as, length, _fresh_for(serve, meta))


def _fresh_for(serve: Serve, meta: Meta) -> int | None:
    """Seconds after which no copy may be used any more; None: no end, or no copy may be kept anyway."""
    if serve.until is None or not any(name == b"cache-control" for name, _ in meta.headers):
        return None
    return max(0, int(serve.until - time.time()))


def _wants_download(query: bytes) -> bool:
    """`?download` is the only header field that a viewer may choose."""
    return bool(parameters.find(query, _DOWNLOAD))


@lru_cache(maxsize=2048)
def _fields(
    meta: Meta,
    modified: int,
    public: bool,
    extra: Pairs,
    trust_html: bool,
    saved_as: str | None,
    length: int | None,
    fresh_for: int | None,
) -> Fields:
    fields = [
        (b"etag", meta.etag),
        (b"last-modified", http_date(modified)),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
        *extra,
    ]
    stored = [(name, value) for name, value in meta.headers if name in _KEPT and not _BREAKS.search(value)]
    if public:
        fields += stored
    else:
        cache = b", ".join(value for name, value in stored if name == b"cache-control")
        fields += [(name, value) for name, value in stored if name not in (b"cache-control", b"expires")]
        fields += [(b"cache-control", private_cache_control(cache, fresh_for)), _PRIVATE_VARY]
    if not trust_html and _can_run_scripts(_content_type(meta)):
        fields.append((b"content-security-policy", SANDBOX))
    if saved_as is not None:
        fields = [field for field in fields if field[0] != b"content-disposition"]
        fields.append((b"content-disposition", attachment(saved_as)))
    if length is not None:
        fields += [(b"content-length", b"%d" % length), (b"content-type", _content_type(meta))]
    return Fields(fields)


_KEPT = frozenset((b"cache-control", b"content-disposition", b"content-encoding", b"content-language", b"expires"))


def private_cache_control(stored: bytes, fresh_for: int | None = None) -> bytes:
    """Cache-Control for an object that is not public.

    The object's own directives are kept but for those that speak of shared caches (RFC 9111 §5.2.2); without a
    max-age the browser has to ask each time.

    Args:
        stored: the object's own.
        fresh_for: seconds that a copy may be used at most: a max-age is cut down to it, and what would let a cache
            use a stale copy (RFC 5861), or never ask again (RFC 8246), is left out.
    """
    dropped = _SHARED if fresh_for is None else _SHARED | _STALE
    kept = []
    for directive in _DIRECTIVE.findall(stored) if stored.count(b'"') % 2 == 0 else ():
        name, equals, value = (part.strip() for part in directive.partition(b"="))
        if fresh_for is not None and name.lower() == b"max-age":
            seconds = value.strip(b'" ')
            name, equals, value = (
                b"max-age",
                b"=",
                b"%d" % min(int(seconds[:12]) if seconds.isdigit() else 0, fresh_for),
            )
        if name and name.lower() not in dropped:
            kept.append((name, equals, value))
    if {name.lower() for name, _, _ in kept}.isdisjoint((b"max-age", b"no-cache", b"no-store")):
        kept.append((b"no-cache", b"", b""))
    return b", ".join((b"private", *(b"".join(parts) for parts in kept)))


_SHARED = frozenset((b"public", b"private", b"s-maxage", b"proxy-revalidate"))
_STALE = frozenset((b"immutable", b"stale-while-revalidate", b"stale-if-error"))


def attachment(name: str) -> bytes:
    """Content-Disposition that saves an object under this name (RFC 6266 §4)."""
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}".encode()


def _content_type(meta: Meta) -> bytes:
    """The stored type if it is well-formed, because browsers guess about any other.

    Never `multipart/*`: each part would have header fields of its own, which no policy of ours binds.
    """
    stored = meta.content_type
    whole = _TYPE.match(stored) and not stored.lower().startswith(b"multipart/")
    return stored if whole else b"application/octet-stream"


def _can_run_scripts(content_type: bytes) -> bool:
    """True for all types that are not known to be inert, because browsers run scripts in more than HTML and SVG."""
    return _INERT.match(content_type.partition(b";")[0].strip().lower()) is None


def _problem(serve: Serve, request: Request, status: int, code: str, detail: str, extra: Pairs = ()) -> Answer:
    page = replies.page_for(request, serve.signpost or Signpost(""))
    cors = tuple(field for field in serve.headers if field[0] != b"referrer-policy")
    return of_reply(replies.problem(status, code, detail, page=page, extra=extra + cors))


def _failure(
    serve: Serve, request: Request, status: int, error: StagedoorError, detail: str, extra: Pairs = ()
) -> Answer:
    _log.error("%s for %r: %s", error.code, serve.key, error)
    return _problem(serve, request, status, error.code, detail, extra)


def of_reply(reply: Reply) -> Answer:
    """An answer of the door itself, with its length."""
    length = () if reply.status in (204, 304) else ((b"content-length", b"%d" % len(reply.body)),)
    return Answer(reply.status, reply.headers + length, reply.body, reason=reply.reason, caller=reply.caller)
