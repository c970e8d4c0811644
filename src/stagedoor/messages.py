"""What the core and its drivers say to each other.

A door turns whatever reached it into one `Request`. The core answers with a flow: a generator that yields
`Fetch` when it has to know something from outside, is sent the `Fetched`, and returns `Serve` or `Reply`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")

Headers: TypeAlias = Mapping[bytes, Sequence[bytes]]
"""Request header fields: lower-case name -> the values in the order they came, each field line on its own."""

Pairs: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Response header fields, lower-case names."""


class Request(NamedTuple):
    """One HTTP request, as every door sees it.

    Attributes:
        method: as sent, case kept (methods are case-sensitive, RFC 9110 §9.1).
        path: the raw path of the request target, still percent-encoded, without `?` and what follows.
        query: the raw query, without the `?`.
        headers: see `Headers`.
    """

    method: str
    path: bytes
    query: bytes
    headers: Headers


class Serve(NamedTuple):
    """The caller may have this object: fetch exactly `key` and send it.

    Attributes:
        key: the key that was authorised, and the only one that may be fetched.
        rule: name of the rule that allowed it, for the log.
        caller: `issuer:subject` for the log; "" for an anonymous caller.
        public: True if nobody needs to be anybody to read it: shared caches may keep it.
        headers: header fields that go with the object (CORS, referrer policy).
        fallback: a key that this caller may read too and that stands in if `key` does not exist.
    """

    key: str
    rule: str
    caller: str
    public: bool
    headers: Pairs = ()
    fallback: str | None = None


class Reply(NamedTuple):
    """An answer that is complete without the store.

    Attributes:
        status: HTTP status code.
        headers: all header fields but Content-Length.
        body: the content; for HEAD the driver leaves it out and keeps its length.
        reason: short stable code for the log.
        caller: as in `Serve`.
    """

    status: int
    headers: Pairs
    body: bytes
    reason: str
    caller: str = ""


class Fetch(NamedTuple):
    """A wish of the flow: the content of `url`, which the settings named (never a token).

    Attributes:
        url: `https:` (or loopback `http:`) or `file:`. A redirect counts as a failure.
        timeout: seconds for the whole exchange.
        limit: bytes; a longer body counts as a failure.
    """

    url: str
    timeout: float = 5.0
    limit: int = 1_048_576


class Fetched(NamedTuple):
    """What came of a `Fetch`: a body, or `error` in words that can stand in a log line."""

    body: bytes
    error: str = ""


Flow: TypeAlias = Generator[Fetch, Fetched, T]
"""A conversation with the outside, written once; `door.run` and `door.arun` drive it."""


def collect(pairs: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Group header field lines by name; names must already be lower-case (as ASGI and HTTP/2 have them)."""
    fields: dict[bytes, list[bytes]] = {}
    for name, value in pairs:
        if name in fields:
            fields[name].append(value)
        else:
            fields[name] = [value]
    return fields
