"""An issuer's keys from the edge: one GET, https only, no redirect, no more than the limit, and an end to waiting."""

from __future__ import annotations

import queue
import threading
import time
from functools import cache
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from ..core.messages import Fetch, Fetched


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(wish: Fetch, within: float) -> Fetched:
    """Answer a wish.

    A thread asks, so that nothing can take longer: neither finding the address, which has no time limit of its own,
    nor a head that comes byte by byte.

    Args:
        wish: its URL is https, or http on this machine, and comes from the bundle's settings or from discovery.
        within: seconds for all of it.
    """
    answered: queue.SimpleQueue[Fetched] = queue.SimpleQueue()
    threading.Thread(target=lambda: answered.put(_get(wish, within)), daemon=True).start()
    try:
        return answered.get(timeout=max(within, 0))
    except queue.Empty:
        return Fetched(b"", "no answer in time")


@cache
def _opener() -> OpenerDirector:
    """Made once: it reads the certificates of all authorities, which takes long with a share of a processor."""
    return build_opener(_NoRedirects)


def _get(wish: Fetch, within: float) -> Fetched:
    ends = time.monotonic() + within
    asked = Request(wish.url, headers={"Accept": "application/json"})  # noqa: S310 - the caller has looked at it
    try:
        with _opener().open(asked, timeout=within) as answer:
            body = b""
            while len(body) <= wish.limit and (piece := answer.read1(65_536)):
                body += piece
                if time.monotonic() > ends:
                    return Fetched(b"", "no answer in time")
    except HTTPError as error:
        error.close()
        return Fetched(b"", f"the answer was {error.code}, not 200")
    except Exception as error:  # whatever it is: there are no keys
        return Fetched(b"", f"{type(error).__name__}: {error}")
    if answer.status != 200 or len(body) > wish.limit:
        return Fetched(b"", f"the answer was {answer.status} with {len(body)} bytes")
    return Fetched(body)
