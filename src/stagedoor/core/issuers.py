"""Issuers and the keys that they publish: where they are found, which are used, and when they are fetched again.

Nothing in a token makes us fetch anything (invariant 7): every address is in the settings, or follows from one there.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

from .errors import InvalidKeySet, InvalidToken, IssuerUnavailable
from .jose import SignatureCheck, SignaturePort, algorithm_name, json_object, octets
from .messages import Fetch, Flow, fetch

DISCOVERY = "/.well-known/openid-configuration"
COOL_DOWN = 10.0
"""Seconds between two questions to one issuer, however many unknown `kid`s arrive meanwhile."""
OLD_REQUEST = 60.0
"""Seconds: no request takes so long to be decided."""
DISCOVERY_MAX_AGE = 3600.0
"""Seconds until what an issuer says about itself is asked for again."""
KEYS_MAX_AGE = 3600.0
"""Seconds until published keys are fetched again, so that a key that the issuer withdrew stops working."""
KEY_FILE_MAX_AGE = 5.0
MAX_CANDIDATES = 8
"""Keys that one token's signature is checked with, at most."""

_KEY_TYPE = {
    "RS": ("RSA", None),
    "PS": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
}
_ENDPOINT = re.compile(r"(?i:https?)://(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?(?:[/?][!\"$-~]*)?", re.ASCII)
"""In characters that every program reads alike: no blanks, controls, credentials or fragment."""
_COGNITO = re.compile(r"https://(issuer-)?(cognito-idp\.[a-z0-9-]+\.amazonaws\.(?:com|com\.cn|eu)/[A-Za-z0-9_-]+)")
"""Original and updated issuers (Amazon Cognito API Reference, "IssuerConfigurationType"), in every partition."""


class Issuer(NamedTuple):
    """One provider whose tokens count.

    Attributes:
        url: exact `iss` (RFC 7519 §4.1.1), also where discovery starts.
        audience: accepted `aud` values, or `client_id` of a Cognito access token.
        name: what rules and logs call it; default: the URL.
        token_use: Cognito's `token_use` values that are accepted; empty for every other provider.
        jwks: URL (`https:`, `file:`) of the keys; None: found by discovery.
        algorithms: accepted `alg` values.
        claims: our name -> the provider's claim.
        leeway: seconds of clock difference that `exp` and `nbf` forgive.
    """

    url: str
    audience: frozenset[str]
    name: str = ""
    token_use: frozenset[str] = frozenset()
    jwks: str | None = None
    algorithms: frozenset[str] = frozenset(("RS256",))
    claims: Mapping[str, str] = MappingProxyType({})
    leeway: float = 0.0


def issuer_url(iss: object) -> object:
    """The URL that settings name for the `iss` of a token; Google's tokens may leave out the scheme.

    Source: Google Identity, "Validate an ID token".
    """
    return "https://accounts.google.com" if iss == "accounts.google.com" else iss


def is_cognito(issuer: str) -> bool:
    """True for the issuer URL of an Amazon Cognito user pool, in either form."""
    return _COGNITO.fullmatch(issuer) is not None


def other_form(issuer: str) -> str | None:
    """The updated issuer of a Cognito user pool for its original one, and the reverse; None for other issuers."""
    pool = _COGNITO.fullmatch(issuer)
    if pool is None:
        return None
    return f"https://{pool[2]}" if pool[1] else f"https://issuer-{pool[2]}"


def cognito_issuer(pool_id: str, *, updated: bool = False) -> str:
    """The issuer URL of a Cognito user pool, whose id says which region it is in: `eu-central-1_AbC123`.

    Args:
        pool_id: as AWS shows it.
        updated: the pool's issuer type is UPDATED, not ORIGINAL.

    Raises:
        ValueError: this is not the id of a user pool.
    """
    pool = re.fullmatch(r"((?:[a-z]{2}|eusc)(?:-[a-z]+)+-\d+)_[A-Za-z0-9]+", pool_id)
    if pool is None:
        raise ValueError(f"{pool_id!r} is not the id of a user pool")
    suffix = {"cn": "com.cn", "eusc": "eu"}.get(pool[1].partition("-")[0], "com")
    return f"https://{'issuer-' if updated else ''}cognito-idp.{pool[1]}.amazonaws.{suffix}/{pool_id}"


# --- key sets


class Key(NamedTuple):
    """One public key of an issuer."""

    kid: str | None
    algorithms: frozenset[str]
    check: SignatureCheck


def parse_key_set(document: bytes, port: SignaturePort, algorithms: frozenset[str]) -> tuple[Key, ...]:
    """Read a JWKS (RFC 7517 §5) and keep the keys that can verify one of `algorithms`.

    Keys for encryption, of unknown types or of unsafe parameters are passed over, and members that are null count as
    absent. A set that holds secret or private keys is refused as a whole: publishing it was a mistake. Several keys
    may have one `kid`, for example one key that is listed for each of its algorithms.

    Raises:
        InvalidKeySet: not a JWKS, or no key in it may be used; the message says why.
    """
    try:
        keys = json_object(document.removeprefix(codecs.BOM_UTF8), "key set").get("keys")
    except InvalidToken:
        keys = None
    if not isinstance(keys, list) or not all(isinstance(jwk, dict) for jwk in keys):
        raise InvalidKeySet("this is not a JWKS: a JSON object whose member 'keys' is a list of keys")
    found, passed_over = [], []
    present = [{name: value for name, value in jwk.items() if value is not None} for jwk in keys]
    if any(jwk.get("kty") == "oct" or "d" in jwk for jwk in present):
        raise InvalidKeySet("the key set holds secret or private keys, which must never be published")
    for jwk in present:
        try:
            found.append(_key(jwk, port, algorithms))
        except InvalidKeySet as error:
            passed_over.append(f"{jwk.get('kid')!r}: {error}")
    if not found:
        raise InvalidKeySet("the set holds no key that can be used" + "".join(f"; {why}" for why in passed_over[:5]))
    return tuple(found)


def _key(jwk: Mapping[str, object], port: SignaturePort, algorithms: frozenset[str]) -> Key:
    kid, stated, operations = jwk.get("kid"), algorithm_name(jwk.get("alg")), jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise InvalidKeySet("not for signatures (use, key_ops)")
    if kid is not None and not isinstance(kid, str):
        raise InvalidKeySet("kid is not a string")
    fitting = frozenset(name for name in algorithms & port.ALGORITHMS if _fits(jwk, name) and stated in (None, name))
    if not fitting:
        named = ", ".join(f"{name} {jwk[name]!r}" for name in ("kty", "crv", "alg") if name in jwk) or "no kty"
        raise InvalidKeySet(f"{named}: fits no accepted algorithm ({', '.join(sorted(algorithms))})")
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


def _origin_of(issuer: Issuer) -> tuple[object, ...]:
    return issuer.url, issuer.jwks, issuer.algorithms


class IssuerKeys:
    """The published keys of one issuer: the last good set, and when to fetch them again.

    They are fetched at most once per cool-down. Flows that wait at the same time yield the same `Fetch`, which the
    driver joins into one exchange.

    Args:
        issuer: whose keys.
        port: how signatures are checked.
        on_change: called when there are other keys.
        steady: turns epoch seconds into the time that ages are measured by, such as `SteadyTime`.

    Attributes:
        keys: of the last good set.
        document: that set as it was published; None: there is none yet.
        failure: what went wrong at the last attempt to fetch them; "" if nothing did.
    """

    def __init__(
        self,
        issuer: Issuer,
        port: SignaturePort,
        on_change: Callable[[], None],
        steady: Callable[[float], float] = lambda now: now,
    ) -> None:
        self.issuer, self._steady = issuer, steady
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
        """Is it time for a refresh: are the keys too old, or did the last attempt fail?"""
        return (self.failure != "" or self._steady(now) - self._loaded >= self.max_age) and self.due(now)

    def overdue(self, now: float) -> bool:
        """Are the keys twice their maximum age without a failure, because nothing has tried to refresh them?"""
        return bool(self.keys) and not self.failure and self._steady(now) - self._loaded >= 2 * self.max_age

    def due(self, now: float) -> bool:
        """May the issuer be asked now? While a question is under way, others may join it.

        A request that waited is slightly older than the last question; after a clock was set back it is much older.
        """
        return self._asking or not -OLD_REQUEST < self._steady(now) - self._asked < min(COOL_DOWN, self.max_age)

    def candidates(self, algorithm: str, kid: str | None) -> tuple[Key, ...]:
        """Keys that may have made a signature.

        Args:
            algorithm: of the token.
            kid: of the token; None: any key that fits may have been used (OpenID Connect Core 1.0 §10.1).

        Returns:
            The keys of this `kid`, else those that have none.
        """
        fitting = [key for key in self.keys if algorithm in key.algorithms]
        if kid is not None:
            named = [key for key in fitting if key.kid == kid]
            fitting = named or [key for key in fitting if key.kid is None]
        return tuple(fitting[:MAX_CANDIDATES])

    def names(self, kid: str | None) -> bool:
        """Is it certain which key is meant, so that fetching the keys again cannot help?"""
        return kid is not None and any(key.kid == kid for key in self.keys)

    def refresh(self, now: float) -> Flow[None]:
        """Fetch the keys; afterwards `keys` is the last good set, and `failure` says what went wrong, if anything."""
        now = self._steady(now)
        if not self._asking:
            self._asked, self._url = now, self.issuer.jwks
        self._asking = True
        try:
            if self._url is None:
                self._url = yield from self._discover()
            fetched = yield from fetch(Fetch(self._url))
            if fetched.error:
                raise IssuerUnavailable(f"{_shown(self._url)}: {fetched.error}")
            self._install(fetched.body)
            self._loaded, self.failure = now, ""
        except (IssuerUnavailable, InvalidKeySet) as error:
            self.failure = f"keys of issuer {self.issuer.url}: {error}"
        except GeneratorExit:  # the client has gone; nothing is known until the issuer may be asked again
            self.failure = f"keys of issuer {self.issuer.url}: the question was broken off"
            raise
        finally:
            self._asking = False

    @property
    def news(self) -> str:
        """A line for the log when an outage begins or ends."""
        return self.failure or f"keys of issuer {self.issuer.url}: they are here again"

    def adopt(self, other: IssuerKeys) -> None:
        """Take over the keys of earlier settings, if address and algorithms are the same."""
        if other.document is not None and _origin_of(other.issuer) == _origin_of(self.issuer):
            self.keys, self.document, self._loaded = other.keys, other.document, other._loaded
            self._steady = other._steady  # by which they were loaded

    def install(self, document: bytes, now: float) -> None:
        """Use this JWKS as if it had been fetched just now."""
        self._install(document)
        self._loaded = self._asked = self._steady(now)

    def _install(self, document: bytes) -> None:
        if document != self.document:
            self.keys = parse_key_set(document, self._port, self.issuer.algorithms)
            self.document = document
            self._on_change()

    def _discover(self) -> Flow[str]:
        """Find the keys' address (OpenID Connect Discovery 1.0 §4); Cognito's is known."""
        known = known_keys_url(self.issuer.url)
        if known is not None:
            return known
        document = yield from discover(self.issuer)
        return endpoint(document, "jwks_uri", self.issuer)


def endpoint(document: Mapping[str, object], name: str, issuer: Issuer) -> str:
    """An address that an issuer names in what it says about itself.

    Raises:
        IssuerUnavailable: it names none, or one that is not plain https; http only if it is at an http address itself.
    """
    url = document.get(name)
    if isinstance(url, str) and _ENDPOINT.fullmatch(url) and is_safe_url(url):
        parts = urlsplit(url)
        if parts.scheme in ("https", urlsplit(issuer.url).scheme):
            return url
    raise IssuerUnavailable(f"{discovery_url(issuer.url)}: its {name} is not an https address")


def discover(issuer: Issuer, timeout: float = 5.0) -> Flow[Mapping[str, object]]:
    """Ask an issuer what it says about itself (OpenID Connect Discovery 1.0 §4).

    Args:
        issuer: whom to ask.
        timeout: seconds.

    Raises:
        IssuerUnavailable: it does not answer, or not as it should.
    """
    url = discovery_url(issuer.url)
    fetched = yield from fetch(Fetch(url, timeout))
    if fetched.error:
        raise IssuerUnavailable(f"{url}: {fetched.error}")
    try:
        document = json_object(fetched.body.removeprefix(codecs.BOM_UTF8), "discovery document")
    except InvalidToken:
        raise IssuerUnavailable(f"{url} is not a JSON object") from None
    named = str(document.get("issuer"))
    if document.get("issuer") != issuer.url:
        mend = "settings name it exactly so"
        if "{tenantid}" in named:  # Microsoft Entra's addresses for all tenants: common, organizations, consumers
            mend = "it stands for every tenant, so write the id of yours in its place"
        raise IssuerUnavailable(f"{url} names another issuer: {named[:200]!r}; {mend}")
    return document


class Outages:
    """Issuers whose keys could not be fetched, so that each outage is reported once, and so is its end."""

    def __init__(self) -> None:
        self._away: set[str] = set()

    def changes(self, issuers: Iterable[IssuerKeys]) -> list[IssuerKeys]:
        """Return those whose outage began or ended since the last call; in the first case they have a `failure`.

        Another reason for the same outage is no change.
        """
        changed = [keys for keys in issuers if bool(keys.failure) != (keys.issuer.url in self._away)]
        self._away ^= {keys.issuer.url for keys in changed}
        return changed


def _shown(url: str) -> str:
    """A URL for messages and logs: its query may hold the owner's secret."""
    return url if "?" not in url else f"{url.partition('?')[0]}?…"


def known_keys_url(issuer: str) -> str | None:
    """Where a Cognito user pool publishes its keys (Cognito "Verifying JSON web tokens"); None for other issuers."""
    return f"{issuer.rstrip('/')}/.well-known/jwks.json" if is_cognito(issuer) else None


def discovery_url(issuer: str) -> str:
    """Where an issuer describes itself (OpenID Connect Discovery 1.0 §4)."""
    return f"{issuer.rstrip('/')}{DISCOVERY}"


def host_to_connect(url: str) -> str:
    """The host of a URL, for a connection.

    Names below `localhost` are this machine (RFC 6761 §6.3). A name server, which could say something else, is not
    asked for them where nothing but the address protects what is fetched.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    return "localhost" if parts.scheme == "http" and host.endswith(".localhost") else host


def is_safe_url(url: str) -> bool:
    """https, or http on this machine, and no password in it: the only addresses that issuers and keys may have."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:  # for example a port beyond 65535
        return False
    if "@" in parts.netloc:  # a password, which would be shown wherever the address is
        return False
    if parts.scheme == "https":
        return host != ""
    return parts.scheme == "http" and (
        host == "::1" or re.fullmatch(r"([a-z0-9-]+\.)*localhost|127(\.\d{1,3}){3}", host) is not None
    )
