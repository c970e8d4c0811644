"""Who asks, as the commands are told it: claims from a file, a token, or nobody in particular."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import InvalidToken
from .output import WrongUsage
from .token import read_token

if TYPE_CHECKING:
    from ..core.caller import Caller
    from ..settings import Settings

Claims = Annotated[
    str | None, typer.Option("--as", metavar="FILE", help="claims of the caller as JSON; - reads standard input")
]
Anonymous = Annotated[bool, typer.Option("--anonymous", help="ask for somebody who is not signed in")]
Bearer = Annotated[
    str | None, typer.Option("--token", metavar="TOKEN", help="a token, a file with one, or -; it is verified")
]
IssuerName = Annotated[
    str | None, typer.Option("--issuer", metavar="NAME", help="whose claims, where they name no iss")
]


def find_caller(
    claims: str | None,
    anonymous: bool,
    bearer: str | None,
    issuer: str | None,
    settings: Settings,
    notes: list[str],
) -> Caller:
    """The caller that exactly one of the options names.

    Args:
        claims, anonymous, bearer, issuer: what was given for the options above.
        settings: the issuers.
        notes: gets what would keep a real token with these claims out.

    Raises:
        WrongUsage: none or several of them were given, or claims that are nobody's.
        InvalidToken, KeysUnavailable: the token proves nothing.
    """
    from ..core.caller import ANONYMOUS

    if (claims is not None) + anonymous + (bearer is not None) != 1:
        raise WrongUsage("say who asks: one of --as FILE, --token TOKEN and --anonymous")
    if claims is not None:
        return _claimed(_read(claims), issuer, settings, notes)
    if bearer is None:
        return ANONYMOUS
    from .services import verify

    try:
        return verify(read_token(bearer), settings, time.time())
    except InvalidToken as error:
        raise InvalidToken(f"{error}\n  what to do: stagedoor token", code=error.code) from None


def _read(source: str) -> dict[str, object]:
    try:
        claims = json.loads(sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongUsage(f"{source} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise WrongUsage(f"the claims are not JSON: {error}") from None
    if not isinstance(claims, dict):
        raise WrongUsage('claims are a JSON object, for example {"sub": "ann", "groups": ["students"]}')
    return claims


def _claimed(claims: Mapping[str, object], named: str | None, settings: Settings, notes: list[str]) -> Caller:
    """Somebody with these claims; notes what would keep a real token with them out."""
    from ..core.caller import Caller
    from ..core.tokens import check_claims

    known = ", ".join(issuer.name for issuer in settings.issuers) or "there are none"
    by_name = [issuer for issuer in settings.issuers if named is None or named in (issuer.name, issuer.url)]
    fitting = [issuer for issuer in by_name if claims.get("iss", issuer.url) == issuer.url]
    if not by_name:
        raise WrongUsage(f"{named!r} is none of the issuers (known: {known})")
    if not fitting:
        raise WrongUsage(f"iss {claims['iss']!r} is not the issuer: leave iss out, or add it to [[issuers]]")
    if len(fitting) > 1:
        raise WrongUsage(f"there are several issuers: add iss to the claims, or --issuer (known: {known})")
    issuer = fitting[0]
    if "exp" in claims:  # these are a token's, not made up for the occasion
        try:
            check_claims({"iss": issuer.url, **claims}, issuer, time.time())
        except InvalidToken as error:
            notes.append(f"this is what the rules say; a token with these claims would not get as far: {error}")
    return Caller(issuer.name, issuer.url, claims, issuer.claims)
