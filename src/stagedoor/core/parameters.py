"""Parameters of a query, found by name: a stranger can write 8,000 of them, and only the named ones cost anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes


class Parameter(NamedTuple):
    """One parameter of a query.

    Attributes:
        name: percent-decoded.
        raw: the value as it was sent.
        start, end: where it stands in the query, with the `&` before it.
    """

    name: bytes
    raw: bytes
    start: int
    end: int

    @property
    def value(self) -> bytes:
        """The value, percent-decoded; `+` is a plus sign."""
        return unquote_to_bytes(self.raw)


@lru_cache(maxsize=256)
def find(query: bytes, names: frozenset[bytes]) -> tuple[Parameter, ...]:
    """Find the parameters of these names, in their order. A query that comes again is not read again.

    Args:
        query: the raw query, without the `?`.
        names: percent-decoded, not empty.
    """
    if b"%" not in query and not any(name in query for name in names):
        return ()
    return tuple(_find(query, names))


def without(query: bytes, names: frozenset[bytes]) -> bytes:
    """Return the query without the parameters of these names; the rest is kept byte for byte."""
    found = find(query, names)
    if not found:
        return query
    kept, position = [], 0
    for parameter in found:
        kept.append(query[position : parameter.start])
        position = parameter.end
    rest = b"".join((*kept, query[position:]))
    begins = found[0].start == 0 and not query.startswith(b"&")
    return rest[1:] if begins else rest  # the `&` behind the first one


def _find(query: bytes, names: frozenset[bytes]) -> Iterator[Parameter]:
    pattern, in_order = _pattern(names)
    for match in pattern.finditer(query):
        assert match.lastindex is not None
        raw = match[0].partition(b"=")[2]
        yield Parameter(in_order[match.lastindex - 1], raw, match.start(), match.end())


@lru_cache(maxsize=64)
def _pattern(names: frozenset[bytes]) -> tuple[re.Pattern[bytes], list[bytes]]:
    """A pattern of one parameter, with a group for each name, whose letters may be percent-encoded."""
    in_order = sorted(names)
    begins = b"".join(re.escape(name[:1]) for name in in_order)
    groups = b"|".join(b"(%s)" % b"".join(map(_letter, name)) for name in in_order)
    return re.compile(rb"(?:^|&)(?=[%s%%])(?:%s)(?=[=&]|\Z)(?:=[^&]*)?" % (begins, groups), re.DOTALL), in_order


def _letter(code: int) -> bytes:
    either_case = "".join(f"[{digit}{digit.upper()}]" for digit in f"{code:02x}")
    return b"(?:%s|%%%s)" % (re.escape(bytes((code,))), either_case.encode())
