"""`stagedoor sign`: passes for the site's owner."""

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
from ..core.errors import InvalidRequest, InvalidTarget, SettingsError
from .key_or_url import check_site, is_url, prefix_of, url_of
from .options import SettingsFile, WrongUsage, load_settings
from .output import complain, help_without_command, moment, remark

if TYPE_CHECKING:
    from ..core.passes.signer import Signer
    from ..settings import Settings

LAST_END = 2**31 - 1
"""The latest end of a pass, in epoch seconds (2038-01-19): many programs read no later time."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def command(context: typer.Context) -> int:
    """sign a URL, or cookies for a folder, with the site's key.

    This is for the site's owner: the rules are not asked. Anyone who has the
    URL or the cookies can read what they open, until they end. Callers of the
    site get theirs from /-/urls and /-/cookies, where the rules decide.

    \b
    example:
      stagedoor sign url courses/7/lesson.mp4 --expires-in 2h
    """
    return help_without_command(context)


def _duration(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9})(s|m|h|d)", text)
    if not match:
        raise typer.BadParameter(f'{text!r} is not a duration: write for example "30s", "15m", "8h" or "2d"')
    return int(match[1]) * _UNITS[match[2]]


ExpiresIn = Annotated[
    int | None,
    typer.Option(metavar="DURATION", parser=_duration, help="how long it opens; default: [passes] max_lifetime"),
]
StartsIn = Annotated[
    int | None, typer.Option(metavar="DURATION", parser=_duration, help="when it begins to open; default: at once")
]
Network = Annotated[
    str | None, typer.Option("--ip", metavar="ADDRESS", help="only from this IPv4 address or network: 192.0.2.0/24")
]


class _Term(NamedTuple):
    """When a pass is signed, ends and begins, in epoch seconds; `starts` None: it begins at once."""

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
        str | None, typer.Option(metavar="PATTERN", help="open every match: * is any text, ? one character")
    ] = None,
    file: SettingsFile = None,
) -> int:
    """sign a URL that opens one object.

    The rules are not asked. Standard output has the URL alone. A key is written
    as it is, not percent-encoded; a URL is signed as it is, with its query.

    \b
    examples:
      curl "$(stagedoor sign url courses/7/lesson.mp4)"
      stagedoor sign url 'courses/7/a b.pdf' --expires-in 2h --ip 192.0.2.0/24
      stagedoor sign url courses/7/film.m3u8 --wildcard 'courses/7/*'
    """
    settings, signer = _open(file)
    notes: list[str] = []
    address = url_of(wanted, settings, notes)
    resource = None if wildcard is None else _resource(wildcard, address, settings)
    term = _term(expires_in, starts_in, settings)
    try:
        signed = signer.url(address, term.expires, starts=term.starts, network=network, resource=resource)
    except InvalidTarget as error:
        raise WrongUsage(str(error)) from None
    complain("note", *notes)
    _remark_what_opens([resource or address], term, network, settings)
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

    The rules are not asked. Each folder gets its own cookies: --format curl
    prints one line per folder.

    \b
    examples:
      curl -H "$(stagedoor sign cookies courses/7/)" https://assets.example.com/courses/7/lesson.mp4
      stagedoor sign cookies courses/7/ courses/8/ --format json
    """
    from ..core.endpoints.cookies import folders_of

    settings, signer = _open(file)
    try:
        folders = folders_of([prefix_of(prefix, settings) for prefix in prefixes])
        resources = {folder: f"{settings.url}{paths.encode(folder)}*" for folder in folders}
        term = _term(expires_in, starts_in, settings)
        signed = {
            folder: signer.cookies(resource, term.expires, starts=term.starts, network=network)
            for folder, resource in resources.items()
        }
    except InvalidRequest as error:
        raise WrongUsage(str(error)) from None
    _remark_what_opens(list(resources.values()), term, network, settings)
    print(_formatted(format_, signed, term, settings))
    return 0


def _open(file: Path | None) -> tuple[Settings, Signer]:
    """Load the settings and the private key.

    Raises:
        SettingsError: as for `load_settings`, or the settings name no private key.
    """
    from ..keys.pass_keys import open_passes

    settings = load_settings(file)
    _, signer = open_passes(settings.passes, settings.aws_region)
    if signer is None:
        raise SettingsError(
            "there is no private key to sign with",
            source=str(settings.source or "environment"),
            setting="passes.private_key",
            mend="make one: stagedoor keys new",
        )
    return settings, signer


def _term(expires_in: int | None, starts_in: int | None, settings: Settings) -> _Term:
    now, limit = int(time.time()), settings.pass_lifetime
    lifetime = limit if expires_in is None else expires_in
    expires, starts = now + lifetime, now + starts_in if starts_in else None
    if lifetime <= (starts_in or 0):
        raise WrongUsage("the pass would end before it begins: give a longer --expires-in")
    if expires > LAST_END:
        raise WrongUsage(f"a pass has to end before {_date(LAST_END)}: give a shorter --expires-in")
    if lifetime > limit:
        complain("warning", "this pass lasts longer than [passes] max_lifetime, the limit for callers")
    return _Term(now, expires, starts)


def _resource(pattern: str, address: str, settings: Settings) -> str:
    """Return the URL with wildcards for a pattern, which is itself such a URL or a key with wildcards."""
    from ..core.passes.wildcards import matches

    if is_url(pattern):
        check_site(pattern, settings)
        resource = pattern
    else:
        pattern = pattern.removeprefix("/")
        try:
            paths.check_key(pattern)
        except InvalidTarget as error:
            raise WrongUsage(f"no key can match {pattern!r}: {error}") from None
        resource = f"{settings.url}/{quote(pattern, safe='/~*?')}"
    if not matches(resource, address):
        raise WrongUsage(f"{pattern!r} does not match {address}, so this URL would not open its own object")
    return resource


def _remark_what_opens(resources: Sequence[str], term: _Term, network: str | None, settings: Settings) -> None:
    if f"{settings.url}/*" in resources:
        complain("warning", "this opens every object of the site")
    where = f" for {network} only" if network else ""
    start = f"begins {moment(term.starts, term.now)}, " if term.starts else ""
    for resource in resources:
        remark(f"opens {resource}{where}; {start}ends {moment(term.expires, term.now)}")


def _formatted(format_: str, signed: Mapping[str, Mapping[str, str]], term: _Term, settings: Settings) -> str:
    """The cookies of each folder in one of the formats."""
    if format_ == "json":
        folders = [{"prefix": one, "path": paths.encode(one), "cookies": signed[one]} for one in signed]
        return json.dumps({"expires": term.expires, "starts": term.starts, "folders": folders}, indent=2)
    if format_ == "curl":
        return "\n".join("Cookie: " + "; ".join(map("=".join, cookies.items())) for cookies in signed.values())
    attributes = f"Max-Age={term.expires - term.now}; HttpOnly; SameSite=Lax{'; Secure' * settings.secure}"
    return "\n".join(
        f"Set-Cookie: {name}={value}; Path={paths.encode(folder)}; {attributes}"
        for folder, cookies in signed.items()
        for name, value in cookies.items()
    )


def _date(at: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
