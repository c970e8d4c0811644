"""Looking at one page as a browser gets it, redirects included; `fetch_sync` is for documents."""

from __future__ import annotations

import queue
import ssl
import threading
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request

from ..core.issuers import is_safe_url
from .fetch_sync import THIS_MACHINE, opener, reason

MAX_BYTES = 65_536
"""Of a page; what comes after that is not read."""
_FIELDS = {"Accept": "text/html,*/*;q=0.5", "User-Agent": "Mozilla/5.0 (compatible; stagedoor check)"}


class Seen(NamedTuple):
    """What came back.

    Attributes:
        status: HTTP status code; 0 if nothing came.
        location: the header field of this name.
        text: the beginning of the page.
        error: why nothing came.
    """

    status: int = 0
    location: str = ""
    text: str = ""
    error: str = ""


def look(url: str, within: float = 5.0, tls: ssl.SSLContext | None = None) -> Seen:
    """Ask for a page once, without cookies. Nothing is raised.

    Args:
        url: `https:`, or `http:` on this machine.
        within: seconds.
        tls: how certificates are checked; default: with the machine's own authorities.
    """
    if not is_safe_url(url):
        return Seen(error="this is not an https address")
    answered: queue.SimpleQueue[Seen] = queue.SimpleQueue()
    threading.Thread(target=lambda: answered.put(_seen(url, within, tls)), daemon=True).start()
    try:
        return answered.get(timeout=max(within, 0))
    except queue.Empty:
        return Seen(error="no answer in time")


def _seen(url: str, within: float, tls: ssl.SSLContext | None) -> Seen:
    parts = urlsplit(url)
    asks = opener(parts.scheme == "https" and parts.hostname not in THIS_MACHINE, tls)
    try:
        try:
            answer = asks.open(Request(url, headers=_FIELDS), timeout=within)  # noqa: S310 - `look` checked the URL
        except HTTPError as error:  # a redirect, too
            answer = error
        with answer:
            text = answer.read(MAX_BYTES).decode("utf-8", "replace")
            return Seen(answer.status, answer.headers.get("location", ""), text)
    except TimeoutError:
        return Seen(error="no answer in time")
    except URLError as error:
        return Seen(error=reason(error))
    except Exception as error:  # any other failure means that there is no page
        return Seen(error=f"{type(error).__name__}: {error}")
