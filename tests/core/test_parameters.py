"""Parameters of a query: what is found is what a slow reader finds, and 8 KB of them are little work."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stagedoor.core import parameters, replies
from stagedoor.core.door import Site
from stagedoor.core.messages import Reply
from tests.helpers.counting import lines_run
from tests.helpers.support import SITE, Visitor, bearer, field, token

NAMES = frozenset((b"t", b"Key-Pair-Id", b"a.b"))


def slow(query: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Each part, its name and its value, by the rules of the URL standard (application/x-www-form-urlencoded)."""
    parts = [(part, *part.split(b"=", 1)) for part in query.split(b"&")]
    return [(part[0], unquote_to_bytes(part[1]), (part[2:] or (b"",))[0]) for part in parts]


PIECES = """t %74 %54 Key-Pair-Id Key%2dPair%2DId a.b a%2Eb axb T & && = %3D % %7 %zz + ? x \xff \x00 %26 %00"""
pieces = st.sampled_from([piece.encode("latin-1") for piece in (*PIECES.split(), "\n")])


@given(st.lists(pieces, max_size=12).map(b"".join))
@example(b"t")
@example(b"t=1&x=2&t")
@example(b"&t&")
@example(b"x&t=%26t=1")
@example(b"%74=%74&x=t&tt=1&t%00=2")
def test_what_is_found_is_what_a_slow_reader_finds(query: bytes) -> None:
    wanted = [(name, raw) for _, name, raw in slow(query) if name in NAMES]
    assert [(one.name, one.raw) for one in parameters.find(query, NAMES)] == wanted
    assert [one.value for one in parameters.find(query, NAMES)] == [unquote_to_bytes(raw) for _, raw in wanted]
    rest = b"&".join(part for part, name, _ in slow(query) if name not in NAMES)
    assert parameters.without(query, NAMES) == rest


LONG: Mapping[str, bytes] = {
    "empty ones": b"&" * 8000,
    "short ones": b"a=&" * 2700,
    "names that begin alike": b"Expire&" * 1100,
    "a percent sign each": b"%45&" * 2000,
    "nothing but percent signs": b"%" * 8000,
    "one long value": b"x=" + b"y" * 8000,
    "a credential at the end": b"a=&" * 2600 + b"token=x",
    "of the endpoints": b"k=&" * 2600 + b"key=public/a",
}


@pytest.mark.parametrize("query", LONG.values(), ids=LONG)
@pytest.mark.parametrize("path", ["/public/a", "/users/ann/a", "/-/whoami", "/-/s3objects", "/-/explain", "/-/none"])
def test_a_request_with_a_long_query_is_little_work(path: str, query: bytes) -> None:
    visitor = Visitor()
    visitor.ask(path, authorization=bearer(token()))  # keys are fetched, patterns made
    work = lines_run(lambda: visitor.ask(f"{path}?{query.decode()}", authorization=bearer(token())))
    assert work < 2000


COOKIES: Mapping[str, bytes] = {
    "empty ones": b";" * 31_000,
    "short ones": b"a=;" * 10_000,
    "names that begin alike": b"toke=;" * 5000,
    "names that end alike": b"xtoken=;" * 3800,
    "one of ours at the end": b"a=;" * 10_000 + b"token=x",
    "nothing but blanks": b" " * 31_000 + b"token=x",
}


@pytest.mark.parametrize("line", COOKIES.values(), ids=COOKIES)
def test_a_request_with_ten_thousand_cookies_is_little_work(line: bytes) -> None:
    visitor = Visitor()
    visitor.ask("/users/ann/a", cookie="token=x")
    assert lines_run(lambda: visitor.ask("/users/ann/a", cookie=line.decode())) < 2000


# --- targets that are too long


@pytest.mark.parametrize("path", ["/public/a", "/users/ann/a", "/-/whoami", "/-/urls", "/-/none", "/" + "%61" * 2000])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT"])
def test_a_target_over_8_kb_is_414_whatever_it_is(path: str, method: str) -> None:
    visitor = Visitor(site=Site(SITE, login_page=f"{SITE}/login", origins=frozenset(("https://app.example",))))
    room = replies.MAX_TARGET_BYTES - len(path)
    for query in ("x" * room, "a&" * (room // 2)):
        answer = visitor.ask(f"{path}?{query}", method)
        assert not isinstance(answer, Reply) or answer.status != 414
    for query in ("x" * (room + 1), "token=" + "x" * room, "Expires=1&" * 3000):
        reply = visitor.reply(f"{path}?{query}", method, origin="https://app.example", sec_fetch_mode="navigate")
        assert (reply.status, reply.reason) == (414, "target-too-long")
        assert field(reply.headers, "access-control-allow-origin") == "https://app.example"
        assert field(reply.headers, "referrer-policy") == ("same-origin" if query[0] == "x" else "no-referrer")
        kind = "text/html; charset=utf-8" if method in ("GET", "HEAD") else "application/problem+json"
        assert field(reply.headers, "content-type") == kind
