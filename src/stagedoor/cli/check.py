"""`stagedoor check`: the settings and the policy at a glance, and on request whether the outside answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..core.errors import SettingsError
from .output import AsJson, SettingsFile, complain, ok, say, say_json, say_table

if TYPE_CHECKING:
    from ..core.policy.rules import Rule
    from ..settings import Settings


class Found(NamedTuple):
    """What came of one question to the outside."""

    name: str
    ok: bool
    detail: str


def command(
    file: SettingsFile = None,
    online: Annotated[bool, typer.Option("--online", help="also ask issuers, store, AWS's keys and catalogue")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="warnings count as errors")] = False,
    as_json: AsJson = False,
) -> int:
    """look over the settings and the policy, without starting.

    \b
    example:
      stagedoor check --settings stagedoor.toml --online
    """
    settings = _load(file, as_json)
    if settings is None:
        return 1
    found = _ask_outside(settings) if online else []
    fine = all(one.ok for one in found) and not (strict and settings.warnings)
    told = _summary(settings)
    width = len("catalogue" if told["catalogue"] else "settings")
    if as_json:
        asked = {"online": [one._asdict() for one in found]} if online else {}
        say_json({"ok": fine, "errors": [], **told, **asked})
    else:
        _say_summary(told, width)
        say_table(("" if i else "online".ljust(width), ok(one.ok), one.name, one.detail) for i, one in enumerate(found))
        for warning in settings.warnings:
            complain("warning", warning)
        say("not fine" if not fine else "fine, with warnings" if settings.warnings else "fine")
    return 0 if fine else 1


def _load(file: Path | None, as_json: bool) -> Settings | None:
    """The settings; None if a program has been told what is wrong with them."""
    from ..settings import load

    try:
        return load(file)
    except SettingsError as error:
        if not as_json:
            raise
        names = ("problem", "source", "line", "setting", "mend")
        say_json({"ok": False, "errors": [{name: getattr(error, name) for name in names}]})
        return None


def _summary(settings: Settings) -> dict[str, Any]:
    from ..core.issuers import discovery_url, known_keys_url

    host, port = settings.listen
    return {
        "settings": str(settings.source) if settings.source else None,
        "site": settings.url,
        "listen": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "store": settings.store,
        "issuers": [
            {
                "name": one.name,
                "issuer": one.url,
                "audience": sorted(one.audience),
                "algorithms": sorted(one.algorithms),
                "keys": one.jwks or known_keys_url(one.url) or f"discovery at {discovery_url(one.url)}",
            }
            for one in settings.issuers
        ],
        "rules": [
            {"rule": rule.name, "path": rule.pattern, "effect": rule.effect, "who": _who(rule)}
            for rule in settings.policy.rules
        ],
        "passes": _passes(settings),
        "catalogue": settings.catalogue,
        "warnings": list(settings.warnings),
        "inactive": list(settings.inactive),
    }


def _passes(settings: Settings) -> dict[str, Any] | None:
    """What is signed with and what is verified with; no key is part of it, only where AWS keeps it."""
    passes = settings.passes
    if passes.key_id is None and not passes.public_keys:
        return None
    secrets = (passes.private_key, passes.passphrase, *passes.public_keys.values())
    return {
        "keyId": passes.key_id,
        "verifies": list(dict.fromkeys(filter(None, (passes.key_id, *passes.public_keys)))),
        "hash": passes.hash,
        "maxLifetime": settings.pass_lifetime,
        "perMinute": settings.passes_per_minute,
        "keptByAws": sorted({secret for secret in secrets if isinstance(secret, str)}),
    }


def _pass_rows(passes: Mapping[str, Any]) -> list[tuple[str, str]]:
    signs = "none are issued: there is no private key"
    if passes["keyId"]:
        signs = f"signed with {passes['keyId']} and {passes['hash']}, for up to {_duration(passes['maxLifetime'])}"
    rows = [("passes", signs), ("", f"verified with {', '.join(passes['verifies'])}")]
    if passes["keptByAws"]:
        rows.append(("", f"AWS keeps {', '.join(passes['keptByAws'])}"))
    return rows


def _duration(seconds: int) -> str:
    """Seconds as settings write them."""
    sizes = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    unit = next(unit for unit, size in sizes.items() if seconds % size == 0)
    return f"{seconds // sizes[unit]}{unit}"


def _say_summary(told: Mapping[str, Any], width: int) -> None:
    rows = [
        ("settings", told["settings"] or "the environment"),
        ("site", f"{told['site']}, listening on {told['listen']}"),
        ("store", told["store"] or "none"),
    ]
    for one in told["issuers"]:
        named = "" if one["name"] == one["issuer"] else f"{one['name']}: "
        rows.append(("issuer", f"{named}{one['issuer']}, for {', '.join(one['audience'])}"))
        rows.append(("", f"keys from {one['keys']}"))
    if told["passes"]:
        rows += _pass_rows(told["passes"])
    if told["catalogue"]:
        rows.append(("catalogue", told["catalogue"]))
    rows += [("inactive", f"{name}, read and not acted on in this version") for name in told["inactive"]]
    say_table(rows)
    say_table(
        ("" if i else "rules".ljust(width), rule["rule"], rule["effect"], rule["path"], rule["who"])
        for i, rule in enumerate(told["rules"])
    )


def _who(rule: Rule) -> str:
    """Who a rule is for, in words."""
    if rule.who != "matching":
        return rule.who
    conditions = [*rule.needs(), *([("issuer", rule.issuers)] if rule.issuers else [])]
    return ", ".join(f"{name} {' or '.join(sorted(values))}" for name, values in conditions)


def _ask_outside(settings: Settings) -> list[Found]:
    """Ask every issuer for its keys, and the store, AWS and the catalogue for what is needed of them."""
    from .services import catalogue_failure, passes_failure, refresh, store_failure

    found = []
    for source in refresh(settings, time.time()):
        usable = f"{len(source.keys)} {'key' if len(source.keys) == 1 else 'keys'} that can be used"
        found.append(Found(source.issuer.name, not source.failure, source.failure or usable))
    if settings.store is not None:
        failure = store_failure(settings)
        found.append(Found("store", not failure, failure or "ready"))
    if _passes(settings):
        failure = passes_failure(settings)
        found.append(Found("passes", not failure, failure or "every key can be used"))
    if settings.catalogue is not None:
        failure = catalogue_failure(settings)
        found.append(Found("catalogue", not failure, failure or "ready"))
    return found
