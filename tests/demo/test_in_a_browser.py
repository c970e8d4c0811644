"""The demo in a real browser: sign-in and sign-out, pictures, sound, deep links."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.demo.test_demo import Running
from tests.helpers import services

pytestmark = [
    pytest.mark.needs("chromium"),
    # Playwright's own event loop and pipes are collected late.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    demo = Running(tmp_path_factory.mktemp("demo"))
    try:
        yield demo.wait_until_it_is_there()
    finally:
        demo.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=services.program("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


WIDE = pytest.param(1280, marks=pytest.mark.thorough("4 s, and what fits a narrow page fits a wide one"))


@pytest.fixture(params=[WIDE, 390])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": request.param, "height": 844})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    yield opened
    context.close()
    assert faults == []


def sign_in(page: Page, site: str, person: str) -> None:
    page.goto(f"{site}/")
    page.wait_for_selector("body[data-ready]")
    page.click("#sign-in")
    page.click(f"button[value={person}]")
    page.wait_for_url(f"{site}/")
    page.wait_for_selector("body[data-ready]")


def card(page: Page, key: str) -> Locator:
    return page.locator(f'[data-key="{key}"]')


def test_nobody_sees_only_what_is_public(page: Page, site: str) -> None:
    page.goto(f"{site}/")
    page.wait_for_selector("body[data-ready]")
    assert card(page, "public/harbour.png").get_attribute("data-status") == "200"
    assert card(page, "users/ann/lanterns.png").get_attribute("data-status") == "401"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_ann_sees_her_picture_and_not_bens(page: Page, site: str) -> None:
    sign_in(page, site, "ann")
    picture = card(page, "users/ann/lanterns.png").locator("img")
    picture.scroll_into_view_if_needed()
    page.wait_for_function("node => node.complete && node.naturalWidth > 0", arg=picture.element_handle())
    closed = card(page, "users/ben/dunes.png")
    assert closed.get_attribute("data-status") == "403"
    assert closed.locator("img").count() == 0
    assert "rules[7]" in closed.inner_text()
    assert "Ann Archer may read 14 of 23 files" in page.inner_text("#status")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.cookie") == ""  # out of the reach of scripts


def test_one_question_says_what_a_visitor_may_see_and_none_is_refused(page: Page, site: str) -> None:
    answers: list[tuple[str, int]] = []
    page.on("response", lambda answer: answers.append((answer.url.removeprefix(site), answer.status)))
    page.goto(f"{site}/")
    page.wait_for_selector("body[data-ready]")
    assert page.locator(".locked").count() == 20
    assert set(page.locator(".closed .reason").all_inner_texts()) == {"Sign in to see whether it is for you"}
    assert [url for url, _ in answers].count("/-/s3objects") == 1
    assert [answer for answer in answers if answer[1] >= 400] == []
    answers.clear()
    sign_in(page, site, "ann")
    assert page.locator("[data-status='403'] .locked").count() == 9
    assert all(page.locator("[data-status='403'] .reason").all_inner_texts())
    assert [answer for answer in answers if answer[1] >= 400] == []
    shown = page.eval_on_selector_all(
        "[data-key]", "all => all.map(one => [one.dataset.key, Number(one.dataset.status)])"
    )
    assert [page.request.head(f"{site}/{key}").status for key, _ in shown] == [status for _, status in shown]


def test_a_session_of_an_earlier_demo_closes_nothing(page: Page, site: str) -> None:
    page.context.add_cookies([{"name": f"stagedoor-{urlsplit(site).port}", "value": "old", "url": site}])
    page.goto(f"{site}/")
    page.wait_for_selector("body[data-ready]")
    assert card(page, "public/harbour.png").get_attribute("data-status") == "200"
    assert card(page, "users/ann/lanterns.png").get_attribute("data-status") == "401"


def test_why_says_which_rule_decided_and_works_by_keyboard(page: Page, site: str) -> None:
    sign_in(page, site, "ann")
    button = card(page, "courses/drafts/eclipse.png").get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert "rules[4] denies 'courses/drafts/**'" in dialog.inner_text()
    assert "this decides" in dialog.locator("[aria-current]").inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert button.evaluate("node => node === document.activeElement")


def test_somebody_else_signs_in_and_sees_other_files(page: Page, site: str) -> None:
    sign_in(page, site, "ben")
    assert "Ben Baker" in page.inner_text("#people [aria-current]")
    page.click("#somebody-else")
    page.click("button[value=tess]")
    page.wait_for_url(f"{site}/")
    page.wait_for_selector("body[data-ready]")
    assert page.inner_text("#me strong") == "tess"
    assert card(page, "courses/drafts/eclipse.png").get_attribute("data-status") == "200"
    assert card(page, "users/ben/dunes.png").get_attribute("data-status") == "403"


def test_sign_out_ends_it_here_and_at_the_provider(page: Page, site: str) -> None:
    sign_in(page, site, "ann")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Sign out").press("Enter")
    page.wait_for_url(f"{site}/-/logout")
    assert page.inner_text("h1") == "You are signed out"
    at_provider = [url for url in asked if urlsplit(url).path == "/logout"]
    assert [dict(parse_qsl(urlsplit(url).query))["post_logout_redirect_uri"] for url in at_provider] == [page.url]
    assert page.request.get(f"{site}/users/ann/notes.md").status == 401
    page.get_by_role("link", name="first page").click()
    page.wait_for_selector("body[data-ready]")
    assert page.is_visible("#sign-in")
    assert not page.is_visible("#sign-out")
    assert card(page, "users/ann/lanterns.png").get_attribute("data-status") == "401"


def test_sound_can_be_wound_forward(page: Page, site: str) -> None:
    statuses: list[int] = []  # from the start: what is in the browser's cache is not asked for again
    page.on("response", lambda answer: statuses.append(answer.status) if answer.url.endswith(".wav") else None)
    sign_in(page, site, "ann")
    sound = card(page, "courses/night-sky/listening.wav").locator("audio")
    at = sound.evaluate(
        """node => new Promise((done, failed) => {
            const fresh = new Audio(node.src);
            fresh.onloadedmetadata = () => { fresh.currentTime = 12 };
            fresh.onseeked = () => done(fresh.currentTime);
            fresh.onerror = () => failed(fresh.error.message);
            fresh.preload = "auto"; fresh.load();
        })"""
    )
    assert at == pytest.approx(12)
    assert 206 in statuses


def test_deep_link_comes_back_to_the_file(page: Page, site: str) -> None:
    page.goto(f"{site}/users/ann/notes.md?download-not=1")
    page.click("button[value=ann]")
    page.wait_for_url(f"{site}/users/ann/notes.md?download-not=1")
    assert "Betelgeuse" in page.content()


def test_sign_in_and_sign_out_work_without_scripts(browser: Browser, site: str) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{site}/")
        page.click("#sign-in")
        page.click("button[value=ann]")
        page.wait_for_url(f"{site}/")
        assert context.request.get(f"{site}/users/ann/notes.md").status == 200
        page.get_by_role("link", name="sign-out").click()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{site}/-/logout")
        assert context.request.get(f"{site}/users/ann/notes.md").status == 401


def test_terminal_commands_can_be_copied_and_work(page: Page, site: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sign_in(page, site, "gil")
    copied = ["set -e", "set -o pipefail"]
    for button in page.get_by_role("button", name="Copy:").all():
        button.click()
        copied.append(page.evaluate("navigator.clipboard.readText()").replace("curl ", "curl -sS --noproxy '*' "))
    ran = subprocess.run(["bash", "-c", "\n".join(copied)], capture_output=True, text=True, check=True)
    assert re.findall(r"^HTTP/1.1 (\d+)", ran.stdout, re.MULTILINE) == ["200", "403", "401"]
    assert '"allowed":false' in ran.stdout
