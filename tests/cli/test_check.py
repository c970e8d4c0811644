"""`stagedoor check` refuses whatever `serve` would not start with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagedoor.cli import main
from tests.helpers.serving import TLS, certificate, prepare, settings_text


def test_a_key_that_does_not_fit_its_certificate_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path)
    settings, other = tmp_path / "stagedoor.toml", tmp_path / "other"
    other.mkdir()
    certificate(other)
    certificate(tmp_path)
    settings.write_text(settings_text(more=TLS))
    assert main(["check", "--settings", str(settings)]) == 0
    (other / "key.pem").replace(tmp_path / "key.pem")
    capsys.readouterr()
    assert main(["check", "--settings", str(settings)]) == 1
    assert (
        f"{tmp_path / 'key.pem'} is not the key of the certificate {tmp_path / 'cert.pem'}" in capsys.readouterr().err
    )
    assert main(["check", "--settings", str(settings), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["errors"][0]["setting"] == "gateway.tls"


@pytest.mark.parametrize("command", ["check", "serve"])
def test_settings_in_the_folder_that_is_served_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    prepare(tmp_path)
    settings = tmp_path / "files/stagedoor.toml"
    settings.write_text(settings_text('store = "."', jwks="../jwks.json"))
    assert main([command, "--settings", str(settings)]) == 1
    assert "stagedoor.toml lies in the folder that is served" in capsys.readouterr().err
