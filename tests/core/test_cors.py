"""Scripts of other origins: those that `[cors]` lists ask for passes and read every answer, the others get nothing.

What a browser sends and looks at follows the Fetch standard ("CORS protocol"); one is asked in e2e/test_browser.py.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest

from stagedoor.gateway import asgi
from stagedoor.keys.pass_keys import new_pair
from stagedoor.store.memory import MemoryStore
from stagedoor.store.port import Head, Meta, Open, Opened
from tests.helpers import linting
from tests.helpers.serving import (
    SITE,
    bearer_line,
    fresh_token,
    make_gateway,
    message,
    prepare,
    serving,
    settings_text,
    wire,
)

APP = "https://app.example.com"
OTHERS = (
    "https://evil.example",
    "null",
    f"{APP}.evil.example",
    APP.replace("https", "http"),
    f"{APP}:8443",
    APP.upper(),
    f"{APP}/",
    f"{APP}, https://evil.example",
    "*",
)
MORE = f"""
[cors]
origins = ["{APP}"]
headers = ["X-Client-Version"]

[passes]
key_id = "K1"
private_key = "file:private.pem"
per_minute = 2
"""
READABLE = {"retry-after", "www-authenticate", "content-range", "etag", "content-length"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare(tmp_path, {"public/a.txt": b"hello", "team/a.txt": b"team"})
    (tmp_path / "private.pem").write_bytes(new_pair("ec").private)
    return tmp_path


@pytest.fixture
async def browser(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A site that lists one origin, asked by a script of that origin."""
    gateway = make_gateway(folder, settings_text(more=MORE))
    transport = httpx.ASGITransport(gateway, client=("192.0.2.7", 1234))
    async with httpx.AsyncClient(
        transport=transport, base_url=SITE, headers={"origin": APP}, event_hooks=linting.HOOKS
    ) as client:
        yield client
    await gateway.aclose()


def names(heard: httpx.Response, field: str) -> set[str]:
    return {name.strip().lower() for name in heard.headers.get(field, "").split(",")}


def is_shown(heard: httpx.Response) -> bool:
    """Does a browser let the script, which sent credentials, read this answer?"""
    allowed = heard.headers.get_list("access-control-allow-origin")
    assert heard.headers.get_list("vary"), "whoever keeps this answer must know that it depends on the origin"
    assert "origin" in names(heard, "vary")
    assert "*" not in allowed  # would not do with credentials, and would let in everybody
    shown = allowed == [heard.request.headers.get("origin")]
    assert (heard.headers.get("access-control-allow-credentials") == "true") == bool(allowed) == shown
    if shown:
        assert names(heard, "access-control-expose-headers") >= READABLE
    return shown


def is_granted(heard: httpx.Response, method: str, *fields: str) -> bool:
    """Does a browser send the request itself after this answer to its preflight?"""
    assert heard.status_code == 204
    if not is_shown(heard):
        assert not [name for name in heard.headers if name.startswith("access-control-")]
        return False
    allowed = names(heard, "access-control-allow-headers")
    return method.lower() in names(heard, "access-control-allow-methods") and allowed.issuperset(fields)


def preflight(method: str = "POST", **more: str) -> Mapping[str, str]:
    return {
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type",
        **more,
    }


def token_line() -> dict[str, str]:
    return {"authorization": f"Bearer {fresh_token()}"}


# --- a listed origin

TRACING = (
    ("traceparent", "tracestate"),
    ("baggage", "range", "sentry-trace"),
    ("x-datadog-origin", "x-datadog-parent-id", "x-datadog-sampling-priority", "x-datadog-trace-id"),
    ("b3",),
    ("x-b3-sampled", "x-b3-spanid", "x-b3-traceid"),
    ("request-id", "traceparent", "x-requested-with"),
    ("x-amzn-trace-id",),
    ("newrelic", "traceparent", "tracestate"),
)
"""What tools for tracing add to every request of a page, as their documentation names it."""


@pytest.mark.parametrize("fields", [*TRACING, ("x-client-version",)], ids=", ".join)
async def test_what_tools_add_to_each_request_stops_no_script(
    browser: httpx.AsyncClient, fields: tuple[str, ...]
) -> None:
    asked = {**preflight("GET"), "access-control-request-headers": ",".join(("authorization", *fields))}
    assert is_granted(await browser.options("/team/a.txt", headers=asked), "GET", "authorization", *fields)
    assert not is_granted(await browser.options("/team/a.txt", headers=asked), "GET", "x-of-nobody")
    stranger = {**asked, "origin": "https://evil.example"}
    assert not is_granted(await browser.options("/team/a.txt", headers=stranger), "GET", "authorization", *fields)


async def test_a_script_asks_first_and_then_has_a_url_signed(browser: httpx.AsyncClient) -> None:
    asked = await browser.options("/-/urls", headers=preflight())
    assert is_granted(asked, "POST", "authorization", "content-type")
    assert asked.headers["access-control-max-age"] == "600"
    made = await browser.post("/-/urls", json={"file": "team/a.txt"}, headers=token_line())
    assert made.status_code == 201
    assert is_shown(made)
    picture = await browser.get(made.json()["signedUrl"])
    assert picture.text == "team"
    assert is_shown(picture)


@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("/-/session", "POST"),
        ("/-/urls", "POST"),
        ("/-/cookies", "POST"),
        ("/-/whoami", "GET"),
        ("/-/explain", "GET"),
        ("/-/s3objects?prefix=a", "GET"),
        ("/-/contents/lesson", "GET"),
        ("/-/openapi.json", "GET"),
        ("/team/a.txt", "GET"),
        ("/team/none", "HEAD"),
    ],
)
async def test_every_address_grants_its_method_and_no_other(
    browser: httpx.AsyncClient, target: str, method: str
) -> None:
    assert is_granted(await browser.options(target, headers=preflight(method)), method, "authorization")
    for other in {"GET", "POST", "PUT", "DELETE", "PATCH"} - {method, *(["GET"] if method == "HEAD" else [])}:
        assert not is_granted(await browser.options(target, headers=preflight(other)), other)


async def test_every_refusal_can_be_read(browser: httpx.AsyncClient) -> None:
    """Else a script sees a failed connection, and its user no reason."""
    known, big = token_line(), b" " * 20_000
    for method, target, body, fields, status, code in (
        ("POST", "/-/urls", b"{}", {}, 400, "body"),
        ("POST", "/-/urls", b'{"file":"team/a.txt"}', {}, 401, "no-credential"),
        ("POST", "/-/urls", b'{"file":"team/a.txt"}', {"authorization": "Bearer x"}, 401, "token-shape"),
        ("POST", "/-/urls", b'{"file":"team/secret/a"}', known, 403, "denied"),
        ("POST", "/-/urls", big, known, 413, "body"),
        ("GET", "/-/urls", b"", known, 405, "method"),
        ("GET", "/-/nothing", b"", known, 404, "not-found"),
        ("GET", "/-/contents/x", b"", known, 404, "no-catalogue"),
        ("GET", "/-/s3objects?limit=0", b"", known, 400, "query"),
        ("GET", "/team/none", b"", known, 404, "not-found"),
        ("GET", "/%00", b"", known, 400, "target"),
        ("GET", "/team/a.txt", b"", known | {"range": "bytes=99-"}, 416, "range"),
        ("GET", "/team/a.txt", b"", known | {"if-match": '"x"'}, 412, "precondition"),
        ("GET", "/public/a.txt", b"", {f"x-{number}": "1" for number in range(101)}, 431, "headers"),
    ):
        heard = await browser.request(method, target, content=body, headers=fields)
        assert (heard.status_code, heard.json()["code"]) == (status, code), heard.text
        assert is_shown(heard), target
    heard = await browser.get("/team/a.txt?Signature=x&Expires=1&Key-Pair-Id=K1")
    assert "MalformedSignature" in heard.text
    assert is_shown(heard)


async def test_a_script_can_read_when_to_come_back(browser: httpx.AsyncClient) -> None:
    known = token_line()
    for _ in range(2):
        assert (await browser.post("/-/urls", json={"file": "team/a.txt"}, headers=known)).status_code == 201
    heard = await browser.post("/-/urls", json={"file": "team/a.txt"}, headers=known)
    assert (heard.status_code, heard.json()["code"]) == (429, "too-many-passes")
    assert is_shown(heard)
    assert 0 < int(heard.headers["retry-after"]) <= 31
    heard = await browser.post("/-/cookies", json={"prefix": "team/"}, headers=known)
    assert heard.status_code == 403  # what is denied is told so, also to somebody who had enough
    heard = await browser.get("/-/healthz")
    assert is_shown(heard)


async def test_a_fault_of_ours_can_be_read(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryStore):
        def head_now(self, wish: Head) -> Meta | None:
            raise RuntimeError

        def open_now(self, wish: Open) -> Opened | None:
            raise RuntimeError

    async with serving(folder, settings_text(more=MORE), store=Broken()) as here, wire(here.port) as connection:
        heard = await connection.ask("/public/a.txt", "GET", f"Origin: {APP}")
        assert (heard.status, heard.code) == (500, "fault")
        assert heard.field("access-control-allow-origin") == APP


async def test_a_body_that_does_not_come_is_told_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "BODY_WITHIN", 0.1)
    async with serving(folder, settings_text(more=MORE)) as here, wire(here.port) as connection:
        await connection.send(message("/-/urls", "POST", "Content-Length: 9", f"Origin: {APP}"))
        heard = await connection.answer()
        assert (heard.status, heard.field("access-control-allow-origin")) == (408, APP)


# --- the others


@pytest.mark.parametrize("origin", OTHERS)
async def test_another_origin_is_granted_nothing_and_shown_nothing(browser: httpx.AsyncClient, origin: str) -> None:
    browser.headers["origin"] = origin
    assert not is_granted(await browser.options("/-/urls", headers=preflight()), "POST")
    for method, target in (("GET", "/public/a.txt"), ("GET", "/-/s3objects"), ("GET", "/team/a.txt"), ("GET", "/%00")):
        assert not is_shown(await browser.request(method, target, headers=token_line()))


@pytest.mark.parametrize("origin", OTHERS)
@pytest.mark.parametrize("target", ["/-/urls", "/-/cookies", "/-/session"])
async def test_another_origin_has_nothing_made(browser: httpx.AsyncClient, origin: str, target: str) -> None:
    """A request that a browser sends without asking first: a form, or text, with the cookies of the site."""
    browser.cookies.set("token", fresh_token())
    body = json.dumps({"file": "team/a.txt"})
    heard = await browser.post(target, content=body, headers={"origin": origin, "content-type": "text/plain"})
    assert (heard.status_code, heard.json()["code"]) == (403, "origin")
    assert "set-cookie" not in heard.headers
    assert not is_shown(heard)


async def test_two_origins_are_none(folder: Path) -> None:
    async with serving(folder, settings_text(more=MORE)) as here, wire(here.port) as connection:
        lines = (f"Origin: {APP}", "Origin: https://evil.example", bearer_line(fresh_token()), "Content-Length: 2")
        heard = await connection.ask("/-/urls", "POST", *lines, body=b"{}")
        assert (heard.status, heard.code) == (403, "origin")
        assert heard.field("access-control-allow-origin") is None


async def test_the_site_itself_and_programs_need_no_list(browser: httpx.AsyncClient) -> None:
    body, known = {"file": "team/a.txt"}, token_line()
    del browser.headers["origin"]
    assert (await browser.post("/-/urls", json=body, headers=known)).status_code == 201
    heard = await browser.post("/-/urls", json=body, headers=known | {"origin": SITE})
    assert heard.status_code == 201
    assert "access-control-allow-origin" not in heard.headers


async def test_without_the_setting_nothing_is_said_of_origins(folder: Path) -> None:
    async with serving(folder) as here, wire(here.port) as connection:
        for target, method in (("/public/a.txt", "GET"), ("/-/urls", "OPTIONS"), ("/-/whoami", "GET")):
            line = "Access-Control-Request-Method: GET"
            heard = await connection.ask(target, method, f"Origin: {APP}", line)
            assert not [name for name, _ in heard.fields if name.startswith("access-control")]
            assert heard.field("vary") is None
