"""`stagedoor explain`: may somebody read a key, and which rule says so."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidTarget, InvalidToken
from .token import read_token
from .voice import AsJson, SettingsFile, WrongUsage, complain, say, say_json, say_table

if TYPE_CHECKING:
    from ..settings import Settings
    from ..tokens import Caller


def command(
    key: Annotated[str, typer.Argument(metavar="KEY", help="the object's key, or its URL on the site")],
    claims: Annotated[
        str | None, typer.Option("--as", metavar="FILE", help="claims of the caller as JSON; - reads standard input")
    ] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="ask for somebody who is not signed in")] = False,
    bearer: Annotated[
        str | None, typer.Option("--token", metavar="TOKEN", help="a token, a file with one, or -; it is verified")
    ] = None,
    issuer: Annotated[str | None, typer.Option(metavar="NAME", help="whose claims, where they name no iss")] = None,
    file: SettingsFile = None,
    as_json: AsJson = False,
) -> int:
    """say whether somebody may read a key, and why, rule by rule.

    \b
    examples:
      stagedoor explain --as claims.json courses/lesson-1.mp4
      echo '{"sub": "ann", "groups": ["students"]}' | stagedoor explain --as - users/ann/essay.pdf
      stagedoor explain --anonymous public/logo.png
    """
    from ..api import explanation
    from ..settings import load
    from ..tokens import ANONYMOUS

    if (claims is not None) + anonymous + (bearer is not None) != 1:
        raise WrongUsage("say who asks: one of --as FILE, --token TOKEN and --anonymous")
    settings = load(file)
    notes: list[str] = []
    wanted = _key(key, settings, notes)
    caller = ANONYMOUS
    if claims is not None:
        caller = _caller(_claims(claims), issuer, settings, notes)
    elif bearer is not None:
        from .outside import verify

        try:
            caller = verify(read_token(bearer), settings, time.time())
        except InvalidToken as error:
            complain("error", f"{error}\n  what to do: stagedoor token")
            return 1
    told = {**explanation(settings.policy, caller, wanted), "notes": notes}
    if as_json:
        say_json(told)
    else:
        _say(told)
    return 0 if told["allowed"] else 1


def _say(told: Mapping[str, Any]) -> None:
    if told["allowed"]:
        say(f"allowed: {told['reason']}", "green")
    else:
        say(f"denied: {told['reason']}", "red")
    say_table((("key", told["key"]), ("caller", told["caller"])))
    say("")
    say_table(
        (
            "->" if one["rule"] == told["rule"] else "  ",
            *(one[name] for name in ("rule", "effect", "path")),
            "applies" if one["applies"] else f"no: {one['reason']}",
        )
        for one in told["rules"]
    )
    for note in told["notes"]:
        complain("note", note)


def _key(text: str, settings: Settings, notes: list[str]) -> str:
    """The key that the door would decide on, from a key or a URL of the site."""
    from .. import paths

    try:
        if text.startswith(("https://", "http://")):
            if not text.startswith(settings.url + "/"):
                raise WrongUsage(f"that is not a URL of this site ({settings.url}): give the key itself")
            asked = paths.decode(text.removeprefix(settings.url).partition("?")[0].partition("#")[0].encode())
        else:
            asked = text.removeprefix("/")
            paths.check_key(asked)
            if "%" in asked:
                notes.append("a key is not percent-encoded; for what a URL names, give the whole URL")
    except InvalidTarget as error:
        raise WrongUsage(f"no object can have the key {text!r}: {error}") from None
    key = paths.object_key(asked, settings.index)
    if not key:
        raise WrongUsage("the empty key and keys that start with '-/' are never served")
    return key


def _claims(source: str) -> dict[str, object]:
    try:
        claims = json.loads(sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongUsage(f"{source} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise WrongUsage(f"the claims are not JSON: {error}") from None
    if not isinstance(claims, dict):
        raise WrongUsage('claims are a JSON object, for example {"sub": "ann", "groups": ["students"]}')
    return claims


def _caller(claims: Mapping[str, object], named: str | None, settings: Settings, notes: list[str]) -> Caller:
    """Somebody with these claims; notes what would keep a real token with them out."""
    from ..tokens import Caller, check_claims

    known = ", ".join(issuer.name for issuer in settings.issuers) or "there are none"
    by_name = [issuer for issuer in settings.issuers if named is None or named in (issuer.name, issuer.issuer)]
    fitting = [issuer for issuer in by_name if claims.get("iss", issuer.issuer) == issuer.issuer]
    if not by_name:
        raise WrongUsage(f"{named!r} is none of the issuers (known: {known})")
    if not fitting:
        raise WrongUsage(f"iss {claims['iss']!r} is not the issuer: leave iss out, or add it to [[issuers]]")
    if len(fitting) > 1:
        raise WrongUsage(f"there are several issuers: add iss to the claims, or --issuer (known: {known})")
    issuer = fitting[0]
    if "exp" in claims:  # these are a token's, not made up for the occasion
        try:
            check_claims({"iss": issuer.issuer, **claims}, issuer, time.time())
        except InvalidToken as error:
            notes.append(f"this is what the rules say; a token with these claims would not get as far: {error}")
    return Caller(issuer.name, issuer.issuer, claims, issuer.claims)
