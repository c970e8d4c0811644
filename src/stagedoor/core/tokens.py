"""Bearer tokens: shape, then signature, then claims; what remains is a `Caller`.

Only what the settings name can verify a token: an issuer, one of its audiences, one of its algorithms, one of its
published keys (invariant 7). Verified tokens are remembered until they expire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .caller import Caller
from .errors import InvalidToken, IssuerUnavailable
from .issuers import Issuer, IssuerKeys, Key, issuer_url
from .jose import Jws, SignaturePort, json_object, split
from .messages import Flow

REMEMBERED_BYTES = 8 * 1_048_576
"""Bytes of token text that are remembered at most; the claims take about seven times as much memory."""

_TYPES = ("", "jwt", "at+jwt", "application/jwt", "application/at+jwt")


# --- claims


def check_claims(claims: Mapping[str, object], issuer: Issuer, now: float) -> float:
    """Check for whom and how long a token is valid (RFC 7519 §4.1, Cognito "Verifying JSON web tokens").

    Returns:
        `exp`, in epoch seconds.

    Raises:
        InvalidToken: the first claim that does not hold; `code` names it.
    """
    if issuer_url(claims.get("iss")) != issuer.url:
        raise InvalidToken("iss is not the configured issuer", code="token-issuer")
    audience = claims.get("aud")
    if issuer.token_use:
        use = claims.get("token_use")
        if not isinstance(use, str) or use not in issuer.token_use:
            raise InvalidToken(f"token_use is {use!r}, accepted: {sorted(issuer.token_use)}", code="token-use")
        audience = claims.get("client_id") if use == "access" else audience
    named = audience if isinstance(audience, list) else [audience]
    if not any(isinstance(one, str) and one in issuer.audience for one in named):
        raise InvalidToken("the token is for another audience (aud, client_id)", code="token-audience")
    expires = number_of_seconds(claims, "exp")
    if expires is None:
        raise InvalidToken("exp is missing", code="token-expiry")
    if now >= expires + issuer.leeway:
        raise InvalidToken(f"the token expired {int(now - expires)} s ago", code="token-expired")
    begins = number_of_seconds(claims, "nbf")
    if begins is not None and now < begins - issuer.leeway:
        raise InvalidToken(f"the token is not valid for another {int(begins - now) + 1} s (nbf)", code="token-early")
    return expires


def check_identifiers(claims: Mapping[str, object], names: Mapping[str, str]) -> None:
    """Check that `sub` and `client_id` name one person and one client (RFC 7519 §4.1.2, RFC 8693 §4.3).

    A list there would open the folder of everybody whom it names.

    Args:
        claims: of a token.
        names: our name -> the provider's claim; what `sub` is mapped to has one value at most.

    Raises:
        InvalidToken: one of them is not one string.
    """
    for name in ("sub", "client_id"):
        if not isinstance(claims.get(name), str | None):
            raise InvalidToken(f"{name} is not one string", code="token-subject")
    subjects = Caller("", "", claims, names).values("sub")
    if len(subjects) > 1:
        raise InvalidToken(f"sub (the claim {names.get('sub')!r}) has several values", code="token-subject")
    for subject in subjects:
        try:
            subject.encode()
        except UnicodeEncodeError:  # JSON can hold half a character, and no two programs read it alike
            raise InvalidToken("sub is not Unicode text", code="token-subject") from None


def number_of_seconds(claims: Mapping[str, object], name: str) -> float | None:
    """A NumericDate (RFC 7519 §2): a JSON number and nothing else."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise InvalidToken(f"{name} is not a number of seconds", code="token-expiry")
    return value


# --- the whole


def check_signature(jws: Jws, keys: IssuerKeys, now: float, *, is_new: bool = False) -> Flow[None]:
    """Check the signature with the keys that are known; if another one may be meant, ask the issuer for it once.

    Args:
        jws: the token.
        keys: of its issuer.
        now: epoch seconds.
        is_new: the issuer itself has just sent it, so that no stranger can have us ask by it: if no key fits, the
            issuer is asked however lately it was, and also if it has changed the key but not the `kid`.

    Raises:
        InvalidToken: no published key made this signature.
        IssuerUnavailable: it may have been made with a new key, and the issuer did not answer.
    """
    candidates = keys.candidates(jws.algorithm, jws.kid)
    if _signed_by(candidates, jws):
        return
    if is_new or not keys.names(jws.kid):
        if is_new or keys.due(now):
            yield from keys.refresh(now)
        fresh = keys.candidates(jws.algorithm, jws.kid)
        if fresh != candidates and _signed_by(fresh, jws):
            return
        if keys.failure and not keys.names(jws.kid):
            raise IssuerUnavailable(keys.failure)
        candidates = fresh
    if not candidates:
        raise InvalidToken("no published key of the issuer fits the token's kid and alg", code="token-key")
    raise InvalidToken("the signature is wrong", code="token-signature")


def _signed_by(candidates: tuple[Key, ...], jws: Jws) -> bool:
    return any(key.check(jws.algorithm, jws.signed, jws.signature) for key in candidates)


class CallerCache:
    """Callers by the text of the credential that proved them, until they expire.

    Args:
        limit: bytes of text.
    """

    def __init__(self, limit: int) -> None:
        self._callers: dict[str, Caller] = {}
        self._size, self._limit = 0, limit

    def get(self, text: str, now: float) -> Caller | None:
        caller = self._callers.get(text)
        return caller if caller is not None and now < caller.expires else None

    def put(self, text: str, caller: Caller) -> None:
        if text not in self._callers:
            self._size += len(text)
        self._callers[text] = caller
        while self._size > self._limit:
            oldest = next(iter(self._callers))
            del self._callers[oldest]
            self._size -= len(oldest)

    def clear(self) -> None:
        self._callers.clear()
        self._size = 0


class Tokens:
    """Turns bearer tokens of the configured issuers into callers.

    Args:
        issuers: the providers whose tokens count.
        port: how signatures are checked.
        remember: bytes of text of the verified tokens that are remembered at most.
        steady: see `IssuerKeys`.
    """

    def __init__(
        self,
        issuers: tuple[Issuer, ...],
        port: SignaturePort,
        *,
        remember: int = REMEMBERED_BYTES,
        steady: Callable[[float], float] = lambda now: now,
    ) -> None:
        self.remember = remember
        self._verified = CallerCache(remember)
        self.issuers = {issuer.url: IssuerKeys(issuer, port, self._verified.clear, steady) for issuer in issuers}

    def adopt(self, other: Tokens) -> None:
        """Take over the keys of issuers that earlier settings had too, so that a reload need not wait for them."""
        for issuer in self.issuers.keys() & other.issuers.keys():
            self.issuers[issuer].adopt(other.issuers[issuer])

    def known(self, token: str, now: float) -> Caller | None:
        """The caller of a token that was verified before and has not expired."""
        return self._verified.get(token, now)

    def refresh(self, now: float) -> Flow[None]:
        """Fetch every set of keys that is missing or too old; meant to be driven every few seconds."""
        for keys in self.issuers.values():
            if keys.stale(now):
                yield from keys.refresh(now)

    def verify(self, token: str, now: float) -> Flow[Caller]:
        """Verify a token: shape, signature, claims.

        Args:
            token: compact JWS.
            now: epoch seconds.

        Raises:
            InvalidToken: it does not prove who the caller is.
            IssuerUnavailable: its key is not known, and the issuer did not answer.
        """
        known = self.known(token, now)
        if known is not None:
            return known
        jws = split(token)
        if str(jws.header.get("typ", "")).lower() not in _TYPES:
            raise InvalidToken(f"typ {str(jws.header['typ'])[:40]!r} is not that of a token for us", code="token-type")
        # Only to choose the issuer: nothing of the payload is trusted before its signature has been checked.
        claims = json_object(jws.payload, "payload")
        keys = self.issuers.get(str(issuer_url(claims.get("iss"))))
        if keys is None:
            raise InvalidToken("iss is not a configured issuer", code="token-issuer")
        if jws.algorithm not in keys.issuer.algorithms:
            raise InvalidToken(
                f"alg {str(jws.header['alg'])[:20]!r} is not accepted from this issuer (algorithms)",
                code="token-algorithm",
            )
        try:
            yield from check_signature(jws, keys, now)
        except IssuerUnavailable as unavailable:
            _refuse_expired(claims, keys.issuer, now, unavailable)
            raise
        expires = check_claims(claims, keys.issuer, now)
        check_identifiers(claims, keys.issuer.claims)
        caller = Caller(keys.issuer.name or keys.issuer.url, keys.issuer.url, claims, keys.issuer.claims, expires)
        self._verified.put(token, caller)
        return caller


def _refuse_expired(claims: Mapping[str, object], issuer: Issuer, now: float, unavailable: IssuerUnavailable) -> None:
    """Refuse a token whose key cannot be had: that it is over is true whoever signed it."""
    try:
        check_claims(claims, issuer, now)
    except InvalidToken as error:
        if error.code == "token-expired":
            raise error from unavailable
