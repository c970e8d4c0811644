"""How commands print: answers on standard output, everything else on standard error."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence

import typer

from ..core.errors import without_credentials


def say(text: str, style: str = "") -> None:
    """Print an answer."""
    _print(text, style, stderr=False)


def say_table(rows: Iterable[Sequence[str]]) -> None:
    """Print an answer in columns, each as wide as its widest cell."""
    from rich.cells import cell_len

    table = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())


def say_json(value: Mapping[str, object]) -> None:
    """Print an answer for a program."""
    print(json.dumps(value, indent=2))


def complain(kind: str, *texts: str) -> None:
    """Print messages with their kind on standard error; what to do about one is its second line, indented."""
    for text in texts:
        _print(
            f"{kind}: {without_credentials(_without_tokens(text))}",
            {"error": "red", "warning": "yellow"}.get(kind, ""),
            stderr=True,
        )


def remark(text: str) -> None:
    """Print for the person at the terminal, on standard error."""
    _print(_without_tokens(text), stderr=True)


def ok(good: bool) -> str:
    return "ok" if good else "no"


_UNITS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))


def moment(at: float, now: float) -> str:
    """A moment in words and as a date: `in 5 minutes (2026-01-31 12:00 UTC)`."""
    seconds = int(abs(at - now))
    size, unit = next((pair for pair in _UNITS if seconds >= 2 * pair[0]), _UNITS[-1])
    distance, date = f"{seconds // size} {unit}", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
    return f"in {distance} ({date})" if at > now else f"{distance} ago ({date})"


def help_without_command(context: typer.Context) -> int:
    """Print a group's help if no command of it was named, which is wrong usage; return the exit code."""
    if context.invoked_subcommand is not None:
        return 0
    typer.echo(context.get_help(), err=True)
    return 2


def _without_tokens(text: str) -> str:
    """The parser quotes mistyped options, which may be tokens."""
    return re.sub(r"\bey[\w-]{8,}\.[\w.-]+", "(a token)", text)


def _print(text: str, style: str = "", *, stderr: bool) -> None:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for line in text.split("\n"):
        console.print(_printable(line), style=style or None)


def _printable(text: str) -> str:
    """Escape control characters, so that claims and file names cannot steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
