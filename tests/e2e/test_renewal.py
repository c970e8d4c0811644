"""Renewal tried for real: claims fall due and grow stale by the clock of the site and of its provider.

The browsers' own clocks go on as they do; no test waits for time to pass. Which test runs where stands in
`sign_in_matrix`, and what came of it is printed at the end.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.helpers import engines, providers
from tests.helpers.engines import Engine, Profile, Tab, text, until, until_text
from tests.helpers.pictures import png
from tests.helpers.servers import Gateway, poll
from tests.helpers.sign_in_matrix import Cell
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
)

RENEW = 100
"""Seconds until claims are due; after twice as many they are stale."""
TOML = f"""
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
path = "users/{{sub}}/**"
allow = "signed-in"

[[rules]]
path = "groups/{{groups}}/**"
allow = "signed-in"

[login]
issuer = "staff"
scopes = $SCOPES
renew = "{RENEW}s"

[gateway]
$TLS
"""
FILM = """<!doctype html><title>film</title><video id=film src=film.wav muted preload=metadata></video><script>
  const film = document.getElementById('film');
  const moved = (what, to) => new Promise((done, failed) => {
    film.onerror = () => failed(film.error.message);
    film.addEventListener(what, () => done(film.currentTime), {once: true});
    to();
  });
  const play = () => moved('timeupdate', () => film.play());
  const seek = seconds => moved('seeked', () => { film.currentTime = seconds; });
</script>"""
FILM_SECONDS = 600
RENEWED = "fetch('/-/renew', {method: 'POST'}).then(async answer => [answer.status, await answer.text()])"
WHO = "fetch('/-/whoami').then(answer => answer.json())"

# Selenium warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:selenium.*")


class RenewalStage(Stage):
    """Its sites: `main`, and two that are `silent`, because the provider gives their client no refresh tokens."""

    KINDS = ("main", "silent", "silent too")
    SETTINGS = TOML

    def __init__(self, cell: Cell, folder: Path, engine: Callable[..., Engine]) -> None:
        self._clock, self._ahead = folder / "clock", 0
        self.later(0)
        super().__init__(cell, folder, engine)
        write_silence(folder / "files/users/ann/film.wav", FILM_SECONDS)

    def later(self, seconds: float) -> None:
        """Let so much time pass for the sites and the provider."""
        self._ahead += int(seconds)
        self._clock.write_text(f"+{self._ahead}", encoding="utf-8")

    def files(self) -> Iterator[tuple[str, bytes]]:
        for n in range(PICTURES):
            yield f"users/ann/{n}.html", f"<!doctype html><title>{n}</title><p>page {n} of ann".encode()
            yield f"users/ann/p{n}.png", png(8, 8)
        yield "users/ben/1.html", b"<!doctype html><p>page 1 of ben"
        yield "groups/students/1.html", b"<!doctype html><p>page of the students"
        yield "users/ann/pictures.html", pictures_page()
        yield "users/ann/film.html", FILM.encode()
        yield "public/waiting.html", WAITING.encode()

    def settings(self, kind: str, text: str) -> str:
        return text.replace(f'"{providers.CLIENT}"', f'"{providers.SILENT}"') if "silent" in kind else text

    def env(self, kind: str) -> Mapping[str, str]:
        return {**faketime(), "FAKETIME_TIMESTAMP_FILE": str(self._clock), "FAKETIME_NO_CACHE": "1"}

    @property
    def tokens_asked(self) -> int:
        """How often the provider was asked for tokens, be it with a code or with a refresh token."""
        return sum(line.startswith("POST ") and line.endswith("/token") for line in self.provider.questions)

    @property
    def visits(self) -> int:
        """How often a browser came to the provider."""
        return sum(
            line.startswith("GET ") and line.endswith(("/auth", "/authorize")) for line in self.provider.questions
        )


STAGE = RenewalStage


def write_silence(file: Path, seconds: int) -> None:
    """Write a WAV file, which every engine plays without codecs; it takes no room, because it is all zeros."""
    rate, frame = 48_000, 4
    size = frame * rate * seconds
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, rate, frame * rate, frame, 16)
    data = struct.pack("<4sI", b"data", size)
    file.write_bytes(struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data) + size, b"WAVE") + form + data)
    os.truncate(file, file.stat().st_size + size)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, faketime=True)


def signed_in(stage: RenewalStage, profile: Profile, page: str = "users/ann/1.html", kind: str = "main") -> Tab:
    """A tab of ann's that shows a page of a site."""
    tab = profile.tab()
    stage.sign_in(tab, f"{stage.site(kind).url}/{page}")
    until(tab, lambda: tab.url() == f"{stage.site(kind).url}/{page}", "the page")
    return tab


def due(stage: RenewalStage) -> None:
    stage.later(RENEW + 1)


def reasons(site: Gateway, path: str) -> list[str]:
    return [line["reason"] for line in asked(site) if line["path"] == path]


# --- the scenarios


def test_renewal_tabs(stage: RenewalStage, profile: Profile) -> None:
    first, site = signed_in(stage, profile), stage.site()
    tabs = waiting(first, profile, site)
    tokens, visits, before = stage.tokens_asked, stage.visits, len(asked(site))
    due(stage)
    all_arrive(tabs, site)
    assert "session-due" in {line["reason"] for line in asked(site)[before:]}
    assert (stage.tokens_asked, stage.visits) == (tokens + 1, visits)
    due(stage)
    first.goto(f"{site.url}/users/ann/11.html")
    until_text(first, "page 11 of ann")
    assert (stage.tokens_asked, stage.visits) == (tokens + 2, visits)  # the grant lives


def test_renewal_silent_tabs(stage: RenewalStage, profile: Profile) -> None:
    first, site = signed_in(stage, profile, kind="silent"), stage.site("silent")
    tabs, before = waiting(first, profile, site), first.script(WHO)
    stage.later(2 * RENEW + 1)
    all_arrive(tabs, site)
    after = first.script(WHO)
    assert after["renew"] > before["renew"]


def waiting(first: Tab, profile: Profile, site: Gateway) -> list[Tab]:
    """Ten tabs that wait for the word to go."""
    tabs = [first, *(profile.tab() for _ in range(9))]
    for n, tab in enumerate(tabs):
        tab.goto(f"{site.url}/public/waiting.html#{n}")
    return tabs


def all_arrive(tabs: Sequence[Tab], site: Gateway) -> None:
    """Let all go to their pages at once, and see to it that they get there."""
    tabs[0].script(GO)
    for n, tab in enumerate(tabs):
        until_text(tab, f"page {n} of ann")
        assert tab.url() == f"{site.url}/users/ann/{n}.html"


def test_renewal_pictures(stage: RenewalStage, profile: Profile) -> None:
    tab, site = signed_in(stage, profile, "users/ann/pictures.html"), stage.site()
    until(tab, lambda: counts(text(tab))[0] > 3, "the first pictures")
    before, tokens = len(asked(site)), stage.tokens_asked
    due(stage)
    until(tab, lambda: sum(counts(text(tab))) == PICTURES, "all pictures")
    assert counts(text(tab)) == (PICTURES, 0)
    loaded = [line for line in asked(site)[before:] if line["path"].endswith(".png")]
    assert loaded
    assert {line["status"] for line in loaded} == {200}
    assert stage.tokens_asked == tokens  # pictures renew nothing
    tab.click("a")
    until_text(tab, "page 0 of ann")
    assert (stage.tokens_asked, tab.url()) == (tokens + 1, f"{site.url}/users/ann/0.html")


def test_renewal_film(stage: RenewalStage, profile: Profile) -> None:
    tab, site = signed_in(stage, profile, "users/ann/film.html"), stage.site()
    other = profile.tab()
    assert tab.script("play()") < 100
    tokens = stage.tokens_asked
    for part, second in ((1, 480), (2, 300)):  # backwards, because an engine may have loaded all that is ahead
        due(stage)
        assert tab.script(f"seek({second})") >= second
        other.goto(f"{site.url}/users/ann/{part}.html")
        until_text(other, f"page {part} of ann")
        assert stage.tokens_asked == tokens + part
        assert tab.script(f"seek({second - 60})") >= second - 60
    assert tab.script("[film.paused, film.error]") == [False, None]
    tab.goto(f"{site.url}/users/ann/1.html")  # so that the log has all that it was asked for
    seen = poll(lambda: film_of(site), engines.PATIENCE, "the film in the log")
    assert set(seen) <= {200, 206, 304, 499}


def film_of(site: Gateway) -> list[int]:
    """Statuses of requests for the film, once there are some before, between and after the renewals."""
    seen = [line for line in asked(site) if line["path"].endswith("film.wav")]
    return [line["status"] for line in seen] if len({line["time"][:16] for line in seen}) > 2 else []


def test_renewal_script(stage: RenewalStage, profile: Profile) -> None:
    tab, site = signed_in(stage, profile), stage.site()
    tokens, visits = stage.tokens_asked, stage.visits
    assert tab.script(RENEWED) == [204, ""]
    assert stage.tokens_asked == tokens  # nothing was due
    stage.later(2 * RENEW + 1)
    assert tab.script(STATUS.format("'/users/ann/p1.png?stale'")) == 401
    assert tab.script(RENEWED) == [204, ""]
    assert tab.script(STATUS.format("'/users/ann/p1.png?renewed'")) == 200
    assert (stage.tokens_asked, stage.visits, tab.url()) == (tokens + 1, visits, f"{site.url}/users/ann/1.html")


def test_renewal_navigation(stage: RenewalStage, profile: Profile) -> None:
    tab, site = signed_in(stage, profile, kind="silent"), stage.site("silent")
    due(stage)
    status, said = tab.script(RENEWED)
    assert (status, '"renew-by-navigation"' in said) == (409, True), said
    assert tab.script(STATUS.format("'/users/ann/p1.png?due'")) == 200
    before = tab.script(WHO)["renew"]
    tab.goto(f"{site.url}/users/ann/2.html")
    until_text(tab, "page 2 of ann")  # by `prompt=none`, which shows nobody anything
    assert tab.url() == f"{site.url}/users/ann/2.html"
    assert tab.script(WHO)["renew"] > before
    assert tab.script(RENEWED) == [204, ""]


def test_renewal_fragment(stage: RenewalStage, profile: Profile) -> None:
    follow_fragments(stage, signed_in(stage, profile), stage.site())
    if stage.provider.remembers:
        other = stage.profile()
        follow_fragments(stage, signed_in(stage, other, kind="silent"), stage.site("silent"))
        other.close()


def follow_fragments(stage: RenewalStage, tab: Tab, site: Gateway) -> None:
    for page, fragment in ((2, "#/route?a=1&b=%C3%BC"), (3, "")):
        due(stage)
        tab.goto(f"{site.url}/users/ann/{page}.html?x=1{fragment}")
        until_text(tab, f"page {page} of ann")
        assert tab.url() == f"{site.url}/users/ann/{page}.html?x=1{fragment}"


def test_renewal_provider_down(stage: RenewalStage, profile: Profile) -> None:
    tab, site = signed_in(stage, profile), stage.site()
    due(stage)
    stage.provider.stop()
    try:
        tab.goto(f"{site.url}/users/ann/2.html")
        until_text(tab, "page 2 of ann")
        before = reasons(site, "/users/ann/3.html")
        tab.goto(f"{site.url}/users/ann/3.html")
        assert "page 3 of ann" in text(tab)  # and nothing is tried for the next minutes
        assert "session-due" not in reasons(site, "/users/ann/3.html")[len(before) :]
        due(stage)
        assert tab.script(STATUS.format("'/users/ann/p1.png?old'")) == 401
        tab.goto(f"{site.url}/users/ann/4.html")
        assert "503" in until_text(tab, "This site cannot answer now")
        assert "page 4" not in text(tab)
    finally:
        stage.provider.start("key-1")
    tab.goto(f"{site.url}/users/ann/4.html")
    stage.answer_form(tab)  # it was restarted, and has forgotten everything
    until_text(tab, "page 4 of ann")


def test_renewal_lost_group(stage: RenewalStage, profile: Profile) -> None:
    tab, site = signed_in(stage, profile, "groups/students/1.html"), stage.site()
    other = profile.tab()
    other.goto(f"{site.url}/users/ann/1.html")
    stage.provider.set_groups("ann", [])
    try:
        tab.goto(f"{site.url}/groups/students/1.html")
        assert "page of the students" in text(tab)
        due(stage)
        tab.goto(f"{site.url}/groups/students/1.html")
        assert "403" in until_text(tab, "This file is not shared with you")
        assert other.script(STATUS.format("'/groups/students/1.html?again'")) == 403
        assert other.script(STATUS.format("'/users/ann/p1.png?again'")) == 200
    finally:
        stage.provider.set_groups("ann", providers.GROUPS["ann"])
    due(stage)
    tab.goto(f"{site.url}/groups/students/1.html")
    until_text(tab, "page of the students")


def test_renewal_other_person(stage: RenewalStage, profile: Profile) -> None:
    tab, other, open_, site = (
        signed_in(stage, profile, kind="silent"),
        profile.tab(),
        profile.tab(),
        stage.site("silent"),
    )
    open_.goto(f"{site.url}/users/ann/3.html")
    stage.sign_in(other, f"{stage.site('silent too').url}/-/login?prompt=login&next=/users/ben/1.html", "ben")
    until_text(other, "page 1 of ben")
    due(stage)
    tab.goto(f"{site.url}/users/ann/2.html")
    until_text(tab, "Somebody else is signed in at the issuer")
    assert "of ann" not in text(tab)
    assert open_.script(STATUS.format("'/users/ann/p1.png?after'")) == 401
    assert open_.script(WHO) == {"signedIn": False}
    tab.click(".button")
    until(tab, lambda: {"ben", "403"} <= set(text(tab).replace(",", " ").replace(".", " ").split()), "who is signed in")


def test_renewal_no_script(stage: RenewalStage, profile: Profile) -> None:
    tab, site = signed_in(stage, profile), stage.site()
    tokens = stage.tokens_asked
    due(stage)
    if stage.cell.engine == "chromium":
        engines.without_script(tab)
    else:  # which are asked by script; that of the page gives up where it was there too often
        tab.script("void (sessionStorage.renewals = JSON.stringify([9, Date.now()]))")
    tab.goto(f"{site.url}/users/ann/2.html?x=1%202")
    until_text(tab, "still signed in")
    assert stage.tokens_asked == tokens
    tab.click("form button")
    until_text(tab, "page 2 of ann")
    assert (tab.url(), stage.tokens_asked) == (f"{site.url}/users/ann/2.html?x=1%202", tokens + 1)
