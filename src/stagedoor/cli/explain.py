"""`stagedoor explain`: may a caller read a key, and which rule decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .key_or_url import key_of
from .options import Anonymous, AsJson, Bearer, ClaimsFile, IssuerName, SettingsFile, find_caller, load_settings
from .output import complain, say, say_json, say_table

if TYPE_CHECKING:
    from ..core.caller import Caller
    from ..core.policy.decide import Policy


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
    notes += _objects(settings.policy, caller)
    answer = {**explanation(settings.policy, caller, wanted), "notes": notes}
    if as_json:
        say_json(answer)
    else:
        _say(answer)
    return 0 if answer["allowed"] else 1


def _objects(policy: Policy, caller: Caller) -> list[str]:
    """Notes about claims that rules ask for and that are objects, which owners seldom expect."""
    notes = []
    for name in sorted(policy.claim_names - {"sub"}):
        if not isinstance(caller.claim(name), Mapping):
            continue
        claim = caller.names.get(name, name)
        if name == "groups":
            counted = ", ".join(sorted(caller.values(name))) or "none"
            notes.append(f"{claim} is an object: its members' names count as groups ({counted})")
        else:
            notes.append(f"{claim} is an object, and no rule asks for one: name what is in it, {claim}.<member>")
    return notes


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
