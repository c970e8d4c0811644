"""Answering a `Fetch` while the caller waits: https only, no redirect, bounded in bytes and in seconds."""

from __future__ import annotations

import queue
import ssl
import threading
import time
from functools import cache
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from ..core.issuers import host_to_connect, is_safe_url
from ..core.messages import Fetch, Fetched

THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
"""Hosts that no proxy is asked for."""
_LATE = Fetched(b"", "no answer in time")


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(wish: Fetch, within: float | None = None, tls: ssl.SSLContext | None = None) -> Fetched:
    """Fetch the URL of a wish. Threads may call it at the same time.

    The exchange runs in a thread of its own, because neither a slow name server nor a header section that comes byte by
    byte is bounded by a timeout.

    Args:
        wish: its URL is `https:`, `http:` on this machine, or `file:`.
        within: seconds for the whole exchange, instead of the wish's own.
        tls: how certificates are checked; default: with the machine's own authorities.

    Returns:
        The body, or the reason in `error`. Nothing is raised.
    """
    if not wish.url.startswith("file:") and not is_safe_url(wish.url):
        return Fetched(b"", "this is not an https address")
    seconds = wish.timeout if within is None else within
    answered: queue.SimpleQueue[Fetched] = queue.SimpleQueue()
    threading.Thread(target=lambda: answered.put(_fetched(wish, seconds, tls)), daemon=True).start()
    try:
        return answered.get(timeout=max(seconds, 0))
    except queue.Empty:
        return _LATE


@cache
def opener(proxies: bool, tls: ssl.SSLContext | None) -> OpenerDirector:
    """Made once, because reading the certificates of all authorities takes long on a share of a processor."""
    checks = () if tls is None else (HTTPSHandler(context=tls),)
    return build_opener(_NoRedirects, *checks, *(() if proxies else (ProxyHandler({}),)))


def _fetched(wish: Fetch, within: float, tls: ssl.SSLContext | None) -> Fetched:
    try:
        return _read(wish) if wish.url.startswith("file:") else _get(wish, within, tls)
    except TimeoutError:
        return _LATE
    except URLError as error:
        return Fetched(b"", reason(error))
    except Exception as error:  # any other failure means that there is no body
        return Fetched(b"", f"{type(error).__name__}: {error}")


def reason(error: URLError) -> str:
    if isinstance(error.reason, ssl.SSLCertVerificationError):
        own = "if its authority is one of your own, name the authority's file in [site] ca or SSL_CERT_FILE"
        return f"its certificate does not count here: {error.reason.verify_message}; {own}"
    if isinstance(error.reason, OSError) and error.reason.strerror:
        return error.reason.strerror.lower()
    return str(error.reason)


def _read(wish: Fetch) -> Fetched:
    with open(unquote(urlsplit(wish.url).path), "rb") as file:  # noqa: PTH123 - pathlib costs each cold start 3 ms
        return checked(file.read(wish.limit + 1), wish)


def _get(wish: Fetch, within: float, tls: ssl.SSLContext | None) -> Fetched:
    ends = time.monotonic() + within
    parts, host = urlsplit(wish.url), host_to_connect(wish.url)
    headers = {"Accept": "application/json", "Host": parts.netloc, **form_fields(wish)}
    url = wish.url if host == parts.hostname else parts._replace(netloc=f"{host}:{parts.port or 80}").geturl()
    asked = Request(url, wish.form, headers)  # noqa: S310 - `fetch` checked the URL
    asks = opener(parts.scheme == "https" and host not in THIS_MACHINE, tls)
    with _open(asks, asked, within) as answer:
        if answer.status != 200 and wish.form is None:  # a refused POST says in its body why
            return Fetched(b"", not_200(answer.status))
        body: bytes = b""
        while len(body) <= wish.limit and (piece := answer.read1(65_536)):
            body += piece
            if time.monotonic() > ends:
                return _LATE
        if len(body) <= wish.limit and answer.length:  # `read1` takes a connection that was closed for the end
            return Fetched(b"", "the answer broke off")
        return checked(body, wish, answer.headers.get("content-encoding", ""), answer.status)


def _open(opener: OpenerDirector, asked: Request, within: float) -> Any:
    try:
        return opener.open(asked, timeout=within)
    except HTTPError as error:  # an answer like others, of which the status says that it refuses
        return error


def form_fields(wish: Fetch) -> dict[str, str]:
    """Header fields that a POST has besides those of every request; none for a GET."""
    if wish.form is None:
        return {}
    content = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(wish.form))}
    return content | ({"Authorization": wish.authorization} if wish.authorization else {})


def not_200(status: int) -> str:
    """Why an answer of this status is a failure."""
    return f"the answer was {status}, not 200"


def checked(body: bytes, wish: Fetch, coding: str = "", status: int = 200) -> Fetched:
    """The answer with this body, unless it is longer than the wish allows.

    Args:
        body: as it came, one byte too much at most.
        wish: what was asked for.
        coding: `Content-Encoding`; gzip, which some networks send unasked, is unpacked up to the limit.
        status: of the answer; any but 200 is a failure, of which the body may say more.
    """
    if coding.strip().lower() in ("gzip", "x-gzip") and len(body) <= wish.limit:
        import zlib  # few answers need it, and a cold start at the edge would wait for it

        try:
            body = zlib.decompressobj(wbits=31).decompress(body, wish.limit + 1)
        except zlib.error:
            return Fetched(b"", "the answer says that it is packed with gzip, and it is not")
    if len(body) > wish.limit:
        return Fetched(b"", f"the answer is longer than {wish.limit} bytes")
    return Fetched(body, "" if status == 200 else not_200(status))
