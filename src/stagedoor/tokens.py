"""Bearer tokens: shape, then signature, then claims; what remains is a `Caller`.

Only what the settings name can verify a token: this issuer, one of its audiences, one of its algorithms, one
of its published keys (invariant 7). The signature check itself is a port (`SignaturePort`): `crypto.py` asks
OpenSSL, `rsa.py` needs the standard library only. Verified tokens are remembered until they expire.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias
from urllib.parse import urlsplit

from .errors import InvalidKeySet, InvalidToken, KeysUnavailable
from .messages import Fetch, Flow, fetch

MAX_TOKEN_BYTES = 16_384
DISCOVERY = "/.well-known/openid-configuration"
COOL_DOWN = 10.0
"""Seconds between two questions to one issuer, whatever unknown `kid`s arrive meanwhile."""
KEYS_MAX_AGE = 3600.0
"""Seconds until published keys are asked for again, so that a key the issuer withdrew stops to count."""
KEY_FILE_MAX_AGE = 5.0
CACHE_BYTES = 8 * 1_048_576
"""Bound of the verified tokens that are remembered, in bytes of token text (their claims take about as much again)."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
_KEY_TYPE = {"RS": ("RSA", None), "PS": ("RSA", None), "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384")}
_TYPES = ("", "jwt", "at+jwt", "application/jwt", "application/at+jwt")
_COGNITO = re.compile(r"https://cognito-idp\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/[A-Za-z0-9_-]+\Z")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")

SignatureCheck: TypeAlias = Callable[[str, bytes, bytes], bool]
"""(algorithm, signed bytes, signature) -> is it right? Never raises."""


class SignaturePort(Protocol):
    """How public keys are loaded and signatures checked; modules `crypto` and `rsa` are two of them."""

    @property
    def ALGORITHMS(self) -> frozenset[str]: ...  # noqa: N802 - modules are the implementations

    def load(self, jwk: Mapping[str, object], /) -> SignatureCheck:
        """Raise InvalidKeySet if this is not a key that the port can use."""


class Issuer(NamedTuple):
    """One provider whose tokens count.

    Attributes:
        issuer: exact `iss` (RFC 7519 §4.1.1), also where discovery starts.
        audience: accepted `aud` values, or `client_id` of a Cognito access token.
        name: what rules and logs call it; default: the issuer itself.
        token_use: Cognito's `token_use` values that are accepted; empty for every other provider.
        jwks: URL (`https:`, `file:`) of the keys; None: found by discovery.
        algorithms: accepted `alg` values.
        claims: our name -> the provider's claim.
        leeway: seconds of clock difference that `exp` and `nbf` forgive.
    """

    issuer: str
    audience: frozenset[str]
    name: str = ""
    token_use: frozenset[str] = frozenset()
    jwks: str | None = None
    algorithms: frozenset[str] = frozenset(("RS256",))
    claims: Mapping[str, str] = MappingProxyType({})
    leeway: float = 0.0


def is_cognito(issuer: str) -> bool:
    """True for the issuer URL of an Amazon Cognito user pool."""
    return _COGNITO.match(issuer) is not None


class Caller:
    """Who asks: verified claims of one issuer, or `ANONYMOUS`.

    Args:
        issuer: the issuer's name in rules and logs; "" for nobody.
        issuer_url: the exact `iss`.
        claims: claims whose signature was checked.
        names: our name -> the provider's claim.
        expires: epoch seconds after which these claims no longer hold.
    """

    __slots__ = ("_segments", "_values", "claims", "expires", "issuer", "issuer_url", "label", "names")

    def __init__(
        self,
        issuer: str,
        issuer_url: str,
        claims: Mapping[str, object],
        names: Mapping[str, str] | None = None,
        expires: float = math.inf,
    ) -> None:
        self.issuer, self.issuer_url, self.claims, self.names, self.expires = (
            issuer,
            issuer_url,
            claims,
            names or {},
            expires,
        )
        self._values: dict[str, frozenset[str]] = {}
        self._segments: dict[tuple[str, str], frozenset[str]] = {}
        self.label = f"{issuer}:{self.subject}" if issuer else ""

    @property
    def signed_in(self) -> bool:
        return self.issuer != ""

    @property
    def subject(self) -> str:
        """The one value of `sub`, as rules see it; "" where there is none."""
        subjects = self.values("sub")
        return next(iter(subjects)) if len(subjects) == 1 else ""

    def values(self, name: str) -> frozenset[str]:
        """All values of a claim as text, looked up by our name: the exact claim first, else a dotted path into it."""
        found = self._values.get(name)
        if found is None:
            found = self._values[name] = frozenset(_texts(_lookup(self.claims, self.names.get(name, name))))
        return found

    def segments(self, name: str, digest: str = "") -> frozenset[str]:
        """The values of a claim that may stand as one path segment, hashed (`md5`, `sha256`, hex) if asked."""
        found = self._segments.get((name, digest))
        if found is None:
            usable = (value for value in self.values(name) if is_segment(value))
            if digest:
                usable = (hashlib.new(digest, v.encode(), usedforsecurity=False).hexdigest() for v in usable)
            found = self._segments[name, digest] = frozenset(usable)
        return found

    @property
    def email(self) -> str:
        """The one e-mail address, in lower case, if the issuer has verified it, else ""."""
        if self.values("email_verified") != {"true"} or len(self.values("email")) != 1:
            return ""
        (email,) = self.values("email")
        return email.lower() if email.isascii() else email

    @property
    def groups_left_out(self) -> bool:
        """True if the provider says that it left the groups out of the token (Entra ID beyond 200 groups)."""
        elsewhere = self.claims.get("_claim_names")
        return isinstance(elsewhere, dict) and self.names.get("groups", "groups") in elsewhere


ANONYMOUS = Caller("", "", {})


def is_segment(value: str) -> bool:
    """May this claim value stand for one whole path segment? Not if a path or a pattern could read it otherwise."""
    return value not in ("", ".", "..") and not re.search(r"[/\\*?\x00-\x1f\x7f-\x9f\ud800-\udfff]", value)


def _lookup(claims: Mapping[str, object], path: str) -> object:
    if path in claims:
        return claims[path]
    value: object = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _texts(value: object) -> Iterator[str]:
    """Strings as they are, whole numbers in decimal, booleans as true/false; of a list every such member."""
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, bool):
            yield "true" if item else "false"
        elif isinstance(item, str | int):
            yield str(item)


# --- stage 1: shape


class Jws(NamedTuple):
    """A compact JWS (RFC 7515 §7.1), taken apart and not yet believed."""

    header: Mapping[str, object]
    signed: bytes
    payload: bytes
    signature: bytes


def split(token: str) -> Jws:
    """Take a compact JWS apart.

    Raises:
        InvalidToken: too long, not three base64url parts, or a header that is not plain JSON of known members.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidToken(f"the token is longer than {MAX_TOKEN_BYTES} bytes", code="token-too-long")
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidToken("the token is not three parts joined by dots (is it a JWT?)", code="token-shape")
    head, payload, signature = (base64url(part) for part in parts)
    header = json_object(head, "header")
    if not isinstance(header.get("alg"), str):
        raise InvalidToken("the token's header has no alg", code="token-shape")
    if "crit" in header or "b64" in header:
        raise InvalidToken("the token's header asks for extensions (crit) that are not supported", code="token-shape")
    if not isinstance(header.get("kid", ""), str):
        raise InvalidToken("the token's kid is not a string", code="token-shape")
    return Jws(header, f"{parts[0]}.{parts[1]}".encode(), payload, signature)


def base64url(text: str) -> bytes:
    """Decode base64url without padding, in its one canonical form (RFC 7515 §2)."""
    if not _BASE64URL.match(text) or len(text) % 4 == 1:
        raise InvalidToken("a part of the token is not base64url", code="token-shape")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise InvalidToken("a part of the token is not canonical base64url", code="token-shape")
    return raw


def json_object(raw: bytes, what: str) -> dict[str, object]:
    """Parse a JSON object; no duplicate members, no NaN, no nesting without end."""
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidToken(f"the token's {what} is not JSON as it should be", code="token-shape") from error
    if not isinstance(value, dict):
        raise InvalidToken(f"the token's {what} is not a JSON object", code="token-shape")
    return value


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _no_constant(name: str) -> object:
    raise ValueError(name)


# --- stage 2: signature


class Key(NamedTuple):
    """One public key of an issuer."""

    kid: str | None
    algorithms: frozenset[str]
    check: SignatureCheck


def octets(jwk: Mapping[str, object], member: str) -> bytes:
    """The bytes of a base64url member of a JWK; empty if it has none."""
    value = jwk.get(member)
    try:
        return base64.urlsafe_b64decode(value + "==") if isinstance(value, str) and _BASE64URL.match(value) else b""
    except binascii.Error:
        return b""


def parse_key_set(document: bytes, port: SignaturePort, algorithms: frozenset[str]) -> tuple[Key, ...]:
    """Read a JWKS (RFC 7517 §5) and keep the keys that can verify one of `algorithms`.

    Keys for encryption, of unknown types or of unsafe parameters are passed over. A set that holds secret or
    private keys, or two keys of one `kid`, is refused as a whole: whoever published it made a mistake.

    Raises:
        InvalidKeySet: not a JWKS, or no key in it may be used; the message says why.
    """
    try:
        keys = json_object(document, "key set").get("keys")
    except InvalidToken:
        keys = None
    if not isinstance(keys, list) or not all(isinstance(jwk, dict) for jwk in keys):
        raise InvalidKeySet("this is not a JWKS: a JSON object whose member 'keys' is a list of keys")
    if any(jwk.get("kty") == "oct" or "d" in jwk for jwk in keys):
        raise InvalidKeySet("the key set holds secret or private keys, which must never be published")
    found, passed_over = [], []
    for jwk in keys:
        try:
            found.append(_key(jwk, port, algorithms))
        except InvalidKeySet as error:
            passed_over.append(f"{jwk.get('kid')!r}: {error}")
    kids = [key.kid for key in found if key.kid is not None]
    if len(set(kids)) != len(kids):
        raise InvalidKeySet("two keys of the set have the same kid")
    if not found:
        raise InvalidKeySet("the set holds no key that can be used" + "".join(f"; {why}" for why in passed_over[:5]))
    return tuple(found)


def _key(jwk: Mapping[str, object], port: SignaturePort, algorithms: frozenset[str]) -> Key:
    kid, stated, operations = jwk.get("kid"), jwk.get("alg"), jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise InvalidKeySet("not for signatures (use, key_ops)")
    if kid is not None and not isinstance(kid, str):
        raise InvalidKeySet("kid is not a string")
    fitting = frozenset(name for name in algorithms & port.ALGORITHMS if _fits(jwk, name) and stated in (None, name))
    if not fitting:
        raise InvalidKeySet(f"kty {jwk.get('kty')!r}, crv {jwk.get('crv')!r}, alg {stated!r} fit no accepted algorithm")
    if jwk.get("kty") == "RSA":
        _check_rsa(int.from_bytes(octets(jwk, "n")), int.from_bytes(octets(jwk, "e")))
    return Key(kid, fitting, port.load(jwk))


def _fits(jwk: Mapping[str, object], algorithm: str) -> bool:
    """Key type and curve that an algorithm needs (RFC 7518 §3.1, RFC 8037 §3.1)."""
    kty, curve = _KEY_TYPE.get(algorithm) or _KEY_TYPE.get(algorithm[:2], ("OKP", "Ed25519"))
    return jwk.get("kty") == kty and jwk.get("crv") == curve


# Primes of the fingerprint of CVE-2017-15361 (Nemec et al., "The Return of Coppersmith's Attack", 2017, §4.2).
_ROCA_PRIMES = tuple(p for p in range(3, 168, 2) if all(p % d for d in range(3, p, 2)))


def _check_rsa(n: int, e: int) -> None:
    """Sizes by RFC 7518 §3.3 and NIST SP 800-56B §6.2; the upper bounds keep the work bounded."""
    if not 2048 <= n.bit_length() <= 8192:
        raise InvalidKeySet(f"RSA keys have 2048 to 8192 bits, this one {n.bit_length()}")
    if not 3 <= e < 2**32 or e % 2 == 0 or n % 2 == 0:
        raise InvalidKeySet("the RSA public exponent or modulus is unsafe")
    if all(n % p in {pow(65537, i, p) for i in range(p)} for p in _ROCA_PRIMES):
        raise InvalidKeySet("the RSA key was made by a faulty generator (ROCA, CVE-2017-15361)")


def _source(issuer: Issuer) -> tuple[object, ...]:
    return issuer.issuer, issuer.jwks, issuer.algorithms


class IssuerKeys:
    """The published keys of one issuer: when they are asked for, and the last good set.

    Asked for at most once per cool-down, whatever arrives; flows that wait at the same time yield the same
    `Fetch`, which the driver joins into one exchange.

    Attributes:
        keys: of the last good set.
        document: that set as it was published; None: there was none yet.
        failure: what went wrong when they were asked for last; "" if nothing did.
    """

    def __init__(self, issuer: Issuer, port: SignaturePort, on_change: Callable[[], None]) -> None:
        self.issuer = issuer
        self.keys: tuple[Key, ...] = ()
        self.failure = ""
        self._port, self._on_change = port, on_change
        self.document: bytes | None = None
        self._url: str | None = None
        self._asking = False
        self._asked = self._loaded = -math.inf

    @property
    def max_age(self) -> float:
        return KEY_FILE_MAX_AGE if (self.issuer.jwks or "").startswith("file:") else KEYS_MAX_AGE

    def stale(self, now: float) -> bool:
        """Is it time to ask on one's own account: the keys are too old, or the last answer was none?"""
        return (self.failure != "" or now - self._loaded >= self.max_age) and self.due(now)

    def due(self, now: float) -> bool:
        """May the issuer be asked now? While somebody is asking, others may join."""
        return self._asking or now - self._asked >= min(COOL_DOWN, self.max_age)

    def candidates(self, header: Mapping[str, object]) -> tuple[Key, ...]:
        """Keys that may have signed under this header: its `kid`, or without one the only key that fits."""
        fitting = tuple(key for key in self.keys if header["alg"] in key.algorithms)
        if "kid" in header:
            return tuple(key for key in fitting if key.kid == header["kid"])
        return fitting if len(fitting) == 1 else ()

    def knows(self, header: Mapping[str, object]) -> bool:
        """Is there nothing to gain from asking the issuer again?"""
        if "kid" in header:
            return any(key.kid == header["kid"] for key in self.keys)
        return bool(self.keys)

    def refresh(self, now: float) -> Flow[None]:
        """Ask for the keys; afterwards `keys` is the last good set and `failure` says what went wrong, if anything."""
        if not self._asking:
            self._asked, self._url = now, self.issuer.jwks
        self._asking = True
        try:
            if self._url is None:
                self._url = yield from self._discover()
            fetched = yield from fetch(Fetch(self._url))
            if fetched.error:
                raise KeysUnavailable(f"{self._url}: {fetched.error}")
            self._install(fetched.body)
            self._loaded, self.failure = now, ""
        except (KeysUnavailable, InvalidKeySet) as error:
            self.failure = f"keys of issuer {self.issuer.issuer}: {error}"
        except GeneratorExit:  # whoever asked has gone; until somebody may ask again nothing is known
            self.failure = f"keys of issuer {self.issuer.issuer}: the question was broken off"
            raise
        finally:
            self._asking = False

    def adopt(self, other: IssuerKeys) -> None:
        """Go on with the keys that were had under earlier settings, if the same place is asked for the same kinds."""
        if other.document is not None and _source(other.issuer) == _source(self.issuer):
            self.keys, self.document, self._loaded = other.keys, other.document, other._loaded

    def install(self, document: bytes, now: float) -> None:
        """Use this JWKS as if it had been fetched just now."""
        self._install(document)
        self._loaded = self._asked = now

    def _install(self, document: bytes) -> None:
        if document != self.document:
            self.keys = parse_key_set(document, self._port, self.issuer.algorithms)
            self.document = document
            self._on_change()

    def _discover(self) -> Flow[str]:
        """Find the keys' address (OpenID Connect Discovery 1.0 §4); Cognito's is known."""
        known = known_keys_url(self.issuer.issuer)
        if known is not None:
            return known
        url = discovery_url(self.issuer.issuer)
        fetched = yield from fetch(Fetch(url))
        if fetched.error:
            raise KeysUnavailable(f"{url}: {fetched.error}")
        try:
            document = json_object(fetched.body, "discovery document")
        except InvalidToken:
            raise KeysUnavailable(f"{url} is not a JSON object") from None
        if document.get("issuer") != self.issuer.issuer:
            raise KeysUnavailable(
                f"{url} names another issuer: {str(document.get('issuer'))[:200]!r}; settings name it exactly so"
            )
        address = document.get("jwks_uri")
        local = self.issuer.issuer.startswith("http:")
        if not isinstance(address, str) or not is_safe_url(address) or (address.startswith("http:") and not local):
            raise KeysUnavailable(f"{url}: its jwks_uri is not an https address")
        return address


def known_keys_url(issuer: str) -> str | None:
    """Where a Cognito user pool publishes its keys (Cognito "Verifying JSON web tokens"); None for other issuers."""
    return f"{issuer.rstrip('/')}/.well-known/jwks.json" if is_cognito(issuer) else None


def discovery_url(issuer: str) -> str:
    """Where an issuer describes itself (OpenID Connect Discovery 1.0 §4)."""
    return f"{issuer.rstrip('/')}{DISCOVERY}"


def is_safe_url(url: str) -> bool:
    """https, or http on this machine: the only addresses that issuers and keys may have."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return host != ""
    return parts.scheme == "http" and (
        host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None
    )


# --- stage 3: claims


def check_claims(claims: Mapping[str, object], issuer: Issuer, now: float) -> float:
    """Check what the issuer vouches for (RFC 7519 §4.1, Cognito "Verifying JSON web tokens").

    Returns:
        `exp`, in epoch seconds.

    Raises:
        InvalidToken: the first claim that does not hold; `code` names it.
    """
    if claims.get("iss") != issuer.issuer:
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
    expires = _time(claims, "exp")
    if expires is None:
        raise InvalidToken("exp is missing", code="token-expiry")
    if now >= expires + issuer.leeway:
        raise InvalidToken(f"the token expired {int(now - expires)} s ago", code="token-expired")
    begins = _time(claims, "nbf")
    if begins is not None and now < begins - issuer.leeway:
        raise InvalidToken(f"the token is not valid for another {int(begins - now) + 1} s (nbf)", code="token-early")
    return expires


def _time(claims: Mapping[str, object], name: str) -> float | None:
    """A NumericDate (RFC 7519 §2): a JSON number and nothing else."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise InvalidToken(f"{name} is not a number of seconds", code="token-expiry")
    return value


# --- the whole


class Callers:
    """Callers by the text of the credential that proved them, until they expire; bounded in bytes of text."""

    def __init__(self) -> None:
        self._callers: dict[str, Caller] = {}
        self._size = 0

    def get(self, text: str, now: float) -> Caller | None:
        caller = self._callers.get(text)
        return caller if caller is not None and now < caller.expires else None

    def put(self, text: str, caller: Caller) -> None:
        if text not in self._callers:
            self._size += len(text)
        self._callers[text] = caller
        while self._size > CACHE_BYTES:
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
    """

    def __init__(self, issuers: tuple[Issuer, ...], port: SignaturePort) -> None:
        self._verified = Callers()
        self.issuers = {issuer.issuer: IssuerKeys(issuer, port, self._verified.clear) for issuer in issuers}

    def adopt(self, other: Tokens) -> None:
        """Take over the keys of issuers that earlier settings named too, so that a reload needs no issuer to answer."""
        for issuer in self.issuers.keys() & other.issuers.keys():
            self.issuers[issuer].adopt(other.issuers[issuer])

    def known(self, token: str, now: float) -> Caller | None:
        """The caller of a token that was verified before and has not expired."""
        return self._verified.get(token, now)

    def refresh(self, now: float) -> Flow[None]:
        """Ask for every set of keys that is missing or too old; meant to be driven every few seconds."""
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
            KeysUnavailable: that could not be found out, because the issuer did not answer.
        """
        known = self.known(token, now)
        if known is not None:
            return known
        jws = split(token)
        algorithm = jws.header["alg"]
        if str(jws.header.get("typ", "")).lower() not in _TYPES:
            raise InvalidToken(f"typ {str(jws.header['typ'])[:40]!r} is not that of a token for us", code="token-type")
        # Only to choose the issuer; nothing of the payload is believed before its signature has been checked.
        claims = json_object(jws.payload, "payload")
        source = self.issuers.get(str(claims.get("iss")))
        if source is None:
            raise InvalidToken("iss is not a configured issuer", code="token-issuer")
        if algorithm not in source.issuer.algorithms:
            raise InvalidToken(
                f"alg {str(algorithm)[:20]!r} is not accepted from this issuer (algorithms)", code="token-algorithm"
            )
        if not source.knows(jws.header):
            if source.due(now):
                yield from source.refresh(now)
            if source.failure and not source.knows(jws.header):
                raise KeysUnavailable(source.failure)
        candidates = source.candidates(jws.header)
        if not candidates:
            raise InvalidToken("no published key of the issuer fits the token's kid and alg", code="token-key")
        if not any(key.check(str(algorithm), jws.signed, jws.signature) for key in candidates):
            raise InvalidToken("the signature is wrong", code="token-signature")
        expires = check_claims(claims, source.issuer, now)
        caller = Caller(
            source.issuer.name or source.issuer.issuer, source.issuer.issuer, claims, source.issuer.claims, expires
        )
        self._verified.put(token, caller)
        return caller
