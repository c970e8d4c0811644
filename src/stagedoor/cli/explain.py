"""`stagedoor explain`: may a caller read a key, and which rule decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from .key_or_url import key_of
from .options import Anonymous, AsJson, Bearer, ClaimsFile, IssuerName, SettingsFile, find_caller, load_settings
from .output import complain, say, say_json, say_table


def command(
    key: Annotated[str, typer.Argument(metavar="KEY", help="the object's key, or its URL on the site")],
    claims: ClaimsFile = None,
    anonymous: Anonymous = False,
    bearer: Bearer = None,
    issuer: IssuerName = None,
    file: SettingsFile = None,
    as_json: AsJson = False,
) -> int:
    """say whether a caller may read a key, and why, rule by rule.

    \b
    examples:
      stagedoor explain --as claims.json courses/lesson-1.mp4
      echo '{"sub": "ann", "groups": ["students"]}' | stagedoor explain --as - users/ann/essay.pdf
      stagedoor explain --anonymous public/logo.png
    """
    from ..core.endpoints.explain import explanation

    settings, notes = load_settings(file), list[str]()
    wanted = key_of(key, settings, notes)
    caller = find_caller(claims, anonymous, bearer, issuer, settings, notes)
    answer = {**explanation(settings.policy, caller, wanted), "notes": notes}
    if as_json:
        say_json(answer)
    else:
        _say(answer)
    return 0 if answer["allowed"] else 1


def _say(answer: Mapping[str, Any]) -> None:
    if answer["allowed"]:
        say(f"allowed: {answer['reason']}", "green")
    else:
        say(f"denied: {answer['reason']}", "red")
    say_table((("key", answer["key"]), ("caller", answer["caller"])))
    say("")
    say_table(
        (
            "->" if one["rule"] == answer["rule"] else "  ",
            *(one[name] for name in ("rule", "effect", "path")),
            "applies" if one["applies"] else f"no: {one['reason']}",
        )
        for one in answer["rules"]
    )
    complain("note", *answer["notes"])
