"""`stagedoor token`: verify a token stage by stage, as the site would."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import InvalidToken, IssuerUnavailable, StateUnavailable
from ..core.issuers import issuer_url
from .options import AsJson, SettingsFile, load_settings, read_token
from .output import moment, ok, say, say_json, say_table
from .token_mends import Unverified, mend

STAGES: Mapping[str, tuple[str, ...]] = {
    "shape": ("token-too-long", "token-shape", "token-type"),
    "issuer": ("token-issuer", "token-algorithm"),
    "key": ("token-key", "issuer-unavailable"),
    "signature": ("token-signature",),
    "claims": (),
    "state": ("revoked-person", "revoked-session", "revoked-token", "state-unavailable", "unavailable"),
}
"""The stages of `services.verify` in order, each with the codes that end in it; all other codes end in `claims`."""


def command(
    text: Annotated[
        list[str] | None, typer.Argument(metavar="TOKEN", help="the token, a file that holds it, or -")
    ] = None,
    file: SettingsFile = None,
    jwks: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="keys to use instead of the issuer's", exists=True, dir_okay=False),
    ] = None,
    unverified: Annotated[bool, typer.Option("--unverified", help="show the claims even if the token fails")] = False,
    as_json: AsJson = False,
) -> int:
    """verify a token as the site would; say what is wrong.

    The stages are shape, issuer, key, signature, claims, and where the site
    has a state, whether it was taken back. Without TOKEN it reads standard
    input, which keeps the token out of the shell's history.

    \b
    example:
      pbpaste | stagedoor token
      stagedoor token --jwks jwks.json - < token.txt
    """
    settings = load_settings(file)
    if jwks is not None:
        url = jwks.absolute().as_uri()
        settings = replace(settings, issuers=tuple(issuer._replace(jwks=url) for issuer in settings.issuers))
    value, now = read_token(" ".join(text or ["-"])), time.time()
    header, claims = _read_unverified(value)
    issuer = next((one for one in settings.issuers if one.url == issuer_url(claims.get("iss"))), None)
    answer = judge(Unverified(value, header, claims, issuer, settings, now))
    if unverified and answer["claims"] is None:
        answer["unverifiedClaims"] = claims
    if as_json:
        say_json(answer)
    else:
        _say(answer, now)
    return 0 if answer["valid"] else 1


def _read_unverified(value: str) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Header and claims of a token, empty where they cannot be read."""
    from ..core.jose import json_object, split

    try:
        jws = split(value)
        return jws.header, json_object(jws.payload, "payload")
    except InvalidToken:
        return {}, {}


def judge(token: Unverified) -> dict[str, Any]:
    """Verify a token; return what `--json` prints."""
    from .services import verify

    caller, error, failed = None, None, ""
    try:
        caller = verify(token.value, token.settings, token.now)
    except (InvalidToken, IssuerUnavailable, StateUnavailable) as failure:
        error = failure
        code = "issuer-unavailable" if isinstance(error.__cause__, IssuerUnavailable) else error.code
        failed = next((stage for stage, codes in STAGES.items() if code in codes), "claims")
    details = {
        "shape": f"JWT, {token.header.get('alg')}",
        "issuer": token.issuer.name if token.issuer else "",
        "key": f"kid {token.header['kid']}" if "kid" in token.header else "one that fits, because the token has no kid",
        "signature": "by a key of the issuer",
        "claims": _expiry(caller.expires if caller else token.claims.get("exp"), token.now),
        "state": "not taken back",
    }
    names = [stage for stage in STAGES if stage != "state" or token.settings.state is not None]
    passed = names[: names.index(failed)] if failed else names
    stages = [{"stage": name, "ok": True, "detail": details[name]} for name in passed]
    return {
        "valid": caller is not None,
        "stages": [*stages, {"stage": failed, "ok": False, "detail": str(error)}] if error else stages,
        "code": error.code if error else None,
        "problem": str(error) if error else None,
        "mend": (mend(error.code, token) if error else "") or None,
        "caller": caller.label if caller else None,
        "claims": token.claims if failed in ("", "claims", "state") else None,
    }


def _expiry(end: object, now: float) -> str:
    return f"expires {moment(end, now)}" if isinstance(end, int | float) else ""


def _say(answer: Mapping[str, Any], now: float) -> None:
    say_table((one["stage"], ok(one["ok"]), one["detail"]) for one in answer["stages"])
    if answer["mend"]:
        say(f"  {answer['mend']}")
    claims = answer["claims"] or answer.get("unverifiedClaims")
    if claims:
        say("")
        if not answer["claims"]:
            say("NOT verified, anyone can have written this:", "red")
        say_table((f"  {name}", _claim(name, value, now)) for name, value in claims.items())
        say("")
    if answer["valid"]:
        say(f"valid: {answer['caller']}", "green")
    else:
        say("not valid", "red")


def _claim(name: str, value: object, now: float) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if name in ("exp", "nbf", "iat", "auth_time") and type(value) in (int, float) and 0 <= float(text) < 2**53:
        return f"{text}, {moment(float(text), now)}"
    return text
