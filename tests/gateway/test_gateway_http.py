"""What a client with a raw socket notices: whole, well-formed requests are answered, and nobody holds others up.

A running server is asked over plain TCP and over TLS. Limits of time and memory over TLS are in test_gateway_tls.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stagedoor.core import replies
from stagedoor.gateway import protocol
from stagedoor.store import folder as folder_store
from stagedoor.store.memory import MemoryStore
from stagedoor.store.port import Meta, Open, Opened
from tests.helpers.serving import (
    TLS,
    Ended,
    Heard,
    InProcess,
    Served,
    Wire,
    ask,
    bearer_line,
    certificate,
    eventually,
    fresh_token,
    listening,
    make_gateway,
    message,
    prepare,
    serve,
    serving,
    settings_text,
    until,
    wire,
)

LARGE = 64 * 1_048_576
ODD_KEYS = (
    "a b+c%.txt",
    "ü.txt",
    "u\u0308.txt",
    "..hidden",
    "...",
    "a#b",
    "q?m",
    "it's",
    'say "hi"',
    "🎭",
    "~",
    "*",
    "+",
    "100%",
    "%41",
    "a;b=c",
    "a&b",
)


def encoded(key: str) -> str:
    """Every byte percent-encoded: what no client would send and every server has to understand."""
    return "".join("/" if byte == 0x2F else f"%{byte:02x}" for byte in key.encode())


@pytest.fixture(scope="module", params=["plain", "tls"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("site")
    files = {f"public/{key}": key.encode() for key in ODD_KEYS}
    root = prepare(folder, {**files, "public/a.txt": b"hello", "team/a.txt": b"team", "users/ann/a.txt": b"ann's"})
    with (root / "public/large.bin").open("wb") as large:
        large.truncate(LARGE)
    more, trust = (TLS, certificate(folder)) if request.param == "tls" else ("", None)
    with serve(folder, settings_text(more=more), trust=trust) as running:
        yield running
        assert "Traceback" not in running.stderr


async def fine(server: Served | InProcess) -> None:
    """Others are served."""
    assert (await server.ask("/public/a.txt")).body == b"hello"


# --- request targets


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_odd_names_are_served_under_every_encoding(served: Served, key: str) -> None:
    assert (await served.ask(f"/public/{encoded(key)}")).body == key.encode()


@pytest.mark.parametrize(
    "target",
    [
        "/public/a%2Ftxt",
        "/public%2fa.txt",
        "/public/./a.txt",
        "/public/../team/a.txt",
        "/public/%2e%2e/team/a.txt",
        "/public/%2E./team/a.txt",
        "/public/.%2e/team/a.txt",
        "/public/%2e/a.txt",
        "/public/..",
        "/..",
        "/.",
        "//public/a.txt",
        "//evil.example/public/a.txt",
        "/public/a\\txt",
        "/public/a%5ctxt",
        "/public/a%00",
        "/public/%00a.txt",
        "/public/a%0a.txt",
        "/public/a%0d%0aSet-Cookie:%20a=b",
        "/public/a%7f",
        "/public/a%c2%85",
        "/public/%c0%ae%c0%ae/a.txt",
        "/public/%c0%af",
        "/public/%e0%80%af",
        "/public/%ff",
        "/public/%ed%a0%80",
        "/public/a%2",
        "/public/a%",
        "/public/a%zz",
        "/public/a%u002e",
        '/public/"a"',
        "/public/<a>",
        "/public/" + "a" * 1100,
    ],
)
async def test_ambiguous_targets_are_refused(served: Served, target: str) -> None:
    heard = await served.ask(target)
    assert (heard.status, heard.code) == (400, "target")
    assert heard.field("cache-control") == "no-store"


@pytest.mark.parametrize(
    "target",
    [
        b"/public/a.txt#fragment",
        b"/public/\xc3\xbc.txt",
        b"/public/\xff",
        b"/public/a\x00b",
        b"/public/a\x01b",
        b"/public/a\tb",
        b"/public/a b",
        b"public/a.txt",
        b"",
        b"*",
        b"http://evil.example/public/a.txt",
        b"http://127.0.0.1:8080@evil.example/public/a.txt",
        b"http://127.0.0.1/public/a.txt",
        b"http:///public/a.txt",
        b"http:/public/a.txt",
        b"ftp://127.0.0.1:8080/public/a.txt",
        b"127.0.0.1:8080",
        b"?a",
        b"\\public\\a.txt",
    ],
)
async def test_what_is_no_path_of_ours_is_refused_and_the_connection_ends(served: Served, target: bytes) -> None:
    async with served.wire() as connection:
        heard = await connection.ask(target)
        assert heard.status == 400
        assert await connection.ended() == b""
    await fine(served)


async def test_absolute_form_of_our_own_host_is_served(served: Served) -> None:
    """A proxy may send it (RFC 9112 §3.2.2); the Host header does not matter then."""
    for target in ("http://127.0.0.1:8080/public/a.txt", "HTTP://127.0.0.1:8080/public/a.txt?x"):
        assert (await served.ask(target, "GET", "Host: evil.example")).body == b"hello"
    assert (await served.ask("http://127.0.0.1:8080/public/../team/a.txt")).status == 400
    assert (await served.ask("http://127.0.0.1:8080//public/a.txt")).status == 400


async def test_case_and_normalisation_make_other_names(served: Served) -> None:
    assert (await served.ask("/public/A.txt")).status == 404
    assert (await served.ask("/Public/a.txt")).status == 401
    assert (await served.ask("/public/%c3%bc.txt")).body == "ü.txt".encode()
    assert (await served.ask("/public/u%cc%88.txt")).body == "u\u0308.txt".encode()
    assert (await served.ask("/public/a%20b%2Bc%25.txt")).status == 200
    assert (await served.ask("/public/a+b+c%25.txt")).status == 404


@pytest.mark.parametrize("target", ["/public", "/public/", "/public//a.txt", "/public/a.txt/", "/public/a.txt/b"])
async def test_neighbouring_names_are_not_the_file(served: Served, target: str) -> None:
    heard = await served.ask(target)
    assert heard.status in (401, 404)
    assert b"hello" not in heard.body


async def test_star_is_for_options_only(served: Served) -> None:
    assert (await served.ask("*", "OPTIONS")).status == 204


async def test_connect_opens_no_tunnel(served: Served) -> None:
    async with served.wire() as connection:
        heard = await connection.ask("evil.example:443", "CONNECT")
        assert heard.status in (400, 405)
        assert await connection.ended() == b""


# --- Host


@pytest.mark.parametrize(
    "head",
    [
        b"GET /public/a.txt HTTP/1.1\r\n\r\n",
        b"GET /public/a.txt HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /public/a.txt HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
    ],
)
async def test_none_or_two_hosts_are_refused(served: Served, head: bytes) -> None:
    async with served.wire() as connection:
        await connection.send(head)
        assert (await connection.answer()).code == "host"
        assert await connection.ended() == b""


async def test_host_decides_nothing(served: Served) -> None:
    for host in ("evil.example", "127.0.0.1:1", ""):
        assert (await served.ask("/public/a.txt", "GET", f"Host: {host}")).body == b"hello"
        first = await served.ask("/", "GET", f"Host: {host}")
        assert (first.status, first.field("location")) == (404, None)


# --- two readers, two requests


SMUGGLED = b"GET /team/a.txt HTTP/1.1\r\nHost: smuggled\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: -4\r\n\r\nabcd",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nabcd",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\nabcd",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd",
        b"GET /public/a.txt HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /public/a.txt HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
        b"GET /public/a.txt HTTP/1.1\r\nHost: a\r\n\tContent-Length: 4\r\n\r\n",
        b"GET /public/a.txt HTTP/1.1\nHost: a\n\n",
        b"GET /public/a.txt HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        b"GET /public/a.txt HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        b"GET /public/a.txt HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET /public/a.txt HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
        b"GET /public/a.txt HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        b"GET /public/a.txt HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n",
        b"GET /public/a.txt HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b" GET /public/a.txt HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /public/a.txt HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET /public/a.txt HTTP/1.10\r\nHost: a\r\n\r\n",
        b"GET /public/a.txt HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /public/a.txt HTTP/0.9\r\n\r\n",
        b"GET /public/a.txt\r\n\r\n",
        b"GET /public/a.txt http/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabcd",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /public/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabcd\r\n0\r\n\r\n",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-4\r\nabcd\r\n0\r\n\r\n",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x4\r\nabcd\r\n0\r\n\r\n",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
        b"POST /public/a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\nabcd\r\n0\r\n\r\n",
        b"POST /public/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n0\r\n\r\n",
    ],
)
async def test_a_second_request_cannot_be_hidden_in_a_malformed_one(served: Served, raw: bytes) -> None:
    """Whatever the first bytes are taken for, what follows them on the connection is never answered."""
    async with served.wire() as connection:
        with contextlib.suppress(ConnectionError):
            await connection.send(raw + SMUGGLED)
        everything = await connection.ended()
    statuses = [line.split()[1] for line in everything.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses in ([b"400"], [b"405"], [b"431"], [b"505"], []), everything
    assert b"401" not in statuses
    await fine(served)


async def test_a_body_that_nobody_asked_for_is_not_the_next_request(served: Served) -> None:
    body = b"GET /team/a.txt HTTP/1.1\r\nHost: a\r\n\r\n"
    async with served.wire() as connection:
        await connection.send(message("/public/a.txt", "GET", f"Content-Length: {len(body)}", body=body))
        assert (await connection.answer()).body == b"hello"
        assert (await connection.ask("/public/a.txt")).body == b"hello"
    async with served.wire() as connection:
        await connection.send(message("/public/a.txt", "POST", f"Content-Length: {len(body)}", body=body))
        assert (await connection.answer()).status == 405
        assert (await connection.ask("/public/a.txt")).body == b"hello"


async def test_more_blanks_in_the_request_line_change_nothing(served: Served) -> None:
    """llhttp forgives them (RFC 9112 §3 allows it); where the request ends and what it asks for is the same."""
    for line in (b"GET  /team/a.txt HTTP/1.1", b"GET /team/a.txt  HTTP/1.1"):
        async with served.wire() as connection:
            await connection.send(line + b"\r\nHost: a\r\n\r\n")
            assert (await connection.answer()).status == 401
            assert (await connection.ask("/public/a.txt")).body == b"hello"


async def test_upgrades_are_not_offered(served: Served) -> None:
    """The request is answered as if none had been asked for; what follows is no second request of the old kind."""
    for kind in ("websocket", "h2c"):
        lines = ("Connection: Upgrade", f"Upgrade: {kind}", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        heard = await served.ask("/public/a.txt", "GET", *lines, "Sec-WebSocket-Version: 13")
        assert (heard.status, heard.body) == (200, b"hello")


# --- methods


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "LINK", "PURGE"])
async def test_other_methods_are_told_what_is_allowed(served: Served, method: str) -> None:
    for target, allowed in (("/public/a.txt", "GET, HEAD, OPTIONS"), ("/-/whoami", "GET, HEAD, OPTIONS")):
        heard = await served.ask(target, method, "Content-Length: 0")
        assert (heard.status, heard.field("allow")) == (405, allowed)
    assert (await served.ask("/-/healthz", method, "Content-Length: 0")).field("allow") == "GET, HEAD"


@pytest.mark.parametrize("method", ["get", "Get", "FOO", "GETT", "G\x00ET"])
async def test_methods_are_read_to_the_letter(served: Served, method: str) -> None:
    async with served.wire() as connection:
        assert (await connection.ask("/public/a.txt", method)).status in (400, 405)


async def test_head_has_the_length_and_no_body(served: Served) -> None:
    async with served.wire() as connection:
        for target, length in (("/public/a.txt", "5"), ("/public/large.bin", str(LARGE))):
            heard = await connection.ask(target, "HEAD")
            assert (heard.status, heard.field("content-length")) == (200, length)
        denied = await connection.ask("/team/a.txt", "HEAD")
        assert denied.status == 401
        assert (await connection.ask("/public/a.txt")).body == b"hello"


# --- size


@pytest.mark.parametrize(
    "lines",
    [
        ("X-Long: " + "a" * 40_000,),
        tuple(f"X-{number}: {'a' * 90}" for number in range(400)),
        tuple(f"X-{number}: a" for number in range(150)),
        tuple(f"X-{'a' * 300}{number}: a" for number in range(120)),
        (f"Authorization: Bearer {'a' * 1_000_000}",),
        (f"Cookie: token={'a' * 1_000_000}",),
        ("X-" + "a" * 100_000 + ": b",),
    ],
    ids=[
        "one long line",
        "many lines",
        "many short lines",
        "many long names",
        "1 MB token",
        "1 MB cookie",
        "long name",
    ],
)
async def test_headers_beyond_the_bound_are_refused(served: Served, lines: tuple[str, ...]) -> None:
    async with served.wire() as connection:
        with contextlib.suppress(ConnectionError):
            await connection.send(message("/public/a.txt", "GET", *lines))
        with contextlib.suppress(Ended):  # reset, where we had not read all of it
            assert (await connection.answer()).status == 431
    await fine(served)


async def test_endless_header_is_cut_off(served: Served) -> None:
    for start in (b"GET /public/a.txt HTTP/1.1\r\nHost: a\r\nX: ", b"GET /", b"GET /public/a.txt?"):
        async with served.wire() as connection:
            with contextlib.suppress(ConnectionError):
                await connection.send(start)
                for _ in range(200):
                    await connection.send(b"a" * 16_384)
            await connection.ended()
    await fine(served)


async def test_long_request_targets_are_refused(served: Served) -> None:
    heard = await served.ask("/public/a.txt?" + "a" * 40_000)
    assert heard.status == 431


async def test_a_header_section_within_the_bound_is_read_in_however_many_pieces(served: Served) -> None:
    raw = message("/public/a.txt", "GET", *(f"X-{number}: {'a' * 1000}" for number in range(28)))
    assert len(raw) < replies.MAX_HEADER_BYTES
    for size in (len(raw), 10_000, 1_000):
        async with served.wire() as connection:
            for start in range(0, len(raw), size):
                await connection.send(raw[start : start + size])
                await asyncio.sleep(0.002)
            assert (await connection.answer()).body == b"hello"


async def test_a_token_of_full_size_is_read_and_a_longer_one_is_not(served: Served) -> None:
    assert (await served.ask("/team/a.txt", "GET", bearer_line("a" * 16_000))).status == 401
    assert (await served.ask("/team/a.txt", "GET", bearer_line("a" * 17_000))).code == "token-too-long"


async def test_requests_that_arrive_byte_by_byte_are_answered(served: Served) -> None:
    async with served.wire() as connection:
        for byte in message("/team/a.txt", "GET", bearer_line("x.y.z")):
            await connection.send(bytes((byte,)))
        assert (await connection.answer()).status == 401


# --- several requests on one connection


async def test_pipelined_answers_come_in_order(served: Served) -> None:
    """Short ones and long ones, allowed and refused, in one packet."""
    good = bearer_line(fresh_token())
    asked = [
        (message("/public/a.txt"), 200, b"hello"),
        (message("/team/a.txt"), 401, None),
        (message("/public/large.bin", "GET", "Range: bytes=0-399999"), 206, bytes(400_000)),
        (message("/users/ann/a.txt", "GET", good), 200, b"ann's"),
        (message("/public/none"), 404, None),
        (message("/users/ben/a.txt", "GET", good), 403, None),
        (message("/-/healthz"), 200, None),
        (message("/public/a.txt", "POST", "Content-Length: 3", body=b"abc"), 405, None),
        (message("/public/large.bin", "GET", "Range: bytes=5-400004"), 206, bytes(400_000)),
        (message("/public/a%2fb"), 400, None),
        (message("/public/a.txt"), 200, b"hello"),
    ]
    async with served.wire() as connection:
        for _ in range(5):
            await connection.send(b"".join(raw for raw, _, _ in asked))
            for _, status, body in asked:
                heard = await connection.answer()
                assert heard.status == status
                assert body is None or heard.body == body


async def test_pipelined_requests_are_answered_to_the_last_or_the_connection_ends(served: Served) -> None:
    """Those that wait take memory: a few dozen may, thousands need not be taken."""
    async with served.wire() as connection:
        for _ in range(20):
            await connection.send(message("/public/a.txt") * 30)
            for _ in range(30):
                assert (await connection.answer()).body == b"hello"
    async with served.wire() as connection:
        sending = asyncio.create_task(connection.send(message("/public/a.txt") * 5000))
        with contextlib.suppress(Ended):
            for _ in range(5000):
                assert (await connection.answer()).body == b"hello"
        with contextlib.suppress(ConnectionError):
            await sending
    await fine(served)


@pytest.mark.parametrize("first", ["/public/a.txt", "/public/large.bin", "/team/a.txt"])
async def test_after_a_bad_request_nothing_more_is_answered(served: Served, first: str) -> None:
    """Nor is its refusal written into the answer that is under way."""
    async with served.wire() as connection:
        await connection.send(
            message(first) + b"GET /public/a.txt HTTP/1.1\r\nHost : a\r\n\r\n" + message("/team/a.txt")
        )
        everything = await connection.ended()
    statuses = [line.split()[1] for line in everything.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert len(statuses) <= 2
    assert statuses[1:] in ([], [b"400"])
    await fine(served)


async def test_connections_stay_open_until_somebody_says_close(served: Served) -> None:
    async with served.wire() as connection:
        for _ in range(3):
            assert (await connection.ask("/public/a.txt")).field("connection") is None
            assert (await connection.ask("/public/large.bin", "GET", "Range: bytes=0-199999")).status == 206
        heard = await connection.ask("/public/a.txt", "GET", "Connection: close")
        assert (heard.body, heard.field("connection")) == (b"hello", "close")
        assert await connection.ended() == b""
    async with served.wire() as connection:
        heard = await connection.ask("/public/large.bin", "GET", "Connection: close", "Range: bytes=0-199999")
        assert (len(heard.body), heard.field("connection")) == (200_000, "close")
        assert await connection.ended() == b""


async def test_http_1_0_is_answered_and_closed(served: Served) -> None:
    for target, length in (("/public/a.txt", 5), ("/public/large.bin", LARGE)):
        async with served.wire() as connection:
            await connection.send(f"GET {target} HTTP/1.0\r\n\r\n".encode())
            assert len((await connection.answer()).body) == length
            assert await connection.ended() == b""


# --- uploads that nobody asked for


async def test_expecting_100_continue_gets_the_answer_at_once(served: Served) -> None:
    async with served.wire() as connection:
        await connection.send(message("/public/a.txt", "PUT", "Content-Length: 1000000", "Expect: 100-continue"))
        assert (await connection.answer()).status == 405
        assert await connection.ended() == b""
    assert (await served.ask("/public/a.txt", "GET", "Expect: 100-continue")).body == b"hello"


async def test_a_long_upload_is_not_read_to_its_end(served: Served) -> None:
    for line in ("Content-Length: 100000000", "Transfer-Encoding: chunked"):
        async with served.wire() as connection:
            await connection.send(message("/public/a.txt", "POST", line))
            heard = await connection.answer()
            assert (heard.status, heard.field("connection")) == (405, "close")
            assert await connection.ended() == b""
    await fine(served)


# --- log


async def test_every_answer_stands_in_the_log_once(served: Served) -> None:
    marks = [f"/public/logged-{number}" for number in range(5)]
    for mark in marks:
        await served.ask(mark)
    until(lambda: marks == [line["path"] for line in served.lines() if "logged-" in line["path"]], "five lines")


# --- time: the real protocol with short limits


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_WITHIN", 0.6)
    monkeypatch.setattr(protocol, "IDLE_AFTER", 0.6)
    monkeypatch.setattr(protocol, "STALLED_AFTER", 0.6)
    monkeypatch.setattr(protocol, "SWEEP_EVERY", 0.1)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = prepare(tmp_path, {"public/a.txt": b"hello"})
    with (root / "public/large.bin").open("wb") as large:
        large.truncate(LARGE)
    return tmp_path


def test_the_limits_are_those_that_are_promised() -> None:
    assert (protocol.HEADER_WITHIN, protocol.IDLE_AFTER, protocol.STALLED_AFTER) == (10.0, 75.0, 60.0)
    assert (replies.MAX_HEADER_BYTES, replies.MAX_HEADER_NAMES) == (32_768, 100)


@pytest.mark.usefixtures("hurried")
async def test_slow_headers_end_the_connection_while_others_are_served(site: Path) -> None:
    async with serving(site) as here, here.wire() as slow:
        closing = asyncio.create_task(slow.ended())
        with contextlib.suppress(ConnectionError):
            for byte in message("/public/a.txt", "GET", "X-Slow: " + "a" * 500):
                await slow.send(bytes((byte,)))
                await fine(here)
                await asyncio.sleep(0.05)
                if closing.done():
                    break
            else:
                pytest.fail("the connection outlived its header")
        assert b"200" not in await closing


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("before", [b"", b"\r\n", message("/public/a.txt")], ids=["nothing", "a line end", "a request"])
async def test_idle_connections_are_closed(site: Path, before: bytes) -> None:
    async with serving(site) as here, here.wire() as idle:
        await idle.send(before)
        assert (await idle.ended()).count(b"HTTP/1.1") == (1 if len(before) > 2 else 0)


@pytest.mark.usefixtures("hurried")
async def test_an_upload_that_never_ends_is_cut_off(site: Path) -> None:
    async with serving(site) as here, here.wire() as connection:
        await connection.send(message("/public/a.txt", "POST", "Content-Length: 1000", body=b"abc"))
        assert (await connection.answer()).status == 405
        assert await connection.ended() == b""


@pytest.mark.usefixtures("hurried")
async def test_a_client_that_never_reads_is_let_go_while_others_are_served(site: Path) -> None:
    async with serving(site) as here, here.wire(receive_buffer=4096) as deaf:
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio has it on every socket
        await deaf.send(message("/public/large.bin"))
        await eventually(lambda: here.gateway.in_flight == 1, "the download begins")
        await fine(here)
        await eventually(lambda: here.gateway.in_flight == 0, "the download is given up")
        await fine(here)
        line = next(line for line in here.lines() if line["path"] == "/public/large.bin")
        assert line["bytes"] < LARGE


async def test_a_client_that_hangs_up_ends_the_work_for_it(site: Path) -> None:
    """The rest of the file is not read for nobody, and nobody else waits meanwhile."""
    root = site / "files/public"
    with (root / "huge.bin").open("wb") as huge:
        huge.truncate(50 * 2**30)
    async with serving(site) as here:
        async with here.wire() as connection:
            await connection.send(message("/public/huge.bin"))
            await connection.head()
        await fine(here)
        await eventually(lambda: here.gateway.in_flight == 0, "the download is given up", 5)
        line = next(line for line in here.lines() if line["path"] == "/public/huge.bin")
        assert line["bytes"] < LARGE


class Endless(MemoryStore):
    """A store with one object that has no end in sight, and never makes anybody wait for it."""

    def open_now(self, wish: Open) -> Opened | None:
        if wish.key != "public/endless":
            return super().open_now(wish)
        size = 2**50
        return Opened(Meta(size, b'"1"', 0, b"video/mp4"), 0, size, None, self._chunks)

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            yield bytes(65_536)


@pytest.mark.parametrize("implementation", ["strict", "httptools", "h11"])
async def test_other_stores_too_stop_when_the_client_hangs_up(site: Path, implementation: str) -> None:
    gateway = make_gateway(site, store=Endless())
    async with listening(gateway, implementation) as port:
        async with wire(port) as connection:
            await connection.send(message("/public/endless"))
            await connection.head()
        await eventually(lambda: gateway.in_flight == 0, "the download is given up", 5)
        assert (await ask(port, "/-/healthz")).status == 200


async def test_files_are_sent_where_the_page_cache_cannot_be_asked(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is on some file systems and on macOS."""
    monkeypatch.setattr(folder_store, "_NO_WAIT", None)
    async with serving(site) as here, here.wire() as connection:
        assert len((await connection.ask("/public/large.bin")).body) == LARGE
        assert (await connection.ask("/public/a.txt")).body == b"hello"
        assert (await connection.ask("/public/large.bin", "GET", "Range: bytes=5-3000004")).body == bytes(3_000_000)


async def test_memory_stays_flat_while_nobody_reads(tmp_path: Path) -> None:
    root = prepare(tmp_path)
    (root / "public").mkdir()
    with (root / "public/large.bin").open("wb") as large:
        large.truncate(LARGE)
    with serve(tmp_path, settings_text()) as running:
        before = resident(running.process.pid)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(24):
                deaf = await stack.enter_async_context(wire(running.port, receive_buffer=4096))
                deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
                await deaf.send(message("/public/large.bin"))
            await asyncio.sleep(0.5)
            assert resident(running.process.pid) - before < 24 * 1_048_576 * 1.5
            assert (await ask(running.port, "/-/healthz")).status == 200


def resident(pid: int) -> int:
    """Bytes of memory that a process has in use."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


async def test_many_idle_connections_hold_nobody_up(served: Served) -> None:
    many, memory = (500, 65_536) if served.trust else (2000, 32_768)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    before = resident(served.process.pid)
    async with contextlib.AsyncExitStack() as stack:
        connections: list[Wire] = [await stack.enter_async_context(served.wire()) for _ in range(many)]
        for connection in connections[::2]:  # half of them in the middle of a header section
            await connection.send(b"GET /public/a.txt HT")
        for _ in range(50):
            await fine(served)
        assert resident(served.process.pid) - before < many * memory
        await connections[0].send(b"TP/1.1\r\nHost: a\r\n\r\n")
        assert (await connections[0].answer()).body == b"hello"
    await fine(served)


# --- what breaks on the way


async def test_a_body_that_cannot_be_finished_breaks_off(tmp_path: Path) -> None:
    """The client must be able to tell: fewer bytes than announced, and the connection is gone."""
    root = prepare(tmp_path)
    (root / "public").mkdir()
    large = root / "public/large.bin"
    large.write_bytes(bytes(LARGE))
    async with serving(tmp_path) as here, here.wire(receive_buffer=65_536) as connection:
        await connection.send(message("/public/large.bin"))
        status, fields = await connection.head()
        assert (status, dict(fields)["content-length"]) == (200, str(LARGE))
        with large.open("r+b") as file:
            file.truncate(1_000_000)
        assert len(await connection.ended()) < LARGE
        await eventually(lambda: here.gateway.in_flight == 0, "the answer is given up")


async def test_many_clients_and_one_process_mix_nothing_up() -> None:
    """Each connection gets the answers to its own requests, in their order."""
    store = MemoryStore()
    for number in range(40):
        store.put(f"public/{number}", b"%d." % number * (number * 997 % 60_000 + 1))

    async def visit(port: int, number: int) -> None:
        async with wire(port) as connection:
            for step in range(12):
                key = (number * 7 + step) % 40
                await connection.send(message(f"/public/{key}") * 2)
                for _ in range(2):
                    heard: Heard = await connection.answer()
                    assert heard.body.startswith(b"%d." % key)
                    assert len(heard.body) == len(b"%d." % key) * (key * 997 % 60_000 + 1)

    folder = Path(__file__).parent
    text = settings_text('store = "memory:"').replace('jwks = "./jwks.json"', "")
    async with serving(folder, text, store=store) as here:
        await asyncio.gather(*(visit(here.port, number) for number in range(40)))
        assert len(here.lines()) == 40 * 12 * 2
        json.dumps(here.lines())
