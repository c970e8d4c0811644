"""What to do about a token that fails, by the code of its error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..core.issuers import other_form
from .output import moment

if TYPE_CHECKING:
    from ..core.issuers import Issuer
    from ..settings import Settings

CLOCKS_DIFFER = 120
"""Seconds by which two clocks may differ; a token that is too old or too early by less may be a good one."""


class Unverified(NamedTuple):
    """A token with what it says of itself; anyone can have written it.

    Attributes:
        value: the token.
        header, claims: empty where they cannot be read.
        issuer: of the settings, with the token's `iss`; None: there is none.
        settings: to verify it with.
        now: epoch seconds.
    """

    value: str
    header: Mapping[str, object]
    claims: Mapping[str, object]
    issuer: Issuer | None
    settings: Settings
    now: float


def mend(code: str, token: Unverified) -> str:
    """Return what to do; "" if the error itself says all there is to say."""
    found = _MENDS.get(code, "")
    return found if isinstance(found, str) else found(token)


def _shape(token: Unverified) -> str:
    by_dots = {
        2: "it was cut or changed: copy the whole token, as the provider sent it",
        4: "it is encrypted (JWE): have the provider send signed tokens",
    }
    opaque = "opaque tokens cannot be verified: use an id token, or have the provider issue JWT access tokens"
    return by_dots.get(token.value.count("."), opaque)


def _issuer(token: Unverified) -> str:
    iss, known = str(token.claims.get("iss")), [one.url for one in token.settings.issuers]
    if iss.rstrip("/") in (one.rstrip("/") for one in known):
        return f"its iss is {iss!r}, yours differs by the slash at the end: write it as the token does"
    if other_form(iss) in known:
        return f"its iss is {iss!r}, the other issuer URL of the same Cognito pool: write it as the token does"
    if iss.startswith("https://sts.windows.net/") and any("//login.microsoftonline.com/" in one for one in known):
        return (
            f"its iss is {iss!r}: a token of Entra's version 1.0; set requestedAccessTokenVersion to 2 in the manifest "
            "of the API's app registration"
        )
    return f"its iss is {iss!r}, yours: {', '.join(known) or 'none'}; use another token, or add it to [[issuers]]"


def _algorithm(token: Unverified) -> str:
    alg = str(token.header["alg"])
    if token.claims.get("aud") == token.settings.url:
        return "this is a session cookie of the site: it works as that cookie, not as a token"
    if alg.startswith("HS") or alg == "none":
        return f"{alg} is never accepted: have the provider sign with RS256 or another public-key algorithm"
    name = token.issuer.name if token.issuer else "the issuer"
    return f"if {name} signs with {alg}, add it to [[issuers]] algorithms"


def _key(token: Unverified) -> str:
    kid, alg = token.header.get("kid"), token.header["alg"]
    if kid is None:
        return f"the issuer publishes no key for {alg}: the token is old, or from another environment"
    return f"kid {kid!r} is not among the issuer's keys for {alg}: the token is old, or from another environment"


def _signature(token: Unverified) -> str:
    if "nonce" in token.header:  # Microsoft Entra, "Validate tokens": only Graph can check these
        return (
            "its header has a nonce, so it is for Microsoft Graph alone: ask Entra for a token of your own API "
            "(a scope like api://<client id>/…), or use the id token"
        )
    return "it was changed or cut, or another key signed it: get a new one"


def _audience(token: Unverified) -> str:
    assert token.issuer is not None  # claims are checked after the issuer was found
    field = "client_id" if token.issuer.token_use and token.claims.get("token_use") == "access" else "aud"
    theirs, ours = json.dumps(token.claims.get(field)), ", ".join(sorted(token.issuer.audience))
    return (
        f"the token's {field} is {theirs}, your audience is {ours}: if it is yours too, add it to [[issuers]] audience"
    )


def _time(token: Unverified, claim: str) -> str:
    at = token.claims[claim]
    assert isinstance(at, int | float)  # any other value has another error code
    if abs(token.now - at) < CLOCKS_DIFFER:
        return f'{moment(at, token.now)}: if the clocks differ, set [[issuers]] leeway = "2m"'
    return f"{moment(at, token.now)}: get a new one, or set this clock right"


_MENDS: Mapping[str, str | Callable[[Unverified], str]] = {
    "token-too-long": "have the provider leave claims out, for example groups that no rule asks for",
    "token-shape": _shape,
    "token-type": "use the access token or the id token",
    "token-issuer": _issuer,
    "token-algorithm": _algorithm,
    "token-key": _key,
    "issuer-unavailable": "try again later, run stagedoor check --online, or give the keys with --jwks FILE",
    "token-signature": _signature,
    "token-audience": _audience,
    "token-use": lambda token: f"to accept {token.claims.get('token_use')!r}, add it to [[issuers]] token_use",
    "token-subject": "one person has one sub: have the provider send a string, or map sub to a claim with one value",
    "token-expired": lambda token: _time(token, "exp"),
    "revoked-person": "see until when, and how it is remembered: stagedoor revoke --list",
    "revoked-session": "it is of a session that was ended; see: stagedoor revoke --list",
    "revoked-token": "see: stagedoor revoke --list",
    "state-unavailable": "the site answers 503 when that lasts: stagedoor check --online",
    "token-early": lambda token: _time(token, "nbf"),
}
