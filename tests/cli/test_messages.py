"""What commands say when something goes wrong: the thing that was typed, and no words of the machine."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from stagedoor.cli import main, options
from stagedoor.cli.options import read_token

SETTINGS = '[site]\nurl = "http://localhost"\nstore = "memory:"\n'


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("--listen", "somewhere", "--listen: 'somewhere' is not address and port; for example"),
        ("--workers", "5000", "--workers: this is a whole number from 1 to 1024"),
    ],
)
def test_an_option_is_named_and_not_the_variable_that_stands_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, problem: str
) -> None:
    (tmp_path / "stagedoor.toml").write_text(SETTINGS)
    assert main(["serve", "--settings", str(tmp_path / "stagedoor.toml"), option, value]) == 2
    said = capsys.readouterr().err
    assert problem in said
    assert "STAGEDOOR_" not in said


def test_a_variable_that_is_set_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEDOOR_LOG_ACCESS", "loud")
    (tmp_path / "stagedoor.toml").write_text(SETTINGS)
    assert main(["serve", "--settings", str(tmp_path / "stagedoor.toml"), "--workers", "2"]) == 1
    assert "environment: STAGEDOOR_LOG_ACCESS: 'loud' is not known" in capsys.readouterr().err


def test_an_error_of_the_machine_names_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> str:
        raise FileExistsError(17, "File exists", "here")

    monkeypatch.setattr("stagedoor.cli.token.read_token", fail)
    monkeypatch.setattr("stagedoor.cli.token.load_settings", lambda _: None)
    assert main(["token", "x"]) == 1
    assert capsys.readouterr().err == "error: here: File exists\n"


def test_a_token_comes_out_of_a_pipe_with_a_name(tmp_path: Path) -> None:
    """A shell's <(…) is one; it keeps the token out of the list of processes."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("Bearer a.b.c\n",))
    writer.start()
    assert read_token(str(pipe)) == "a.b.c"
    writer.join()
    assert options.read_token("a.b.c") == "a.b.c"
