"""Our session: a small HS256 JWT in a cookie, made at sign-in or from a token that was verified.

It holds only what rules can ask for, so that it stays small and discloses no more than needed. A digest binds it to
what proved it: to the issuer's entry in the settings, and to what deny rules ask. The newest key signs, all keys
verify: to rotate, make the list longer, then shorter.

The claims of a session that was signed in here are due to be renewed after a time, and open nothing after twice that
time. A renewed session begins and ends when the one before did.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
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
EARLY = 60.0
"""Seconds before its time that a session may be renewed."""
POSTPONED = 300
"""Seconds until the issuer is asked again, if it cannot be asked now."""
_KEPT = ("iat", "auth_time", "op_sid", "sid", "exp")
"""What a session keeps when it is renewed."""


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
        renew: seconds after which claims from a sign-in here are due to be renewed; twice as many, and they are stale.
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
        renew: float = math.inf,
    ) -> None:
        self._site, self._keys, self._renew = site, keys, renew
        self._issuers = {one.url: (one.name or one.url, digest(one, rules)) for one in issuers}
        self.lifetime, self._cookie_name, self._secure = lifetime, cookie, secure

    def set_cookie(
        self,
        caller: Caller,
        claims: Mapping[str, object],
        sid: bytes,
        now: float,
        *,
        origin: Mapping[str, object] = MappingProxyType({}),
        renews: bool = False,
    ) -> str:
        """Make the Set-Cookie value that turns a verified caller into a session.

        Args:
            caller: as `Tokens.verify` or `Login.redeem` returned it; the session never outlives `expires`.
            claims: what the session holds (`Policy.session_claims`).
            sid: at least 16 random bytes that name this session.
            now: epoch seconds.
            origin: what it goes back to: `iat`, `jti` of the bearer token, `op_sid`, `auth_time`, as far as known.
            renews: its claims can be renewed.

        Raises:
            SessionTooLarge: browsers would drop the cookie; the message names the largest claim.
            InvalidToken: the token that the caller came with has expired.
        """
        expires = int(min(now + self.lifetime, caller.expires))
        if expires <= now:  # within the leeway of its issuer
            raise InvalidToken("the token has expired; a session never outlives it", code="token-expired")
        begun = {"iat": int(now), **origin, "sid": name_of(sid), "exp": expires}
        times = self._times(now) if renews else {"made": int(now)}
        return self._set(caller.issuer_url, claims, {**begun, **times}, now)

    def renewed(self, before: Caller, claims: Mapping[str, object], now: float, op_sid: str = "") -> str:
        """Make the Set-Cookie value that goes on with a session, with new claims of the same person.

        Args:
            before: the session's caller, as `read` returned it.
            claims: what the session holds from now on (`Policy.session_claims`).
            now: epoch seconds.
            op_sid: the issuer's name of its session that the claims are of; "" if it gives none: as before.

        Raises:
            SessionTooLarge: see `set_cookie`.
        """
        kept = {name: before.claims[name] for name in _KEPT if name in before.claims}
        there = {"op_sid": op_sid} if op_sid else {}
        return self._set(before.issuer_url, claims, {**kept, **there, **self._times(now)}, now)

    def postponed(self, before: Caller, now: float) -> str:
        """Make the Set-Cookie value that goes on with a session as it is, because its issuer cannot be asked now.

        Args:
            before: the session's caller, as `verify` returned it: the claims of no other session may go on.
            now: epoch seconds.
        """
        return self._set(before.issuer_url, before.claims, {"renew": int(now) + POSTPONED}, now)

    def is_postponed(self, caller: Caller, now: float) -> bool:
        """Are the claims of this caller of a session older than they were to get, although they are not due?"""
        made = caller.claims.get("made")
        return type(caller.claims.get("renew")) is int and isinstance(made, int) and now >= made + self._renew

    def is_due(self, caller: Caller, now: float, *, early: bool = False) -> bool:
        """Is it time to ask the issuer again who this caller of a session is?

        Args:
            caller: as `verify` returned it.
            now: epoch seconds.
            early: a moment before the time will do, because the clock of the server that found it due may be ahead.
        """
        due = caller.claims.get("renew")
        soon = now + min(EARLY, self._renew / 10) if early else now
        return type(due) is int and soon >= due  # where a session has none, it can have a claim of this name

    @staticmethod
    def times(caller: Caller) -> Mapping[str, object]:
        """When a session is over, and when its claims are due, if they ever are; in epoch seconds."""
        due = caller.claims.get("renew")
        return {"expires": caller.claims["exp"], **({"renew": due} if type(due) is int else {})}

    def _times(self, now: float) -> Mapping[str, object]:
        """When claims that the issuer has given now were made, and when they are due."""
        return {"made": int(now), **({} if math.isinf(self._renew) else {"renew": int(now + self._renew)})}

    def _set(self, issuer: str, claims: Mapping[str, object], members: Mapping[str, object], now: float) -> str:
        """The Set-Cookie value of a session with these claims, and these members of its own."""
        _, proof = self._issuers[issuer]
        content = {**claims, **members, "iss": issuer, "aud": self._site, "digest": proof}
        ends = content["exp"]
        assert isinstance(ends, int)  # by `set_cookie`, or by `read`
        cookie = self._cookie(_sign(content, self._keys[0]), max(0, ends - int(now)))
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
            OutdatedSession: what proved it might not prove it now, or its claims are stale.
        """
        found = self.read(token, now)
        claims, made = found.claims, found.claims.get("made")
        renewable = type(claims.get("renew")) is int
        if claims.get("digest") != self._issuers[found.issuer_url][1]:
            is_new = isinstance(made, int) and abs(now - made) < ROLLING_OUT
            problem = "the rules of this site or its issuer's settings have changed"
            raise OutdatedSession(problem, is_new=is_new, renewable=renewable)
        if not renewable or not isinstance(made, int):
            return found
        stale = made + 2 * self._renew
        if now >= stale:
            raise OutdatedSession("what is known of this person is too old; POST /-/renew", code="session-stale")
        return Caller(found.issuer, found.issuer_url, claims, expires=min(found.expires, stale))

    def read(self, token: str, now: float) -> Caller:
        """Turn the cookie's value back into the caller whom it named once, even if that may not hold any more.

        Only to go on with the session, or to end it; no object may be opened by it.

        Raises:
            InvalidToken: not a session of ours, or one that is over.
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
        return Caller(self._issuers[issuer][0], issuer, claims, expires=expires)


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


def name_of(sid: bytes) -> str:
    """A session's `sid`, of random bytes."""
    return _encode(sid)


def _sign(claims: Mapping[str, object], key: bytes) -> str:
    signed = f"{_json({'alg': 'HS256', 'typ': 'JWT', 'kid': _kid(key)})}.{_json(claims)}"
    return f"{signed}.{_encode(hmac.digest(key, signed.encode(), 'sha256'))}"


def _json(value: Mapping[str, object]) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _kid(key: bytes) -> str:
    return hashlib.sha256(b"stagedoor session key " + key).hexdigest()[:8]
