"""The README and the pages behind it say what is true: examples parse, commands exist, links lead somewhere."""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

import stagedoor
from stagedoor import cli, settings
from tests.helpers.support import key_set, put_keys_of_passes, rsa_signer

ROOT = Path(__file__).parents[2]
README, PYTHON = ROOT / "README.md", ROOT / "docs/reference/python.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SITE = '[site]\nurl = "https://assets.example.com"\nstore = "memory:"\n'


class Block(NamedTuple):
    """A fenced example: where it stands, its language and its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str, pages: list[Path] | None = None) -> list[Block]:
    return [block for page in pages or PAGES for block in _blocks(page) if block.language == language]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[2], found[3])


def _prose(page: Path) -> str:
    """A page without its fenced examples."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


# --- examples


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_settings_in_a_page_are_right(block: Block, tmp_path: Path) -> None:
    """With the files that they name; a piece without [site] is read as part of a site."""
    text = block.text if "[site]" in block.text else SITE + block.text
    for name in re.findall(r'"(?:file:)?(?:\./)?([\w.-]+\.(?:key|pem|json))"', text):
        content = key_set(rsa_signer()) if name.endswith(".json") else b"only for tests, but long enough for a key"
        (tmp_path / name).write_bytes(content)
    for name in re.findall(r'^store *= *"\./([\w/-]+)"', text, re.MULTILINE):
        (tmp_path / name).mkdir(parents=True)
    settings.parse(text, tmp_path / "stagedoor.toml", put_keys_of_passes(text, tmp_path))


def test_the_eleven_lines_are_eleven_and_bring_no_warning(tmp_path: Path) -> None:
    (example,) = blocks("toml", [README])
    lines = [line for line in example.text.splitlines() if line.strip()]
    assert len(lines) == 11
    (tmp_path / "assets").mkdir()
    assert settings.parse(example.text, tmp_path / "stagedoor.toml").warnings == ()


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_in_a_page_is_python(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "stagedoor":
            assert {one.name for one in node.names} <= set(stagedoor.__all__)


# --- commands


class Command(NamedTuple):
    """`stagedoor …` as a page writes it."""

    place: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.place} {' '.join(self.words[:2])}"


def commands() -> list[Command]:
    found = []
    for block in blocks("sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            for part in re.split(r"\||&&|;", line.partition(" #")[0]):
                words = re.sub(r"\[options\]|[<>].*", "", part).replace("'", "").replace('"', "").split()
                if words and words[0] in ("stagedoor", "./stagedoor"):
                    found.append(Command(str(block), tuple(words[1:])))
    for page in PAGES:
        named = re.findall(r"`(?:\./)?stagedoor ([^`]+)`", _prose(page))
        found += [Command(str(page.relative_to(ROOT)), tuple(text.split())) for text in named]
    return sorted(set(found))


_APP: Any = typer.main.get_command(cli.app)
GROUPS = {name for name, command in _APP.commands.items() if hasattr(command, "commands")}
"""Commands that hold commands."""


@cache
def _help(*command: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = cli.main([*command, "--help"])
    assert code == 0, f"there is no command: stagedoor {' '.join(command)}"
    return out.getvalue()


@pytest.mark.parametrize("command", commands(), ids=str)
def test_a_command_in_a_page_exists(command: Command) -> None:
    first = command.words[0]
    named = command.words[: 2 if first in GROUPS and command.words[1:2] != ("COMMAND",) else 1]
    known = _help() if first.startswith("-") or first == "COMMAND" else _help(*named)
    for option in (word.partition("=")[0] for word in command.words if re.match(r"--?[a-z]", word)):
        assert re.search(rf"(?m)(?:^|[\s,/]){re.escape(option)}\b", known), (
            f"{option} is no option of {' '.join(named)}"
        )


@pytest.mark.parametrize("script", ["stagedoor", "test"])
def test_the_two_commands_are_there(script: str) -> None:
    assert any(block.text.startswith(f"./{script} ") for block in blocks("sh", [README]))
    assert os.access(ROOT / script, os.X_OK)


# --- links and names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = (page.parent / path).resolve() if path else page
        if not there.is_relative_to(ROOT) or not there.exists() or (anchor and anchor not in _anchors(there)):
            broken.append(target)
    assert broken == []


@cache
def _anchors(page: Path) -> frozenset[str]:
    """What GitHub makes of headings: lower case, no punctuation, hyphens for blanks, a number behind a second one."""
    found: set[str] = set()
    for heading in re.findall(r"(?m)^#+ +(.+)$", _prose(page)):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).strip().replace(" ", "-")
        names = itertools.chain([slug], (f"{slug}-{number}" for number in itertools.count(1)))
        found.add(next(name for name in names if name not in found))
    return frozenset(found)


def test_public_names_are_the_documented_ones() -> None:
    documented = re.findall(r"(?m)^\| `(\w+)` \|", _prose(PYTHON))
    assert sorted(documented) == sorted(stagedoor.__all__)
    for name in documented:
        assert getattr(stagedoor, name) is not None
