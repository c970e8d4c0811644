"""How the commands speak, and what they are all told alike."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", "-s", metavar="FILE", help="default: $STAGEDOOR_SETTINGS, else stagedoor.toml here"),
]
AsJson = Annotated[bool, typer.Option("--json", help="answer in JSON")]


class WrongUsage(typer.TyperException):
    """The command cannot be understood as it was typed."""

    exit_code = 2


def say(text: str, style: str = "") -> None:
    """Answer, on standard output."""
    _print(text, style, stderr=False)


def complain(kind: str, text: str) -> None:
    """One message for people on standard error; what to do about it stands indented below."""
    styles = {"error": "red", "warning": "yellow"}
    text = re.sub(r"\bey[\w-]{8,}\.[\w.-]+", "(a token)", text)  # mistyped options are quoted by the parser
    _print(f"{kind}: {text}" if kind else text, styles.get(kind, ""), stderr=True)


def say_table(rows: Iterable[Sequence[str]]) -> None:
    """Answer in columns, each as wide as it must be."""
    from rich.cells import cell_len

    table = [[_plain(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())


def say_json(value: Mapping[str, object]) -> None:
    """Answer a program."""
    print(json.dumps(value, indent=2))


def ok(good: bool) -> str:
    return "ok" if good else "no"


_SPANS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))


def moment(at: float, now: float) -> str:
    """A moment as people say it, with the date."""
    seconds = int(abs(at - now))
    size, unit = next((span for span in _SPANS if seconds >= 2 * span[0]), _SPANS[-1])
    span, date = f"{seconds // size} {unit}", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
    return f"in {span} ({date})" if at > now else f"{span} ago ({date})"


def _print(text: str, style: str, *, stderr: bool) -> None:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for line in text.split("\n"):
        console.print(_plain(line), style=style or None)


def _plain(text: str) -> str:
    """Text of other people's making must not steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
