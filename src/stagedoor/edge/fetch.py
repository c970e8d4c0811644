"""An issuer's keys from the edge: one GET with a deadline, https only, no redirect, no more than the limit."""

from __future__ import annotations

import time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ..messages import Fetch, Fetched


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(wish: Fetch, within: float) -> Fetched:
    """Answer a wish.

    Args:
        wish: its URL is from the bundle's settings.
        within: seconds for all of it.
    """
    ends = time.monotonic() + within
    asked = Request(wish.url, headers={"Accept": "application/json"})  # noqa: S310 - https, or loopback in tests
    try:
        with build_opener(_NoRedirects).open(asked, timeout=within) as answer:
            body = b""
            while part := answer.read1(65_536):
                body += part
                if len(body) > wish.limit:
                    return Fetched(b"", f"the answer is longer than {wish.limit} bytes")
                if time.monotonic() > ends:
                    return Fetched(b"", f"no answer within {within:g} s")
            return Fetched(body)
    except HTTPError as error:
        return Fetched(b"", f"the answer was {error.code}, not 200")
    except (URLError, OSError, ValueError) as error:
        return Fetched(b"", f"{type(error).__name__}: {error}")
