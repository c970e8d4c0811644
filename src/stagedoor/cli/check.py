"""`stagedoor check`: the settings and the policy at a glance, and with `--online` whether other services answer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..core.errors import SettingsError
from .options import AsJson, SettingsFile, load_settings
from .output import complain, ok, say, say_json, say_table

if TYPE_CHECKING:
    from ..core.policy.rules import Rule
    from ..settings import Settings


class Found(NamedTuple):
    """Whether a service answers, and what it said."""

    name: str
    ok: bool
    detail: str


def command(
    file: SettingsFile = None,
    online: Annotated[
        bool, typer.Option("--online", help="also ask the issuers, the store, AWS and the catalogue")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="fail on warnings, too")] = False,
    as_json: AsJson = False,
) -> int:
    """check the settings and the policy, without serving.

    \b
    example:
      stagedoor check --settings stagedoor.toml --online
    """
    settings = _load(file, as_json)
    if settings is None:
        return 1
    found = _ask_services(settings) if online else []
    fine = all(one.ok for one in found) and not (strict and settings.warnings)
    summary = _summary(settings)
    if as_json:
        answers = {"online": [one._asdict() for one in found]} if online else {}
        say_json({"ok": fine, "errors": [], **summary, **answers})
        return 0 if fine else 1
    _say_summary(summary, found)
    complain("warning", *settings.warnings)
    say("not fine" if not fine else "fine, with warnings" if settings.warnings else "fine")
    return 0 if fine else 1


def _load(file: Path | None, as_json: bool) -> Settings | None:
    """Load the settings, and open what is on this machine; None if that fails and `--json` has said so."""
    from ..gateway.tls import make_context

    try:
        settings = load_settings(file)
        if settings.tls is not None:
            make_context(settings.tls)
        return settings
    except SettingsError as error:
        if not as_json:
            raise
        names = ("problem", "source", "line", "setting", "mend")
        say_json({"ok": False, "errors": [{name: getattr(error, name) for name in names}]})
        return None


# --- the settings


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
    """How passes are signed and verified: ids of keys and their names at AWS, never a key."""
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


def _who(rule: Rule) -> str:
    """The callers that a rule applies to, in words."""
    if rule.who != "matching":
        return rule.who
    conditions = [*rule.needs(), *([("issuer", rule.issuers)] if rule.issuers else [])]
    return ", ".join(f"{name} {' or '.join(sorted(values))}" for name, values in conditions)


def _say_summary(summary: Mapping[str, Any], found: list[Found]) -> None:
    rows = [
        ("settings", summary["settings"] or "the environment"),
        ("site", f"{summary['site']}, listening on {summary['listen']}"),
        ("store", summary["store"] or "none"),
    ]
    for one in summary["issuers"]:
        name = "" if one["name"] == one["issuer"] else f"{one['name']}: "
        rows.append(("issuer", f"{name}{one['issuer']}, for {', '.join(one['audience'])}"))
        rows.append(("", f"keys from {one['keys']}"))
    if summary["passes"]:
        rows += _pass_rows(summary["passes"])
    if summary["catalogue"]:
        rows.append(("catalogue", summary["catalogue"]))
    rows += [("inactive", f"{name}, which does nothing in this version") for name in summary["inactive"]]
    say_table(rows)
    width = max(len(name) for name, _ in rows)
    _say_section("rules", width, [(one["rule"], one["effect"], one["path"], one["who"]) for one in summary["rules"]])
    _say_section("online", width, [(ok(one.ok), one.name, one.detail) for one in found])


def _pass_rows(passes: Mapping[str, Any]) -> list[tuple[str, str]]:
    signs = "none are issued, because there is no private key"
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


def _say_section(name: str, width: int, rows: Iterable[tuple[str, ...]]) -> None:
    say_table(("" if number else name.ljust(width), *row) for number, row in enumerate(rows))


# --- the services


def _ask_services(settings: Settings) -> list[Found]:
    from .services import catalogue_failure, passes_failure, refresh, store_failure

    found: list[Found] = []

    def add(name: str, failure: str, good: str) -> None:
        found.append(Found(name, not failure, failure or good))

    for keys in refresh(settings, time.time()):
        add(keys.issuer.name, keys.failure, f"{len(keys.keys)} usable {'key' if len(keys.keys) == 1 else 'keys'}")
    if settings.store is not None:
        add("store", store_failure(settings), "ready")
    if _passes(settings):
        add("passes", passes_failure(settings), "every key is usable")
    if settings.catalogue is not None:
        add("catalogue", catalogue_failure(settings), "ready")
    return found
