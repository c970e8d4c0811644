"""The demo: its provider is strict, its files are real, and nothing is left of it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import wave
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree as ET

import httpx
import pytest

from stagedoor.core.drivers import run
from stagedoor.core.issuers import Issuer
from stagedoor.core.jose import split
from stagedoor.core.messages import Fetch, Fetched, Wish
from stagedoor.core.tokens import Tokens
from stagedoor.demo import FILES, _listen, make_site
from stagedoor.demo.provider import CLIENT_ID, CODE_LIFETIME, PEOPLE, Provider
from stagedoor.keys import signatures
from tests.helpers import linting

SITE, ISSUER = "http://127.0.0.1:8080", "http://127.0.0.1:8081"
OTHER_SITE = "http://localhost:9000"
CALLBACK, SIGNED_OUT = f"{SITE}/-/callback", f"{SITE}/-/logout"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REQUEST = {
    "response_type": "code",
    "client_id": CLIENT_ID,
    "redirect_uri": CALLBACK,
    "scope": "openid email",
    "state": "a state, kept & returned",
    "nonce": "n-1",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def provider(clock: Clock) -> Provider:
    return Provider(ISSUER, SITE, clock, others=(OTHER_SITE,))


@pytest.fixture
async def client(provider: Provider) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(provider), base_url=ISSUER, event_hooks=linting.HOOKS)


async def sign_in(client: httpx.AsyncClient, **changes: str) -> dict[str, str]:
    """Choose Ann; return the parameters that the client gets back."""
    form = {**REQUEST, "person": "ann", **changes}
    return came_back(await client.post("/authorize", data=form), form["redirect_uri"])


def came_back(answer: httpx.Response, to: str = CALLBACK) -> dict[str, str]:
    """The parameters of a redirect to the client."""
    assert answer.status_code == 303
    address, _, query = answer.headers["location"].partition("?")
    assert address == to
    return dict(parse_qsl(query))


async def redeem(client: httpx.AsyncClient, code: str, **changes: str) -> httpx.Response:
    form = {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "redirect_uri": CALLBACK,
        "code": code,
        "code_verifier": VERIFIER,
    }
    return await client.post("/token", data={**form, **changes}, headers={"origin": SITE})


# --- the provider


async def test_sign_in_page_offers_everybody_and_keeps_the_request(client: httpx.AsyncClient) -> None:
    page = await client.get("/authorize", params=REQUEST)
    assert page.status_code == 200
    assert all(person.name in page.text for person in PEOPLE)
    assert 'value="a state, kept &amp; returned"' in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


async def test_state_and_issuer_come_back(client: httpx.AsyncClient) -> None:
    back = await sign_in(client)
    assert back["state"] == REQUEST["state"]
    assert back["iss"] == ISSUER


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://evil.example/-/callback",
        f"{SITE}/",
        f"{SITE}",
        f"{CALLBACK}/",
        f"{CALLBACK}?a=b",
        SIGNED_OUT,
        "http://localhost:8080/-/callback",
        f"{OTHER_SITE}/",
        "",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_other_redirect_uri_is_refused_without_a_redirect(
    client: httpx.AsyncClient, redirect_uri: str, method: str
) -> None:
    form = {**REQUEST, "redirect_uri": redirect_uri, "person": "ann"}
    sent = {"params": form} if method == "GET" else {"data": form}
    answer = await client.request(method, "/authorize", **sent)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": CHALLENGE + "="}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "email"}, "invalid_scope"),
        ({"person": "eve"}, "access_denied"),
    ],
)
async def test_bad_requests_get_an_error_and_no_code(
    client: httpx.AsyncClient, changes: dict[str, str], error: str
) -> None:
    back = await sign_in(client, **changes)
    assert back["error"] == error
    assert "code" not in back


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("prompt", "error"), [("none", "login_required"), ("none login", "invalid_request")])
async def test_nobody_is_remembered_so_nobody_is_signed_in_without_a_page(
    client: httpx.AsyncClient, method: str, prompt: str, error: str
) -> None:
    await sign_in(client)
    form = {**REQUEST, "prompt": prompt, "person": "ann"}
    sent = {"params": form} if method == "GET" else {"data": form}
    back = came_back(await client.request(method, "/authorize", **sent))  # type: ignore[arg-type]
    assert (back["error"], back["state"], "code" in back) == (error, REQUEST["state"], False)
    assert (await client.get("/authorize", params={**REQUEST, "prompt": "login"})).status_code == 200


async def test_a_refresh_token_counts_once_and_tells_when_the_person_signed_in(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    code = (await sign_in(client))["code"]
    first = (await redeem(client, code)).json()
    form = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": first["refresh_token"]}
    clock.now += 300
    second = (await client.post("/token", data=form)).json()
    before, after = (json.loads(split(one["id_token"]).payload) for one in (first, second))
    assert after["iat"] == before["iat"] + 300
    assert (after["sub"], after["auth_time"]) == (before["sub"], before["auth_time"])
    assert "nonce" not in after
    assert (await client.post("/token", data=form)).json()["error"] == "invalid_grant"
    other = {**form, "client_id": "another", "refresh_token": second["refresh_token"]}
    assert (await client.post("/token", data=other)).json()["error"] == "invalid_client"


async def test_another_site_signs_in_at_its_own_address(client: httpx.AsyncClient) -> None:
    elsewhere = f"{OTHER_SITE}/-/callback"
    page = await client.get("/authorize", params={**REQUEST, "redirect_uri": elsewhere})
    assert f"<code>{OTHER_SITE}</code>" in page.text
    assert f"form-action 'self' {SITE} {OTHER_SITE};" in page.headers["content-security-policy"]
    code = (await sign_in(client, redirect_uri=elsewhere))["code"]
    assert (await redeem(client, code)).json()["error"] == "invalid_grant"  # the site that asked gets it, and no other
    code = (await sign_in(client, redirect_uri=elsewhere))["code"]
    assert (await redeem(client, code, redirect_uri=elsewhere)).status_code == 200


async def test_sign_out_leads_back_to_the_site(client: httpx.AsyncClient, provider: Provider) -> None:
    assert provider.discovery()["end_session_endpoint"] == f"{ISSUER}/logout"
    asked = {"client_id": CLIENT_ID, "post_logout_redirect_uri": SIGNED_OUT}
    assert came_back(await client.get("/logout", params=asked), SIGNED_OUT) == {}
    assert came_back(await client.get("/logout", params={**asked, "state": "a&b"}), SIGNED_OUT) == {"state": "a&b"}
    for back in ("https://evil.example/-/logout", f"{SITE}/", f"{SIGNED_OUT}/", CALLBACK, ""):
        answer = await client.get("/logout", params={**asked, "post_logout_redirect_uri": back})
        assert (answer.status_code, "location" in answer.headers) == (400, False)
    assert (await client.get("/logout", params={**asked, "client_id": "another"})).status_code == 400


async def test_code_works_once(client: httpx.AsyncClient) -> None:
    code = (await sign_in(client))["code"]
    assert (await redeem(client, code)).status_code == 200
    again = await redeem(client, code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"code_verifier": CHALLENGE},
        {"redirect_uri": f"{SITE}/other"},
        {"client_id": "another"},
        {"grant_type": "refresh_token"},
    ],
)
async def test_code_is_refused_without_all_that_belongs_to_it(
    client: httpx.AsyncClient, changes: dict[str, str]
) -> None:
    code = (await sign_in(client))["code"]
    answer = await redeem(client, code, **changes)
    assert answer.status_code == 400
    assert "id_token" not in answer.text


async def test_wrong_verifier_uses_the_code_up(client: httpx.AsyncClient) -> None:
    code = (await sign_in(client))["code"]
    await redeem(client, code, code_verifier="w" * 43)
    assert (await redeem(client, code)).status_code == 400


async def test_code_grows_old(client: httpx.AsyncClient, clock: Clock) -> None:
    code = (await sign_in(client))["code"]
    clock.now += CODE_LIFETIME
    assert (await redeem(client, code)).status_code == 400


async def test_other_host_names_are_refused(client: httpx.AsyncClient) -> None:
    for host in ("evil.example", "localhost:8081", "127.0.0.1", ""):
        answer = await client.get("/.well-known/openid-configuration", headers={"host": host})
        assert answer.status_code == 421


async def test_only_the_site_may_ask_for_tokens_from_a_page(client: httpx.AsyncClient) -> None:
    code = (await sign_in(client))["code"]
    answer = await redeem(client, code)
    assert answer.headers["access-control-allow-origin"] == SITE
    asks_first = {"origin": SITE, "access-control-request-method": "POST"}
    preflight = await client.options("/token", headers=asks_first)
    assert (preflight.status_code, preflight.headers["access-control-allow-methods"]) == (204, "POST")
    elsewhere = await client.post("/token", data={}, headers={"origin": "https://evil.example"})
    assert elsewhere.status_code == 403
    chosen_elsewhere = await client.post("/authorize", data=REQUEST, headers={"origin": "https://evil.example"})
    assert chosen_elsewhere.status_code == 403


async def test_parameter_that_comes_twice_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/authorize?client_id={CLIENT_ID}&client_id=other")
    assert answer.status_code == 400


async def test_tokens_verify_as_those_of_any_issuer(
    client: httpx.AsyncClient, provider: Provider, clock: Clock
) -> None:
    answer = (await redeem(client, (await sign_in(client))["code"])).json()
    documents = {
        f"{ISSUER}/.well-known/openid-configuration": provider.discovery(),
        f"{ISSUER}/jwks.json": provider.jwks(),
    }

    def fetch(wish: Wish) -> Fetched:
        assert isinstance(wish, Fetch)
        return Fetched(json.dumps(documents[wish.url]).encode())

    tokens = Tokens((Issuer(ISSUER, frozenset((CLIENT_ID,)), claims={"groups": "groups"}),), signatures)
    for name in ("id_token", "access_token"):
        caller = run(tokens.verify(answer[name], clock.now), fetch)
        assert (caller.subject, caller.values("groups")) == ("ann", frozenset(("students",)))
        assert caller.expires == int(clock.now) + 3600
    assert run(tokens.verify(answer["id_token"], clock.now), fetch).claims["nonce"] == "n-1"


# --- the files


LISTED = [file["key"] for file in json.loads((FILES / "app/files.json").read_bytes())]
"""Keys of the files that the page shows, in its order."""


def content(ending: str) -> Iterator[tuple[str, bytes]]:
    return ((key, (FILES / key).read_bytes()) for key in LISTED if key.endswith(ending))


def test_page_lists_every_file_once() -> None:
    keys = {path.relative_to(FILES).as_posix() for path in FILES.rglob("*") if path.is_file()}
    page = {"index.html", "app/app.css", "app/app.js", "app/files.json", "app/icon.svg"}
    assert sorted(LISTED) == sorted(keys - page)


def test_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FILES.rglob("*") if path.is_file()) < 800_000


def test_pictures_are_png() -> None:
    pictures = list(content(".png"))
    assert len(pictures) == 9
    for key, raw in pictures:
        assert raw.startswith(b"\x89PNG\r\n\x1a\n"), key
        chunks, place = {}, 8
        while place < len(raw):
            size, name = struct.unpack_from(">I4s", raw, place)
            data = raw[place + 8 : place + 8 + size]
            assert struct.unpack_from(">I", raw, place + 8 + size)[0] == zlib.crc32(name + data), key
            chunks[name] = data
            place += 12 + size
        width, height = struct.unpack_from(">II", chunks[b"IHDR"])
        assert width / height == 640 / 420, key  # as the page shows them
        assert list(chunks)[-1] == b"IEND"


def test_sound_is_long_enough_to_seek_in_and_not_clipped() -> None:
    ((_, raw),) = content(".wav")
    with wave.open(io.BytesIO(raw)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth()) == (1, 2)
        assert 10 < sound.getnframes() / sound.getframerate() < 20
        samples = memoryview(sound.readframes(sound.getnframes())).cast("h")
    assert 8_000 < max(samples) < 32_000


def test_documents_are_pdf() -> None:
    for key, raw in content(".pdf"):
        assert raw.startswith(b"%PDF-1.4\n"), key
        assert raw.endswith(b"%%EOF\n"), key
        start = int(raw.split(b"startxref\n")[1].split()[0])
        assert raw[start:].startswith(b"xref\n")
        places = re.findall(rb"(\d{10}) 00000 n ", raw[start:])
        assert len(places) == 6
        for number, place in enumerate(places, 1):
            assert raw[int(place) :].startswith(b"%d 0 obj\n" % number), key
        length = re.search(rb"/Length (\d+) >>\nstream\n", raw)
        assert length
        assert raw[length.end() + int(length[1]) :].startswith(b"\nendstream")


def test_drawing_is_xml() -> None:
    for _, raw in content(".svg"):
        assert ET.fromstring(raw).tag == "{http://www.w3.org/2000/svg}svg"


# --- the site


async def test_store_of_the_demo_holds_the_files_and_knows_the_origins(tmp_path: Path) -> None:
    gateway = make_site(tmp_path, SITE, ISSUER)
    await gateway.aclose()
    for key in ("app/app.js", *LISTED):
        assert (tmp_path / "files" / key).read_bytes() == (FILES / key).read_bytes()
    page = (tmp_path / "files/index.html").read_text()
    assert "connect-src 'self';" in page
    assert f"form-action 'self' {ISSUER}" in page
    site = json.loads((tmp_path / "files/app/site.json").read_bytes())
    assert (site["site"], site["tokens"]) == (SITE, str(tmp_path))


async def test_settings_of_the_demo_raise_no_warnings(tmp_path: Path) -> None:
    gateway = make_site(tmp_path, SITE, ISSUER)
    assert gateway.settings.warnings == ()
    assert gateway.settings.inactive == ()
    await gateway.aclose()


def test_every_rule_of_the_demo_has_something_to_do() -> None:
    from stagedoor import settings
    from stagedoor.core.caller import Caller
    from stagedoor.demo import RULES

    policy = settings.parse(f'[site]\nurl = "{SITE}"\n{RULES}').policy
    callers = {one.sub: Caller("demo", ISSUER, one.claims()) for one in PEOPLE}
    keys = ["index.html", "app/app.js", *LISTED]
    used = {
        one.rule.position
        for caller in callers.values()
        for key in keys
        for one in policy.explain(caller, key)
        if one.applies
    }
    assert used == set(range(len(policy.rules)))
    allowed = {
        who: {key for key in keys if type(policy.decide(caller, key)).__name__ == "Allow"}
        for who, caller in callers.items()
    }
    assert "courses/drafts/eclipse.png" in allowed["tess"] - allowed["ann"]
    assert "users/ann/notes.md" in allowed["ann"] - allowed["ben"] - allowed["tess"]
    assert {key.split("/")[0] for key in allowed["gil"]} == {"index.html", "app", "public", "users"}


def test_taken_port() -> None:
    with _listen(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            _listen(port)
        with _listen(None, port) as next_one:
            assert next_one.getsockname()[1] > port


# --- the whole


class Running:
    """`run` in a process of its own."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        code = f"import sys; from stagedoor.demo import run; sys.exit(run({port}, False))"
        environment = {**os.environ, "TMPDIR": str(folder), "HTTP_PROXY": "http://127.0.0.1:9", "COLUMNS": "40"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.text = ""

    def wait_until_it_is_there(self, seconds: float = 30.0) -> str:
        assert self.process.stdout is not None
        end = time.monotonic() + seconds
        while "Ctrl-C" not in self.text:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            some = os.read(self.process.stdout.fileno(), 65_536) if ready else b""
            assert some, f"the demo did not start: {self.text}"
            self.text += some.decode()
        found = re.search(r"http://127\.0\.0\.1:\d+", self.text)
        assert found
        return found[0]

    def end(self, name: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(name)
        out, err = self.process.communicate(timeout=15)
        return self.process.returncode, (out + err).decode()


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_demo_serves_and_leaves_nothing_behind(tmp_path: Path, name: signal.Signals) -> None:
    demo = Running(tmp_path)
    try:
        site = demo.wait_until_it_is_there()
        token_file = re.search(r"\$\(cat (\S+)\)", demo.text)
        assert token_file
        bearer = {"authorization": f"Bearer {Path(token_file[1]).read_text()}"}
        session = f"stagedoor-{urlsplit(site).port}"
        stale = {"cookie": f"{session}=eyJhbGciOiJIUzI1NiJ9.e30.AAAA", "sec-fetch-mode": "navigate"}
        with httpx.Client(base_url=site, trust_env=False) as client:
            assert "Stagedoor demo" in client.get("/").text
            assert client.get("/", headers=stale).status_code == 200  # the session of a demo that ran before
            old = client.get("/users/ann/notes.md", headers=stale)
            assert (old.status_code, "Max-Age=0" in old.headers["set-cookie"]) == (302, True)
            assert client.get("/users/ann/notes.md").status_code == 401
            assert client.get("/users/ann/notes.md", headers=bearer).status_code == 200
            assert client.get("/users/ben/essay.txt", headers=bearer).status_code == 403
            part = client.get("/courses/night-sky/listening.wav", headers={**bearer, "range": "bytes=100-199"})
            assert (part.status_code, len(part.content)) == (206, 100)
            deep = client.get("/users/ann/notes.md", headers={"accept": "text/html"})
            assert deep.headers["location"] == f"{site}/-/login?next=%2Fusers%2Fann%2Fnotes.md"
    finally:
        code, rest = demo.end(name)
    assert (code, rest) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_demo_that_is_ended_while_it_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = Running(tmp_path)
    end = time.monotonic() + 20
    while not list(tmp_path.iterdir()) and time.monotonic() < end:
        time.sleep(0.01)
    code, _ = demo.end()
    assert code == 0
    assert list(tmp_path.iterdir()) == []


def test_demo_says_which_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        demo = Running(tmp_path, taken.getsockname()[1])
        out, err = demo.process.communicate(timeout=20)
    assert demo.process.returncode == 1
    assert "try another port" in " ".join(err.decode().split())
    assert out == b""
