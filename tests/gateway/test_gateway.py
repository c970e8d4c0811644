"""The gateway as an ASGI application: its log, its health, its issuers, and every way to run it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from stagedoor.core import issuers
from stagedoor.core.messages import List, Listed, Request, collect
from stagedoor.gateway import app as module
from stagedoor.gateway.access_log import AccessLog, Entry
from stagedoor.gateway.clients import client_address
from stagedoor.settings import parse
from stagedoor.store.memory import MemoryStore
from stagedoor.store.port import Head, Meta, Open, Opened
from tests.helpers import linting
from tests.helpers.serving import (
    SITE,
    Wire,
    ask,
    bearer_line,
    eventually,
    fresh_token,
    listening,
    make_gateway,
    message,
    plain_answer,
    prepare,
    scripted,
    serving,
    settings_text,
    wire,
)
from tests.helpers.support import ISSUER, claims, key_set, rsa_signer, token

SECRETS = ("s3cr3t", "eyJ")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    prepare(tmp_path, {"public/a.txt": b"hello", "team/a.txt": b"team", "users/ann/a.txt": b"ann's"})
    return tmp_path


class Broken(MemoryStore):
    """A store with a bug."""

    def head_now(self, wish: Head) -> Meta | None:
        raise RuntimeError(f"no head for {wish.key}")

    def open_now(self, wish: Open) -> Opened | None:
        raise RuntimeError(f"no bytes for {wish.key}")


@contextlib.asynccontextmanager
async def visitor(application: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application, client=("192.0.2.7", 1234))
    async with httpx.AsyncClient(transport=transport, base_url=SITE, event_hooks=linting.HOOKS) as client:
        yield client


# --- health


async def test_alive_and_ready(site: Path) -> None:
    async with serving(site) as here:
        assert json.loads((await ask(here.port, "/-/healthz")).body) == {"status": "ok", "missing": []}

        async def ready() -> bool:
            return (await ask(here.port, "/-/readyz")).status == 200

        for _ in range(100):
            if await ready():
                break
            await asyncio.sleep(0.02)
        assert await ready()


async def test_not_ready_without_keys_or_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READY_FOR", 0.0)
    prepare(tmp_path)
    async with scripted(lambda _: plain_answer("500 No"), []) as port:
        gateway = make_gateway(tmp_path, settings_text(jwks=f"http://127.0.0.1:{port}/keys"))
        async with visitor(gateway) as client:
            heard = await client.get("/-/readyz")
            assert (heard.status_code, heard.json()["missing"]) == (503, ["keys of staff"])
            (tmp_path / "files").rename(tmp_path / "gone")
            assert (await client.get("/-/readyz")).json()["missing"] == ["keys of staff", "store"]
            assert (await client.get("/-/healthz")).status_code == 200
        await gateway.aclose()


async def test_a_clock_that_is_put_back_freezes_neither_keys_nor_readiness(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READY_FOR", 0.05)
    monkeypatch.setattr(module, "MAINTAIN_EVERY", 0.05)
    monkeypatch.setattr(issuers, "KEY_FILE_MAX_AGE", 0.1)
    now, line = [time.time()], bearer_line(fresh_token())
    async with serving(site, clock=lambda: now[0]) as here:

        async def becomes(target: str, status: int) -> None:
            deadline = time.monotonic() + 20
            while (await ask(here.port, target, "GET", line)).status != status:
                assert time.monotonic() < deadline, f"{target} never became {status}"
                await asyncio.sleep(0.02)

        await becomes("/users/ann/a.txt", 200)
        await becomes("/-/readyz", 200)
        now[0] -= 3600
        (site / "jwks.json").write_bytes(key_set(rsa_signer(kid="rsa-2")))
        await becomes("/users/ann/a.txt", 401)
        (site / "files").rename(site / "gone")
        await becomes("/-/readyz", 503)


async def test_however_often_we_are_asked_the_store_is_asked_once_a_second(site: Path) -> None:
    class Counting(MemoryStore):
        asked = 0

        async def ready(self) -> None:
            self.asked += 1
            await asyncio.sleep(0.01)

    store = Counting()
    gateway = make_gateway(site, settings_text(), store=store)
    async with visitor(gateway) as client:
        answers = await asyncio.gather(*(client.get("/-/readyz") for _ in range(50)))
    assert {heard.status_code for heard in answers} <= {200, 503}
    assert store.asked == 1
    await gateway.aclose()


async def test_a_request_that_is_cancelled_ends_as_one(site: Path) -> None:
    """With the error that says so, and a line in the log."""

    class Slow(MemoryStore):
        async def open(self, wish: Open) -> Opened | None:
            await asyncio.sleep(60)
            return None

    log = bytearray()
    gateway = make_gateway(site, settings_text(), store=Slow(), log=log)
    async with visitor(gateway) as client:
        asking = asyncio.create_task(client.get("/public/a.txt"))
        await asyncio.sleep(0.1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    await gateway.aclose()
    assert b'"reason":"broken-off"' in log


# --- a fault of ours opens nothing


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_bug_denies(site: Path, method: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(site, store=Broken()) as here, wire(here.port) as connection:
        heard = await connection.ask("/public/a.txt?token=s3cr3t-in-query&download", method)
        assert heard.status in (401, 500)
        heard = await connection.ask("/public/a.txt", method, "Cookie: other=s3cr3t")
        assert heard.status == 500
        assert heard.field("cache-control") == "no-store"
        assert b"no bytes" not in heard.body
        if method == "GET":
            assert heard.code == "fault"
    assert "no head for" in caplog.text or "no bytes for" in caplog.text
    assert not any(secret in caplog.text for secret in SECRETS)


async def test_a_bug_in_a_store_that_waits_denies(site: Path) -> None:
    class Slow:
        async def head(self, wish: Head) -> Meta | None:
            raise RuntimeError

        async def open(self, wish: Open) -> Opened | None:
            raise RuntimeError

        async def list(self, wish: List) -> Listed:
            raise RuntimeError

        async def ready(self) -> None: ...

        async def aclose(self) -> None: ...

    async with serving(site, store=Slow()) as here:
        assert (await ask(here.port, "/public/a.txt")).status == 500
        assert (await ask(here.port, "/team/a.txt")).status == 401
        assert (await ask(here.port, "/-/s3objects?prefix=public/")).status == 500


# --- the log


async def test_a_line_says_who_read_what_by_which_rule(site: Path) -> None:
    async with serving(site) as here:
        await ask(here.port, "/users/ann/a.txt?x=1", "GET", bearer_line(fresh_token()))
        await ask(here.port, "/users/ben/a.txt", "GET", bearer_line(fresh_token()))
        await ask(here.port, "/public/a.txt")
        await ask(here.port, "/team/%C3%BC%22%0A", "GET")
        await ask(here.port, "/public/none")
        await ask(here.port, "/public/a.txt#x")
        lines = here.lines()
    for line in lines:
        assert set(line) == {
            "time",
            "client",
            "method",
            "path",
            "status",
            "bytes",
            "ms",
            "caller",
            "rule",
            "reason",
            "cache",
        }
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["client"] == "127.0.0.1"
    said = [(one["status"], one["path"], one["caller"], one["rule"], one["bytes"]) for one in lines]
    assert said[0] == (200, "/users/ann/a.txt", "staff:ann", "rules[1]", 5)
    assert said[1][:4] == (403, "/users/ben/a.txt", "staff:ann", "")
    assert said[2] == (200, "/public/a.txt", "", "rules[0]", 5)
    assert said[3][:2] == (400, "/team/%C3%BC%22%0A")
    assert said[4][:2] == (404, "/public/none")
    assert said[5][:2] == (400, "-")
    assert [one["reason"] for one in lines][1:] == ["denied", "served", "target", "not-found", "target"]


CLOUDFRONT_FIELDS = (
    "date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) "
    "cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol cs-bytes time-taken "
    "x-forwarded-for ssl-protocol ssl-cipher x-edge-response-result-type cs-protocol-version fle-status "
    "fle-encrypted-fields c-port time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len "
    "sc-range-start sc-range-end"
)
"""CloudFront Developer Guide, "Standard log file fields"; programs that read such logs count on all of them."""


async def test_cloudfront_lines_have_cloudfronts_fields(site: Path) -> None:
    log = bytearray()
    gateway = make_gateway(site, settings_text(more='[log]\naccess = "cloudfront"'), log=log)
    async with listening(gateway) as port:
        await ask(port, "/public/a.txt?token=s3cr3t", "GET", "User-Agent: odd\tagent %", "Cookie: a=s3cr3t")
        await ask(port, "/public/a.txt", "GET", "Referer: https://x.example/?s3cr3t")
        await eventually(lambda: log.count(b"\n") == 4, "the first lines are written without waiting for many", 3)
    head, *lines = log.decode().splitlines()
    assert head == "#Version: 1.0"
    assert lines[0] == f"#Fields: {CLOUDFRONT_FIELDS}"
    for line in lines[1:]:
        values = dict(zip(CLOUDFRONT_FIELDS.split(), line.split("\t"), strict=True))
        assert values["cs-uri-stem"] == "/public/a.txt"
        assert (values["cs-uri-query"], values["cs(Cookie)"], values["cs(Referer)"]) == ("-", "-", "-")
    assert "odd%09agent%20%" in lines[1]
    assert "s3cr3t" not in log.decode()


async def test_no_credential_is_in_any_output(
    site: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Good ones and bad ones, wherever they stand, in whatever is refused or goes wrong."""
    caplog.set_level(logging.DEBUG)
    good = fresh_token()
    bad = f"{good[:-5]}s3cr3t"
    async with serving(site) as here:
        for target in (
            "/public/a.txt",
            "/team/a.txt",
            "/team/none",
            "/users/ben/x",
            "/-/whoami",
            "/-/explain?key=team/a",
            "//",
        ):
            joint = "&" if "?" in target else "?"
            for text in (good, bad, "s3cr3t", "s3cr3t.s3cr3t.s3cr3t", "s3cr3t" * 2500):
                await ask(here.port, target, "GET", bearer_line(text))
                await ask(here.port, target, "GET", f"Authorization: Basic {text}")
                await ask(here.port, target, "GET", f"Cookie: token={text}; stagedoor-8080=s3cr3t")
                await ask(here.port, f"{target}{joint}token={text}")
                await ask(here.port, f"{target}{joint}Policy={text}&Signature=s3cr3t&Key-Pair-Id=s3cr3t")
                await ask(here.port, target, "GET", f"Referer: https://x.example/?token={text}", f"User-Agent: {text}")
                await ask(here.port, "/-/session", "POST", bearer_line(text), "Content-Length: 0")
                await ask(here.port, f"{target}{joint}token={text}#", "GET")
        assert here.lines()
        written = here.log.decode() + caplog.text + "".join(capfd.readouterr())
    for secret in (good, *good.split("."), "s3cr3t"):
        assert secret not in written


def test_forwarded_addresses_count_from_listed_proxies_only() -> None:
    listed = parse(
        '[site]\nurl = "http://localhost"\n[gateway]\ntrusted_proxies = ["10.0.0.0/8", "::1"]'
    ).trusted_proxies

    def seen(peer: str, *lines: str, trusted: Any = listed) -> str:
        return client_address(peer, collect((b"x-forwarded-for", line.encode()) for line in lines), trusted)

    assert seen("192.0.2.7", "203.0.113.9") == "192.0.2.7"
    assert seen("10.0.0.1", "203.0.113.9", trusted=()) == "10.0.0.1"
    assert seen("10.0.0.1", "203.0.113.9") == "203.0.113.9"
    assert seen("10.0.0.1", "6.6.6.6, 203.0.113.9") == "203.0.113.9"
    assert seen("10.0.0.1", "6.6.6.6", "203.0.113.9, 10.1.1.1") == "203.0.113.9"
    assert seen("::ffff:10.0.0.1", "::ffff:203.0.113.9") == "203.0.113.9"
    assert seen("::1", "2001:db8::1") == "2001:db8::1"
    assert seen("10.0.0.1") == "10.0.0.1"
    assert seen("10.0.0.1", "10.2.2.2, 10.1.1.1") == "10.2.2.2"
    assert seen("10.0.0.1", "1.2.3.4:80, 10.1.1.1") == "1.2.3.4"
    assert seen("10.0.0.1", "[2001:db8::1]") == seen("10.0.0.1", "[2001:db8::1]:443") == "2001:db8::1"
    assert seen("10.0.0.1", "") == "10.0.0.1"
    assert seen("10.0.0.1", "6.6.6.6, ,") == "6.6.6.6"


@pytest.mark.parametrize(
    "odd", ["unknown", "1.2.3.4:", "[::2", 'fe80::1%"x', "6.6.6.6 7.7.7.7", "<script>", "1.2.3.4:x"]
)
def test_whoever_a_proxy_names_in_an_unreadable_way_is_nobody_and_not_the_proxy(odd: str) -> None:
    listed = parse('[site]\nurl = "http://localhost"\n[gateway]\ntrusted_proxies = ["10.0.0.0/8"]').trusted_proxies
    for line in (odd, f"{odd}, 10.9.9.9", f"6.6.6.6, {odd}"):
        assert client_address("10.0.0.1", {b"x-forwarded-for": [line.encode()]}, listed) == ""


@pytest.mark.parametrize("implementation", ["strict", "httptools"])
async def test_no_header_changes_who_or_what_is_asked(site: Path, implementation: str) -> None:
    """Not even from a listed proxy; on the short way of our protocol, and on the long one (invariant 6)."""
    for more in ("", '[gateway]\ntrusted_proxies = ["127.0.0.0/8"]'):
        gateway = make_gateway(site, settings_text(more=more))
        async with listening(gateway, implementation) as port, wire(port) as connection:
            for line in (
                "X-Original-URI: /public/a.txt",
                "X-Original-URL: /public/a.txt",
                "X-Rewrite-URL: /public/a.txt",
                "X-Forwarded-Uri: /public/a.txt",
                "X-Forwarded-Method: OPTIONS",
                "X-Forwarded-Prefix: /public",
                "X-Forwarded-Host: evil.example",
                "X-Forwarded-Proto: https",
                "X-HTTP-Method-Override: OPTIONS",
                "X-Method-Override: OPTIONS",
                "Forwarded: for=127.0.0.1;host=evil.example;proto=https",
                "X-Forwarded-For: 127.0.0.1",
                "X-Real-IP: 127.0.0.1",
                "X-Forwarded-User: ann",
                "X-Auth-Request-User: ann",
                "Remote-User: ann",
                "X-Amzn-Oidc-Data: ann",
                "X-Amz-Cf-Id: a",
                "Host: evil.example",
            ):
                assert (await connection.ask("/team/a.txt", "GET", line)).status == 401, line
                assert (await connection.ask("/public/a.txt", "GET", line)).body == b"hello", line
                assert (await connection.ask("/", "GET", line)).status == 404, line


async def test_a_log_that_cannot_be_written_loses_lines_and_no_requests(site: Path) -> None:
    def full(text: bytes) -> int:
        raise OSError(28, "No space left on device")

    log = AccessLog("json", full)
    request = Request("GET", b"/", b"", {})
    for _ in range(2000):
        log.add(Entry(request, "-", 200, 0, 0.0, "", "", "", ""), 0.0)
    log.close()
    taken = bytearray()

    def slow(text: bytes) -> int:
        taken.extend(text[:7])
        return min(7, len(text))

    log = AccessLog("json", slow)
    log.add(Entry(request, "-", 200, 0, 0.0, 'a"b\n', "", "", ""), 0.0)
    log.close()
    assert json.loads(taken)["caller"] == 'a"b\n'


# --- issuers


class Provider:
    """An issuer on this machine that counts how often it is asked."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.keys: bytes | None = key_set(rsa_signer())

    async def __call__(self, _: bytes) -> bytes:
        await asyncio.sleep(0.05)
        return plain_answer("503 Away") if self.keys is None else plain_answer("200 OK", self.keys)


@pytest.fixture
async def provider() -> AsyncIterator[tuple[Provider, str]]:
    made = Provider()
    async with scripted(made, made.seen) as port:
        yield made, f"http://127.0.0.1:{port}/keys"


async def test_many_first_visitors_ask_the_issuer_once(site: Path, provider: tuple[Provider, str]) -> None:
    issuer, url = provider
    async with serving(site, settings_text(jwks=url)) as here:
        line = bearer_line(fresh_token())
        heard = await asyncio.gather(*(ask(here.port, "/users/ann/a.txt", "GET", line) for _ in range(50)))
        assert {one.status for one in heard} == {200}
        assert len(issuer.seen) == 1
        flood = [fresh_token_of(f"kid-{number}") for number in range(50)]
        heard = await asyncio.gather(*(ask(here.port, "/users/ann/a.txt", "GET", bearer_line(one)) for one in flood))
        assert {one.status for one in heard} == {401}
        assert len(issuer.seen) <= 2


def fresh_token_of(kid: str) -> str:
    return token(claims(exp=time.time() + 600), kid=kid)


async def test_an_issuer_that_cannot_be_reached_is_503_and_is_named(
    site: Path, provider: tuple[Provider, str], caplog: pytest.LogCaptureFixture
) -> None:
    issuer, url = provider
    issuer.keys = None
    async with serving(site, settings_text(jwks=url)) as here:
        heard = await ask(here.port, "/users/ann/a.txt", "GET", bearer_line(fresh_token()))
        assert (heard.status, heard.code) == (503, "issuer-unavailable")
        assert heard.field("retry-after") is not None
        assert (await ask(here.port, "/public/a.txt")).body == b"hello"
    assert ISSUER in caplog.text
    assert url in caplog.text


async def test_known_callers_go_on_while_the_issuer_is_away(
    site: Path, provider: tuple[Provider, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last good keys stay in use, also for tokens that have not been seen before."""
    issuer, url = provider
    monkeypatch.setattr(module, "MAINTAIN_EVERY", 0.05)
    monkeypatch.setattr(issuers, "KEYS_MAX_AGE", 0.1)
    monkeypatch.setattr(issuers, "COOL_DOWN", 0.1)
    async with serving(site, settings_text(jwks=url)) as here:
        known = bearer_line(fresh_token())
        assert (await ask(here.port, "/users/ann/a.txt", "GET", known)).status == 200
        issuer.keys = None
        asked = len(issuer.seen)
        await eventually(lambda: len(issuer.seen) > asked + 2, "the issuer is asked again")
        for line in (known, bearer_line(fresh_token(jti="new"))):
            assert (await ask(here.port, "/users/ann/a.txt", "GET", line)).status == 200
        issuer.keys = key_set(rsa_signer(kid="other"))
        asked = len(issuer.seen)
        await eventually(lambda: len(issuer.seen) > asked + 2, "the issuer is asked again")
        assert (await ask(here.port, "/users/ann/a.txt", "GET", known)).status == 401, "a withdrawn key stops to count"


async def test_a_changed_key_file_is_read_again(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.MAINTAIN_EVERY + issuers.KEY_FILE_MAX_AGE <= 10
    monkeypatch.setattr(module, "MAINTAIN_EVERY", 0.05)
    monkeypatch.setattr(issuers, "KEY_FILE_MAX_AGE", 0.05)
    async with serving(site) as here:
        line = bearer_line(fresh_token())
        assert (await ask(here.port, "/users/ann/a.txt", "GET", line)).status == 200
        (site / "jwks.json").write_bytes(key_set(rsa_signer(kid="other")))
        for _ in range(200):
            if (await ask(here.port, "/users/ann/a.txt", "GET", line)).status == 401:
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the old keys still count")


# --- other ways to run it


async def behaves(port: int, under: str = "") -> None:
    async with wire(port) as connection:
        await behaves_over(connection, under)
    if not under:
        async with wire(port) as connection:
            await connection.send(message("//public/a.txt"))
            assert (await connection.answer()).status == 400


async def behaves_over(connection: Wire, under: str) -> None:
    line = bearer_line(fresh_token())
    assert (await connection.ask(f"{under}/public/a.txt")).body == b"hello"
    assert (await connection.ask(f"{under}/team/a.txt")).status == 401
    assert (await connection.ask(f"{under}/team/a.txt", "GET", line)).body == b"team"
    assert (await connection.ask(f"{under}/users/ben/a.txt", "GET", line)).status == 403
    for target in ("/public/%2e%2e/team/a.txt", "/public%2fa.txt", "/public/..%2fteam/a.txt", "/public//a%00"):
        assert (await connection.ask(f"{under}{target}", "GET", line)).status == 400, target
    assert (await connection.ask(f"{under}/public/a.txt", "HEAD")).field("content-length") == "5"


@pytest.mark.parametrize("implementation", ["httptools", "h11"])
async def test_under_plain_uvicorn(site: Path, implementation: str) -> None:
    async with listening(make_gateway(site), implementation) as port:
        await behaves(port)


@pytest.mark.parametrize("implementation", ["httptools", "h11"])
async def test_mounted_in_starlette(site: Path, implementation: str) -> None:
    """A mounted application hears of no start; its first request begins what start would have."""
    gateway = make_gateway(site)
    async with listening(Starlette(routes=[Mount("/files", gateway)]), implementation) as port:
        await behaves(port, "/files")
        async with wire(port) as connection:
            for target in (
                "/files/../public/a.txt",
                "/%66iles/public/a.txt",
                "//files/public/a.txt",
                "/filespublic/a.txt",
            ):
                assert b"hello" not in (await connection.ask(target)).body
    await gateway.aclose()


async def test_behind_a_root_path(site: Path) -> None:
    async with listening(make_gateway(site), "httptools", root_path="/files") as port:
        await behaves(port)


async def test_a_server_that_hides_the_raw_path_gets_nothing(site: Path) -> None:
    gateway = make_gateway(site)

    async def hiding(scope: Any, receive: Any, send: Any) -> None:
        await gateway({name: value for name, value in scope.items() if name != "raw_path"}, receive, send)

    async with visitor(hiding) as client:
        assert (await client.get("/public/a.txt")).status_code == 400
    await gateway.aclose()


async def test_websockets_are_not_accepted(site: Path) -> None:
    gateway, sent = make_gateway(site), []

    async def send(one: Any) -> None:
        sent.append(one)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await gateway({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close"}]
    await gateway.aclose()


async def test_closing_writes_the_last_lines_and_can_be_done_twice(site: Path) -> None:
    log = bytearray()
    gateway = make_gateway(site, log=log)
    async with visitor(gateway) as client:
        assert (await client.get("/public/a.txt")).text == "hello"
    await gateway.aclose()
    assert json.loads(log)["path"] == "/public/a.txt"
    await gateway.aclose()
    async with visitor(gateway) as client:
        assert (await client.get("/public/b.txt")).status_code in (404, 503), "a closed folder is not another one"
    await gateway.aclose()
