"""Request target <-> key: one strict decoder, one canonical encoder.

The decoder refuses whatever two programs could read differently, so that the key the policy saw is the key
the store is asked for. It decodes once, and changes nothing: no case folding, no Unicode normalisation, no
merging of slashes; `+` is a plus sign.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from .errors import InvalidTarget

MAX_KEY_BYTES = 1024
"""Longest object key in UTF-8 bytes (Amazon S3 User Guide, "Naming Amazon S3 objects")."""

OWN_PREFIX = "-/"
"""Keys below it are Stagedoor's own endpoints, never objects."""

# The common case, decided in one pass: unreserved characters and slashes, no segment that starts with a dot.
_PLAIN = re.compile(rb"(?:/(?!\.)[A-Za-z0-9\-._~]+)+\Z")

_FORBIDDEN_RAW = re.compile(rb'[^\x21-\x7e]|["#<>\\?]')
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_BROWSERS = "/~!$&'()*+,:;=@[]|"
"""Not percent-encoded in paths by browsers (WHATWG URL, "path percent-encode set"); `^` is since 2023."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def decode(path: bytes) -> str:
    """Read the raw path of a request target as a key.

    Args:
        path: percent-encoded path as received, with its leading slash and without the query.

    Returns:
        The key, without leading slash; "" for `/`.

    Raises:
        InvalidTarget: the path does not name exactly one key (RFC 3986 §2.1, §3.3; invariant 1).
    """
    if _PLAIN.match(path) and len(path) <= MAX_KEY_BYTES:
        return path[1:].decode("ascii")
    if len(path) > len("/") + len("%XX") * MAX_KEY_BYTES:
        raise InvalidTarget(f"the key is longer than {MAX_KEY_BYTES} bytes")
    if path[:1] != b"/":
        raise InvalidTarget("the request target must start with '/'")
    if _FORBIDDEN_RAW.search(path):
        raise InvalidTarget("the path holds a character that must be percent-encoded, or a backslash")
    if _BAD_PERCENT.search(path):
        raise InvalidTarget("the path holds a '%' that is not followed by two hexadecimal digits")
    if b"%2f" in path.lower():
        raise InvalidTarget("the path holds an encoded slash (%2F)")
    try:
        key = _PERCENT.sub(lambda match: bytes((int(match[1], 16),)), path)[1:].decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidTarget("the path is not valid UTF-8 after percent-decoding") from None
    check_key(key)
    return key


def object_key(key: str, index: str | None) -> str | None:
    """Find the object that a decoded path asks for.

    Args:
        key: from `decode`.
        index: file name that stands for a folder, or None.

    Returns:
        The key that the policy decides on; "" for the site itself where no index stands for it; None for what is
        never an object, because it is ours.
    """
    if key.startswith(OWN_PREFIX):
        return None
    if index is not None and (key == "" or key.endswith("/")):
        return key + index
    return key


def encode(key: str) -> str:
    """Write a key as the one canonical path: everything but unreserved characters and `/` percent-encoded.

    This is also the URI encoding of S3's Signature Version 4, so that signer, store and door agree.

    Args:
        key: a key as `decode` gives it.

    Returns:
        The path with its leading slash; `decode(encode(key).encode()) == key`.

    Raises:
        InvalidTarget: the key cannot be asked for at any door.
    """
    check_key(key)
    return "/" + quote(key, safe="/~")


def spellings(key: str) -> tuple[str, ...]:
    """The paths that a browser may ask for a key, or a folder, with: the canonical one, and how it writes links itself.

    A cookie's `Path` and the resource of signed cookies are compared with the path as it was sent.

    Returns:
        One to three paths, because older browsers write a `^` otherwise.

    Raises:
        InvalidTarget: as for `encode`.
    """
    written = (quote(key, safe=safe) for safe in ("/~", _BROWSERS, _BROWSERS + "^"))
    check_key(key)
    return tuple(dict.fromkeys(f"/{path}" for path in written))


def check_key(key: str) -> None:
    """Refuse a key that no request target could name without doubt.

    Raises:
        InvalidTarget: leading slash, dot segment, control character, backslash, lone surrogate, or too long.
    """
    if key.startswith("/"):
        raise InvalidTarget("a key has no leading slash; the path starts with '//'")
    if "\\" in key:
        raise InvalidTarget("the path holds a backslash")
    if _CONTROL.search(key):
        raise InvalidTarget("the path holds a control character")
    if "." in key and not {".", ".."}.isdisjoint(key.split("/")):
        raise InvalidTarget("the path holds a '.' or '..' segment")
    try:
        size = len(key.encode("utf-8"))
    except UnicodeEncodeError:
        raise InvalidTarget("the key is not valid Unicode text") from None
    if size > MAX_KEY_BYTES:
        raise InvalidTarget(f"the key is longer than {MAX_KEY_BYTES} bytes")
