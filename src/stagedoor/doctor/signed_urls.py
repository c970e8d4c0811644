"""Questions about signed URLs: does one open more than was signed?"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import partial
from time import sleep, time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .evidence import Evidence, SkipError
from .forge import changed
from .visit import Visit, parse_json

_SIGNATURES = ("Signature", "X-Amz-Signature", "X-Goog-Signature", "sig")
_KEYS = ("Key-Pair-Id", "X-Amz-Credential")
LIFETIME = 1
"""Seconds; of the signed URL that has to expire."""
WAIT = LIFETIME + 1.5
"""Seconds until it has expired; passes count whole seconds."""

Pairs = list[tuple[str, str]]
"""Names and values of a query, in order, percent-encoded as they came."""


def pass_tampered(visit: Visit) -> Iterator[Evidence]:
    path, pairs = _working_url(visit)
    for what, query in _changes(pairs):
        yield from visit.try_open(f"{path}?{query}", detail=f"a signed URL, {what}", control=f"{visit.missing}?{query}")
    yield from visit.try_open(path, detail="without the signature, after a signed URL opened it")
    for other in (visit.missing, f"{path}x", path.swapcase()):
        detail, target = "a signature for another path", f"{other}?{_query(pairs)}"
        without, signed = visit.ask(other), visit.ask(target, detail=detail)
        if signed.status != without.status and signed.status in (200, 204, 206, 304, 404):
            yield visit.evidence(signed, target, detail=detail)


def pass_extended(visit: Visit) -> Iterator[Evidence]:
    path, pairs = _working_url(visit)
    query = _query(pairs)
    for more in (f"{query}&x=y", f"x=y&{query}", f"{query}&response-content-type=text/html", f"{query}&{query}&x"):
        yield from visit.try_open(f"{path}?{more}", detail="an additional parameter", control=f"{visit.missing}?{more}")


def pass_expired(visit: Visit) -> Iterator[Evidence]:
    detail = "a signed URL that has expired"
    target = visit.subject.pass_target
    if target is not None and (end := _end(target)) and end < time():
        yield from visit.try_open(target, detail=detail)
        return
    path, _ = _working_url(visit)
    query = obtain(visit, LIFETIME).partition("?")[2]
    sleep(WAIT)
    yield from visit.try_open(f"{path}?{query}", detail=detail, control=f"{visit.missing}?{query}")


def obtain(visit: Visit, seconds: int | None = None) -> str:
    """Let the site issue a signed URL of the object to the owner.

    Args:
        visit: whose subject has the owner's token.
        seconds: its lifetime; default: the site's.

    Returns:
        Path and query.

    Raises:
        SkipError: the site issues none.
    """
    if visit.subject.token is None:
        raise SkipError("give a signed URL (--pass-url), or a token for which the site issues one (--token)")
    answer = visit.request_pass(visit.subject.token, seconds)
    document = parse_json(answer.body)
    url = document.get("signedUrl") if isinstance(document, dict) else None
    if not isinstance(url, str) or not re.fullmatch(r"https?://[!-~]+\?[!-~]+", url):
        raise SkipError(f"the site issues no signed URLs (POST /-/urls: {answer.status}): give one, --pass-url")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SkipError(f"what the site issues as a signed URL is not a URL: {error}") from None
    visit.secrets.add(parts.query)
    return f"{parts.path}?{parts.query}"


def _working_url(visit: Visit) -> tuple[str, Pairs]:
    """Path and parameters of a signed URL that opens the object now; obtained once."""
    target = visit.pass_target
    if target is None:
        target = visit.subject.pass_target or obtain(visit)
        answer = visit.ask(target, detail="a signed URL")
        if answer.status != 200 or visit.compare(answer, partial(visit.ask, visit.missing)) != "different":
            raise SkipError(f"the signed URL does not open the object ({visit.summary(answer)}): give a new one")
        visit.original = visit.original or answer
        visit.pass_target = target
    path, _, query = target.partition("?")
    return path, [(name, value) for name, _, value in (part.partition("=") for part in query.split("&"))]


def _end(target: str) -> float | None:
    """When a signed URL ends, as it says itself, in epoch seconds; None if it does not say."""
    fields = dict(parse_qsl(target.partition("?")[2]))
    try:
        return float(fields["Expires"] if "Expires" in fields else _date(_policy(fields["Policy"]))["AWS:EpochTime"])
    except (LookupError, ValueError, TypeError, ArithmeticError):
        return None


def _changes(pairs: Pairs) -> Iterator[tuple[str, str]]:
    """What was changed, in words, and the changed query."""
    for number, (name, value) in enumerate(pairs):
        before, after = pairs[:number], pairs[number + 1 :]
        without = _query([*before, *after])

        def replaced(new: str, before: Pairs = before, name: str = name, after: Pairs = after) -> str:
            return _query([*before, (name, new), *after])

        if name in _SIGNATURES:
            yield "its signature changed", replaced(changed(value))
            yield "its signature empty", replaced("")
            yield "its signature left out", without
        elif name in _KEYS:
            yield "its key left out", without
            yield "its key another", replaced(f"{value}X")
        elif name in ("Expires", "X-Amz-Expires") and value.isdecimal():
            yield "its expiry moved", replaced(str(int(value) + 3600))
        elif name == "Policy":
            yield "its policy changed", replaced(_with_later_end(value))
        elif name == "Hash-Algorithm":
            yield "its hash algorithm left out", without


def _with_later_end(policy: str) -> str:
    try:
        content = _policy(policy)
        _date(content)["AWS:EpochTime"] += 3600
    except (LookupError, ValueError, TypeError):
        return changed(policy)
    raw = json.dumps(content, separators=(",", ":")).encode()
    return base64.b64encode(raw).decode().translate(str.maketrans("+=/", "-_~"))


def _policy(text: str) -> Any:
    return parse_json(base64.b64decode(text.translate(str.maketrans("-_~", "+=/"))))


def _date(policy: Any) -> Any:
    """The condition of a policy that holds its end.

    Raises:
        LookupError, TypeError: it has none.
    """
    return policy["Statement"][0]["Condition"]["DateLessThan"]


def _query(pairs: Pairs) -> str:
    return "&".join(f"{name}={value}" for name, value in pairs)
