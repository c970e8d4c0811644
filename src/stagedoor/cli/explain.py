"""`stagedoor explain`: may somebody read a key, and which rule says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from .key_or_url import key_of
from .options import Anonymous, Bearer, Claims, IssuerName, find_caller
from .output import AsJson, SettingsFile, complain, say, say_json, say_table


def command(
    key: Annotated[str, typer.Argument(metavar="KEY", help="the object's key, or its URL on the site")],
    claims: Claims = None,
    anonymous: Anonymous = False,
    bearer: Bearer = None,
    issuer: IssuerName = None,
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
    from ..core.endpoints.explain import explanation
    from ..settings import load

    settings = load(file)
    notes: list[str] = []
    wanted = key_of(key, settings, notes)
    caller = find_caller(claims, anonymous, bearer, issuer, settings, notes)
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
