"""What tests of the command line share: a folder, a clock that stands still, a small web."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from stagedoor.cli import main
from stagedoor.core.messages import Fetch, Fetched
from stagedoor.outside import fetch_sync
from tests.helpers.support import NOW, key_set, rsa_signer

typer.main.get_command = cache(typer.main.get_command)  # a process runs one command, and a test hundreds

WEB = {
    "https://id.example.com/tenant/.well-known/openid-configuration": json.dumps(
        {
            "issuer": "https://id.example.com/tenant",
            "jwks_uri": "https://id.example.com/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
        }
    ).encode(),
    "https://id.example.com/keys": key_set(rsa_signer()),
}


class Said(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


def say(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    """Run a command in this process."""
    capsys.readouterr()
    code = main(list(words))
    return Said(code, *capsys.readouterr())


def _from_web(wish: Fetch, within: float, tls: object = None) -> Fetched:
    return Fetched(WEB[wish.url]) if wish.url in WEB else Fetched(b"", "connection refused")


def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder the current one; stop the clock and the network."""
    for name in [name for name in os.environ if name.startswith(("STAGEDOOR_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setattr(fetch_sync, "_get", _from_web)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jwks.json").write_bytes(key_set(rsa_signer()))
    (tmp_path / "assets").mkdir()
    return tmp_path
