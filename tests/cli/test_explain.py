"""`stagedoor explain`: what owners are told about claims that they would not expect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagedoor.cli import main

SETTINGS = """
[site]
url = "https://assets.example.com"
[[issuers]]
issuer = "https://id.example.com"
audience = ["app"]
claims = { rank = "profile" }
[[rules]]
path = "a/**"
allow = { claims = { rank = ["high"] } }
"""


def test_a_claim_that_is_an_object_is_named_with_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stagedoor.toml").write_text(SETTINGS)
    for claims, note in (
        ({"profile": {"level": "high"}}, "profile is an object, and no rule asks for one: name what is in it"),
        ({"profile": "low"}, ""),
        ({"sub": {"id": "ann"}}, ""),
    ):
        (tmp_path / "claims.json").write_text(json.dumps(claims))
        asked = ["explain", "a/b", "--as", str(tmp_path / "claims.json")]
        assert main([*asked, "--settings", str(tmp_path / "stagedoor.toml")]) == 1
        said = capsys.readouterr().err
        assert note in said
        assert ("object" in said) is bool(note)
