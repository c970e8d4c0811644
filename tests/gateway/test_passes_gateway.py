"""Passes over the wire: bytes, caches, logs, stores and proxies; how they are asked for; and keys that change."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import signal
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.core import paths
from stagedoor.core.endpoints.arguments import MAX_BODY_BYTES
from stagedoor.gateway import asgi
from stagedoor.gateway.objects import private_cache_control
from stagedoor.keys.pass_keys import load_signer, new_pair
from stagedoor.store.memory import MemoryStore
from stagedoor.store.port import Head, Meta, Open, Opened, Store
from tests.gateway.test_serve import serving_workers
from tests.helpers.serving import (
    PATIENCE,
    TLS,
    Heard,
    InProcess,
    Recorded,
    Served,
    Wire,
    ask,
    bearer_line,
    certificate,
    eventually,
    fresh_token,
    message,
    plain_answer,
    prepare,
    scripted,
    serve,
    serving,
    settings_text,
    targets,
    wire,
)
from tests.helpers.stores import ODD_KEYS, Fields, let_in, make
from tests.helpers.support import VECTORS

SITE = "http://127.0.0.1:8080"
KEYS = json.loads((VECTORS / "cloudfront/keys.json").read_text("utf-8"))
SIGNER = load_signer("K1", KEYS["rsa"]["priv"])
PASSES = """
[passes]
key_id = "K1"
private_key = "file:private.pem"
public_keys = { K1 = "file:public.pem" }
max_lifetime = "1h"
"""
FILES = {
    "team/a.txt": b"0123456789",
    "team/secret/b.txt": b"secret",
    "users/ann/a.txt": b"ann's",
    "public/a.txt": b"hello",
}
DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>'
)


class Distant(MemoryStore):
    """A store that has to be waited for, as those over a network: the gateway takes its long way."""

    head_now = open_now = None  # type: ignore[assignment]  # no InstantStore

    async def head(self, wish: Head) -> Meta | None:
        return MemoryStore.head_now(self, wish)

    async def open(self, wish: Open) -> Opened | None:
        return MemoryStore.open_now(self, wish)


def distant(key: str) -> Distant:
    store = Distant()
    store.put(key, FILES[key])
    return store


def keep_keys(folder: Path) -> None:
    (folder / "private.pem").write_text(KEYS["rsa"]["priv"])
    (folder / "public.pem").write_text(KEYS["rsa"]["pub"])


@contextlib.asynccontextmanager
async def guarded(
    folder: Path, more: str = "", *, store: Store | None = None, site: str = 'store = "./files"', **options: Any
) -> AsyncIterator[InProcess]:
    """The real gateway with keys of passes."""
    prepare(folder, FILES)
    keep_keys(folder)
    async with serving(folder, settings_text(site, PASSES + more), store=store, **options) as here:
        yield here


def signed(target: str, seconds: int = 600, **options: Any) -> str:
    return SIGNER.url(SITE + target, int(time.time()) + seconds, **options).removeprefix(SITE)


def cookie_line(resource: str, seconds: int = 600, **options: Any) -> str:
    made = SIGNER.cookies(SITE + resource, int(time.time()) + seconds, **options)
    return "Cookie: " + "; ".join(f"{name}={value}" for name, value in made.items())


def wish(target: str, body: object, *lines: str) -> bytes:
    """A POST with its length, the body as JSON unless it is bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return message(target, "POST", *lines, f"Content-Length: {len(raw)}", body=raw)


async def post(port: int, target: str, body: object, *lines: str) -> Heard:
    async with wire(port) as connection:
        await connection.send(wish(target, body, *lines))
        return await connection.answer()


def target_of(heard: Heard) -> str:
    """The target of a URL that was issued."""
    assert heard.status == 201, heard.body
    url: str = json.loads(heard.body)["signedUrl"]
    assert url.startswith(f"{SITE}/")
    return url.removeprefix(SITE)


def mine() -> str:
    return bearer_line(fresh_token())


URLS = {"file": "team/a.txt"}


# --- bytes


@pytest.mark.parametrize("store", [None, distant("team/a.txt")], ids=["near", "distant"])
async def test_conditions_and_ranges_are_only_for_who_has_a_good_pass(tmp_path: Path, store: Store | None) -> None:
    """Nothing of an object leaves before the pass was judged: no 304, 206, 412 or 416, no tag and no length of it."""
    async with guarded(tmp_path, store=store) as here, wire(here.port) as connection:
        first = await connection.ask(signed("/team/a.txt"))
        assert (first.status, first.body) == (200, b"0123456789")
        etag = first.field("etag")
        asked: Mapping[str, tuple[int, bytes]] = {
            "Range: bytes=2-4": (206, b"234"),
            "Range: bytes=99-": (416, b""),
            f"If-None-Match: {etag}": (304, b""),
            'If-Match: "another"': (412, b""),
            "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT": (304, b""),
            f"If-Range: {etag}": (200, b"0123456789"),
        }
        bad = (
            signed("/team/a.txt", -1),
            signed("/team/a.txt", network="10.0.0.0/8"),
            signed("/team/b.txt").replace("/b.", "/a."),
        )
        for line, (status, body) in asked.items():
            for method in ("GET", "HEAD"):
                good = (signed("/team/a.txt"), line), ("/team/a.txt", line, cookie_line("/team/*"))
                for target, *lines in good:
                    heard = await connection.ask(target, method, *lines)
                    assert heard.status == (200 if status in (206, 416) and method == "HEAD" else status)
                    if method == "GET" and status in (200, 206):
                        assert heard.body == body
                for target, *lines in ((target, line) for target in bad):
                    heard = await connection.ask(target, method, *lines)
                    assert (heard.status, heard.body) == (403, DENIED if method == "GET" else b"")
                    assert heard.field("content-length") == str(len(DENIED))
                    for name in ("etag", "last-modified", "content-range", "accept-ranges"):
                        assert heard.field(name) is None
                heard = await connection.ask("/team/a.txt", method, line, cookie_line("/team/*", -1))
                assert heard.status == 403


async def test_names_with_odd_characters_open_over_the_wire_and_open_nothing_else(tmp_path: Path) -> None:
    prepare(tmp_path, {f"team/{key}": key.encode() for key in ODD_KEYS})
    async with guarded(tmp_path) as here, wire(here.port) as connection:
        made = {}
        for key in ODD_KEYS:
            await connection.send(wish("/-/urls", {"file": f"team/{key}"}, mine()))
            made[key] = target_of(await connection.answer())
        for key, target in made.items():
            assert (await connection.ask(target)).body == key.encode()
            for other in ODD_KEYS:
                if other != key:
                    heard = await connection.ask(f"{paths.encode(f'team/{other}')}?{target.partition('?')[2]}")
                    assert (heard.status, heard.body) == (403, DENIED)


async def test_a_known_pass_ends_in_its_second(tmp_path: Path) -> None:
    now = [1_700_000_000.0]
    async with guarded(tmp_path, clock=lambda: now[0]) as here, wire(here.port) as connection:
        target = SIGNER.url(f"{SITE}/team/a.txt", int(now[0]) + 60).removeprefix(SITE)
        for later, status in ((0, 200), (0, 200), (59.99, 200), (60, 403), (61, 403), (1, 200)):
            now[0] = 1_700_000_000.0 + later
            assert (await connection.ask(target)).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_no_pass_allows_another_method(tmp_path: Path, method: str) -> None:
    async with guarded(tmp_path) as here:
        for target, *lines in ((signed("/team/a.txt"),), ("/team/a.txt", cookie_line("/*"))):
            heard = await ask(here.port, target, method, *lines, "Content-Length: 1", body=b"x")
            assert (heard.status, heard.field("allow")) == (405, "GET, HEAD, OPTIONS")


# --- caches

STORED = {
    "nothing": ("", "private, no-cache"),
    "an age": ("max-age=60", "private, max-age=60"),
    "a longer age": ("max-age=86400", "private, max-age=~600"),
    "an age in capitals": ("MAX-AGE=86400", "private, max-age=~600"),
    "a quoted age": ('max-age="86400"', "private, max-age=~600"),
    "an age that is none": ("max-age=soon", "private, max-age=0"),
    "an age without end": (f"max-age={'9' * 40}", "private, max-age=~600"),
    "two ages": ("max-age=5, max-age=86400", "private, max-age=5, max-age=~600"),
    "for ever": ("public, max-age=31536000, immutable", "private, max-age=~600"),
    "stale copies": (
        "max-age=60, stale-while-revalidate=86400, stale-if-error=86400",
        "private, max-age=60",
    ),
    "shared caches": ("public, s-maxage=86400, proxy-revalidate", "private, no-cache"),
    "not at all": ("no-store", "private, no-store"),
    "not without asking": ("no-cache, max-age=86400", "private, no-cache, max-age=~600"),
    "another rule": (
        "no-transform, max-age=86400, must-revalidate",
        "private, no-transform, max-age=~600, must-revalidate",
    ),
    "an end of its own": ("Expires", "private, no-cache"),
}


@pytest.mark.parametrize(("stored", "sent"), STORED.values(), ids=STORED)
@pytest.mark.parametrize("key", ["team/a.txt", "public/a.txt"])
async def test_no_cache_keeps_an_object_for_longer_than_the_pass(
    tmp_path: Path, key: str, stored: str, sent: str
) -> None:
    """Of ten minutes or of five seconds; what anybody may read is private too, because the URL is not anybody's.

    With pass cookies what anybody may read is answered before they are looked at.
    """
    ways: list[tuple[str, ...]] = [(signed(f"/{key}"),)]
    if key != "public/a.txt":
        ways.append((f"/{key}", cookie_line("/*")))
    beside = Fields(Expires="Fri, 01 Jan 2100 00:00:00 GMT", CacheControl="" if stored == "Expires" else stored)
    store = make("memory", tmp_path, {key: b"x"}, {key: beside})
    expected = re.escape(sent).replace("\\~600", "(59[0-9]|600)").replace("~600", "(59[0-9]|600)")
    async with guarded(tmp_path, store=store, site='store = "memory:"') as here, wire(here.port) as connection:
        for method, lines in (("GET", []), ("HEAD", []), ("GET", ["If-None-Match: *"]), ("GET", ["Range: bytes=0-0"])):
            for target, *more in ways:
                heard = await connection.ask(target, method, *lines, *more)
                assert heard.status in (200, 206, 304)
                assert re.fullmatch(expected, heard.field("cache-control") or ""), heard.field("cache-control")
                assert heard.field("expires") is None
                assert heard.field("vary") == "Cookie, Authorization"
        heard = await connection.ask(signed(f"/{key}", 5))
        ages = re.findall(r"max-age=(\d+)", heard.field("cache-control") or "")
        assert all(int(age) <= 5 for age in ages)
        refused = await connection.ask(signed(f"/{key}", -5))
        assert (refused.status, refused.field("cache-control")) == (403, "no-store")


WORDS = (
    *("max-age=9999", "Max-Age=1", "max-age", "s-maxage=9999", "public", "PUBLIC", "private", "immutable", "Immutable"),
    *(
        "stale-while-revalidate=9",
        "stale-if-error=9",
        "no-cache",
        'no-cache="a,max-age=9999"',
        "no-store",
        "x=1",
        'y="',
    ),
)


@given(words=st.lists(st.sampled_from(WORDS), max_size=6), left=st.integers(0, 100))
def test_whatever_is_stored_it_lasts_no_longer(words: list[str], left: int) -> None:
    made = private_cache_control(", ".join(words).encode(), left).decode().lower()
    without_texts = re.sub(r'"[^"]*"', "", made)
    names = {directive.partition("=")[0].strip() for directive in without_texts.split(",")}
    assert "private" in names
    assert not names & {
        "public",
        "s-maxage",
        "immutable",
        "stale-while-revalidate",
        "stale-if-error",
        "proxy-revalidate",
    }
    assert names & {"max-age", "no-cache", "no-store"}
    assert all(int(age) <= left for age in re.findall(r"max-age=(\d+)", without_texts))


# --- what goes no further


def secrets_of(target: str) -> list[str]:
    return [value for name, value in parse_qsl(target.partition("?")[2]) if name in ("Signature", "Policy", "Expires")]


@pytest.mark.parametrize("format_", ["json", "cloudfront"])
async def test_no_line_of_any_log_holds_a_pass(tmp_path: Path, caplog: pytest.LogCaptureFixture, format_: str) -> None:
    caplog.set_level(logging.DEBUG)
    asked = [
        signed("/team/a.txt"),
        signed("/team/a.txt", network="0.0.0.0/0"),
        signed("/team/a.txt", -1),
        signed("/team/missing.txt"),
        signed("/-/whoami"),
        signed("/team/a.txt").replace("/a.", "/b."),
        signed("/team/a.txt").replace("Key-Pair-Id=K1", "Key-Pair-Id=KX"),
        signed("/team/a.txt").replace("/team", "/%zz"),
    ]
    async with guarded(tmp_path, f'[log]\naccess = "{format_}"') as here:
        for target in asked:
            await ask(here.port, target, "GET", f"Referer: {SITE}{asked[0]}")
            await ask(here.port, target, "POST", "Content-Length: 0")
        cookies = [cookie_line("/team/*"), cookie_line("/team/*", -1)]
        for line in cookies:
            await ask(here.port, "/team/a.txt", "GET", line)
        issued = await post(here.port, "/-/urls", URLS, mine())
        given = await post(here.port, "/-/cookies", {"prefix": "users/ann/"}, mine())
        assert given.status == 204
        here.gateway._log.close()
        log = here.log.decode() + caplog.text
    assert log.count("/team/a.txt") >= 10
    hidden = [secret for target in (*asked, target_of(issued)) for secret in secrets_of(target)]
    hidden += [secret for line in cookies for secret in re.findall(r"-(?:Signature|Policy)=([^;]+)", line)]
    hidden += [secret for _, value in given.fields for secret in re.findall(r"-(?:Signature|Policy)=([^;]+)", value)]
    assert len(hidden) > 20
    assert not [secret for secret in hidden if secret in log]
    assert "Signature" not in log


async def test_the_log_says_which_key_opened_and_why_another_pass_did_not(tmp_path: Path) -> None:
    async with guarded(tmp_path) as here:
        await ask(here.port, signed("/team/a.txt"))
        await ask(here.port, signed("/team/a.txt", -1))
        await ask(here.port, "/team/a.txt?Signature=x")
        await post(here.port, "/-/urls", URLS, mine())
        told = [(line["status"], line["rule"], line["reason"], line["caller"]) for line in here.lines()]
    assert told == [
        (200, "pass K1", "served", ""),
        (403, "", "pass-expired", ""),
        (403, "", "pass-no-key", ""),
        (201, "", "pass-issued", "staff:ann"),
    ]


async def test_nothing_of_a_pass_reaches_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_in(monkeypatch)
    seen: Recorded = []
    stored = ("last-modified: Tue, 14 Nov 2023 22:13:20 GMT", 'etag: "abc"', "content-type: text/plain")

    def found(head: bytes) -> bytes:
        made = plain_answer("200 OK", b"hello", *stored)
        return made if head.startswith(b"GET") else made.removesuffix(b"hello")

    async with scripted(found, seen) as port:
        site = f'store = "s3://bucket"\nendpoint = "http://127.0.0.1:{port}"'
        async with guarded(tmp_path, site=site) as here:
            for method in ("GET", "HEAD"):
                with_query = signed("/team/a%20b.txt?versionId=1&download")
                assert (await ask(here.port, with_query, method)).status == 200
                assert (await ask(here.port, "/team/a%20b.txt", method, cookie_line("/team/*"))).status == 200
            for refused in (signed("/team/a%20b.txt", -1), "/team/a%20b.txt?Signature=x"):
                assert (await ask(here.port, refused)).status == 403
    assert set(targets(seen)) == {b"/bucket/team/a%20b.txt"}
    everything = b"".join(seen).lower()
    for foreign in (b"cookie", b"cloudfront", b"key-pair-id", b"policy", b"versionid", b"download", b"expires"):
        assert foreign not in everything
    assert everything.count(b"signature=") == everything.count(b"aws4-hmac-sha256")  # ours


# --- who asks

FORWARDED: Mapping[str, tuple[tuple[str, ...], int]] = {
    "nobody is named": ((), 403),
    "an address inside": (("X-Forwarded-For: 203.0.113.7",), 200),
    "the last of several": (("X-Forwarded-For: 198.51.100.1, 203.0.113.7",), 200),
    "the last of several lines": (("X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.7"), 200),
    "one that the client wrote itself": (("X-Forwarded-For: 203.0.113.7, 198.51.100.1",), 403),
    "a listed proxy behind it": (("X-Forwarded-For: 203.0.113.7, 10.0.0.1",), 200),
    "IPv4 in IPv6": (("X-Forwarded-For: ::ffff:203.0.113.7",), 200),
    "IPv6": (("X-Forwarded-For: 2001:db8::1",), 403),
    "no address": (("X-Forwarded-For: unknown",), 403),
    "another header": (("X-Real-IP: 203.0.113.7", "Forwarded: for=203.0.113.7"), 403),
}


@pytest.mark.parametrize("store", [None, distant("team/a.txt")], ids=["near", "distant"])
async def test_an_address_is_believed_from_listed_proxies_alone(tmp_path: Path, store: Store | None) -> None:
    for proxies, trusted in (('"127.0.0.1", "10.0.0.0/8"', True), ('"10.0.0.0/8"', False), ("", False)):
        async with guarded(tmp_path, f"[gateway]\ntrusted_proxies = [{proxies}]", store=store) as here:
            inside = signed("/team/a.txt", network="203.0.113.0/24")
            for lines, status in FORWARDED.values():
                for target, *more in ((inside,), ("/team/a.txt", cookie_line("/*", network="203.0.113.0/24"))):
                    heard = await ask(here.port, target, "GET", *lines, *more)
                    assert heard.status == (status if trusted else 403), lines
            assert (await ask(here.port, signed("/team/a.txt", network="127.0.0.1"))).status == 200


# --- asking for passes


async def test_what_is_issued_opens_and_answers_are_never_kept(tmp_path: Path) -> None:
    async with guarded(tmp_path) as here:
        before = int(time.time())
        heard = await post(here.port, "/-/urls", {"file": "team/a.txt", "expires_in": 60}, mine())
        assert (heard.field("content-type"), heard.field("cache-control")) == ("application/json", "no-store")
        assert before <= json.loads(heard.body)["expires"] - 60 <= time.time()
        assert (await ask(here.port, target_of(heard))).body == b"0123456789"
        heard = await post(here.port, "/-/cookies", {"prefix": "users/ann/"}, mine())
        assert (heard.status, heard.body, heard.field("content-length")) == (204, b"", None)
        cookies = [value.partition(";")[0] for name, value in heard.fields if name == "set-cookie"]
        assert len(cookies) == 5  # four of the pass, and the one by which sign-out finds them
        assert (await ask(here.port, "/users/ann/a.txt", "GET", f"Cookie: {'; '.join(cookies)}")).body == b"ann's"


ANSWERS: Mapping[str, tuple[bytes, int, str]] = {
    "no body": (message("/-/urls", "POST"), 400, "body"),
    "an empty body": (wish("/-/urls", b""), 400, "body"),
    "another method": (message("/-/urls", "GET"), 405, "method"),
    "no such address": (wish("/-/url", URLS), 404, "not-found"),
    "an address below it": (wish("/-/urls/x", URLS), 404, "not-found"),
    "nobody": (wish("/-/urls", URLS), 401, "no-credential"),
    "another origin": (wish("/-/urls", URLS, "Origin: https://evil.example"), 403, "origin"),
    "a body as long as may be": (wish("/-/urls", b" " * MAX_BODY_BYTES), 400, "body"),
    "a body too long": (wish("/-/urls", b" " * (MAX_BODY_BYTES + 1)), 413, "body"),
    "a body where none is taken": (wish("/-/whoami", b"x" * 1000), 405, "method"),
}


async def test_a_connection_goes_on_after_every_answer(tmp_path: Path) -> None:
    """Whatever a body is answered, the next request begins where it ends: one by one, in pieces, and all at once."""
    requests = [(sent, status, code) for sent, status, code in ANSWERS.values()]
    after = message("/public/a.txt")
    async with guarded(tmp_path) as here:
        async with wire(here.port) as connection:
            for sent, status, code in requests:
                await connection.send(sent)
                heard = await connection.answer()
                assert (heard.status, heard.code) == (status, code)
                assert (await connection.ask("/public/a.txt")).body == b"hello"
        async with wire(here.port) as connection:
            await connection.send(b"".join(sent + after for sent, _, _ in requests))
            for _, status, code in requests:
                heard = await connection.answer()
                assert (heard.status, heard.code) == (status, code)
                assert (await connection.answer()).body == b"hello"
        async with wire(here.port) as connection:
            for sent, status, _ in requests[:2]:
                for at in range(0, len(sent), 7):
                    await connection.send(sent[at : at + 7])
                    await asyncio.sleep(0)
                assert (await connection.answer()).status == status


async def test_a_body_that_looks_like_a_request_is_none(tmp_path: Path) -> None:
    async with guarded(tmp_path) as here:
        async with wire(here.port) as connection:
            hidden = message("/team/a.txt", "GET", mine())
            await connection.send(wish("/-/urls", hidden) + message("/public/a.txt"))
            assert (await connection.answer()).status == 400
            assert (await connection.answer()).body == b"hello"
        assert [line["path"] for line in here.lines()] == ["/-/urls", "/public/a.txt"]


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_a_body_may_come_in_chunks_and_ends_the_connection(tmp_path: Path, size: int) -> None:
    async with guarded(tmp_path) as here:
        for body, status in ((json.dumps(URLS).encode(), 201), (b" " * 20_000, 413)):
            async with wire(here.port) as connection:
                head = message("/-/urls", "POST", mine(), "Transfer-Encoding: chunked")
                with contextlib.suppress(ConnectionError):  # refused before all of it was sent
                    await connection.send(head + chunked(body, size) + message("/public/a.txt"))
                heard = await connection.answer()
                assert (heard.status, heard.field("connection")) == (status, "close")
                assert await connection.ended() == b""


async def test_a_body_that_is_announced_too_long_is_not_read(tmp_path: Path) -> None:
    async with guarded(tmp_path) as here:
        for length in (MAX_BODY_BYTES + 1, 10**9):
            async with wire(here.port) as connection:
                await connection.send(message("/-/urls", "POST", mine(), f"Content-Length: {length}"))
                await connection.send(b" " * (MAX_BODY_BYTES + 1))
                heard = await connection.answer()
                assert (heard.status, heard.code) == (413, "body")


async def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "BODY_WITHIN", 0.2)
    body = json.dumps(URLS).encode()
    async with guarded(tmp_path) as here, wire(here.port) as slow:
        await slow.send(message("/-/urls", "POST", mine(), f"Content-Length: {len(body)}") + body[:5])
        assert (await ask(here.port, "/public/a.txt")).body == b"hello", "others do not wait"
        heard = await slow.answer()
        assert (heard.status, heard.code) == (408, "body")
        with contextlib.suppress(ConnectionError):
            await slow.send(body[5:] + message("/public/a.txt"))
        rest = await asyncio.wait_for(slow.reader.read(65_536), PATIENCE)
        assert rest == b"" or rest.endswith(b"\r\n\r\nhello"), "the rest of the body is no request"


async def test_a_client_that_goes_away_gets_no_pass(tmp_path: Path) -> None:
    async with guarded(tmp_path) as here:
        async with wire(here.port) as connection:
            await connection.send(message("/-/urls", "POST", mine(), "Content-Length: 100") + b'{"file":')
        await eventually(lambda: here.gateway.in_flight == 0 and here.gateway._log._lines, "it is given up")
        (line,) = here.lines()
        assert (line["status"], line["reason"]) == (499, "broken-off")


async def test_who_waits_for_100_continue_gets_it(tmp_path: Path) -> None:
    """curl asks so for bodies of more than a megabyte, other clients for all."""
    body = json.dumps(URLS).encode()
    async with guarded(tmp_path) as here, wire(here.port) as connection:
        head = message("/-/urls", "POST", mine(), f"Content-Length: {len(body)}", "Expect: 100-continue")
        await connection.send(head)
        assert await connection.head() == (100, [])
        await connection.send(body)
        assert (await connection.answer()).status == 201


async def test_a_limit_is_of_each_caller_and_says_when_to_come_back(tmp_path: Path) -> None:
    async with guarded(tmp_path, "per_minute = 3\n[gateway]\ntrusted_proxies = ['127.0.0.1']") as here:
        ben = bearer_line(fresh_token(sub="ben"))
        for line in (mine(), ben):
            statuses = [(await post(here.port, "/-/urls", URLS, line)).status for _ in range(4)]
            assert statuses == [201, 201, 201, 429]
        public = {"file": "public/a.txt"}
        for client in ("198.51.100.1", "198.51.100.2"):
            lines = f"X-Forwarded-For: {client}"
            heard = [await post(here.port, "/-/urls", public, lines) for _ in range(4)]
            assert [one.status for one in heard] == [201, 201, 201, 429]
            assert 1 <= int(heard[-1].field("retry-after") or 0) <= 21
        assert (await post(here.port, "/-/cookies", {"prefix": "users/ben/"}, ben)).code == "too-many-passes"


async def test_without_a_private_key_none_are_issued_but_others_count(tmp_path: Path) -> None:
    prepare(tmp_path, FILES)
    keep_keys(tmp_path)
    async with serving(tmp_path, settings_text(more='[passes]\npublic_keys = { K1 = "file:public.pem" }')) as here:
        for target in ("/-/urls", "/-/cookies"):
            heard = await post(here.port, target, URLS, mine())
            assert (heard.status, heard.code) == (404, "passes-inactive")
        assert (await ask(here.port, signed("/team/a.txt"))).body == b"0123456789"


async def test_over_tls_the_same_passes_are_taken_and_issued(tmp_path: Path) -> None:
    prepare(tmp_path, FILES)
    keep_keys(tmp_path)
    trust = certificate(tmp_path)
    with serve(tmp_path, settings_text(more=f"{PASSES}{TLS}")) as running:
        base = f"https://127.0.0.1:{running.port}"
        async with httpx.AsyncClient(base_url=base, verify=trust, trust_env=False) as client:
            mine = {"authorization": f"Bearer {fresh_token()}"}
            issued = await client.post("/-/urls", json=URLS, headers=mine)
            assert issued.status_code == 201
            target = issued.json()["signedUrl"].removeprefix(SITE)
            assert (await client.get(target)).content == b"0123456789"
            assert (await client.get(target, headers={"range": "bytes=1-2"})).content == b"12"
            refused = await client.get(target.replace("/a.", "/b."))
            assert (refused.status_code, refused.content) == (403, DENIED)
            given = await client.post("/-/cookies", json={"prefix": "users/ann/"}, headers=mine)
            assert given.status_code == 204
            cookie = "; ".join(line.partition(";")[0] for line in given.headers.get_list("set-cookie"))
            assert (await client.get("/users/ann/a.txt", headers={"cookie": cookie})).content == b"ann's"
            long = await client.post("/-/urls", content=b" " * 20_000, headers=mine)
            assert long.status_code == 413
            assert (await client.post("/-/urls", content=b"", headers=mine)).status_code == 400


# --- keys that change

PAIRS = {"old": new_pair("rsa"), "new": new_pair("ec")}


def keys_setting(signing: str, *listed: str) -> str:
    table = ", ".join(f'{name} = "file:{name}.pub"' for name in listed)
    return f'[passes]\nkey_id = "{signing}"\nprivate_key = "file:{signing}.key"\npublic_keys = {{ {table} }}\n'


class Client:
    """Asks for short passes and uses them, some of a moment ago too, until it is told to stop."""

    def __init__(self, port: int, name: str) -> None:
        self._port = port
        self._wish = wish("/-/urls", {"file": "team/a.txt", "expires_in": 2}, bearer_line(fresh_token(sub=name)))
        self._passes: list[tuple[int, str]] = []
        self.refused: list[Heard] = []
        self.signed_by: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        async with wire(self._port) as connection:
            while not stop.is_set():
                await self._ask_for_one(connection)
                for expires, target in (self._passes[0], self._passes[-1]):
                    heard = await connection.ask(target)
                    if heard.body != FILES["team/a.txt"] and time.time() < expires:
                        self.refused.append(heard)
                self._passes = [one for one in self._passes if time.time() < one[0]]
                await asyncio.sleep(0.05)

    async def _ask_for_one(self, connection: Wire) -> None:
        await connection.send(self._wish)
        target = target_of(await connection.answer())
        fields = dict(parse_qsl(target.partition("?")[2]))
        self.signed_by.append(fields["Key-Pair-Id"])
        self._passes.append((int(fields["Expires"]), target))


def listening_to_sighup(running: Served, workers: int) -> int:
    """How many workers catch the signal already; one that does not yet would be ended by it."""
    pids = [running.process.pid] if workers == 1 else serving_workers(running.process.pid)
    masks = [re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text()) for pid in pids]
    return sum(int(mask[1], 16) >> (signal.SIGHUP - 1) & 1 for mask in masks if mask)


async def reload(running: Served, folder: Path, text: str, workers: int) -> None:
    """Let every worker take new settings, as an owner does before the next step."""
    before = running.stderr.count("settings reloaded")
    (folder / "stagedoor.toml").write_text(text)
    running.process.send_signal(signal.SIGHUP)
    await eventually(lambda: running.stderr.count("settings reloaded") == before + workers, "every worker took them")


@pytest.mark.parametrize("workers", [1, 2])
async def test_keys_change_without_one_refused_request(tmp_path: Path, workers: int) -> None:
    """Add the new public key, sign with the new private one, let the old passes end, take the old key away."""
    prepare(tmp_path, FILES)
    for name, pair in PAIRS.items():
        (tmp_path / f"{name}.key").write_bytes(pair.private)
        (tmp_path / f"{name}.pub").write_bytes(pair.public)

    def settings(*names: str) -> str:
        return settings_text(more=f"{keys_setting(*names)}per_minute = 100000\n[gateway]\nworkers = {workers}\n")

    with serve(tmp_path, settings("old", "old")) as running:
        await eventually(lambda: listening_to_sighup(running, workers) == workers, "every worker can reload")
        clients = [Client(running.port, f"caller-{number}") for number in range(4)]
        stop = asyncio.Event()
        tasks = [asyncio.create_task(client.run(stop)) for client in clients]
        await asyncio.sleep(0.3)
        long_lived = target_of(await post(running.port, "/-/urls", URLS, mine()))
        await reload(running, tmp_path, settings("old", "old", "new"), workers)
        await asyncio.sleep(0.3)
        await reload(running, tmp_path, settings("new", "old", "new"), workers)
        assert (await ask(running.port, long_lived)).body == FILES["team/a.txt"]
        await asyncio.sleep(2.2)  # the short passes of the old key are over
        await reload(running, tmp_path, settings("new", "new"), workers)
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*tasks)
        heard = await ask(running.port, long_lived)
        assert (heard.status, b"<Code>InvalidKey</Code>" in heard.body) == (403, True)
        assert running.stop() == 0
        assert "Traceback" not in running.stderr
        for client in clients:
            assert client.refused == []
            assert set(client.signed_by) == {"old", "new"}
            assert client.signed_by[-1] == "new"
        lines = running.lines()
        assert {line["rule"] for line in lines if line["status"] == 200} == {"pass old", "pass new"}
        assert {line["reason"] for line in lines if line["status"] >= 400} <= {"pass-unknown-key", "pass-expired"}
