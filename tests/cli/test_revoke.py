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
from tests.helpers.serving import prepare, settings_text
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
