"""Our session: a small HS256 JWT in a cookie, made at sign-in or from a token that was verified.

It holds only what rules can ask for, so that it stays small and discloses no more than needed. A digest binds it to
what proved it: to the issuer's entry in the settings, and to what deny rules ask. The newest key signs, all keys
verify: to rotate, make the list longer, then shorter.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from . import cookies
from .caller import Caller
from .errors import InvalidToken, OutdatedSession, SessionTooLarge
from .issuers import Issuer
from .jose import json_object, split
from .policy.denies import asked_of
from .policy.rules import Rule
from .tokens import check_claims

MIN_KEY_BYTES = 32
"""HS256 keys have at least the size of the hash output (RFC 7518 §3.2)."""
MAX_COOKIE_BYTES = 4096
"""Browsers keep cookies of this size, name and attributes included (RFC 6265 §6.1)."""
ROLLING_OUT = 60.0
"""Seconds: a session that is outdated so soon was made by a gateway with other settings."""


class Sessions:
    """Issues and verifies session cookies.

    Args:
        site: the site's origin: `aud` of every session.
        keys: secrets of at least 32 bytes; the first signs, all verify.
        issuers: sessions of other issuers are refused.
        rules: of the policy.
        lifetime: seconds that a session lasts; one that was made from a bearer token ends with it at the latest.
        cookie: the cookie's name.
        secure: False only for an http site on loopback.
    """

    def __init__(
        self,
        site: str,
        keys: Sequence[bytes],
        issuers: Iterable[Issuer],
        rules: Sequence[Rule],
        lifetime: float,
        cookie: str = "__Host-stagedoor",
        secure: bool = True,
    ) -> None:
        self._site, self._keys = site, keys
        self._issuers = {one.url: (one.name or one.url, digest(one, rules)) for one in issuers}
        self._lifetime, self._cookie_name, self._secure = lifetime, cookie, secure

    def set_cookie(
        self,
        caller: Caller,
        claims: Mapping[str, object],
        sid: bytes,
        now: float,
        *,
        origin: Mapping[str, object] = MappingProxyType({}),
    ) -> str:
        """Make the Set-Cookie value that turns a verified caller into a session.

        Args:
            caller: as `Tokens.verify` or `Login.redeem` returned it; the session never outlives `expires`.
            claims: what the session holds (`Policy.session_claims`).
            sid: at least 16 random bytes that name this session.
            now: epoch seconds.
            origin: what it goes back to: `iat`, `jti` of the bearer token, `op_sid`, `auth_time`, as far as known.

        Raises:
            SessionTooLarge: browsers would drop the cookie; the message names the largest claim.
            InvalidToken: the token that the caller came with has expired.
        """
        _, proof = self._issuers[caller.issuer_url]
        expires = int(min(now + self._lifetime, caller.expires))
        if expires <= now:  # within the leeway of its issuer
            raise InvalidToken("the token has expired; a session never outlives it", code="token-expired")
        key = self._keys[0]
        token = _sign(
            {"alg": "HS256", "typ": "JWT", "kid": _kid(key)},
            {
                **claims,
                "iat": int(now),
                **origin,
                "iss": caller.issuer_url,
                "aud": self._site,
                "sid": _encode(sid),
                "exp": expires,
                "made": int(now),
                "digest": proof,
            },
            key,
        )
        cookie = self._cookie(token, max(0, expires - int(now)))
        if len(cookie) > MAX_COOKIE_BYTES:
            largest = max(claims, key=lambda name: len(json.dumps(claims[name])))
            problem = f"the caller's claims do not fit into a cookie, most of all {largest!r}"
            raise SessionTooLarge(f"{problem}; rules that name its values, instead of binding it, need less")
        return cookie

    def clear_cookie(self) -> str:
        """Make the Set-Cookie value that removes the session from the browser."""
        return self._cookie("", 0)

    def _cookie(self, value: str, seconds: int) -> str:
        return cookies.write(self._cookie_name, value, seconds, secure=self._secure)

    def verify(self, token: str, now: float) -> Caller:
        """Turn the cookie's value back into the caller.

        Raises:
            InvalidToken: not a session of ours, or one that is over.
            OutdatedSession: what proved it might not prove it now.
        """
        jws = split(token)
        if jws.header.get("alg") != "HS256":
            raise InvalidToken("a session is signed with HS256", code="session-algorithm")
        if not any(verify_hs256(key, jws.signed, jws.signature) for key in self._keys):
            raise InvalidToken("the session was not signed by this site", code="session-signature")
        claims = json_object(jws.payload, "session")
        issuer = str(claims.get("iss"))
        if issuer not in self._issuers:
            raise InvalidToken("the session's issuer is not configured any more", code="session-issuer")
        expires = check_claims(claims, Issuer(issuer, frozenset((self._site,))), now)
        name, proof = self._issuers[issuer]
        if claims.get("digest") != proof:
            made = claims.get("made")
            is_new = isinstance(made, int) and abs(now - made) < ROLLING_OUT
            raise OutdatedSession("the rules of this site or its issuer's settings have changed", is_new=is_new)
        return Caller(name, issuer, claims, expires=expires)


def digest(issuer: Issuer, rules: Iterable[Rule]) -> str:
    """Name all that decides whether a token is good for a session, and whether the session keeps what denies ask.

    Keys are left out, so that a rotation ends no session; so are allow rules, because a value that a session lacks
    can only deny there.
    """
    entry = {
        "audience": sorted(issuer.audience),
        "algorithms": sorted(issuer.algorithms),
        "token_use": sorted(issuer.token_use),
        "claims": dict(issuer.claims),
        "denies": asked_of(rules, (issuer.name or issuer.url, issuer.url)),
    }
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


def signing_key(secret: bytes) -> bytes:
    """The key that signs sessions, of an entry of `[login] session_keys`.

    Doors that only read sessions are given this one alone, and learn nothing of what else is made of the entry.
    """
    return hmac.digest(secret, b"stagedoor session signing", "sha256")


def verify_hs256(key: bytes, signed: bytes, signature: bytes) -> bool:
    """Compare the MAC in constant time (RFC 7518 §3.2); a key that is too short never verifies."""
    return len(key) >= MIN_KEY_BYTES and hmac.compare_digest(hmac.digest(key, signed, "sha256"), signature)


def _sign(header: Mapping[str, object], claims: Mapping[str, object], key: bytes) -> str:
    signed = f"{_json(header)}.{_json(claims)}"
    return f"{signed}.{_encode(hmac.digest(key, signed.encode(), 'sha256'))}"


def _json(value: Mapping[str, object]) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _kid(key: bytes) -> str:
    return hashlib.sha256(b"stagedoor session key " + key).hexdigest()[:8]
