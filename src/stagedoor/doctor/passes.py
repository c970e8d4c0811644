"""Questions about signed URLs: what opens that was never signed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import partial
from time import sleep, time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .forge import changed
from .visit import Evidence, SkipError, Visit, loaded

_SIGNATURES = ("Signature", "X-Amz-Signature", "X-Goog-Signature", "sig")
_KEYS = ("Key-Pair-Id", "X-Amz-Credential")
SHORT = 1
"""Seconds for which the pass that is to expire is asked for."""
WAIT = SHORT + 1.5
"""Seconds until it is over; whole seconds are what passes count in."""


def tampered(visit: Visit) -> Iterator[Evidence]:
    path, pairs = _working(visit)
    for what, query in _changes(pairs):
        yield from visit.opened(f"{path}?{query}", said=f"a signed URL, {what}", instead=f"{visit.nothing}?{query}")
    yield from visit.opened(path, said="after a signed URL opened it, without the signature")
    for other in (visit.nothing, f"{path}x", path.swapcase()):
        said, target = "a signature for another path", f"{other}?{_query(pairs)}"
        without, signed = visit.ask(other), visit.ask(target, said=said)
        if signed.status != without.status and signed.status in (200, 204, 206, 304, 404):
            yield visit.evidence(signed, target, said=said)


def extended(visit: Visit) -> Iterator[Evidence]:
    path, pairs = _working(visit)
    query = _query(pairs)
    for more in (f"{query}&x=y", f"x=y&{query}", f"{query}&response-content-type=text/html", f"{query}&{query}&x"):
        yield from visit.opened(f"{path}?{more}", said="a parameter more", instead=f"{visit.nothing}?{more}")


def over(visit: Visit) -> Iterator[Evidence]:
    target = visit.subject.pass_target
    if target is not None and (end := _end(target)) and end < time():
        yield from visit.opened(target, said="a signed URL that has expired")
        return
    path, _ = _working(visit)
    query = issued(visit, SHORT).partition("?")[2]
    sleep(WAIT)
    said = "a signed URL that has expired"
    yield from visit.opened(f"{path}?{query}", said=said, instead=f"{visit.nothing}?{query}")


Pairs = list[tuple[str, str]]


def _working(visit: Visit) -> tuple[str, Pairs]:
    """Path and parameters of a signed URL that opens the object now; made once."""
    target = visit.pass_target
    if target is None:
        target = visit.subject.pass_target or issued(visit)
        answer = visit.ask(target, said="a signed URL")
        if answer.status != 200 or visit.as_for(answer, partial(visit.ask, visit.nothing)) != "no":
            raise SkipError(f"the signed URL opens nothing ({visit.got(answer)}): bring a new one")
        visit.truth = visit.truth or answer
        visit.pass_target = target
    path, _, query = target.partition("?")
    return path, [(name, value) for name, _, value in (part.partition("=") for part in query.split("&"))]


def issued(visit: Visit, seconds: int | None = None) -> str:
    """A signed URL of the object, made by the site for the token; path and query.

    Raises:
        SkipError: it makes none.
    """
    if visit.subject.token is None:
        raise SkipError("bring a signed URL (--pass-url), or a token that the site makes one for")
    answer = visit.buy(visit.subject.token, seconds)
    document = loaded(answer.body)
    url = document.get("signedUrl") if isinstance(document, dict) else None
    if not isinstance(url, str) or not re.fullmatch(r"https?://[!-~]+\?[!-~]+", url):
        raise SkipError(f"the site makes no signed URLs (POST /-/urls: {answer.status}): bring one, --pass-url")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SkipError(f"the site makes signed URLs that are none: {error}") from None
    visit.keep_secret(parts.query)
    return f"{parts.path}?{parts.query}"


def _end(target: str) -> float | None:
    """When a signed URL ends, as far as it says so itself."""
    fields = dict(parse_qsl(target.partition("?")[2]))
    try:
        return float(fields["Expires"] if "Expires" in fields else _until(_policy(fields["Policy"]))["AWS:EpochTime"])
    except (LookupError, ValueError, TypeError, ArithmeticError):
        return None


def _changes(pairs: Pairs) -> Iterator[tuple[str, str]]:
    """What was done, and the query then."""
    for number, (name, value) in enumerate(pairs):
        before, after = pairs[:number], pairs[number + 1 :]

        def put(new: str, before: Pairs = before, name: str = name, after: Pairs = after) -> str:
            return _query([*before, (name, new), *after])

        if name in _SIGNATURES:
            yield "its signature changed", put(changed(value))
            yield "its signature empty", put("")
            yield "its signature left out", _query([*before, *after])
        elif name in _KEYS:
            yield "its key left out", _query([*before, *after])
            yield "its key another", put(f"{value}X")
        elif name in ("Expires", "X-Amz-Expires") and value.isdecimal():
            yield "its end moved", put(str(int(value) + 3600))
        elif name == "Policy":
            yield "its policy changed", put(_longer(value))
        elif name == "Hash-Algorithm":
            yield "its hash algorithm left out", _query([*before, *after])


def _longer(policy: str) -> str:
    try:
        content = _policy(policy)
        _until(content)["AWS:EpochTime"] += 3600
    except (LookupError, ValueError, TypeError):
        return changed(policy)
    raw = json.dumps(content, separators=(",", ":")).encode()
    return base64.b64encode(raw).decode().translate(str.maketrans("+=/", "-_~"))


def _policy(text: str) -> Any:
    return loaded(base64.b64decode(text.translate(str.maketrans("-_~", "+=/"))))


def _until(policy: Any) -> Any:
    """Where a policy says when it ends.

    Raises:
        LookupError, TypeError: it is none, or says nothing of it.
    """
    return policy["Statement"][0]["Condition"]["DateLessThan"]


def _query(pairs: Pairs) -> str:
    return "&".join(f"{name}={value}" for name, value in pairs)
