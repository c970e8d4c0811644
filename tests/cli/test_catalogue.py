"""`stagedoor catalogue`: what a transcript cannot show. `tests/cli/transcripts/catalogue.txt` shows the rest."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from stagedoor.catalogue import open_catalogue
from stagedoor.cli import main
from stagedoor.core.messages import Content
from tests.helpers.stores import endpoint, let_in

SETTINGS = """
[site]
url = "https://assets.example.com"
store = "memory:"
[catalogue]
url = "{url}"
"""
CSV = 'id,key,title\r\nlesson-1,courses/1.mp4,"Say ""hello"", Zoë"\r\nlesson-2,courses/2.mp4,=1+1\r\n'


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings for a database in it."""
    for name in [name for name in os.environ if name.startswith("STAGEDOOR_")]:
        monkeypatch.delenv(name)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stagedoor.toml").write_text(SETTINGS.format(url="sqlite:///catalogue.db"))
    (tmp_path / "courses.csv").write_text(CSV, encoding="utf-8", newline="")
    return tmp_path


def entries(stage: Path) -> list[Content]:
    with closing(open_catalogue(f"sqlite://{stage}/catalogue.db")) as catalogue:
        return list(catalogue.entries())


def put(stage: Path, *values: Content) -> None:
    with closing(open_catalogue(f"sqlite://{stage}/catalogue.db", create=True)) as catalogue:
        catalogue.put(values)


def test_a_table_goes_in_and_out_as_it_was(stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "import", "courses.csv"]) == 0
    assert entries(stage)[0] == Content("lesson-1", "courses/1.mp4", 'Say "hello", Zoë')
    for name in ("out.csv", "out.json", "OUT.JSON"):
        assert main(["catalogue", "export", name]) == 0
        (stage / "catalogue.db").unlink()
        assert main(["catalogue", "import", name]) == 0
    (stage / "out.csv").rename(stage / "first.csv")
    assert main(["catalogue", "export", "out.csv"]) == 0
    assert (stage / "out.csv").read_bytes() == (stage / "first.csv").read_bytes()
    assert json.loads((stage / "OUT.JSON").read_text())[1]["title"] == "=1+1"


@pytest.mark.parametrize(
    ("arguments", "is_json"),
    [
        (["all.json"], True),
        (["all.txt"], False),
        (["all.json", "--format", "csv"], False),
        (["--format", "json"], True),
    ],
)
def test_the_format_is_the_one_named_else_what_the_file_ends_with(
    stage: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], is_json: bool
) -> None:
    put(stage, Content("a", "k"))
    assert main(["catalogue", "export", *arguments]) == 0
    text = capsys.readouterr().out if arguments[0] == "--format" else (stage / arguments[0]).read_text()
    assert text.startswith("[" if is_json else "id,key")


def test_standard_output_is_the_same_file_wherever_it_goes(stage: Path) -> None:
    """UTF-8 with CSV's line ends, even if the terminal has another encoding."""
    put(stage, Content("a", "k", "Zoë\r\nΩ"))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "stagedoor", "catalogue", "export"]
    done = subprocess.run(command, env=environ, cwd=stage, capture_output=True, check=True)
    assert done.stdout.decode() == 'id,key,title,content_type\r\na,k,"Zoë\r\nΩ",\r\n'
    assert done.stderr == b""


def test_an_export_that_fails_leaves_the_old_file_alone(stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(stage, *(Content(f"id-{i}", "k") for i in range(300)), Content("z", "k"))
    (stage / "out.json").write_text("[]")
    with closing(sqlite3.connect(stage / "catalogue.db", isolation_level=None)) as other:
        other.execute("UPDATE contents SET key = '/k' WHERE id = 'z'")
    before = sorted(stage.iterdir())
    assert main(["catalogue", "export", "out.json"]) == 1
    assert "entry 'z': a key has no leading slash" in capsys.readouterr().err
    assert (stage / "out.json").read_text() == "[]"
    assert sorted(stage.iterdir()) == before


def test_an_export_is_for_its_owner_only(stage: Path) -> None:
    put(stage, Content("a", "k"))
    assert main(["catalogue", "export", "out.csv"]) == 0
    assert (stage / "out.csv").stat().st_mode & 0o777 == 0o600


def test_what_is_no_file_is_written_to_and_not_replaced(stage: Path) -> None:
    put(stage, Content("a", "k"))
    (stage / "target").symlink_to(os.devnull)
    assert main(["catalogue", "export", "target"]) == 0
    assert (stage / "target").is_symlink()


def test_a_bad_line_far_down_keeps_the_whole_file_out(stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(stage, Content("a", "k"))
    with (stage / "courses.csv").open("a", newline="") as out:
        out.writelines(f"id-{i},k,\r\n" for i in range(3000))
        out.write("id-3000,../k,\r\n")
    assert main(["catalogue", "import", "courses.csv"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: courses.csv:3004: entry 'id-3000': no request can name its key '../k'")
    assert said.err.endswith("\n  nothing was imported\n")
    assert entries(stage) == [Content("a", "k")]


def test_an_import_makes_nothing_of_a_bad_file(stage: Path) -> None:
    (stage / "courses.csv").write_text("key\n")
    assert main(["catalogue", "import", "courses.csv"]) == 1
    assert not (stage / "catalogue.db").exists()


@pytest.mark.parametrize("command", [["get", "a"], ["remove", "a"], ["export"]])
def test_looking_makes_no_database(stage: Path, command: list[str]) -> None:
    assert main(["catalogue", *command]) == 1
    assert not (stage / "catalogue.db").exists()


def test_progress_is_for_terminals_only(
    stage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["catalogue", "import", "courses.csv"])
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    main(["catalogue", "import", "courses.csv"])
    said = capsys.readouterr()
    assert "checking" in said.err
    assert "writing" in said.err
    assert "imported 2 entries from courses.csv" in said.out
    main(["catalogue", "export", "--format", "json"])
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_machines_get_stable_keys(stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "import", "courses.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"imported": 2}
    assert main(["catalogue", "get", "lesson-2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "id": "lesson-2",
        "key": "courses/2.mp4",
        "title": "=1+1",
        "contentType": "",
        "attributes": {},
    }
    assert main(["catalogue", "get", "lesson-3", "--json"]) == 1
    assert capsys.readouterr().out == ""


def test_titles_cannot_steer_the_terminal(stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b[2J\u202e\x07[red]x\n"
    put(stage, Content("a", "k", hostile, attributes={"level": hostile}))
    assert main(["catalogue", "get", "a"]) == 0
    said = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in said)
    assert len(said.splitlines()) == 5
    assert "[red]" in said


def test_every_command_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("import", "export", "get", "put", "remove"):
        assert main(["catalogue", command, "--help"]) == 0
        assert re.search(rf"examples?:\n.*stagedoor catalogue {command}", capsys.readouterr().out, re.DOTALL), command
    assert main(["catalogue"]) == 2
    assert "stagedoor catalogue import" in capsys.readouterr().err


def test_help_loads_no_database() -> None:
    script = (
        "import sys; from stagedoor.cli import main; main(['catalogue', '--help']);"
        "print(sorted({'sqlite3', 'botocore', 'tomllib'} & set(sys.modules)))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


# --- DynamoDB


@pytest.fixture
def dynamo(stage: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Settings for a table that does not exist yet."""
    let_in(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint())
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"cli-{stage.name}"
    (stage / "stagedoor.toml").write_text(SETTINGS.format(url=f"dynamodb://{name}"))
    return name


def test_a_table_in_dynamodb_is_made_filled_and_read(
    stage: Path, dynamo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["catalogue", "import", "courses.csv"]) == 0
    assert main(["catalogue", "put", "lesson-3", "courses/3.mp4", "--attribute", "level=advanced"]) == 0
    assert main(["catalogue", "remove", "lesson-1"]) == 0
    capsys.readouterr()
    assert main(["catalogue", "export", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["id"]: one["attributes"] for one in found} == {"lesson-2": {}, "lesson-3": {"level": "advanced"}}


def test_a_bad_file_reaches_no_table(stage: Path, dynamo: str, capsys: pytest.CaptureFixture[str]) -> None:
    """DynamoDB has no undo, so a bad line must be found before anything is written."""
    with (stage / "courses.csv").open("a", newline="") as out:
        out.write("id-3,/k,\r\n")
    assert main(["catalogue", "import", "courses.csv"]) == 1
    assert main(["catalogue", "get", "lesson-1"]) == 1
    assert f"error: there is no table {dynamo} in this region and account (us-east-1)" in capsys.readouterr().err


def test_without_credentials_it_says_so(
    stage: Path, dynamo: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert main(["catalogue", "get", "lesson-1"]) == 1
    assert f"error: table {dynamo} cannot be asked: Unable to locate credentials" in capsys.readouterr().err
