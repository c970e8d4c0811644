"""What shows nothing is not called good: the doctor says why, and what to bring."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stagedoor.doctor import Outcome, Report, Subject, examine
from stagedoor.doctor.wire import Origin
from stagedoor.settings import parse
from tests.doctor.test_questions import found, skipped, stranger, subject, told
from tests.helpers.commands import say
from tests.helpers.faulty_sites import PRIVATE, PUBLIC, Asked, FaultySite, Told, tokens
from tests.helpers.support import CLIENT, claims, ec_signer, key_set, rsa_signer, token


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass that is to expire has done so when it is made."""
    monkeypatch.setattr("stagedoor.doctor.signed_urls.LIFETIME", -5)
    monkeypatch.setattr("stagedoor.doctor.signed_urls.WAIT", 0)


class OpenSite(FaultySite):
    """Gives whatever there is to everybody."""

    def _open(self, asked: Asked, name: str) -> bool:
        return True


class Elsewhere(FaultySite):
    """Answers every request with the same."""

    def __init__(self, answer: Told) -> None:
        super().__init__()
        self._same = answer

    def _answer(self, asked: Asked) -> Told:
        return self._same


def outcome(report: Report, name: str) -> Outcome:
    return next(one for one in report.outcomes if one.question.name == name)


def of(**changes: Any) -> str:
    return token(claims(**{"exp": time.time() + 86_400, **changes}))


# --- the site


def test_a_path_where_nothing_is_shows_nothing() -> None:
    with OpenSite() as site:
        report = examine(replace(stranger(site), path="/users/ann/photo.pgn"))
    assert outcome(report, "no-token").state == "note", told(report)
    assert "nothing is there" in outcome(report, "no-token").evidence[0].got


def test_a_path_where_nothing_is_is_a_failure_where_the_token_should_open_it() -> None:
    with FaultySite("page-for-everything") as site:
        report = examine(subject(site, path="/users/ann/photo.pgn"))
    assert found(report) == ["opens"], told(report)
    assert "nothing is stored under this path" in outcome(report, "opens").question.mend


def test_a_page_for_people_who_must_sign_in_is_not_what_a_token_opens() -> None:
    with FaultySite("sign-in-page") as site:
        report = examine(subject(site, token=of(aud="another-app"), foreign=None))
    assert found(report) == ["opens"], told(report)


@pytest.mark.parametrize("public", ["/public/typo.png", "/users/ben/photo.png"])
def test_a_public_object_that_is_not_public_is_said(public: str) -> None:
    with FaultySite() as site:
        report = examine(subject(site, public=public))
    assert found(report) == ["let-in"], told(report)
    assert report.fine


def test_a_firewall_that_refuses_the_doctor_ends_in_no_praise() -> None:
    with FaultySite("refuses-the-doctor", "no-check") as site:
        report = examine(Subject(Origin.of(site.url), PRIVATE))
    assert not report.fine
    assert "which is 200, image/png" in outcome(report, "let-in").evidence[0].asked
    assert "no-token" in skipped(report)


# --- the bucket


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Told(404, {}, b"<Error><Code>NoSuchBucket</Code></Error>"), "there is no such bucket"),
        (Told(503), "does not answer like a bucket (503)"),
        (Told(301, {"Location": "https://s3.example.com/"}), "does not answer like a bucket (301"),
    ],
)
def test_a_bucket_that_does_not_refuse_shows_nothing(answer: Told, why: str) -> None:
    with FaultySite() as site, Elsewhere(answer) as bucket:
        report = examine(replace(stranger(site), bucket=bucket.url))
    assert why in outcome(report, "bucket").skipped


def test_a_bucket_that_is_not_there_shows_nothing() -> None:
    with FaultySite() as gone:
        pass
    with FaultySite() as site:
        report = examine(replace(stranger(site), bucket=f"{gone.url}/bucket"))
    assert "cannot be asked: connection refused" in outcome(report, "bucket").skipped


def test_a_bucket_that_lists_its_versions_is_found() -> None:
    with FaultySite() as site, FaultySite("versions-listing") as bucket:
        report = examine(replace(stranger(site), bucket=bucket.url))
    assert found(report) == ["bucket"], told(report)


# --- tokens


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (of(sub="ben", aud="another-app"), "gets the same (401)"),
        ("no.token.at-all", "gets the same (401)"),
        (of(jti="2"), "the same person"),
        (of(sub="ben", exp=time.time() - 60), "has expired"),
    ],
)
def test_another_token_that_is_refused_anyway_shows_nothing(other: str, why: str) -> None:
    with FaultySite() as site:
        report = examine(subject(site, other=other))
    assert found(report) == [], told(report)
    assert why in outcome(report, "other-user").skipped


@pytest.mark.parametrize("manner", ["hides", "sign-in-page", "tokens-buy-passes"])
def test_another_token_of_the_same_application_shows_what_it_shows(manner: str) -> None:
    with FaultySite(manner) as site:
        report = examine(subject(site))
    assert outcome(report, "other-user").state == "good", told(report)


@pytest.mark.parametrize(
    ("fault", "question", "brought", "why"),
    [
        ("any-audience", "audience", {"foreign": of(aud="x", exp=time.time() - 9)}, "has expired"),
        ("any-audience", "audience", {"foreign": of(aud="x", sub="ben")}, "not a token of the same"),
        ("expired-counts", "expired", {"expired": of(exp=time.time() - 9, sub="ben")}, "not a token of the same"),
        ("expired-counts", "expired", {"expired": of()}, "has not expired"),
    ],
)
def test_a_bad_token_of_another_person_shows_nothing(
    fault: str, question: str, brought: dict[str, str], why: str
) -> None:
    with FaultySite(fault) as site:
        report = examine(subject(site, **brought))
    assert why in outcome(report, question).skipped, told(report)


# --- what is taken back

ANN = of()


@pytest.mark.parametrize(
    ("brought", "why"),
    [
        ({"spend": ANN, "token": ANN}, "that of --token, too"),
        ({"spend": of(jti="1"), "token": of(jti="1")}, "that of --token, too"),
        ({"spend": of(jti="1"), "admin": of(jti="1", sub="root")}, "that of --admin-token, too"),
        ({"spend": of(jti="1"), "other": of(jti="1", sub="ben")}, "that of --other-token, too"),
        ({"spend": of()}, "has no jti"),
        ({"spend": "x" * 24}, "has no jti"),
        ({"spend": of(jti="1", sub="ben")}, "does not open the object"),
        ({"admin": of(jti="2", sub="ben")}, "nothing was taken back with the admin's token: 403"),
        ({"admin": None}, "--admin-token FILE"),
        ({"spend": None}, "--spend-token FILE"),
    ],
)
def test_no_token_is_taken_back_but_the_one_that_was_brought_for_it(brought: dict[str, str | None], why: str) -> None:
    with FaultySite() as site:
        report = examine(subject(site, **brought))
        asked = [json.loads(one.body) for one in site.asked if one.path == "/-/revocations" and one.body]
    assert found(report) == [], told(report)
    assert why in outcome(report, "revoked-token").skipped
    jtis = {one["jti"] for one in asked if not one["jti"].startswith("doctor-")}
    assert jtis <= ({"to-spend"} if "403" in why else set())


NO_STATE = '[site]\nurl = "http://127.0.0.1:1"\nstore = "memory:"\n'


@pytest.mark.parametrize(
    ("more", "state", "waits"), [("", "note", False), ('[state]\nurl = "redis://127.0.0.1/0"\n', "found", True)]
)
def test_where_the_settings_have_no_state_a_session_that_goes_on_is_no_surprise(
    more: str, state: str, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    monkeypatch.setattr("stagedoor.doctor.taken_back.sleep", naps.append)
    with FaultySite("sign-out-forgets") as site:
        report = examine(subject(site, settings=parse(NO_STATE + more), admin=None))
    got = outcome(report, "signed-out-session")
    assert (got.state, "nothing can be taken back before it ends" in got.evidence[0].got) == (state, not waits)
    assert "url in [state]" in got.question.mend
    assert (sum(naps) >= 6) == waits


def test_it_waits_no_longer_than_the_site_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers read the list from time to time, so some may open for a moment."""
    with FaultySite("revoked-at-one-worker", "sign-out-at-one-worker") as site:
        monkeypatch.setattr("stagedoor.doctor.taken_back.sleep", lambda _: site.mend())
        report = examine(subject(site))
    assert found(report) == [], told(report)


def test_a_site_without_sign_out_or_sessions_shows_nothing() -> None:
    with FaultySite("no-sign-in") as site:
        report = examine(subject(site))
    assert "POST /-/logout gets 404" in outcome(report, "signed-out-session").skipped
    with FaultySite("no-endpoints") as site:
        report = examine(subject(site))
    assert "makes no session" in outcome(report, "signed-out-session").skipped
    assert "no provider can end sessions" in outcome(report, "logout-forged").skipped
    assert "nothing was taken back" in outcome(report, "revoked-token").skipped


# --- keys


def test_without_a_public_key_none_was_tried() -> None:
    with FaultySite("hs256") as site:
        report = examine(subject(site, keys=()))
    assert "only guessable words were tried" in outcome(report, "hmac-key").skipped
    with FaultySite("weak-secret") as site:
        assert found(examine(subject(site, keys=()))) == ["hmac-key"], "and those are"


def test_keys_that_are_none_are_as_good_as_no_keys() -> None:
    unusable: Any = ({"kty": "RSA", "n": 5, "e": "AQAB"}, {"kty": "OKP", "crv": "Ed25519", "x": "aa"})
    with FaultySite("hs256") as site:
        report = examine(subject(site, keys=unusable))
    assert "only guessable words were tried" in outcome(report, "hmac-key").skipped


def test_the_key_that_signed_the_token_is_tried_wherever_it_stands() -> None:
    others = [{**ec_signer().jwk, "kid": kid} for kid in ("a", "b", "c")]
    with FaultySite("hs256") as site:
        report = examine(subject(site, keys=(*others, rsa_signer().jwk)))
    assert found(report) == ["hmac-key"], told(report)


# --- folders that are nearly one's own


@pytest.mark.parametrize(
    ("brought", "why"),
    [
        ({"path": "/public/logo.png", "public": None}, ""),
        ({"token": of(sub="somebody-else")}, ""),
        ({}, None),
    ],
)
def test_neighbours_are_asked_for_where_a_claim_names_the_folder(brought: dict[str, Any], why: str | None) -> None:
    with FaultySite() as site:
        report = examine(subject(site, **brought))
    assert (outcome(report, "neighbours").state == "good") == (why is None), told(report)


def test_where_all_folders_are_answered_alike_nothing_is_shown() -> None:
    with FaultySite("hides") as site:
        report = examine(subject(site))
    assert "answered like the caller's own (404)" in outcome(report, "neighbours").skipped


# --- the last words


@pytest.fixture
def last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ann.token").write_text(tokens().ann)
    (tmp_path / "jwks.json").write_bytes(key_set(rsa_signer()))

    def run(site: FaultySite, *words: str) -> tuple[int, str]:
        said = say(capsys, "doctor", site.url, *words)
        return said.code, said.out.splitlines()[-1]

    return run


def test_nothing_shown_is_not_all_good(last_words: Callable[..., tuple[int, str]]) -> None:
    with OpenSite() as site:
        code, words = last_words(site, "--path", "/users/ann/photo.pgn")
    assert (code, words.partition("not asked: ")[2]) == (0, "nothing found, and something to think about (no-token)")


def test_advice_alone_is_all_good(last_words: Callable[..., tuple[int, str]]) -> None:
    with FaultySite("no-cache-control") as site:
        code, words = last_words(site, "--path", PRIVATE, "--token", "ann.token", "--jwks", "jwks.json")
    assert code == 0
    assert words.endswith(" not asked: all good")


def test_an_opaque_token_that_is_long_enough_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with FaultySite() as site:
        said = say(capsys, "doctor", site.url, "--path", PRIVATE, "--public", PUBLIC, "--token", "x" * 24, "--json")
    assert [one["question"] for one in json.loads(said.out)["questions"] if one["state"] == "found"] == ["opens"]
    assert CLIENT not in said.out
