"""Chromium in front of the gateway: pictures, sound and video, sign-in, sessions, and pages that try to break out.

Three origins on this machine: the site, a frontend that `[cors] origins` lists, and a stranger that it does not list.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from stagedoor.keys.pass_keys import new_pair
from tests.helpers import services
from tests.helpers.pictures import png
from tests.helpers.servers import HOST, Gateway, free_port
from tests.helpers.support import key_set, rsa_signer, token

pytestmark = [
    pytest.mark.needs("chromium"),
    # Playwright's own event loop and pipes are collected late.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

ISSUER = "https://id.example.com/tenant"
SETTINGS = """
[site]
url = "$SITE"
store = "./files"
trust_html = $TRUST

[[issuers]]
name = "staff"
issuer = "https://id.example.com/tenant"
audience = ["web"]
jwks = "./jwks.json"

[[rules]]
path = "public/**"
allow = "anyone"

[[rules]]
path = "users/{sub}/**"
allow = "signed-in"

[cors]
origins = ["$FRONTEND"]

[passes]
key_id = "K1"
private_key = "file:private.pem"
"""

# What a page is asked to do; each answers with what came of it.
LOAD = """([kind, url]) => new Promise(done => {
  const node = document.createElement(kind);
  node.onerror = () => done('error');
  node.onload = () => done(`${node.naturalWidth}x${node.naturalHeight}`);
  node.onloadeddata = () => done(kind === 'video' ? `${node.videoWidth}x${node.videoHeight}` : `${node.duration} s`);
  node.preload = 'auto';
  node.muted = true;
  node.src = url;
  document.body.append(node);
})"""
SEEK = """([url, to]) => new Promise((done, failed) => {
  const node = new Audio(url);
  node.onloadedmetadata = () => { node.currentTime = to; };
  node.onseeked = () => done(node.currentTime);
  node.onerror = () => failed(node.error.message);
  node.preload = 'metadata';
})"""
FETCH = """async ([url, options]) => {
  try {
    const answer = await fetch(url, options);
    return {status: answer.status, type: answer.headers.get('content-type'), body: await answer.text()};
  } catch (error) {
    return {status: 0, error: error.name};
  }
}"""
RECORD = """async () => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 64, height: 48});
  const paint = canvas.getContext('2d');
  const recorder = new MediaRecorder(canvas.captureStream(25), {mimeType: 'video/webm;codecs=vp8'});
  const parts = [];
  recorder.ondataavailable = event => parts.push(event.data);
  const ended = new Promise(done => { recorder.onstop = done; });
  recorder.start();
  for (let step = 0; step < 20; step++) {
    paint.fillStyle = `hsl(${step * 18} 80% 50%)`;
    paint.fillRect(0, 0, 64, 48);
    await new Promise(done => setTimeout(done, 40));
  }
  recorder.stop();
  await ended;
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  return btoa(String.fromCharCode(...bytes));
}"""

EVIL = """
  document.cookie = 'marker=1; path=/';
  try { localStorage.marker = 1 } catch (e) {}
  new Image().src = '/public/marker.png?from=' + location.origin;
  fetch('/users/ann/diary.txt').then(a => a.text()).then(t => { new Image().src = '/public/marker.png?read=' + t });
  try { top.marked = true } catch (e) {}
"""
EVIL_HTML = f"<!doctype html><title>harmless</title><p id=seen>hello</p><script>{EVIL}</script>"
EVIL_HTML += "<img src=/none.png onerror=\"document.cookie='marker=2; path=/'\">"
EVIL_SVG = f"""<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="document.cookie='marker=3; path=/'">
<rect width="9" height="9"/><script><![CDATA[{EVIL}]]></script></svg>"""


def wav(seconds: int, rate: int = 48_000) -> bytes:
    """Stereo silence of 16 bits, too long for a browser to fetch whole before it plays (RIFF, WAVE_FORMAT_PCM)."""
    size = seconds * rate * 4
    head = b"".join(
        n.to_bytes(w, "little") for n, w in ((16, 4), (1, 2), (2, 2), (rate, 4), (rate * 4, 4), (4, 2), (16, 2))
    )
    return (
        b"RIFF"
        + (36 + size).to_bytes(4, "little")
        + b"WAVEfmt "
        + head
        + b"data"
        + size.to_bytes(4, "little")
        + bytes(size)
    )


def token_of(person: str) -> str:
    return token({"iss": ISSUER, "aud": "web", "sub": person, "exp": int(time.time()) + 3600})


class Frontend:
    """Pages of another origin. `/login` is the sign-in page of the site: it holds a token for Ann."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {"/": "<!doctype html><title>frontend</title><body>"}
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = pages.get(self.path.partition("?")[0])
                body = (page or "").encode()
                self.send_response(404 if page is None else 200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        port = free_port()
        self.origin = f"http://{HOST}:{port}"
        self._server = ThreadingHTTPServer((HOST, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def frontend() -> Iterator[Frontend]:
    frontend = Frontend()
    yield frontend
    frontend.close()


@pytest.fixture(scope="module")
def stranger() -> Iterator[Frontend]:
    stranger = Frontend()
    yield stranger
    stranger.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-background-networking", "--autoplay-policy=no-user-gesture-required"]
        chromium = started.chromium.launch(executable_path=services.program("chromium"), args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's files, and the keys of its issuer."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "jwks.json").write_bytes(key_set(rsa_signer()))
    (folder / "private.pem").write_bytes(new_pair().private)
    files: dict[str, bytes] = {
        "public/index.html": b"<!doctype html><title>the site</title><body>",
        "public/marker.png": png(1, 1),
        "public/evil.html": EVIL_HTML.encode(),
        "public/evil.svg": EVIL_SVG.encode(),
        "users/ann/evil.html": EVIL_HTML.encode(),
        "users/ann/evil.svg": EVIL_SVG.encode(),
        "users/ann/photo.png": png(7, 5),
        "users/ann/long.wav": wav(120),
        "users/ann/diary.txt": b"dear diary",
        "users/ben/photo.png": png(3, 2),
    }
    for name, content in files.items():
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def site(folder: Path, frontend: Frontend) -> Iterator[Gateway]:
    """A site whose pages are its owner's own, with a sign-in page elsewhere."""
    text = SETTINGS.replace("$TRUST", "true").replace("$FRONTEND", frontend.origin)
    gateway = Gateway(folder, f'{text}\n[login]\npage = "{frontend.origin}/login?kind=web"\n')
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def sandboxed(folder: Path, frontend: Frontend) -> Iterator[Gateway]:
    """A site that trusts no page that somebody put into its store, without a sign-in page."""
    gateway = Gateway(folder, SETTINGS.replace("$TRUST", "false").replace("$FRONTEND", frontend.origin))
    yield gateway
    gateway.stop()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def sign_in(page: Page, gateway: Gateway, person: str) -> None:
    """Turn a token into a session, as a script of this page does it."""
    options = {"method": "POST", "headers": {"Authorization": f"Bearer {token_of(person)}"}, "credentials": "include"}
    assert page.evaluate(FETCH, [f"{gateway.url}/-/session", options])["status"] == 204


def cookies(context: BrowserContext) -> dict[str, Any]:
    return {str(cookie.get("name")): cookie for cookie in context.cookies()}


# --- pictures, sound and video


@pytest.mark.parametrize("where", ["site", "frontend"])
def test_a_picture_loads_for_the_one_and_not_for_the_other(
    page: Page, site: Gateway, frontend: Frontend, where: str
) -> None:
    page.goto(f"{site.url}/public/index.html" if where == "site" else f"{frontend.origin}/")
    photo = ["img", f"{site.url}/users/ann/photo.png"]
    assert page.evaluate(LOAD, photo) == "error"  # nobody
    sign_in(page, site, "ben")
    assert page.evaluate(LOAD, photo) == "error"
    assert page.evaluate(LOAD, ["img", f"{site.url}/users/ben/photo.png"]) == "3x2"
    sign_in(page, site, "ann")
    assert page.evaluate(LOAD, photo) == "7x5"


def test_a_picture_loads_with_a_bare_token_in_a_cookie(page: Page, context: BrowserContext, site: Gateway) -> None:
    context.add_cookies([{"name": "token", "value": token_of("ann"), "url": site.url}])
    page.goto(f"{site.url}/public/index.html")
    assert page.evaluate(LOAD, ["img", "/users/ann/photo.png"]) == "7x5"
    assert page.evaluate(LOAD, ["img", "/users/ben/photo.png"]) == "error"


def test_a_page_of_another_site_cannot_show_it(page: Page, site: Gateway, stranger: Frontend) -> None:
    page.goto(f"{site.url}/public/index.html")
    sign_in(page, site, "ann")
    page.goto(stranger.origin.replace(HOST, "localhost"))  # to a browser another site, not only another origin
    assert page.evaluate(LOAD, ["img", f"{site.url}/users/ann/photo.png"]) == "error"


def test_sound_plays_from_where_the_listener_wants(page: Page, site: Gateway, frontend: Frontend) -> None:
    page.goto(f"{frontend.origin}/")
    sound, parts = f"{site.url}/users/ann/long.wav", list[tuple[int, str]]()
    assert page.evaluate(LOAD, ["audio", sound]) == "error"
    sign_in(page, site, "ann")
    assert page.evaluate(LOAD, ["audio", sound]) == "120 s"
    page.on("response", lambda answer: parts.append((answer.status, answer.headers.get("content-range", ""))))
    assert page.evaluate(SEEK, [sound, 110]) == pytest.approx(110)
    size = len(wav(120))
    starts = [int(extent.removeprefix("bytes ").partition("-")[0]) for status, extent in parts if status == 206]
    assert max(starts) > size // 2, parts  # it did not fetch what lies before
    assert all(extent.endswith(f"/{size}") for _, extent in parts)


def test_video_plays_for_the_one_and_not_for_the_other(page: Page, site: Gateway, folder: Path) -> None:
    page.goto(f"{site.url}/public/index.html")
    recorded = base64.b64decode(page.evaluate(RECORD))
    assert recorded[:4] == b"\x1a\x45\xdf\xa3"
    (folder / "files/users/ann/clip.webm").write_bytes(recorded)
    for person, seen in (("ben", "error"), ("ann", "64x48")):
        sign_in(page, site, person)
        assert page.evaluate(LOAD, ["video", "/users/ann/clip.webm"]) == seen


# --- sign-in


def test_a_deep_link_goes_to_the_sign_in_page_and_comes_back_unchanged(
    page: Page, site: Gateway, frontend: Frontend
) -> None:
    there = f"{site.url}/users/ann/diary.txt?a=1&b=%2F%20+&c=%C3%A9#not-sent"
    frontend.pages["/login"] = "<!doctype html><title>sign in</title><body>"
    page.goto(there)
    sent = there.partition("#")[0]
    assert page.url.partition("#")[0] == f"{frontend.origin}/login?kind=web&next={quote(sent, safe='')}"
    sign_in(page, site, "ann")
    page.evaluate("location = new URLSearchParams(location.search).get('next')")
    page.wait_for_url(f"{sent}**")
    assert page.inner_text("body") == "dear diary"


def test_a_script_gets_401_as_json_and_no_redirect(page: Page, site: Gateway, frontend: Frontend) -> None:
    for origin in (f"{site.url}/public/index.html", f"{frontend.origin}/"):
        page.goto(origin)
        got = page.evaluate(FETCH, [f"{site.url}/users/ann/diary.txt", {"credentials": "include"}])
        assert (got["status"], got["type"]) == (401, "application/problem+json")
        assert json.loads(got["body"])["code"] == "no-credential"


def test_a_listed_origin_turns_its_token_into_a_cookie_that_no_script_sees(
    page: Page, context: BrowserContext, site: Gateway, frontend: Frontend
) -> None:
    page.goto(f"{frontend.origin}/")
    sign_in(page, site, "ann")
    session = cookies(context)[f"stagedoor-{urlsplit(site.url).port}"]
    assert (session["httpOnly"], session["sameSite"], session["path"]) == (True, "Lax", "/")
    assert page.evaluate("document.cookie") == ""
    got = page.evaluate(FETCH, [f"{site.url}/users/ann/diary.txt", {"credentials": "include"}])
    assert (got["status"], got["body"]) == (200, "dear diary")
    page.goto(f"{site.url}/public/index.html")
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate(FETCH, ["/users/ann/diary.txt", {}])["body"] == "dear diary"


def test_an_origin_that_is_not_listed_makes_no_session_and_reads_nothing(
    page: Page, context: BrowserContext, site: Gateway, stranger: Frontend
) -> None:
    page.goto(f"{stranger.origin}/")
    bearer = {"Authorization": f"Bearer {token_of('ann')}"}
    session = f"{site.url}/-/session"
    options = {"method": "POST", "headers": bearer, "credentials": "include"}
    assert page.evaluate(FETCH, [session, options]) == {"status": 0, "error": "TypeError"}
    # Without the browser's own question first, the site itself refuses.
    refused = httpx.post(session, headers={**bearer, "origin": stranger.origin}, trust_env=False)
    assert (refused.status_code, refused.json()["code"]) == (403, "origin")
    assert "set-cookie" not in refused.headers
    assert cookies(context) == {}
    page.goto(f"{site.url}/public/index.html")
    sign_in(page, site, "ann")
    page.goto(f"{stranger.origin}/")
    got = page.evaluate(FETCH, [f"{site.url}/users/ann/diary.txt", {"credentials": "include"}])
    assert got == {"status": 0, "error": "TypeError"}


# --- a page of another origin that has URLs signed


def ask_for_url(page: Page, site: Gateway, person: str, file: str) -> dict[str, Any]:
    """What a script of this page is told; it sends what makes a browser ask the site first."""
    headers = {"Authorization": f"Bearer {token_of(person)}", "Content-Type": "application/json"}
    options = {"method": "POST", "headers": headers, "body": json.dumps({"file": file})}
    told: dict[str, Any] = page.evaluate(FETCH, [f"{site.url}/-/urls", options])
    return told


def test_a_page_of_a_listed_origin_shows_a_picture_by_its_signed_url(
    page: Page, context: BrowserContext, site: Gateway, frontend: Frontend
) -> None:
    page.goto(f"{frontend.origin}/")
    assert page.evaluate(LOAD, ["img", f"{site.url}/users/ann/photo.png"]) == "error"
    told = ask_for_url(page, site, "ann", "users/ann/photo.png")
    assert told["status"] == 201
    signed = json.loads(told["body"])["signedUrl"]
    assert page.evaluate(LOAD, ["img", signed]) == "7x5"
    assert page.evaluate(FETCH, [signed, {}])["status"] == 200
    assert page.evaluate(LOAD, ["img", signed.replace("photo", "other")]) == "error"
    assert cookies(context) == {}

    refused = ask_for_url(page, site, "ben", "users/ann/photo.png")
    assert (refused["status"], json.loads(refused["body"])["code"]) == (403, "denied")


def test_a_page_of_an_origin_that_is_not_listed_has_nothing_signed(
    page: Page, context: BrowserContext, site: Gateway, stranger: Frontend
) -> None:
    page.goto(f"{site.url}/public/index.html")
    sign_in(page, site, "ann")
    page.goto(f"{stranger.origin}/")
    assert ask_for_url(page, site, "ann", "users/ann/photo.png") == {"status": 0, "error": "TypeError"}
    # What a browser sends without asking first is refused by the site itself, whoever is signed in.
    with page.expect_response("**/-/urls") as answer:
        form = {"method": "POST", "mode": "no-cors", "credentials": "include", "body": '{"file":"users/ann/photo.png"}'}
        page.evaluate(FETCH, [f"{site.url}/-/urls", form])
    assert answer.value.status == 403


# --- pages that try to break out


class Watch:
    """What a page did: whom it asked, what it said, and whether its script got through to the site's origin."""

    def __init__(self, page: Page) -> None:
        self.asked: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))
        self._page = page

    def broke_out(self) -> bool:
        return "marker" in cookies(self._page.context) or any("/public/marker.png?" in url for url in self.asked)


@pytest.mark.parametrize("name", ["evil.html", "evil.svg"])
@pytest.mark.parametrize("where", ["public", "users/ann"])
def test_an_uploaded_page_runs_no_script_in_the_sites_origin(
    browser: Browser, site: Gateway, sandboxed: Gateway, where: str, name: str
) -> None:
    def broke_out(gateway: Gateway) -> bool:
        context = browser.new_context()
        try:
            context.add_cookies([{"name": "token", "value": token_of("ann"), "url": gateway.url}])
            page = context.new_page()
            watch = Watch(page)
            answer = page.goto(f"{gateway.url}/{where}/{name}", wait_until="load")
            assert answer is not None
            assert answer.status == 200
            if gateway is sandboxed:
                assert watch.said, "the browser says in the console that it blocked a script"
            else:
                page.wait_for_function("document.cookie.includes('marker')")
            return watch.broke_out()
        finally:
            context.close()

    assert broke_out(site)  # where the owner trusts pages; so the script does what it says
    assert not broke_out(sandboxed)


@pytest.mark.parametrize("tag", ["<iframe src={}></iframe>", "<object data={}></object>", "<embed src={}>"])
@pytest.mark.parametrize("name", ["evil.html", "evil.svg"])
def test_nor_does_it_inside_a_page_of_the_frontend(
    browser: Browser, frontend: Frontend, site: Gateway, sandboxed: Gateway, tag: str, name: str
) -> None:
    def broke_out(gateway: Gateway) -> bool:
        context = browser.new_context()
        try:
            context.add_cookies([{"name": "token", "value": token_of("ann"), "url": gateway.url}])
            frontend.pages["/frame"] = "<!doctype html><body>" + tag.format(f"{gateway.url}/users/ann/{name}")
            page = context.new_page()
            watch = Watch(page)
            with page.expect_response(f"**/users/ann/{name}") as answer:
                page.goto(f"{frontend.origin}/frame", wait_until="load")
            assert answer.value.status == 200
            end = time.monotonic() + (0.3 if gateway is sandboxed else 15)
            while not watch.broke_out() and time.monotonic() < end:
                page.wait_for_timeout(50)
            return watch.broke_out()
        finally:
            context.close()

    assert broke_out(site)
    assert not broke_out(sandboxed)


def test_a_sandboxed_picture_is_still_a_picture(context: BrowserContext, page: Page, sandboxed: Gateway) -> None:
    context.add_cookies([{"name": "token", "value": token_of("ann"), "url": sandboxed.url}])
    page.goto(f"{sandboxed.url}/users/ann/photo.png")
    assert page.evaluate(LOAD, ["img", "/users/ann/evil.svg"]) == "9x9"


# --- error pages


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_error_pages_are_pages(browser: Browser, sandboxed: Gateway, width: int, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
    )
    try:
        page = context.new_page()
        watch = Watch(page)
        ann = token_of("ann")
        for target, signed_in, status, title in (
            ("/users/ann/photo.png", False, 401, "Please sign in"),
            ("/users/ben/photo.png", True, 403, "This file is not shared with you"),
            ("/users/ann/none.png", True, 404, "There is no such file"),
            ("/users/ann/%ff", True, 400, "This address cannot be read"),
        ):
            context.clear_cookies()
            if signed_in:
                context.add_cookies([{"name": "token", "value": ann, "url": sandboxed.url}])
            answer = page.goto(sandboxed.url + target)
            assert answer is not None
            assert (answer.status, page.title(), page.inner_text("h1")) == (status, title, title)
            assert page.inner_text(".site") == urlsplit(sandboxed.url).netloc
            look = "getComputedStyle(document.querySelector('main')).borderTopLeftRadius"
            assert page.evaluate(look) == "14px"  # our style sheet is let through by our own policy
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert paper == ("rgb(22, 21, 19)" if scheme == "dark" else "rgb(246, 245, 242)")
            assert len(page.screenshot()) > 2000  # not a blank sheet
        assert [text for text in watch.said if "Content Security Policy" in text] == []
    finally:
        context.close()


def test_an_error_page_offers_to_sign_in_where_a_bad_token_stands_in_the_way(
    context: BrowserContext, page: Page, site: Gateway, frontend: Frontend
) -> None:
    frontend.pages["/login"] = "<!doctype html><title>sign in</title><body>"
    context.add_cookies([{"name": "token", "value": "no-token", "url": site.url}])
    page.goto(f"{site.url}/users/ann/diary.txt")
    assert page.inner_text("h1") == "Please sign in"
    page.get_by_role("link", name="Sign in").click()
    page.wait_for_url(f"{frontend.origin}/login?**")
    assert page.url.endswith(f"next={quote(f'{site.url}/users/ann/diary.txt', safe='')}")
