"""The script for a real account, with fake programs: it asks before it makes or deletes anything."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "aws" / "try-on-a-real-account.sh"
ACCOUNT = "123456789012"
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$(basename "$0") $*" in
  "aws sts "*) echo "$ACCOUNT" ;;
  *"describe-stacks"*CDKToolkit*) exit "${NO_BOOTSTRAP:-0}" ;;
  *"describe-stacks"*) [ -n "${THERE_ALREADY:-}" ] ;;
  *"admin-get-user"*) echo sub-of-the-user ;;
  *"admin-initiate-auth"*) echo a.b.c ;;
  "cdk deploy Pool "*) echo '{"Pool": {"UserPoolId": "us-east-1_Real01", "UserPoolClientId": "client01"}}' >pool.json ;;
  "cdk deploy Site "*) echo '{"Site": {"BucketName": "b", "SiteUrl": "https://d1.cloudfront.net"}}' >site.json ;;
  "cdk destroy Site "*) exit "${REPLICAS:-0}" ;;
  "curl "*) printf 'HTTP/2 401\\r\\nx-amzn-remapped-www-authenticate: Bearer\\r\\n' >whoami.txt ;;
  "stagedoor doctor "*) exit "${FOUND:-0}" ;;
esac
"""
MAKES = ("deploy", "admin-create-user", "s3 sync", "s3 cp", "destroy")


class Run(NamedTuple):
    code: int
    said: str
    calls: list[str]
    folder: Path

    def did(self, what: str) -> list[str]:
        return [call for call in self.calls if what in call]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs that record how they are called."""
    (tmp_path / "bin").mkdir()
    for name in ("aws", "cdk", "curl", "node", "stagedoor"):
        program = tmp_path / "bin" / name
        program.write_text(STAND_IN)
        program.chmod(0o755)
    return tmp_path


def run(machine: Path, typed: str, **more: str) -> Run:
    calls = machine / "calls"
    path = f"{machine / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "CALLS": str(calls), "ACCOUNT": ACCOUNT, "TMPDIR": str(machine), **more}
    done = subprocess.run([SCRIPT], input=typed, env=environment, capture_output=True, text=True, timeout=60)
    work = next(machine.glob("stagedoor-on-aws.*"), machine)
    return Run(done.returncode, done.stderr, calls.read_text().splitlines() if calls.exists() else [], work)


@pytest.mark.parametrize("typed", ["", "yes\n", "123456789013\n"])
def test_nothing_is_made_without_the_number_of_the_account(machine: Path, typed: str) -> None:
    ran = run(machine, typed)
    assert ran.code == 1
    assert "nothing was made" in ran.said
    assert not [call for call in ran.calls for what in MAKES if what in call]


@pytest.mark.parametrize(
    ("more", "says"),
    [({"THERE_ALREADY": "1"}, "has a stack Pool already"), ({"NO_BOOTSTRAP": "1"}, f"cdk bootstrap aws://{ACCOUNT}/")],
)
def test_it_refuses_an_account_with_such_stacks_or_without_bootstrap(
    machine: Path, more: dict[str, str], says: str
) -> None:
    ran = run(machine, f"{ACCOUNT}\n", **more)
    assert ran.code == 1
    assert says in ran.said
    assert not [call for call in ran.calls for what in MAKES if what in call]


def test_it_deploys_attacks_and_deletes(machine: Path) -> None:
    ran = run(machine, f"{ACCOUNT}\ndelete\n")
    assert ran.code == 0, ran.said
    order = [call for call in ran.calls if call.startswith(("cdk ", "stagedoor "))]
    assert [" ".join(call.split()[:3]) for call in order] == [
        "cdk deploy Pool",
        "stagedoor check --settings",
        "cdk deploy Site",
        "stagedoor doctor https://d1.cloudfront.net",
        "cdk destroy Site",
        "cdk destroy Pool",
    ]
    (doctor,) = ran.did("stagedoor doctor")
    assert "--path /users/sub-of-the-user/shore.png" in doctor
    assert ran.did("s3 cp")[0].endswith("s3://b/users/sub-of-the-user/shore.png")
    settings = (ran.folder / "stagedoor.toml").read_text()
    assert "us-east-1_Real01" in settings
    assert "client01" in settings
    assert not list(ran.folder.glob("*.token"))
    assert json.loads((ran.folder / "site.json").read_text())["Site"]["BucketName"] == "b"


def test_it_shows_the_header_that_api_gateway_may_rename(machine: Path) -> None:
    ran = run(machine, f"{ACCOUNT}\ndelete\n")
    (asked,) = ran.did("curl")
    assert asked.endswith(" https://d1.cloudfront.net/-/whoami")
    assert "oken" not in asked
    assert "x-amzn-remapped-www-authenticate: Bearer" in ran.said
    assert "x-amzn-remapped" in (ran.folder / "whoami.txt").read_text()


def test_it_deletes_nothing_without_consent_and_says_what_stays(machine: Path) -> None:
    ran = run(machine, f"{ACCOUNT}\nno\n")
    assert ran.code == 1
    assert ran.did("stagedoor doctor")
    assert not ran.did("destroy")
    assert "both stacks stay" in ran.said


def test_a_finding_of_the_doctor_is_the_exit_code_even_after_deletion(machine: Path) -> None:
    ran = run(machine, f"{ACCOUNT}\ndelete\n", FOUND="1", REPLICAS="1")
    assert ran.code == 1
    assert len(ran.did("cdk destroy")) == 2
    assert "tomorrow" in ran.said
