"""`stagedoor revoke`: who is taken out, for how long, and what it says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stagedoor.core.revocations import from_text
from stagedoor.state import open_state
from tests.helpers.commands import Said, say
from tests.helpers.serving import fresh_token, prepare, settings_text
from tests.helpers.support import ISSUER

STATE = '[state]\nurl = "sqlite:///state.db"\n'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prepare(tmp_path)
    (tmp_path / "stagedoor.toml").write_text(settings_text(more=STATE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kept(site: Path) -> list[tuple[str, str, str]]:
    found = [from_text(one.text) for one in open_state(f"sqlite://{site}/state.db").after(0)]
    return [(one.kind, one.issuer, one.id) for one in found]


Revoke = Callable[..., Said]


@pytest.fixture
def revoke(capsys: pytest.CaptureFixture[str]) -> Revoke:
    return lambda *words: say(capsys, "revoke", *words)


def test_a_person_is_taken_out_until_now(site: Path, revoke: Revoke) -> None:
    said = revoke("ann")
    assert said.code == 0
    assert kept(site) == [("person", ISSUER, "ann")]
    (entry,) = open_state(f"sqlite://{site}/state.db").after(0)
    assert abs(from_text(entry.text).before - time.time()) < 60
    assert "within 5 s" in said.out + said.err


@pytest.mark.parametrize(("until", "seconds"), [("7d", 7 * 86_400), ("90m", 5400), ("2099-01-01T00:00Z", None)])
def test_a_person_is_barred_until_a_moment(site: Path, revoke: Revoke, until: str, seconds: int | None) -> None:
    assert revoke("ann", "--issuer", "staff", "--until", until).code == 0
    (entry,) = open_state(f"sqlite://{site}/state.db").after(0)
    found = from_text(entry.text)
    wanted = 4_070_908_800 if seconds is None else time.time() + seconds
    assert abs(found.before - wanted) < 60
    assert found.ends > found.before


def test_a_bar_stays_until_it_is_lifted(site: Path, revoke: Revoke) -> None:
    """By intention, not by revoking the person once more."""
    revoke("ann", "--until", "7d")
    revoke("ann")

    def bar() -> float:
        (entry,) = open_state(f"sqlite://{site}/state.db").after(0)
        assert entry.ends > time.time() + 8 * 86_400
        return from_text(entry.text).before

    assert bar() > time.time() + 6 * 86_400
    assert revoke("ann", "--until", "now").code == 0
    assert abs(bar() - time.time()) < 60
    revoke("ann", "--until", "1h")
    assert bar() > time.time() + 3000


def test_sessions_and_tokens(site: Path, revoke: Revoke) -> None:
    for words in (("--sid", "s1"), ("--sid", "o1", "--issuer", "staff"), ("--jti", "j1")):
        assert revoke(*words).code == 0
    assert kept(site) == [("session", "", "s1"), ("session", ISSUER, "o1"), ("token", ISSUER, "j1")]


def test_the_list_shows_what_is_still_alive(site: Path, revoke: Revoke) -> None:
    assert "nothing was taken back" in revoke("--list").err
    revoke("ann")
    assert "person ann" in revoke("--list").out
    shown = [json.loads(line) for line in revoke("--list", "--json").out.splitlines()]
    assert [(one["kind"], one["id"]) for one in shown] == [("person", "ann")]


def test_the_list_names_what_cannot_be_read_and_shows_the_rest(site: Path, revoke: Revoke) -> None:
    from stagedoor.state import open_state

    number = open_state(f"sqlite://{site}/state.db").put("x", '{"kind": "planet"}', time.time() + 60, time.time())
    revoke("ann")
    said = revoke("--list")
    assert "person ann" in said.out
    assert f"entry {number} cannot be read" in said.err


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("ann", "--sid", "x"),
        ("ann", "--list"),
        ("ann", "--issuer", "nobody"),
        ("ann", "--until", "soon"),
        ("--sid", "x", "--until", "7d"),
    ],
)
def test_wrong_usage_takes_nothing_back(site: Path, revoke: Revoke, words: tuple[str, ...]) -> None:
    assert revoke(*words).code == 2
    assert not (site / "state.db").exists()


def test_without_a_state_it_says_what_is_missing(site: Path, revoke: Revoke) -> None:
    (site / "stagedoor.toml").write_text(settings_text())
    said = revoke("ann")
    assert said.code == 1
    assert "[state] url" in said.err


# --- what other commands say of it


def put_token(site: Path, **more: object) -> None:
    (site / "ann.jwt").write_text(fresh_token(**more))


def test_token_says_that_a_token_was_taken_back(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_token(site, jti="t1", iat=time.time() - 60)
    said = say(capsys, "token", "ann.jwt")
    assert said.code == 0
    assert "state      ok  not taken back" in said.out
    say(capsys, "revoke", "--jti", "t1")
    said = say(capsys, "token", "ann.jwt")
    assert said.code == 1
    assert "state      no  the token was taken back: get a new one\n  see: stagedoor revoke --list" in said.out
    assert "sub" in said.out, "its claims are those of a token that verifies"
    answer = json.loads(say(capsys, "token", "ann.jwt", "--json").out)
    assert (answer["valid"], answer["code"], answer["caller"]) == (False, "revoked-token", None)


@pytest.mark.parametrize(
    ("words", "said_then"),
    [
        (("ann",), "what this person had proved by "),
        (("ann", "--until", "2099-01-01T00:00Z"), "may not come in until 2099-01-01 00:00 UTC"),
        (("--sid", "s1", "--issuer", "staff"), "the session was ended: sign in again"),
    ],
)
def test_explain_refuses_a_token_of_a_person_who_was_taken_out(
    site: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said_then: str
) -> None:
    put_token(site, iat=time.time() - 60, sid="s1")
    assert say(capsys, "explain", "--token", "ann.jwt", "users/ann/x").code == 0
    assert say(capsys, "revoke", *words).code == 0
    said = say(capsys, "explain", "--token", "ann.jwt", "users/ann/x")
    assert said.code == 1
    assert said_then in said.err
    assert "stagedoor revoke --list" in said.err


def test_explain_with_claims_notes_it(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "ann.json").write_text('{"sub": "ann"}')
    say(capsys, "revoke", "ann")
    said = say(capsys, "explain", "--as", "ann.json", "users/ann/x")
    assert said.code == 0, "the rules allow it"
    assert "they would be refused before the rules are asked: what this person had proved" in said.err
    (site / "ben.json").write_text('{"sub": "ben"}')
    assert "refused" not in say(capsys, "explain", "--as", "ben.json", "users/ben/x").err


def test_where_the_state_is_away_nothing_is_called_valid(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_token(site)
    (site / "ann.json").write_text('{"sub": "ann"}')
    text = (site / "stagedoor.toml").read_text()
    (site / "stagedoor.toml").write_text(text.replace("///state.db", "///nowhere/state.db"))
    said = say(capsys, "token", "ann.jwt")
    assert said.code == 1
    assert "state      no  there is no folder" in said.out
    assert "stagedoor check --online" in said.out
    assert say(capsys, "explain", "--token", "ann.jwt", "users/ann/x").code == 1
    assert "nobody knows whether" in say(capsys, "explain", "--as", "ann.json", "users/ann/x").err


def test_an_entry_of_a_newer_version_is_not_passed_over(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_token(site)
    open_state(f"sqlite://{site}/state.db").put("x", '{"kind": "other"}', time.time() + 60, time.time())
    said = say(capsys, "token", "ann.jwt")
    assert said.code == 1
    assert "what was taken back cannot be read" in said.out
