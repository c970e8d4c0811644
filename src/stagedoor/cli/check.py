"""`stagedoor check`: the settings and the policy at a glance, and with `--online` whether other services answer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..core.errors import SettingsError
from .options import AsJson, SettingsFile, load_settings
from .output import complain, ok, say, say_json, say_table
from .take_back import doors

if TYPE_CHECKING:
    from ..core.login import Client
    from ..core.policy.rules import Rule
    from ..settings import Settings


class Found(NamedTuple):
    """Whether a service answers, what it said, and where the setting stands that has to change, if one has to."""

    name: str
    ok: bool
    detail: str
    where: str = ""
    mend: str = ""


def command(
    file: SettingsFile = None,
    online: Annotated[
        bool,
        typer.Option("--online", help="also ask issuers, store, AWS, catalogue and state, and try sign-in"),
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
    for one in found:
        if one.mend and not one.ok:
            complain("error", ": ".join(filter(None, (one.where, one.name, one.detail))) + f"\n  {one.mend}")
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
        "signIn": _sign_in(settings),
        "passes": _passes(settings),
        "takesBack": [one._asdict() | {"words": one.words} for one in doors(settings)],
        "catalogue": settings.catalogue,
        "warnings": list(settings.warnings),
        "inactive": list(settings.inactive),
    }


def _sign_in(settings: Settings) -> dict[str, Any] | None:
    """Where people sign in, and what has to be registered there; None if nobody does."""
    from ..core.login import CALLBACK, LOGOUT

    if not settings.clients and settings.login_page is None:
        return None
    here = {
        "clients": [
            {
                "issuer": client.issuer.name,
                "clientId": client.id,
                "secret": bool(client.secret),
                "scopes": list(client.scopes),
            }
            for client in settings.clients
        ],
        "callback": settings.url + CALLBACK,
        "signedOut": settings.url + LOGOUT,
        "backchannelLogout": None if settings.state is None else settings.url + "/-/backchannel-logout",
    }
    return {
        "page": settings.login_page,
        **(here if settings.clients else {"clients": []}),
        "session": int(settings.session),
        "keysMadeAtStart": settings.session_keys_are_temporary,
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
    if summary["signIn"]:
        rows += _sign_in_rows(summary["signIn"])
    if summary["passes"]:
        rows += _pass_rows(summary["passes"])
    if summary["catalogue"]:
        rows.append(("catalogue", summary["catalogue"]))
    rows += [("inactive", f"{name}, which does nothing in this version") for name in summary["inactive"]]
    say_table(rows)
    width = max(len(name) for name, _ in rows)
    takes_back = [(one["door"], ", ".join(one["what"]), one["words"]) for one in summary["takesBack"]]
    _say_section("revoke", width, takes_back)
    _say_section("rules", width, [(one["rule"], one["effect"], one["path"], one["who"]) for one in summary["rules"]])
    _say_section("online", width, [(ok(one.ok), one.name, one.detail) for one in found])


def _sign_in_rows(sign_in: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if sign_in["page"]:
        leads = ", which leads on to /-/login" if sign_in["clients"] else ""
        rows.append(f"at the page {sign_in['page']}{leads}")
    for one in sign_in["clients"]:
        secret = "with a secret" if one["secret"] else "without a secret"
        rows.append(f"here, at {one['issuer']}, as client {one['clientId']}, {secret}")
    rows.append(f"sessions last {_duration(sign_in['session'])}")
    if sign_in["keysMadeAtStart"]:
        rows[-1] += ", and end when stagedoor does, because there are no session_keys"
    if sign_in["clients"]:
        rows.append(f"callback URL {sign_in['callback']}, after sign-out {sign_in['signedOut']}")
        if sign_in["backchannelLogout"]:
            rows.append(f"back-channel logout URL {sign_in['backchannelLogout']}")
        shared = "do not count there" if sign_in["keysMadeAtStart"] else "count there, with the same session_keys"
        rows.append(f"by the gateway alone: on AWS nobody signs in yet, and sessions made here {shared}")
    return [("" if number else "sign-in", row) for number, row in enumerate(rows)]


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
    from .services import catalogue_failure, passes_failure, refresh, state_failure, store_failure

    found: list[Found] = []

    def add(name: str, failure: str, good: str) -> None:
        found.append(Found(name, not failure, failure or good))

    for keys in refresh(settings, time.time()):
        add(keys.issuer.name, keys.failure, f"{len(keys.keys)} usable {'key' if len(keys.keys) == 1 else 'keys'}")
    found += _try_sign_in(settings)
    if settings.store is not None:
        add("store", store_failure(settings), "ready")
    if _passes(settings):
        add("passes", passes_failure(settings), "every key is usable")
    if settings.catalogue is not None:
        add("catalogue", catalogue_failure(settings), "ready")
    if settings.state is not None:
        add("state", state_failure(settings), "ready")
    return found


def _try_sign_in(settings: Settings) -> Iterator[Found]:
    """Try each client of sign-in as far as its provider lets it; what is wrong names the setting and its line."""
    if not settings.clients:
        return
    from ..core.login import Login
    from ..core.tokens import Tokens
    from ..keys import signatures
    from ..outside.look_sync import look
    from ..outside.trust import context_for
    from .services import fetcher
    from .try_sign_in import try_client

    tls, ask = context_for(settings.ca), fetcher(settings)
    login = Login(settings.url, settings.clients, Tokens(settings.issuers, signatures), time.monotonic)
    for client in settings.clients:
        for name, one in try_client(client, login, settings.url, ask, partial(look, tls=tls), time.time()):
            where = _place(settings, client, one.setting) if one.setting else ""
            yield Found(f"{client.issuer.name}: {name}", one.ok, one.detail, where, one.mend)


def _place(settings: Settings, client: Client, setting: str) -> str:
    """Where a setting of a client stands: in `[login]`, or at its issuer."""
    from ..settings import open_reader
    from ..settings.file import read

    source = settings.source
    reader = open_reader(read(source) if source else "", source, os.environ)
    number = [issuer.url for issuer in settings.issuers].index(client.issuer.url)
    at_issuer = setting.replace("login.", f"issuers[{number}].")
    if reader.get(setting) is None and reader.get(f"issuers[{number}].client_id") is not None:
        setting = at_issuer
    error = reader.error(setting, "")
    return f"{error.source}:{error.line}: {error.setting}" if error.line else f"{error.source}: {error.setting}"
