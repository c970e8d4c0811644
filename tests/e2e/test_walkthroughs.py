"""Pages that are transcripts: each command is run as its reader would, and must say what the page says.

In a block of the language `console`, `$ ` begins a command, `> ` goes on with it, anything else is what it prints;
`…` in that stands for anything. `<!-- reload -->` is where the reader starts the server again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.helpers.servers import GATEWAY, HOST, Server, environment, free_port

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
PAGES = sorted(page.name for page in HOW_TO.glob("*.md") if "```console" in page.read_text(encoding="utf-8"))


class Step(NamedTuple):
    """One command of a page and what it must print; no command: the server is started again."""

    line: int
    command: str
    printed: str


class Reader:
    """Somebody who did the tutorial, and now follows another page, in a shell of their own."""

    def __init__(self, folder: Path) -> None:
        self._bin = folder / "bin"
        self._bin.mkdir()
        script = f'#!/bin/sh\nexec {sys.executable} -c "{GATEWAY}" "$@"\n'
        (self._bin / "stagedoor").write_text(script)
        (self._bin / "stagedoor").chmod(0o755)
        self._env = environment(folder, PATH=f"{self._bin}:{os.environ['PATH']}")
        demo_port, self._port = free_port(), free_port()
        site = f"http://localhost:{self._port}"
        command = [str(self._bin / "stagedoor"), "demo", "--port", str(demo_port), "--no-browser", "--also", site]
        self._demo = Server(command, folder, self._env, "demo")
        self._demo.until(lambda: "ann.token" in self._demo.out)
        token = re.search(r"T=\$\(cat (\S+)\)", self._demo.out)
        issuer = re.search(r'issuer\s+= "(\S+)"', self._settings_of_the_demo())
        assert token is not None
        assert issuer is not None
        self.site = folder / "my-site"
        self._ask(
            f"""mkdir my-site && cd my-site && stagedoor init --store ./assets --issuer {issuer[1]} \
            --client-id stagedoor-demo --listen {HOST}:{self._port} --url {site} &&
            mkdir -p assets/users/ann assets/users/ben""",
            folder,
        )
        for person in ("ann", "ben"):
            picture = httpx.get(f"http://{HOST}:{demo_port}/public/harbour.png").content
            (self.site / "assets" / "users" / person / "photo.png").write_bytes(picture)
        self._variables = f"T=$(cat {token[1]})\n"
        self._server: Server | None = None
        self.restart()

    def _settings_of_the_demo(self) -> str:
        found = re.search(r"settings\s+(\S+)", self._demo.out)
        assert found is not None
        return Path(found[1]).read_text()

    def restart(self) -> None:
        if self._server is not None:
            self._server.stop()
        command = [str(self._bin / "stagedoor"), "serve"]
        self._server = Server(command, self.site, self._env, "serve")
        self._server.until(self._answers)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://{HOST}:{self._port}/-/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def do(self, step: Step) -> str:
        """Run a command in the shell that has the variables of those before it; what it prints, errors too."""
        command = step.command.replace("localhost:9000", f"localhost:{self._port}")
        assigned = re.match(r"([A-Z]+)=\$\(", command)
        printed = self._ask(
            f"{self._variables}{command}\n" + (f"declare -p {assigned[1]}" if assigned else ""), self.site
        )
        if assigned:
            self._variables += printed[printed.index("declare -") :]
            printed = printed[: printed.index("declare -")]
        return printed.replace(f"localhost:{self._port}", "localhost:9000")

    def _ask(self, script: str, folder: Path) -> str:
        bash = shutil.which("bash")
        assert bash is not None
        done = subprocess.run(
            [bash, "-c", script],
            cwd=folder,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{script}\nprinted:\n{done.stdout}"
        return done.stdout

    def close(self) -> None:
        for server in (self._server, self._demo):
            if server is not None:
                server.stop()


def steps(page: Path) -> Iterator[Step]:
    inside, command, printed, started = False, "", [""], 0
    for number, line in enumerate([*page.read_text(encoding="utf-8").splitlines(), "```"], 1):
        ends = inside and (line == "```" or line.startswith("$ "))
        if ends and command:
            yield Step(started, command, "\n".join(printed))
            command = ""
        if line == "```console":
            inside = True
        elif inside and line == "```":
            inside = False
        elif inside and line.startswith("$ "):
            command, printed, started = line[2:], [], number
        elif inside and re.match(r">( |$)", line):
            command += "\n" + line[2:]
        elif inside:
            printed.append(line)
        elif line == "<!-- reload -->":
            yield Step(number, "", "")


def pattern(printed: str) -> re.Pattern[str]:
    parts = re.split(r"^…$\n?|…", printed.strip(), flags=re.MULTILINE)
    return re.compile(r"[\s\S]*?".join(re.escape(part) for part in parts) + r"\s*\Z")


@pytest.mark.needs("curl")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_its_commands_do(name: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        for step in steps(HOW_TO / name):
            if not step.command:
                reader.restart()
                continue
            printed = reader.do(step)
            assert pattern(step.printed).match(printed), f"{name}:{step.line}: {step.command}\nprinted:\n{printed}"
    finally:
        reader.close()


def test_there_are_such_pages() -> None:
    assert "share-for-a-while.md" in PAGES


def test_what_a_page_says_is_compared() -> None:
    assert pattern("one\n…\nfour").match("one\ntwo\nthree\nfour\n")
    assert pattern('{"a":"…"}').match('{"a":"b"}\n')
    assert not pattern('{"a":"…"}').match('{"b":"b"}\n')
    assert not pattern("200").match("200\n403\n")
    assert list(steps(HOW_TO / "share-for-a-while.md"))[1].command.startswith("cat >> stagedoor.toml")
