"""What endpoints are asked with: the members of a JSON body, the parameters of a query, and where a request is from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from .. import parameters, paths
from ..door import Door
from ..errors import InvalidRequest, InvalidToken, WrongOrigin
from ..jose import json_object
from ..messages import Request

MAX_BODY_BYTES = 16_384
_OURS = frozenset((b"same-origin", b"none"))
_DIGITS = re.compile(r"[0-9]{1,16}\Z")


def check_origin(door: Door, request: Request) -> None:
    """Refuse pages of other origins that `[cors]` does not list (RFC 6454 §7; W3C Fetch Metadata §2.3).

    Raises:
        WrongOrigin: the request comes from such a page. Programs send neither field.
    """
    origin = request.headers.get(b"origin")
    if not origin and not _OURS.issuperset(request.headers.get(b"sec-fetch-site", ())):
        raise WrongOrigin("the browser says that a page of another origin asks, and does not say which")
    if origin and origin != [door.site.url.encode()] and door.allowed_origin(request) is None:
        raise WrongOrigin("this origin is not listed in [cors] origins")


def json_body(request: Request, *names: str) -> dict[str, object]:
    """Read the JSON object in the body.

    Args:
        request: its body is read.
        names: the members that it has, and no others; `?` before a name marks one that may be missing.

    Raises:
        InvalidRequest: anything else.
    """
    try:
        asked = json_object(request.body, "body")
    except InvalidToken:
        problem = "the body is not a JSON object in UTF-8 that has each member once"
        raise InvalidRequest(f'{problem}; send for example {{"{names[0]}": "…"}}', code="body") from None
    known = {name.removeprefix("?") for name in names}
    other = sorted(asked.keys() - known)
    missing = [name for name in names if name not in asked and not name.startswith("?")]
    if other or missing:
        problem = f"{missing[0]} is missing" if missing else f"{other[0]!r} is not known"
        raise InvalidRequest(f"{problem}; the body has: {', '.join(sorted(known))}", code="body")
    return asked


def object_key(door: Door, asked: str) -> str | None:
    """Read a key that a client wrote out, perhaps with the slash that its path starts with; None: it is never served.

    Raises:
        InvalidTarget: no object can be asked for by it.
    """
    asked = asked.removeprefix("/")
    paths.check_key(asked)
    return paths.object_key(asked, door.site.index_file)


def folders(asked: object, *, most: int, max_path: int) -> list[str]:
    """Read folders, each with its slash, of which none lies in another.

    Args:
        asked: a text, or a list of texts.
        most: how many there may be.
        max_path: bytes that the path of one may have.

    Raises:
        InvalidRequest: anything else.
    """
    texts = [text for text in (asked if isinstance(asked, list) else [asked]) if isinstance(text, str)]
    if not 1 <= len(texts) <= most or (isinstance(asked, list) and len(texts) != len(asked)):
        raise InvalidRequest(f"prefix is the name of a folder, or a list of up to {most}", code="body")
    named = [text.removeprefix("/") for text in texts]
    named = [folder if folder.endswith("/") or not folder else f"{folder}/" for folder in named]
    for number, folder in enumerate(named):
        _check_folder(folder, named[:number], max_path)
    return named


def _check_folder(folder: str, others: Sequence[str], max_path: int) -> None:
    paths.check_key(folder)
    if folder.startswith(paths.OWN_PREFIX):
        raise InvalidRequest("keys that start with '-/' are never served", code="body")
    if len(paths.encode(folder)) > max_path:
        raise InvalidRequest(f"the path of {folder[:40]!r}… is too long for a cookie", code="body")
    if any(folder.startswith(other) or other.startswith(folder) for other in others):
        raise InvalidRequest("one of the folders lies in another; ask for the outer one", code="prefix-nested")


def parameter(query: bytes, name: str) -> str | None:
    """Read a query parameter; None if it is not there.

    Raises:
        InvalidRequest: it is there twice, because two programs could read different values; or it is not UTF-8.
    """
    found = parameters.find(query, frozenset((name.encode(),)))
    if not found:
        return None
    if len(found) > 1:
        raise InvalidRequest(f"{name} is there more than once", code="query")
    try:  # `+` is a blank, as forms, `URLSearchParams` and most clients write it (URL standard §5.1)
        return unquote_to_bytes(found[0].raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest("the query is not valid UTF-8 after percent-decoding", code="query") from None


def number(query: bytes, name: str, default: int, *, most: int = 999_999_999) -> int:
    """Read a query parameter that is a whole number from 1 to `most`, in plain digits.

    Raises:
        InvalidRequest: anything else.
    """
    text = parameter(query, name)
    if text is None:
        return default
    if not _DIGITS.match(text) or not 1 <= int(text) <= most:
        raise InvalidRequest(f"{name} is a number from 1 to {most}", code="query")
    return int(text)


def flag(query: bytes, name: str) -> bool:
    """Read a query parameter that is true when it has no value, `1` or `true`.

    Raises:
        InvalidRequest: it has some other value.
    """
    text = parameter(query, name)
    if text in ("", "1", "true"):
        return True
    if text in (None, "0", "false"):
        return False
    raise InvalidRequest(f"{name} is true or false", code="query")
