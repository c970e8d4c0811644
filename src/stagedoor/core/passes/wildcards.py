"""Resources of custom policies: URLs with `*` and `?`, in time that grows with the length of the URL alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache


def opens(resource: str, url: str) -> bool:
    """Does the resource of a custom policy name this URL, and the object that it is of?

    A `*` stands for any characters, also of a query. But the client writes the query, so `*.jpg` must not match
    `/secret.pdf?.jpg`: the URL up to its query must match as well.
    """
    if not matches(resource, url):
        return False
    path, mark, _ = url.partition("?")
    if not mark or matches(resource, path):
        return True
    named = before_query(resource)
    return named is not None and matches(named, path)


def before_query(resource: str) -> str | None:
    """What stands before the resource's own query; None if it has no query.

    That begins at `\\?`. AWS's signers write a bare `?`, which is a wildcard too: behind a `*` or before a slash it is
    only a wildcard, or `img/*?.jpg` would open every object to a client who appends `?x.jpg` to its name. (A `*` for
    the `s` of https names no object.)
    """
    before, mark, _ = resource.partition("\\?")
    bare = re.match(r"((?:http\*://)?[^*?]*)\?[^/]", resource)
    return before if mark else bare[1] if bare else None


def matches(pattern: str, url: str) -> bool:
    """Does the resource of a custom policy name this URL?

    Args:
        pattern: `*` stands for any characters, also none, `?` for exactly one, `\\?` for a question mark.
        url: the whole URL, without the parameters of the pass.

    All positions in the pattern that the URL can have reached are followed at once, as bits of one number, so that the
    time grows with the length of the URL, whatever the pattern.
    """
    start, symbols = _parts(pattern)
    if not symbols:
        return url == start
    if not url.startswith(start):
        return False
    return symbols == ("*",) or _matches_wild(symbols, url[len(start) :])


@lru_cache(maxsize=256)
def _parts(pattern: str) -> tuple[str, tuple[str, ...]]:
    """The plain beginning of a pattern, and the symbols of the rest, which begins with a wildcard."""
    wild = re.search(r"[*?]|\\\?", pattern)
    start = len(pattern) if wild is None else wild.start()
    return pattern[:start], tuple(re.findall(r"\\\?|.", pattern[start:], re.DOTALL))


def _matches_wild(symbols: Sequence[str], text: str) -> bool:
    accepts: dict[str, int] = {}
    anything = stays = position = 0
    for symbol in symbols:
        if symbol == "*":
            stays |= 1 << position
            continue
        if symbol == "?":
            anything |= 1 << position
        else:
            accepts[symbol[-1]] = accepts.get(symbol[-1], 0) | 1 << position
        position += 1
    here = 1
    for character in text:
        here = (here & (accepts.get(character, 0) | anything)) << 1 | here & stays
        if not here:
            return False
    return bool(here >> position & 1)
