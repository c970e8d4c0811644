"""Sign-in tried for real: what people do, with three browser engines, at three identity providers.

Which test runs where stands in `sign_in_matrix`, and what came of it is printed at the end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from tests.e2e import test_renewal
from tests.helpers import engines, sign_in_matrix
from tests.helpers.engines import Profile, Tab, text, until, until_text
from tests.helpers.pictures import png
from tests.helpers.servers import HOST, Gateway, Server, environment, free_port, poll
from tests.helpers.sign_in_matrix import PAGE, SCENARIOS
from tests.helpers.stages import (
    GO,
    PICTURES,
    STATUS,
    WAITING,
    Stage,
    asked,
    counts,
    faketime,
    parametrize,
    pictures_page,
    session_name,
)

TOML = """
[site]
url = "$SITE"
store = "./files"
trust_html = true
$MORE

[[issuers]]
name = "staff"
$ISSUER

[[rules]]
path = "public/**"
allow = "anyone"

[[rules]]
path = "users/{sub}/**"
allow = "signed-in"

[login]
issuer = "staff"
scopes = $SCOPES
session = "$SESSION"

[gateway]
$TLS
"""
SHORT = 3
"""Seconds of a session that ends while the pictures load."""
ODD = "users/ann/Über 1+2 (a&b)=c;d,e'f!~%41 ä.html"
"""A key; `%41` are three characters of it."""
# Selenium warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:selenium.*")


class SignInStage(Stage):
    """Its sites: `main`, or one with `short` sessions, that starts `late`, whose clock is `ahead` or `behind`."""

    KINDS = ("main", "short", "late", "ahead", "behind")
    SETTINGS = TOML

    def files(self) -> Iterator[tuple[str, bytes]]:
        for person in ("ann", "ben"):
            for n in range(PICTURES):
                yield f"users/{person}/{n}.html", f"<!doctype html><title>{n}</title><p>page {n} of {person}".encode()
                yield f"users/{person}/p{n}.png", png(8, 8)
        yield ODD, b"<!doctype html><meta charset=utf-8><p id=said>the odd page</p>"
        yield "users/ann/pictures.html", pictures_page()
        yield "public/waiting.html", WAITING.encode()

    def settings(self, kind: str, text: str) -> str:
        return text.replace("$SESSION", f"{SHORT}s" if kind == "short" else "8h")

    def env(self, kind: str) -> Mapping[str, str]:
        clock = {"ahead": "+1h", "behind": "-1h"}.get(kind)
        return {**faketime(), "FAKETIME": clock} if clock else {}


STAGE = SignInStage


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, faketime=metafunc.function.__name__ == "test_wrong_clock")


# --- the scenarios


def test_first_sign_in(stage: Stage, profile: Profile) -> None:
    tab, site = profile.tab(), stage.site()
    stage.sign_in(tab, f"{site.url}/users/ann/1.html")
    until_text(tab, "page 1 of ann")
    assert tab.url() == f"{site.url}/users/ann/1.html"
    assert session_name(site) in profile.cookies()
    assert session_name(site) not in tab.script("document.cookie")
    assert tab.script("fetch('/-/whoami').then(answer => answer.json())")["sub"] == "ann"
    tab.goto(f"{site.url}/users/ann/2.html")
    assert "page 2 of ann" in text(tab)
    tab.goto(f"{site.url}/users/ben/1.html")
    assert "ann" in until_text(tab, "This file is not shared with you")


def test_deep_link(stage: Stage, profile: Profile) -> None:
    tab, site = profile.tab(), stage.site()
    link = f"{site.url}/{quote(ODD, safe='/+()&=;,!~')}?x=a%2Fb&y=%C3%BC+1&next=//elsewhere.example&state=s&code=c&z="
    stage.sign_in(tab, link)
    until_text(tab, "the odd page")
    assert tab.url() == link


def test_thirty_tabs(stage: Stage, profile: Profile) -> None:
    site, first = stage.site(), profile.tab()
    if stage.provider.remembers:  # as after a night: the session is over, the provider's is not
        stage.sign_in(first, f"{site.url}/users/ann/1.html")
        until_text(first, "page 1 of ann")
        profile.forget_cookie(session_name(site))
    tabs = [first, *(profile.tab() for _ in range(29))]
    for n, tab in enumerate(tabs):
        tab.goto(f"{site.url}/public/waiting.html#{n}")
    first.script(GO)
    for n, tab in enumerate(tabs):
        came_or_asked(stage, tab, f"page {n} of ann", 3 * engines.PATIENCE)  # thirty at once are slow, and so is CI
    for n, tab in enumerate(tabs):
        arrive(stage, tab, f"page {n} of ann")
        assert tab.url() == f"{site.url}/users/ann/{n}.html"


def arrive(stage: Stage, tab: Tab, wanted: str) -> None:
    """Fill in the form until a tab shows its page: twice at most, where other tabs have displaced its sign-in."""
    for _ in range(3):
        came_or_asked(stage, tab, wanted)
        if wanted in text(tab):
            return
        tab.script("void (window.filledIn = true)")
        stage.provider.sign_in(tab, "ann")
        until(tab, lambda: is_new(tab), "a page after the form")
    raise AssertionError(f"{tab.url()} asks again and again")


def came_or_asked(stage: Stage, tab: Tab, wanted: str, seconds: float = engines.PATIENCE) -> None:
    until(tab, lambda: wanted in text(tab) or stage.provider.asks(tab), wanted, seconds)


def is_new(tab: Tab) -> bool:
    try:
        return tab.script("window.filledIn === undefined") is True
    except engines.Busy:
        return False


def test_expiry(stage: Stage, profile: Profile) -> None:
    tab, site = profile.tab(), stage.site("short")
    stage.sign_in(tab, f"{site.url}/users/ann/pictures.html")
    said = until_text(tab, "refused")
    until(tab, lambda: sum(counts(text(tab))) == PICTURES, "all pictures")
    shown, refused = counts(text(tab))
    assert shown > 0
    assert refused > 0, said
    assert tab.url() == f"{site.url}/users/ann/pictures.html"
    assert tab.script(STATUS.format("'p1.png?again'")) == 401
    lines = poll(lambda: [line for line in asked(site) if "p1.png" in line["path"]], 5, "a line of the log")
    assert {line["status"] for line in lines} <= {200, 401}
    signs = [line for line in asked(site) if line["path"] == "/-/login"]
    assert len(signs) == 1  # pictures do not begin one
    tab.click("a")
    if not stage.provider.remembers:
        stage.answer_form(tab)
    until_text(tab, "page 0 of ann")
    assert tab.url() == f"{site.url}/users/ann/0.html"


def sign_out(stage: Stage, tab: Tab) -> None:
    tab.goto(f"{stage.site().url}/-/logout")
    tab.click("form button")
    stage.provider.agree_to_sign_out(tab)
    until_text(tab, "You are signed out")
    assert tab.url() == f"{stage.site().url}/-/logout"


def test_sign_out(stage: Stage, profile: Profile) -> None:
    tab, site = profile.tab(), stage.site()
    stage.sign_in(tab, f"{site.url}/users/ann/1.html")
    until_text(tab, "page 1 of ann")
    sign_out(stage, tab)
    name = session_name(site)
    assert {one for one in profile.cookies() if "stagedoor" in one} <= {f"{name}-done"}  # for a minute, for circles
    tab.goto(f"{site.url}/users/ann/1.html")
    until(tab, lambda: stage.provider.asks(tab), "the provider's form")


def test_another_person(stage: Stage, profile: Profile) -> None:
    tab, site = profile.tab(), stage.site()
    stage.sign_in(tab, f"{site.url}/users/ann/1.html")
    until_text(tab, "page 1 of ann")
    assert tab.script(STATUS.format("'/users/ann/p1.png'")) == 200
    sign_out(stage, tab)
    stage.sign_in(tab, f"{site.url}/users/ann/1.html", "ben")
    assert "ben" in until_text(tab, "This file is not shared with you")
    tab.goto(f"{site.url}/users/ben/1.html")
    assert "page 1 of ben" in text(tab)
    assert tab.script(STATUS.format("'/users/ann/p1.png'")) == 403
    tab.goto(f"{site.url}/users/ann/1.html")
    tab.click(".button")  # sign in as somebody else
    stage.answer_form(tab, "ann")
    until_text(tab, "page 1 of ann")
    assert tab.script(STATUS.format("'/users/ben/p1.png'")) == 403


def test_no_cookies(stage: Stage) -> None:
    profile, site = stage.profile(cookies=False), stage.site()
    tab = profile.tab()
    if stage.cell.engine == "chromium":
        engines.refuse_cookies(tab, session_name(site))
    tab.goto(f"{site.url}/users/ann/3.html")
    for _ in range(1 if stage.provider.remembers else 2):  # the sign-in is begun again once by itself
        until(tab, lambda: stage.provider.asks(tab), "a form")
        tab.script("void (window.filledIn = true)")
        stage.provider.sign_in(tab, "ann")
        until(tab, lambda: is_new(tab), "a page after the form")
    until_text(tab, "let it keep cookies of this site")
    until(tab, lambda: tab.url().startswith(f"{site.url}/-/callback?"), "the address of the callback")
    profile.close()


def test_foreign_frame(stage: Stage, profile: Profile, tmp_path: Path) -> None:
    tab, site, port = profile.tab(), stage.site(), free_port()
    framed = f'<!doctype html><title>elsewhere</title><iframe width=900 height=600 src="{site.url}/users/ann/4.html">'
    (tmp_path / "index.html").write_text(framed, encoding="utf-8")
    command = [sys.executable, "-m", "http.server", str(port), "--bind", HOST]
    elsewhere = Server(command, tmp_path, environment(tmp_path, PYTHONUNBUFFERED="1"), "elsewhere")
    try:
        elsewhere.until(lambda: "Serving HTTP" in elsewhere.out)
        tab.goto(f"http://localhost:{port}/")
        assert "Please sign in" in tab.text_in_frame()
        tab.click_in_frame("a")
        stage.answer_form(tab)
        until_text(tab, "page 4 of ann")
        assert tab.url() == f"{site.url}/users/ann/4.html"
    finally:
        elsewhere.stop()


def test_back_after_sign_out(stage: Stage, profile: Profile) -> None:
    tab, site = profile.tab(), stage.site()
    stage.sign_in(tab, f"{site.url}/users/ann/5.html")
    until_text(tab, "page 5 of ann")
    tab.goto(f"{site.url}/users/ann/6.html")
    sign_out(stage, tab)
    for _ in range(8):
        tab.script("void setTimeout(() => history.back())")
        time.sleep(0.5)
        assert "of ann" not in text(tab), tab.url()


def test_wrong_clock(stage: Stage, profile: Profile) -> None:
    tab = profile.tab()
    stage.sign_in(tab, f"{stage.site('behind').url}/users/ann/1.html")
    until_text(tab, "clocks")
    tab.goto("about:blank")
    other = stage.site("ahead")
    tab.goto(f"{other.url}/users/ann/1.html")
    if not stage.provider.remembers:
        stage.answer_form(tab)
    until(tab, lambda: "clocks" in text(tab) or "page 1 of ann" in text(tab), "clocks, or no harm")


def test_provider_down(stage: Stage, profile: Profile) -> None:
    known, site = profile.tab(), stage.site()
    stage.sign_in(known, f"{site.url}/users/ann/1.html")
    until_text(known, "page 1 of ann")
    stranger = stage.profile()
    begun = stranger.tab()
    begun.goto(f"{site.url}/users/ben/7.html")
    until(begun, lambda: stage.provider.asks(begun), "the provider's form")
    stage.provider.stop()
    try:
        late = stage.site("late")
        begun.goto(f"{late.url}/users/ben/1.html")
        assert "503" in until_text(begun, "This site cannot answer now")
        known.goto(f"{site.url}/users/ann/2.html")
        assert "page 2 of ann" in text(known)
    finally:
        stage.provider.start("key-1")
    poll(lambda: known_again(stage, begun, late), 30, "sign-in again")
    stranger.close()


def known_again(stage: Stage, tab: Tab, site: Gateway) -> bool:
    tab.goto(f"{site.url}/users/ben/1.html")
    if not stage.provider.asks(tab):
        return False
    stage.provider.sign_in(tab, "ben")
    until_text(tab, "page 1 of ben")
    return True


def test_key_rotation(stage: Stage, profile: Profile) -> None:
    known, site = profile.tab(), stage.site()
    stage.sign_in(known, f"{site.url}/users/ann/1.html")
    until_text(known, "page 1 of ann")
    stage.provider.stop()
    stage.provider.start("key-2")
    try:
        stranger = stage.profile()
        tab = stranger.tab()
        stage.sign_in(tab, f"{site.url}/users/ben/1.html", "ben")
        until_text(tab, "page 1 of ben")
        known.goto(f"{site.url}/users/ann/2.html")
        assert "page 2 of ann" in text(known)
        stranger.close()
    finally:
        stage.provider.stop()
        stage.provider.start("key-1")


def test_the_page_of_the_docs_is_what_is_tried() -> None:
    assert PAGE.read_text(encoding="utf-8") == sign_in_matrix.page(), "python -m tests.helpers.sign_in_matrix"
    here = {name.removeprefix("test_") for name in (*globals(), *vars(test_renewal)) if name.startswith("test_")}
    assert set(SCENARIOS) <= here


def test_what_came_of_it_is_printed() -> None:
    ran = SimpleNamespace(nodeid="tests/e2e/test_sign_in.py::test_deep_link[chromium-demo]")
    other = SimpleNamespace(nodeid="tests/core/test_sign_in.py::test_deep_link[chromium-demo]")
    lines = sign_in_matrix.outcomes({"passed": [ran], "failed": [other]})
    (row,) = (line.split() for line in lines if line.startswith("deep_link"))
    assert row == ["deep_link", *("-", "-", "passed"), *"------"]
    assert sign_in_matrix.outcomes({"skipped": [ran], "failed": [other]}) == []
