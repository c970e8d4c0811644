"""A film in pieces: Chromium plays a playlist and its segments by signed cookies alone, with no token in any URL."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from stagedoor.keys.pass_keys import new_pair
from tests.e2e.test_browser import token_of
from tests.helpers import services
from tests.helpers.servers import Gateway, poll
from tests.helpers.support import key_set, rsa_signer

pytestmark = [
    pytest.mark.needs("chromium"),
    # Playwright's own event loop and pipes are collected late.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

MEDIA = Path(__file__).parents[1] / "media" / "hls"
FILMS = ("courses/7/film", "courses/8/film", "courses/9/film")
SETTINGS = """
[site]
url = "$SITE"
store = "./files"
trust_html = true

[[issuers]]
issuer = "https://id.example.com/tenant"
audience = ["web"]
jwks = "./jwks.json"

[[rules]]
path = "page.html"
allow = "anyone"

[[rules]]
path = "courses/7/**"
allow = "signed-in"

[[rules]]
path = "courses/8/**"
allow = "signed-in"

[passes]
key_id = "K1"
private_key = "file:private.pem"
"""
# Ask for cookies with the token that the page holds, as a frontend does; then the token is not needed any more.
COOKIES = """([token, prefix]) => fetch('/-/cookies', {
  method: 'POST',
  headers: {authorization: `Bearer ${token}`, 'content-type': 'application/json'},
  body: JSON.stringify({prefix}),
}).then(answer => answer.status)"""
PLAY = """([url, from]) => new Promise(done => {
  const film = Object.assign(document.createElement('video'), {muted: true, playsInline: true});
  film.onerror = () => done(`error ${film.error.code}`);
  film.onloadedmetadata = () => { film.currentTime = from; film.play(); };
  film.ontimeupdate = () => { if (film.currentTime > from + 0.3) done(`${film.videoWidth}x${film.videoHeight}`); };
  film.src = url;
  document.body.append(film);
})"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("hls")
    (folder / "jwks.json").write_bytes(key_set(rsa_signer()))
    (folder / "private.pem").write_bytes(new_pair("ec").private)
    for film in FILMS:
        shutil.copytree(MEDIA, folder / "files" / film)
    (folder / "files" / "page.html").write_text("<!doctype html><title>films</title><body>")
    gateway = Gateway(folder, SETTINGS)
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=services.program("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, site: Gateway) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site.url}/page.html")
    yield page
    context.close()


def play(page: Page, site: Gateway, film: str, start: float = 0.0) -> Any:
    return page.evaluate(PLAY, [f"{site.url}/{film}/lesson.m3u8", start])


def lines(site: Gateway, film: str) -> list[dict[str, Any]]:
    """What the access log says of a film's files."""
    found = [json.loads(line) for line in site.out.splitlines()]
    return [line for line in found if line["path"].startswith(f"/{film}/")]


def test_a_film_plays_by_cookies_and_its_urls_hold_nothing(page: Page, site: Gateway) -> None:
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    assert page.evaluate(COOKIES, [token_of("ann"), "courses/7/"]) == 204
    assert play(page, site, FILMS[0]) == "160x90"
    asked = [url for url in urls if "/courses/7/" in url]
    assert {url.rpartition("/")[2] for url in asked} >= {"lesson.m3u8", "part0.ts"}
    assert not any("?" in url for url in asked)
    served = poll(lambda: lines(site, FILMS[0]), 5, "the access log")
    assert {line["rule"] for line in served} == {"pass K1"}
    assert {line["status"] for line in served} <= {200, 206}


def test_a_viewer_jumps_to_a_later_segment(page: Page, site: Gateway) -> None:
    page.evaluate(COOKIES, [token_of("ann"), "courses/7/"])
    assert play(page, site, FILMS[0], 6.5) == "160x90"


def test_two_courses_at_once_have_cookies_of_their_own(page: Page, site: Gateway) -> None:
    assert page.evaluate(COOKIES, [token_of("ann"), ["courses/7/", "courses/8/"]]) == 204
    kept = {cookie["path"] for cookie in page.context.cookies() if cookie["name"].startswith("CloudFront-")}
    assert kept == {"/courses/7/", "/courses/8/"}
    assert play(page, site, FILMS[0]) == "160x90"
    assert play(page, site, FILMS[1]) == "160x90"


def test_without_cookies_nothing_plays(page: Page, site: Gateway) -> None:
    assert str(play(page, site, FILMS[0])).startswith("error")


def test_cookies_of_one_course_do_not_open_another(page: Page, site: Gateway) -> None:
    page.evaluate(COOKIES, [token_of("ann"), "courses/7/"])
    assert str(play(page, site, FILMS[1])).startswith("error")
    assert page.evaluate(COOKIES, [token_of("ann"), "courses/9/"]) == 403, "no rule lets her read that one"


def test_scripts_cannot_read_the_cookies(page: Page) -> None:
    page.evaluate(COOKIES, [token_of("ann"), "courses/7/"])
    assert page.evaluate("document.cookie") == ""


def test_moved_to_another_path_the_cookies_open_nothing(page: Page, site: Gateway) -> None:
    page.evaluate(COOKIES, [token_of("ann"), "courses/7/"])
    stolen = {str(cookie["name"]): str(cookie["value"]) for cookie in page.context.cookies()}
    with httpx.Client(cookies=stolen) as client:
        assert client.get(f"{site.url}/{FILMS[0]}/part0.ts").status_code == 200
        refused = client.get(f"{site.url}/{FILMS[1]}/part0.ts")
    assert refused.status_code == 403
    assert "<Code>AccessDenied</Code>" in refused.text
