"""Where a visitor goes after sign-in: an address of this site, judged as browsers judge addresses."""

from __future__ import annotations

import re
from urllib.parse import quote

MAX_BYTES = 1024
HOME = "/"
_NOT_ASCII = re.compile(r"[^\x21-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DOT = re.compile(r"\.|%2e", re.IGNORECASE)
_OF_SIGN_IN = ("/-/login", "/-/callback", "/-/renew", "/-/logout")


def return_to(asked: str | None, site: str) -> str:
    """Judge what a client asks for as `next`.

    Whatever is returned begins with a slash, and is appended to the site's origin: no text can lead elsewhere then,
    because the host of a URL ends at the first slash after it (URL Standard §4.4).

    Args:
        asked: path, query and fragment; a URL of this site counts as what follows its origin. None: nothing.
        site: the site's origin.

    Returns:
        The same byte for byte, in ASCII. One of more than `MAX_BYTES` keeps its path alone; what is no address of
        this site, or leads to sign-in and sign-out themselves, becomes `/`.
    """
    text = (asked or HOME).removeprefix(site)
    if not text.startswith("/") or _CONTROL.search(text):
        return HOME
    text = _NOT_ASCII.sub(lambda found: quote(found[0], safe="", errors="replace"), text)
    if len(text) > MAX_BYTES:
        text = re.split(r"[?#]", text, maxsplit=1)[0]
    return HOME if len(text) > MAX_BYTES or _signs_in(text) else text


def _signs_in(text: str) -> bool:
    """Does a browser that follows this address come to sign-in or sign-out?"""
    path = resolved(re.split(r"[?#]", text, maxsplit=1)[0])
    return any(path == own or path.startswith(f"{own}/") for own in _OF_SIGN_IN)


def resolved(path: str) -> str:
    """The path that a browser asks for: without dot segments, `\\` read as a slash (URL Standard §4.4, path state)."""
    kept: list[str] = []
    segments = path.replace("\\", "/").split("/")[1:]
    for number, segment in enumerate(segments, 1):
        plain = _DOT.sub(".", segment) if len(segment) <= len("%2e%2e") else segment
        if plain == "..":
            del kept[-1:]
        elif plain != ".":
            kept.append(segment)
            continue
        if number == len(segments):
            kept.append("")
    return "/" + "/".join(kept)
