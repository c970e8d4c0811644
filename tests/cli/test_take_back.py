"""`check` names what each door can take back, and no door at which the settings cannot be asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagedoor.cli.take_back import WITHIN, doors
from stagedoor.gateway.memory import READ_EVERY
from stagedoor.settings import Settings, parse
from tests.helpers.commands import say

ISSUER = '[[issuers]]\nissuer = "https://id.example.com"\naudience = ["api"]\n'
STATE = '[state]\nurl = "sqlite:///state.db"\nstale = "2m"\n'
KEYS = '[login]\nsession_keys = ["env:KEY"]\n'
PASSES = '[passes]\npublic_keys = { K1 = "ssm:/k1" }\n'


def settings(site: str, more: str = "") -> Settings:
    return parse(f"[site]\n{site}\n{more}", environ={"KEY": "k" * 40})


HTTPS, LOCAL = 'url = "https://assets.example.com"\n', 'url = "http://localhost:8080"\n'
S3, FOLDER, ELSEWHERE = (
    'store = "s3://bucket"',
    'store = "memory:"',
    'store = "s3://bucket"\nendpoint = "https://s3.internal"',
)

GUARD = {"your program's Guard": 5}


@pytest.mark.parametrize(
    ("site", "more", "expected"),
    [
        (HTTPS + FOLDER, "", {}),
        (HTTPS + FOLDER, ISSUER, {"gateway": None}),
        (HTTPS + FOLDER, ISSUER + STATE, {"gateway": 5, **GUARD}),
        (HTTPS + S3, ISSUER, {"gateway": None, "edge": None, "API on AWS": None}),
        (HTTPS + S3, ISSUER + STATE, {"gateway": 5, **GUARD, "edge": None, "API on AWS": None}),
        (HTTPS, ISSUER + STATE, {"gateway": 5, **GUARD, "edge": None, "API on AWS": None}),
        (HTTPS + ELSEWHERE, ISSUER + STATE, {"gateway": 5, **GUARD}),
        (LOCAL + S3, ISSUER + STATE, {"gateway": 5, **GUARD}),
        (HTTPS + S3, PASSES, {"every door": None}),
        (HTTPS + FOLDER, ISSUER + STATE + PASSES, {"gateway": 5, **GUARD, "every door": None}),
    ],
)
def test_only_doors_that_the_settings_fit_are_named(site: str, more: str, expected: dict[str, int | None]) -> None:
    assert {one.door: one.within for one in doors(settings(site, more))} == expected


def test_without_keys_that_are_shared_no_other_door_takes_sessions() -> None:
    def taken(more: str) -> dict[str, bool]:
        return {one.door: "sessions" in one.what for one in doors(settings(HTTPS + S3, ISSUER + more))}

    assert taken("") == {"gateway": True, "edge": False, "API on AWS": False}
    assert taken(KEYS) == {"gateway": True, "edge": True, "API on AWS": True}
    assert taken("[gateway]\nworkers = 2\n") == {"gateway": False, "edge": False, "API on AWS": False}


def test_claims_that_are_stale_end_a_sign_in_at_doors_that_ask_no_state() -> None:
    sign_in = KEYS + 'client_id = "x"\nrenew = "10m"\n'
    details = {one.door: one.detail for one in doors(settings(HTTPS + S3, ISSUER + STATE + sign_in))}
    assert details["edge"] == "it asks no state; sessions from a sign-in not beyond 1200 s without renewal"
    details = {one.door: one.detail for one in doors(settings(HTTPS + S3, ISSUER + STATE + KEYS))}
    assert details["edge"] == "it asks no state"


def test_what_it_says_is_what_to_do() -> None:
    (gateway,) = doors(settings(HTTPS + FOLDER, ISSUER))
    assert gateway.words == "not before they end; name a place to remember what is taken back: [state] url"
    gateway, guard = doors(settings(HTTPS + FOLDER, ISSUER + STATE))
    assert guard.words == "within 5 s; as at the gateway; it takes nothing back itself"
    assert gateway.words.startswith("within 5 s; when the state has not answered for 120 s")
    (passes,) = doors(settings(HTTPS + FOLDER, PASSES))
    assert "public_keys" in passes.words


def test_five_seconds_are_more_than_two_looks_at_the_list() -> None:
    assert 2 * READ_EVERY < WITHIN


def test_programs_are_told_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stagedoor.toml").write_text(f"[site]\n{HTTPS}{FOLDER}\n{ISSUER}{STATE}")
    said = say(capsys, "check", "--settings", str(tmp_path / "stagedoor.toml"), "--json")
    gateway, _ = json.loads(said.out)["takesBack"]
    assert (gateway["door"], gateway["what"], gateway["within"]) == ("gateway", ["sessions", "tokens"], 5)
