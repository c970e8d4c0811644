"""What to do about a token that failed, by the code of its error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from .output import moment

if TYPE_CHECKING:
    from ..core.issuers import Issuer
    from ..settings import Settings

CLOCKS_DIFFER = 120
"""Seconds up to which a token that is too old or too young may be a matter of clocks."""


class Claimed(NamedTuple):
    """A token and what it says of itself, as far as that can be read; nothing of it has been verified."""

    value: str
    header: Mapping[str, object]
    claims: Mapping[str, object]
    issuer: Issuer | None
    settings: Settings
    now: float


def mend(code: str, token: Claimed) -> str:
    """A sentence for the person who holds the token; "" if there is nothing to say beyond the error."""
    found = _MENDS.get(code, "")
    return found if isinstance(found, str) else found(token)


def _shape(token: Claimed) -> str:
    by_dots = {
        2: "it was cut or changed on its way: copy it whole, as the provider sent it",
        4: "this one is encrypted (JWE): have the provider send signed tokens",
    }
    opaque = "opaque tokens cannot be checked here: bring an id token, or have the provider issue JWT access tokens"
    return by_dots.get(token.value.count("."), opaque)


def _issuer(token: Claimed) -> str:
    iss, known = str(token.claims.get("iss")), [one.url for one in token.settings.issuers]
    if iss.rstrip("/") in (one.rstrip("/") for one in known):
        return f"it says iss {iss!r}, yours differs by the slash at the end: write it as the token does"
    return f"it says iss {iss!r}, yours: {', '.join(known) or 'none'}; bring another token, or add it to [[issuers]]"


def _algorithm(token: Claimed) -> str:
    alg = str(token.header["alg"])
    if token.claims.get("aud") == token.settings.url:
        return "this is a session cookie of the site: it counts as that cookie, not as a token"
    if alg.startswith("HS") or alg == "none":
        return f"{alg} is never accepted: have the provider sign with RS256 or another public-key algorithm"
    return (
        f"if {token.issuer.name if token.issuer else 'the issuer'} signs with {alg}, add it to [[issuers]] algorithms"
    )


def _key(token: Claimed) -> str:
    if "kid" not in token.header:
        return "it names no kid, and the issuer has several keys: only a kid can say which"
    kid, alg = token.header["kid"], token.header["alg"]
    return f"kid {kid!r} is not among the issuer's keys for {alg}: the token is old, or of another environment"


def _audience(token: Claimed) -> str:
    assert token.issuer is not None  # claims are looked at last
    field = "client_id" if token.issuer.token_use and token.claims.get("token_use") == "access" else "aud"
    theirs, ours = json.dumps(token.claims.get(field)), ", ".join(sorted(token.issuer.audience))
    return (
        f"the token's {field} is {theirs}, your audience is {ours}: if it is yours too, add it to [[issuers]] audience"
    )


def _time(token: Claimed, claim: str) -> str:
    at = token.claims[claim]
    assert isinstance(at, int | float)  # else the error would have been another one
    clocks = 'if the clocks differ, set [[issuers]] leeway = "2m"'
    mend = clocks if abs(token.now - at) < CLOCKS_DIFFER else "get a new one, or set this clock right"
    return f"{moment(at, token.now)}: {mend}"


_MENDS: Mapping[str, str | Callable[[Claimed], str]] = {
    "token-too-long": "have the provider leave claims out, for example groups that no rule asks for",
    "token-shape": _shape,
    "token-type": "bring the access token or the id token",
    "token-issuer": _issuer,
    "token-algorithm": _algorithm,
    "token-key": _key,
    "issuer-unavailable": "ask again later, see stagedoor check --online, or give the keys with --jwks FILE",
    "token-signature": "the token was changed or cut on its way, or another key signed it: get a new one",
    "token-audience": _audience,
    "token-use": lambda token: f"if {token.claims.get('token_use')!r} shall count, add it to [[issuers]] token_use",
    "token-expired": lambda token: _time(token, "exp"),
    "token-early": lambda token: _time(token, "nbf"),
}
