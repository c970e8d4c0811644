"""The demo in a real browser: sign-in, pictures, sound, deep links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

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


@pytest.fixture(params=[1280, 390])
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


def test_teacher_sees_the_drafts_after_a_switch(page: Page, site: str) -> None:
    sign_in(page, site, "ben")
    page.get_by_role("button", name="Tess Turner").click()
    page.click("button[value=tess]")
    page.wait_for_url(f"{site}/")
    page.wait_for_selector("body[data-ready]")
    assert page.inner_text("#me strong") == "tess"
    assert card(page, "courses/drafts/eclipse.png").get_attribute("data-status") == "200"
    assert card(page, "users/ben/dunes.png").get_attribute("data-status") == "403"


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
    page.wait_for_selector("body[data-ready]")
    assert "/users/ann/notes.md" in page.inner_text("#notice")
    page.click("#notice-button")
    page.click("button[value=ann]")
    page.wait_for_url(f"{site}/users/ann/notes.md?download-not=1")
    assert "Betelgeuse" in page.content()


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "\\\\evil.example"]
)
def test_next_never_leads_elsewhere(page: Page, site: str, target: str) -> None:
    page.goto(f"{site}/?" + "next=" + target)
    page.wait_for_selector("body[data-ready]")
    assert page.locator("#notice").is_hidden()


@pytest.mark.parametrize("path", ["/.//evil.example/", "//evil.example/", "/%2e//evil.example/"])
def test_next_stays_at_the_site_whatever_its_path_looks_like(page: Page, site: str, path: str) -> None:
    page.goto(f"{site}/?next={quote(site + path, safe='')}")
    page.wait_for_selector("body[data-ready]")
    page.click("#notice-button")
    page.click("button[value=ann]")
    page.wait_for_url(f"{site}//evil.example/")


def test_sign_in_that_started_elsewhere_is_not_finished(page: Page, site: str) -> None:
    page.goto(f"{site}/?code=abc&state=def")
    page.wait_for_selector("body[data-ready]")
    assert "did not start in this tab" in page.inner_text("#notice")
    assert page.url == f"{site}/"


def test_terminal_commands_carry_a_token_that_can_be_copied(page: Page, site: str, tmp_path: Path) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sign_in(page, site, "gil")
    page.get_by_role("button", name="Copy: Keep the token in a variable").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("T=ey")
    assert copied.count(".") == 2
