"""The command line, tested with transcripts that people can read: `tests/cli/transcripts/*.txt`.

A transcript has comments (`#`), commands (`$`), what they print (`!` marks standard error), `[exit N]` unless it is 0,
and then, each after a line `-- name --`, the files that it needs. Files `*.jwt` hold claims, which are signed when the
transcript is played. `$ID` stands for the random id of a key, `…` for a signature.
`UPDATE_TRANSCRIPTS=1 pytest tests/cli/test_transcripts.py` writes what the commands print now.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stagedoor.cli import COMMANDS, GROUPS, main
from tests.helpers import commands
from tests.helpers.support import NOW, claims, token

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))

RANDOM = (
    (re.compile(r"\bK[A-Z2-7]{13}\b"), "$ID"),
    (re.compile(r"(Signature(?:=|\": \"))[A-Za-z0-9~_-]{90,}"), r"\1…"),
)
"""Random parts of what is printed, and what stands for them in a transcript."""


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return commands.stage(tmp_path, monkeypatch)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(
    path: Path, stage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = path.read_text(encoding="utf-8")
    script, *sections = re.split(r"^-- (\S+) --\n", text, flags=re.MULTILINE)
    for name, content in zip(sections[::2], sections[1::2], strict=True):
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_text(_signed(content) if name.endswith(".jwt") else content, encoding="utf-8")
        os.utime(stage / name, (NOW, NOW))
    played = ""
    for line in script.splitlines():
        if line.startswith("#"):
            played += line + "\n"
        elif line.startswith("$ "):
            said = _play(line[2:], monkeypatch, capsys).replace(str(stage), "$DIR")
            for random, stands in RANDOM:
                said = random.sub(stands, said)
            played += line + "\n" + said + "\n"
    if "UPDATE_TRANSCRIPTS" in os.environ:
        path.write_text(played + text[len(script) :], encoding="utf-8")
    assert played == script


def _play(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run one command line: `NAME=value stagedoor … < file`."""
    words = shlex.split(line)
    with monkeypatch.context() as now:
        while "=" in words[0]:
            now.setenv(*words.pop(0).split("=", 1))
        stdin = ""
        if "<" in words:
            stdin = Path(words.pop()).read_text(encoding="utf-8")
            words.pop()
        now.setattr(sys, "stdin", io.StringIO(stdin))
        assert words[0] == "stagedoor"
        code = main(words[1:])
    out, err = capsys.readouterr()
    marked = "".join(f"! {said}".rstrip() + "\n" for said in err.splitlines())
    return out + marked + (f"[exit {code}]\n" if code else "")


def _signed(content: str) -> str:
    """Make a token: a good one but for the claims in `content`; `header` adds to its header, `broken` spoils it."""
    wanted = {"exp": int(NOW) + 600, **json.loads(content)}
    header, broken = wanted.pop("header", {}), wanted.pop("broken", False)
    text = token(claims(**{name: ... if value is None else value for name, value in wanted.items()}), **header)
    if broken:  # with the signature of another one
        text = text.rpartition(".")[0] + "." + token(claims(sub="bob")).rpartition(".")[2]
    return text


SETTINGS = """
[site]
url = "https://assets.example.com"
store = "./assets"
[[issuers]]
issuer = "https://id.example.com/tenant"
audience = "my-client-id"
jwks = "jwks.json"
[gateway]
metrics = "127.0.0.1:9464"
[[rules]]
path = "users/{sub}/**"
allow = "signed-in"
[[rules]]
path = "users/{sub}/**"
allow = "signed-in"
"""


def test_serve_passes_its_flags_on_and_says_what_is_odd_first(
    stage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (stage / "stagedoor.toml").write_text(SETTINGS)
    calls: list[tuple[object, ...]] = []

    def serve(path: Path | None, *, listen: str | None, workers: int | None) -> int:
        calls.append((path, listen, workers))
        return 0

    monkeypatch.setitem(sys.modules, "stagedoor.gateway.server", SimpleNamespace(serve=serve))
    assert main(["serve", "--listen", "127.0.0.1:9000", "--workers", "2"]) == 0
    assert calls == [(None, "127.0.0.1:9000", 2)]
    said = capsys.readouterr()
    assert said.out == ""
    assert "warning: stagedoor.toml:14: rules[1]: this rule repeats rules[0]" in said.err
    assert "inactive: [gateway] metrics does nothing in this version" in said.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (None, False, [])),
        (["--port", "9000", "--open"], (9000, True, [])),
        (["--no-browser"], (None, False, [])),
        (
            ["--also", "http://localhost:9000/", "--also", "http://[::1]"],
            (None, False, ["http://localhost:9000", "http://[::1]"]),
        ),
    ],
)
def test_demo_opens_a_browser_only_for_people(
    arguments: list[str], expected: tuple[int | None, bool, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int | None, bool, list[str]]] = []

    def run(port: int | None, open_browser: bool, others: list[str]) -> int:
        calls.append((port, open_browser, others))
        return 0

    monkeypatch.setitem(sys.modules, "stagedoor.demo", SimpleNamespace(run=run))
    assert main(["demo", *arguments]) == 0
    assert calls == [expected]


@pytest.mark.parametrize("url", ["https://example.com", "http://localhost.evil.example", "http://localhost:9000/x", ""])
def test_demo_signs_people_in_at_no_site_elsewhere(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--also", url]) == 2
    assert "--also: this is the origin of a site on this machine" in capsys.readouterr().err


def test_machines_get_stable_keys(stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stage / "stagedoor.toml").write_text(SETTINGS)
    (stage / "ann.jwt").write_text(token())
    (stage / "ann.json").write_text('{"sub": "ann"}')

    def answer(*arguments: str, code: int) -> dict[str, object]:
        assert main([*arguments, "--json"]) == code
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    checked = answer("check", "--online", code=0)
    assert set(checked) == {
        *("ok", "errors", "settings", "site", "listen", "store", "issuers", "rules", "signIn", "passes"),
        *("takesBack", "catalogue", "warnings", "inactive", "online"),
    }
    assert set(answer("explain", "--as", "ann.json", "users/bob/x", code=1)) == {
        *("key", "allowed", "rule", "reason", "caller", "rules", "notes")
    }
    valid = answer("token", "ann.jwt", code=0)
    assert set(valid) == {"valid", "stages", "code", "problem", "mend", "caller", "claims"}
    assert valid["caller"] == "https://id.example.com/tenant:ann"
    (stage / "stagedoor.toml").write_text("[sight]\n")
    assert answer("check", code=1)["errors"] == [
        {
            "problem": "unknown section",
            "source": "stagedoor.toml",
            "line": 1,
            "setting": "sight",
            "mend": "did you mean 'site'?",
        }
    ]


def test_no_command_prints_a_token(stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stage / "stagedoor.toml").write_text(SETTINGS)
    for text in (token(), token(claims(aud="x")), token(claims(), typ="other"), token()[:-9], token() + ".more"):
        (stage / "x.jwt").write_text(text)
        for arguments in (
            ["token", text],
            ["token", "x.jwt"],
            ["token", "Bearer", text],
            ["token", "--unverified", "--json", text],
            ["token", "one", text],
            ["explain", "--token", text, "users/ann/x"],
            ["explain", "--token", "Bearer", text, "users/ann/x"],
            ["check", text],
        ):
            main(arguments)
            said = "".join(capsys.readouterr())
            for part in text.split("."):
                assert part not in said, arguments


def test_claims_cannot_steer_the_terminal(stage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stage / "stagedoor.toml").write_text(SETTINGS)
    hostile = "\x1b[2J\u202e\x07[red]x"
    assert main(["token", token(claims(sub=hostile, name=[hostile], iat=2**70, nbf=0.0))]) == 0
    said = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in said)
    assert "[red]" in said


def test_colour_is_for_terminals_only(
    stage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (stage / "stagedoor.toml").write_text(SETTINGS)
    main(["explain", "--anonymous", "x"])
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    main(["explain", "--anonymous", "x"])
    assert "\x1b[31m" in capsys.readouterr().out


def test_every_command_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    inner = [f"{name} {command.name}" for name, group in GROUPS.items() for command in group.registered_commands]
    for command in (*COMMANDS, *GROUPS, *inner):
        assert main([*command.split(), "--help"]) == 0
        assert re.search(rf"examples?:\n.*stagedoor {command}", capsys.readouterr().out, re.DOTALL), command


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from stagedoor.cli import main; main(['--help']);"
        "print(sorted({'aiohttp', 'cryptography', 'aiobotocore', 'uvicorn', 'tomllib'} & set(sys.modules)))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize("module", ["stagedoor", "stagedoor.cli"])
def test_it_runs_as_a_module_too(module: str, tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", module, "check", "--settings", "absent.toml"]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: absent.toml: cannot be read: No such file or directory\n"
