"""Cookies, read and written: of a request the ones that mean something to us, of an answer the lines that set one.

Read by hand, because `http.cookies` drops every cookie after one that it does not understand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from .messages import Pairs

MAX_OURS = 8000
"""Bytes of all cookies of ours together: API Gateway takes 10,240 of request line and headers ("Quotas")."""


def read(lines: Sequence[bytes], names: frozenset[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Name and value of each cookie of these names, as sent; 10,000 others cost next to nothing.

    Args:
        lines: values of the Cookie header.
        names: not empty.
    """
    for line in lines:
        if any(name in line for name in names):
            for match in _pattern(names).finditer(line):
                yield match[1], match[2].strip(b" \t")


@lru_cache(maxsize=64)
def _pattern(names: frozenset[bytes]) -> re.Pattern[bytes]:
    return re.compile(rb"(?:^|;)[ \t]*(%s)[ \t]*=([^;]*)" % b"|".join(map(re.escape, sorted(names))))


def write(name: str, value: str, seconds: int, *, secure: bool, path: str = "/") -> str:
    """Make the Set-Cookie value of a cookie that no script reads, and that no other site's form sends.

    Args:
        name, value: without blanks, commas and semicolons.
        seconds: that it lasts; 0 removes it.
        secure: False only for an http site on loopback, where browsers take no Secure cookie.
        path: what it is sent for.
    """
    return f"{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"


def remove_everywhere(name: str, origin: str) -> Pairs:
    """Remove a cookie that a page of this site, or of a parent domain, has set (RFC 6265 §5.3).

    Args:
        name: of the cookie.
        origin: of the site.

    Returns:
        A Set-Cookie for the host alone, and one for each domain that a browser could send the cookie for.
    """
    parts = urlsplit(origin)
    labels = (parts.hostname or "").split(".")
    is_address = labels[-1].isdigit() or ":" in labels[0]
    domains = [] if is_address else [".".join(labels[start:]) for start in range(len(labels) - 1)]
    secure = "; Secure" if parts.scheme == "https" else ""
    places = ["", *(f"; Domain={domain}" for domain in domains)]
    return tuple((b"set-cookie", f"{name}=; Path=/{place}; Max-Age=0{secure}".encode()) for place in places)
