"""Questions about the connection: TLS, plain http, and whether a firewall treats the doctor like a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .evidence import Evidence, SkipError
from .visit import REDIRECTS, Visit
from .wire import DEFAULT_PORTS, Origin, Wire

LEAST_AGE = 2_592_000
"""Seconds, 30 days: a browser that remembers for less has forgotten by the next visit."""
_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def certificate(visit: Visit) -> Iterator[Evidence]:
    """With an invalid certificate the request itself raises `Untrusted`."""
    if visit.subject.origin.scheme == "http":
        if visit.subject.origin.local:
            raise SkipError("http on this machine")
        yield Evidence(str(visit.subject.origin), "http: anyone on the network path can read tokens and objects")
        return
    visit.ask("/")


def old_tls(visit: Visit) -> Iterator[Evidence]:
    _skip_http(visit)
    if version := visit.wire.speaks_old_tls():
        yield Evidence("a connection that offers only TLS 1.1 and older", f"it accepts {version}")


def plain_http(visit: Visit) -> Iterator[Evidence]:
    """Good is no answer, a refusal, or a redirect to https on the same host name."""
    origin = visit.subject.origin
    if origin.scheme == "http" or origin.port != DEFAULT_PORTS["https"]:
        raise SkipError("no port 80 belongs to this URL")
    plain = Origin("http", origin.host, DEFAULT_PORTS["http"])
    target = visit.subject.path or "/"
    answer = Wire(plain, visit.meter).ask(target)
    to_https = answer.status in REDIRECTS and _is_of(origin, answer.field("location"))
    if answer.status and answer.status not in (403, 426) and not to_https:
        yield Evidence(f"GET {plain}{target}", visit.summary(answer))


def _is_of(origin: Origin, url: str) -> bool:
    try:
        return Origin.of(url) == origin
    except ValueError:
        return False


def hsts(visit: Visit) -> Iterator[Evidence]:
    _skip_http(visit)
    target = visit.subject.path or "/"
    header = visit.ask(target).field("strict-transport-security")
    age = re.search(r"(?i)max-age\s*=\s*\"?([0-9]{1,12})", header)
    if age is None or int(age[1]) < LEAST_AGE:
        got = f"Strict-Transport-Security: {header}" if header else "no Strict-Transport-Security"
        yield Evidence(f"GET {target}", got)


def _skip_http(visit: Visit) -> None:
    if visit.subject.origin.scheme == "http":
        raise SkipError("http on this machine" if visit.subject.origin.local else "the site is http")


def let_in(visit: Visit) -> Iterator[Evidence]:
    target = visit.subject.public or visit.subject.path or "/"
    answer, for_browser = visit.ask(target), visit.ask(target, fields=(("User-Agent", _FIREFOX),))
    if answer.status != for_browser.status:
        yield visit.evidence(answer, target, detail=f"which is {visit.summary(for_browser)} for a browser")
    elif visit.subject.public is not None and answer.status != 200:
        yield visit.evidence(answer, target, detail="which anyone may read")._replace(sure=False)
