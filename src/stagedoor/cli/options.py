"""Options that several commands share, and the values that they stand for."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import InvalidToken, Revoked, StateUnavailable
from .output import complain, remark

if TYPE_CHECKING:
    from ..core.caller import Caller
    from ..settings import Settings

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", "-s", metavar="FILE", help="default: $STAGEDOOR_SETTINGS, else stagedoor.toml here"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]

ClaimsFile = Annotated[
    str | None, typer.Option("--as", metavar="FILE", help="the caller's claims as JSON, in a file; - is standard input")
]
Anonymous = Annotated[bool, typer.Option("--anonymous", help="the caller is not signed in")]
Bearer = Annotated[
    str | None, typer.Option("--token", metavar="TOKEN", help="the caller's token, a file that holds it, or -")
]
MAX_WARNINGS = 50
"""Warnings that are printed before a command does its work: a pipe that nobody reads is full after 64 KB."""

IssuerName = Annotated[
    str | None, typer.Option("--issuer", metavar="NAME", help="issuer of the claims, if they have no iss")
]


class WrongUsage(typer.TyperException):
    """The command cannot be run as it was typed."""

    exit_code = 2


def load_settings(file: Path | None, *, overrides: Mapping[str, str] | None = None, warn: bool = False) -> Settings:
    """Load the settings.

    Args:
        file: from `--settings`.
        overrides: environment variables that win over the real ones.
        warn: print the warnings about the settings.

    Raises:
        SettingsError: as for `settings.load`.
    """
    from ..settings import load

    settings = load(file, {**os.environ, **(overrides or {})})
    if warn:
        complain("warning", *settings.warnings[:MAX_WARNINGS])
        if len(settings.warnings) > MAX_WARNINGS:
            complain("warning", f"{len(settings.warnings) - MAX_WARNINGS} more\n  see: stagedoor check")
    return settings


def read_token(text: str) -> str:
    """Read a token.

    Args:
        text: the token, the name of a file that holds it, or `-` for standard input; `Bearer` may precede the token.

    Raises:
        WrongUsage: there is no token, or more than one word.
    """
    if text == "-":
        if sys.stdin.isatty():
            remark("paste the token, then press enter and ctrl-d")
        text = sys.stdin.read(1_000_000)
    elif len(text) < 256 and (Path(text).is_file() or Path(text).is_fifo()):  # a longer text is a token
        text = Path(text).read_text(encoding="utf-8", errors="replace")
    text = re.sub(r"(?i)^(authorization:\s*)?bearer\s+", "", text.strip().strip("\"'"))
    if not text:
        raise WrongUsage("no token was given")
    if len(text.split()) > 1:
        raise WrongUsage("a token contains no spaces, this text does")
    return text


def find_caller(
    claims: str | None,
    anonymous: bool,
    bearer: str | None,
    issuer: str | None,
    settings: Settings,
    notes: list[str],
) -> Caller:
    """Return the caller that the options name.

    Args:
        claims, anonymous, bearer, issuer: values of the options above.
        settings: name the issuers.
        notes: receives the reason why a real token with these claims would be refused.

    Raises:
        WrongUsage: the options do not name exactly one caller.
        InvalidToken, Revoked, Unavailable: the token could not be verified, or was taken back.
    """
    from ..core.caller import ANONYMOUS

    if (claims is not None) + anonymous + (bearer is not None) != 1:
        raise WrongUsage("name the caller with one of --as FILE, --token TOKEN and --anonymous")
    if claims is not None:
        return _caller_with(_read_claims(claims), issuer, settings, notes)
    if bearer is None:
        return ANONYMOUS
    from .services import verify

    try:
        return verify(read_token(bearer), settings, time.time())
    except Revoked as error:
        raise Revoked(f"{error}\n  see what was taken back: stagedoor revoke --list", code=error.code) from None
    except InvalidToken as error:
        raise InvalidToken(f"{error}\n  see what is wrong with it: stagedoor token", code=error.code) from None


def _read_claims(source: str) -> dict[str, object]:
    try:
        claims = json.loads(sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongUsage(f"{source} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise WrongUsage(f"the claims are not JSON: {error}") from None
    if not isinstance(claims, dict):
        raise WrongUsage('claims are a JSON object, for example {"sub": "ann", "groups": ["students"]}')
    return claims


def _caller_with(claims: Mapping[str, object], name: str | None, settings: Settings, notes: list[str]) -> Caller:
    """Make a caller from claims; arguments and errors as for `find_caller`."""
    from ..core.caller import Caller
    from ..core.tokens import check_claims, check_identifiers

    named = [one for one in settings.issuers if name in (None, one.name, one.url)]
    fitting = [one for one in named if claims.get("iss", one.url) == one.url]
    if not named:
        known = ", ".join(one.name for one in settings.issuers) or "none"
        raise WrongUsage(f"there is no issuer {name or ''!r} in the settings (known: {known})")
    if not fitting:
        raise WrongUsage(f"iss {claims['iss']!r} is not the issuer: leave iss out, or add it to [[issuers]]")
    if len(fitting) > 1:
        names = ", ".join(one.name for one in fitting)
        raise WrongUsage(f"there are several issuers ({names}): add iss to the claims, or choose with --issuer")
    issuer = fitting[0]
    try:
        if "exp" in claims:  # the claims of a real token
            check_claims({"iss": issuer.url, **claims}, issuer, time.time())
        check_identifiers(claims, issuer.claims)
    except InvalidToken as error:
        notes.append(f"a token with these claims would be refused before the rules are asked: {error}")
    caller = Caller(issuer.name, issuer.url, claims, issuer.claims)
    if settings.state is not None:
        _note_taken_back(caller, settings, notes)
    return caller


def _note_taken_back(caller: Caller, settings: Settings, notes: list[str]) -> None:
    from .services import check_taken_back

    try:
        check_taken_back(caller, settings, time.time())
    except Revoked as error:
        notes.append(f"they would be refused before the rules are asked: {error}")
    except StateUnavailable as error:
        notes.append(f"nobody knows whether their access was taken back: {error}")
