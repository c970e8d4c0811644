"""The doctor's questions about sign-in: what it takes for one, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from stagedoor.doctor import Evidence, Report, Subject, examine, sign_in
from stagedoor.doctor.begun import Begun
from stagedoor.doctor.evidence import SkipError
from stagedoor.doctor.visit import Visit
from stagedoor.doctor.wire import Answer, Meter, Origin
from stagedoor.settings import parse
from tests.doctor.test_questions import TLS_SITE, found, stranger, subject, told
from tests.helpers.faulty_sites import Asked, FaultySite, Told

ASKED = {
    *("sign-in-next", "sign-in-state", "sign-in-fixation", "sign-in-cookies", "sign-in-unseen"),
    *("sign-in-scripts", "sign-in-framed"),
}
"""Questions that need a sign-in at the site itself."""


def why_not(report: Report) -> dict[str, str]:
    return {one.question.name: one.skipped for one in report.outcomes if one.state == "skipped"}


@pytest.mark.parametrize("faults", [("no-sign-in",), ("no-endpoints",)])
def test_where_nobody_can_sign_in_it_says_why_it_does_not_ask(faults: tuple[str, ...]) -> None:
    with FaultySite(*faults) as site:
        report = examine(stranger(site))
    skipped = why_not(report)
    assert ASKED | {"sign-out-by-link", "sign-out-cross-site"} <= skipped.keys()
    assert all("/-/login" in skipped[name] for name in ASKED), skipped
    assert all("/-/logout" in skipped[name] for name in ("sign-out-by-link", "sign-out-cross-site")), skipped


class Answers(FaultySite):
    """Answers one thing at `/-/login`."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    def _own(self, asked: Asked) -> Told:
        return self._told if asked.path == "/-/login" else super()._own(asked)


@pytest.mark.parametrize(
    "told_there",
    [
        Told(503),
        Told(200, {"Content-Type": "text/html"}, b"<form>Who are you?</form>"),
        Told(302, {"Location": "/login"}),
        Told(302, {"Location": "https://["}),
        Told(302),
    ],
)
def test_what_begins_no_sign_in_that_it_knows_is_not_asked(told_there: Told) -> None:
    with Answers(told_there) as site:
        skipped = why_not(examine(stranger(site)))
    assert {name for name in ASKED if "does not redirect to a provider" in skipped.get(name, "")} == ASKED


@pytest.mark.parametrize(
    "location", ["https://[?client_id=x", "?client_id", "//?client_id=x&state=%ff", "\x00?client_id=x"]
)
def test_whatever_an_address_of_a_provider_is_it_does_not_break_the_doctor(location: str) -> None:
    with Answers(Told(302, {"Location": location, "Set-Cookie": "=;=;"})) as site:
        report = examine(subject(site))
    assert [one.question.name for one in report.outcomes if one.state == "failed"] == [], told(report)


@pytest.mark.parametrize("fault", ["next-to-provider", "same-state", "attempt-for-scripts", "prefetch-begins"])
def test_where_visitors_choose_a_provider_the_first_one_is_tried(fault: str) -> None:
    with FaultySite("several-providers", fault) as site:
        report = examine(stranger(site))
        assert any("issuer=one" in one.target for one in site.asked)
    assert len(found(report)) == 1, told(report)


# --- on https


@contextmanager
def visiting(site: FaultySite, *, secure: bool) -> Iterator[Visit]:
    settings = parse(TLS_SITE) if secure else None
    with site:
        yield Visit(replace(stranger(site), settings=settings), Meter(0.0))


class Sets(FaultySite):
    """Sets this cookie at `/-/login`."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self._line = line

    def _begin(self, asked: Asked) -> Told:
        told = super()._begin(asked)
        return told._replace(fields={**told.fields, "Set-Cookie": self._line})


WELL = "__Host-stagedoor-try-0=0123456789abcdef; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"
COOKIES = {
    WELL: "",
    WELL.replace("600", "3600"): "",
    WELL.replace("600", "3601"): "stays for 3601 s",
    WELL.replace("; Max-Age=600", ""): "no Max-Age",
    WELL.replace("__Host-", ""): "does not start with __Host-",
    WELL.replace("; Secure", ""): "lacks Secure",
    WELL.replace("; HttpOnly", ""): "lacks HttpOnly",
    WELL.replace("; SameSite=Lax", "; SameSite=None"): "lacks SameSite",
    WELL.replace("Path=/;", "Path=/-/;"): "Path=/",
    WELL + "; Domain=example.com": "whole domain",
}
"""Set-Cookie lines of a sign-in on https, and what is wrong with each."""


@pytest.mark.parametrize(("line", "problem"), COOKIES.items())
def test_a_cookie_of_a_sign_in_on_https_is_held_to_all_of_it(line: str, problem: str) -> None:
    with visiting(Sets(line), secure=True) as visit:
        evidence = list(sign_in.sign_in_cookies(visit))
    assert len(evidence) == bool(problem)
    assert all(problem in one.got and "0123456789abcdef" not in one.got for one in evidence)


def test_on_this_machine_browsers_take_no_secure_cookie() -> None:
    plain = WELL.replace("__Host-", "").replace("; Secure", "")
    with visiting(Sets(plain), secure=False) as visit:
        assert list(sign_in.sign_in_cookies(visit)) == []


# --- where it leads


@pytest.mark.parametrize(
    ("location", "stays"),
    [
        ("/", True),
        ("/a//b", True),
        ("http://127.0.0.1:80/x", False),
        ("http://127.0.0.1/x", True),
        ("https://assets.example.com/x", True),
        ("https://assets.example.com", False),
        ("https://assets.example.com@doctor.invalid/", False),
        ("https://assets.example.com.doctor.invalid/", False),
        ("//doctor.invalid/", False),
        ("/\\doctor.invalid/", False),
        ("/\t/doctor.invalid/", False),
        ("\\/doctor.invalid/", False),
        (" //doctor.invalid/", False),
        (" /x", True),
        ("https:doctor.invalid", False),
        ("javascript:alert(1)", False),
        ("x", False),
    ],
)
def test_an_address_stays_where_every_browser_stays(location: str, stays: bool) -> None:
    visit = Visit(Subject(Origin("http", "127.0.0.1", 80)), Meter(0.0))
    back = "https://sign-in.example.com/?redirect_uri=https%3A%2F%2Fassets.example.com%2F-%2Fcallback"
    assert sign_in.stays(visit, location, _redirect(back)) is stays


def _redirect(location: str) -> Begun:
    return Begun("/-/login", Answer("GET", 302, (("location", location),)))


# --- sessions


def test_a_token_that_does_not_say_when_it_ends_shows_nothing() -> None:
    with FaultySite("any-word") as site:
        visit = Visit(subject(site, token="opaque-0123456789-abcdefghijklmnop"), Meter(0.0))
        with pytest.raises(SkipError, match="does not say when it ends"):
            list(sign_in.session_life(visit))


def test_what_it_plants_is_never_printed() -> None:
    with FaultySite("attempt-continued") as site:
        report = examine(subject(site))
        sent = {one.cookie("session-try-0") for one in site.asked} - {None, ""}
    assert found(report) == ["sign-in-fixation"]
    evidence = " ".join(str(one) for outcome in report.outcomes for one in outcome.evidence)
    assert len(sent) > 1
    assert not [value for value in sent if str(value) in evidence]


def test_its_evidence_is_read_by_people() -> None:
    with FaultySite("callback-by-query") as site:
        evidence = list(sign_in.sign_in_next(Visit(stranger(site), Meter(0.0))))
    (one,) = evidence
    assert isinstance(one, Evidence)
    assert one.asked.startswith("GET /-/login?redirect_uri=")
    assert "another redirect_uri than usual: ['https://doctor.invalid/']" in one.asked
