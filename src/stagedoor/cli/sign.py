"""`stagedoor sign`: passes from the owner's own hand."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple
from urllib.parse import quote

import typer

from ..core import paths
from ..core.errors import InvalidRequest, InvalidTarget
from . import key_or_url
from .output import SettingsFile, WrongUsage, complain, moment

if TYPE_CHECKING:
    from ..core.passes import Signer
    from ..settings import Settings

LAST_MOMENT = 2**31 - 1
"""End of the latest pass: beyond it is no moment to many programs that read one (2038-01-19)."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def command(context: typer.Context) -> int:
    """sign a URL, or cookies for a folder, with the site's key.

    This is for the owner: the rules are not asked. Who has such a URL or such
    cookies reads what they are for until they end. A site's callers get theirs
    from /-/urls and /-/cookies, where the rules decide.

    \b
    example:
      stagedoor sign url courses/7/lesson.mp4 --expires-in 2h
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        return 2
    return 0


def _duration(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9})(s|m|h|d)", text)
    if not match:
        raise typer.BadParameter(f'{text!r} is no duration: write for example "30s", "15m", "8h" or "2d"')
    return int(match[1]) * _UNITS[match[2]]


ExpiresIn = Annotated[
    int | None,
    typer.Option(metavar="DURATION", parser=_duration, help="how long from now; default: [passes] max_lifetime"),
]
StartsIn = Annotated[
    int | None, typer.Option(metavar="DURATION", parser=_duration, help="not good before; default: at once")
]
Network = Annotated[
    str | None, typer.Option("--ip", metavar="ADDRESS", help="for this IPv4 address or network only: 192.0.2.0/24")
]


class _Term(NamedTuple):
    now: int
    expires: int
    starts: int | None


@app.command("url")
def url(
    wanted: Annotated[str, typer.Argument(metavar="KEY", help="the object's key, or its URL on the site")],
    expires_in: ExpiresIn = None,
    starts_in: StartsIn = None,
    network: Network = None,
    wildcard: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="it opens all of these: * is any text, ? one character")
    ] = None,
    file: SettingsFile = None,
) -> int:
    """sign a URL; it alone goes to standard output.

    The rules are not asked. A key is written as it is, not percent-encoded; a
    URL stays as it is, with its query.

    \b
    examples:
      curl "$(stagedoor sign url courses/7/lesson.mp4)"
      stagedoor sign url 'courses/7/a b.pdf' --expires-in 2h --ip 192.0.2.0/24
      stagedoor sign url courses/7/film.m3u8 --wildcard 'courses/7/*'
    """
    settings, signer = _open(file)
    notes: list[str] = []
    address = key_or_url.url_of(wanted, settings, notes)
    resource = None if wildcard is None else _resource(wildcard, address, settings)
    term = _term(expires_in, starts_in, settings)
    try:
        signed = signer.url(address, term.expires, starts=term.starts, network=network, resource=resource)
    except InvalidTarget as error:
        raise WrongUsage(str(error)) from None
    for note in notes:
        complain("note", note)
    _talk([resource or address], term, network, settings)
    print(signed)
    return 0


@app.command("cookies")
def cookies(
    prefixes: Annotated[list[str], typer.Argument(metavar="PREFIX...", help="folders; none inside another")],
    expires_in: ExpiresIn = None,
    starts_in: StartsIn = None,
    network: Network = None,
    format_: Annotated[
        Literal["curl", "set-cookie", "json"],
        typer.Option("--format", help="a line for curl, header fields for a browser, or JSON"),
    ] = "curl",
    file: SettingsFile = None,
) -> int:
    """sign cookies that open whole folders.

    The rules are not asked. Each folder has cookies of its own: with --format
    curl they are one line for each folder.

    \b
    examples:
      curl -H "$(stagedoor sign cookies courses/7/)" https://assets.example.com/courses/7/lesson.mp4
      stagedoor sign cookies courses/7/ courses/8/ --format json
    """
    from ..core.endpoints.cookies import folders_of

    settings, signer = _open(file)
    try:
        folders = folders_of([key_or_url.prefix_of(prefix, settings) for prefix in prefixes])
        term = _term(expires_in, starts_in, settings)
        made = {}
        for folder in folders:
            resource = f"{settings.url}{paths.encode(folder)}*"
            made[folder] = signer.cookies(resource, term.expires, starts=term.starts, network=network)
    except InvalidRequest as error:
        raise WrongUsage(str(error)) from None
    _talk([f"{settings.url}{paths.encode(folder)}*" for folder in folders], term, network, settings)
    print(_written(format_, made, term, settings))
    return 0


def _open(file: Path | None) -> tuple[Settings, Signer]:
    """The settings and the signer.

    Raises:
        SettingsError: there is no private key, either.
    """
    from ..core.errors import SettingsError
    from ..settings import load
    from .services import open_signer

    settings = load(file)
    signer = open_signer(settings)
    if signer is None:
        raise SettingsError(
            "there is no private key to sign with",
            source=str(settings.source or "environment"),
            setting="passes.private_key",
            mend="make a pair, and see what to put where: stagedoor keys new",
        )
    return settings, signer


def _term(expires_in: int | None, starts_in: int | None, settings: Settings) -> _Term:
    now, most = int(time.time()), settings.pass_lifetime
    lifetime = most if expires_in is None else expires_in
    expires, starts = now + lifetime, now + starts_in if starts_in else None
    if lifetime <= (starts_in or 0):
        raise WrongUsage("the pass would be over before it is good: give a longer --expires-in")
    if expires > LAST_MOMENT:
        raise WrongUsage(f"a pass ends before {_date(LAST_MOMENT)}: give a shorter --expires-in")
    if lifetime > most:
        complain("warning", "this pass lasts longer than [passes] max_lifetime lets those of callers last")
    return _Term(now, expires, starts)


def _resource(pattern: str, address: str, settings: Settings) -> str:
    """The URL with wildcards that a pattern of keys stands for, or that was given as one."""
    from ..core.passes import matches

    if key_or_url.is_url(pattern):
        key_or_url.check_site(pattern, settings)
        resource = pattern
    else:
        pattern = pattern.removeprefix("/")
        try:
            paths.check_key(pattern)
        except InvalidTarget as error:
            raise WrongUsage(f"no key is like {pattern!r}: {error}") from None
        resource = f"{settings.url}/{quote(pattern, safe='/~*?')}"
    if not matches(resource, address):
        raise WrongUsage(f"{pattern!r} does not name {address}, so this URL would not open itself")
    return resource


def _talk(resources: Sequence[str], term: _Term, network: str | None, settings: Settings) -> None:
    """Say what it is that was made, for whoever reads along."""
    if f"{settings.url}/*" in resources:
        complain("warning", "this opens every object of the site")
    place = f" for {network} only" if network else ""
    start = f"begins {moment(term.starts, term.now)}, " if term.starts else ""
    for resource in resources:
        complain("", f"opens {resource}{place}; {start}ends {moment(term.expires, term.now)}")


def _written(format_: str, made: Mapping[str, Mapping[str, str]], term: _Term, settings: Settings) -> str:
    """The cookies of each folder, in one of the formats."""
    if format_ == "json":
        folders = [{"prefix": one, "path": paths.encode(one), "cookies": made[one]} for one in made]
        return json.dumps({"expires": term.expires, "starts": term.starts, "folders": folders}, indent=2)
    if format_ == "curl":
        return "\n".join("Cookie: " + "; ".join(map("=".join, cookies.items())) for cookies in made.values())
    attributes = f"Max-Age={term.expires - term.now}; HttpOnly; SameSite=Lax{'; Secure' * settings.secure}"
    return "\n".join(
        f"Set-Cookie: {name}={value}; Path={paths.encode(folder)}; {attributes}"
        for folder, cookies in made.items()
        for name, value in cookies.items()
    )


def _date(at: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
