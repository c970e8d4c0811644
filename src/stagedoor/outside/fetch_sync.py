"""A `Fetch` answered where waiting is fine: one GET, https only, no redirect, bounded in bytes and in seconds."""

from __future__ import annotations

import queue
import threading
import time
from functools import cache
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from ..core.issuers import is_safe_url
from ..core.messages import Fetch, Fetched

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_LATE = Fetched(b"", "no answer in time")


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(wish: Fetch, within: float | None = None) -> Fetched:
    """Fetch a URL that a flow wishes for; may be called from several threads.

    A thread does it, so that nothing can take longer: neither finding the address, which has no time limit of its own,
    nor a head that comes byte by byte.

    Args:
        wish: its URL is `https:`, `http:` on this machine, or `file:`.
        within: seconds for all of it; default: the wish's own.

    Returns:
        The body, or in `error` why there is none. Nothing is raised.
    """
    if not wish.url.startswith("file:") and not is_safe_url(wish.url):
        return Fetched(b"", "this is not an https address")
    seconds = wish.timeout if within is None else within
    answered: queue.SimpleQueue[Fetched] = queue.SimpleQueue()
    threading.Thread(target=lambda: answered.put(_fetched(wish, seconds)), daemon=True).start()
    try:
        return answered.get(timeout=max(seconds, 0))
    except queue.Empty:
        return _LATE


@cache
def _opener(proxies: bool) -> OpenerDirector:
    """Made once: it reads the certificates of all authorities, which takes long with a share of a processor."""
    return build_opener(_NoRedirects, *(() if proxies else (ProxyHandler({}),)))


def _fetched(wish: Fetch, within: float) -> Fetched:
    try:
        return _read(wish) if wish.url.startswith("file:") else _get(wish, within)
    except HTTPError as error:
        error.close()
        return Fetched(b"", f"the answer was {error.code}, not 200")
    except TimeoutError:
        return _LATE
    except Exception as error:  # whatever it is: there is no body
        return Fetched(b"", f"{type(error).__name__}: {error}")


def _read(wish: Fetch) -> Fetched:
    with open(unquote(urlsplit(wish.url).path), "rb") as file:  # noqa: PTH123 - pathlib costs each cold start 3 ms
        return _checked(file.read(wish.limit + 1), wish)


def _get(wish: Fetch, within: float) -> Fetched:
    ends = time.monotonic() + within
    asked = Request(wish.url, headers={"Accept": "application/json"})  # noqa: S310 - `fetch` has looked at it
    # A proxy from the environment is not asked for what is on this machine.
    opener = _opener(proxies=urlsplit(wish.url).hostname not in _THIS_MACHINE)
    with opener.open(asked, timeout=within) as answer:
        if answer.status != 200:
            return Fetched(b"", f"the answer was {answer.status}, not 200")
        body: bytes = b""
        while len(body) <= wish.limit and (piece := answer.read1(65_536)):
            body += piece
            if time.monotonic() > ends:
                return _LATE
    return _checked(body, wish)


def _checked(body: bytes, wish: Fetch) -> Fetched:
    if len(body) > wish.limit:
        return Fetched(b"", f"the answer is longer than {wish.limit} bytes")
    return Fetched(body)
